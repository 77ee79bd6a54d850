"""Masks: a recurrent node reads the steps that a mask keeps, and what it answers goes back to their places.

ONNX' recurrent operators know the length of a sequence, not which steps to leave out. So the kept steps come to
the front, ``sequence_lens`` says how many there are, and each step of the result takes the answer of the last kept
step up to it. That is exact for any mask and needs no loop. docs/adr/0012-masks.md has the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ExportError
from ..supported import check_layer
from .record import Build, Record, Recorder, flat

_LARGEST = np.array(np.iinfo(np.int64).max)


class Kept:
    """The nodes of one call around its mask, bool [batch, time].

    Those that only read the mask are ``NAME/mask/...``, NAME being the first layer with this mask: the others share
    them. ``backwards`` brings the kept steps to the front from the last to the first.
    """

    def __init__(self, build: Build, mask: str, backwards: bool) -> None:
        self._build = build
        self._mask = mask
        self._backwards = backwards
        self._kept = self._node("Cast", [mask], "kept", to=build.INT64)
        self._seen = self._node("CumSum", [self._kept, build.scalar(1)], "seen", reverse=int(backwards))
        self._count = self._node("ReduceSum", [self._kept, build.integers([1])], "count", keepdims=0)
        empty = self._node("Equal", [self._count, build.scalar(0)], "is_empty")
        self._empty = self._node("Unsqueeze", [empty, build.integers([1])], "is_empty_2d")

    def first(self, x: str) -> str:
        """x [batch, time, ...] with the kept steps in front; what stands behind them does not matter."""
        build = self._build
        # Kept steps rank by their number, masked ones behind all of them.
        key = self._node("Where", [self._mask, self._seen, build.constant("constant/largest", _LARGEST)], "key")
        shape = self._node("Shape", [self._mask], "shape")
        length = self._node("Gather", [shape, build.integers([1])], "length", axis=0)
        order = self._node("TopK", [key, length], "order", count=2, axis=1, largest=0, sorted=1)
        index = self._node("Unsqueeze", [order, build.integers([2])], "order_3d")
        return build.node("GatherND", [x, index], "kept_first", batch_dims=1)

    def sequence_lens(self) -> str:
        """At least 1: of a sequence of none ONNX Runtime does not return the initial state."""
        count = self._node("Max", [self._count, self._build.scalar(1)], "at_least_one")
        return self._node("Cast", [count], "sequence_lens", to=self._build.INT32)

    def unless_empty(self, value: str, otherwise: str, suffix: str, output: str | None = None) -> str:
        """``value`` [directions, batch, hidden] in the rows where a step is kept, else ``otherwise``."""
        return self._build.node("Where", [self._empty, otherwise, value], suffix, output)

    def zero_unless_last(self, value: str) -> str:
        """``value`` [directions, batch, hidden] in the rows where the last step that is read is kept, else zero."""
        build = self._build
        last = build.integers([0 if self._backwards else -1])
        kept = self._node("Gather", [self._mask, last], "last", axis=1)
        return build.node("Where", [kept, value, build.zero()], "last")

    def in_place(self, filled: str, zero_output: bool, output: str | None) -> str:
        """[batch, time, ...] from [batch, 1 + time, ...]: what fills steps before the first kept one, then the answers.

        ``zero_output`` has the fill in every masked step.
        """
        build = self._build
        place = self._node("Mul", [self._kept, self._seen], "place") if zero_output else self._seen
        index = self._node("Unsqueeze", [place, build.integers([2])], "place_3d")
        return build.node("GatherND", [filled, index], "in_place", output, batch_dims=1)

    def _node(self, op_type: str, inputs: Sequence[str], suffix: str, count: int = 1, **attributes: Any) -> str:
        """The last output of a node that depends on the mask alone: made once for all calls with the mask."""
        return self._build.once(op_type, inputs, count, f"mask/{suffix}", **attributes)


def as_mask(layer: Any, mask: Any, sequences: Any) -> Any:
    """What Keras takes as the mask of one call as bool [batch, time], or None.

    Raises ExportError where it is no mask of the time steps of ``sequences``.
    """
    import tensorflow as tf

    given = [m for m in flat(mask) if m is not None]
    if not given:
        return None
    result = tf.cast(tf.convert_to_tensor(given[0]), tf.bool)
    if len(result.shape) == 3 and result.shape[2] == 1:
        result = tf.squeeze(result, -1)
    if len(result.shape) != 2:
        raise ExportError(
            f"expected a mask [batch, time], got rank {len(result.shape)}", layer=layer.name, argument="mask"
        )
    if result.shape[0] == 1 and sequences.shape[0] != 1:
        result = tf.broadcast_to(result, tf.shape(sequences)[:2])
    return result


@dataclass
class Masking(Record):
    """The output of one call of a Masking layer from its mask and x: 0 where masked."""

    dtype: str

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        kept = build.node("Unsqueeze", [inputs[0], build.integers([-1])], "Unsqueeze")
        zero = build.zero() if self.dtype == "float32" else build.constant(f"{self.label}/0", np.zeros((), self.dtype))
        build.node("Where", [kept, inputs[1], zero], "Where", outputs[0])


def call_masking(recorder: Recorder, layer: Any, inputs: Any) -> Any:
    """``layer(inputs)`` with its mask; a placeholder, unless what is masked is 0 already."""
    import keras
    import tensorflow as tf

    check_layer(layer)
    mask = _any(keras.ops.not_equal(inputs, layer.mask_value), -1, False)
    if layer.mask_value == 0:
        # A tensor of its own, which can carry a mask that x does not.
        output = tf.identity(inputs)
    else:
        record = Masking(layer, layer.name, inputs.dtype.name)
        (output,) = recorder.emit(record, [mask, inputs], [inputs.shape], [inputs.dtype])
    # Where Keras itself keeps it.
    output._keras_mask = mask
    return output


def call_any(recorder: Recorder, operation: Any, x: Any) -> Any:
    """``keras.ops.any(x)``, which the mask of a Masking layer is made with."""
    return _any(x, operation.axis, operation.keepdims)


def _any(x: Any, axis: Any, keepdims: bool) -> Any:
    """A maximum of integers, which runs in the core's step; tf2onnx would sum floats."""
    import tensorflow as tf

    true = tf.cast(tf.cast(x, tf.bool), tf.int32)
    return tf.cast(tf.reduce_max(true, axis=axis, keepdims=keepdims), tf.bool)


def call_zeros_like(recorder: Recorder, operation: Any, x: Any) -> Any:
    """``keras.ops.zeros_like(x)``; of bool without x's shape, which hides the time axis in the masks of Concatenate."""
    import tensorflow as tf

    if operation.dtype != "bool":
        return tf.zeros_like(x, dtype=operation.dtype)
    true = tf.cast(x, tf.bool)
    return tf.logical_and(true, tf.logical_not(true))


def call_ones_like(recorder: Recorder, operation: Any, x: Any) -> Any:
    """``keras.ops.ones_like(x)``, as for zeros."""
    import tensorflow as tf

    if operation.dtype != "bool":
        return tf.ones_like(x, dtype=operation.dtype)
    true = tf.cast(x, tf.bool)
    return tf.logical_or(true, tf.logical_not(true))
