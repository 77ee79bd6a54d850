"""One RNN, GRU or LSTM node, and what turns its results into Keras'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from ..activations import Activation, recurrent_activation
from ..supported import operator
from ..weights import cell_weights
from .masked import Kept
from .record import Build, Record, Recorder, as_float

Merge = Literal["concat", "sum", "mul", "ave"]
_MERGE_OPERATORS = {"ave": "ReduceMean", "mul": "ReduceProd"}


@dataclass
class Recurrent(Record):
    """One call of a recurrent layer, or of a Bidirectional whose two halves are alike.

    The placeholder's inputs are x, the mask if ``masked``, and, unless ``zero_state``, the initial states of each
    direction (h, c, …); its outputs are the sequence (or last output), then the final states of each direction. The
    node keeps its sequence in the order of time; ``reverse_output`` says that Keras returns it the other way round.
    ``zero_output`` is the layer's zero_output_for_mask.
    """

    op_type: str
    cells: tuple[Any, ...]
    direction: Literal["forward", "reverse", "bidirectional"]
    return_sequences: bool
    reverse_output: bool
    zero_state: bool
    masked: bool
    zero_output: bool
    merge: Merge | None = None

    @property
    def states_per_direction(self) -> int:
        return states_of(self.cells[0])

    @property
    def can_carry(self) -> bool:
        """Whether a stream could carry its states: not inside TimeDistributed, where each step is a sequence."""
        return self.zero_state and self.direction == "forward" and not self.distributed

    def arrays(self) -> list[np.ndarray]:
        """W, R and, unless no direction has one, B."""
        cells = [cell_weights(self.op_type, cell) for cell in self.cells]
        biases = [cell.b for cell in cells if cell.b is not None]
        matrices = [np.stack([cell.w for cell in cells]), np.stack([cell.r for cell in cells])]
        return [*matrices, np.stack(biases)] if biases else matrices

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        x, *given = inputs
        kept = Kept(build, given.pop(0), self.direction == "reverse") if self.masked else None
        initial = [] if self.zero_state else _initial_states(build, self, given)
        x = build.node("Transpose", [kept.first(x) if kept else x], "Transpose", perm=[1, 0, 2])
        names = [build.constant(f"{self.label}/{n}", w) for n, w in zip(("W", "R", "B"), arrays, strict=False)]
        arguments = [x, *names]
        if kept or initial:
            arguments += [""] * (4 - len(arguments))
            arguments += [kept.sequence_lens() if kept else "", *initial]
        y, *states = build.outputs(self.op_type, arguments, 1 + self.states_per_direction, **_attributes(self))
        final = _held(build, self, kept, initial, states) if kept else states
        if self.return_sequences:
            _sequence(build, self, y, kept, outputs[0])
        elif kept and self.zero_output:
            _last(build, self, kept.zero_unless_last(states[0]), outputs[0])
        elif kept and initial:
            # Keras answers zero where no step is kept, though the state is the initial one.
            _last(build, self, kept.unless_empty(states[0], build.zero(), "last"), outputs[0])
        else:
            _last(build, self, final[0], outputs[0])
        _final_states(build, self, final, outputs[1:])


def emit_recurrent(
    recorder: Recorder,
    name: str,
    sequences: Any,
    layers: Sequence[Any],
    initial_state: Sequence[Any] | None,
    reverse_output: bool,
    merge: Merge | None = None,
    mask: Any = None,
) -> tuple[Any, list[Any]]:
    """Leave a placeholder for one cell, or for the two alike halves of a Bidirectional: output, final states.

    ``layers`` are RNN layers, or stand in for those with the attributes read here. ``mask`` is bool [batch, time]
    or None.
    """
    first = layers[0]
    units = first.cell.units
    op_type = cast(str, operator(first.cell))
    record = Recurrent(
        first.cell,
        name,
        op_type=op_type,
        cells=tuple(layer.cell for layer in layers),
        direction="bidirectional" if len(layers) == 2 else "reverse" if first.go_backwards else "forward",
        return_sequences=first.return_sequences,
        reverse_output=reverse_output,
        zero_state=initial_state is None,
        masked=mask is not None,
        zero_output=first.zero_output_for_mask,
        merge=merge,
    )
    batch, time = sequences.shape[0], sequences.shape[1]
    width = units * (2 if merge == "concat" else 1)
    output = [batch, time, width] if first.return_sequences else [batch, width]
    states = [[batch, units]] * (record.states_per_direction * len(layers))
    given = [as_float(sequences), *([] if mask is None else [mask]), *(initial_state or [])]
    results = recorder.emit(record, given, [output, *states])
    return results[0], results[1:]


def states_of(cell: Any) -> int:
    """How many states a cell carries: h, and c where it has one."""
    return 2 if operator(cell) == "LSTM" else 1


def _held(build: Build, record: Recurrent, kept: Kept, initial: Sequence[str], states: Sequence[str]) -> list[str]:
    """The final states, which are the initial ones where no step is kept.

    Those that a stream could carry are graph outputs for now, ``NAME/final_h``: what nothing reads does not live
    through tf2onnx, and ``wire_states`` needs them.
    """
    result = []
    for i, (state, kind) in enumerate(zip(states, ("h", "c"), strict=False)):
        name = f"{record.name}/final_{kind}" if record.can_carry else None
        start = initial[i] if initial else build.zero()
        result.append(kept.unless_empty(state, start, f"final_{kind}", name))
        if name is not None:
            build.graph_output(name, [1, -1, record.cells[0].units])
    return result


def _initial_states(build: Build, record: Recurrent, given: Sequence[str]) -> list[str]:
    """Keras has [batch, hidden] per direction and state; ONNX one [directions, batch, hidden] per state."""
    per = record.states_per_direction
    result = []
    for i, kind in zip(range(per), ("h", "c"), strict=False):
        axis = build.integers([0])
        parts = [
            build.node("Unsqueeze", [given[d * per + i], axis], f"initial_{kind}_{d}") for d in range(len(record.cells))
        ]
        result.append(parts[0] if len(parts) == 1 else build.node("Concat", parts, f"initial_{kind}", axis=0))
    return result


def _last(build: Build, record: Recurrent, y_h: str, output: str) -> None:
    """The layer's last output: [batch, width] from Y_h [directions, batch, hidden]."""
    if record.direction != "bidirectional":
        build.node("Squeeze", [y_h, build.integers([0])], "Squeeze", output)
    elif record.merge == "concat":
        moved = build.node("Transpose", [y_h], "Transpose_out", perm=[1, 0, 2])
        build.node("Reshape", [moved, build.integers([0, _width(record)])], "Concat", output)
    else:
        _merged(build, record, y_h, 0, output)


