"""Models under other dtype policies are exported as float32, exact to the same weights under the float32 policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeinfer_export import ExportError, to_onnx

# float32 rounding in another order of summation
FLOAT32_ATOL = 1e-5
# What half of a float's digits leave, relative to max(1, |y|); bfloat16 has 3 bits less than float16. (Keras starts
# no recurrent weights under the plain bfloat16 policy.)
OWN_RTOL = {
    "mixed_float16": 5e-3,
    "float16": 5e-3,
    "mixed_bfloat16": 4e-2,
    "float64": 1e-5,
}


@pytest.fixture
def under(keras: Any) -> Iterator[Callable[[str], None]]:
    """Sets the policy for the layers made after."""
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


def stack(keras: Any, normalization: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((None, 3)),
            normalization,
            layers.LSTM(4, return_sequences=True, name="lstm"),
            layers.TimeDistributed(layers.Dense(3, activation="gelu")),
            layers.BatchNormalization(),
            layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True),
            layers.LayerNormalization(),
            layers.Bidirectional(layers.GRU(3)),
            layers.Dense(2),
        ]
    )


@pytest.mark.parametrize("policy", OWN_RTOL)
def test_a_model_of_another_precision_is_exported_as_float32(
    policy: str, under: Any, keras: Any, layers: Any, shuffled: Any, ort: Any, tmp_path: Path
) -> None:
    given = {"mean": [0.1, 0.2, 0.3], "variance": [1.1, 1.2, 1.3]}
    under(policy)
    model = shuffled(stack(keras, layers.Normalization(**given)))
    x = np.random.default_rng(4).standard_normal((3, 6, 3)).astype(np.float32)
    own = np.asarray(model(x)).astype(np.float64)
    weights = model.get_weights()
    result = to_onnx(model, tmp_path / "m.onnx")
    assert result.differences is not None and result.differences.largest <= FLOAT32_ATOL
    elements = {onnx.TensorProto.DataType.Name(t.data_type) for t in onnx.load(tmp_path / "m.onnx").graph.initializer}
    assert elements <= {"FLOAT", "INT64", "INT32"}

    under("float32")
    same = stack(keras, layers.Normalization(**given))
    same.set_weights([np.asarray(weight).astype(np.float32) for weight in weights])
    found = ort(tmp_path / "m.onnx")({"x": x})["y"]
    np.testing.assert_allclose(found, np.asarray(same(x)), rtol=0, atol=FLOAT32_ATOL)
    np.testing.assert_array_less(np.abs(found - own), OWN_RTOL[policy] * np.maximum(1, np.abs(own)))

    # The model itself is as it was.
    assert model.layers[1].dtype_policy.name == policy
    np.testing.assert_array_equal(np.asarray(model(x)).astype(np.float64), own)
    for before, after in zip(weights, model.get_weights(), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)


def test_a_mixed_model_of_fixed_length_that_keeps_its_state_streams(
    under: Any, keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    under("mixed_float16")
    first = keras.Input(batch_shape=(2, 5, 3))
    model = shuffled(keras.Sequential([first, layers.GRU(4, stateful=True), layers.Dense(2)]))
    result = to_onnx(model, tmp_path / "m.onnx")
    assert (result.form, result.spec.mode) == ("stream", "stream")


def test_statistics_learned_by_a_normalization_are_read_in_float32(
    under: Any, keras: Any, layers: Any, shuffled: Any, ort: Any, tmp_path: Path
) -> None:
    under("mixed_float16")
    learned = layers.Normalization()
    learned.adapt(np.random.default_rng(1).normal(3.0, 2.0, (50, 3)).astype(np.float32))
    model = keras.Sequential([keras.Input((None, 3)), learned, layers.GRU(2)])
    to_onnx(model, tmp_path / "m.onnx")
    constants = [onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / "m.onnx").graph.initializer]
    mean = learned.adapt_mean.numpy()
    assert any(c.shape[-1:] == (3,) and np.array_equal(c.reshape(-1)[:3], mean) for c in constants if c.size == 3)


def test_a_model_whose_answers_the_precision_decides_is_refused(
    under: Any, keras: Any, layers: Any, tmp_path: Path
) -> None:
    under("float16")
    # 2049 is no float16: 1 + 2048 is 2048 there, and 2049 in float32
    model = keras.Sequential([keras.Input((None, 1)), layers.GRU(1, name="gru"), layers.Dense(1), layers.Dense(1)])
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    model.layers[1].kernel.assign([[1.0]])
    model.layers[1].bias.assign([2048.0])
    model.layers[2].kernel.assign([[1.0]])
    model.layers[2].bias.assign([-2048.0])
    model.layers[0].cell.kernel.assign([[-10.0, 0.0, 10.0]])
    with pytest.raises(ExportError, match=r"dtype float16: in float32, as it is exported, the model answers otherwise"):
        to_onnx(model, tmp_path / "m.onnx")
