"""Random inputs for a model: the same for its goldens and for its verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Feeds = dict[str, np.ndarray]
_ANY_LENGTH = 6
_PAD_SHARE = 4


@dataclass(frozen=True)
class Input:
    """One input of the model.

    ``shape`` has the batch first, None where free. ``tokens`` is the vocabulary's size where an Embedding
    reads the input, else None; ``timed`` says whether axis 1 is time.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    tokens: int | None
    timed: bool


def describe_inputs(
    model: Any, names: Sequence[str], timed: Sequence[bool], embeddings: Sequence[Sequence[Any]]
) -> tuple[Input, ...]:
    """The inputs of a Keras model under the names that the file gives them; the Embedding layers that read each."""
    result = []
    for tensor, name, has_time, fed in zip(model.inputs, names, timed, embeddings, strict=True):
        sizes = [layer.input_dim for layer in fed]
        tokens = min(sizes) if sizes else None
        result.append(Input(name, np.dtype(tensor.dtype), tuple(tensor.shape), tokens, has_time))
    return tuple(result)


def random_feeds(inputs: Sequence[Input], batch: int, length: int, generator: np.random.Generator) -> Feeds:
    """One array per input: token ids over the whole vocabulary, small integers, or standard normal values.

    ``length`` is the size of every free axis; fixed axes keep theirs.
    """
    feeds = {}
    for item in inputs:
        shape = (batch, *(length if size is None else size for size in item.shape[1:]))
        if item.tokens is not None:
            values: np.ndarray = generator.integers(0, item.tokens, size=shape)
        elif item.dtype.kind in "iub":
            values = generator.integers(0, 2, size=shape)
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


def has_tokens(inputs: Sequence[Input]) -> bool:
    return any(item.tokens is not None for item in inputs)


def lengths(inputs: Sequence[Input], window: int | None) -> tuple[int, ...]:
    """Two lengths to try, the window's among them; one where no axis is free."""
    if not any(size is None for item in inputs for size in item.shape[1:]):
        return (next((item.shape[1] or 1 for item in inputs if len(item.shape) > 1), 1),)
    first = window or _ANY_LENGTH
    return (first, first + 3) if first < 3 else (first, first // 2)