def _sequence(build: Build, record: Recurrent, y: str, kept: Kept | None, output: str) -> None:
    """The layer's output: [batch, time, width] from Y [time, directions, batch, hidden].

    With a mask, one more step in front holds the zeros that fill steps before the first kept one.
    """
    flip = record.reverse_output
    inner = None if kept else output
    if record.direction == "bidirectional":
        if kept:
            y = build.node("Pad", [y, build.integers([1, *[0] * 7])], "filled")
        if record.merge == "concat":
            moved = build.node("Transpose", [y], "Transpose_out", perm=[2, 0, 1, 3])
            result = build.node("Reshape", [moved, build.integers([0, 0, _width(record)])], "Concat", inner)
        else:
            merged = _merged(build, record, y, 1)
            result = build.node("Transpose", [merged], "Transpose_out", inner, perm=[1, 0, 2])
    else:
        y = build.node("Squeeze", [y, build.integers([1])], "Squeeze")
        if kept:
            y = build.node("Pad", [y, build.integers([1, *[0] * 5])], "filled")
        elif flip:
            y = _reversed(build, y, 0)
        result = build.node("Transpose", [y], "Transpose_out", inner, perm=[1, 0, 2])
    if kept:
        result = kept.in_place(result, record.zero_output, None if flip else output)
        if flip:
            _reversed(build, result, 1, output)


def _reversed(build: Build, x: str, axis: int, output: str | None = None) -> str:
    ends = [build.integers([value]) for value in (-1, np.iinfo(np.int64).min, axis, -1)]
    return build.node("Slice", [x, *ends], "Reverse", output)


def _merged(build: Build, record: Recurrent, x: str, axis: int, output: str | None = None) -> str:
    """The sum, product or mean of the two directions, which lie along ``axis``."""
    if record.merge == "sum":
        return build.node("ReduceSum", [x, build.integers([axis])], "Sum", output, keepdims=0)
    operator = _MERGE_OPERATORS[str(record.merge)]
    return build.reduce(operator, x, axis, operator.removeprefix("Reduce"), output)


def _width(record: Recurrent) -> int:
    return int(len(record.cells) * record.cells[0].units)


def _final_states(build: Build, record: Recurrent, states: Sequence[str], outputs: Sequence[str]) -> None:
    per = record.states_per_direction
    for d in range(len(record.cells)):
        for i, kind in zip(range(per), ("h", "c"), strict=False):
            output, state = outputs[d * per + i], states[i]
            if len(record.cells) == 1:
                build.node("Squeeze", [state, build.integers([0])], f"final_{kind}_0", output)
            else:
                build.node("Gather", [state, build.scalar(d)], f"final_{kind}_{d}", output, axis=0)


def _attributes(record: Recurrent) -> dict[str, Any]:
    activations = [a for cell in record.cells for a in _activations(record, cell)]
    attributes: dict[str, Any] = {
        "hidden_size": record.cells[0].units,
        # The kept steps of a mask are already in the order in which they are read.
        "direction": "forward" if record.masked and record.direction == "reverse" else record.direction,
        "activations": [a.name for a in activations],
    }
    # Consumed in the order of the functions, by those that take one.
    alpha = [a.alpha for a in activations if a.alpha is not None]
    beta = [a.beta for a in activations if a.beta is not None]
    if alpha:
        attributes["activation_alpha"] = alpha
    if beta:
        attributes["activation_beta"] = beta
    if record.op_type == "GRU":
        attributes["linear_before_reset"] = int(record.cells[0].reset_after)
    return attributes


def _activations(record: Recurrent, cell: Any) -> list[Activation]:
    """ONNX' order: RNN (f), GRU (gates, hidden), LSTM (gates, cell, hidden)."""
    main = recurrent_activation(record.label, "activation", cell.activation)
    if record.op_type == "RNN":
        return [main]
    gates = recurrent_activation(record.label, "recurrent_activation", cell.recurrent_activation)
    return [gates, main] if record.op_type == "GRU" else [gates, main, main]
