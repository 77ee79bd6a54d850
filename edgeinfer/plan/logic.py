"""Which kernel of the core runs comparisons, logic, choices and reductions: what a mask is made of."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from ..graph import Node
from . import instructions as code
from .builder import Builder
from .memory import Ref
from .strides import broadcast_strides

_FALSE = np.zeros(1, np.bool_)


def compare(builder: Builder, node: Node) -> bool:
    """Comparisons, And and Or."""
    values = [builder.bound.values[name] for name in node.inputs]
    return _compare(builder, node, [builder.ref(name) for name in node.inputs], values[0].dtype)


def not_(builder: Builder, node: Node) -> bool:
    """Whether it equals false."""
    false = builder.constant("false", lambda: _FALSE)
    return _compare(builder, node, [builder.ref(node.inputs[0]), false], np.dtype(np.bool_))


def _compare(builder: Builder, node: Node, ins: list[Ref], dtype: np.dtype) -> bool:
    values, out = builder.bound.values, builder.bound.values[node.outputs[0]]
    if dtype not in code.WITH_BOOL or len(out.shape) > code.MAX_RANK:
        return False
    operation = code.COMPARISONS[node.op_type if node.op_type != "Not" else "Equal"]
    strides = [stride for name in node.inputs for stride in broadcast_strides(values[name], out.shape)]
    strides += [0] * (2 * len(out.shape) - len(strides))
    dims = (operation, code.WITH_BOOL[dtype], len(out.shape), *out.shape, *strides)
    builder.emit(code.Instruction(code.COMPARE, node.name, ins, (builder.new(node.outputs[0]),), dims))
    return True


def where(builder: Builder, node: Node) -> bool:
    values, out = builder.bound.values, builder.bound.values[node.outputs[0]]
    rank, item = len(out.shape), out.dtype.itemsize
    if rank > code.WHERE_RANK or item not in (1, 4, 8):
        return False
    strides = [stride for name in node.inputs for stride in broadcast_strides(values[name], out.shape)]
    ins = [builder.ref(name) for name in node.inputs]
    dims = (item, rank, *out.shape, *strides)
    builder.emit(code.Instruction(code.WHERE, node.name, ins, (builder.new(node.outputs[0]),), dims))
    return True


def reduce_(builder: Builder, node: Node) -> bool:
    """Over axes that stand together. One element reduces to itself."""
    value = builder.bound.values[node.inputs[0]]
    axes = _reduced(builder, node, len(value.shape))
    if math.prod(value.shape[axis] for axis in axes) == 1:
        builder.alias(node.outputs[0], node.inputs[0])
        return True
    moving = [axis for axis, size in enumerate(value.shape) if size != 1]
    reduced = [axis in axes for axis in moving]
    first, last = reduced.index(True), len(reduced) - reduced[::-1].index(True)
    mean = node.op_type in ("ReduceMean", "GlobalAveragePool")
    if not all(reduced[first:last]) or value.dtype not in code.DTYPES or (mean and value.dtype.kind != "f"):
        return False
    sizes = [value.shape[axis] for axis in moving]
    rows, count, inner = math.prod(sizes[:first]), math.prod(sizes[first:last]), math.prod(sizes[last:])
    if not count:
        return False
    dims = (code.REDUCTIONS[node.op_type], code.DTYPES[value.dtype], rows, count, inner, int(mean))
    ins = (builder.ref(node.inputs[0]),)
    builder.emit(code.Instruction(code.REDUCE, node.name, ins, (builder.new(node.outputs[0]),), dims))
    return True


def _reduced(builder: Builder, node: Node, rank: int) -> Collection[int]:
    if node.op_type.startswith("Global"):
        return range(2, rank)
    from ..kernels.twins.reductions import reduced_axes  # loaded with the operator, of which most models have none

    given = builder.bound.values[node.inputs[1]].data if len(node.inputs) > 1 else None
    return reduced_axes(node.attributes, rank, given)
