"""A bound graph → a plan for the C core: a flat instruction list, packed weights, and where every tensor lives."""

from __future__ import annotations

from .gate_rows import GateRows
from .instructions import KERNEL_NAMES
from .lower import lower
from .memory import ARENA, FIRST_IO, STATE_IN, STATE_OUT, WEIGHTS, Placement, Pool
from .plan import NumpyCall, Plan, Segment, View
from .small import Arithmetic, check_fast, name_arithmetic

__all__ = [
    "ARENA",
    "FIRST_IO",
    "KERNEL_NAMES",
    "STATE_IN",
    "STATE_OUT",
    "WEIGHTS",
    "Arithmetic",
    "GateRows",
    "NumpyCall",
    "Placement",
    "Plan",
    "Pool",
    "Segment",
    "View",
    "check_fast",
    "lower",
    "name_arithmetic",
]
