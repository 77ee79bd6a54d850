"""One case of the matrix: a name, and how its model is built, always with the same weights."""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FEATURES, UNITS, LENGTH, VOCABULARY = 3, 4, 6, 9
# Large enough that every gate matters, small enough that relu and linear cells do not grow without bound.
WEIGHT_SCALE = 0.35

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "SimpleRNN": ("SimpleRNN", {}),
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {}),
    "GRU reset before": ("GRU", {"reset_after": False}),
}


@dataclass(frozen=True)
class Case:
    """A model of the matrix.

    ``build`` makes the Keras model from the keras module. ``refused`` is a part of the message with which export
    refuses it, where it should. ``policy`` is the dtype policy that it is built under. ``signature`` has dtype and
    shape of each input of a subclassed model, which knows neither itself. ``scale`` is the weights' deviation.
    """

    group: str
    name: str
    build: Callable[[Any], Any]
    refused: str | None = None
    policy: str = "float32"
    signature: tuple[tuple[str, tuple[int | None, ...]], ...] = ()
    scale: float = WEIGHT_SCALE

    @property
    def id(self) -> str:
        return f"{self.group}: {self.name}"


def model_of(case: Case, policy: str | None = None) -> Any:
    """The case's model with its random weights, biases included, under its own policy or another."""
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed_of(case.id))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy or case.policy)
    try:
        model = case.build(keras)
    finally:
        keras.config.set_dtype_policy(before)
    shuffle(model, seed_of(case.id), case.scale)
    return model


def seed_of(text: str) -> int:
    return zlib.crc32(text.encode())


def shuffle(model: Any, seed: int, scale: float = WEIGHT_SCALE) -> None:
    """Random weights: Keras starts biases at zero and scales at one, where a mistake does not show."""
    import keras

    generator = np.random.default_rng(seed)
    # What Normalization holds was measured or given.
    kept = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Normalization)]
    kept_ids = {id(weight) for layer in kept for weight in layer.weights}
    for weight in model.weights:
        if id(weight) in kept_ids or "float" not in str(weight.dtype):
            continue
        value = scale * generator.standard_normal(weight.shape)
        # A moving variance below zero is no variance.
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)


def recurrent(k: Any, kind: str, units: int = UNITS, **arguments: Any) -> Any:
    """A recurrent layer of one of KINDS."""
    name, fixed = KINDS[kind]
    return getattr(k.layers, name)(units, **{**fixed, **arguments})


def cell(k: Any, kind: str, units: int = UNITS, **arguments: Any) -> Any:
    """The cell of one of KINDS."""
    name, fixed = KINDS[kind]
    return getattr(k.layers, f"{name}Cell")(units, **{**fixed, **arguments})


def sequential(k: Any, *layers: Any, shape: Sequence[int | None] = (None, FEATURES), **arguments: Any) -> Any:
    """A Sequential of these layers behind one input."""
    return k.Sequential([k.Input(shape, **arguments), *layers], name="model")


def product(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the axes' values."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def pairwise(
    axes: Mapping[str, Sequence[Any]], allowed: Callable[[dict[str, Any]], bool] = lambda row: True
) -> list[dict[str, Any]]:
    """Few combinations, in which every pair of values of two axes that is allowed somewhere occurs.

    Greedy: each row starts from a pair that none has yet and takes, axis by axis, the value with most new pairs.
    """
    names = list(axes)
    chance = random.Random(1)

    def possible(pair: tuple[int, int, int, int]) -> bool:
        a, i, b, j = pair
        for _ in range(100):
            row = {name: chance.choice(list(axes[name])) for name in names}
            if allowed({**row, names[a]: axes[names[a]][i], names[b]: axes[names[b]][j]}):
                return True
        return False

    every = [
        (a, i, b, j)
        for a, b in itertools.combinations(range(len(names)), 2)
        for i in range(len(axes[names[a]]))
        for j in range(len(axes[names[b]]))
    ]
    missing = {pair for pair in every if possible(pair)}

    def row_from(pair: tuple[int, int, int, int], greedy: bool) -> dict[int, int]:
        a, i, b, j = pair
        row = {a: i, b: j}
        rest = [axis for axis in range(len(names)) if axis not in row]
        chance.shuffle(rest)
        for axis in rest:
            values = list(range(len(axes[names[axis]])))
            chance.shuffle(values)
            # By chance where what is best is not allowed.
            row[axis] = max(values, key=lambda v: greedy * sum(p in missing for p in _pairs(row, axis, v)))
        return row

    rows = []
    for pair in every:
        for attempt in itertools.count():
            if pair not in missing:
                break
            row = row_from(pair, greedy=attempt < 20)
            named = {name: axes[name][row[axis]] for axis, name in enumerate(names)}
            if allowed(named):
                rows.append(named)
                missing -= {p for axis, value in row.items() for p in _pairs(row, axis, value)}
    return rows


def _pairs(row: Mapping[int, int], axis: int, value: int) -> list[tuple[int, int, int, int]]:
    """The pairs of one axis' value with all others in the row."""
    return [(a, i, axis, value) if a < axis else (axis, value, a, i) for a, i in row.items() if a != axis]


def words(row: Mapping[str, Any]) -> str:
    """A combination as a name: flags that are set by their key, other values as they are, what is off left out."""
    found = []
    for key, value in row.items():
        if value is True:
            found.append(key)
        elif value not in (False, None, "", "none"):
            found.append(
                str(value) if isinstance(value, str) and key in ("kind", "source", "what") else f"{key}={value}"
            )
    return " ".join(found)
