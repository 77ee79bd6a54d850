"""Keras model → one ONNX file that edgeinfer and stock ONNX Runtime run, verified against Keras.

TensorFlow is imported when a model is exported, not before.
"""

from __future__ import annotations

from .api import Exported, to_onnx
from .differences import Differences
from .errors import ExportError, VerificationError

__all__ = ["Differences", "ExportError", "Exported", "VerificationError", "to_onnx"]
