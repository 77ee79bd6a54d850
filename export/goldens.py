"""Golden inputs and Keras' own outputs for them, made before any other runtime has seen the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgeinfer.spec import Golden

from .errors import ExportError
from .forward import forward
from .lowering import first_line
from .samples import Feeds, Input, has_tokens, lengths, padded_feeds, random_feeds

_SEED = 20
_MAX_BYTES = 4096

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


def make_goldens(reference: Reference, inputs: Sequence[Input], window: int | None) -> tuple[Golden, ...]:
    """Random inputs of two lengths and batch sizes; for token inputs also mostly and only padding.

    The first has the window's length. The second shrinks where it would make the file noticeably larger.
    """
    generator = np.random.default_rng(_SEED)
    first, second = lengths(inputs, window)[0], lengths(inputs, window)[-1]
    cases = {"random": random_feeds(inputs, 1, first, generator)}
    for batch, length in ((3, second), (2, min(second, 3)), (2, 1)):
        cases["batch"] = random_feeds(inputs, batch, length, generator)
        if _size(cases["batch"]) + _size(reference(cases["batch"])) <= _MAX_BYTES:
            break
    if has_tokens(inputs):
        cases["mostly_padding"] = padded_feeds(cases["random"], inputs, all_padding=False)
        cases["only_padding"] = padded_feeds(cases["random"], inputs, all_padding=True)
    return tuple(Golden(name, feeds, reference(feeds)) for name, feeds in cases.items())


def _size(arrays: Feeds) -> int:
    return sum(array.nbytes for array in arrays.values())
