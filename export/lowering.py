"""A traced model → an ONNX model: placeholders become nodes here, all else is converted by tf2onnx."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .activations import Activation, recurrent_activation
from .errors import ExportError
from .placeholders import Dense, Embedding, Record, Recorder, Recurrent, Reshaped, recording
from .quiet import without_noise
from .weights import cell_weights

# ReduceMean and ReduceProd; ReduceSum, Squeeze and Unsqueeze have had them since opset 13.
_AXES_BECOME_AN_INPUT = 18
_MERGE_OPERATORS = {"ave": "ReduceMean", "mul": "ReduceProd"}


def convert(model: Any, input_names: Sequence[str], output_names: Sequence[str], opset: int) -> tuple[Any, Recorder]:
    """Trace ``model`` and convert it; the ModelProto still has tf2onnx' names.

    Returns the model and the record of every layer that became nodes here. Raises ExportError naming the
    layer where an operation has no ONNX form.
    """
    import keras
    import tensorflow as tf
    import tf2onnx

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=f"input_{i}") for i, tensor in enumerate(model.inputs)]

    def forward(*tensors: Any) -> dict[str, Any]:
        result = model(pack_inputs(model, tensors), training=False)
        flat = keras.tree.flatten(result)
        # An Identity of its own keeps an output apart from an input or output that is the same tensor.
        return {f"output_{i}": tf.identity(tensor) for i, tensor in enumerate(flat)}

    function = tf.function(forward, autograph=False, input_signature=specs)
    with recording() as recorder, without_noise():
        try:
            traced = function.get_concrete_function()
        except Exception as error:
            raise recorder.refused or _cannot("traced by TensorFlow", error) from error
    # Arrays that a layer holds beside its weights, as Normalization does: tf2onnx takes them for inputs.
    held = {inner.name: outer.numpy() for outer, inner in traced.graph.captures if inner.dtype != tf.resource}
    lowering = _Lowering(recorder)
    with without_noise():
        try:
            proto, _ = tf2onnx.convert.from_function(
                function,
                specs,
                opset=opset,
                custom_op_handlers={"PyFunc": (lowering.lower, []), "Erfc": (_lower_erfc, [])},
            )
        except Exception as error:
            raise _cannot("converted by tf2onnx", error) from error
    _hold(proto, held)
    _name_ends(proto, input_names, output_names)
    return proto, recorder


def _cannot(what: str, error: Exception) -> ExportError:
    return ExportError(f"the model cannot be {what}: {first_line(error)}")


def first_line(error: Exception) -> str:
    """What an error of another library says, in one line; Keras' own begins with where, and then says what."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[: 2 if lines[0].startswith("Exception encountered") else 1])


def pack_inputs(model: Any, tensors: Sequence[Any]) -> Any:
    """The structure (tensor, list or dict) that the model takes, from one tensor per ``model.inputs``."""
    import keras

    if isinstance(model, keras.Sequential):
        return tensors[0]
    return keras.tree.pack_sequence_as(model.input, list(tensors))


