"""Keras model → one ONNX file that edgeinfer and stock ONNX Runtime run, verified against Keras; and small weights.

TensorFlow is imported when a model is exported, not before; ``quantize`` needs the onnx package alone.
"""

from __future__ import annotations

from .api import Exported, to_onnx
from .differences import Differences
from .drift import Drift
from .errors import DriftError, ExportError, VerificationError
from .quantize import Quantized, quantize
from .seq2seq import Seq2Seq, to_onnx_seq2seq

__all__ = [
    "Differences",
    "Drift",
    "DriftError",
    "ExportError",
    "Exported",
    "Quantized",
    "Seq2Seq",
    "VerificationError",
    "quantize",
    "to_onnx",
    "to_onnx_seq2seq",
]
