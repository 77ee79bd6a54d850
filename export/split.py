"""A training model with teacher forcing → its encoder and its decoder, two Keras models that share its layers.

The decoder is what depends on the inputs that no initial state needs; the encoder is all else. A value of the encoder
that the decoder reads becomes the start of a state where a recurrent layer takes it as its initial state, and else a
constant input, its mask with it.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from itertools import count
from typing import Any

from .errors import ExportError
from .graph import graph_nodes
from .streamable import input_name


@dataclass(frozen=True)
class Start:
    """One call of a recurrent layer of the decoder that the encoder starts, and the encoder's values for its states."""

    layer: Any
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Split:
    """The decoder as a model of its own, and what it takes from the encoder.

    ``sources`` are the model's inputs that the encoder reads, ``asked`` those that the decoder steps over. What else
    the decoder takes are ``constants``, in that order: input name → the encoder's value. ``starts`` are in the order of
    the decoder's calls. ``outputs`` are the model's own outputs that the encoder computes.
    """

    decoder: Any
    constants: dict[str, Any]
    starts: tuple[Start, ...]
    outputs: dict[str, Any]
    sources: tuple[Any, ...]
    asked: tuple[Any, ...]
    name: str

    def encoder(self, states: dict[str, Any]) -> Any:
        """The encoder as a model of its own, with these of its values as states [1, batch, hidden]."""
        import keras

        as_states = {name: keras.ops.expand_dims(value, 0) for name, value in states.items()}
        outputs = {**as_states, **self.constants, **{k: v for k, v in self.outputs.items() if k not in self.constants}}
        return keras.Model(list(self.sources), outputs, name=f"{self.name}_encoder")


def split(model: Any) -> Split:
    """Take a Functional training model apart.

    Raises ExportError where it has no decoder that starts from an encoder's states.
    """
    needs = _needs(model)
    nodes = [node for node in graph_nodes(model) if not node.is_input]
    starting = {i for node in nodes for tensor in _initial_state(node) for i in needs[id(tensor)]}
    names = [input_name(tensor) for tensor in model.inputs]
    if not starting:
        raise ExportError(
            "no recurrent layer takes its initial state from another layer, so there is no encoder to take apart; "
            "export the model as it is"
        )
    if len(starting) == len(names):
        raise ExportError(
            f"the initial states depend on every input ({', '.join(names)}), so the decoder has none of its own to "
            "step over; export the model as it is, form sequence"
        )
    of_decoder = {id(t) for node in nodes for t in node.outputs if not needs[id(t)] <= starting}
    of_decoder |= {id(tensor) for i, tensor in enumerate(model.inputs) if i not in starting}
    return _Cut(model, nodes, of_decoder).split()


def _needs(model: Any) -> dict[int, frozenset[int]]:
    """Which inputs of the model each tensor is computed from, by the tensor's id."""
    found = {id(tensor): frozenset([i]) for i, tensor in enumerate(model.inputs)}
    for node in graph_nodes(model):
        if not node.is_input:
            every = frozenset().union(*(found[id(tensor)] for tensor in _read(node)))
            found.update((id(tensor), every) for tensor in node.outputs)
    return found


def _read(node: Any) -> list[Any]:
    """The tensors that a call reads, with the masks that come with them unsaid."""
    masks = [getattr(tensor, "_keras_mask", None) for tensor in node.arguments.keras_tensors]
    return [*node.arguments.keras_tensors, *(mask for mask in masks if mask is not None)]


def _initial_state(node: Any) -> list[Any]:
    import keras

    if not isinstance(node.operation, (keras.layers.RNN, keras.layers.Bidirectional)):
        return []
    bound = inspect.signature(node.operation.call).bind(*node.arguments.args, **node.arguments.kwargs)
    state = bound.arguments.get("initial_state")
    return [] if state is None else list(keras.tree.flatten(state))


