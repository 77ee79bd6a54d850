"""What a Keras model answers: its own code, traced for long sequences, as ``predict`` does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .lowering import pack_inputs
from .quiet import without_noise

# Each step costs 5 ms of Keras' Python where nothing is traced; a trace costs about 150.
_SHORT = 12


def forward(model: Any) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """A function from one array per input of the model to one per output, at inference.

    A sequence of more than a few steps is traced, once for each shape, so that static shapes are what they are
    otherwise; a model that cannot be traced runs step by step all the same.
    """
    import keras
    import tensorflow as tf

    def run(*arrays: Any) -> Any:
        return keras.tree.flatten(model(pack_inputs(model, arrays), training=False))

    traced = tf.function(run, autograph=False, reduce_retracing=False)

    def answer(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        with without_noise():
            outputs = None
            if any(array.ndim > 1 and array.shape[1] > _SHORT for array in arrays):
                try:
                    outputs = traced(*(tf.constant(array) for array in arrays))
                except Exception:  # what is wrong shows below, in Keras' own words
                    outputs = None
            if outputs is None:
                outputs = run(*arrays)
            # NumPy has no bfloat16 of its own
            narrow = (output.dtype == tf.bfloat16 for output in outputs)
            outputs = [tf.cast(o, tf.float32) if cast else o for o, cast in zip(outputs, narrow, strict=True)]
        return [np.asarray(keras.ops.convert_to_numpy(output)) for output in outputs]

    return answer
