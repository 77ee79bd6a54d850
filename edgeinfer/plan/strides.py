"""Strides of contiguous and of broadcast arrays, in items."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from ..graph import Value


def strides_of(shape: Sequence[int]) -> list[int]:
    """Of a contiguous array."""
    return list(accumulate((1, *reversed(shape[1:])), lambda a, b: a * b))[::-1] if shape else []


def broadcast_strides(value: Value, shape: tuple[int, ...]) -> list[int]:
    """Of an array read as if it had this shape: 0 along what is repeated."""
    missing = len(shape) - len(value.shape)
    own = [0 if d == 1 else stride for d, stride in zip(value.shape, strides_of(value.shape), strict=True)]
    return [0] * missing + own
