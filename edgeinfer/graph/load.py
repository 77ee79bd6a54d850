"""An ONNX file's messages → a checked Graph."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from ..errors import ModelFormatError, UnsupportedOperatorError
from ..limits import STRICT, Policy
from ..onnx_file import (
    DTYPES,
    Attribute,
    ExternalData,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueProto,
    tensor_to_array,
)
from .ir import Graph, Node, ValueInfo
from .ops import UNLIMITED, Op, find, normalize

OPSETS = range(11, 27)


def build_graph(model: ModelProto, policy: Policy = STRICT) -> Graph:
    """Check the model's structure and bring its nodes to one form.

    Raises ModelFormatError for a graph that breaks ONNX's rules and UnsupportedOperatorError, naming the node, for
    operators, attributes and opsets that are not implemented; ModelLimitError for tensors that are too large, or in
    other files.
    """
    tensors = _Tensors(policy)
    proto = model.graph
    opset = model.opsets[""]
    if opset not in OPSETS:
        raise UnsupportedOperatorError(
            f"opset {opset} is not supported: expected {OPSETS.start} to {OPSETS.stop - 1}",
            op_type="",
            node="",
        )
    constants: dict[str, np.ndarray] = {}
    for tensor in proto.initializers:
        _define(constants, tensor.name, "initializer", tensor.offset)
        constants[tensor.name] = tensors.array(tensor)
    inputs = []
    names = set(constants)
    for value in proto.inputs:
        if value.name in constants:
            continue  # an initializer listed as an input is a default; it is not asked for
        _define(names, value.name, "input", value.offset)
        names.add(value.name)
        inputs.append(_value_info(value, "input"))
    nodes = []
    node_names: dict[str, int] = {}
    for item in proto.nodes:
        node = _node(item, opset, constants, names, node_names, tensors)
        if node is not None:
            nodes.append(node)
    outputs = []
    output_names: set[str] = set()
    for value in proto.outputs:
        if value.name not in names:
            raise ModelFormatError(f'graph output "{value.name}" is not produced by any node', offset=value.offset)
        _define(output_names, value.name, "output", value.offset)
        output_names.add(value.name)
        outputs.append(_value_info(value, "output"))
    if not outputs:
        raise ModelFormatError("the graph has no outputs")
    return Graph(
        _sorted(nodes, names | set(constants)),
        constants,
        tuple(inputs),
        tuple(outputs),
        opset,
        model.producer,
        policy.limits,
    )


class _Tensors:
    """Stored tensors as arrays, under one policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._external = ExternalData(policy.external_folder, policy.limits, policy.why_not)

    def array(self, tensor: TensorProto) -> np.ndarray:
        """The values. A scalar may be infinite, as a bound or a fill value is; a weight may not."""
        array = tensor_to_array(tensor, self._external, self._policy.limits)
        may_be_anything = not array.ndim or array.dtype.kind != "f" or self._policy.nonfinite_weights
        if may_be_anything or np.isfinite(array).all():
            return array
        position = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ModelFormatError(
            f'tensor "{tensor.name}": expected finite numbers, got {array[position]} at {list(position)}; '
            "load(…, nonfinite_weights=True) lets it pass",
            offset=tensor.offset,
        )


def _define(known: Any, name: str, what: str, offset: int) -> None:
    if not name:
        raise ModelFormatError(f"{what} without a name", offset=offset)
    if name in known:
        raise ModelFormatError(f'{what} "{name}": the name is defined twice', offset=offset)


def _value_info(value: ValueProto, what: str) -> ValueInfo:
    if value.elem_type not in DTYPES:
        raise ModelFormatError(
            f'{what} "{value.name}": element type {value.elem_type} is not supported', offset=value.offset
        )
    if value.shape is None and what == "input":
        raise ModelFormatError(f'input "{value.name}" has no shape', offset=value.offset)
    shape = value.shape or ()
    if any(isinstance(d, int) and d < 0 for d in shape):
        raise ModelFormatError(f'{what} "{value.name}": negative dimension in {list(shape)}', offset=value.offset)
    return ValueInfo(value.name, DTYPES[value.elem_type], shape)


