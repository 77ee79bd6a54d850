"""LayerNormalization: one node where the opset has it, else the arithmetic that it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .record import Build, Record, Recorder, as_float

_HAS_OPERATOR = 17


@dataclass
class LayerNormalized(Record):
    """One call of a LayerNormalization over the last axes; ``axis`` is the first of them."""

    axis: int
    shape: tuple[int, ...]

    def arrays(self) -> list[np.ndarray]:
        """Scale, ones where the layer has none, then the offset if there is one."""
        layer = self.layer
        scale = np.ones(self.shape, np.float32) if layer.gamma is None else layer.gamma.numpy().reshape(self.shape)
        return [scale, *([] if layer.beta is None else [layer.beta.numpy().reshape(self.shape)])]

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        (x,) = inputs
        constants = [build.constant(f"{self.label}/{n}", a) for n, a in zip(("gamma", "beta"), arrays, strict=False)]
        epsilon = float(self.layer.epsilon)
        if build.opset >= _HAS_OPERATOR:
            build.node("LayerNormalization", [x, *constants], "", outputs[0], axis=self.axis, epsilon=epsilon)
            return
        axes = list(range(self.axis, self.axis + len(self.shape)))
        centred = build.node("Sub", [x, build.node("ReduceMean", [x], "mean", axes=axes)], "centred")
        squares = build.node("Mul", [centred, centred], "squares")
        variance = build.node("ReduceMean", [squares], "variance", axes=axes)
        small = build.constant(f"{self.label}/epsilon", np.array(epsilon, np.float32))
        deviation = build.node("Sqrt", [build.node("Add", [variance, small], "Add")], "deviation")
        result = build.node("Div", [centred, deviation], "Div")
        if len(constants) == 1:
            build.node("Mul", [result, constants[0]], "", outputs[0])
            return
        build.node("Add", [build.node("Mul", [result, constants[0]], "Mul"), constants[1]], "", outputs[0])


def call_layer_normalization(recorder: Recorder, layer: Any, inputs: Any) -> Any:
    """Leave a placeholder for ``layer(inputs)``; other than the last axes stay with tf2onnx."""
    rank = len(inputs.shape)
    axes = [axis % rank for axis in (layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis])]
    shape = [inputs.shape[axis] for axis in axes]
    if axes != list(range(axes[0], rank)) or None in shape or getattr(layer, "rms_scaling", False):
        return NotImplemented
    record = LayerNormalized(layer, layer.name, axes[0], tuple(shape))
    return recorder.emit(record, [as_float(inputs)], [inputs.shape])[0]
