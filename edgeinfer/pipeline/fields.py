"""Checks that the stages share: fields of the metadata, and the one input and output that a task works on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import PipelineError, shorten
from ..graph import ValueInfo
from ..model import Model
from ..spec import Spec

#: What a second caller of a stream gets.
BUSY = "the stream is busy in another thread; give each thread its own .stream()"


def wrong(stage: str, field: str, expected: str, got: object) -> PipelineError:
    """The error for a field that is not what it should be."""
    return PipelineError(f"{stage}: {field}: expected {expected}, got {shorten(got)}", stage=stage, field=field)


def known_only(data: Mapping[str, Any], stage: str, keys: Sequence[str]) -> None:
    """Refuse fields of pre- and postprocessing that this release does not know: they would change the answer."""
    for key in data:
        if key not in keys:
            known = ", ".join(keys) if keys else "none"
            raise PipelineError(f"{stage}: unknown field {key!r}; known: {known}", stage=stage, field=str(key))


def number(value: Any, stage: str, field: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise wrong(stage, field, "a finite number", value)
    return float(value)


def count(value: Any, stage: str, field: str) -> int:
    """An integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise wrong(stage, field, "an integer of at least 1", value)
    return value


def spec_of(model: Model) -> Spec:
    """The metadata of a model that a pipeline was asked for."""
    if model.spec is None:
        raise PipelineError("expected a model with metadata, got one without", stage="task", field="task")
    return model.spec


def preprocessing(model: Model, kind: str) -> Mapping[str, Any]:
    """``preprocessing.KIND`` of the metadata."""
    data = spec_of(model).preprocessing.get(kind)
    if not isinstance(data, Mapping):
        raise wrong(kind, f"preprocessing.{kind}", "an object, since the task needs it", data)
    return data


def only_input(model: Model, stage: str) -> ValueInfo:
    """The single input besides states."""
    if len(model.inputs) != 1:
        names = [value.name for value in model.inputs]
        raise wrong(stage, "inputs", "a model with one input besides its states", names)
    return model.inputs[0]


def only_output(model: Model, stage: str) -> ValueInfo:
    """The single output besides states."""
    if len(model.outputs) != 1:
        names = [value.name for value in model.outputs]
        raise wrong(stage, "outputs", "a model with one output besides its states", names)
    return model.outputs[0]


def check_width(value: ValueInfo, stage: str, expected: int, of_what: str) -> None:
    """The last axis of an input or output, where the file fixes it."""
    if value.shape and isinstance(value.shape[-1], int) and value.shape[-1] != expected:
        shape = list(value.shape)
        raise wrong(stage, value.name, f"a last axis of {expected}, one for each {of_what}", shape)
