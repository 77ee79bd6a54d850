"""Reductions, running sums, and the places of the largest and smallest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...kernels.twins.reductions import TWINS, reduced_axes
from ..ir import Node, Value
from .registry import LAST, Ins, NotCausalError, Op, Time, axis_in, constant, integers, need, numeric, outside

_INT64 = np.dtype(np.int64)
_OF_SOMETHING = frozenset({"ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"})


def _reduce(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    numeric(node, [x])
    axes = _axes(node, ins)
    if node.op_type in _OF_SOMETHING and any(x.shape[i] == 0 for i in axes):
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


def _along(node: Node, ins: Ins) -> int:
    """CumSum's axis."""
    axis = constant(node, ins[1], "the axis")
    if axis.size != 1 or axis.dtype.kind != "i":
        raise node.malformed(f"expected one integer as axis, got {axis.dtype.name} {list(axis.shape)}")
    return axis_in(node, int(axis.reshape(-1)[0]), len(need(ins[0]).shape))


def _cum_sum(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    numeric(node, [x])
    _along(node, ins)
    return [Value(x.dtype, x.shape)]


def _cum_sum_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    return [outside({_along(node, ins)}, "it sums over the time axis", times[0])]


def _place(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    numeric(node, [x])
    axis = axis_in(node, node.attributes["axis"], len(x.shape))
    if not x.shape[axis]:
        raise node.malformed(f"nothing to choose from in {list(x.shape)}")
    kept = (1,) if node.attributes["keepdims"] else ()
    return [Value(_INT64, (*x.shape[:axis], *kept, *x.shape[axis + 1 :]))]


def _place_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    axis = node.attributes["axis"] % len(need(ins[0]).shape)
    time = outside({axis}, "it looks for the largest or smallest over the time axis", times[0])
    if time is None or time == LAST or node.attributes["keepdims"]:
        return [time]
    return [time - (axis < time)]


def _top_k(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    numeric(node, [x])
    axis = axis_in(node, node.attributes["axis"], len(x.shape))
    given = integers(node, ins[1], "K")
    if given.size != 1 or not 0 <= given[0] <= x.shape[axis]:
        raise node.malformed(f"K: expected one number from 0 to {x.shape[axis]}, got {given.tolist()}")
    shape = (*x.shape[:axis], int(given[0]), *x.shape[axis + 1 :])
    return [Value(x.dtype, shape), Value(_INT64, shape)][: len(node.outputs)]


def _top_k_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    axis = node.attributes["axis"] % len(need(ins[0]).shape)
    return [outside({axis}, "it sorts the steps of the sequence", times[0])] * len(outs)


OPS: dict[str, Op] = {
    **{name: _reduction(name, 18) for name in TWINS if name.startswith("Reduce") and name != "ReduceSum"},
    "ReduceSum": _reduction("ReduceSum", 13),
    "CumSum": Op((2, 2), _cum_sum, TWINS["CumSum"], _cum_sum_time, attributes={"exclusive": 0, "reverse": 0}),
    **{
        name: Op(
            (1, 1),
            _place,
            TWINS[name],
            _place_time,
            attributes={"axis": 0, "keepdims": 1, "select_last_index": 0},
        )
        for name in ("ArgMax", "ArgMin")
    },
    "TopK": Op(
        (2, 2), _top_k, TWINS["TopK"], _top_k_time, outputs=2, attributes={"axis": -1, "largest": 1, "sorted": 1}
    ),
}
