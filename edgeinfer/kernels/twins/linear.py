"""Matrix products, softmax and reductions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import Attributes, Twin


def matmul(attributes: Attributes, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.asarray(np.matmul(a, b)),)


def gemm(attributes: Attributes, a: np.ndarray, b: np.ndarray, c: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """alpha * A @ B + beta * C, each of A and B transposed where asked."""
    left = a.T if attributes["transA"] else a
    right = b.T if attributes["transB"] else b
    y = a.dtype.type(attributes["alpha"]) * (left @ right)
    if c is not None:
        y = y + a.dtype.type(attributes["beta"]) * c
    return (y.astype(a.dtype),)


def softmax(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    if not x.size:
        return (x,)
    axis = attributes["axis"]
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return ((e / e.sum(axis=axis, keepdims=True)).astype(x.dtype),)


def log_softmax(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    if not x.size:
        return (x,)
    axis = attributes["axis"]
    shifted = x - x.max(axis=axis, keepdims=True)
    return ((shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))).astype(x.dtype),)


def _reduction(function: Callable[..., np.ndarray]) -> Twin:
    def twin(attributes: Attributes, x: np.ndarray, axes: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        chosen = reduced_axes(attributes, x.ndim, axes)
        if chosen == ():
            return (x,)
        y = function(x, axis=chosen, keepdims=bool(attributes["keepdims"]))
        return (np.asarray(y, x.dtype),)

    return twin


def reduced_axes(attributes: Attributes, rank: int, axes: np.ndarray | None) -> tuple[int, ...]:
    """The axes that a reduction goes over, sorted: those given, else all, or none with noop_with_empty_axes."""
    if axes is None or not axes.size:
        return () if attributes["noop_with_empty_axes"] else tuple(range(rank))
    return tuple(sorted({int(a) % rank for a in axes.reshape(-1)}))


TWINS: dict[str, Twin] = {
    "MatMul": matmul,
    "Gemm": gemm,
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "ReduceMax": _reduction(np.max),
    "ReduceMean": _reduction(np.mean),
    "ReduceMin": _reduction(np.min),
    "ReduceProd": _reduction(np.prod),
    "ReduceSum": _reduction(np.sum),
}
