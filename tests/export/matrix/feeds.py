"""Inputs for any Keras model: several batch sizes and lengths, and masks of every pattern where it has one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .case import VOCABULARY

# Batch and length; the first fits a mask of every pattern.
SIZES = ((5, 7), (1, 1), (3, 4))
OWN_LENGTHS = "a length each"
PATTERNS = ("full", "pre", "post", "holes", "all")
# What Unicode, spaces and punctuation do to a tokenizer.
TEXTS = (
    "The cat sat on the mat.", "", "  two   spaces ", "ÉTÉ été Größe GRÖSSE", "no\u00a0break\u3000ideographic",
    "cat,cat;cat! (cat) 'cat'", "tab\tnew\nline", "\U0001f600 cat", "i\u0307 \u0130stanbul", "12 000 cats",
)  # fmt: skip


@dataclass(frozen=True)
class Ends:
    """What is known of a model's inputs: dtype, shape (batch first, None where free), and its mask if it has one.

    ``mask_value`` is what a Masking layer takes for a masked step; ``masked`` says whether anything makes masks.
    """

    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...], ...]
    masked: bool
    mask_value: float

    @property
    def free(self) -> bool:
        """Whether any axis besides the batch is free."""
        return any(size is None for shape in self.shapes for size in shape[1:])

    @property
    def batch(self) -> int | None:
        """The batch size, where it is fixed."""
        return next((shape[0] for shape in self.shapes if shape and shape[0] is not None), None)


def ends_of(model: Any, signature: Sequence[tuple[str, tuple[int | None, ...]]] = ()) -> Ends:
    """The inputs of a model; ``signature`` has those of one that does not know its own."""
    import keras

    mask_value, masked = 0.0, False
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Masking):
            masked, mask_value = True, float(layer.mask_value)
        if getattr(layer, "mask_zero", False) or getattr(layer, "mask_token", None) is not None:
            masked = True
    known = signature or [(str(tensor.dtype), tuple(tensor.shape)) for tensor in model.inputs]
    dtypes, shapes = tuple(dtype for dtype, _ in known), tuple(shape for _, shape in known)
    masked = masked or any(d == "bool" and len(s) == 2 for d, s in zip(dtypes, shapes, strict=True))
    return Ends(dtypes, shapes, masked, mask_value)


def variants(ends: Ends, seed: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Inputs with a name each: of every size, then masked ones, then of a length of its own per input."""
    generator = np.random.default_rng(seed)
    for batch, length in SIZES if ends.free else SIZES[:1]:
        batch = ends.batch or batch
        yield f"batch {batch}, length {length}", arrays(ends, batch, length, generator)
    if ends.masked:
        batch, length = SIZES[0]
        batch = ends.batch or batch
        for name, pattern in (("every pattern", PATTERNS), ("all masked", ("all",)), ("one kept", ("post", "pre"))):
            yield name, masked(ends, arrays(ends, batch, length, generator), pattern, generator)
    if ends.free and len(ends.shapes) > 1:
        batch = ends.batch or 2
        lengths = [3 + i for i in range(len(ends.shapes))]
        yield OWN_LENGTHS, arrays(ends, batch, lengths, generator)


def arrays(ends: Ends, batch: int, length: int | Sequence[int], generator: np.random.Generator) -> list[np.ndarray]:
    """One array per input; nothing is masked."""
    lengths = [length] * len(ends.shapes) if isinstance(length, int) else length
    result = []
    for dtype, shape, size in zip(ends.dtypes, ends.shapes, lengths, strict=True):
        full = (batch, *(size if axis is None else axis for axis in shape[1:]))
        if dtype == "string":
            value: np.ndarray = np.array(generator.choice(TEXTS, full), dtype=object)
        elif dtype == "bool":
            # A mask where it is one, else a value like others.
            value = np.ones(full, bool) if len(full) == 2 else generator.integers(0, 2, full).astype(bool)
        elif len(full) == 2 or dtype.startswith(("int", "uint")):
            integers = dtype.startswith(("int", "uint")) or (size is not None and shape[1] is None)
            value = generator.integers(1, VOCABULARY, full) if integers else generator.standard_normal(full)
        else:
            value = generator.standard_normal(full)
        result.append(value if dtype == "string" else np.ascontiguousarray(value.astype(dtype)))
    return result


def masked(
    ends: Ends, given: Sequence[np.ndarray], patterns: Sequence[str], generator: np.random.Generator
) -> list[np.ndarray]:
    """The same arrays with steps masked: row i of each input in pattern i."""
    result = []
    for array, dtype, shape in zip(given, ends.dtypes, ends.shapes, strict=True):
        if len(shape) < 2 or dtype == "string" or (len(shape) == 2 and shape[1] is not None and dtype == "float32"):
            result.append(array)
            continue
        kept = np.stack([_keep(patterns[i % len(patterns)], array.shape[1], generator) for i in range(len(array))])
        off = False if dtype == "bool" else ends.mask_value if array.ndim > 2 else 0
        result.append(np.where(kept.reshape(*kept.shape, *[1] * (array.ndim - 2)), array, np.array(off, array.dtype)))
    return result


def _keep(pattern: str, length: int, generator: np.random.Generator) -> np.ndarray:
    kept = np.ones(length, bool)
    some = int(generator.integers(1, length)) if length > 1 else 1
    if pattern == "pre":
        kept[:some] = False
    elif pattern == "post":
        kept[-some:] = False
    elif pattern == "holes":
        kept = generator.random(length) < 0.5
        kept[int(generator.integers(0, length))] = False
    elif pattern == "all":
        kept[:] = False
    return kept
