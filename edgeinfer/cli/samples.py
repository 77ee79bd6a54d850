"""Seeded random inputs that a model accepts, for comparing and timing what runs it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import ValueInfo
from ..model import Model

SEED = 20240229
_BATCH = 2
_TIME = 9


def random_feeds(model: Model, seed: int = SEED) -> dict[str, np.ndarray]:
    """One input of every name: axes that the file leaves open get a small batch and a few steps."""
    rng = np.random.default_rng(seed)
    return {value.name: _draw(rng, value, _open_shape(model, value), model) for value in model.inputs}


def random_steps(model: Model, count: int, seed: int = SEED) -> list[Any]:
    """``count`` inputs of Stream.step: numbers where a step is one number, else float32 [F]; dicts by name."""
    rng = np.random.default_rng(seed)
    columns = {}
    for value in model.inputs:
        width = value.shape[-1] if len(value.shape) > 2 else 1
        width = width if isinstance(width, int) else 1
        drawn = _draw(rng, value, (count, width), model)
        columns[value.name] = [row.item() if width == 1 else row for row in drawn]
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _open_shape(model: Model, value: ValueInfo) -> tuple[int, ...]:
    window = None if model.spec is None or model.spec.mode != "window" else model.spec.window
    time = _TIME if window is None else window.length
    return tuple(
        size if isinstance(size, int) else (_BATCH if axis == 0 else time) for axis, size in enumerate(value.shape)
    )


def _draw(rng: np.random.Generator, value: ValueInfo, shape: tuple[int, ...], model: Model) -> np.ndarray:
    vocabulary = _vocabulary(model)
    if vocabulary is not None or not np.issubdtype(value.dtype, np.floating):
        return rng.integers(0, vocabulary or 2, size=shape).astype(value.dtype)
    return rng.standard_normal(shape).astype(value.dtype)


def _vocabulary(model: Model) -> int | None:
    """How many token ids there are; None for a model that does not read text."""
    text = None if model.spec is None else model.spec.preprocessing.get("text")
    words = text.get("vocabulary") if isinstance(text, dict) else None
    return len(words) if isinstance(words, list) and words else None
