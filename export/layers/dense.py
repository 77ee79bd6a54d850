"""Dense: one MatMul, and one Add where it has a bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..supported import check_layer
from .record import Build, Record, Recorder, as_float


@dataclass
class Dense(Record):
    """One call of a Dense layer without its activation."""

    def arrays(self) -> list[np.ndarray]:
        bias = self.layer.bias
        return [self.layer.kernel.numpy(), *([] if bias is None else [bias.numpy()])]

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        build.product(self.label, arrays, inputs[0], outputs[0])


def call_dense(recorder: Recorder, layer: Any, inputs: Any, training: bool | None = None) -> Any:
    """Leave a placeholder for ``layer(inputs)``; its activation stays with tf2onnx."""
    check_layer(layer)
    shape = [*inputs.shape[:-1], layer.units]
    (output,) = recorder.emit(Dense(layer, layer.name), [as_float(inputs)], [shape])
    return output if layer.activation is None else layer.activation(output)
