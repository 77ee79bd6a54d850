"""The weights of Keras cells in the layout of ONNX recurrent nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_LSTM_IFCO_TO_IOFC = (0, 3, 1, 2)
_LSTM_GATES = 4


@dataclass(frozen=True)
class CellWeights:
    """One direction: w [gates * hidden, features], r [gates * hidden, hidden], b [2 * gates * hidden]."""

    w: np.ndarray
    r: np.ndarray
    b: np.ndarray | None


def cell_weights(op_type: str, cell: Any) -> CellWeights:
    """The weights of a LSTMCell, GRUCell or SimpleRNNCell for the node type that runs it."""
    kernel = np.asarray(cell.kernel.numpy(), dtype=np.float32)
    recurrent = np.asarray(cell.recurrent_kernel.numpy(), dtype=np.float32)
    bias = None if cell.bias is None else np.asarray(cell.bias.numpy(), dtype=np.float32)
    if op_type == "LSTM":
        kernel, recurrent = ifco_to_iofc(kernel), ifco_to_iofc(recurrent)
        bias = None if bias is None else ifco_to_iofc(bias)
    if bias is not None:
        # ONNX adds an input and a recurrent bias; only GRU(reset_after=True) has both in Keras, as two rows.
        bias = bias.reshape(-1) if bias.ndim == 2 else np.concatenate([bias, np.zeros_like(bias)])
    return CellWeights(np.ascontiguousarray(kernel.T), np.ascontiguousarray(recurrent.T), bias)


def ifco_to_iofc(array: np.ndarray) -> np.ndarray:
    """Reorder the four gates along the last axis from Keras' i, f, c, o to ONNX' i, o, f, c."""
    gates = np.split(array, _LSTM_GATES, axis=-1)
    return np.concatenate([gates[i] for i in _LSTM_IFCO_TO_IOFC], axis=-1)
