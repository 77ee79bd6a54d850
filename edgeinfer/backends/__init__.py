"""Who answers: the C core, ONNX Runtime, or the NumPy reference. One face, one switch."""

from __future__ import annotations

from .base import Backend, Session, StepEngine
from .choose import BACKENDS, OneCaller, Turns, available, choose

__all__ = ["BACKENDS", "Backend", "OneCaller", "Session", "StepEngine", "Turns", "available", "choose"]
