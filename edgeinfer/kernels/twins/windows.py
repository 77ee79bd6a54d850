"""Convolution and pooling over any number of axes, by views of sliding windows.

Shapes: x [N, C, *size], results [N, M, *out]. ``pads`` are the first and the last element added to each axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from itertools import product
from typing import Any

import numpy as np

from . import Attributes, Twin

Pairs = Sequence[tuple[int, int]]
_ALL = (slice(None), slice(None))
_MANY_TAPS = 64


def filled(attributes: Attributes, rank: int) -> dict[str, Any]:
    """The attributes with the lists for ``rank`` axes that the file leaves out."""
    ones, zeros = (1,) * rank, (0,) * rank
    defaults = {"strides": ones, "dilations": ones, "pads": zeros + zeros, "output_padding": zeros}
    return {name: defaults.get(name) if value is None else value for name, value in attributes.items()}


def extents(kernel: Sequence[int], dilations: Sequence[int]) -> tuple[int, ...]:
    """How many elements of each axis a kernel reaches over."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))


def window_pads(attributes: Attributes, size: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
    """What Conv and the pools add before and after each axis, as auto_pad or pads say."""
    rank, auto = len(size), attributes["auto_pad"]
    if auto == "NOTSET":
        return list(zip(attributes["pads"][:rank], attributes["pads"][rank:], strict=True))
    if auto == "VALID":
        return [(0, 0)] * rank
    pads = []
    reach = extents(kernel, attributes["dilations"])
    for d, extent, stride in zip(size, reach, attributes["strides"], strict=True):
        total = max(0, (-(-d // stride) - 1) * stride + extent - d)
        small = total // 2
        pads.append((small, total - small) if auto == "SAME_UPPER" else (total - small, small))
    return pads


def output_spans(attributes: Attributes, size: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
    """Where ConvTranspose's output begins in what its windows cover, and how long it is, for each axis."""
    rank, auto, wanted = len(size), attributes["auto_pad"], attributes["output_shape"]
    full = covered(attributes, size, kernel)
    if wanted is None and auto in ("NOTSET", "VALID"):
        pads = attributes["pads"] if auto == "NOTSET" else (0,) * (2 * rank)
        return [(before, d - before - after) for d, before, after in zip(full, pads[:rank], pads[rank:], strict=True)]
    if wanted is None:
        wanted = [d * stride for d, stride in zip(size, attributes["strides"], strict=True)]
    totals = [max(0, d - target) for d, target in zip(full, wanted, strict=True)]
    return [(t - t // 2 if auto == "SAME_LOWER" else t // 2, w) for t, w in zip(totals, wanted, strict=True)]


def covered(attributes: Attributes, size: Sequence[int], kernel: Sequence[int]) -> list[int]:
    """The sizes that ConvTranspose's windows cover, before anything is cut off."""
    reach = extents(kernel, attributes["dilations"])
    given = zip(size, attributes["strides"], reach, attributes["output_padding"], strict=True)
    return [stride * (d - 1) + extent + more for d, stride, extent, more in given]


def _windows(x: np.ndarray, kernel: Sequence[int], attributes: Attributes, pads: Pairs, fill: float) -> np.ndarray:
    """A view of the padded x: [N, C, *out, *kernel]."""
    padded = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=x.dtype.type(fill)) if np.any(pads) else x
    axes = tuple(range(2, x.ndim))
    reach = extents(kernel, attributes["dilations"])
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, axes)
    steps = (*attributes["strides"], *attributes["dilations"])
    picked = (*_ALL, *(slice(None, None, step) for step in steps))
    return np.asarray(view[picked])


def conv(attributes: Attributes, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """y = W * x + B, as correlation; w [M, C / group, *kernel], b [M]."""
    attributes, kernel = filled(attributes, x.ndim - 2), w.shape[2:]
    group = attributes["group"]
    windows = _windows(x, kernel, attributes, window_pads(attributes, x.shape[2:], kernel), 0.0)
    n, out = x.shape[0], windows.shape[2 : x.ndim]
    # [N, C, *out, *kernel] → [N, group, C / group * kernel, out]
    spatial = range(2, x.ndim)
    columns = windows.transpose(0, 1, *(axis + len(kernel) for axis in spatial), *spatial)
    columns = columns.reshape(n, group, math.prod(w.shape[1:]), math.prod(out))
    y = np.matmul(w.reshape(group, w.shape[0] // group, columns.shape[2]), columns).reshape(n, w.shape[0], *out)
    return (y if b is None else y + b.reshape(-1, *[1] * len(out)),)


def conv_transpose(
    attributes: Attributes, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Each input element adds its kernel to the output; w [C, M / group, *kernel], b [M]."""
    attributes, kernel, size = filled(attributes, x.ndim - 2), w.shape[2:], x.shape[2:]
    group, (n, channels) = attributes["group"], x.shape[:2]
    weights = w.reshape(group, channels // group, math.prod(w.shape[1:])).transpose(0, 2, 1)
    taps = np.matmul(weights, x.reshape(n, group, channels // group, math.prod(size)))
    taps = taps.reshape(n, group * w.shape[1], math.prod(kernel), math.prod(size))
    spans = output_spans(attributes, size, kernel)
    y = np.zeros((n, taps.shape[1], *covered(attributes, size, kernel)), x.dtype)
    # one tap at all elements, or all taps of one element at once: whichever are fewer
    outer, inner = (kernel, attributes["dilations"]), (size, attributes["strides"])
    if math.prod(size) < math.prod(kernel):
        taps, outer, inner = taps.swapaxes(2, 3), inner, outer
    for index, place in enumerate(product(*map(range, outer[0]))):
        reached = zip(place, outer[1], *inner, strict=True)
        spread = [slice(i * far, i * far + step * (count - 1) + 1, step) for i, far, count, step in reached]
        picked = (*_ALL, *spread)
        y[picked] += taps[:, :, index].reshape(n, taps.shape[1], *inner[0])
    kept = (*_ALL, *(slice(start, start + length) for start, length in spans))
    y = y[kept]
    return (y if b is None else y + b.reshape(-1, *[1] * len(size)),)


def max_pool(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """What is padded never wins."""
    attributes = filled(attributes, x.ndim - 2)
    kernel = attributes["kernel_shape"]
    windows = _windows(x, kernel, attributes, window_pads(attributes, x.shape[2:], kernel), -math.inf)
    return (_over_taps(np.maximum, windows, kernel),)


def average_pool(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Over the elements of x in each window, or over the padded ones too with count_include_pad."""
    attributes = filled(attributes, x.ndim - 2)
    kernel, size = attributes["kernel_shape"], x.shape[2:]
    pads = window_pads(attributes, size, kernel)
    windows = _windows(x, kernel, attributes, pads, 0.0)
    counted: np.ndarray | float = float(math.prod(kernel))
    if not attributes["count_include_pad"]:
        inside = _windows(np.ones((1, 1, *size), x.dtype), kernel, attributes, pads, 0.0)
        counted = _over_taps(np.add, inside, kernel)
    return (np.asarray(_over_taps(np.add, windows, kernel) / counted, x.dtype),)


def _over_taps(function: np.ufunc, windows: np.ndarray, kernel: Sequence[int]) -> np.ndarray:
    """Reduce the kernel's axes, which are the last ones; tap after tap where they are few: ten times as fast."""
    rank = windows.ndim - len(kernel)
    if math.prod(kernel) > _MANY_TAPS:
        return np.asarray(function.reduce(windows, axis=tuple(range(rank, windows.ndim))))
    taps = np.moveaxis(windows, range(rank, windows.ndim), range(len(kernel)))
    return np.asarray(reduce(function, (taps[place] for place in product(*map(range, kernel)))))


def global_max_pool(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


def global_average_pool(attributes: Attributes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (x.mean(axis=tuple(range(2, x.ndim)), keepdims=True, dtype=x.dtype),)


TWINS: dict[str, Twin] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalMaxPool": global_max_pool,
    "GlobalAveragePool": global_average_pool,
}
