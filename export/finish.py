"""The converted graph → the graph that is written: states wired, nothing dead, names that people can read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeinfer.spec import StatePair

from .errors import ExportError
from .layers import Recorder, Recurrent

_CONTROL_FLOW = ("If", "Loop", "Scan")
_STATE_INPUTS = {"h": 5, "c": 6}
_STATE_OUTPUTS = {"h": 1, "c": 2}
_GENERATED_SUFFIX = re.compile(r"(__\d+|:\d+)+$")
_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class End:
    """A graph input or output: its name, and its shape, where a str names a free dimension."""

    name: str
    shape: tuple[int | str | None, ...]


def refuse_what_is_not_onnx(proto: Any, layers: Sequence[str]) -> None:
    """Raise ExportError naming the layer where a node is control flow or not an operator of standard ONNX."""
    from onnx import defs

    known = {schema.name for schema in defs.get_all_schemas() if schema.domain == ""}
    for node in proto.graph.node:
        if node.domain in _DOMAINS and node.op_type in known and node.op_type not in _CONTROL_FLOW:
            continue
        readable = _readable(node.name, layers)
        layer = next((part for part in readable.split("/") if part in layers), None)
        if node.op_type in _CONTROL_FLOW:
            reason = f"it becomes an ONNX {node.op_type}"
        else:
            reason = f"operation {node.op_type} has no ONNX form"
        raise ExportError(
            f"{reason} (at {readable}); replace it by layers that need none, or move it out of the model",
            layer=layer,
        )


def wire_states(proto: Any, recorder: Recorder) -> tuple[StatePair, ...]:
    """Give every recurrent node that starts from zero its state as graph inputs and outputs.

    Not inside TimeDistributed, where each step of the model is a sequence of its own.
    Inputs ``NAME/initial_h`` and outputs ``NAME/final_h`` (and ``_c``) have shape [1, "batch", hidden].
    """
    from onnx import TensorProto, helper

    nodes = {node.name: node for node in proto.graph.node}
    pairs = []
    for record in recorder.records.values():
        node = nodes.get(record.name)
        if not isinstance(record, Recurrent) or node is None or not record.zero_state or record.distributed:
            continue
        renamed = {}
        for kind in ("h", "c")[: record.states_per_direction]:
            pair = StatePair(f"{record.name}/initial_{kind}", f"{record.name}/final_{kind}")
            shape = [1, "batch", record.cells[0].units]
            while len(node.input) <= _STATE_INPUTS[kind]:
                node.input.append("")
            node.input[_STATE_INPUTS[kind]] = pair.input
            renamed[node.output[_STATE_OUTPUTS[kind]]] = pair.output
            proto.graph.input.append(helper.make_tensor_value_info(pair.input, TensorProto.FLOAT, shape))
            proto.graph.output.append(helper.make_tensor_value_info(pair.output, TensorProto.FLOAT, shape))
            pairs.append(pair)
        _rename_values(proto, renamed)
    return tuple(pairs)


def tidy(proto: Any, layers: Sequence[str]) -> None:
    """Remove identities and what nothing reads, and name nodes and values after the layers they come from."""
    _remove_identities(proto)
    _remove_dead(proto)
    _name(proto, layers)
    del proto.graph.value_info[:]


def set_ends(proto: Any, inputs: Sequence[End], outputs: Sequence[End]) -> None:
    """Declare the shapes of the model's own inputs and outputs.

    A free dimension (None) of an output takes the name that shape inference brings it from an input, if any. A size
    that shape inference knows better is its own: Keras doubles the width of a Bidirectional whose halves differ.
    """
    from onnx import shape_inference

    _set_shapes(proto.graph.input, inputs)
    own = {end.name for end in outputs}
    for value in proto.graph.output:
        for dim in _dims(value) if value.name in own else ():
            dim.Clear()
    known = {size for end in inputs for size in end.shape if isinstance(size, str)}
    inferred = {
        value.name: [dim.dim_value or (dim.dim_param if dim.dim_param in known else None) for dim in _dims(value)]
        for value in shape_inference.infer_shapes(proto).graph.output
    }
    _set_shapes(proto.graph.output, [_with_inferred(end, inferred[end.name]) for end in outputs])


def _with_inferred(end: End, inferred: Sequence[int | str | None]) -> End:
    if len(inferred) != len(end.shape):
        return end
    merged = [
        found if size is None or (isinstance(size, int) and isinstance(found, int)) else size
        for size, found in zip(end.shape, inferred, strict=True)
    ]
    return End(end.name, tuple(merged))


def _set_shapes(values: Any, ends: Sequence[End]) -> None:
    by_name = {value.name: value for value in values}
    for end in ends:
        dims = _dims(by_name[end.name])
        del dims[:]
        for size in end.shape:
            dim = dims.add()
            if isinstance(size, str):
                dim.dim_param = size
            elif size is not None:
                dim.dim_value = size


def _dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


def node_counts(proto: Any) -> dict[str, int]:
    """How many nodes of each operator the graph has."""
    return dict(sorted(Counter(node.op_type for node in proto.graph.node).items()))


def check(proto: Any) -> None:
    """Run the ONNX checker with full and strict shape inference. Raises ExportError with its words."""
    import onnx

    try:
        onnx.checker.check_model(proto, full_check=True)
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph does not pass onnx.checker: {error}") from error


def _rename_values(proto: Any, renamed: dict[str, str]) -> None:
    for node in proto.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]


def _remove_identities(proto: Any) -> None:
    """Short-cut every Identity, except one between a graph input or initializer and a graph output."""
    fixed = {value.name for value in proto.graph.input} | {tensor.name for tensor in proto.graph.initializer}
    outputs = {value.name for value in proto.graph.output}
    for node in [n for n in proto.graph.node if n.op_type == "Identity"]:
        source, target = node.input[0], node.output[0]
        if target not in outputs:
            proto.graph.node.remove(node)
            _rename_values(proto, {target: source})
        elif source not in fixed and source not in outputs:
            proto.graph.node.remove(node)
            _rename_values(proto, {source: target})


def _remove_dead(proto: Any) -> None:
    """Drop nodes, optional outputs of nodes, and initializers that nothing reads."""
    from onnx import defs

    graph = proto.graph
    read = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if any(name in read for name in node.output):
            kept.append(node)
            read.update(name for name in node.input if name)
    kept.reverse()
    for node in kept:
        # the parts of a Split, or TopK's values where only the indices are read, have to keep a name
        kinds = [output.option for output in defs.get_schema(node.op_type).outputs]
        optional = [kind == defs.OpSchema.FormalParameterOption.Optional for kind in kinds]
        optional += [False] * (len(node.output) - len(optional))
        used = [name if name in read or not may else "" for name, may in zip(node.output, optional, strict=False)]
        while used and not used[-1]:
            used.pop()
        node.output[:] = used
    _replace(graph.node, kept)
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in read])


def _replace(field: Any, items: Iterable[Any]) -> None:
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    del field[:]
    field.extend(copies)


def _name(proto: Any, layers: Sequence[str]) -> None:
    graph = proto.graph
    fixed = {v.name for v in graph.input} | {v.name for v in graph.output}
    taken_values = set(fixed)
    renamed: dict[str, str] = {}
    for tensor in graph.initializer:
        if tensor.name not in fixed:
            renamed[tensor.name] = _free_name(_readable(tensor.name, layers), taken_values)
    taken_nodes: set[str] = set()
    for node in graph.node:
        node.name = _free_name(_readable(node.name, layers) or node.op_type, taken_nodes)
        single = sum(1 for name in node.output if name) == 1 and node.op_type not in ("GRU", "LSTM", "RNN")
        for name, suffix in zip(node.output, ("Y", "Y_h", "Y_c", *map(str, range(3, len(node.output)))), strict=False):
            if name and name not in fixed:
                renamed[name] = _free_name(node.name if single else f"{node.name}/{suffix}", taken_values)
    for tensor in graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    _rename_values(proto, renamed)


def _free_name(wanted: str, taken: set[str]) -> str:
    name, i = wanted, 1
    while name in taken:
        name, i = f"{wanted}_{i}", i + 1
    taken.add(name)
    return name


def _readable(name: str, layers: Sequence[str]) -> str:
    """A TensorFlow or tf2onnx name without its generated parts.

    TensorFlow puts the model's name before and a number behind a layer's: sequential_1/dense_1/Sigmoid__7 is
    dense/Sigmoid where the model has a layer ``dense``.
    """
    if name in layers:
        return name
    parts = [part for part in _GENERATED_SUFFIX.sub("", name).split("/") if part]
    if parts and parts[0] in layers:
        return "/".join(parts)
    for i in reversed(range(len(parts) - 1)):
        for layer in (re.sub(r"_\d+$", "", parts[i]), parts[i]):
            if layer in layers:
                return "/".join([layer, *parts[i + 1 :]])
    return "/".join(parts)
