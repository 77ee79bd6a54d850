"""Which kernel of the core runs a node, one function per operator family.

A function emits the node's instructions and returns True, or returns False where the core has no kernel for what the
node asks; its NumPy twin runs then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from ..graph import LENGTHS, Node, Small, Value
from ..graph.fuse import DENSE
from ..kernels.quiet import quietly
from ..kernels.twins.layout import slices
from . import instructions as code
from .builder import Builder
from .logic import compare, not_, reduce_, where
from .memory import Packed, Ref
from .normalize import layer_normalization
from .pack import pack_columns_to_groups, pack_gru_linear, pack_gru_reset_first, pack_lstm, pack_rnn
from .small import I8_FAST, KINDS, kind_of, matrix, pack_small_cell, pack_small_columns, pack_small_table
from .strides import broadcast_strides, strides_of

_FLOAT = np.dtype(np.float32)
RECURRENT = {
    "LSTM": (code.LSTM, 4, 3),
    "GRU": (code.GRU, 3, 2),
    "RNN": (code.RNN, 1, 1),
}
_PACK = {"LSTM": pack_lstm, "RNN": pack_rnn}
_PACK_GRU = (pack_gru_reset_first, pack_gru_linear)


_SMALL = {code.LSTM: code.LSTM_SMALL, code.GRU: code.GRU_SMALL, code.RNN: code.RNN_SMALL}


def packed_cell(
    builder: Builder, node: Node, d: int
) -> tuple[int, tuple[Hashable, ...], Callable[[], np.ndarray | Packed]]:
    """One direction of a recurrent node: the core's op, a key for its packed weights, and what packs them."""
    op, gates, _ = RECURRENT[node.op_type]
    pack_weights = _PACK.get(node.op_type) or _PACK_GRU[int(node.attributes["linear_before_reset"])]
    hidden = builder.bound.values[node.inputs[2]].shape[2]

    kind = kind_of(builder.bound.graph, node, builder.arithmetic)
    vnni = builder.arithmetic.vnni and kind == I8_FAST

    def pack() -> np.ndarray | Packed:
        has_bias = len(node.inputs) > 3 and node.inputs[3]
        bias = builder.data(node.inputs[3])[d] if has_bias else np.zeros(2 * gates * hidden, np.float32)
        # quietly, as Pool.seal fills them: what a file's infinities sum to is not ours to warn of
        if kind is not None:
            w_small, r_small = (matrix(builder.bound.graph.small[name], d) for name in node.inputs[1:3])
            linear = bool(node.attributes["linear_before_reset"])
            rest = w_small, r_small, bias, builder.lanes, kind, vnni
            return quietly(pack_small_cell, node.op_type, linear, *rest)
        w, r = (builder.data(name) for name in node.inputs[1:3])
        return quietly(pack_weights, w[d], r[d], bias, builder.lanes)

    return op if kind is None else _SMALL[op], (pack_weights, *node.inputs[1:4], d), pack


