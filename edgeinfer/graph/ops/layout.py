"""Operators that move values or build them from shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...kernels.twins.layout import TWINS, pad_pairs, reshaped, slices, split_sizes
from ...onnx_file import DTYPES
from ..ir import Node, Value
from .registry import (
    LAST,
    REQUIRED,
    UNLIMITED,
    Ins,
    NotCausalError,
    Op,
    Time,
    axis_in,
    combine,
    constant,
    integers,
    need,
    outside,
    pointwise,
    same_bytes,
    same_dtype,
    timeless,
)

_INT64 = np.dtype(np.int64)
_LARGEST = (1 << 31) - 1


def _identity(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    return [Value(x.dtype, x.shape)]


def _dropout(node: Node, ins: Ins) -> list[Value]:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.unsupported("the mask output is not implemented")
    if len(ins) > 2 and constant(node, ins[2], "training_mode").any():
        raise node.unsupported("training_mode is not implemented")
    return _identity(node, ins)


def _transpose(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    perm = _perm(node, x)
    return [Value(x.dtype, tuple(x.shape[p] for p in perm))]


def _perm(node: Node, x: Value) -> tuple[int, ...]:
    rank = len(x.shape)
    perm = node.attributes["perm"] or tuple(reversed(range(rank)))
    if sorted(perm) != list(range(rank)):
        raise node.malformed(f"perm {list(perm)} does not permute {rank} axes")
    return tuple(perm)


def _transpose_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    time = times[0]
    return [time if time is None or time == LAST else _perm(node, need(ins[0])).index(time)]


def _reshape(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    target = integers(node, ins[1], "the shape")
    try:
        return [Value(x.dtype, reshaped(x.shape, target, bool(node.attributes["allowzero"])))]
    except ValueError as error:
        raise node.malformed(str(error)) from None


def _squeeze(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    rank = len(x.shape)
    if len(ins) > 1:
        given = integers(node, ins[1], "axes")
        axes = {axis_in(node, int(a), rank, "axes") for a in given}
        if len(axes) != given.size:
            raise node.malformed(f"axes {given.tolist()} repeat")
    else:
        axes = {i for i, d in enumerate(x.shape) if d == 1}
    for axis in axes:
        if x.shape[axis] != 1:
            raise node.malformed(f"cannot squeeze axis {axis} of {list(x.shape)}")
    return [Value(x.dtype, tuple(d for i, d in enumerate(x.shape) if i not in axes))]


def _squeeze_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    time = times[0]
    if time is not None and time != LAST and len(ins) > 1:
        x = need(ins[0])
        axes = {int(a) % len(x.shape) for a in integers(node, ins[1], "axes")}
        if time not in axes:
            return [time - sum(a < time for a in axes)]
    return same_bytes(node, ins, outs, times)


def _unsqueeze(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    return [Value(x.dtype, _unsqueezed(node, x, integers(node, ins[1], "axes"))[0])]


def _unsqueezed(node: Node, x: Value, axes: np.ndarray) -> tuple[tuple[int, ...], set[int]]:
    rank = len(x.shape) + axes.size
    chosen = {axis_in(node, int(a), rank, "axes") for a in axes}
    if len(chosen) != axes.size:
        raise node.malformed(f"axes {axes.tolist()} repeat")
    rest = iter(x.shape)
    return tuple(1 if i in chosen else next(rest) for i in range(rank)), chosen


def _unsqueeze_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    time = times[0]
    if time is None or time == LAST:
        return [time]
    shape, chosen = _unsqueezed(node, need(ins[0]), integers(node, ins[1], "axes"))
    kept = [i for i in range(len(shape)) if i not in chosen]
    return [kept[time]]


def _flatten(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    rank = len(x.shape)
    axis = node.attributes["axis"]
    if not -rank <= axis <= rank:
        raise node.malformed(f"axis {axis} is out of range for rank {rank}")
    axis %= rank + 1 if axis >= 0 else rank or 1
    return [Value(x.dtype, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))]


def _shape(node: Node, ins: Ins) -> list[Value]:
    dims = need(ins[0]).shape[node.attributes["start"] : node.attributes["end"]]
    return [Value.of(np.array(dims, np.int64))]


def _size(node: Node, ins: Ins) -> list[Value]:
    return [Value.of(np.array(math.prod(need(ins[0]).shape), np.int64))]


def _gather(node: Node, ins: Ins) -> list[Value]:
    x, indices = need(ins[0]), need(ins[1])
    if indices.dtype.name not in ("int32", "int64"):
        raise node.malformed(f"expected int32 or int64 indices, got {indices.dtype.name}")
    axis = axis_in(node, node.attributes["axis"], len(x.shape))
    if indices.data is not None and indices.data.size:
        low, high = int(indices.data.min()), int(indices.data.max())
        if low < -x.shape[axis] or high >= x.shape[axis]:
            raise node.malformed(f"indices from {low} to {high} are out of range for {x.shape[axis]}")
    return [Value(x.dtype, x.shape[:axis] + indices.shape + x.shape[axis + 1 :])]


def _gather_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    x, indices = need(ins[0]), need(ins[1])
    data_time, index_time = times
    axis = node.attributes["axis"] % len(x.shape)
    if data_time is None:
        return [index_time if index_time is None or index_time == LAST else index_time + axis]
    if index_time is not None:
        raise NotCausalError("it looks steps up by a computed index")
    if data_time == LAST or data_time < axis:
        return [data_time]
    if data_time > axis:
        return [data_time - 1 + len(indices.shape)]
    if (
        indices.data is not None
        and indices.data.size == 1
        and int(indices.data.reshape(-1)[0])
        in (
            -1,
            x.shape[axis] - 1,
        )
    ):
        return [LAST]
    raise NotCausalError("it picks single steps of the sequence")


def _concat(node: Node, ins: Ins) -> list[Value]:
    values = [need(v) for v in ins]
    rank = len(values[0].shape)
    axis = axis_in(node, node.attributes["axis"], rank)
    for value in values[1:]:
        if len(value.shape) != rank or any(value.shape[i] != values[0].shape[i] for i in range(rank) if i != axis):
            raise node.malformed(f"cannot join {' and '.join(str(list(v.shape)) for v in values)} along axis {axis}")
    shape = list(values[0].shape)
    shape[axis] = sum(v.shape[axis] for v in values)
    return [Value(same_dtype(node, values), tuple(shape))]


def _concat_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    time = combine(times)
    if time is not None and time != LAST and node.attributes["axis"] % len(outs[0].shape) == time:
        raise NotCausalError("it joins steps along the time axis")
    return [time]


def _split(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    axis = axis_in(node, node.attributes["axis"], len(x.shape))
    sizes = integers(node, ins[1], "the sizes") if len(ins) > 1 else None
    parts = split_sizes(x.shape[axis], node.attributes["outputs"], sizes)
    if len(parts) != len(node.outputs) or sum(parts) != x.shape[axis] or min(parts) < 0:
        raise node.malformed(f"cannot split {x.shape[axis]} into {parts}")
    return [Value(x.dtype, (*x.shape[:axis], part, *x.shape[axis + 1 :])) for part in parts]


def _split_attributes(node: Node, opset: int) -> dict[str, Any]:
    return {"axis": node.attributes["axis"], "outputs": len(node.outputs)}


def _along_other_axis(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    time = times[0]
    if time is not None and time != LAST and node.attributes["axis"] % len(need(ins[0]).shape) == time:
        raise NotCausalError("it works along the time axis")
    return [time] * len(outs)


def _slice(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    chosen = _slices(node, x, ins)
    shape = tuple(len(range(*s.indices(d))) for s, d in zip(chosen, x.shape, strict=True))
    return [Value(x.dtype, shape)]


def _slices(node: Node, x: Value, ins: Ins) -> tuple[slice, ...]:
    given = [integers(node, v, "starts, ends, axes and steps") if v is not None else None for v in ins[1:]]
    starts, ends, axes, steps = (*given, None, None)[:4]
    assert starts is not None and ends is not None
    lengths = {v.size for v in (starts, ends, axes, steps) if v is not None}
    if len(lengths) != 1:
        raise node.malformed("starts, ends, axes and steps have different lengths")
    if steps is not None and (steps == 0).any():
        raise node.malformed("a step of 0")
    for a in range(starts.size) if axes is None else axes:
        axis_in(node, int(a), len(x.shape), "axes")
    return slices(x.shape, starts, ends, axes, steps)


def _slice_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    time = times[0]
    if time is None or time == LAST:
        return [time]
    x = need(ins[0])
    picked = range(x.shape[time])[_slices(node, x, ins)[time]]
    if len(picked) == x.shape[time] and picked.step == 1:
        return [time]
    if list(picked[:2]) == [x.shape[time] - 1]:
        return [LAST]
    raise NotCausalError("it cuts the time axis")


def _expand(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    target = tuple(int(d) for d in integers(node, ins[1], "the shape"))
    try:
        return [Value(x.dtype, tuple(np.broadcast_shapes(x.shape, target)))]
    except ValueError:
        raise node.malformed(f"cannot expand {list(x.shape)} to {list(target)}") from None


def _expand_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    return pointwise(node, ins[:1], outs, times[:1])


def _tile(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    repeats = integers(node, ins[1], "repeats")
    if len(repeats) != len(x.shape) or (repeats < 0).any():
        raise node.malformed(f"repeats {repeats.tolist()} for shape {list(x.shape)}")
    return [Value(x.dtype, tuple(d * int(r) for d, r in zip(x.shape, repeats, strict=True)))]


def _tile_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    time = times[0]
    if time is not None and time != LAST and outs[0].shape[time] != need(ins[0]).shape[time]:
        raise NotCausalError("it repeats the sequence")
    return [time]


def _constant_of_shape(node: Node, ins: Ins) -> list[Value]:
    target = integers(node, ins[0], "the shape")
    if (target < 0).any():
        raise node.malformed(f"negative dimension in {target.tolist()}")
    return [Value(node.attributes["value"].dtype, tuple(int(d) for d in target))]


def _constant_of_shape_attributes(node: Node, opset: int) -> dict[str, Any]:
    value = node.attributes["value"]
    if value is None:
        value = np.zeros(1, np.float32)
    if value.size != 1:
        raise node.malformed(f"expected one value, got {value.size}")
    return {"value": value}


def _range(node: Node, ins: Ins) -> list[Value]:
    given = [constant(node, v, "start, limit and delta") for v in ins]
    if any(v.size != 1 or v.dtype.kind not in "fiu" or not np.isfinite(v).all() for v in given):
        raise node.malformed("expected finite scalars as start, limit and delta")
    start, limit, delta = (v.item() for v in given)
    if delta == 0:
        raise node.malformed("delta is 0")
    return [Value(given[0].dtype, (max(0, math.ceil((limit - start) / delta)),))]


def _pad(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    value = ins[2] if len(ins) > 2 else None
    if value is not None and (value.dtype != x.dtype or math.prod(value.shape) != 1):
        raise node.malformed(f"expected one {x.dtype.name} as value, got {value.dtype.name} {list(value.shape)}")
    shape = []
    for d, (before, after) in zip(x.shape, _pad_pairs(node, ins), strict=True):
        left = d + min(before, 0) + min(after, 0)
        most = {"constant": math.inf, "reflect": left - 1, "edge": math.inf if left else 0, "wrap": left}
        if left < 0 or max(before, after) > max(0, most[node.attributes["mode"]]):
            raise node.malformed(f"pads {before} and {after} for {d} elements, mode {node.attributes['mode']}")
        shape.append(d + before + after)
    return [Value(x.dtype, tuple(shape))]


def _pad_pairs(node: Node, ins: Ins) -> list[tuple[int, int]]:
    rank = len(need(ins[0]).shape)
    if not rank:
        raise node.malformed("a scalar has no axis to pad")
    pads = integers(node, ins[1], "pads")
    axes = integers(node, ins[3], "axes") if len(ins) > 3 else None
    if axes is not None:
        chosen = [axis_in(node, int(a), rank, "axes") for a in axes]
        if len(set(chosen)) != len(chosen):
            raise node.malformed(f"axes {axes.tolist()} repeat")
    wanted = 2 * (rank if axes is None else axes.size)
    if pads.size != wanted:
        raise node.malformed(f"expected {wanted} pads, got {pads.size}")
    return pad_pairs(rank, pads, axes)


def _pad_attributes(node: Node, opset: int) -> dict[str, Any]:
    modes = ("constant", "reflect", "edge", "wrap")
    if node.attributes["mode"] not in modes:
        raise node.malformed(f"mode: expected one of {', '.join(modes)}, got {node.attributes['mode']!r}")
    return dict(node.attributes)


def _pad_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    if any(t is not None for t in times[1:]):
        raise NotCausalError("its value changes with time")
    padded = {axis for axis, pair in enumerate(_pad_pairs(node, ins)) if pair != (0, 0)}
    return [outside(padded, "it pads the time axis", times[0])]


def _eye_like(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    if len(x.shape) != 2:
        raise node.malformed(f"expected a matrix, got {list(x.shape)}")
    if not -_LARGEST <= node.attributes["k"] <= _LARGEST:
        raise node.malformed(f"k: {node.attributes['k']} is out of range")
    return [Value(node.attributes["dtype"] or x.dtype, x.shape)]


def _eye_like_attributes(node: Node, opset: int) -> dict[str, Any]:
    dtype = node.attributes["dtype"]
    if dtype is not None and dtype not in DTYPES:
        raise node.unsupported(f"element type {dtype} is not implemented", "dtype")
    return {"k": node.attributes["k"], "dtype": None if dtype is None else DTYPES[dtype]}


OPS: dict[str, Op] = {
    "Identity": Op((1, 1), _identity, TWINS["Identity"], pointwise, view=True),
    "Dropout": Op(
        (1, 3),
        _dropout,
        TWINS["Dropout"],
        lambda node, ins, outs, times: [times[0]] * len(outs),
        outputs=2,
        ignored=frozenset({"ratio", "seed"}),
        view=True,
    ),
    "Transpose": Op(
        (1, 1),
        _transpose,
        TWINS["Transpose"],
        _transpose_time,
        attributes={"perm": None},
    ),
    "Reshape": Op((2, 2), _reshape, TWINS["Reshape"], same_bytes, attributes={"allowzero": 0}, view=True),
    "Squeeze": Op((1, 2), _squeeze, TWINS["Squeeze"], _squeeze_time, as_input={"axes": (1, 13)}, view=True),
    "Unsqueeze": Op((2, 2), _unsqueeze, TWINS["Unsqueeze"], _unsqueeze_time, as_input={"axes": (1, 13)}, view=True),
    "Flatten": Op((1, 1), _flatten, TWINS["Flatten"], same_bytes, attributes={"axis": 1}, view=True),
    "Shape": Op(
        (1, 1),
        _shape,
        TWINS["Shape"],
        timeless,
        attributes={"start": 0, "end": None},
    ),
    "Size": Op((1, 1), _size, TWINS["Size"], timeless),
    "Gather": Op((2, 2), _gather, TWINS["Gather"], _gather_time, attributes={"axis": 0}),
    "Concat": Op((1, UNLIMITED), _concat, TWINS["Concat"], _concat_time, attributes={"axis": REQUIRED}),
    "Split": Op(
        (1, 2),
        _split,
        TWINS["Split"],
        _along_other_axis,
        outputs=UNLIMITED,
        attributes={"axis": 0, "num_outputs": None},
        as_input={"split": (1, 13)},
        resolve=_split_attributes,
    ),
    "Slice": Op((3, 5), _slice, TWINS["Slice"], _slice_time),
    "Expand": Op((2, 2), _expand, TWINS["Expand"], _expand_time),
    "Tile": Op((2, 2), _tile, TWINS["Tile"], _tile_time),
    "ConstantOfShape": Op(
        (1, 1),
        _constant_of_shape,
        TWINS["ConstantOfShape"],
        timeless,
        attributes={"value": None},
        resolve=_constant_of_shape_attributes,
    ),
    "Range": Op((3, 3), _range, TWINS["Range"], timeless),
    "Pad": Op((2, 4), _pad, TWINS["Pad"], _pad_time, attributes={"mode": "constant"}, resolve=_pad_attributes),
    "EyeLike": Op(
        (1, 1),
        _eye_like,
        TWINS["EyeLike"],
        timeless,
        attributes={"dtype": None, "k": 0},
        resolve=_eye_like_attributes,
    ),
}
