"""Einsum of two operands as the MatMul that it is, where tf2onnx computes shapes around one at every call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def lower_einsum(ctx: Any, node: Any, name: str, args: Any) -> None:
    """The handler that tf2onnx calls for TensorFlow's Einsum, of which EinsumDense and attention are made."""
    equation = node.get_attr_value("equation")
    equation = (equation if isinstance(equation, str) else equation.decode()).replace(" ", "")
    plan = _plan(equation, [ctx.get_shape(i) for i in node.input])
    if plan is None:
        from tf2onnx.onnx_opset.math import Einsum

        Einsum.version_12(ctx, node, name=name, args=args)
        return
    left, right, shared, kept, summed, new, result, sizes = plan
    a, b, output = node.input[0], node.input[1], node.output[0]
    shape, dtype = ctx.get_shape(output), ctx.get_dtype(output)
    ctx.remove_node(node.name)

    def transpose(x: str, letters: str, order: str, what: str) -> str:
        if letters == order:
            return x
        perm = [letters.index(letter) for letter in order]
        return str(ctx.make_node("Transpose", [x], attr={"perm": perm}, name=f"{name}/{what}").output[0])

    def reshape(x: str, target: Sequence[int], what: str) -> str:
        constant = ctx.make_const(f"{name}/{what}_shape", np.array(target, np.int64)).output[0]
        return str(ctx.make_node("Reshape", [x, constant], name=f"{name}/{what}").output[0])

    a = transpose(a, left, shared + kept + summed, "Transpose_a")
    b = transpose(b, right, shared + summed + new, "Transpose_b")
    if len(summed) > 1:
        a = reshape(a, [0] * len(kept) + [math.prod(sizes[s] for s in summed)], "Reshape_a")
    if len(summed) > 1 or len(new) > 1:
        b = reshape(b, [math.prod(sizes[s] for s in summed), math.prod(sizes[s] for s in new)], "Reshape_b")
    product = str(ctx.make_node("MatMul", [a, b], name=f"{name}/MatMul").output[0])
    if len(new) > 1:
        product = reshape(product, [0] * len(kept) + [sizes[s] for s in new], "Reshape_out")
    perm = [(shared + kept + new).index(letter) for letter in result]
    ordered = perm == sorted(perm)
    ctx.make_node(
        "Identity" if ordered else "Transpose",
        [product],
        attr={} if ordered else {"perm": perm},
        name=name,
        outputs=[output],
        shapes=[shape],
        dtypes=[dtype],
    )


def _plan(equation: str, shapes: Sequence[Sequence[int] | None]) -> tuple[Any, ...] | None:
    """The letters of both operands, those that they share, keep, sum and add; None where no single product does it."""
    if "..." in equation or equation.count(",") != 1 or any(shape is None for shape in shapes):
        return None
    operands, result = equation.split("->")
    left, right = operands.split(",")
    if any(len(set(letters)) != len(letters) for letters in (left, right, result)):
        return None
    shared = "".join(s for s in result if s in left and s in right)
    kept = "".join(s for s in result if s in left and s not in right)
    new = "".join(s for s in result if s in right and s not in left)
    summed = "".join(s for s in left if s in right and s not in result)
    if len(left) != len(shared + kept + summed) or len(right) != len(shared + new + summed):
        return None  # a letter of one operand alone is summed
    sizes: dict[str, int] = {}
    for letters, shape in zip((left, right), shapes, strict=True):
        for letter, size in zip(letters, shape or (), strict=True):
            sizes[letter] = max(size, sizes.get(letter, -1))
    single = len(kept) == len(new) == len(summed) == 1
    if shared and not single:
        return None
    if not (kept and new and summed):
        return None
    if not single and any(sizes[s] < 0 for s in new + summed):
        return None
    return left, right, shared, kept, summed, new, result, sizes
