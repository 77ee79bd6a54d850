"""Embedding: one Gather."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..supported import check_layer
from .record import Build, Record, Recorder


@dataclass
class Embedding(Record):
    """One call of an Embedding layer."""

    def arrays(self) -> list[np.ndarray]:
        return [self.layer.embeddings.numpy()]

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        table = build.constant(f"{self.label}/embeddings", arrays[0])
        build.node("Gather", [table, inputs[0]], "Gather", outputs[0])


def call_embedding(recorder: Recorder, layer: Any, inputs: Any) -> Any:
    """Leave a placeholder for ``layer(inputs)``."""
    import tensorflow as tf

    check_layer(layer)
    if inputs.dtype not in (tf.int32, tf.int64):
        inputs = tf.cast(inputs, tf.int32)
    (output,) = recorder.emit(Embedding(layer, layer.name), [inputs], [[*inputs.shape, layer.output_dim]])
    return output
