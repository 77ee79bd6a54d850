"""Weights from ONNX's layouts into the blocks that the kernels read; kernels/csrc/core.h describes the result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .memory import Packed


def pack_gates_to_groups(
    w: np.ndarray,
    r: np.ndarray,
    bias_rows: np.ndarray,
    lanes: int,
    units: int,
    left_bias: Callable[[np.ndarray], np.ndarray] | None = None,
    narrow_in_turns: bool = True,
) -> Packed:
    """[G*H, F], [G*H, H] and bias rows [B, H] → blocks of ``units`` units, each bias [B*units], F + H rows [G*units].

    The units left over form a last, narrower group, its rows filled with zeros to a multiple of ``lanes``, and each
    gate so where it is the only group; its bias [B, left] may be arranged by ``left_bias``. Rows of W, and rows of R,
    take turns between the first half and the second; in a last group of one or two vectors only ``narrow_in_turns``.
    """
    biases, hidden = bias_rows.shape
    gates, features = len(w) // hidden, w.shape[1]
    depth = features + r.shape[1]
    blocks = hidden // units
    whole = blocks * units
    block_floats = units * (biases + gates * depth)
    left = bias_rows[:, whole:]
    if blocks == 0:
        left = _fill(left, lanes)
    width = left.shape[1]
    bias_of_left = _fill(left.reshape(1, left.size) if left_bias is None else left_bias(left), lanes).reshape(-1)
    row = gates * width + -(gates * width) % lanes

    def rows(out: np.ndarray, first: int, last: int, in_turns: bool) -> None:
        """Units ``first`` to ``last`` into the rows [F+H, G, units or more]."""
        for part, place in ((w, out[:features]), (r, out[features:])):
            # [G, units, K] → [K, G, units]
            found = part.reshape(gates, hidden, part.shape[1])[:, first:last].transpose(2, 0, 1)
            for target, source in _turns(place, found) if in_turns else ((place, found),):
                target[..., : last - first] = source

    def fill(out: np.ndarray) -> None:
        for block in range(blocks):
            at, first = block * block_floats, block * units
            bias_end = at + biases * units
            out[at:bias_end] = bias_rows[:, first : first + units].reshape(-1)
            rows(out[bias_end : at + block_floats].reshape(depth, gates, units), first, first + units, True)
        bias_end = blocks * block_floats + len(bias_of_left)
        out[blocks * block_floats : bias_end] = bias_of_left
        rest = out[bias_end:].reshape(depth, row)
        rest[...] = 0
        in_turns = narrow_in_turns or gates * (hidden - whole) > 2 * lanes
        rows(rest[:, : gates * width].reshape(depth, gates, width), whole, hidden, in_turns)

    return Packed(blocks * block_floats + len(bias_of_left) + depth * row, fill)


def pack_lstm(w: np.ndarray, r: np.ndarray, bias: np.ndarray, lanes: int) -> Packed:
    return pack_gates_to_groups(w, r, lstm_bias_rows(bias, r.shape[1]), lanes, lanes)


def pack_gru_linear(w: np.ndarray, r: np.ndarray, bias: np.ndarray, lanes: int) -> Packed:
    """The candidate's h sums start from Rb, so of the units left over a bias row of its own says where they are."""

    def left_bias(left: np.ndarray) -> np.ndarray:
        count = left.shape[1]
        rows = np.zeros((3, 3 * count), np.float32)
        rows[0] = left[:3].reshape(-1)
        rows[1, 2 * count :] = left[3]
        rows[2, 2 * count :] = 1.0
        return rows

    return pack_gates_to_groups(w, r, gru_bias_rows(bias, r.shape[1]), lanes, lanes, left_bias)


def pack_gru_reset_first(w: np.ndarray, r: np.ndarray, bias: np.ndarray, lanes: int) -> Packed:
    """z and r, then the candidate, which needs every unit's r."""
    hidden = r.shape[1]
    rows = bias.reshape(2, 3, hidden).sum(axis=0)
    zr, n = slice(2 * hidden), slice(2 * hidden, None)
    first = pack_gates_to_groups(w[zr], r[zr], rows[:2], lanes, 2 * lanes)
    then = pack_gates_to_groups(w[n], r[n], rows[2:], lanes, 4 * lanes)

    def fill(out: np.ndarray) -> None:
        first.fill(out[: first.floats])
        then.fill(out[first.floats :])

    return Packed(first.floats + then.floats, fill)


def pack_rnn(w: np.ndarray, r: np.ndarray, bias: np.ndarray, lanes: int) -> Packed:
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


def pack_columns_to_groups(w: np.ndarray, bias: np.ndarray, lanes: int) -> np.ndarray | Packed:
    """[K, N] and [N] → groups of 4 * ``lanes`` columns, each a bias row and K rows; few columns one after the other."""
    if 4 * w.shape[1] <= lanes:
        return np.concatenate([_fill(bias[None], lanes).reshape(-1), _fill(w.T, lanes).reshape(-1)])
    nothing = np.zeros((w.shape[1], 0), np.float32)
    return pack_gates_to_groups(w.T, nothing, bias[None], lanes, 4 * lanes, narrow_in_turns=False)


def _turns(place: np.ndarray, rows: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Where the rows go and which they are: those of the longer first half by turns with those of the second."""
    first = len(rows) - len(rows) // 2
    return (place[::2], rows[:first]), (place[1::2], rows[first:])


def _fill(rows: np.ndarray, lanes: int) -> np.ndarray:
    """The same with zeros at the end of the last axis up to a multiple of ``lanes``."""
    length = rows.shape[-1]
    filled = np.zeros((*rows.shape[:-1], length + -length % lanes), rows.dtype)  # np.pad takes ten times as long
    filled[..., :length] = rows
    return filled
