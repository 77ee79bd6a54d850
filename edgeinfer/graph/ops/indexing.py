"""Operators that read or write single elements by computed indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...kernels.twins.indexing import TWINS
from ..ir import Node, Value
from .registry import (
    LAST,
    Ins,
    NotCausalError,
    Op,
    Time,
    axis_in,
    combine,
    constant,
    need,
    outside,
    same_dtype,
)

_INTEGERS = ("int32", "int64")
_COMPUTED = "it looks steps up by a computed index"


def _indices(node: Node, value: Value | None, dtypes: Sequence[str] = _INTEGERS) -> Value:
    indices = need(value)
    if indices.dtype.name not in dtypes:
        raise node.malformed(f"expected {' or '.join(dtypes)} indices, got {indices.dtype.name}")
    return indices


def _gather_elements(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    indices = _indices(node, ins[1])
    _check_places(node, x, indices)
    return [Value(x.dtype, indices.shape)]


def _check_places(node: Node, x: Value, indices: Value) -> int:
    """The axis, after checking that the indices' shape lies within that of x on every other axis."""
    axis = axis_in(node, node.attributes["axis"], len(x.shape))
    beyond = [i for i, (a, b) in enumerate(zip(indices.shape, x.shape, strict=False)) if i != axis and a > b]
    if len(indices.shape) != len(x.shape) or beyond:
        raise node.malformed(f"indices of shape {list(indices.shape)} for {list(x.shape)} along axis {axis}")
    return axis


def _elements_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    x, indices = need(ins[0]), need(ins[1])
    time = outside({node.attributes["axis"] % len(x.shape)}, _COMPUTED, combine(times))
    if time is not None and time != LAST and x.shape[time] != indices.shape[time]:
        raise NotCausalError("it picks single steps of the sequence")
    return [time]


