"""What the runtime makes of a masked Keras model: one cell for each recurrent layer, all of a step in the core."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeinfer_export import to_onnx

import edgeinfer

# Float32 sums in another order, through stacks of two cells and a few steps.
TOLERANCE = 1e-5
FEATURES, WORDS, STEPS = 3, 9, 11
MASK_VALUE = 2.0


def stacks(layers: Any) -> dict[str, list[Any]]:
    return {
        "LSTM": [layers.LSTM(8, return_sequences=True), layers.Dense(2)],
        "LSTM, its last step": [layers.LSTM(8), layers.Dense(2)],
        "GRU, zeros where masked": [layers.GRU(7, return_sequences=True, zero_output_for_mask=True)],
        "SimpleRNN, its last step or zeros": [layers.SimpleRNN(6, zero_output_for_mask=True)],
        "a stack": [layers.GRU(6, return_sequences=True, reset_after=False), layers.LSTM(5), layers.Dense(2)],
        "cells": [layers.RNN([layers.LSTMCell(6), layers.GRUCell(5)], return_sequences=True)],
        "layers between": [layers.LayerNormalization(), layers.GRU(6, return_sequences=True), layers.Dropout(0.5)],
    }


@pytest.mark.parametrize(
    "source", ["masking another value", *(pytest.param(s, marks=pytest.mark.slow) for s in ("masking", "embedding"))]
)
def test_masked_layers_are_cells_that_step_in_the_core_as_keras_does(
    source: str, keras: Any, layers: Any, shuffled: Callable[[Any], Any], tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    for name, stack in stacks(layers).items():
        if source == "embedding":
            x = keras.Input((None,), dtype="int32", name="x")
            y = layers.Embedding(WORDS, FEATURES, mask_zero=True)(x)
            items = rng.integers(1, WORDS, (4, STEPS)).astype(np.int32)
            skip: Any = 0
        else:
            skip = MASK_VALUE if source == "masking another value" else 0.0
            x = keras.Input((None, FEATURES), name="x")
            y = layers.Masking(skip)(x)
            items = rng.normal(0, 1, (4, STEPS, FEATURES)).astype(np.float32)
        for layer in stack:
            y = layer(y)
        model = shuffled(keras.Model(x, y))
        items[rng.random((4, STEPS)) < 0.4] = skip
        items[0, :3], items[1, -3:], items[2] = skip, skip, skip
        path = tmp_path / "model.onnx"
        to_onnx(model, path, form="stream")

        loaded = edgeinfer.load(path, backend="native")
        nodes = loaded.describe()["nodes"]
        recurrent = [node for node in nodes if node["op"] in ("LSTM", "GRU", "RNN")]
        assert recurrent and {node["runs"] for node in recurrent} == {"native, masked cell"}, name
        assert [node["name"] for node in nodes if node["runs"] == "numpy"] == [], name
        expected = np.asarray(model(items, training=False))
        whole = loaded.run([loaded.outputs[0].name], {"x": items, **zeros(loaded, len(items))})[0]
        np.testing.assert_allclose(whole, expected, rtol=0, atol=TOLERANCE, err_msg=name)
        pool = loaded.pool(len(items))
        slots = [pool.add() for _ in items]
        for row, (xs, answers) in enumerate(zip(items, whole, strict=True)):
            steps = np.stack([np.asarray(y) for y in map(loaded.stream().step, xs)])
            np.testing.assert_array_equal(steps if answers.ndim == 2 else steps[-1], answers, err_msg=f"{name} {row}")
        for t in range(STEPS):
            last = pool.step(slots, items[:, t])
            np.testing.assert_array_equal(last, whole[:, t] if whole.ndim == 3 else last, err_msg=name)
        np.testing.assert_array_equal(last, whole[:, -1] if whole.ndim == 3 else whole, err_msg=name)


def zeros(model: edgeinfer.Model, batch: int) -> dict[str, np.ndarray]:
    return {s.input: np.zeros((s.shape[0], batch, s.shape[2]), np.float32) for s in model.states}
