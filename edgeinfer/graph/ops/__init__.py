"""The operators: one registry entry each, one file per family."""

from __future__ import annotations

from . import elementwise, layout, linear, recurrent
from .registry import LAST, UNLIMITED, NotCausalError, Op, Time, normalize

REGISTRY: dict[str, Op] = {**elementwise.OPS, **layout.OPS, **linear.OPS, **recurrent.OPS}

__all__ = ["LAST", "REGISTRY", "UNLIMITED", "NotCausalError", "Op", "Time", "normalize"]