def _node(
    item: NodeProto,
    opset: int,
    constants: dict[str, np.ndarray],
    names: set[str],
    node_names: dict[str, int],
    tensors: _Tensors,
) -> Node | None:
    name = _node_name(item, node_names)
    where = f'in node "{name}" ({item.op_type})'
    if item.domain:
        raise UnsupportedOperatorError(
            f"{where}: operators of the domain {item.domain} are not supported", op_type=item.op_type, node=name
        )
    for output in item.outputs:
        if output:
            _define(names, output, f"{where}: output", item.offset)
            names.add(output)
    if item.op_type == "Constant":
        constants[item.outputs[0] if item.outputs else ""] = _constant(item, where, tensors)
        return None
    op = find(item.op_type)
    if op is None:
        raise UnsupportedOperatorError(f"{where}: the operator is not implemented", op_type=item.op_type, node=name)
    _check_arity(item, op, opset, where)
    attributes = {key: _attribute_value(attribute, tensors) for key, attribute in item.attributes.items()}
    return normalize(Node(item.op_type, name, item.inputs, item.outputs, attributes), op, opset, constants)


def _node_name(item: NodeProto, taken: dict[str, int]) -> str:
    """The node's name, its first output's where it has none; numbered where an earlier node has it.

    ``taken`` has for each name the last number that it was given, or a thousand equal names would be a million looks.
    """
    name = base = item.name or next((o for o in item.outputs if o), item.op_type)
    count = taken.get(base, 0)
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken[base] = max(count, 1)
    taken.setdefault(name, 1)
    return name


def _check_arity(item: NodeProto, op: Op, opset: int, where: str) -> None:
    low, high = op.inputs
    low -= sum(index < low and opset < since for index, since in op.as_input.values())
    required = item.inputs if high == UNLIMITED else item.inputs[:low]
    if not low <= len(item.inputs) <= high or not all(required):
        wanted = f"{low}" if low == high else f"{low} to {high}"
        raise ModelFormatError(
            f"{where}: expected {wanted} inputs, got {sum(map(bool, item.inputs))}", offset=item.offset
        )
    if not 1 <= len(item.outputs) <= op.outputs:
        raise ModelFormatError(
            f"{where}: expected 1 to {op.outputs} outputs, got {len(item.outputs)}", offset=item.offset
        )


def _constant(item: NodeProto, where: str, tensors: _Tensors) -> np.ndarray:
    if len(item.attributes) != 1 or len(item.outputs) != 1:
        raise ModelFormatError(f"{where}: expected one attribute and one output", offset=item.offset)
    ((key, attribute),) = item.attributes.items()
    value = attribute.value
    if key == "value" and isinstance(value, TensorProto):
        return tensors.array(value)
    if key in ("value_float", "value_floats"):
        return np.array(value, np.float32)
    if key in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    raise UnsupportedOperatorError(
        f"{where}: attribute {key} is not implemented", op_type="Constant", node=item.name, attribute=key
    )


def _attribute_value(attribute: Attribute, tensors: _Tensors) -> Any:
    value = attribute.value
    if isinstance(value, TensorProto):
        return tensors.array(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, tuple) and value and isinstance(value[0], bytes):
        return tuple(v.decode("utf-8", "replace") for v in value if isinstance(v, bytes))
    return value


def _sorted(nodes: list[Node], names: set[str]) -> tuple[Node, ...]:
    """The nodes so that each comes after those it reads; as they stood, where that already holds."""
    producers = {output: i for i, node in enumerate(nodes) for output in node.outputs if output}
    needs: Mapping[int, set[int]] = {
        i: {producers[name] for name in node.inputs if name in producers} for i, node in enumerate(nodes)
    }
    for node in nodes:
        for name in node.inputs:
            if name and name not in names:
                raise node.malformed(f'input "{name}" is not produced by any node, input or initializer')
    if all(max(before, default=-1) < i for i, before in needs.items()):
        return tuple(nodes)
    try:
        order = TopologicalSorter(needs).static_order()
        return tuple(nodes[i] for i in order)
    except CycleError as error:
        first = nodes[error.args[1][0]]
        raise first.malformed("the graph has a cycle through this node") from None
