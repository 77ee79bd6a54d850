"""What is refused before any conversion: by layer, by argument, with the way out."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .activations import recurrent_activation
from .errors import ExportError, all_in_one
from .streamable import input_name

_INPUT_TYPES = ("float32", "float64", "int32", "int64", "bool")
# What TensorFlow takes as the name of a scope.
_NAME = re.compile(r"[A-Za-z0-9_.\\/>-]+")
_RENAME = "name it with letters, digits, _, . and - only"
_TEXT = ("TextVectorization", "StringLookup", "IntegerLookup", "Hashing")


def check_kind(model: Any) -> None:
    """Raise ExportError where this is no Keras model."""
    import keras

    if not isinstance(model, keras.Model):
        raise ExportError(f"expected a Keras model, got {type(model).__module__}.{type(model).__name__}")


def check_model(model: Any) -> None:
    """Raise ExportError for what cannot be exported exactly; ``others`` has what was found besides the first."""
    found = refusals(model)
    if found:
        raise all_in_one(found)


def refusals(model: Any) -> list[ExportError]:
    """Everything in a Sequential or Functional model that cannot be exported exactly, as far as its layers tell."""
    import keras

    if not model.built or not model.inputs:
        return [
            ExportError("the model has no input shape yet; add keras.Input(...) as its first layer, or call it once")
        ]
    found = [
        ExportError(
            f'input "{input_name(tensor)}" is {tensor.dtype}: expected one of {", ".join(_INPUT_TYPES)}; '
            "build the model again with keras.Input(..., dtype=...)"
        )
        for tensor in model.inputs
        if tensor.dtype not in _INPUT_TYPES
    ]
    if not isinstance(model, keras.Sequential) and not _NAME.fullmatch(model.name):
        found.append(ExportError(f'TensorFlow cannot trace a model named "{model.name}"; {_RENAME}', argument="name"))
    for layer in model._flatten_layers(include_self=False):
        for check in (check_layer, check_weights):
            try:
                check(layer)
            except ExportError as error:
                found.append(error)
    return found


def check_layer(layer: Any) -> None:
    """Raise ExportError where this one layer cannot be exported exactly."""
    import keras

    kind = type(layer).__name__
    name = layer.name
    if not isinstance(layer, keras.layers.InputLayer) and not _NAME.fullmatch(name):
        raise ExportError(
            f"TensorFlow cannot trace a layer of that name; {_RENAME}",
            layer=name,
            argument="name",
        )
    if isinstance(layer, keras.layers.TimeDistributed):
        _check_time_distributed(layer)
    if isinstance(layer, keras.layers.Bidirectional):
        check_recurrent(layer.forward_layer)
        check_recurrent(layer.backward_layer)
    if kind in _TEXT:
        raise ExportError(
            f"{kind}: text and lookup tables stay out of the graph; build the model from the token ids on "
            "and put the text step into the preprocessing of its .json",
            layer=name,
        )
    if isinstance(layer, keras.layers.RNN):
        check_recurrent(layer)
    if layer.weights and layer.compute_dtype != "float32":
        raise ExportError(
            f"dtype {layer.dtype_policy.name}: only float32 is exported; build the model again under the "
            "float32 policy and load the weights into it",
            layer=name,
            argument="dtype",
        )
    if getattr(layer, "quantization_mode", None) is not None:
        raise ExportError(
            f"Keras quantization ({layer.quantization_mode}) is not exported; export the model as it was "
            "before model.quantize",
            layer=name,
            argument="quantization_mode",
        )


def _check_time_distributed(layer: Any) -> None:
    for inner in layer.layer._flatten_layers():
        if getattr(inner, "stateful", False):
            raise ExportError(
                f"stateful=True inside {layer.name} (TimeDistributed): each step would go on where the step before "
                "ended; build it with stateful=False",
                layer=inner.name,
                argument="stateful",
            )


def check_weights(layer: Any) -> None:
    """Raise ExportError where a weight of this layer is NaN or infinite."""
    import keras

    for weight in () if isinstance(layer, keras.Model) else layer.weights:
        if "float" in str(weight.dtype) and not np.isfinite(weight.numpy()).all():
            raise ExportError(
                f'its weight "{weight.name}" holds NaN or infinity, so training has diverged; train again, for '
                "instance with a smaller learning rate or clipnorm",
                layer=layer.name,
            )


def check_recurrent(layer: Any) -> None:
    """Raise ExportError where ONNX has no operator for a RNN layer's cell, or no name for its activations."""
    import keras

    if isinstance(layer, (keras.layers.ConvLSTM1D, keras.layers.ConvLSTM2D, keras.layers.ConvLSTM3D)):
        raise ExportError(
            f"{type(layer).__name__} has no ONNX operator; use convolutions in TimeDistributed before a LSTM",
            layer=layer.name,
        )
    if not hasattr(layer, "cell"):
        raise ExportError(
            f"{type(layer).__name__} has no cell that ONNX knows; use a SimpleRNN, GRU, LSTM or RNN layer",
            layer=layer.name,
        )
    for _, cell in cells_of(layer.cell):
        kind = operator(cell)
        if kind is None:
            raise ExportError(
                f"cell {type(cell).__name__} has no ONNX operator; use SimpleRNNCell, GRUCell or LSTMCell as Keras has "
                "them, alone or in a list",
                layer=layer.name,
                argument="cell",
            )
        recurrent_activation(layer.name, "activation", cell.activation)
        if kind != "RNN":
            recurrent_activation(layer.name, "recurrent_activation", cell.recurrent_activation)


def cells_of(cell: Any) -> list[tuple[str, Any]]:
    """The cells that run one after the other, each with its place: "", or "cell_i" in StackedRNNCells."""
    import keras

    # The exact class, as for the cells themselves.
    if type(cell) is not keras.layers.StackedRNNCells:
        return [("", cell)]
    return [
        (f"cell_{i}/{place}" if place else f"cell_{i}", inner)
        for i, part in enumerate(cell.cells)
        for place, inner in cells_of(part)
    ]


def operator(cell: Any) -> str | None:
    """The ONNX operator that runs a Keras cell: LSTM, GRU, RNN, or None where there is none."""
    import keras

    # The exact class: a subclass may compute something else.
    operators = {
        keras.layers.LSTMCell: "LSTM",
        keras.layers.GRUCell: "GRU",
        keras.layers.SimpleRNNCell: "RNN",
    }
    return operators.get(type(cell))
