"""Reductions, running sums, and the places of the largest and smallest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import Attributes, Twin


def _reduction(function: Callable[..., np.ndarray]) -> Twin:
    def twin(attributes: Attributes, x: np.ndarray, axes: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        chosen = reduced_axes(attributes, x.ndim, axes)
        if chosen == () and attributes["noop_with_empty_axes"]:
            return (x,)
        y = function(x, axis=chosen, keepdims=bool(attributes["keepdims"]))
        return (np.asarray(y, x.dtype),)

    return twin


def reduced_axes(attributes: Attributes, rank: int, axes: np.ndarray | None) -> tuple[int, ...]:
    """The axes that a reduction goes over, sorted: those given, else all, or none with noop_with_empty_axes."""
    if axes is None or not axes.size:
        return () if attributes["noop_with_empty_axes"] else tuple(range(rank))
    return tuple(sorted({int(a) % rank for a in axes.reshape(-1)}))


def _sum_of_squares(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    return np.asarray(np.square(x).sum(axis=axis, keepdims=keepdims))


def _norm_1(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    return np.asarray(np.abs(x).sum(axis=axis, keepdims=keepdims))


def _norm_2(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    return np.asarray(np.sqrt(_sum_of_squares(x, axis, keepdims)))


def _log_sum(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    return np.asarray(np.log(x.sum(axis=axis, keepdims=keepdims)))


def _log_sum_exp(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """The largest is taken out, so that exp does not overflow."""
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    y = np.log(np.exp(x - top).sum(axis=axis, keepdims=keepdims))
    return np.asarray(y + (top if keepdims else top.reshape(y.shape)))


def cum_sum(attributes: Attributes, x: np.ndarray, axis: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of the elements up to each one, or before it with exclusive; from the end with reverse."""
    along = int(axis.reshape(-1)[0])
    turned = np.flip(x, along) if attributes["reverse"] else x
    y = np.cumsum(turned, axis=along, dtype=x.dtype)
    if attributes["exclusive"] and x.size:
        y = np.roll(y, 1, along)
        y[(slice(None),) * (along % x.ndim) + (0,)] = 0
    return (np.flip(y, along) if attributes["reverse"] else y,)


def _place(function: Callable[..., np.ndarray]) -> Twin:
    def twin(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
        axis, keepdims = attributes["axis"], bool(attributes["keepdims"])
        if not attributes["select_last_index"]:
            return (np.asarray(function(x, axis=axis, keepdims=keepdims), np.int64),)
        found = function(np.flip(x, axis), axis=axis, keepdims=keepdims)
        return (np.asarray(x.shape[axis] - 1 - found, np.int64),)

    return twin


def top_k(attributes: Attributes, x: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, ...]:
    """The k largest (or smallest) and their indices, sorted; of equal ones, those of smaller indices first."""
    axis, count = attributes["axis"], int(k.reshape(-1)[0])
    if attributes["largest"]:
        # turned round before and after a stable sort, so that equal ones keep their order
        order = np.flip(x.shape[axis] - 1 - np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    indices = np.take(order, np.arange(count), axis=axis).astype(np.int64)
    return np.take_along_axis(x, indices, axis), indices


TWINS: dict[str, Twin] = {
    "ReduceMax": _reduction(np.max),
    "ReduceMean": _reduction(np.mean),
    "ReduceMin": _reduction(np.min),
    "ReduceProd": _reduction(np.prod),
    "ReduceSum": _reduction(np.sum),
    "ReduceSumSquare": _reduction(_sum_of_squares),
    "ReduceL1": _reduction(_norm_1),
    "ReduceL2": _reduction(_norm_2),
    "ReduceLogSum": _reduction(_log_sum),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "CumSum": cum_sum,
    "ArgMax": _place(np.argmax),
    "ArgMin": _place(np.argmin),
    "TopK": top_k,
}
