"""Operators that work element by element, with broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels.twins.elementwise import TWINS
from ...onnx_file import DTYPES
from ..ir import Node, Value
from .registry import REQUIRED, UNLIMITED, Ins, Op, axis_in, broadcast, float_only, need, numeric, pointwise, same_dtype

_BOOL = np.dtype(np.bool_)


def _number(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    numeric(node, [x])
    return [Value(x.dtype, x.shape)]


def _float_only(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    if x.dtype.kind != "f":
        raise node.malformed(f"expected a float tensor, got {x.dtype.name}")
    return [Value(x.dtype, x.shape)]


def _test(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    float_only(node, [x])
    return [Value(_BOOL, x.shape)]


def _bitwise(node: Node, ins: Ins) -> list[Value]:
    values = [need(v) for v in ins]
    for value in values:
        if value.dtype.kind not in "iu":
            raise node.malformed(f"expected integers, got {value.dtype.name}")
    return [Value(same_dtype(node, values), broadcast(node, values))]


def _float_arithmetic(node: Node, ins: Ins) -> list[Value]:
    values = [need(v) for v in ins]
    return [Value(float_only(node, values), broadcast(node, values))]


def _modulo(node: Node, ins: Ins) -> list[Value]:
    if need(ins[0]).dtype.kind == "f" and not node.attributes["fmod"]:
        raise node.malformed("floats need fmod=1")
    return _arithmetic(node, ins)


def _prelu(node: Node, ins: Ins) -> list[Value]:
    x, slope = need(ins[0]), need(ins[1])
    if broadcast(node, [x, slope]) != x.shape:
        raise node.malformed(f"slope: {list(slope.shape)} does not broadcast to {list(x.shape)}")
    return [Value(same_dtype(node, [x, slope]), x.shape)]


def _celu_attributes(node: Node, opset: int) -> dict[str, Any]:
    if not node.attributes["alpha"]:
        raise node.malformed("alpha is 0")
    return dict(node.attributes)


def _logical(node: Node, ins: Ins) -> list[Value]:
    values = [need(v) for v in ins]
    for value in values:
        if value.dtype != _BOOL:
            raise node.malformed(f"expected bool tensors, got {value.dtype.name}")
    return [Value(_BOOL, broadcast(node, values))]


def _arithmetic(node: Node, ins: Ins) -> list[Value]:
    values = [need(v) for v in ins]
    numeric(node, values)
    return [Value(same_dtype(node, values), broadcast(node, values))]


def _power(node: Node, ins: Ins) -> list[Value]:
    values = [need(v) for v in ins]
    numeric(node, values)
    return [Value(values[0].dtype, broadcast(node, values))]


def _compare(node: Node, ins: Ins) -> list[Value]:
    values = [need(v) for v in ins]
    same_dtype(node, values)
    if node.op_type != "Equal":
        numeric(node, values)
    return [Value(_BOOL, broadcast(node, values))]


def _where(node: Node, ins: Ins) -> list[Value]:
    condition, a, b = (need(v) for v in ins)
    if condition.dtype != _BOOL:
        raise node.malformed(f"expected a bool condition, got {condition.dtype.name}")
    return [Value(same_dtype(node, [a, b]), broadcast(node, [condition, a, b]))]


def _clip(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    for bound in ins[1:]:
        if bound is not None and (bound.dtype != x.dtype or bound.shape not in ((), (1,))):
            raise node.malformed(f"expected {x.dtype.name} scalars as bounds, got {bound.dtype.name} {bound.shape}")
    return [Value(x.dtype, x.shape)]


def _cast(node: Node, ins: Ins) -> list[Value]:
    return [Value(node.attributes["to"], need(ins[0]).shape)]


def _cast_attributes(node: Node, opset: int) -> dict[str, Any]:
    to = node.attributes["to"]
    if to not in DTYPES:
        raise node.unsupported(f"element type {to} is not implemented", "to")
    return {"to": DTYPES[to]}


def _dequantize(node: Node, ins: Ins) -> list[Value]:
    x, scale = need(ins[0]), need(ins[1])
    if x.dtype.name not in ("int8", "uint8", "int16", "uint16", "int32"):
        raise node.malformed(f"expected integers, got {x.dtype.name}")
    if scale.dtype.name != "float32":
        raise node.unsupported(f"scale: expected float32, got {scale.dtype.name}")
    if len(scale.shape) > 1:
        raise node.unsupported("blocks are not implemented: expected one scale, or one for each index of an axis")
    if scale.shape not in ((), (1,)):
        axis = axis_in(node, node.attributes["axis"], len(x.shape))
        if scale.shape != (x.shape[axis],):
            raise node.malformed(f"expected {x.shape[axis]} scales for axis {axis}, got {scale.shape[0]}")
    zero = ins[2] if len(ins) > 2 else None
    if zero is not None and (zero.dtype != x.dtype or zero.shape != scale.shape):
        raise node.malformed(
            f"zero point: expected {x.dtype.name} {list(scale.shape)}, got {zero.dtype.name} {list(zero.shape)}"
        )
    return [Value(scale.dtype, x.shape)]


def _op(name: str, count: int, infer: object, **attributes: object) -> Op:
    return Op((count, count), infer, TWINS[name], pointwise, attributes=attributes)  # type: ignore[arg-type]


OPS: dict[str, Op] = {
    **{name: _op(name, 1, _number) for name in ("Abs", "Neg", "Sign")},
    **{
        name: _op(name, 1, _float_only)
        for name in (
            *("Ceil", "Erf", "Exp", "Floor", "Log", "Reciprocal", "Round"),
            *("Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh"),
        )
    },
    **{
        name: _op(name, 1, _float_only)
        for name in (
            *("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"),
            *("HardSwish", "Mish"),
        )
    },
    "Celu": Op((1, 1), _float_only, TWINS["Celu"], pointwise, attributes={"alpha": 1.0}, resolve=_celu_attributes),
    "PRelu": _op("PRelu", 2, _prelu),
    "IsNaN": _op("IsNaN", 1, _test),
    "IsInf": _op("IsInf", 1, _test, detect_negative=1, detect_positive=1),
    "Not": _op("Not", 1, _logical),
    "Relu": _op("Relu", 1, _number),
    "Elu": _op("Elu", 1, _float_only, alpha=1.0),
    "Gelu": _op("Gelu", 1, _float_only, approximate="none"),
    "HardSigmoid": _op("HardSigmoid", 1, _float_only, alpha=0.2, beta=0.5),
    "LeakyRelu": _op("LeakyRelu", 1, _float_only, alpha=0.01),
    "Selu": _op("Selu", 1, _float_only, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "ThresholdedRelu": _op("ThresholdedRelu", 1, _float_only, alpha=1.0),
    **{name: _op(name, 2, _arithmetic) for name in ("Add", "Sub", "Mul", "Div")},
    **{name: _op(name, 2, _logical) for name in ("And", "Or", "Xor")},
    **{name: _op(name, 2, _bitwise) for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")},
    "BitwiseNot": _op("BitwiseNot", 1, _bitwise),
    "Mod": _op("Mod", 2, _modulo, fmod=0),
    "Mean": Op((1, UNLIMITED), _float_arithmetic, TWINS["Mean"], pointwise),
    "Pow": _op("Pow", 2, _power),
    **{name: _op(name, 2, _compare) for name in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")},
    **{name: Op((1, UNLIMITED), _arithmetic, TWINS[name], pointwise) for name in ("Max", "Min", "Sum")},
    "Clip": Op((1, 3), _clip, TWINS["Clip"], pointwise),
    "Where": _op("Where", 3, _where),
    "Cast": Op(
        (1, 1),
        _cast,
        TWINS["Cast"],
        pointwise,
        attributes={"to": REQUIRED},
        ignored=frozenset({"saturate", "round_mode"}),
        resolve=_cast_attributes,
    ),
    "DequantizeLinear": Op((2, 3), _dequantize, TWINS["DequantizeLinear"], pointwise, attributes={"axis": 1}),
}
