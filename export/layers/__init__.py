"""The layers that leave one placeholder each while a model is traced, and the nodes that each becomes.

These are the layers that tf2onnx would expand or get wrong; all others stay with it. One file per kind: a record of
the call, the function that stands in for the layer's ``call``, the record's ``lower``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .bidirectional import call_bidirectional
from .convolution import call_convolution
from .dense import call_dense
from .embedding import call_embedding
from .masked import call_any, call_masking, call_ones_like, call_zeros_like
from .normalization import call_layer_normalization
from .pooling import call_average_pooling, call_max_pooling
from .record import Build, Record, Recorder
from .recurrent import Recurrent
from .repeat import call_repeat_vector, call_up_sampling
from .reshape import call_reshape
from .stacked import call_recurrent
from .time_distributed import call_time_distributed

__all__ = ["Build", "Record", "Recorder", "Recurrent", "replacements"]


def replacements() -> list[tuple[Any, Callable[..., Any]]]:
    """Keras layer and operation classes, each with what stands in for its ``call``."""
    import keras
    from keras.src.ops.numpy import Any as AnyOf
    from keras.src.ops.numpy import OnesLike, ZerosLike  # the operations have no public names

    return [
        (AnyOf, call_any),
        (keras.layers.RNN, call_recurrent),
        (keras.layers.AveragePooling1D, call_average_pooling),
        (keras.layers.Bidirectional, call_bidirectional),
        (keras.layers.Conv1D, call_convolution),
        (keras.layers.Conv1DTranspose, call_convolution),
        (keras.layers.Dense, call_dense),
        (keras.layers.DepthwiseConv1D, call_convolution),
        (keras.layers.Embedding, call_embedding),
        (keras.layers.Flatten, call_reshape),
        (keras.layers.Masking, call_masking),
        (OnesLike, call_ones_like),
        (keras.layers.LayerNormalization, call_layer_normalization),
        (keras.layers.MaxPooling1D, call_max_pooling),
        (keras.layers.RepeatVector, call_repeat_vector),
        (keras.layers.Reshape, call_reshape),
        (keras.layers.SeparableConv1D, call_convolution),
        (keras.layers.TimeDistributed, call_time_distributed),
        (ZerosLike, call_zeros_like),
        (keras.layers.UpSampling1D, call_up_sampling),
    ]
