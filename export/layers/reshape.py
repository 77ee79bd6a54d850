"""Flatten and Reshape: one Reshape, where tf2onnx would compute the shape at every call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .record import Build, Record, Recorder


@dataclass
class Reshaped(Record):
    """One call of a Flatten or Reshape layer; ``target`` has 0 for the batch and -1 for one free axis."""

    target: tuple[int, ...]

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        build.node("Reshape", [inputs[0], build.integers(self.target)], "Reshape", outputs[0])


def call_reshape(recorder: Recorder, layer: Any, inputs: Any) -> Any:
    """Leave a placeholder for ``layer(inputs)``."""
    shape = list(layer.compute_output_shape(tuple(inputs.shape)))
    target = tuple(0 if axis == 0 else -1 if size is None else size for axis, size in enumerate(shape))
    (output,) = recorder.emit(Reshaped(layer, layer.name, target), [inputs], [shape], [inputs.dtype])
    return output
