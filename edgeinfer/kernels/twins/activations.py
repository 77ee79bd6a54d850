"""The elementwise functions, and the activations that a recurrent node can name.

Source: onnx/docs/Operators.md, the entries of the same names and the activation lists of RNN, GRU and LSTM.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Activation = Callable[[np.ndarray, float, float], np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) by exp of a non-positive number only, so that nothing overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x))."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x).astype(x.dtype)


def hard_sigmoid(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return np.clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0, 1)


def leaky_relu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x < 0, x.dtype.type(alpha) * x, x)


# Name in ONNX → (function of x, alpha, beta; default alpha; default beta)
RECURRENT: dict[str, tuple[Activation, float, float]] = {
    "Affine": (lambda x, a, b: x * x.dtype.type(a) + x.dtype.type(b), 1.0, 0.0),
    "Elu": (lambda x, a, b: elu(x, a), 1.0, 0.0),
    "HardSigmoid": (hard_sigmoid, 0.2, 0.5),
    "LeakyRelu": (lambda x, a, b: leaky_relu(x, a), 0.01, 0.0),
    "Relu": (lambda x, a, b: np.maximum(x, 0), 0.0, 0.0),
    "ScaledTanh": (lambda x, a, b: x.dtype.type(a) * np.tanh(x.dtype.type(b) * x), 1.0, 1.0),
    "Sigmoid": (lambda x, a, b: sigmoid(x), 0.0, 0.0),
    "Softplus": (lambda x, a, b: softplus(x), 0.0, 0.0),
    "Softsign": (lambda x, a, b: x / (1 + np.abs(x)), 0.0, 0.0),
    "Tanh": (lambda x, a, b: np.tanh(x), 0.0, 0.0),
    "ThresholdedRelu": (lambda x, a, b: np.where(x > a, x, x.dtype.type(0)), 1.0, 0.0),
}
