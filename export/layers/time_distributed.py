"""TimeDistributed: the steps become rows of the batch, the inner layer is called once, the rows become steps again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..streamable import innermost, works_on_every_step
from .record import Build, Record, Recorder


@dataclass
class Folded(Record):
    """[batch, time, ...] → [batch · time, ...]; ``rest`` is what stands behind, None where free."""

    rest: tuple[int | None, ...]

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        target = build.joined([-1, *build.sizes(inputs[0], self.rest, first=2, suffix="rest")], "Shape")
        build.node("Reshape", [inputs[0], target], "", outputs[0])


@dataclass
class Unfolded(Record):
    """[batch · time, ...] → [batch, time, ...], those two sizes taken from the second input."""

    steps: int | None
    rest: tuple[int | None, ...]

    def lower(self, build: Build, arrays: Sequence[np.ndarray], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        rest = build.sizes(inputs[0], self.rest, first=1, suffix="rest")
        if self.steps is not None and None not in self.rest:
            steps: list[int | str] = [-1, self.steps]
        else:
            steps = build.sizes(inputs[1], (None, None), first=0, suffix="steps")
        build.node("Reshape", [inputs[0], build.joined([*steps, *rest], "Shape")], "", outputs[0])


def call_time_distributed(
    recorder: Recorder, layer: Any, inputs: Any, training: bool | None = None, mask: Any = None
) -> Any:
    """Leave placeholders around the inner layer, which leaves its own."""
    if works_on_every_step(layer):
        return innermost(layer).call(inputs)
    inner = layer.layer
    arguments: dict[str, Any] = {}
    if inner._call_has_training_arg:
        arguments["training"] = False
    if inner._call_has_mask_arg and mask is not None:
        arguments["mask"] = _fold(recorder, layer, mask, "Fold_mask")
    with recorder.distributed():
        result = inner.call(_fold(recorder, layer, inputs, "Fold"), **arguments)
    steps, rest = inputs.shape[1], tuple(result.shape[1:])
    record = Unfolded(layer, f"{layer.name}/Unfold", steps, rest)
    (output,) = recorder.emit(record, [result, inputs], [[inputs.shape[0], steps, *rest]], [result.dtype])
    return output


def _fold(recorder: Recorder, layer: Any, x: Any, name: str) -> Any:
    batch, steps, *rest = x.shape
    rows = None if batch is None or steps is None else batch * steps
    record = Folded(layer, f"{layer.name}/{name}", tuple(rest))
    (folded,) = recorder.emit(record, [x], [[rows, *rest]], [x.dtype])
    return folded
