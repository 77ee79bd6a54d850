"""Run recurrent networks one time step at a time, with their state kept.

import edgeinfer
model = edgeinfer.load("model.onnx")
stream = model.stream()
y = stream.step(x)
"""

from __future__ import annotations

from .errors import (
    EdgeInferError,
    InputError,
    ModelFormatError,
    ModelLimitError,
    ModelLoadError,
    PipelineError,
    StreamError,
    UnsupportedOperatorError,
)
from .limits import Limits
from .model import Model, load
from .pipeline import pipeline
from .pool import Pool
from .stream import Stream

__version__ = "0.1.0"
__all__ = [
    "EdgeInferError",
    "InputError",
    "Limits",
    "Model",
    "ModelFormatError",
    "ModelLimitError",
    "ModelLoadError",
    "PipelineError",
    "Pool",
    "Stream",
    "StreamError",
    "UnsupportedOperatorError",
    "__version__",
    "load",
    "pipeline",
]
