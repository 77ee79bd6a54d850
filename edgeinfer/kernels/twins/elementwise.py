"""Elementwise operators of one, two or more inputs with NumPy broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import erf as scalar_erf
from math import sqrt

import numpy as np

from . import Attributes, Twin
from .activations import RECURRENT, elu, sigmoid, softplus


def _unary(function: Callable[[np.ndarray], np.ndarray]) -> Twin:
    def twin(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.asarray(function(x), x.dtype),)

    return twin


def _activation(name: str) -> Twin:
    function = RECURRENT[name][0]

    def twin(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
        return (function(x, attributes.get("alpha", 0.0), attributes.get("beta", 0.0)).astype(x.dtype),)

    return twin


def _binary(function: np.ufunc) -> Twin:
    def twin(attributes: Attributes, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.asarray(function(a, b)),)

    return twin


def _variadic(function: np.ufunc) -> Twin:
    def twin(attributes: Attributes, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.asarray(reduce(function, inputs)),)

    return twin


def divide(attributes: Attributes, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    """Integers divide towards zero, as in C; by zero gives zero, and the smallest by -1 wraps to itself."""
    if a.dtype.kind == "f":
        return (np.asarray(a / b),)
    safe = np.where(b == 0, 1, b)
    floor = a // safe
    quotient = floor + ((a % safe != 0) & ((a < 0) != (safe < 0)))
    return (np.where(b == 0, 0, quotient).astype(a.dtype),)


def power(attributes: Attributes, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    """In the type of a; whole numbers to a negative power go through float64, as NumPy refuses them."""
    if a.dtype.kind in "iu" and b.dtype.kind == "i" and (b < 0).any():
        return cast({"to": a.dtype}, np.power(a.astype(np.float64), b))
    return (np.asarray(np.power(a, b)).astype(a.dtype),)


def clip(
    attributes: Attributes, x: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """The lower bound first, then the upper, so that the upper wins where they cross."""
    shape = x.shape  # a bound of shape (1,) gives a scalar no axis
    if low is not None:
        x = np.maximum(x, low)
    if high is not None:
        x = np.minimum(x, high)
    return (np.reshape(x, shape),)


def where(attributes: Attributes, condition: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.where(condition, a, b),)


def gelu(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    if attributes["approximate"] == "tanh":
        inner = sqrt(2 / np.pi) * (x + 0.044715 * x**3)
        return ((0.5 * x * (1 + np.tanh(inner))).astype(x.dtype),)
    inner = x.astype(np.float64)
    inner /= sqrt(2.0)
    error = _erf(inner)
    error += 1
    error *= 0.5 * x
    return (error.astype(x.dtype),)


def erf(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (_erf(x).astype(x.dtype),)


def _erf(x: np.ndarray) -> np.ndarray:
    """In float64, one by one: np.vectorize would make an object of every element first."""
    return np.fromiter(map(scalar_erf, x.flat), np.float64, x.size).reshape(x.shape)


def selu(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    return ((attributes["gamma"] * elu(x, attributes["alpha"])).astype(x.dtype),)


def cast(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Float to integer truncates; what does not fit, and NaN, gives the type's minimum."""
    target = attributes["to"]
    if x.dtype.kind == "f" and target.kind == "i":
        info = np.iinfo(target)
        # float(info.max) rounds up to 2**n for wide types, so the test below is "less than"
        fits = (x >= float(info.min)) & (x < float(info.max) + 1.0)
        return (np.where(fits, np.where(fits, x, 0), info.min).astype(target),)
    return (x.astype(target),)


