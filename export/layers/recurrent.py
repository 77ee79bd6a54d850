"""One RNN, GRU or LSTM node, and what turns its results into Keras'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from ..activations import Activation, recurrent_activation
from ..errors import ExportError
from ..supported import operator
from ..weights import cell_weights
from .record import Build, Record, Recorder, as_float, flat

Merge = Literal["concat", "sum", "mul", "ave"]
# ReduceMean and ReduceProd; ReduceSum, Squeeze and Unsqueeze have had them since opset 13.
_AXES_BECOME_AN_INPUT = 18
_MERGE_OPERATORS = {"ave": "ReduceMean", "mul": "ReduceProd"}


@dataclass
class Recurrent(Record):
    """One call of a recurrent layer, or of a Bidirectional whose two halves are alike.

    The placeholder's inputs are x and, unless ``zero_state``, the initial states of each direction (h, c, …);
    its outputs are the sequence (or last output), then the final states of each direction. The node keeps its
    sequence in the order of time; ``reverse_output`` says that Keras returns it the other way round.
    """

    op_type: str
    cells: tuple[Any, ...]
    direction: Literal["forward", "reverse", "bidirectional"]
    return_sequences: bool
    reverse_output: bool
    zero_state: bool
    merge: Merge | None = None

    @property
    def states_per_direction(self) -> int:
        return states_of(self.cells[0])

    def arrays(self) -> list[np.ndarray]:
        """W, R and, unless no direction has one, B."""
        cells = [cell_weights(self.op_type, cell) for cell in self.cells]
        biases = [cell.b for cell in cells if cell.b is not None]
        matrices = [np.stack([cell.w for cell in cells]), np.stack([cell.r for cell in cells])]
        return [*matrices, np.stack(biases)] if biases else matrices

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        x = build.node("Transpose", [inputs[0]], "Transpose", perm=[1, 0, 2])
        names = [build.constant(f"{self.label}/{n}", w) for n, w in zip(("W", "R", "B"), arrays, strict=False)]
        arguments = [x, *names]
        if not self.zero_state:
            arguments += [""] * (5 - len(arguments))
            arguments += _initial_states(build, self, inputs[1:])
        y, *states = build.outputs(self.op_type, arguments, 1 + self.states_per_direction, **_attributes(self))
        _output(build, self, y, states[0], outputs[0])
        _final_states(build, self, states, outputs[1:])


def emit_recurrent(
    recorder: Recorder,
    name: str,
    sequences: Any,
    layers: Sequence[Any],
    initial_state: Sequence[Any] | None,
    reverse_output: bool,
    merge: Merge | None = None,
) -> tuple[Any, list[Any]]:
    """Leave a placeholder for one cell, or for the two alike halves of a Bidirectional: output, final states.

    ``layers`` are RNN layers, or stand in for those with the attributes read here.
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
        merge=merge,
    )
    batch, time = sequences.shape[0], sequences.shape[1]
    width = units * (2 if merge == "concat" else 1)
    output = [batch, time, width] if first.return_sequences else [batch, width]
    states = [[batch, units]] * (record.states_per_direction * len(layers))
    results = recorder.emit(record, [as_float(sequences), *(initial_state or [])], [output, *states])
    return results[0], results[1:]


def states_of(cell: Any) -> int:
    """How many states a cell carries: h, and c where it has one."""
    return 2 if operator(cell) == "LSTM" else 1


def refuse_mask(layer: Any, mask: Any) -> None:
    """Raise ExportError where a mask comes in."""
    if any(m is not None for m in flat(mask)):
        raise ExportError(
            "a mask comes in: masks are not exported yet; train on windows of one length without a mask",
            layer=layer.name,
            argument="mask",
        )


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


def _output(build: Build, record: Recurrent, y: str, y_h: str, output: str) -> None:
    """The layer's output: [batch, time, width] from Y [time, directions, batch, hidden], or its end."""
    if record.direction != "bidirectional":
        if not record.return_sequences:
            build.node("Squeeze", [y_h, build.integers([0])], "Squeeze", output)
            return
        flat = build.node("Squeeze", [y, build.integers([1])], "Squeeze")
        if record.reverse_output:
            lowest = np.iinfo(np.int64).min
            arguments = [
                flat,
                build.integers([-1]),
                build.integers([lowest]),
                build.integers([0]),
                build.integers([-1]),
            ]
            flat = build.node("Slice", arguments, "Reverse")
        build.node("Transpose", [flat], "Transpose_out", output, perm=[1, 0, 2])
        return
    source, axis = (y, 1) if record.return_sequences else (y_h, 0)
    if record.merge == "concat":
        perm = [2, 0, 1, 3] if record.return_sequences else [1, 0, 2]
        moved = build.node("Transpose", [source], "Transpose_out", perm=perm)
        width = len(record.cells) * record.cells[0].units
        kept = [0] * (len(perm) - 2)
        build.node("Reshape", [moved, build.integers([*kept, width])], "Concat", output)
        return
    merged = output if not record.return_sequences else None
    if record.merge == "sum":
        result = build.node("ReduceSum", [source, build.integers([axis])], "Sum", merged, keepdims=0)
    else:
        operator = _MERGE_OPERATORS[str(record.merge)]
        suffix = operator.removeprefix("Reduce")
        if build.opset < _AXES_BECOME_AN_INPUT:
            result = build.node(operator, [source], suffix, merged, axes=[axis], keepdims=0)
        else:
            result = build.node(operator, [source, build.integers([axis])], suffix, merged, keepdims=0)
    if record.return_sequences:
        build.node("Transpose", [result], "Transpose_out", output, perm=[1, 0, 2])


def _final_states(build: Build, record: Recurrent, states: Sequence[str], outputs: Sequence[str]) -> None:
    per = record.states_per_direction
    for d in range(len(record.cells)):
        for i, kind in zip(range(per), ("h", "c"), strict=False):
            output, state = outputs[d * per + i], states[i]
            if len(record.cells) == 1:
                build.node("Squeeze", [state, build.integers([0])], f"final_{kind}", output)
            else:
                index = build.constant(f"constant/scalar/{d}", np.array(d, dtype=np.int64))
                build.node("Gather", [state, index], f"final_{kind}_{d}", output, axis=0)


def _attributes(record: Recurrent) -> dict[str, Any]:
    activations = [a for cell in record.cells for a in _activations(record, cell)]
    attributes: dict[str, Any] = {
        "hidden_size": record.cells[0].units,
        "direction": record.direction,
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
