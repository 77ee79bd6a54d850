"""RepeatVector and UpSampling1D: one Tile along an axis put in for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .record import Build, Record, Recorder


@dataclass
class Repeated(Record):
    """x with a new axis 1 of length ``times``."""

    times: int

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        x = build.node("Unsqueeze", [inputs[0], build.integers([1])], "Unsqueeze")
        build.node("Tile", [x, build.integers([1, self.times, 1])], "", outputs[0])


@dataclass
class UpSampled(Record):
    """Every step of x [batch, time, features] ``times`` times, one after the other."""

    times: int
    features: int

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        x = build.node("Unsqueeze", [inputs[0], build.integers([2])], "Unsqueeze")
        x = build.node("Tile", [x, build.integers([1, 1, self.times, 1])], "Tile")
        build.node("Reshape", [x, build.integers([0, -1, self.features])], "", outputs[0])


def call_repeat_vector(recorder: Recorder, layer: Any, inputs: Any) -> Any:
    """Leave a placeholder for ``layer(inputs)``."""
    record = Repeated(layer, layer.name, layer.n)
    shape = [inputs.shape[0], layer.n, inputs.shape[1]]
    return recorder.emit(record, [inputs], [shape], [inputs.dtype])[0]


def call_up_sampling(recorder: Recorder, layer: Any, inputs: Any) -> Any:
    """Leave a placeholder for ``layer(inputs)``."""
    record = UpSampled(layer, layer.name, layer.size, inputs.shape[2])
    shape = layer.compute_output_shape(tuple(inputs.shape))
    return recorder.emit(record, [inputs], [shape], [inputs.dtype])[0]
