"""Weights from ONNX's layouts into the blocks that the kernels read; kernels/csrc/core.h describes the result."""

from __future__ import annotations

import numpy as np


def pack_gates_to_lanes(w: np.ndarray, r: np.ndarray, bias_rows: np.ndarray, lanes: int) -> np.ndarray:
    """[G*H, F], [G*H, H] and bias rows [B, H] → blocks of ``lanes`` units: bias [B*lanes], then F + H rows [G*lanes].

    B is the number of bias rows, at least the number of gates G. Units past H are zero.
    """
    hidden = r.shape[1]
    gates = r.shape[0] // hidden
    blocks = -(-hidden // lanes)
    columns = np.concatenate([w, r], axis=1)  # [G*H, F+H]
    rows = _by_block(columns.reshape(gates, hidden, -1), blocks, lanes)  # [blocks, F+H, G, lanes]
    bias = _by_block(bias_rows[:, :, None], blocks, lanes)  # [blocks, 1, B, lanes]
    packed = np.concatenate([bias.reshape(blocks, -1), rows.reshape(blocks, -1)], axis=1)
    return np.ascontiguousarray(packed.reshape(-1), dtype=np.float32)


def lstm_bias_rows(b: np.ndarray, hidden: int) -> np.ndarray:
    """Wb and Rb [8*H] → their sum per gate [4, H]."""
    return np.asarray(b.reshape(2, 4, hidden).sum(axis=0))


def gru_bias_rows(b: np.ndarray, hidden: int) -> np.ndarray:
    """Wb and Rb [6*H] → z, r (summed), Wb of h, Rb of h: [4, H]."""
    wb, rb = b.reshape(2, 3, hidden)
    return np.stack([wb[0] + rb[0], wb[1] + rb[1], wb[2], rb[2]])


def rnn_bias_rows(b: np.ndarray, hidden: int) -> np.ndarray:
    """Wb and Rb [2*H] → their sum [1, H]."""
    return np.asarray(b.reshape(2, 1, hidden).sum(axis=0))


def pack_columns_to_lanes(w: np.ndarray, bias: np.ndarray, lanes: int) -> np.ndarray:
    """[K, N] and [N] → blocks of ``lanes`` columns: bias row, then K rows. Columns past N are zero."""
    columns = w.shape[1]
    blocks = -(-columns // lanes)
    rows = np.concatenate([bias[None, :], w])  # [1+K, N]
    padded = np.zeros((rows.shape[0], blocks * lanes), np.float32)
    padded[:, :columns] = rows
    return np.ascontiguousarray(padded.reshape(-1, blocks, lanes).transpose(1, 0, 2).reshape(-1))


def _by_block(values: np.ndarray, blocks: int, lanes: int) -> np.ndarray:
    """[G, H, K] → [blocks, K, G, lanes]."""
    gates, hidden, depth = values.shape
    padded = np.zeros((gates, blocks * lanes, depth), np.float32)
    padded[:, :hidden] = values
    return padded.reshape(gates, blocks, lanes, depth).transpose(1, 3, 0, 2)
