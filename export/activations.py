"""Keras activation → the name, alpha and beta under which an ONNX recurrent node knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import ExportError
from .keras2 import hard_sigmoid


@dataclass(frozen=True)
class Activation:
    """One entry of the ``activations`` attribute; alpha and beta are None where the function takes none."""

    name: str
    alpha: float | None = None
    beta: float | None = None


_BY_NAME = {
    "tanh": Activation("Tanh"),
    "sigmoid": Activation("Sigmoid"),
    "relu": Activation("Relu"),
    "linear": Activation("Affine", alpha=1.0, beta=0.0),
    # Keras 3: relu6(x + 3) / 6
    "hard_sigmoid": Activation("HardSigmoid", alpha=1.0 / 6.0, beta=0.5),
    "elu": Activation("Elu", alpha=1.0),
    # celu(x, alpha) is elu(x, 1) where its alpha is the default 1, the only one that a function's name can have.
    "celu": Activation("Elu", alpha=1.0),
    "leaky_relu": Activation("LeakyRelu", alpha=0.2),
    "softsign": Activation("Softsign"),
    "softplus": Activation("Softplus"),
}
# Under these names, tf.nn has what Keras has.
_IN_TENSORFLOW = ("tanh", "sigmoid", "relu", "elu", "leaky_relu", "softsign", "softplus")


def recurrent_activation(layer: str, argument: str, function: Any) -> Activation:
    """The ONNX form of the function or layer that a cell has under ``argument``.

    Raises ExportError naming layer, argument and the functions that can be exported.
    """
    import keras

    found = _of_layer(function) if isinstance(function, keras.layers.Layer) else _of_function(function)
    if found is not None:
        return found
    inner = function.activation if type(function) is keras.layers.Activation else function
    name = getattr(inner, "__name__", type(inner).__name__)
    raise ExportError(
        f'{argument} "{name}" has no ONNX recurrent form; use one of {", ".join(sorted(_BY_NAME))}, or a layer '
        "LeakyReLU, ELU or ReLU",
        layer=layer,
        argument=argument,
    )


def _of_function(function: Any) -> Activation | None:
    import keras
    import tensorflow as tf

    if function is hard_sigmoid:
        return Activation("HardSigmoid", alpha=0.2, beta=0.5)
    name = getattr(function, "__name__", "")
    homes = [keras.activations, keras.ops, *([tf.nn] if name in _IN_TENSORFLOW else [])]
    # A user's own function called "tanh" is not Keras' tanh.
    return _BY_NAME.get(name) if any(getattr(home, name, None) is function for home in homes) else None


def _of_layer(layer: Any) -> Activation | None:
    """Of the exact classes: what a subclass computes is its own."""
    import keras

    kind = type(layer)
    if kind is keras.layers.Activation:
        return _of_function(layer.activation)
    if kind is keras.layers.Identity:
        return _BY_NAME["linear"]
    if kind is keras.layers.LeakyReLU:
        return Activation("LeakyRelu", alpha=float(layer.negative_slope))
    if kind is keras.layers.ELU:
        return Activation("Elu", alpha=float(layer.alpha))
    if kind is not keras.layers.ReLU:
        return None
    slope, threshold, highest = float(layer.negative_slope), float(layer.threshold), layer.max_value
    if threshold == 0 and highest is None:
        return Activation("LeakyRelu", alpha=slope) if slope else Activation("Relu")
    if slope == 0 and highest is None:
        return Activation("ThresholdedRelu", alpha=threshold)
    if (slope, threshold, highest) == (0, 0, 1):
        return Activation("HardSigmoid", alpha=1.0, beta=0.0)
    return None