def _gather_nd(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    indices = _indices(node, ins[1], ("int64",))
    batch = node.attributes["batch_dims"]
    if not indices.shape or not 0 <= batch < min(len(x.shape), len(indices.shape)):
        raise node.malformed(f"batch_dims {batch} for shapes {list(x.shape)} and {list(indices.shape)}")
    depth = indices.shape[-1]
    if x.shape[:batch] != indices.shape[:batch] or not 1 <= depth <= len(x.shape) - batch:
        raise node.malformed(f"indices of shape {list(indices.shape)} for {list(x.shape)}, batch_dims {batch}")
    return [Value(x.dtype, (*indices.shape[:-1], *x.shape[batch + depth :]))]


def _gather_nd_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    indices = need(ins[1])
    batch, rank = node.attributes["batch_dims"], len(indices.shape)
    data_time, index_time = times
    if index_time is not None and index_time != LAST and index_time >= rank - 1:
        raise NotCausalError(_COMPUTED)
    if data_time is not None and data_time != LAST and data_time >= batch:
        skipped = batch + indices.shape[-1]
        if data_time < skipped or index_time is not None:
            raise NotCausalError(_COMPUTED)
        return [data_time - skipped + rank - 1]
    return [combine([data_time, index_time])]


def _scatter_elements(node: Node, ins: Ins) -> list[Value]:
    x, updates = need(ins[0]), need(ins[2])
    indices = _indices(node, ins[1])
    _check_places(node, x, indices)
    return _scattered(node, x, updates, indices.shape)


def _scatter_nd(node: Node, ins: Ins) -> list[Value]:
    x, updates = need(ins[0]), need(ins[2])
    indices = _indices(node, ins[1], ("int64",))
    if not indices.shape or not x.shape or not 1 <= indices.shape[-1] <= len(x.shape):
        raise node.malformed(f"indices of shape {list(indices.shape)} for {list(x.shape)}")
    return _scattered(node, x, updates, (*indices.shape[:-1], *x.shape[indices.shape[-1] :]))


def _scattered(node: Node, x: Value, updates: Value, shape: tuple[int, ...]) -> list[Value]:
    if updates.shape != shape:
        raise node.malformed(f"updates: expected {list(shape)}, got {list(updates.shape)}")
    if node.attributes["reduction"] != "none" and x.dtype.kind == "b":
        raise node.malformed("expected numbers to reduce, got bool")
    return [Value(same_dtype(node, [x, updates]), x.shape)]


def _scatter_attributes(node: Node, opset: int) -> dict[str, Any]:
    known = ("none", "add", "mul", "max", "min")
    if node.attributes["reduction"] not in known:
        raise node.malformed(f"reduction: expected one of {', '.join(known)}, got {node.attributes['reduction']!r}")
    return dict(node.attributes)


def _scatter_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    return [outside(range(len(outs[0].shape)), "it writes into single steps of the sequence", combine(times))]


def _one_hot(node: Node, ins: Ins) -> list[Value]:
    indices, values = need(ins[0]), need(ins[2])
    if indices.dtype.kind == "b":
        raise node.malformed("expected numbers, got bool")
    depth = constant(node, ins[1], "depth")
    if depth.size != 1 or depth.dtype.kind not in "fiu" or not 1 <= depth.item() < 1 << 31:
        raise node.malformed(f"depth: expected one positive number, got {depth.reshape(-1)[:9].tolist()}")
    if values.shape != (2,):
        raise node.malformed(f"values: expected [2], got {list(values.shape)}")
    axis = axis_in(node, node.attributes["axis"], len(indices.shape) + 1)
    shape = (*indices.shape[:axis], int(depth.reshape(-1)[0]), *indices.shape[axis:])
    return [Value(values.dtype, shape)]


def _one_hot_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    if times[2] is not None:
        raise NotCausalError("its values change with time")
    time = times[0]
    if time is None or time == LAST:
        return [time]
    return [time + (node.attributes["axis"] % len(outs[0].shape) <= time)]


def _reverse_sequence(node: Node, ins: Ins) -> list[Value]:
    x, lens = need(ins[0]), need(ins[1])
    batch, time = node.attributes["batch_axis"], node.attributes["time_axis"]
    if {batch, time} != {0, 1}:
        raise node.malformed(f"expected batch_axis and time_axis 0 and 1, got {batch} and {time}")
    if len(x.shape) < 2 or lens.dtype.name != "int64" or lens.shape != (x.shape[batch],):
        raise node.malformed(
            f"sequence_lens: expected int64, one for each row of {list(x.shape)}, "
            f"got {lens.dtype.name} {list(lens.shape)}"
        )
    return [Value(x.dtype, x.shape)]


def _reverse_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    if times[1] is not None:
        raise NotCausalError("it turns rows round by a computed length")
    return [outside({node.attributes["time_axis"]}, "it turns the sequence round", times[0])]


def _compress(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    condition = constant(node, ins[1], "the condition")
    if condition.ndim != 1 or condition.dtype.kind != "b":
        raise node.malformed(f"condition: expected a list of bool, got {condition.dtype.name} {list(condition.shape)}")
    kept = int(condition.sum())
    axis = node.attributes["axis"]
    length = math.prod(x.shape) if axis is None else x.shape[axis_in(node, axis, len(x.shape))]
    if condition.size > length:
        raise node.malformed(f"a condition of {condition.size} for {length} elements")
    if axis is None:
        return [Value(x.dtype, (kept,))]
    axis %= len(x.shape)
    return [Value(x.dtype, (*x.shape[:axis], kept, *x.shape[axis + 1 :]))]


def _compress_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    axis, rank = node.attributes["axis"], len(need(ins[0]).shape)
    axes = range(rank) if axis is None else {axis % rank}
    return [outside(axes, "it picks single steps of the sequence", times[0])]


_SCATTER = {"reduction": "none"}

OPS: dict[str, Op] = {
    "GatherElements": Op((2, 2), _gather_elements, TWINS["GatherElements"], _elements_time, attributes={"axis": 0}),
    "GatherND": Op((2, 2), _gather_nd, TWINS["GatherND"], _gather_nd_time, attributes={"batch_dims": 0}),
    "ScatterElements": Op(
        (3, 3),
        _scatter_elements,
        TWINS["ScatterElements"],
        _scatter_time,
        attributes={"axis": 0, **_SCATTER},
        resolve=_scatter_attributes,
    ),
    "ScatterND": Op(
        (3, 3),
        _scatter_nd,
        TWINS["ScatterND"],
        _scatter_time,
        attributes=_SCATTER,
        resolve=_scatter_attributes,
    ),
    "OneHot": Op((3, 3), _one_hot, TWINS["OneHot"], _one_hot_time, attributes={"axis": -1}),
    "ReverseSequence": Op(
        (2, 2),
        _reverse_sequence,
        TWINS["ReverseSequence"],
        _reverse_time,
        attributes={"batch_axis": 1, "time_axis": 0},
    ),
    "Compress": Op((2, 2), _compress, TWINS["Compress"], _compress_time, attributes={"axis": None}),
}
