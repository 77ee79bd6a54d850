"""Whether a model can run one time step at a time, and if not, which layer stops it, as far as Keras' graph tells.

The walk follows every tensor of the Functional graph from the inputs on and says what its second axis is: the
time of the input (``timed``), or nothing that has to do with time (``ended``: computed from the end of the
sequence). What it does not know is left to the runtime, which follows time through the converted graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .graph import graph_nodes, graph_of
from .masks import computes_masks_per_step, is_mask, mask_of

_PER_STEP_LAYERS = {
    "ActivityRegularization", "AlphaDropout", "Dropout", "ELU", "Embedding", "GaussianDropout",
    "GaussianNoise", "Identity", "LeakyReLU", "Masking", "ReLU", "Rescaling", "SpatialDropout1D",
}  # fmt: skip
_ALONG_FEATURES = {
    "BatchNormalization",
    "LayerNormalization",
    "Normalization",
    "Softmax",
    "UnitNormalization",
}
_MERGES = {"Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"}
# These need other steps than the present one, whatever their arguments are.
_ACROSS_STEPS = (
    "AdditiveAttention", "Attention", "AveragePooling1D", "Cropping1D", "Flatten", "GlobalAveragePooling1D",
    "GlobalMaxPooling1D", "GroupQueryAttention", "MaxPooling1D", "MultiHeadAttention", "Permute", "RepeatVector",
    "UpSampling1D", "ZeroPadding1D",
)  # fmt: skip
_CONVOLUTIONS = ("Conv1D", "Conv1DTranspose", "DepthwiseConv1D", "SeparableConv1D")
_PER_STEP_OPERATIONS = {
    "Absolute", "Add", "Cast", "Divide", "Elu", "Exp", "LeakyRelu", "Log", "Maximum", "Minimum", "Multiply",
    "Negative", "Relu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Square", "Subtract", "Tanh", "TrueDivide",
}  # fmt: skip


class Axis(Enum):
    """What the second axis of a tensor is."""

    TIMED = "timed"
    ENDED = "ended"


@dataclass(frozen=True)
class Streaming:
    """The walk's result.

    ``timed_inputs`` and ``timed_outputs`` say for each end whether its second axis is time; ``stops`` is None
    where the model can stream, else one sentence naming the layer. ``timed_names`` are the input layers (and
    models with one input) whose length is that time, in nested models too. ``doubtful``: ``stops`` says what the
    walk does not know, and the converted graph may tell better.
    """

    timed_inputs: tuple[bool, ...]
    timed_outputs: tuple[bool, ...]
    stops: str | None
    timed_names: frozenset[str] = frozenset()
    doubtful: bool = False


class _StopsHereError(Exception):
    """Says why the walk ends."""


def analyse(model: Any, embeddings: Sequence[Sequence[Any]]) -> Streaming:
    """Walk a Sequential or Functional model; ``embeddings`` are those that look up each of its inputs."""
    timed = tuple(
        _is_sequence(tensor, fed) or _is_distributed(model, tensor) or is_mask(model, tensor)
        for tensor, fed in zip(model.inputs, embeddings, strict=True)
    )
    still = tuple(False for _ in model.outputs)
    if not any(timed):
        return Streaming(timed, still, "no input has a time axis: expected [batch, time, features] or token ids")
    if not all(timed):
        name = input_name(model.inputs[timed.index(False)])
        return Streaming(timed, still, f'input "{name}" has no time axis')
    walk = _Walk()
    try:
        axes = walk.function(model, [Axis.TIMED] * len(timed))
    except _StopsHereError as stop:
        # Behind what the walk does not know, axes are only assumed.
        names = frozenset(walk.timed_names)
        return Streaming(timed, still, walk.doubt or str(stop), names, doubtful=walk.doubt is not None)
    names = frozenset(walk.timed_names)
    if walk.doubt is not None:
        return Streaming(timed, still, walk.doubt, names, doubtful=True)
    if not walk.recurrent:
        return Streaming(timed, still, "the model has no recurrent layer, so there is no state to carry")
    return Streaming(timed, tuple(axis is Axis.TIMED for axis in axes), None, names)


def input_name(tensor: Any) -> str:
    """The name of the InputLayer that a graph input comes from."""
    return str(tensor._keras_history.operation.name)


def _is_sequence(tensor: Any, embeddings: Sequence[Any]) -> bool:
    """[batch, time, features], token ids, or one value a step where the length is free."""
    return len(tensor.shape) == 3 or (len(tensor.shape) == 2 and (bool(embeddings) or tensor.shape[1] is None))


def _is_distributed(model: Any, tensor: Any) -> bool:
    """Whether TimeDistributed takes a graph input apart, in nested models too."""
    import keras

    for node in graph_nodes(model):
        places = [i for i, argument in enumerate(node.arguments.keras_tensors) if argument is tensor]
        if isinstance(node.operation, keras.layers.TimeDistributed) and 0 in places:
            return True
        nested = isinstance(node.operation, keras.Model) and hasattr(node.operation, "inputs")
        if nested and any(_is_distributed(node.operation, graph_of(node.operation).inputs[i]) for i in places):
            return True
    return False


def embeddings_fed_by(model: Any, tensor: Any) -> list[Any]:
    """The Embedding layers that look a graph input up, in nested models too."""
    import keras

    found = []
    for node in graph_nodes(model):
        arguments = node.arguments.keras_tensors
        places = [i for i, argument in enumerate(arguments) if argument is tensor]
        if not places or node.is_input:
            continue
        if isinstance(node.operation, keras.layers.Embedding):
            found.append(node.operation)
        elif isinstance(node.operation, keras.Model) and hasattr(node.operation, "inputs"):
            for i in places:
                found += embeddings_fed_by(node.operation, graph_of(node.operation).inputs[i])
        elif isinstance(node.operation, keras.layers.TimeDistributed):
            inner = innermost(node.operation)
            if isinstance(inner, keras.layers.Embedding):
                found.append(inner)
            elif isinstance(inner, keras.Model) and hasattr(inner, "inputs"):
                found += embeddings_fed_by(inner, graph_of(inner).inputs[0])
        elif type(node.operation).__name__ in ("Cast", "Dropout", "Identity"):
            found += embeddings_fed_by(model, node.outputs[0])
    return found


class _Walk:
    def __init__(self) -> None:
        self.recurrent = False
        self.doubt: str | None = None
        self.timed_names: set[str] = set()

    def function(self, model: Any, inputs: list[Axis]) -> list[Axis]:
        graph = graph_of(model)
        axes = {id(tensor): axis for tensor, axis in zip(graph.inputs, inputs, strict=True)}
        self.timed_names |= {input_name(t) for t in graph.inputs if axes[id(t)] is Axis.TIMED}
        if inputs == [Axis.TIMED]:
            self.timed_names.add(model.name)
        for node in graph_nodes(model):
            if node.is_input:
                continue
            arguments = [axes[id(tensor)] for tensor in node.arguments.keras_tensors]
            for tensor, axis in zip(node.outputs, self.call(node, arguments), strict=True):
                axes[id(tensor)] = axis
        return [axes[id(tensor)] for tensor in graph.outputs]

    def call(self, node: Any, arguments: list[Axis]) -> list[Axis]:
        """The axes of what one call of a layer or operation returns. Raises _StopsHereError where streaming ends."""
        import keras

        layer = node.operation
        label = f'layer "{layer.name}" ({type(layer).__name__})'
        if isinstance(layer, keras.Model) and hasattr(graph_of(layer), "_nodes_by_depth"):
            # Masks that come in with the inputs stand behind them.
            return self.function(layer, arguments[: len(graph_of(layer).inputs)])
        if isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)):
            return self.recurrent_call(node, arguments, label)
        if isinstance(layer, keras.layers.TimeDistributed) and all(axis is Axis.TIMED for axis in arguments):
            # Whatever the inner layer does, it does with one step, and with that step's mask.
            return [Axis.TIMED]
        if all(axis is Axis.ENDED for axis in arguments):
            return [Axis.ENDED] * len(node.outputs)
        if not all(axis is Axis.TIMED for axis in arguments):
            raise _StopsHereError(f"{label} puts a value of the whole sequence beside values of each step")
        if not _is_per_step(node):
            stop = f"{label} does not work one time step at a time"
            if crosses_steps(layer):
                raise _StopsHereError(stop)
            self.doubt = self.doubt or stop
        return [Axis.TIMED] * len(node.outputs)

    def recurrent_call(self, node: Any, arguments: list[Axis], label: str) -> list[Axis]:
        import keras

        layer = node.operation
        if arguments[0] is not Axis.TIMED:
            raise _StopsHereError(f"{label} runs over a time axis that is not the input's")
        if not hasattr(layer, "cell") or layer.go_backwards:
            raise _StopsHereError(f"{label} reads the sequence backwards")
        mask = [m for m in keras.tree.flatten(mask_of(node)) if m is not None]
        places = {id(tensor): axis for tensor, axis in zip(node.arguments.keras_tensors, arguments, strict=True)}
        if any(places.get(id(m)) is not Axis.TIMED for m in mask):
            raise _StopsHereError(f"{label} has a mask that does not come from the same time steps of the input")
        if len(arguments) > 1 + len(mask):
            raise _StopsHereError(f"{label} takes its initial state from another layer")
        if node.arguments.kwargs.get("initial_state") is not None or len(node.arguments.args) > 1 + len(mask):
            raise _StopsHereError(f"{label} has an initial state of its own")
        self.recurrent = True
        output = Axis.TIMED if layer.return_sequences else Axis.ENDED
        return [output] + [Axis.ENDED] * (len(node.outputs) - 1)


def crosses_steps(layer: Any) -> bool:
    """Whether a layer of Keras' own needs other steps than the present one, whatever stands around it."""
    kind = type(layer).__name__
    if not type(layer).__module__.startswith("keras."):
        return False
    backwards = kind == "Bidirectional" or getattr(layer, "go_backwards", False)
    return backwards or kind in _ACROSS_STEPS or (kind in _CONVOLUTIONS and tuple(layer.kernel_size) != (1,))


