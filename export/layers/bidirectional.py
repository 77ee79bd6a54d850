"""Bidirectional: one node of direction=bidirectional where both halves are alike, else two and their merge."""

from __future__ import annotations

from typing import Any

from ..supported import check_layer, operator
from .record import Recorder, flat
from .recurrent import emit_recurrent, refuse_mask


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
        check_layer(half)
    refuse_mask(layer, mask)
    states = None if initial_state is None else flat(initial_state)
    merge = layer.merge_mode
    if merge is not None and _alike(*halves):
        output, final = emit_recurrent(recorder, layer.name, sequences, halves, states, False, merge)
    else:
        count = 0 if states is None else len(states) // 2
        outputs, final = [], []
        for i, (half, side) in enumerate(zip(halves, ("forward", "backward"), strict=True)):
            own = None if states is None else states[i * count : (i + 1) * count]
            # Keras flips what the backward half returns.
            flip = half.go_backwards != (side == "backward")
            result, ends = emit_recurrent(recorder, f"{layer.name}/{side}", sequences, [half], own, flip)
            outputs.append(result)
            final.extend(ends)
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
    if operator(forward.cell) != operator(backward.cell) or forward.cell.units != backward.cell.units:
        return False
    if forward.cell.use_bias != backward.cell.use_bias:
        return False
    if getattr(forward.cell, "reset_after", None) != getattr(backward.cell, "reset_after", None):
        return False
    return not forward.go_backwards and bool(backward.go_backwards)
