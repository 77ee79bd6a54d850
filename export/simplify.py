"""The graph without what changes nothing: identities, pairs that undo each other, and what nothing reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .names import rename_values

# More elements than any list of axes or sizes has.
_LARGE = 64


def simplify(proto: Any) -> None:
    """Short-cut every node that provably gives its input back, join pairs, and drop what is dead."""
    while _shorten(proto):
        _remove_dead(proto)
    _remove_dead(proto)


class _Facts:
    """What is known of the values of a graph before any input."""

    def __init__(self, proto: Any) -> None:
        from onnx import numpy_helper, shape_inference

        inferred = shape_inference.infer_shapes(_bare(proto)).graph
        self.writers = {name: node for node in proto.graph.node for name in node.output if name}
        self.tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
        self.types: dict[str, int] = {name: tensor.data_type for name, tensor in self.tensors.items()}
        self.shapes: dict[str, list[int | str]] = {}
        self._to_array = numpy_helper.to_array
        for value in (*inferred.value_info, *inferred.input, *inferred.output):
            kind = value.type.tensor_type
            self.types[value.name] = kind.elem_type
            if kind.HasField("shape"):
                self.shapes[value.name] = [dim.dim_value or dim.dim_param for dim in kind.shape.dim]

    def integers(self, name: str) -> list[int] | None:
        """The integers of an initializer."""
        tensor = self.tensors.get(name)
        return None if tensor is None else [int(v) for v in np.atleast_1d(self._to_array(tensor))]

    def before(self, name: str, op_type: str) -> Any:
        """The node that writes a value, where it is of this operator."""
        node = self.writers.get(name)
        return node if node is not None and node.op_type == op_type else None


def _bare(proto: Any) -> Any:
    """The graph with its large initializers as inputs, and without what tf2onnx says of the values.

    Only what follows from the graph is believed; weights need not be copied for that.
    """
    from onnx import helper

    graph = proto.graph
    large = [tensor for tensor in graph.initializer if math.prod(tensor.dims) > _LARGE]
    names = {tensor.name for tensor in large}
    inputs = [helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in large]
    small = [tensor for tensor in graph.initializer if tensor.name not in names]
    bare = helper.make_graph(graph.node, graph.name, [*graph.input, *inputs], graph.output, small)
    return helper.make_model(bare, opset_imports=proto.opset_import, ir_version=proto.ir_version)


def _shorten(proto: Any) -> bool:
    """One round; whether anything has changed."""
    facts = _Facts(proto)
    renamed: dict[str, str] = {}
    changed = False
    for node in proto.graph.node:
        node.input[:] = [_now(renamed, name) for name in node.input]
        changed |= _join(node, facts)
        source = _given_back(node, facts)
        if source is not None:
            renamed[node.output[0]] = source
    return _short_cut(proto, renamed) or changed


def _now(renamed: Mapping[str, str], name: str) -> str:
    while name in renamed:
        name = renamed[name]
    return name


def _join(node: Any, facts: _Facts) -> bool:
    """Let a node read what the one before it reads, where the two are one."""
    if node.op_type == "Transpose":
        first = facts.before(node.input[0], "Transpose")
        if first is not None:
            order, then = _permutation(first), _permutation(node)
            if order is not None and then is not None:
                node.input[0] = first.input[0]
                _set_permutation(node, [order[axis] for axis in then])
                return True
    if node.op_type == "Reshape" and 0 not in (facts.integers(node.input[1]) or [0]):
        first = facts.before(node.input[0], "Reshape")
        if first is not None:
            node.input[0] = first.input[0]
            return True
    return False


def _given_back(node: Any, facts: _Facts) -> str | None:
    """The value that the node's output is equal to, if any."""
    if not node.input or len(node.output) != 1:
        return None
    source = str(node.input[0])
    kind = node.op_type
    if kind == "Identity" or (kind in ("Concat", "Max", "Min", "Sum", "Mean") and len(node.input) == 1):
        return source
    if kind == "Cast" and facts.types.get(source) == _attribute(node, "to"):
        return source
    if kind == "Transpose":
        order = _permutation(node)
        return source if order is not None and order == sorted(order) else None
    if kind in ("Squeeze", "Unsqueeze") and len(node.input) == 2:
        first = facts.before(source, "Unsqueeze" if kind == "Squeeze" else "Squeeze")
        same = first is not None and len(first.input) == 2 and _same_axes(first.input[1], node.input[1], facts)
        return str(first.input[0]) if same else None
    if kind == "Reshape":
        before, after = facts.shapes.get(source), facts.shapes.get(node.output[0])
        known = before is not None and before == after and "" not in before
        return source if known else None
    return None


def _same_axes(first: str, second: str, facts: _Facts) -> bool:
    """Whether both name the same axes, counted from the same end: sorted, since their order says nothing."""
    a, b = facts.integers(first), facts.integers(second)
    return a is not None and b is not None and sorted(a) == sorted(b)


def _short_cut(proto: Any, renamed: Mapping[str, str]) -> bool:
    """Leave nodes out whose output is another value, except one between a graph input or initializer and an output."""
    fixed = {value.name for value in proto.graph.input} | {tensor.name for tensor in proto.graph.initializer}
    outputs = {value.name for value in proto.graph.output}
    gone: list[str] = []
    names: dict[str, str] = {}
    for target in renamed:
        source = _now(names, _now(renamed, target))
        if target not in outputs:
            names[target] = source
        elif source not in fixed and source not in outputs:
            names[source] = target
        else:
            continue
        gone.append(target)
    kept = [node for node in proto.graph.node if not (len(node.output) == 1 and node.output[0] in gone)]
    _replace(proto.graph.node, kept)
    rename_values(proto, {name: _now(names, name) for name in names})
    return bool(gone)


def _permutation(node: Any) -> list[int] | None:
    order = _attribute(node, "perm")
    return None if order is None else list(order)


def _set_permutation(node: Any, order: list[int]) -> None:
    (attribute,) = (attribute for attribute in node.attribute if attribute.name == "perm")
    attribute.ints[:] = order


def _attribute(node: Any, name: str) -> Any:
    from onnx import helper

    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)


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