def _hold(proto: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Turn the graph inputs of these names into initializers."""
    from onnx import numpy_helper

    graph = proto.graph
    for value in [value for value in graph.input if value.name in arrays]:
        graph.input.remove(value)
        graph.initializer.append(numpy_helper.from_array(arrays[value.name], value.name))


def _lower_erfc(ctx: Any, node: Any, name: str, args: Any) -> None:
    """1 - Erf(x), for gelu; ONNX has no Erfc."""
    source, output = node.input[0], node.output[0]
    shape, dtype = ctx.get_shape(output), ctx.get_dtype(output)
    ctx.remove_node(node.name)
    one = ctx.make_const(f"{name}/one", np.array(1, dtype=np.float32)).output[0]
    erf = ctx.make_node("Erf", [source], name=f"{name}/Erf").output[0]
    ctx.make_node("Sub", [one, erf], name=name, outputs=[output], shapes=[shape], dtypes=[dtype])


def _name_ends(proto: Any, input_names: Sequence[str], output_names: Sequence[str]) -> None:
    """Order graph inputs and outputs as the model has them, under their final names."""
    graph = proto.graph
    ends = ((graph.input, "input", input_names), (graph.output, "output", output_names))
    renamed = {f"{kind}_{i}": name for _, kind, names in ends for i, name in enumerate(names)}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for values, _, names in ends:
        found = {renamed[value.name]: type(value).FromString(value.SerializeToString()) for value in values}
        del values[:]
        for name in names:
            if name not in found:
                raise ExportError(f'"{name}" is not used by the model; leave it out of keras.Model')
            found[name].name = name
            values.append(found[name])


class _Lowering:
    """Turns each PyFunc of one trace into nodes of tf2onnx' graph, inside the conversion."""

    def __init__(self, recorder: Recorder) -> None:
        self._records = recorder.records
        # Eager, before tf2onnx opens a graph in which variables cannot be read.
        self._weights = {token: _weights(record) for token, record in recorder.records.items()}
        self._constants: dict[str, str] = {}

    def lower(self, ctx: Any, node: Any, name: str, args: Any) -> None:
        """The handler that tf2onnx calls for every PyFunc."""
        token = node.get_attr_value("token")
        token = token if isinstance(token, bytes) else token.encode()
        record = self._records.get(token)
        if record is None:
            # A PyFunc of the model's own: it stays, and is refused by name with all else that is not ONNX.
            return
        weights = self._weights[token]
        inputs, outputs = list(node.input), list(node.output)
        shapes = [ctx.get_shape(output) for output in outputs]
        dtypes = [ctx.get_dtype(output) for output in outputs]
        ctx.remove_node(node.name)
        build = _Build(ctx, record.name, self._constants)
        if isinstance(record, Dense):
            _lower_dense(build, record, weights, inputs[0], outputs[0])
        elif isinstance(record, Embedding):
            table = build.constant(f"{record.label}/embeddings", weights[0])
            build.node("Gather", [table, inputs[0]], "Gather", outputs[0])
        elif isinstance(record, Reshaped):
            build.node("Reshape", [inputs[0], build.integers(record.target)], "Reshape", outputs[0])
        elif isinstance(record, Recurrent):
            _lower_recurrent(build, record, weights, inputs, outputs)
        for output, shape, dtype in zip(outputs, shapes, dtypes, strict=True):
            ctx.set_shape(output, shape)
            ctx.set_dtype(output, dtype)


def _weights(record: Record) -> list[np.ndarray]:
    """What the nodes of a record hold: a layer that is called twice gives the same arrays twice."""
    if isinstance(record, Embedding):
        return [record.layer.embeddings.numpy()]
    if isinstance(record, Dense):
        bias = record.layer.bias
        return [record.layer.kernel.numpy(), *([] if bias is None else [bias.numpy()])]
    if isinstance(record, Recurrent):
        cells = [cell_weights(record.op_type, cell) for cell in record.cells]
        biases = [cell.b for cell in cells if cell.b is not None]
        matrices = [np.stack([cell.w for cell in cells]), np.stack([cell.r for cell in cells])]
        return [*matrices, np.stack(biases)] if biases else matrices
    return []


class _Build:
    """Makes nodes under one layer's name. Constants are shared between the calls of a layer."""

    def __init__(self, ctx: Any, name: str, constants: dict[str, str]) -> None:
        self.opset = int(ctx.opset)
        self._ctx = ctx
        self._name = name
        self._constants = constants

    def node(
        self, op_type: str, inputs: Sequence[str], suffix: str, output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node with one output; returns the output's name."""
        made = self._ctx.make_node(
            op_type,
            list(inputs),
            attr=attributes,
            name=f"{self._name}/{suffix}" if suffix else self._name,
            outputs=None if output is None else [output],
        )
        return str(made.output[0])

    def outputs(self, op_type: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Add the layer's own node, with several outputs."""
        made = self._ctx.make_node(op_type, list(inputs), attr=attributes, name=self._name, output_count=count)
        return [str(output) for output in made.output]

    def constant(self, name: str, array: np.ndarray) -> str:
        if name not in self._constants:
            self._constants[name] = str(self._ctx.make_const(name, np.asarray(array, order="C")).output[0])
        return self._constants[name]

    def integers(self, values: Sequence[int]) -> str:
        return self.constant("/".join(["constant", *map(str, values)]), np.array(values, dtype=np.int64))


def _lower_dense(build: _Build, record: Dense, weights: Sequence[np.ndarray], x: str, output: str) -> None:
    kernel = build.constant(f"{record.label}/kernel", weights[0])
    if len(weights) == 1:
        build.node("MatMul", [x, kernel], "MatMul", output)
        return
    product = build.node("MatMul", [x, kernel], "MatMul")
    build.node("Add", [product, build.constant(f"{record.label}/bias", weights[1])], "Add", output)


def _lower_recurrent(
    build: _Build,
    record: Recurrent,
    weights: Sequence[np.ndarray],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> None:
    x = build.node("Transpose", [inputs[0]], "Transpose", perm=[1, 0, 2])
    names = [build.constant(f"{record.label}/{n}", w) for n, w in zip(("W", "R", "B"), weights, strict=False)]
    arguments = [x, *names]
    if not record.zero_state:
        arguments += [""] * (5 - len(arguments))
        arguments += _initial_states(build, record, inputs[1:])
    y, *states = build.outputs(record.op_type, arguments, 1 + record.states_per_direction, **_attributes(record))
    _output(build, record, y, states[0], outputs[0])
    _final_states(build, record, states, outputs[1:])


def _initial_states(build: _Build, record: Recurrent, given: Sequence[str]) -> list[str]:
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


def _output(build: _Build, record: Recurrent, y: str, y_h: str, output: str) -> None:
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


def _final_states(build: _Build, record: Recurrent, states: Sequence[str], outputs: Sequence[str]) -> None:
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
