"""Every activation that a recurrent node can name, in every form that Keras takes; the rest refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeinfer_export import ExportError, to_onnx

import edgeinfer

FEATURES, UNITS = 3, 4
# Inputs far outside of where sigmoid and tanh change, some of them zero.
SCALE = 60.0
# Sums of about 1e2 in float32, relative to max(1, |y|).
LARGE_RTOL = 1e-5
# ONNX Runtime's softplus inside a recurrent node is infinite from here on (exp overflows), native's is not.
ONNX_RUNTIME_SOFTPLUS = 88.0

NAMES = (
    "tanh", "sigmoid", "relu", "linear", "hard_sigmoid", "elu", "celu", "leaky_relu", "softsign", "softplus",
)  # fmt: skip
REFUSED = ("gelu", "selu", "silu", "softmax", "relu6", "mish", "hard_silu", "exponential", "log_sigmoid", "hard_tanh")


def as_layers(layers: Any) -> dict[str, tuple[Any, tuple[str, float | None, float | None]]]:
    """Layer objects, and the name, alpha and beta that they have in ONNX."""
    return {
        "Activation": (layers.Activation("softsign"), ("Softsign", None, None)),
        "Identity": (layers.Identity(), ("Affine", 1.0, 0.0)),
        "LeakyReLU": (layers.LeakyReLU(0.05), ("LeakyRelu", 0.05, None)),
        "ELU": (layers.ELU(0.5), ("Elu", 0.5, None)),
        "ReLU": (layers.ReLU(), ("Relu", None, None)),
        "ReLU slope": (layers.ReLU(negative_slope=0.3), ("LeakyRelu", 0.3, None)),
        "ReLU threshold": (layers.ReLU(threshold=0.4), ("ThresholdedRelu", 0.4, None)),
        "ReLU up to 1": (layers.ReLU(max_value=1.0), ("HardSigmoid", 1.0, 0.0)),
    }


def assert_equal_on_large_inputs(model: Any, path: Path, ort: Any, scale: float = SCALE) -> None:
    """One step, so that an activation without bound does not grow: large, negative, zero and small inputs."""
    to_onnx(model, path, form="sequence")
    generator = np.random.default_rng(5)
    x = generator.uniform(-scale, scale, (6, 1, FEATURES)).astype(np.float32)
    x[0] = 0.0
    x[1] /= scale
    expected = np.asarray(model(x))
    for answer in (ort(path)({"x": x})["y"], edgeinfer.load(path, backend="native")(x)):
        np.testing.assert_array_less(np.abs(answer - expected), LARGE_RTOL * np.maximum(1, np.abs(expected)))


@pytest.mark.parametrize("name", NAMES)
def test_an_activation_is_exact_on_large_negative_and_zero_inputs(
    name: str, layers: Any, sequential: Any, ort: Any, tmp_path: Path
) -> None:
    stack = [
        layers.SimpleRNN(UNITS, activation=name),
        layers.GRU(UNITS, activation=name),
        layers.LSTM(UNITS, activation=name, recurrent_activation="hard_sigmoid"),
        layers.LSTM(UNITS, recurrent_activation=name),
        layers.GRU(UNITS, recurrent_activation=name, reset_after=False),
    ]
    for layer in stack:
        assert_equal_on_large_inputs(sequential((None, FEATURES), layer), tmp_path / "m.onnx", ort)


@pytest.mark.parametrize(
    "case",
    ["Activation", "Identity", "LeakyReLU", "ELU", "ReLU", "ReLU slope", "ReLU threshold", "ReLU up to 1"],
)
def test_a_layer_object_keeps_its_arguments(case: str, layers: Any, sequential: Any, ort: Any, tmp_path: Path) -> None:
    activation, (name, alpha, beta) = as_layers(layers)[case]
    model = sequential((None, FEATURES), layers.SimpleRNN(UNITS, activation=activation))
    assert_equal_on_large_inputs(model, tmp_path / "m.onnx", ort)
    node = next(node for node in onnx.load(tmp_path / "m.onnx").graph.node if node.op_type == "RNN")
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert attributes["activations"] == [name.encode()]
    assert attributes.get("activation_alpha") == (None if alpha is None else pytest.approx([alpha]))
    assert attributes.get("activation_beta") == (None if beta is None else pytest.approx([beta]))


def test_functions_of_keras_and_tensorflow_are_known_by_identity(
    keras: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    import tensorflow as tf

    for function in (None, keras.activations.elu, keras.ops.softplus, tf.nn.leaky_relu, tf.nn.tanh, tf.sigmoid):
        model = sequential((None, FEATURES), layers.GRU(UNITS, activation=function))
        assert to_onnx(model, tmp_path / "m.onnx").nodes["GRU"] == 1


@pytest.mark.parametrize("name", REFUSED)
def test_an_activation_that_onnx_cannot_name_is_refused(
    name: str, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    for argument in ("activation", "recurrent_activation"):
        model = sequential((None, FEATURES), layers.GRU(UNITS, name="bad", **{argument: name}))
        text = f'layer "bad": {argument} "{name}" has no ONNX recurrent form; use one of celu, elu, hard_sigmoid, '
        with pytest.raises(ExportError, match=text):
            to_onnx(model, tmp_path / "m.onnx")


def test_a_layer_object_that_onnx_cannot_name_is_refused(
    keras: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    class Own(keras.layers.ELU):  # type: ignore[name-defined, misc]
        pass

    bad = {
        "ReLU": [layers.ReLU(max_value=2.0), layers.ReLU(threshold=0.3, negative_slope=0.1)],
        "PReLU": [layers.PReLU()],
        "Own": [Own()],
        "gelu": [layers.Activation("gelu")],
    }
    for name, activations in bad.items():
        for activation in activations:
            model = sequential((None, FEATURES), layers.GRU(UNITS, activation=activation))
            with pytest.raises(ExportError, match=f'activation "{name}" has no ONNX .* or a layer LeakyReLU, ELU or'):
                to_onnx(model, tmp_path / "m.onnx")


def test_softplus_of_very_large_values_is_right_in_native_where_onnx_runtime_overflows(
    layers: Any, sequential: Any, ort: Any, tmp_path: Path
) -> None:
    model = sequential((None, 1), layers.SimpleRNN(1, activation="softplus", use_bias=False))
    model.layers[0].cell.kernel.assign([[1.0]])
    to_onnx(model, tmp_path / "m.onnx", form="sequence")
    x = np.full((1, 1, 1), 2 * ONNX_RUNTIME_SOFTPLUS, np.float32)
    assert np.asarray(model(x)).item() == x.item()
    assert edgeinfer.load(tmp_path / "m.onnx", backend="native")(x).item() == x.item()
    assert not np.isfinite(ort(tmp_path / "m.onnx")({"x": x})["y"]).all()
