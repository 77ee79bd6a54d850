"""Matrix products, sums of products and softmax."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...kernels.twins.linear import TWINS
from ..ir import Node, Value
from .registry import (
    LAST,
    REQUIRED,
    UNLIMITED,
    Ins,
    NotCausalError,
    Op,
    Time,
    axis_in,
    broadcast,
    combine,
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


def _einsum_attributes(node: Node, opset: int) -> dict[str, Any]:
    """The labels of each input and of the output; "..." is one label."""
    equation = node.attributes["equation"].replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    named = [term.replace("...", "", 1) for term in [*terms, right]]
    if not all(c.isascii() and c.isalpha() for term in named for c in term):
        raise node.malformed(f"{equation!r} is not an equation of letters, commas and an ellipsis")
    if not arrow:
        counts = Counter("".join(named[:-1]))
        right = "..." * ("..." in left) + "".join(sorted(label for label, count in counts.items() if count == 1))
    elif len(set(named[-1])) < len(named[-1]) or not set(named[-1]) <= set("".join(named[:-1])):
        raise node.malformed(f"{equation!r}: the output needs labels of the inputs, each once")
    if "..." in left and "..." not in right:
        raise node.unsupported("an ellipsis that is summed over is not implemented", "equation")
    if len(terms) != len(node.inputs):
        raise node.malformed(f"{equation!r} has {len(terms)} inputs, the node {len(node.inputs)}")
    if len(terms) > 2:
        raise node.unsupported("more than two inputs are not implemented", "equation")
    return {"equation": f"{left}->{right}", "terms": tuple(terms), "output": right}


def _einsum(node: Node, ins: Ins) -> list[Value]:
    values = [need(v) for v in ins]
    dtype = same_dtype(node, values)
    numeric(node, values[:1])
    sizes: dict[str, int] = {}
    ellipses = []
    for value, labels in zip(values, _einsum_labels(node, ins), strict=True):
        ellipses.append(Value(dtype, tuple(d for d, label in zip(value.shape, labels, strict=True) if len(label) > 1)))
        for d, label in zip(value.shape, labels, strict=True):
            if len(label) == 1 and sizes.setdefault(label, d) != d:
                raise node.malformed(f"{label} is {sizes[label]} and {d}")
    middle = broadcast(node, ellipses)
    before, dots, after = node.attributes["output"].partition("...")
    shape = (*(sizes[c] for c in before), *(middle if dots else ()), *(sizes[c] for c in after))
    return [Value(dtype, shape)]


def _einsum_labels(node: Node, ins: Ins) -> list[list[str]]:
    """One label per axis of each input; the axes of an ellipsis are "...1", "...2", counted from the last."""
    found = []
    for value, term in zip(ins, node.attributes["terms"], strict=True):
        shape = need(value).shape
        before, dots, after = term.partition("...")
        free = len(shape) - len(before) - len(after)
        if free < 0 or (free and not dots):
            raise node.malformed(f"{term!r} for an input of shape {list(shape)}")
        found.append([*before, *(f"...{i}" for i in range(free, 0, -1)), *after])
    return found


def _einsum_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    labels = _einsum_labels(node, ins)
    present = {LAST if t == LAST else labels[i][t] for i, t in enumerate(times) if t is not None}
    if len(present) > 1:
        raise NotCausalError("its inputs have the time on different axes")
    label = present.pop()
    if isinstance(label, int):
        return [LAST]
    if any(axes.count(label) > 1 for axes in labels):
        raise NotCausalError("it picks steps from a diagonal")
    before, _, after = node.attributes["output"].partition("...")
    rank = len(outs[0].shape) - len(before) - len(after)
    out = [*before, *(f"...{i}" for i in range(rank, 0, -1)), *after]
    if label not in out:
        raise NotCausalError("it sums over the time axis")
    return [out.index(label)]


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


OPS: dict[str, Op] = {
    "MatMul": Op((2, 2), _matmul, TWINS["MatMul"], _product_time),
    "Gemm": Op(
        (2, 3),
        _gemm,
        TWINS["Gemm"],
        _product_time,
        attributes={"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0},
    ),
    "Einsum": Op(
        (1, UNLIMITED),
        _einsum,
        TWINS["Einsum"],
        _einsum_time,
        attributes={"equation": REQUIRED},
        resolve=_einsum_attributes,
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
}
