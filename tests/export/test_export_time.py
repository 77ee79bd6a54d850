"""An export takes seconds: most of them Keras' own, which the comparison runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeinfer_export import to_onnx
from edgeinfer_export.forward import forward

# Twice what is promised after TensorFlow's import, in CPU seconds: a machine with other work to do stays below.
LSTM_SECONDS = 2 * 5.0
SENTIMENT_SECONDS = 2 * 8.0
# A graph of TensorFlow sums in another order than the same operations one by one.
ROUNDING = 1e-6


def seconds(model: Any, path: Path, **options: Any) -> float:
    before = time.process_time()
    to_onnx(model, path, **options)
    return time.process_time() - before


def test_export_of_an_lstm_and_of_the_sentiment_model_is_quick(
    keras: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    assert seconds(sequential((None, 3), layers.LSTM(64), layers.Dense(1)), tmp_path / "m.onnx") < LSTM_SECONDS
    stack = [layers.Embedding(5000, 128), layers.LSTM(64), layers.Dense(1, activation="sigmoid")]
    sentiment = sequential((None,), *stack, dtype="int32")
    assert seconds(sentiment, tmp_path / "m.onnx", mode="window", window=100) < SENTIMENT_SECONDS


def test_long_sequences_are_traced_and_give_what_keras_gives_step_by_step(
    layers: Any, sequential: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sequential((None, 3), layers.LSTM(8, return_sequences=True), layers.GRU(4))
    x = np.random.default_rng(0).standard_normal((2, 40, 3)).astype(np.float32)
    expected = np.asarray(model(x))
    np.testing.assert_allclose(forward(model)([x])[0], expected, rtol=0, atol=ROUNDING)
    ran = []
    monkeypatch.setattr(type(model), "call", lambda *_, **__: ran.append(1) or expected)
    answer = forward(model)
    for _ in range(3):
        answer([x])
    assert len(ran) == 1


def test_what_cannot_be_traced_runs_all_the_same(keras: Any, layers: Any, sequential: Any) -> None:
    class Eager(keras.layers.Layer):  # type: ignore[name-defined, misc]
        def call(self, x: Any) -> Any:
            return x if keras.ops.is_tensor(x) and not hasattr(x, "numpy") and x.shape[0] is None else 2.0 * x.numpy()

    model = sequential((None, 3), Eager())
    x = np.ones((1, 40, 3), np.float32)
    np.testing.assert_array_equal(forward(model)([x])[0], 2.0 * x)
