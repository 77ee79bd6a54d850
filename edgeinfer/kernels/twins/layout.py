"""Operators that move values without computing any, and those that build them from shapes."""

from __future__ import annotations

import numpy as np

from . import Attributes, Twin


def _integers(values: np.ndarray) -> tuple[int, ...]:
    """A list in a tensor; a scalar counts as a list of one."""
    return tuple(int(v) for v in values.reshape(-1))


def identity(attributes: Attributes, x: np.ndarray, *_: np.ndarray | None) -> tuple[np.ndarray, ...]:
    return (x,)


def transpose(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.transpose(x, attributes["perm"] or None),)


def reshape(attributes: Attributes, x: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, ...]:
    """0 keeps the input's dimension (unless allowzero), -1 is inferred."""
    return (x.reshape(reshaped(x.shape, shape, bool(attributes["allowzero"]))),)


def reshaped(shape: tuple[int, ...], target: np.ndarray, allowzero: bool) -> tuple[int, ...]:
    """The shape that Reshape gives. Raises ValueError where it does not fit."""
    dims = list(_integers(target))
    if not allowzero:
        for i, d in enumerate(dims):
            if d == 0:
                if i >= len(shape):
                    raise ValueError(f"dimension {i} of {dims} copies one that {list(shape)} does not have")
                dims[i] = shape[i]
    size = int(np.prod(shape, dtype=object))
    if dims.count(-1) > 1 or any(d < -1 for d in dims):
        raise ValueError(f"{dims} is not a shape")
    if -1 in dims:
        known = int(np.prod([d for d in dims if d != -1], dtype=object))
        if known == 0 or size % known:
            raise ValueError(f"cannot reshape {list(shape)} to {dims}")
        dims[dims.index(-1)] = size // known
    if int(np.prod(dims, dtype=object)) != size:
        raise ValueError(f"cannot reshape {list(shape)} to {dims}")
    return tuple(dims)


def squeeze(attributes: Attributes, x: np.ndarray, axes: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    if axes is None:
        return (np.squeeze(x),)
    return (np.squeeze(x, _integers(axes)),)


def unsqueeze(attributes: Attributes, x: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.expand_dims(x, _integers(axes)),)


def flatten(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    axis = attributes["axis"] + (x.ndim if attributes["axis"] < 0 else 0)
    rows = int(np.prod(x.shape[:axis]))
    return (x.reshape(rows, int(np.prod(x.shape[axis:]))),)


def shape(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.array(x.shape[attributes["start"] : attributes["end"]], np.int64),)


def size(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.array(x.size, np.int64),)


def gather(attributes: Attributes, x: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, ...]:
    """Raises IndexError for an index outside [-n, n)."""
    return (np.take(x, indices, axis=attributes["axis"]),)


def concat(attributes: Attributes, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.concatenate(inputs, axis=attributes["axis"]),)


def split(attributes: Attributes, x: np.ndarray, sizes: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    axis = attributes["axis"]
    parts = split_sizes(x.shape[axis], attributes["outputs"], sizes)
    return tuple(np.split(x, np.cumsum(parts)[:-1], axis=axis))


def split_sizes(total: int, outputs: int, sizes: np.ndarray | None) -> list[int]:
    """The sizes that Split gives: as asked, or even with a smaller last one."""
    if sizes is not None:
        return list(_integers(sizes))
    each = -(-total // outputs)
    return [each] * (outputs - 1) + [total - each * (outputs - 1)]


def slice_(
    attributes: Attributes,
    x: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    axes: np.ndarray | None = None,
    steps: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    return (x[slices(x.shape, starts, ends, axes, steps)],)


def slices(
    shape: tuple[int, ...],
    starts: np.ndarray,
    ends: np.ndarray,
    axes: np.ndarray | None,
    steps: np.ndarray | None,
) -> tuple[slice, ...]:
    """Slice's inputs as Python slices: both clamp out-of-range bounds alike."""
    chosen = [slice(None)] * len(shape)
    firsts, lasts = _integers(starts), _integers(ends)
    axis_list = range(len(firsts)) if axes is None else [a % len(shape) for a in _integers(axes)]
    step_list = (1,) * len(firsts) if steps is None else _integers(steps)
    for axis, first, last, step in zip(axis_list, firsts, lasts, step_list, strict=True):
        length = shape[axis]
        first = first + length if first < 0 else first
        last = last + length if last < 0 else last
        if step > 0:
            chosen[axis] = slice(min(max(first, 0), length), min(max(last, 0), length), step)
        else:
            last = min(max(last, -1), length - 1)
            chosen[axis] = slice(min(max(first, 0), length - 1), None if last == -1 else last, step)
    return tuple(chosen)


def expand(attributes: Attributes, x: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, ...]:
    out = np.broadcast_shapes(x.shape, _integers(target))
    return (np.broadcast_to(x, out),)


def tile(attributes: Attributes, x: np.ndarray, repeats: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.tile(x, _integers(repeats)),)


def constant_of_shape(attributes: Attributes, target: np.ndarray) -> tuple[np.ndarray, ...]:
    value = attributes["value"]
    return (np.full(_integers(target), value.reshape(-1)[0], value.dtype),)


def range_(attributes: Attributes, start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype),)


def pad(
    attributes: Attributes,
    x: np.ndarray,
    pads: np.ndarray,
    value: np.ndarray | None = None,
    axes: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """Negative pads cut; the others add the value, the edge, its mirror image, or the other end."""
    pairs = pad_pairs(x.ndim, pads, axes)
    x = x[tuple(slice(max(0, -a), d - max(0, -z)) for d, (a, z) in zip(x.shape, pairs, strict=True))]
    grown = [(max(0, a), max(0, z)) for a, z in pairs]
    if attributes["mode"] == "constant":
        fill = x.dtype.type(0) if value is None else value.reshape(-1)[0]
        return (np.pad(x, grown, constant_values=fill),)
    return (np.pad(x, grown, attributes["mode"]),)


def pad_pairs(rank: int, pads: np.ndarray, axes: np.ndarray | None) -> list[tuple[int, int]]:
    """What Pad adds before and after each axis."""
    given = _integers(pads)
    chosen = range(rank) if axes is None else [a % rank for a in _integers(axes)]
    pairs = [(0, 0)] * rank
    for axis, before, after in zip(chosen, given[: len(chosen)], given[len(chosen) :], strict=True):
        pairs[axis] = before, after
    return pairs


def eye_like(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    rows, columns = x.shape
    return (np.eye(rows, columns, attributes["k"], attributes["dtype"] or x.dtype),)


TWINS: dict[str, Twin] = {
    "Identity": identity,
    "Dropout": identity,
    "Transpose": transpose,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Flatten": flatten,
    "Shape": shape,
    "Size": size,
    "Gather": gather,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Expand": expand,
    "Tile": tile,
    "ConstantOfShape": constant_of_shape,
    "Range": range_,
    "Pad": pad,
    "EyeLike": eye_like,
}
