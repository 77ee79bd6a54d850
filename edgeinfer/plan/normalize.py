"""Which kernels of the core run a LayerNormalization: two means, and what is between and behind them."""

from __future__ import annotations

import math

import numpy as np

from ..graph import Node
from . import instructions as code
from .builder import Builder
from .memory import Ref

_FLOAT = np.dtype(np.float32)


def layer_normalization(builder: Builder, node: Node) -> bool:
    """Where scale and bias have the shape of what is normalized."""
    values = [builder.bound.values[name] for name in node.inputs]
    shape = values[0].shape
    inner = shape[node.attributes["axis"] % len(shape) :]
    if values[0].dtype != _FLOAT or any(value.shape != inner for value in values[1:]):
        return False
    count = math.prod(inner)
    rows = math.prod(shape) // count
    x, *learned = (builder.ref(name) for name in node.inputs)

    def unary(ref: Ref, act: code.Act) -> Ref:
        out = builder.scratch(4 * rows)
        builder.emit(code.Instruction(code.UNARY, node.name, (ref,), (out,), (rows,), (act,)))
        return out

    def mean(ref: Ref) -> Ref:
        out = builder.scratch(4 * rows)
        dims = (code.REDUCTIONS["ReduceMean"], code.DTYPES[_FLOAT], rows, count, 1, 1)
        builder.emit(code.Instruction(code.REDUCE, node.name, (ref,), (out,), dims))
        return out

    def binary(name: str, a: Ref, b: Ref, strides: tuple[int, int], out: Ref | None = None) -> Ref:
        out = out or builder.scratch(4 * rows * count)
        dims = (code.BINARIES[name], code.DTYPES[_FLOAT], 2, rows, count, count, 1, *strides)
        builder.emit(code.Instruction(code.BINARY, node.name, (a, b), (out,), dims, (code.LINEAR,)))
        return out

    per_row, per_column, each = (1, 0), (0, 1), (count, 1)
    centered = binary("Sub", x, mean(x), per_row)
    variance = unary(mean(binary("Mul", centered, centered, each)), ("Affine", 1.0, node.attributes["epsilon"]))
    y = binary("Div", centered, unary(variance, ("Sqrt", 0.0, 0.0)), per_row)
    if len(learned) == 1:
        binary("Mul", y, learned[0], per_column, builder.new(node.outputs[0]))
    else:
        scaled = binary("Mul", y, learned[0], per_column)
        binary("Add", scaled, learned[1], per_column, builder.new(node.outputs[0]))
    return True