def dequantize(
    attributes: Attributes, x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """(x - zero) * scale; one scale, or one for each index of the axis."""
    if scale.size > 1:
        shape = [1] * x.ndim
        shape[attributes["axis"]] = -1
        scale = scale.reshape(shape)
        zero = None if zero is None else zero.reshape(shape)
    else:
        scale = scale.reshape(())
        zero = None if zero is None else zero.reshape(())
    # eight bits and their difference are exact in float32, and weights are many
    wide = x.astype(np.float32 if x.itemsize == 1 else np.float64)
    if zero is not None:
        wide -= zero.astype(wide.dtype)
    found = wide.astype(np.float32, copy=False)
    found *= scale.astype(np.float32)
    return (found.reshape(x.shape),)


def modulo(attributes: Attributes, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    """The remainder with the sign of b, or of a with fmod, as in C."""
    return (np.asarray((np.fmod if attributes["fmod"] else np.mod)(a, b)),)


def is_inf(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    negative, positive = bool(attributes["detect_negative"]), bool(attributes["detect_positive"])
    return (np.asarray(np.isinf(x) & np.where(x < 0, negative, positive)),)


def mean(attributes: Attributes, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.asarray(reduce(np.add, inputs) / inputs[0].dtype.type(len(inputs))),)


def prelu(attributes: Attributes, x: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.where(x < 0, slope * x, x),)


def celu(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    alpha = x.dtype.type(attributes["alpha"])
    return ((np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha)).astype(x.dtype),)


def _hard_swish(x: np.ndarray) -> np.ndarray:
    return x * np.clip(x / x.dtype.type(6) + x.dtype.type(0.5), 0, 1)


def _mish(x: np.ndarray) -> np.ndarray:
    return x * np.tanh(softplus(x))


def _reciprocal(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / x)


TWINS: dict[str, Twin] = {
    "Abs": _unary(np.abs),
    "Ceil": _unary(np.ceil),
    "Erf": erf,
    "Exp": _unary(np.exp),
    "Floor": _unary(np.floor),
    "Log": _unary(np.log),
    "Neg": _unary(np.negative),
    "Not": _unary(np.logical_not),
    "Reciprocal": _unary(_reciprocal),
    "Round": _unary(np.rint),
    "Sigmoid": _unary(sigmoid),
    "Sign": _unary(np.sign),
    "Softplus": _unary(softplus),
    "Sqrt": _unary(np.sqrt),
    "Tanh": _unary(np.tanh),
    "Elu": _activation("Elu"),
    "HardSigmoid": _activation("HardSigmoid"),
    "LeakyRelu": _activation("LeakyRelu"),
    "Relu": _activation("Relu"),
    "Softsign": _activation("Softsign"),
    "ThresholdedRelu": _activation("ThresholdedRelu"),
    "Gelu": gelu,
    "Selu": selu,
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "Div": divide,
    "Pow": power,
    "And": _binary(np.logical_and),
    "Or": _binary(np.logical_or),
    "Equal": _binary(np.equal),
    "Greater": _binary(np.greater),
    "GreaterOrEqual": _binary(np.greater_equal),
    "Less": _binary(np.less),
    "LessOrEqual": _binary(np.less_equal),
    "Min": _variadic(np.minimum),
    "Max": _variadic(np.maximum),
    "Sum": _variadic(np.add),
    "Sin": _unary(np.sin),
    "Cos": _unary(np.cos),
    "Tan": _unary(np.tan),
    "Asin": _unary(np.arcsin),
    "Acos": _unary(np.arccos),
    "Atan": _unary(np.arctan),
    "Sinh": _unary(np.sinh),
    "Cosh": _unary(np.cosh),
    "Asinh": _unary(np.arcsinh),
    "Acosh": _unary(np.arccosh),
    "Atanh": _unary(np.arctanh),
    "HardSwish": _unary(_hard_swish),
    "Mish": _unary(_mish),
    "Celu": celu,
    "PRelu": prelu,
    "IsNaN": lambda attributes, x: (np.asarray(np.isnan(x)),),
    "IsInf": is_inf,
    "Mod": modulo,
    "Mean": mean,
    "Xor": _binary(np.logical_xor),
    "BitwiseAnd": _binary(np.bitwise_and),
    "BitwiseOr": _binary(np.bitwise_or),
    "BitwiseXor": _binary(np.bitwise_xor),
    "BitwiseNot": _unary(np.invert),
    "Clip": clip,
    "Where": where,
    "Cast": cast,
    "DequantizeLinear": dequantize,
}