def recurrent(builder: Builder, node: Node) -> bool:
    """One instruction per direction."""
    values = builder.bound.values
    per_direction = RECURRENT[node.op_type][2]
    steps, batch, features = values[node.inputs[0]].shape
    directions, _, hidden = values[node.inputs[2]].shape
    rows = builder.gate_tables.get(id(node))
    x = builder.ref(rows.tokens if rows else node.inputs[0])
    initial = [builder.ref(name) if name else None for name in node.inputs[5:7]]
    outs = [builder.new(name) if name else None for name in node.outputs]
    padded = -(-hidden // builder.lanes) * builder.lanes
    kind = kind_of(builder.bound.graph, node, builder.arithmetic)
    vnni = int(builder.arithmetic.vnni and kind == I8_FAST)
    which, steps_dims = _counted(builder, node)
    scratch_rows = code.SCRATCH_ROWS + (4 * code.STEPS_AHEAD if steps * batch > 1 else 0)
    if kind is not None:
        scratch_rows = code.SCRATCH_ROWS + 1
    for d in range(directions):
        op, key, pack = packed_cell(builder, node, d)
        # weights computed from shapes belong to this plan alone
        stored = all(name in builder.bound.graph.constants for name in node.inputs[1:4] if name)
        packed = (builder.weight if stored else builder.constant)(key, pack)
        scratch = builder.scratch(scratch_rows * padded * 4)
        backwards = int(node.attributes["direction"] == "reverse" or d == 1)
        h, c = (*initial, None, None)[:2]
        dims = (steps, batch, features, hidden, directions, d, backwards, int(node.attributes["linear_before_reset"]))
        gate_dims = rows.dims if rows else (0, 0, 0, 0)
        builder.emit(
            code.Instruction(
                op if which is None else code.MASKED,
                node.name,
                (x, packed, h, c, scratch, rows.tables[d] if rows else None, which),
                outs,
                (*dims, kind or 0, vnni, *gate_dims, *((op, *steps_dims) if steps_dims else ())),
                node.attributes["activations"][d * per_direction : (d + 1) * per_direction],
                rows.gather if rows else "",
            )
        )
    return True


def _counted(builder: Builder, node: Node) -> tuple[Ref | None, tuple[int, ...]]:
    """Which steps count, and the instruction's dims from 15 on; None where all do."""
    name = node.inputs[LENGTHS] if len(node.inputs) > LENGTHS else ""
    if not name:
        return None, ()
    if node.attributes["masked"] is None:
        return builder.ref(name), (code.BY_LENGTH,)
    steps = builder.bound.values[name].shape[1]
    return builder.ref(name), (code.BY_MASK, 1, steps, *map(int, node.attributes["masked"]))


def dense(builder: Builder, node: Node) -> bool:
    values = builder.bound.values
    depth, columns = values[node.inputs[1]].shape
    b = values[node.inputs[2]].data if len(node.inputs) > 2 else None

    small = builder.bound.graph.small.get(node.inputs[1])

    def pack() -> np.ndarray | Packed:
        bias = np.zeros(columns, np.float32) if b is None else b
        if small is not None:
            return pack_small_columns(matrix(small), bias, builder.lanes, KINDS[small.kind])
        return pack_columns_to_groups(builder.data(node.inputs[1]), bias, builder.lanes)

    op = code.DENSE if small is None else code.DENSE_SMALL
    packed = builder.weight((op, *node.inputs[1:]), pack)
    rows = math.prod(values[node.inputs[0]].shape[:-1])
    builder.emit(
        code.Instruction(
            op,
            node.name,
            (builder.ref(node.inputs[0]), packed),
            (builder.new(node.outputs[0]),),
            (rows, depth, columns, 0 if small is None else KINDS[small.kind]),
            (node.attributes["activation"] or code.LINEAR,),
        )
    )
    return True


def gather(builder: Builder, node: Node) -> bool:
    """Rows of a table: axis 0 only, or one known place on another axis."""
    table, indices = (builder.bound.values[name] for name in node.inputs)
    rank = len(table.shape)
    if node.attributes["axis"] % rank and indices.data is not None and indices.data.size == 1:
        return _one_place(builder, node, table, int(indices.data.reshape(-1)[0]))
    if node.attributes["axis"] % rank or indices.dtype not in code.DTYPES:
        return False
    small = builder.bound.graph.small.get(node.inputs[0])
    if small is not None:
        _small_gather(builder, node, small)
        return True
    row_bytes = math.prod(table.shape[1:]) * table.dtype.itemsize
    dims = (math.prod(indices.shape), table.shape[0], row_bytes, code.DTYPES[indices.dtype])
    ins = (builder.ref(node.inputs[0]), builder.ref(node.inputs[1]))
    builder.emit(code.Instruction(code.GATHER, node.name, ins, (builder.new(node.outputs[0]),), dims))
    return True


def _one_place(builder: Builder, node: Node, table: Value, index: int) -> bool:
    axis = node.attributes["axis"] % len(table.shape)
    if table.shape[axis] == 1:
        builder.alias(node.outputs[0], node.inputs[0])
        return True
    shape = tuple(1 if i == axis else d for i, d in enumerate(table.shape))
    strides = strides_of(table.shape)
    source = (builder.ref(node.inputs[0]), index % table.shape[axis] * strides[axis], strides)
    target = (builder.new(node.outputs[0]), 0, strides_of(shape))
    return _copy(builder, node, table.dtype.itemsize, source, target, shape)


def _small_gather(builder: Builder, node: Node, small: Small) -> None:
    name = node.inputs[0]
    indices = builder.bound.values[node.inputs[1]]
    rows, width = small.values.shape
    table = builder.weight((code.GATHER_SMALL, name), lambda: pack_small_table(small.values))
    scale = None
    if small.scale is not None:
        scales = small.scale[:, 0] if width else np.zeros(rows, np.float32)
        scale = builder.weight((code.GATHER_SMALL, name, "scale"), lambda: scales)
    dims = (math.prod(indices.shape), rows, width, code.DTYPES[indices.dtype], KINDS[small.kind])
    ins = (table, builder.ref(node.inputs[1]), scale)
    builder.emit(code.Instruction(code.GATHER_SMALL, node.name, ins, (builder.new(node.outputs[0]),), dims))


def unary(builder: Builder, node: Node) -> bool:
    value = builder.bound.values[node.inputs[0]]
    if value.dtype != _FLOAT:
        return False
    act = (
        node.op_type,
        float(node.attributes.get("alpha", 0.0)),
        float(node.attributes.get("beta", 0.0)),
    )
    _unary(builder, node, act)
    return True


def _unary(builder: Builder, node: Node, act: code.Act) -> None:
    value = builder.bound.values[node.inputs[0]]
    ins = (builder.ref(node.inputs[0]),)
    out = builder.new(node.outputs[0])
    builder.emit(code.Instruction(code.UNARY, node.name, ins, (out,), (math.prod(value.shape),), (act,)))


def clip(builder: Builder, node: Node) -> bool:
    """Constant bounds only."""
    value = builder.bound.values[node.inputs[0]]
    bounds = [-math.inf, math.inf]
    for i, name in enumerate(node.inputs[1:]):
        if name:
            data = builder.bound.values[name].data
            if data is None:
                return False
            bounds[i] = float(data.reshape(-1)[0])
    if value.dtype != _FLOAT or not bounds[0] <= bounds[1]:
        return False
    _unary(builder, node, ("Clip", bounds[0], bounds[1]))
    return True


def binary(builder: Builder, node: Node) -> bool:
    values = [builder.bound.values[name] for name in node.inputs]
    out = builder.bound.values[node.outputs[0]]
    if len(values) != 2 or out.dtype not in code.DTYPES or len(out.shape) > code.MAX_RANK:
        return False
    dims = (code.BINARIES[node.op_type], code.DTYPES[out.dtype], len(out.shape), *out.shape)
    strides = [stride for value in values for stride in broadcast_strides(value, out.shape)]
    ins = [builder.ref(name) for name in node.inputs]
    builder.emit(
        code.Instruction(
            code.BINARY, node.name, ins, (builder.new(node.outputs[0]),), (*dims, *strides), (code.LINEAR,)
        )
    )
    return True


def softmax(builder: Builder, node: Node) -> bool:
    """Over the last axis."""
    value = builder.bound.values[node.inputs[0]]
    axis = node.attributes["axis"] % len(value.shape)
    if value.dtype != _FLOAT or math.prod(value.shape[axis + 1 :]) != 1:
        return False
    columns = value.shape[axis]
    dims = (math.prod(value.shape[:axis]), columns, int(node.op_type == "LogSoftmax"))
    ins = (builder.ref(node.inputs[0]),)
    builder.emit(code.Instruction(code.SOFTMAX, node.name, ins, (builder.new(node.outputs[0]),), dims))
    return True


def _copy(
    builder: Builder,
    node: Node,
    itemsize: int,
    source: tuple[Ref, int, Sequence[int]],
    target: tuple[Ref, int, Sequence[int]],
    shape: Sequence[int],
) -> bool:
    """Emit a strided copy; source and target are a ref, an item offset and item strides."""
    if len(shape) > code.MAX_RANK or itemsize not in (1, 2, 4, 8):
        return False
    refs = [Ref(ref.storage, ref.offset + offset * itemsize) for ref, offset, _ in (source, target)]
    dims = (itemsize, len(shape), *shape, *source[2], *target[2])
    builder.emit(code.Instruction(code.COPY, node.name, refs[:1], refs[1:], dims))
    return True


def transpose(builder: Builder, node: Node) -> bool:
    """A view where only axes of size 1 move."""
    value = builder.bound.values[node.inputs[0]]
    perm = node.attributes["perm"] or tuple(reversed(range(len(value.shape))))
    moving = [p for p in perm if value.shape[p] != 1]
    if moving == sorted(moving):
        builder.alias(node.outputs[0], node.inputs[0])
        return True
    if len(perm) > code.MAX_RANK:
        return False
    out = builder.bound.values[node.outputs[0]]
    strides = strides_of(value.shape)
    source = (builder.ref(node.inputs[0]), 0, [strides[p] for p in perm])
    target = (builder.new(node.outputs[0]), 0, strides_of(out.shape))
    return _copy(builder, node, value.dtype.itemsize, source, target, out.shape)


def slice_(builder: Builder, node: Node) -> bool:
    value = builder.bound.values[node.inputs[0]]
    if len(value.shape) > code.MAX_RANK:
        return False
    given = [builder.bound.values[name].data if name else None for name in node.inputs[1:]]
    starts, ends, axes, steps = (*given, None, None)[:4]
    assert starts is not None and ends is not None
    picked = [range(d)[s] for d, s in zip(value.shape, slices(value.shape, starts, ends, axes, steps), strict=True)]
    strides = strides_of(value.shape)
    offset = sum(p.start * stride for p, stride in zip(picked, strides, strict=True) if len(p))
    shape = [len(p) for p in picked]
    source = (
        builder.ref(node.inputs[0]),
        offset,
        [p.step * stride if len(p) > 1 else 0 for p, stride in zip(picked, strides, strict=True)],
    )
    target = (builder.new(node.outputs[0]), 0, strides_of(shape))
    return _copy(builder, node, value.dtype.itemsize, source, target, shape)


def concat(builder: Builder, node: Node) -> bool:
    out = builder.bound.values[node.outputs[0]]
    if len(out.shape) > code.MAX_RANK:
        return False
    axis = node.attributes["axis"] % len(out.shape)
    strides = strides_of(out.shape)
    refs = [builder.ref(name) for name in node.inputs]
    target = builder.new(node.outputs[0])
    offset = 0
    for name, ref in zip(node.inputs, refs, strict=True):
        value = builder.bound.values[name]
        source = (ref, 0, strides_of(value.shape))
        _copy(builder, node, out.dtype.itemsize, source, (target, offset * strides[axis], strides), value.shape)
        offset += value.shape[axis]
    return True


def expand(builder: Builder, node: Node) -> bool:
    value, out = (builder.bound.values[name] for name in (node.inputs[0], node.outputs[0]))
    if len(out.shape) > code.MAX_RANK:
        return False
    source = (builder.ref(node.inputs[0]), 0, broadcast_strides(value, out.shape))
    target = (builder.new(node.outputs[0]), 0, strides_of(out.shape))
    return _copy(builder, node, value.dtype.itemsize, source, target, out.shape)


def cast(builder: Builder, node: Node) -> bool:
    value = builder.bound.values[node.inputs[0]]
    to = node.attributes["to"]
    if value.dtype == to:
        builder.alias(node.outputs[0], node.inputs[0])
        return True
    if value.dtype not in code.WITH_BOOL or to not in code.WITH_BOOL:
        return False
    dims = (math.prod(value.shape), code.WITH_BOOL[value.dtype], code.WITH_BOOL[to])
    ins = (builder.ref(node.inputs[0]),)
    builder.emit(code.Instruction(code.CAST, node.name, ins, (builder.new(node.outputs[0]),), dims))
    return True


KERNELS: dict[str, Callable[[Builder, Node], bool]] = {
    **dict.fromkeys(RECURRENT, recurrent),
    DENSE: dense,
    "Gather": gather,
    **dict.fromkeys(
        (
            *("Abs", "Erf", "Exp", "Log", "Neg", "Reciprocal", "Sqrt", "Elu", "HardSigmoid", "LeakyRelu"),
            *("Relu", "Sigmoid", "Softplus", "Softsign", "Tanh", "ThresholdedRelu"),
        ),
        unary,
    ),
    "Clip": clip,
    **dict.fromkeys(code.BINARIES, binary),
    **dict.fromkeys(code.COMPARISONS, compare),
    "Not": not_,
    "Where": where,
    **dict.fromkeys(code.REDUCTIONS, reduce_),
    "LayerNormalization": layer_normalization,
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "Transpose": transpose,
    "Slice": slice_,
    "Concat": concat,
    "Expand": expand,
    "Cast": cast,
}