class _Cut:
    """Builds the decoder of one model, call by call."""

    def __init__(self, model: Any, nodes: list[Any], of_decoder: set[int]) -> None:
        self._model = model
        self._nodes = [node for node in nodes if any(id(tensor) in of_decoder for tensor in node.outputs)]
        self._of_decoder = of_decoder
        self._tensors: dict[int, Any] = {}
        self._inputs: list[Any] = []
        self._constants: dict[str, Any] = {}

    def split(self) -> Split:
        import keras

        asked = [tensor for tensor in self._model.inputs if id(tensor) in self._of_decoder]
        for tensor in asked:
            self._take(tensor, input_name(tensor), free_time=True)
        starts = [start for node in self._nodes if (start := self._call(node)) is not None]
        outputs = dict(zip(self._model.output_names, self._model.outputs, strict=True))
        decoded = [self._tensors[id(t)] for t in outputs.values() if id(t) in self._of_decoder]
        if not decoded:
            raise ExportError("no output of the model comes from the decoder; export the model as it is")
        return Split(
            keras.Model(self._inputs, decoded, name=f"{self._model.name}_decoder"),
            self._constants,
            tuple(starts),
            {name: tensor for name, tensor in outputs.items() if id(tensor) not in self._of_decoder},
            tuple(tensor for tensor in self._model.inputs if id(tensor) not in self._of_decoder),
            tuple(asked),
            self._model.name,
        )

    def _call(self, node: Any) -> Start | None:
        """The node once more on the decoder's own tensors; a recurrent layer then starts from zero."""
        import keras

        layer, states = node.operation, _initial_state(node)
        start = None
        if states and not any(id(tensor) in self._of_decoder for tensor in states):
            start = Start(layer, tuple(states))

        def own(value: Any) -> Any:
            if not isinstance(value, keras.KerasTensor):
                return value
            if id(value) not in self._tensors:
                self._constant(value)
            return self._tensors[id(value)]

        bound = inspect.signature(layer.call).bind(*node.arguments.args, **node.arguments.kwargs)
        for key, value in list(bound.arguments.items()):
            if value is None or key == "training" or (start and key == "initial_state"):
                del bound.arguments[key]
            else:
                bound.arguments[key] = keras.tree.map_structure(own, value)
        results = layer(*bound.args, **bound.kwargs)
        self._tensors.update(zip(map(id, node.outputs), keras.tree.flatten(results), strict=True))
        return start

    def _constant(self, tensor: Any, wanted: str = "") -> None:
        """A value of the encoder that the decoder reads at every step becomes an input, its mask another."""
        taken = {made.name for made in self._inputs}
        base = name = wanted or str(tensor._keras_history.operation.name)
        for i in count(1):
            if name not in taken:
                break
            name = f"{base}_{i}"
        self._constants[name] = tensor
        value = self._take(tensor, name, free_time=False)
        mask = getattr(tensor, "_keras_mask", None)
        if mask is not None:
            if id(mask) not in self._tensors:
                self._constant(mask, f"{name}_mask")
            self._tensors[id(tensor)] = _with_mask(value, self._tensors[id(mask)])

    def _take(self, tensor: Any, name: str, free_time: bool) -> Any:
        import keras

        shape = tensor.shape[1:]
        if free_time and shape:
            shape = (None, *shape[1:])
        # A model of another precision is exported as float32.
        dtype = "float32" if "float" in tensor.dtype else tensor.dtype
        made = keras.Input(shape, dtype=dtype, name=name)
        self._inputs.append(made)
        self._tensors[id(tensor)] = made
        return made


def _with_mask(tensor: Any, mask: Any) -> Any:
    """The same values, with a mask for the layers after them."""
    import keras

    class Masked(keras.layers.Layer):  # type: ignore[misc]
        supports_masking = True

        def call(self, both: Any) -> Any:
            return keras.ops.copy(both[0])

        def compute_mask(self, both: Any, previous: Any = None) -> Any:
            return both[1]

    return Masked(name=f"{tensor.name}_masked")([tensor, mask])
