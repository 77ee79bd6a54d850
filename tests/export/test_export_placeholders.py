"""Layers are replaced while a model is traced, for that thread alone, and the given model stays as it was."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeinfer_export import ExportError, to_onnx
from edgeinfer_export.rebuild import rebuild
from edgeinfer_export.streamable import analyse
from edgeinfer_export.trace import recording

# Some have a ``call`` of their own, some have it from a class above.
REPLACED = (
    "RNN",
    "Bidirectional",
    "Conv1D",
    "Dense",
    "Embedding",
    "MaxPooling1D",
    "SeparableConv1D",
    "TimeDistributed",
)
# float32 rounding: ONNX Runtime sums in another order than TensorFlow.
ROUNDING = 1e-6


@pytest.fixture
def calls(layers: Any) -> dict[str, Any]:
    return {name: vars(getattr(layers, name)).get("call") for name in REPLACED}


def assert_restored(layers: Any, calls: dict[str, Any]) -> None:
    assert {name: vars(getattr(layers, name)).get("call") for name in REPLACED} == calls


def test_the_layers_are_as_they_were_after_an_export(
    layers: Any, calls: dict[str, Any], sequential: Any, tmp_path: Path
) -> None:
    model = sequential((None, 2), layers.GRU(3), layers.Dense(1))
    x = np.ones((1, 4, 2), np.float32)
    before = np.asarray(model(x))
    to_onnx(model, tmp_path / "m.onnx")
    assert_restored(layers, calls)
    np.testing.assert_array_equal(np.asarray(model(x)), before)


def test_the_layers_are_as_they_were_after_a_failure(
    keras: Any, layers: Any, calls: dict[str, Any], sequential: Any, tmp_path: Path
) -> None:
    class Broken(keras.layers.Layer):  # type: ignore[name-defined, misc]
        def call(self, x: Any) -> Any:
            if recording_now:
                raise RuntimeError("broken")
            return x

    recording_now = False
    model = sequential((None, 2), Broken(), layers.GRU(3))
    recording_now = True
    with pytest.raises(RuntimeError, match="broken"), recording():
        model(np.ones((1, 4, 2), np.float32))
    assert_restored(layers, calls)


def test_another_thread_runs_keras_own_layers_meanwhile(layers: Any, sequential: Any) -> None:
    model = sequential((None, 2), layers.GRU(3), layers.Dense(1))
    x = np.ones((1, 4, 2), np.float32)
    expected = np.asarray(model(x))
    found: list[np.ndarray] = []
    with recording() as recorder:
        thread = threading.Thread(target=lambda: found.append(np.asarray(model(x))))
        thread.start()
        thread.join()
    assert recorder.records == {}
    np.testing.assert_array_equal(found[0], expected)


def test_a_free_model_is_exported_itself(layers: Any, sequential: Any) -> None:
    model = sequential((None, 2), layers.GRU(3), layers.Dense(1))
    assert rebuild(model, analyse(model, [[]])) is model


def test_a_live_stateful_model_keeps_its_state_and_the_file_starts_from_zero(
    keras: Any, layers: Any, shuffled: Any, ort: Any, tmp_path: Path
) -> None:
    stack = [layers.LSTM(3, stateful=True, return_sequences=True, name="lstm"), layers.Dense(1)]
    model = shuffled(keras.Sequential([keras.Input(batch_shape=(2, 4, 2)), *stack]))
    x = np.random.default_rng(1).standard_normal((2, 4, 2)).astype(np.float32)
    first, second = np.asarray(model(x)), np.asarray(model(x))
    kept = [state.numpy() for state in model.layers[0].states]
    to_onnx(model, tmp_path / "m.onnx")
    for state, value in zip(model.layers[0].states, kept, strict=True):
        np.testing.assert_array_equal(state.numpy(), value)
    run = ort(tmp_path / "m.onnx")
    zeros = np.zeros((1, 2, 3), np.float32)
    one = run({"x": x, "lstm/initial_h": zeros, "lstm/initial_c": zeros})
    two = run({"x": x, "lstm/initial_h": one["lstm/final_h"], "lstm/initial_c": one["lstm/final_c"]})
    np.testing.assert_allclose(one["y"], first, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(two["y"], second, rtol=0, atol=ROUNDING)


def test_nested_models_of_a_fixed_length_get_a_free_one(
    keras: Any, layers: Any, sequential: Any, ends: Any, tmp_path: Path
) -> None:
    inner = keras.Sequential([keras.Input((5, 3)), layers.GRU(4, unroll=True, return_sequences=True)], name="inner")
    result = to_onnx(sequential((5, 3), inner, layers.LSTM(2)), tmp_path / "m.onnx")
    assert ends(tmp_path / "m.onnx")[0]["x"] == ["batch", "time", 3]
    assert result.spec.window is not None and result.spec.window.length == 5


def test_a_sequential_built_without_input_layer_is_taken(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    model = keras.Sequential([layers.SimpleRNN(3), layers.Dense(1)])
    model.build((None, 4, 2))
    result = to_onnx(shuffled(model), tmp_path / "m.onnx")
    assert result.spec.window is not None and result.spec.window.length == 4


def test_a_layer_of_the_user_is_rebuilt_with_its_class(keras: Any, layers: Any, shuffled: Any, tmp_path: Path) -> None:
    class Doubled(keras.layers.Layer):  # type: ignore[name-defined, misc]
        def call(self, x: Any) -> Any:
            return x + x

    model = shuffled(keras.Sequential([keras.Input(batch_shape=(2, 4, 2)), layers.GRU(3), Doubled(), layers.Dense(1)]))
    assert to_onnx(model, tmp_path / "m.onnx").form == "stream"


def test_a_model_that_answers_otherwise_when_rebuilt_is_refused(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    class Remembering(keras.layers.Layer):  # type: ignore[name-defined, misc]
        factor = 1.0

        def call(self, x: Any) -> Any:
            return x * self.factor

    layer = Remembering()
    layer.factor = 3.0
    model = shuffled(keras.Sequential([keras.Input(batch_shape=(2, 4, 2)), layers.GRU(3), layer]))
    with pytest.raises(ExportError, match="built again with a free batch size and length the model answers otherwise"):
        to_onnx(model, tmp_path / "m.onnx")
