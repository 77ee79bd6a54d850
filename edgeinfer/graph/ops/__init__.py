"""The operators: one registry entry each, one file per family."""

from __future__ import annotations

from . import elementwise, indexing, layout, linear, normalization, recurrent, reductions, windows
from .registry import LAST, UNLIMITED, NotCausalError, Op, Time, normalize

REGISTRY: dict[str, Op] = {
    **elementwise.OPS,
    **indexing.OPS,
    **layout.OPS,
    **linear.OPS,
    **normalization.OPS,
    **recurrent.OPS,
    **reductions.OPS,
    **windows.OPS,
}

__all__ = ["LAST", "REGISTRY", "UNLIMITED", "NotCausalError", "Op", "Time", "normalize"]
