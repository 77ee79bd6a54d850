"""Weights from ONNX's layouts into the blocks that the kernels read; kernels/csrc/core.h describes the result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def pack_gates_to_groups(
    w: np.ndarray,
    r: np.ndarray,
    bias_rows: np.ndarray,
    lanes: int,
    units: int,
    left_bias: Callable[[np.ndarray], np.ndarray] | None = None,
    narrow_in_turns: bool = True,
) -> np.ndarray:
    """[G*H, F], [G*H, H] and bias rows [B, H] → blocks of ``units`` units, each bias [B*units], F + H rows [G*units].

    The units left over form a last, narrower group, its rows filled with zeros to a multiple of ``lanes``, and each
    gate so where it is the only group; its bias [B, left] may be arranged by ``left_bias``. Rows of W, and rows of R,
    take turns between the first half and the second; in a last group of one or two vectors only ``narrow_in_turns``.
    """
    biases, hidden = bias_rows.shape
    gates, depth = len(w) // hidden, w.shape[1] + r.shape[1]
    columns = np.concatenate([w, r], axis=1).reshape(gates, hidden, depth)
    turns = np.concatenate([_turns(w.shape[1]), w.shape[1] + _turns(r.shape[1])])
    blocks = hidden // units
    whole = blocks * units
    in_turns = columns[..., turns]
    if narrow_in_turns or gates * (hidden - whole) > 2 * lanes:
        columns = in_turns
    rows = in_turns[:, :whole].reshape(gates, blocks, units, depth).transpose(1, 3, 0, 2)  # [blocks, F+H, G, units]
    bias = bias_rows[:, :whole].reshape(biases, blocks, units).swapaxes(0, 1)  # [blocks, B, units]
    packed = [bias.reshape(blocks, biases * units), rows.reshape(blocks, depth * gates * units)]
    left, left_columns = bias_rows[:, whole:], columns[:, whole:].swapaxes(1, 2)  # [B, left], [G, F+H, left]
    if blocks == 0:
        left, left_columns = _fill(left, lanes), _fill(left_columns, lanes)
    bias_of_left = left.reshape(1, left.size) if left_bias is None else left_bias(left)
    left_rows = left_columns.swapaxes(0, 1).reshape(depth, gates * left.shape[1])
    parts = (np.concatenate(packed, axis=1), _fill(bias_of_left, lanes), _fill(left_rows, lanes))
    return np.concatenate([part.reshape(-1) for part in parts], dtype=np.float32)


def pack_lstm(w: np.ndarray, r: np.ndarray, bias: np.ndarray, lanes: int) -> np.ndarray:
    return pack_gates_to_groups(w, r, lstm_bias_rows(bias, r.shape[1]), lanes, lanes)


def pack_gru_linear(w: np.ndarray, r: np.ndarray, bias: np.ndarray, lanes: int) -> np.ndarray:
    """The candidate's h sums start from Rb, so of the units left over a bias row of its own says where they are."""

    def left_bias(left: np.ndarray) -> np.ndarray:
        count = left.shape[1]
        rows = np.zeros((3, 3 * count), np.float32)
        rows[0] = left[:3].reshape(-1)
        rows[1, 2 * count :] = left[3]
        rows[2, 2 * count :] = 1.0
        return rows

    return pack_gates_to_groups(w, r, gru_bias_rows(bias, r.shape[1]), lanes, lanes, left_bias)


def pack_gru_reset_first(w: np.ndarray, r: np.ndarray, bias: np.ndarray, lanes: int) -> np.ndarray:
    """z and r, then the candidate, which needs every unit's r."""
    hidden = r.shape[1]
    rows = bias.reshape(2, 3, hidden).sum(axis=0)
    zr, n = slice(2 * hidden), slice(2 * hidden, None)
    return np.concatenate(
        [
            pack_gates_to_groups(w[zr], r[zr], rows[:2], lanes, 2 * lanes),
            pack_gates_to_groups(w[n], r[n], rows[2:], lanes, 4 * lanes),
        ]
    )


def pack_rnn(w: np.ndarray, r: np.ndarray, bias: np.ndarray, lanes: int) -> np.ndarray:
    return pack_gates_to_groups(w, r, rnn_bias_rows(bias, r.shape[1]), lanes, 4 * lanes)


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


def gate_row_floats(op_type: str, hidden: int, lanes: int, linear_before_reset: bool) -> int:
    """Floats of the x sums of one step: every section's row of gates, group after group."""
    sections = [(4 * lanes, 1)]  # units of a block, gates
    if op_type == "LSTM":
        sections = [(lanes, 4)]
    elif op_type == "GRU":
        sections = [(lanes, 3)] if linear_before_reset else [(2 * lanes, 2), (4 * lanes, 1)]
    floats = 0
    for units, gates in sections:
        blocks, left = divmod(hidden, units)
        left_row = gates * left if blocks else gates * -(-left // lanes) * lanes
        floats += blocks * gates * units + -(-left_row // lanes) * lanes
    return floats


def pack_columns_to_groups(w: np.ndarray, bias: np.ndarray, lanes: int) -> np.ndarray:
    """[K, N] and [N] → groups of 4 * ``lanes`` columns, each a bias row and K rows; few columns one after the other."""
    if 4 * w.shape[1] <= lanes:
        return np.concatenate([_fill(bias[None], lanes).reshape(-1), _fill(w.T, lanes).reshape(-1)])
    nothing = np.zeros((w.shape[1], 0), np.float32)
    return pack_gates_to_groups(w.T, nothing, bias[None], lanes, 4 * lanes, narrow_in_turns=False)


def _turns(count: int) -> np.ndarray:
    """The rows 0 to ``count``, those of the longer first half by turns with those of the second."""
    first = count - count // 2
    turns = np.empty(count, np.intp)
    turns[::2], turns[1::2] = np.arange(first), np.arange(first, count)
    return turns


def _fill(rows: np.ndarray, lanes: int) -> np.ndarray:
    """The same with zeros at the end of the last axis up to a multiple of ``lanes``."""
    length = rows.shape[-1]
    filled = np.zeros((*rows.shape[:-1], length + -length % lanes), rows.dtype)  # np.pad takes ten times as long
    filled[..., :length] = rows
    return filled
