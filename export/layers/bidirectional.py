"""Bidirectional: one node of direction=bidirectional where both halves are alike, else two and their merge."""

from __future__ import annotations

from typing import Any

from ..supported import cells_of, check_recurrent, operator
from .masked import as_mask
from .record import Recorder, flat
from .recurrent import emit_recurrent
from .stacked import emit_stack, pack_states


def call_bidirectional(
    recorder: Recorder,
    layer: Any,
    sequences: Any,
    initial_state: Any = None,
    mask: Any = None,
    training: bool | None = None,
) -> Any:
    """Leave one or two placeholders for ``layer(sequences)``."""
    import tensorflow as tf

    halves = [layer.forward_layer, layer.backward_layer]
    for half in halves:
        check_recurrent(half)
    mask = as_mask(layer, mask, sequences)
    merge = layer.merge_mode
    # As Keras sets it; otherwise the halves differ in where they are zero.
    same_zeros = mask is None or all(half.zero_output_for_mask == half.return_sequences for half in halves)
    final: list[Any] = []
    if merge is not None and same_zeros and _alike(*halves):
        states = None if initial_state is None else flat(initial_state)
        output, final = emit_recurrent(recorder, layer.name, sequences, halves, states, False, merge, mask)
    else:
        outputs = []
        for i, (half, side) in enumerate(zip(halves, ("forward", "backward"), strict=True)):
            # Half of the list, whatever its items hold, as Keras has it.
            count = 0 if initial_state is None else len(initial_state) // 2
            own = None if initial_state is None else flat(initial_state[i * count : (i + 1) * count])
            # Keras flips what the backward half returns.
            flip = half.go_backwards != (side == "backward")
            result, ends = emit_stack(recorder, f"{layer.name}/{side}", sequences, half, own, flip, mask)
            outputs.append(result)
            final.extend(pack_states(half.cell, ends))
        output = {
            "concat": lambda a, b: tf.concat([a, b], -1),
            "sum": lambda a, b: a + b,
            "ave": lambda a, b: (a + b) / 2,
            "mul": lambda a, b: a * b,
            None: lambda a, b: (a, b),
        }[merge](*outputs)
    if not layer.return_state:
        return output
    return (*output, *final) if merge is None else (output, *final)


def _alike(forward: Any, backward: Any) -> bool:
    """Whether one node of direction=bidirectional can run both halves."""
    if any(place for half in (forward, backward) for place, _ in cells_of(half.cell)):
        return False
    if operator(forward.cell) != operator(backward.cell) or forward.cell.units != backward.cell.units:
        return False
    if forward.cell.use_bias != backward.cell.use_bias:
        return False
    if getattr(forward.cell, "reset_after", None) != getattr(backward.cell, "reset_after", None):
        return False
    return not forward.go_backwards and bool(backward.go_backwards)
