"""Convolutions over one axis: one Conv or ConvTranspose between two Transposes, whatever the arguments are.

tf2onnx makes two-dimensional ones of them, and reshapes a dilated one of free length into batches. An axis
that the kernel does not look along is a matrix product, as in Dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .record import Build, Record, Recorder, as_float

_TO_CHANNELS_FIRST = [0, 2, 1]


@dataclass
class Convolution(Record):
    """One call of a convolution layer without its activation; ``steps`` is the input's length, None where free."""

    steps: int | None

    def arrays(self) -> list[np.ndarray]:
        """The kernels as ONNX has them, [out, in / groups, width], then the bias if there is one."""
        layer, kind = self.layer, type(self.layer).__name__
        if kind == "SeparableConv1D":
            kernels = [_depthwise(layer.depthwise_kernel.numpy()), layer.pointwise_kernel.numpy().transpose(2, 1, 0)]
        elif kind == "DepthwiseConv1D":
            kernels = [_depthwise(layer.kernel.numpy())]
        else:
            # Conv1D has [width, in, out], Conv1DTranspose [width, out, in], which ONNX has as [in, out, width].
            kernels = [layer.kernel.numpy().transpose(2, 1, 0)]
        return [*kernels, *([] if layer.bias is None else [layer.bias.numpy()])]

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        kind = type(self.layer).__name__
        names = ["kernel", "bias"] if kind != "SeparableConv1D" else ["depthwise_kernel", "pointwise_kernel", "bias"]
        if self.layer.bias is None:
            names.pop()
        constants = [build.constant(f"{self.label}/{n}", array) for n, array in zip(names, arrays, strict=True)]
        x = build.node("Transpose", [inputs[0]], "Transpose", perm=_TO_CHANNELS_FIRST)
        if kind == "SeparableConv1D":
            x = build.node("Conv", [x, constants[0]], "depthwise", **self._conv(arrays[0]))
            x = build.node("Conv", [x, *constants[1:]], "", kernel_shape=[1])
        elif kind == "Conv1DTranspose":
            x = build.node("ConvTranspose", [x, *constants], "", **self._transposed())
        else:
            x = build.node("Conv", [x, *constants], "", **self._conv(arrays[0]))
        build.node("Transpose", [x], "Transpose_out", outputs[0], perm=_TO_CHANNELS_FIRST)

    def _conv(self, kernel: np.ndarray) -> dict[str, Any]:
        layer = self.layer
        (width,), (stride,), (dilation,) = layer.kernel_size, layer.strides, layer.dilation_rate
        groups = kernel.shape[0] // layer.depth_multiplier if hasattr(layer, "depth_multiplier") else layer.groups
        reach = (width - 1) * dilation
        attributes: dict[str, Any] = {
            "kernel_shape": [width],
            "strides": [stride],
            "dilations": [dilation],
            "group": groups,
        }
        if layer.padding == "causal":
            return {**attributes, "pads": [reach, 0]}
        return {**attributes, **padding(layer.padding, self.steps, reach, stride)}

    def _transposed(self) -> dict[str, Any]:
        layer = self.layer
        (width,), (stride,) = layer.kernel_size, layer.strides
        more = None if layer.output_padding is None else layer.output_padding[0]
        # What Keras takes off the full result of (steps - 1) * stride + width values, or puts on where negative.
        if layer.padding == "same":
            off = width - stride if more is None else 2 * (width // 2) - more
        else:
            off = min(width - stride, 0) if more is None else -more
        before = max(off, 0) // 2
        return {
            "kernel_shape": [width],
            "strides": [stride],
            "pads": [before, max(off, 0) - before],
            "output_padding": [max(-off, 0)],
        }


@dataclass
class Pointwise(Record):
    """One call of a Conv1D of width 1: the product that it is."""

    def arrays(self) -> list[np.ndarray]:
        bias = self.layer.bias
        return [self.layer.kernel.numpy()[0], *([] if bias is None else [bias.numpy()])]

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        build.product(self.label, arrays, inputs[0], outputs[0])


def padding(mode: str, steps: int | None, reach: int, stride: int) -> dict[str, Any]:
    """TensorFlow's padding as attributes of Conv or a pool; ``reach`` is the kernel's width less one, dilated."""
    if mode == "valid":
        return {}
    if stride == 1:
        total = reach
    elif steps is None:
        # It depends on the length, which the operator knows.
        return {"auto_pad": "SAME_UPPER"}
    else:
        total = max((-(-steps // stride) - 1) * stride + reach + 1 - steps, 0)
    return {"pads": [total // 2, total - total // 2]}


def _depthwise(kernel: np.ndarray) -> np.ndarray:
    """[width, in, multiplier] → [in · multiplier, 1, width]."""
    return kernel.transpose(1, 2, 0).reshape(-1, 1, kernel.shape[0])


def call_convolution(recorder: Recorder, layer: Any, inputs: Any) -> Any:
    """Leave a placeholder for ``layer(inputs)``; its activation stays with tf2onnx."""
    shape = layer.compute_output_shape(tuple(inputs.shape))
    plain = type(layer).__name__ == "Conv1D" and layer.groups == 1
    record: Record
    if plain and tuple(layer.kernel_size) == tuple(layer.strides) == (1,):
        record = Pointwise(layer, layer.name)
    else:
        record = Convolution(layer, layer.name, inputs.shape[1])
    (output,) = recorder.emit(record, [as_float(inputs)], [shape])
    return output if layer.activation is None else layer.activation(output)
