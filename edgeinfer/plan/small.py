"""Small weights into the groups that kernels/csrc/small_body.h describes, and what arithmetic their nodes run in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ..errors import ModelLoadError
from ..graph import Graph, Node, Small
from ..records import NamedTuple
from .memory import Packed
from .pack import gru_bias_rows, lstm_bias_rows, rnn_bias_rows

F16, I8, I8_FAST = 1, 2, 3
KINDS = {"float16": F16, "int8": I8}
_RECURRENT = ("GRU", "LSTM", "RNN")
_QUAD = 4
# What adds up in 32 bits: 2**31 / (255 * 127), rounded down to a power of 2.
_MAX_FAST_HIDDEN = 1 << 16
# Functions with values in [0, 1], and in [-1, 1].
_UNIT = frozenset({"HardSigmoid", "Sigmoid"})
_BOUNDED = _UNIT | {"Softsign", "Tanh"}


class Arithmetic(NamedTuple):
    """How nodes with small weights are computed: ``fast`` with h in 8 bits, ``vnni`` by that extension of the CPU."""

    fast: bool = False
    vnni: bool = False


EXACT = Arithmetic()


def kind_of(graph: Graph, node: Node, arithmetic: Arithmetic) -> int | None:
    """The arithmetic of a recurrent node; None for others, and where its weights are not small or not stored alike."""
    if node.op_type not in _RECURRENT:
        return None
    w, r = (graph.small.get(name) for name in node.inputs[1:3])
    if w is None or r is None or w.kind != r.kind:
        return None
    kind = KINDS[w.kind]
    return I8_FAST if kind == I8 and arithmetic.fast else kind


def name_arithmetic(graph: Graph, arithmetic: Arithmetic) -> str:
    """What a model with this graph computes from, as Backend.arithmetic says it."""
    kinds = {small.kind for small in graph.small.values()}
    if "int8" in kinds:
        return "int8 fast" if arithmetic.fast else "int8 exact"
    return "float16" if kinds else "float32"


def check_fast(graph: Graph) -> None:
    """Raise ModelLoadError, with the way out, unless every recurrent node can run with h in 8 bits."""
    nodes = [node for node in graph.nodes if kind_of(graph, node, EXACT) == I8]
    if not nodes:
        raise ModelLoadError(
            "precision fast: the file has no recurrent node with int8 weights; "
            "edgeinfer export quantize --weights int8 --activations int8 makes one, precision='exact' runs this one"
        )
    for node in nodes:
        reason = _why_not_fast(graph, node)
        if reason:
            raise ModelLoadError(f"precision fast: {node.where}: {reason}; load it with precision='exact'")


def _why_not_fast(graph: Graph, node: Node) -> str | None:
    if not _is_bounded(node):
        names = ", ".join(dict.fromkeys(name for name, _, _ in node.attributes["activations"]))
        return f"its state is not bounded by 1 with the activations {names}, and 8 bits stand for [-1, 1]"
    r = graph.small[node.inputs[2]].values
    if (r == -128).any():
        return "R holds -128, and 8 bits are symmetric here, [-127, 127]"
    if r.shape[-1] > _MAX_FAST_HIDDEN:
        return f"hidden_size is {r.shape[-1]}, and 32 bits hold the sums of {_MAX_FAST_HIDDEN} at most"
    return None


def _is_bounded(node: Node) -> bool:
    """Whether |h| <= 1 follows from the activations, for a state that starts so."""
    activations = node.attributes["activations"]

    def bounded(name: str, alpha: float) -> bool:
        return name in _BOUNDED or (name == "ScaledTanh" and abs(alpha) <= 1)

    if node.op_type == "GRU":  # (1 - z) n + z h
        return all(
            (name in _UNIT) if i % 2 == 0 else bounded(name, alpha) for i, (name, alpha, _) in enumerate(activations)
        )
    if node.op_type == "LSTM":  # o * h(c)
        return all(bounded(name, alpha) for i, (name, alpha, _) in enumerate(activations) if i % 3 != 1)
    return all(bounded(name, alpha) for name, alpha, _ in activations)


class Matrix(NamedTuple):
    """Columns [N, K] as stored, and the scale of each [N] (ones for float16)."""

    values: np.ndarray
    scale: np.ndarray

    def take(self, columns: np.ndarray, padded: int) -> Matrix:
        """Some of the columns, filled with zeros up to so many."""
        more = (0, padded - len(columns))
        return Matrix(np.pad(self.values[columns], (more, (0, 0))), np.pad(self.scale[columns], more))


def matrix(small: Small, d: int | None = None) -> Matrix:
    """Direction ``d`` of a recurrent weight [D, N, K], or a matrix [K, N] by its columns."""
    values = small.values.T if d is None else small.values[d]
    if small.scale is None:
        return Matrix(values, np.ones(len(values), np.float32))
    scale = small.scale.T if d is None else small.scale[d]
    return Matrix(values, scale[:, 0] if scale.shape[1] else np.ones(len(values), np.float32))


def pack_small_cell(
    op: str, linear: bool, w: Matrix, r: Matrix, bias: np.ndarray, lanes: int, kind: int, vnni: bool
) -> Packed:
    """W [G*H, F], R [G*H, H] and biases [2*G*H] of one direction → the sections of groups that its kernel reads."""
    hidden = r.values.shape[1]
    sections: Sequence[tuple[Sequence[int], int, np.ndarray]]
    if op == "LSTM":
        sections = [((0, 1, 2, 3), lanes, lstm_bias_rows(bias, hidden))]
    elif op == "RNN":
        sections = [((0,), 4 * lanes, rnn_bias_rows(bias, hidden))]
    elif linear:
        sections = [((0, 1, 2), lanes, gru_bias_rows(bias, hidden))]
    else:
        summed = bias.reshape(2, 3, hidden).sum(axis=0)
        sections = [((0, 1), 2 * lanes, summed[:2]), ((2,), 4 * lanes, summed[2:])]

    def group(section: int, first: int) -> np.ndarray:
        gates, units, bias_rows = sections[section]
        chosen = np.arange(first, min(first + units, hidden))
        columns = np.concatenate([gate * hidden + chosen for gate in gates])
        return _group(w, r, columns, bias_rows[:, chosen].reshape(-1), lanes, kind, vnni)

    return _one_by_one(
        [[partial(group, i, n) for n in range(0, hidden, units)] for i, (_, units, _) in enumerate(sections)]
    )


def pack_small_columns(w: Matrix, bias: np.ndarray, lanes: int, kind: int) -> Packed:
    """A Dense's columns [N, K] and biases [N] → groups of 4 * ``lanes`` columns."""
    nothing = Matrix(np.zeros((len(bias), 0), w.values.dtype), np.zeros(len(bias), np.float32))

    def group(first: int) -> np.ndarray:
        some = np.arange(first, min(first + 4 * lanes, len(bias)))
        return _group(w, nothing, some, bias[some], lanes, kind, False)

    return _one_by_one([[partial(group, n) for n in range(0, len(bias), 4 * lanes)]])


