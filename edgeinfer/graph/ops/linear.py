"""Matrix products, softmax and reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...kernels.twins.linear import TWINS, reduced_axes
from ..ir import Node, Value
from .registry import (
    LAST,
    Ins,
    NotCausalError,
    Op,
    Time,
    axis_in,
    broadcast,
    combine,
    integers,
    need,
    numeric,
    same_dtype,
)


def _matmul(node: Node, ins: Ins) -> list[Value]:
    a, b = need(ins[0]), need(ins[1])
    dtype = same_dtype(node, [a, b])
    numeric(node, [a])
    if len(a.shape) < 1 or len(b.shape) < 1:
        raise node.malformed("a scalar input")
    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    if left[-1] != right[-2]:
        raise node.malformed(f"shapes {list(a.shape)} and {list(b.shape)} do not multiply")
    lead = broadcast(node, [Value(dtype, left[:-2]), Value(dtype, right[:-2])])
    rows = left[-2:-1] if len(a.shape) > 1 else ()
    columns = right[-1:] if len(b.shape) > 1 else ()
    return [Value(dtype, (*lead, *rows, *columns))]


def _product_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    time = times[0]
    if times[1] is not None:
        if time == times[1] == LAST:
            return [LAST]
        raise NotCausalError("both factors change with time")
    if any(t is not None for t in times[2:]):
        raise NotCausalError("its bias changes with time")
    if time is None or time == LAST:
        return [time]
    a = need(ins[0])
    summed = 0 if node.attributes.get("transA") else len(a.shape) - 1
    if time == summed:
        raise NotCausalError("it sums over the time axis")
    if node.op_type == "Gemm":
        return [0]
    return [time + max(0, len(need(ins[1]).shape) - len(a.shape))]


def _gemm(node: Node, ins: Ins) -> list[Value]:
    a, b = need(ins[0]), need(ins[1])
    dtype = same_dtype(node, [v for v in ins if v is not None])
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise node.malformed(f"expected matrices, got shapes {list(a.shape)} and {list(b.shape)}")
    rows, inner = a.shape[::-1] if node.attributes["transA"] else a.shape
    other, columns = b.shape[::-1] if node.attributes["transB"] else b.shape
    if inner != other:
        raise node.malformed(f"shapes {list(a.shape)} and {list(b.shape)} do not multiply")
    if len(ins) > 2:
        c = need(ins[2]).shape
        if len(c) > 2 or any(d not in (1, full) for d, full in zip(c[::-1], (columns, rows), strict=False)):
            raise node.malformed(f"C of shape {list(c)} does not broadcast to {[rows, columns]}")
    return [Value(dtype, (rows, columns))]


def _softmax(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    if x.dtype.kind != "f":
        raise node.malformed(f"expected a float tensor, got {x.dtype.name}")
    axis = axis_in(node, node.attributes["axis"], len(x.shape))
    if node.attributes["flattened"] and math.prod(x.shape[axis:]) != x.shape[axis]:
        raise node.unsupported("before opset 13, only the last axis is implemented", "axis")
    return [Value(x.dtype, x.shape)]


def _softmax_attributes(node: Node, opset: int) -> dict[str, Any]:
    axis = node.attributes["axis"]
    if axis is None:
        axis = -1 if opset >= 13 else 1
    return {"axis": axis, "flattened": opset < 13}


def _over_other_axis(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    time = combine(times)
    if time is not None and time != LAST and node.attributes["axis"] % len(outs[0].shape) == time:
        raise NotCausalError("it normalizes over the time axis")
    return [time]


def _reduce(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    numeric(node, [x])
    axes = _axes(node, ins)
    if node.op_type in ("ReduceMax", "ReduceMean", "ReduceMin") and any(x.shape[i] == 0 for i in axes):
        raise node.malformed(f"nothing to reduce in {list(x.shape)}")
    if node.attributes["keepdims"]:
        return [Value(x.dtype, tuple(1 if i in axes else d for i, d in enumerate(x.shape)))]
    return [Value(x.dtype, tuple(d for i, d in enumerate(x.shape) if i not in axes))]


def _axes(node: Node, ins: Ins) -> tuple[int, ...]:
    x = need(ins[0])
    given = integers(node, ins[1], "axes") if len(ins) > 1 else None
    for axis in () if given is None else given:
        axis_in(node, int(axis), len(x.shape), "axes")
    return reduced_axes(node.attributes, len(x.shape), given)


def _reduce_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    time = times[0]
    if time is None or time == LAST:
        return [time]
    axes = _axes(node, ins)
    if time in axes:
        raise NotCausalError("it reduces over the time axis")
    return [time if node.attributes["keepdims"] else time - sum(a < time for a in axes)]


def _reduction(name: str, since: int) -> Op:
    return Op(
        (1, 2),
        _reduce,
        TWINS[name],
        _reduce_time,
        attributes={"keepdims": 1, "noop_with_empty_axes": 0},
        as_input={"axes": (1, since)},
    )


OPS: dict[str, Op] = {
    "MatMul": Op((2, 2), _matmul, TWINS["MatMul"], _product_time),
    "Gemm": Op(
        (2, 3),
        _gemm,
        TWINS["Gemm"],
        _product_time,
        attributes={"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0},
    ),
    **{
        name: Op(
            (1, 1),
            _softmax,
            TWINS[name],
            _over_other_axis,
            attributes={"axis": None},
            resolve=_softmax_attributes,
        )
        for name in ("Softmax", "LogSoftmax")
    },
    **{name: _reduction(name, 18) for name in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd")},
    "ReduceSum": _reduction("ReduceSum", 13),
}
