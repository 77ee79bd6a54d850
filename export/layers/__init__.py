"""The layers that leave one placeholder each while a model is traced, and the nodes that each becomes.

These are the layers that tf2onnx would expand or get wrong; all others stay with it. One file per kind: a record of
the call, the function that stands in for the layer's ``call``, the record's ``lower``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .bidirectional import call_bidirectional
from .dense import call_dense
from .embedding import call_embedding
from .record import Build, Record, Recorder
from .recurrent import Recurrent
from .reshape import call_reshape
from .stacked import call_recurrent
from .time_distributed import call_time_distributed

__all__ = ["Build", "Record", "Recorder", "Recurrent", "replacements"]


def replacements() -> list[tuple[Any, Callable[..., Any]]]:
    """Keras layer classes, each with what stands in for its ``call``."""
    import keras

    return [
        (keras.layers.RNN, call_recurrent),
        (keras.layers.Bidirectional, call_bidirectional),
        (keras.layers.Dense, call_dense),
        (keras.layers.Embedding, call_embedding),
        (keras.layers.Flatten, call_reshape),
        (keras.layers.Reshape, call_reshape),
        (keras.layers.TimeDistributed, call_time_distributed),
    ]
