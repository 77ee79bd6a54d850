"""The instruction of kernels/csrc/core.h as a NumPy record, and its numbers by name."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np

from ..records import NamedTuple
from .memory import Ref

MAX_RANK = 8
WHERE_RANK = 6
DIMS, ACTS, INS, OUTS = 28, 3, 7, 3
SCRATCH_ROWS = 5
STEPS_AHEAD = 32
NO_BASE = -1
BY_LENGTH, BY_MASK = 0, 1

LSTM, GRU, RNN, DENSE, GATHER, UNARY, BINARY, SOFTMAX, COPY, CAST, X_SUMS, MASKED, COMPARE, WHERE, REDUCE = range(1, 16)
LSTM_SMALL, GRU_SMALL, RNN_SMALL, DENSE_SMALL, GATHER_SMALL = range(32, 37)
#: What `edgeinfer profile` calls them.
KERNEL_NAMES = dict(
    enumerate(
        (
            *("lstm", "gru", "rnn", "dense", "gather", "unary", "binary", "softmax", "copy", "cast", "x_sums"),
            *("masked", "compare", "where", "reduce"),
        ),
        LSTM,
    )
)
KERNEL_NAMES.update(
    enumerate(("lstm_small", "gru_small", "rnn_small", "dense_small", "gather_small"), LSTM_SMALL),
)

ACTIVATIONS = {
    "Identity": 0,
    "Sigmoid": 1,
    "Tanh": 2,
    "Relu": 3,
    "Affine": 4,
    "LeakyRelu": 5,
    "ThresholdedRelu": 6,
    "ScaledTanh": 7,
    "HardSigmoid": 8,
    "Elu": 9,
    "Softsign": 10,
    "Softplus": 11,
    "Exp": 32,
    "Log": 33,
    "Neg": 34,
    "Abs": 35,
    "Sqrt": 36,
    "Reciprocal": 37,
    "Clip": 38,
    "Erf": 39,
}
BINARIES = {"Add": 0, "Sub": 1, "Mul": 2, "Div": 3, "Min": 4, "Max": 5}
COMPARISONS = {"Equal": 0, "Less": 1, "LessOrEqual": 2, "Greater": 3, "GreaterOrEqual": 4, "And": 5, "Or": 6}
# As BINARIES; a mean is a sum that is divided.
REDUCTIONS = {"ReduceSum": 0, "ReduceMean": 0, "ReduceProd": 2, "ReduceMin": 4, "ReduceMax": 5}
REDUCTIONS |= {"GlobalAveragePool": 0, "GlobalMaxPool": 5}
DTYPES = {np.dtype(np.float32): 0, np.dtype(np.int32): 1, np.dtype(np.int64): 2}
WITH_BOOL = {**DTYPES, np.dtype(np.bool_): 3}

RECORD = np.dtype(
    [
        ("op", np.int32),
        ("act", np.int32, ACTS),
        ("alpha", np.float32, ACTS),
        ("beta", np.float32, ACTS),
        ("in_base", np.int32, INS),
        ("out_base", np.int32, OUTS),
        ("reserved", np.int32),
        ("in", np.int64, INS),
        ("out", np.int64, OUTS),
        ("dim", np.int64, DIMS),
    ],
    align=True,
)

# The same, field by field.
_PACKED = struct.Struct(f"{1 + ACTS}i{2 * ACTS}f{INS + OUTS + 1}i{INS + OUTS + DIMS}q")

Act = tuple[str, float, float]
LINEAR: Act = ("Identity", 0.0, 0.0)


class Instruction(NamedTuple):
    """One call of a kernel; operands are Refs whose place is settled when the whole plan is known."""

    op: int
    node: str
    ins: Sequence[Ref | None]
    outs: Sequence[Ref | None]
    dims: Sequence[int]
    acts: Sequence[Act] = ()
    indexed_by: str = ""  # the node whose indices it looks up, where that is another one

    def packed(self) -> bytes:
        """One element of an array of RECORD."""
        acts = [(ACTIVATIONS[name], alpha, beta) for name, alpha, beta in self.acts]
        acts += [(0, 0.0, 0.0)] * (ACTS - len(acts))
        ins, outs = _places(self.ins, INS), _places(self.outs, OUTS)
        bases, offsets = zip(*ins, *outs, strict=True)
        dims = (*self.dims, *(0,) * (DIMS - len(self.dims)))
        columns = [number for column in zip(*acts, strict=True) for number in column]
        return _PACKED.pack(self.op, *columns, *bases, 0, *offsets, *dims)


def records(instructions: Iterable[Instruction]) -> np.ndarray:
    """Instructions as the core reads them.

    Their bytes are put together here: where NumPy has no memory to set a field of a record, it ends the process.
    """
    return np.frombuffer(b"".join([instruction.packed() for instruction in instructions]), RECORD)


def _places(refs: Sequence[Ref | None], count: int) -> list[tuple[int, int]]:
    found = [(NO_BASE, 0) if ref is None else ref.place for ref in refs]
    return found + [(NO_BASE, 0)] * (count - len(found))
