"""Which call of which layer an operation belongs to: each call has a scope of its own while the model is traced."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_SCOPE = "edgeinfer_call_"
_MARK = re.compile(rf"{_SCOPE}(\d+)")
_NUMBER = re.compile(r"(_\d+)+$")


@dataclass
class Call:
    """One call of a layer, model or operation.

    ``label`` is what the layer is called in the file: its name behind those of the layers that call it, models left
    out. ``name`` is the label, or label/call_i where there are several calls. ``shapes`` are those of its outputs.
    """

    layer: Any
    around: tuple[Call, ...]
    label: str = ""
    name: str = ""
    shapes: tuple[tuple[int | None, ...], ...] = ()

    @property
    def is_model(self) -> bool:
        import keras

        return isinstance(self.layer, keras.Model)

    @property
    def owner(self) -> Call:
        """The innermost call that is not one of a model; a model's own where there is none."""
        return next((call for call in (self, *reversed(self.around)) if not call.is_model), self)


class Calls:
    """The calls of one trace, in their order."""

    def __init__(self) -> None:
        self._all: list[Call] = []
        self._open: list[Call] = []

    @property
    def present(self) -> Call | None:
        """The innermost call that is running."""
        return self._open[-1] if self._open else None

    def opens(self, layer: Any) -> bool:
        """Whether a call of ``layer`` is one of its own: an operation inside a layer's call is part of the layer."""
        import keras

        present = self.present
        # Layer.__call__ goes on to Operation.__call__.
        return present is None or (
            present.layer is not layer and (present.is_model or isinstance(layer, keras.layers.Layer))
        )

    @contextmanager
    def inside(self, layer: Any) -> Iterator[Call]:
        """What is traced inside the block belongs to a call of ``layer``."""
        import tensorflow as tf

        call = Call(layer, tuple(self._open))
        self._all.append(call)
        self._open.append(call)
        try:
            with tf.name_scope(f"{_SCOPE}{len(self._all) - 1}"):
                yield call
        finally:
            self._open.pop()

    def finish(self) -> None:
        """Give every call its label and name: two layers of nested models may share a name."""
        labels: dict[tuple[int, str], str] = {}
        for call in self._all:
            parents = [parent.layer.name for parent in call.around if not parent.is_model]
            wanted = "/".join([*parents, call.layer.name])
            key = (id(call.layer), wanted)
            if key not in labels:
                label, i = wanted, 1
                while label in labels.values():
                    label, i = f"{wanted}_{i}", i + 1
                labels[key] = label
            call.label = labels[key]
        total, seen = Counter(call.label for call in self._all), Counter[str]()
        for call in self._all:
            call.name = f"{call.label}/call_{seen[call.label]}" if total[call.label] > 1 else call.label
            seen[call.label] += 1

    def of(self, name: str) -> tuple[Call, str] | None:
        """The call that an operation's name in the graph stands in, and the rest of the name."""
        marks = list(_MARK.finditer(name))
        if not marks or int(marks[-1][1]) >= len(self._all):
            return None
        call = self._all[int(marks[-1][1])]
        rest = [part for part in name[marks[-1].end() :].split("/") if part]
        # Keras opens scopes of the layer's name inside, and TensorFlow numbers them.
        return call, "/".join(
            rest[1:] if rest and _NUMBER.sub("", rest[0]) == _NUMBER.sub("", call.layer.name) else rest
        )

    def __iter__(self) -> Iterator[Call]:
        return iter(self._all)