def _one_by_one(sections: Sequence[Sequence[Callable[[], np.ndarray]]]) -> Packed:
    """Groups that are each made when they are written; in a section, all but the last have one size."""
    sections = [makes for makes in sections if makes]
    ends = [{0: makes[0](), len(makes) - 1: makes[-1]()} if len(makes) > 1 else {0: makes[0]()} for makes in sections]
    sizes = [
        found[0].nbytes * (len(makes) - 1) + found[len(makes) - 1].nbytes
        for makes, found in zip(sections, ends, strict=True)
    ]

    def fill(out: np.ndarray) -> None:
        raw, at = out.view(np.uint8), 0
        for makes, found in zip(sections, ends, strict=True):
            for i, make in enumerate(makes):
                part = found[i] if i in found else make()
                raw[at : at + part.nbytes] = part
                at += part.nbytes

    return Packed(sum(sizes) // 4, fill)


def pack_small_table(values: np.ndarray) -> np.ndarray:
    """An embedding's rows, and room behind them to read whole vectors from."""
    return np.concatenate([np.ascontiguousarray(values).reshape(-1).view(np.uint8), np.zeros(64, np.uint8)])


def _group(
    w: Matrix, r: Matrix, columns: np.ndarray, bias: np.ndarray, lanes: int, kind: int, vnni: bool
) -> np.ndarray:
    padded = -(-len(columns) // lanes) * lanes
    w, r = w.take(columns, padded), r.take(columns, padded)
    parts = [np.asarray(bias, np.float32)]
    if kind != F16:
        parts += [w.scale, r.scale if kind == I8 else r.scale / np.float32(127)]
    rows = r.values.T
    if kind == I8_FAST:
        sums = r.values.astype(np.int32).sum(axis=1, dtype=np.int32)
        parts.append(-128 * sums if vnni else np.zeros_like(sums))
        quads = np.pad(r.values, ((0, 0), (0, -r.values.shape[1] % _QUAD)))
        rows = quads.reshape(padded, -1, _QUAD).swapaxes(0, 1)
    return np.concatenate([_whole_vectors(part, lanes) for part in (*parts, w.values.T, rows)])


def _whole_vectors(array: np.ndarray, lanes: int) -> np.ndarray:
    """The bytes, filled with zeros to a multiple of ``lanes`` floats."""
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return np.pad(raw, (0, -raw.size % (4 * lanes)))
