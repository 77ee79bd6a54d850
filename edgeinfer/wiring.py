"""A decoder and its encoder: which outputs of the one start or feed the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .errors import InputError, ModelFormatError, StreamError
from .graph import ValueInfo
from .spec import Encoder


def check_wiring(encoder: Encoder, inputs: Sequence[ValueInfo], states: Collection[str]) -> None:
    """Raise ModelFormatError where the metadata wires an encoder to inputs that the graph does not have.

    ``states``: those of ``inputs`` that are states.
    """
    data = {info.name for info in inputs} - set(states)
    for key, names, known in (("states", encoder.states, states), ("constants", encoder.constants, data)):
        for name in names:
            if name not in known:
                raise ModelFormatError(f'metadata edgeinfer.spec: encoder.{key}: the graph has no such input "{name}"')


def wired(encoder: Encoder | None, given: Any) -> Mapping[str, Any]:
    """What is given, under the names of this model's inputs: ``encoder`` says which of its outputs goes where.

    ``given``: arrays by name, or the one array of an encoder with one output. Raises InputError where one is missing.
    """
    if encoder is None:
        if not isinstance(given, Mapping):
            raise InputError(f"expected a dict of arrays by input name, got {type(given).__name__}", got=given)
        return given
    sources = {**encoder.states, **encoder.constants}
    if not isinstance(given, Mapping):
        given = dict.fromkeys(sources.values(), given) if len(set(sources.values())) == 1 else {}
    missing = [source for source in dict.fromkeys(sources.values()) if source not in given]
    if missing:
        expected = list(dict.fromkeys(sources.values()))
        raise InputError(f"expected what the encoder gives, {expected}; {missing} are missing", expected=expected)
    return {name: given[source] for name, source in sources.items()}


def refuse_without(encoder: Encoder, inputs: Sequence[ValueInfo]) -> None:
    """Raise StreamError where inputs that come from the encoder have not been given."""
    missing = [info.name for info in inputs if info.name in encoder.constants]
    if missing:
        raise StreamError(
            f"the model is a decoder, and {missing} come from its encoder: model.given(encoder(x)).stream()"
        )
