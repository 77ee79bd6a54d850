"""Operators that read or write single elements by computed indices.

All raise IndexError for an index outside [-n, n).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import Attributes, Twin


def _grid(shape: tuple[int, ...]) -> list[np.ndarray]:
    """One index array per axis, each broadcasting to ``shape``."""
    return list(np.ogrid[tuple(slice(d) for d in shape)])


def gather_elements(attributes: Attributes, x: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, ...]:
    places = _grid(indices.shape)
    places[attributes["axis"]] = indices
    return (x[tuple(places)],)


def gather_nd(attributes: Attributes, x: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, ...]:
    """indices [*batch, …, k] name slices of x [*batch, …] by their first k axes after the batch_dims."""
    batch = _grid(indices.shape[:-1])[: attributes["batch_dims"]]
    places = (*batch, *np.moveaxis(indices, -1, 0))
    return (x[places],)


def scatter_elements(
    attributes: Attributes, x: np.ndarray, indices: np.ndarray, updates: np.ndarray
) -> tuple[np.ndarray, ...]:
    places = _grid(indices.shape)
    places[attributes["axis"]] = indices
    return (_written(attributes["reduction"], x, tuple(places), updates),)


def scatter_nd(
    attributes: Attributes, x: np.ndarray, indices: np.ndarray, updates: np.ndarray
) -> tuple[np.ndarray, ...]:
    """indices [*lead, k] name slices of x by their first k axes; updates [*lead, *rest]."""
    return (_written(attributes["reduction"], x, tuple(np.moveaxis(indices, -1, 0)), updates),)


_REDUCTIONS: dict[str, Callable[..., None]] = {
    "add": np.add.at,
    "mul": np.multiply.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}


def _written(reduction: str, x: np.ndarray, places: tuple[np.ndarray, ...], updates: np.ndarray) -> np.ndarray:
    y = x.copy()
    if reduction == "none":
        y[places] = updates
    else:
        _REDUCTIONS[reduction](y, places, updates)
    return y


def one_hot(
    attributes: Attributes, indices: np.ndarray, depth: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, ...]:
    """values [off, on]; an index outside [-depth, depth) gives off everywhere."""
    count, rank = int(depth.reshape(-1)[0]), indices.ndim + 1
    axis = attributes["axis"] % rank
    places = indices.astype(np.int64)
    chosen = np.expand_dims(np.where(places < 0, places + count, places), axis)
    steps = np.arange(count).reshape([-1 if i == axis else 1 for i in range(rank)])
    return (np.where(chosen == steps, values[1], values[0]),)


def reverse_sequence(attributes: Attributes, x: np.ndarray, sequence_lens: np.ndarray) -> tuple[np.ndarray, ...]:
    """The first sequence_lens[b] steps of row b turned round."""
    batch, time = attributes["batch_axis"], attributes["time_axis"]
    steps = np.arange(x.shape[time])
    lens = sequence_lens[:, None]
    if sequence_lens.size and sequence_lens.max() > x.shape[time]:
        raise IndexError("a sequence longer than the time axis")
    order = np.where(steps < lens, lens - 1 - steps, steps)
    order = order if batch < time else order.T
    places = _grid(x.shape)
    places[time] = order.reshape(*order.shape, *[1] * (x.ndim - 2))
    return (x[tuple(places)],)


def compress(attributes: Attributes, x: np.ndarray, condition: np.ndarray) -> tuple[np.ndarray, ...]:
    """The elements or slices for which the condition, which may be shorter, holds."""
    return (np.compress(condition, x, attributes["axis"]),)


TWINS: dict[str, Twin] = {
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "OneHot": one_hot,
    "ReverseSequence": reverse_sequence,
    "Compress": compress,
}
