"""Batch, layer and instance normalization: (x - mean) / sqrt(variance + epsilon) * scale + bias."""

from __future__ import annotations

import numpy as np

from . import Attributes, Twin


def _per_channel(values: np.ndarray, rank: int) -> np.ndarray:
    return values.reshape(-1, *[1] * (rank - 2))


def batch_normalization(
    attributes: Attributes,
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """With the mean and variance of training, one per channel; channels are axis 1."""
    factor = scale / np.sqrt(variance + variance.dtype.type(attributes["epsilon"]))
    shift = bias - mean * factor
    return ((x * _per_channel(factor, x.ndim) + _per_channel(shift, x.ndim)).astype(x.dtype),)


def layer_normalization(
    attributes: Attributes, x: np.ndarray, scale: np.ndarray, bias: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Over the axes from ``axis`` to the last."""
    axes = tuple(range(attributes["axis"] % x.ndim, x.ndim))
    y = _normalized(x, axes, attributes["epsilon"]) * scale
    return ((y if bias is None else y + bias).astype(x.dtype),)


def instance_normalization(
    attributes: Attributes, x: np.ndarray, scale: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Over the axes after batch and channels; scale and bias are one per channel."""
    y = _normalized(x, tuple(range(2, x.ndim)), attributes["epsilon"])
    return ((y * _per_channel(scale, x.ndim) + _per_channel(bias, x.ndim)).astype(x.dtype),)


def _normalized(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    """In float64: the mean of values far from zero loses digits that their differences need."""
    wide = x.astype(np.float64)
    centered = wide - wide.mean(axis=axes, keepdims=True)
    variance = np.square(centered).mean(axis=axes, keepdims=True)
    return (centered / np.sqrt(variance + epsilon)).astype(x.dtype)


TWINS: dict[str, Twin] = {
    "BatchNormalization": batch_normalization,
    "LayerNormalization": layer_normalization,
    "InstanceNormalization": instance_normalization,
}
