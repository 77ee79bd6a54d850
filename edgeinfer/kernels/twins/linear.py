"""Matrix products, sums of products and softmax."""

from __future__ import annotations

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


def einsum(attributes: Attributes, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    """In numpy's own notation, which ONNX took over."""
    y = np.einsum(attributes["equation"], *inputs, optimize=len(inputs) > 1)
    return (np.asarray(y, inputs[0].dtype),)


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


TWINS: dict[str, Twin] = {
    "MatMul": matmul,
    "Gemm": gemm,
    "Einsum": einsum,
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
}
