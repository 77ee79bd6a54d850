"""MaxPooling1D and AveragePooling1D: one pool between two Transposes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .convolution import padding
from .record import Build, Record, Recorder, as_float


@dataclass
class Pooling(Record):
    """One call of a pooling layer; ``steps`` is the input's length, None where free."""

    op_type: str
    steps: int | None

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        (width,), (stride,) = self.layer.pool_size, self.layer.strides
        x = build.node("Transpose", [inputs[0]], "Transpose", perm=[0, 2, 1])
        pads = padding(self.layer.padding, self.steps, width - 1, stride)
        x = build.node(self.op_type, [x], "", kernel_shape=[width], strides=[stride], **pads)
        build.node("Transpose", [x], "Transpose_out", outputs[0], perm=[0, 2, 1])


def call_max_pooling(recorder: Recorder, layer: Any, inputs: Any) -> Any:
    return _call(recorder, layer, inputs, "MaxPool")


def call_average_pooling(recorder: Recorder, layer: Any, inputs: Any) -> Any:
    return _call(recorder, layer, inputs, "AveragePool")


def _call(recorder: Recorder, layer: Any, inputs: Any, op_type: str) -> Any:
    """Leave a placeholder for ``layer(inputs)``; channels before time stay with tf2onnx."""
    if layer.data_format == "channels_first":
        return NotImplemented
    record = Pooling(layer, layer.name, op_type, inputs.shape[1])
    shape = layer.compute_output_shape(tuple(inputs.shape))
    return recorder.emit(record, [as_float(inputs)], [shape])[0]
