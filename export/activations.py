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
    "leaky_relu": Activation("LeakyRelu", alpha=0.2),
    "softsign": Activation("Softsign"),
    "softplus": Activation("Softplus"),
}


def recurrent_activation(layer: str, argument: str, function: Any) -> Activation:
    """The ONNX form of the function that a cell has under ``argument``.

    Raises ExportError naming layer, argument and the functions that can be exported.
    """
    import keras

    if isinstance(function, keras.layers.LeakyReLU):
        return Activation("LeakyRelu", alpha=float(function.negative_slope))
    if isinstance(function, keras.layers.ELU):
        return Activation("Elu", alpha=float(function.alpha))
    if function is hard_sigmoid:
        return Activation("HardSigmoid", alpha=0.2, beta=0.5)
    name = getattr(function, "__name__", type(function).__name__)
    known = _BY_NAME.get(name)
    # A user's own function called "tanh" is not Keras' tanh.
    if known is None or getattr(keras.activations, name, None) is not function:
        raise ExportError(
            f'{argument} "{name}" has no ONNX recurrent form; use one of {", ".join(sorted(_BY_NAME))}',
            layer=layer,
            argument=argument,
        )
    return known