def innermost(layer: Any) -> Any:
    """The layer inside a TimeDistributed, or inside several."""
    import keras

    while isinstance(layer, keras.layers.TimeDistributed):
        layer = layer.layer
    return layer


def works_on_every_step(layer: Any) -> bool:
    """Whether the layer inside TimeDistributed gives the same on all steps at once, without any reshape."""
    import keras

    return type(innermost(layer)) in (keras.layers.Activation, keras.layers.Dense, keras.layers.Dropout)


def streams_alone(layer: Any) -> bool | None:
    """Whether a layer works one time step at a time, whatever stands around it; None where its class does not tell."""
    import keras

    if crosses_steps(layer):
        return False
    if isinstance(layer, (keras.layers.InputLayer, keras.layers.RNN)):
        return True
    calls = getattr(layer, "_inbound_nodes", ())
    return True if calls and all(_is_per_step(call) for call in calls) else None


def _is_per_step(node: Any) -> bool:
    import keras

    layer = node.operation
    kind = type(layer).__name__
    rank = len(node.outputs[0].shape)
    if not type(layer).__module__.startswith("keras."):
        return False
    if not isinstance(layer, keras.layers.Layer):
        return (kind in _PER_STEP_OPERATIONS and _only_scalars_beside(node)) or computes_masks_per_step(node)
    if kind in ("Dense", "Activation"):
        return _is_keras_function(layer.activation)
    if kind in _MERGES:
        return len({len(tensor.shape) for tensor in node.arguments.keras_tensors}) == 1
    if kind == "Concatenate":
        return layer.axis in (-1, rank - 1) and rank > 2
    if kind == "Softmax" and any(m is not None for m in keras.tree.flatten(mask_of(node))):
        return False
    if kind in _ALONG_FEATURES:
        axis = layer.axis
        axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
        return axes in ([-1], [rank - 1])
    return kind in _PER_STEP_LAYERS


def _is_keras_function(function: Any) -> bool:
    """Whether an activation is Keras' own; those act on each value, softmax along the features."""
    module = getattr(function, "__module__", type(function).__module__)
    return function is None or str(module).startswith("keras.")


def _only_scalars_beside(node: Any) -> bool:
    import keras

    flat = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return (
        all(value is None or isinstance(value, (keras.KerasTensor, int, float, str)) for value in flat)
        and len({len(tensor.shape) for tensor in node.arguments.keras_tensors}) == 1
    )
