"""Golden inputs and Keras' own outputs for them, made before any other runtime has seen the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgeinfer.spec import Golden

from .errors import ExportError
from .forward import forward
from .lowering import first_line, pack_inputs
from .quiet import without_noise
from .samples import PATTERNS, Feeds, Input, has_masks, has_tokens, lengths, masked_feeds, padded_feeds, random_feeds

_SEED = 20
_MAX_BYTES = 4096
_LEAST_LENGTHS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233)

Reference = Callable[[Mapping[str, np.ndarray]], Feeds]


def keras_reference(model: Any, input_names: Sequence[str], output_names: Sequence[str]) -> Reference:
    """A function from named inputs to the named outputs that Keras gives for them."""
    answer = forward(model)

    def run(feeds: Mapping[str, np.ndarray]) -> Feeds:
        try:
            outputs = answer([feeds[name] for name in input_names])
        except Exception as error:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
            raise ExportError(f"Keras cannot run the model on {shapes}: {first_line(error)}") from error
        return dict(zip(output_names, outputs, strict=True))

    return run


def long_enough(model: Any, reference: Reference, inputs: Sequence[Input]) -> tuple[Input, ...]:
    """The inputs with the least length that Keras takes, where it is free: a convolution may need several steps.

    Both its shapes and its answer must agree to a length: TensorFlow's oneDNN kernels answer some that are too short.
    Raises ExportError in Keras' words where it takes none.
    """
    refused = None
    answered = None
    for least in _LEAST_LENGTHS if any(None in item.shape[1:] for item in inputs) else ():
        found = tuple(replace(item, least=least) for item in inputs)
        feeds = random_feeds(found, 1, least, np.random.default_rng(_SEED))
        try:
            answers = reference(feeds)
        except ExportError as error:
            refused = refused or error
            continue
        if all(array.size for array in answers.values()):
            if _shapes_fit(model, [feeds[item.name] for item in found]):
                return found
            answered = answered or found
    if answered is not None:  # a layer of the user's own may answer where its shapes cannot be told
        return answered
    if refused is not None:
        raise refused
    return tuple(inputs)


def _shapes_fit(model: Any, arrays: Sequence[np.ndarray]) -> bool:
    import keras

    tensors = [keras.KerasTensor(array.shape, array.dtype.name) for array in arrays]
    try:
        with without_noise():
            model(pack_inputs(model, tensors), training=False)
    except Exception:  # Keras raises what each layer raises
        return False
    return True


def make_goldens(reference: Reference, inputs: Sequence[Input], window: int | None) -> tuple[Golden, ...]:
    """Random inputs of two lengths and batch sizes; for token inputs also mostly and only padding.

    Where the model masks, a batch with masked steps in every pattern instead of those. The first has the window's
    length. The others shrink where they would make the file noticeably larger.
    """
    generator = np.random.default_rng(_SEED)
    first, second = lengths(inputs, window)[0], lengths(inputs, window)[-1]
    cases = {"random": random_feeds(inputs, 1, first, generator)}
    batches = {"batch": [(3, second), (2, min(second, 3)), (2, 1)]}
    if has_masks(inputs):
        rows = len(PATTERNS)
        batches["masked"] = [(rows, first), (rows, second), (rows, min(second, 3))]
    for name, sizes in batches.items():
        for batch, length in sizes:
            feeds = random_feeds(inputs, batch, length, generator)
            cases[name] = masked_feeds(feeds, inputs, PATTERNS, _SEED) if name == "masked" else feeds
            if _size(cases[name]) + _size(reference(cases[name])) <= _MAX_BYTES:
                break
    if has_tokens(inputs) and not has_masks(inputs):
        cases["mostly_padding"] = padded_feeds(cases["random"], inputs, all_padding=False)
        cases["only_padding"] = padded_feeds(cases["random"], inputs, all_padding=True)
    goldens = [Golden(name, feeds, reference(feeds)) for name, feeds in cases.items()]
    # Keras' mean over nothing, where every step is masked, is NaN: no answer to keep.
    return tuple(golden for golden in goldens if _finite(golden.outputs) or golden.name != "masked")


def _finite(arrays: Mapping[str, np.ndarray]) -> bool:
    return all(np.isfinite(np.asarray(array, np.float64)).all() for array in arrays.values())


def _size(arrays: Feeds) -> int:
    return sum(array.nbytes for array in arrays.values())
