"""A traced model → an ONNX model: placeholders become nodes here, all else is converted by tf2onnx."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .errors import ExportError
from .layers import Build, Recorder
from .layers.einsum import lower_einsum
from .quiet import without_noise
from .trace import recording


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
    with without_noise(), _reshapes_kept_apart():
        try:
            proto, _ = tf2onnx.convert.from_function(
                function,
                specs,
                opset=opset,
                custom_op_handlers={
                    "PyFunc": (lowering.lower, []),
                    "Erfc": (_lower_erfc, []),
                    "Einsum": (lower_einsum, []),
                    "Expm1": (_lower_expm1, []),
                    "Log1p": (_lower_log1p, []),
                },
            )
        except Exception as error:
            raise _cannot("converted by tf2onnx", error) from error
    _hold(proto, held)
    _name_ends(proto, input_names, output_names)
    return proto, recorder


@contextmanager
def _reshapes_kept_apart() -> Iterator[None]:
    """tf2onnx joins two Reshapes into the second, where a 0 then stands for a size of another tensor."""
    from tf2onnx.optimizer.back_to_back_optimizer import _func_map

    joining = _func_map.pop(("Reshape",))
    try:
        yield
    finally:
        _func_map[("Reshape",)] = joining


def _cannot(what: str, error: Exception) -> ExportError:
    return ExportError(f"the model cannot be {what}: {first_line(error)}")


def first_line(error: Exception) -> str:
    """What an error of another library says, in one line; Keras' own begins with where, and then says what."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    marks = [i for i, line in enumerate(lines[:-1]) if line.endswith("Error encountered:")]
    if marks:
        lines = lines[marks[-1] + 1 :]
    said = " ".join(lines[: 2 if lines[0].startswith("Exception encountered") else 1])
    return said.partition(" Full object config:")[0]


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
    _with_one(ctx, node, name, lambda x, one: ("Sub", [one, ctx.make_node("Erf", [x], name=f"{name}/Erf").output[0]]))


def _lower_expm1(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Exp(x) - 1, for celu; ONNX has no Expm1."""
    _with_one(ctx, node, name, lambda x, one: ("Sub", [ctx.make_node("Exp", [x], name=f"{name}/Exp").output[0], one]))


def _lower_log1p(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Log(1 + x); ONNX has no Log1p."""
    _with_one(ctx, node, name, lambda x, one: ("Log", [ctx.make_node("Add", [x, one], name=f"{name}/Add").output[0]]))


def _with_one(ctx: Any, node: Any, name: str, make: Callable[[str, str], tuple[str, list[str]]]) -> None:
    """Put what ``make`` gives for the node's input and the constant 1 in the place of a node."""
    source, output = node.input[0], node.output[0]
    shape, dtype = ctx.get_shape(output), ctx.get_dtype(output)
    ctx.remove_node(node.name)
    one = ctx.make_const(f"{name}/one", np.array(1, dtype=np.float32)).output[0]
    op_type, inputs = make(source, one)
    ctx.make_node(op_type, inputs, name=name, outputs=[output], shapes=[shape], dtypes=[dtype])


def _name_ends(proto: Any, input_names: Sequence[str], output_names: Sequence[str]) -> None:
    """Order graph inputs and outputs as the model has them, under their final names; others stand behind."""
    graph = proto.graph
    ends = ((graph.input, "input", input_names), (graph.output, "output", output_names))
    renamed = {f"{kind}_{i}": name for _, kind, names in ends for i, name in enumerate(names)}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for values, _, names in ends:
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        found = {renamed[value.name]: value for value in copies if value.name in renamed}
        others = [value for value in copies if value.name not in renamed]
        del values[:]
        for name in names:
            if name not in found:
                raise ExportError(f'"{name}" is not used by the model; leave it out of keras.Model')
            found[name].name = name
            values.append(found[name])
        values.extend(others)


class _Lowering:
    """Turns each PyFunc of one trace into nodes of tf2onnx' graph, inside the conversion."""

    def __init__(self, recorder: Recorder) -> None:
        self._records = recorder.records
        # Eager, before tf2onnx opens a graph in which variables cannot be read.
        self._arrays = {token: record.arrays() for token, record in recorder.records.items()}
        self._constants: dict[str, str] = {}

    def lower(self, ctx: Any, node: Any, name: str, args: Any) -> None:
        """The handler that tf2onnx calls for every PyFunc."""
        token = node.get_attr_value("token")
        token = token if isinstance(token, bytes) else token.encode()
        record = self._records.get(token)
        if record is None:
            # A PyFunc of the model's own: it stays, and is refused by name with all else that is not ONNX.
            return
        inputs, outputs = list(node.input), list(node.output)
        dtypes = [ctx.get_dtype(output) for output in outputs]
        ctx.remove_node(node.name)
        build = Build(ctx, record.name, self._constants)
        record.lower(build, self._arrays[token], inputs, outputs)
        for output, shape, dtype in zip(outputs, record.shapes, dtypes, strict=True):
            # tf2onnx does not know them, and without them its optimizer spends eight nodes where one would do.
            ctx.set_shape(output, [-1 if size is None else size for size in shape])
            ctx.set_dtype(output, dtype)
