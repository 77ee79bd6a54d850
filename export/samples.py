"""Random inputs for a model: the same for its goldens and for its verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .masks import is_mask, mask_values

Feeds = dict[str, np.ndarray]
_ANY_LENGTH = 6
_PAD_SHARE = 4
# How the steps of one row are masked. "mixed" has one row of each, and one without a mask.
PATTERNS = ("front", "end", "holes", "all")


@dataclass(frozen=True)
class Input:
    """One input of the model.

    ``shape`` has the batch first, None where free. ``tokens`` is the vocabulary's size where an Embedding
    reads the input, else None; ``timed`` says whether axis 1 is time. A step is masked where the input is
    ``mask_value``: 0 for padding that an Embedding masks, the value of a Masking layer, False in a mask that is
    an input itself; None where no value of the input masks a step. No free axis is shorter than ``least``.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    tokens: int | None
    timed: bool
    mask_value: float | None = None
    least: int = 1


def describe_inputs(
    model: Any, names: Sequence[str], timed: Sequence[bool], embeddings: Sequence[Sequence[Any]]
) -> tuple[Input, ...]:
    """The inputs of a Keras model under the names that the file gives them; the Embedding layers that read each."""
    result = []
    for tensor, name, has_time, fed in zip(model.inputs, names, timed, embeddings, strict=True):
        values = [*mask_values(model, tensor), *(0.0 for layer in fed if layer.mask_zero)]
        if len(tensor.shape) == 2 and is_mask(model, tensor):
            values.append(0.0)
        tokens = min((layer.input_dim for layer in fed), default=None)
        value = values[0] if values else None
        result.append(Input(name, np.dtype(tensor.dtype), tuple(tensor.shape), tokens, has_time, value))
    return tuple(result)


def random_feeds(inputs: Sequence[Input], batch: int, length: int, generator: np.random.Generator) -> Feeds:
    """One array per input: token ids over the whole vocabulary, small integers, or standard normal values.

    ``length`` is the size of every free axis, or the input's least; fixed axes keep theirs.
    """
    feeds = {}
    for item in inputs:
        free = max(length, item.least)
        shape = (batch, *(free if size is None else size for size in item.shape[1:]))
        if item.tokens is not None:
            values: np.ndarray = generator.integers(0, item.tokens, size=shape)
        elif item.dtype.kind in "iub":
            # Of a mask every step: a mean over none is NaN in Keras too. What is masked, masked_feeds says.
            lowest = int(item.mask_value is not None and len(shape) == 2)
            values = generator.integers(lowest, 2, size=shape)
        else:
            values = generator.standard_normal(shape)
        feeds[item.name] = np.ascontiguousarray(values.astype(item.dtype))
    return feeds


def padded_feeds(feeds: Mapping[str, np.ndarray], inputs: Sequence[Input], all_padding: bool) -> Feeds:
    """The same feeds with token inputs mostly, or only, padding (id 0 in front)."""
    result = dict(feeds)
    for item in inputs:
        if item.tokens is not None and len(item.shape) > 1:
            ids = result[item.name].copy()
            length = ids.shape[1]
            ids[:, : length if all_padding else length - max(1, length // _PAD_SHARE)] = 0
            result[item.name] = ids
    return result


def masked_feeds(feeds: Mapping[str, np.ndarray], inputs: Sequence[Input], rows: Sequence[str], seed: int) -> Feeds:
    """The same feeds with real masked steps: row i of every input that can be masked as ``rows[i]`` says.

    ``rows`` are of PATTERNS, or "none". Each input has masked steps of its own; those beside them are kept.
    """
    generator = np.random.default_rng(seed)
    result = dict(feeds)
    for item in (item for item in inputs if item.mask_value is not None):
        values = result[item.name].copy()
        for row, pattern in zip(values, rows, strict=True):
            masked = _masked_steps(pattern, len(row), generator)
            # What is kept must not look masked.
            row[~masked & (row == item.mask_value).reshape(len(row), -1).all(axis=1)] = 1 if item.mask_value != 1 else 2
            row[masked] = item.mask_value
        result[item.name] = values
    return result


def _masked_steps(pattern: str, length: int, generator: np.random.Generator) -> np.ndarray:
    """bool [length], True where a step is masked; at least one is, and but for "all" one is kept where length > 1."""
    some = int(generator.integers(1, max(2, length)))
    masked = np.zeros(length, dtype=bool)
    if pattern == "all":
        masked[:] = True
    elif pattern == "front":
        masked[:some] = True
    elif pattern == "end":
        masked[length - some :] = True
    elif pattern == "holes":
        masked[generator.permutation(length)[:some]] = True
    return masked


def has_masks(inputs: Sequence[Input]) -> bool:
    return any(item.mask_value is not None for item in inputs)


def has_tokens(inputs: Sequence[Input]) -> bool:
    return any(item.tokens is not None for item in inputs)


def lengths(inputs: Sequence[Input], window: int | None) -> tuple[int, ...]:
    """Two lengths to try, the window's among them; one where no axis is free."""
    if not any(size is None for item in inputs for size in item.shape[1:]):
        return (next((item.shape[1] or 1 for item in inputs if len(item.shape) > 1), 1),)
    first = window or _ANY_LENGTH
    return (first, first + 3) if first < 3 else (first, first // 2)
