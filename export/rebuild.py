"""The model as it is exported: any batch size, any length where it can stream, no unroll, no stateful."""

from __future__ import annotations

import copy
from itertools import cycle, islice
from types import FunctionType
from typing import Any

import numpy as np

from .errors import ExportError
from .forward import forward
from .lowering import first_line, pack_inputs
from .samples import describe_inputs, has_masks, masked_feeds
from .streamable import Streaming, embeddings_fed_by, input_name

# The rebuilt model runs the same Keras code on the same weights; unrolled layers only sum in another order.
SAME_ATOL = 1e-5


def fixed_length(model: Any, streaming: Streaming) -> int | None:
    """The window's length, where all the model's sequence inputs have one fixed length."""
    lengths = {t.shape[1] for t, timed in zip(model.inputs, streaming.timed_inputs, strict=True) if timed}
    return lengths.pop() if len(lengths) == 1 else None


def is_stateful(model: Any) -> bool:
    """Whether a layer of the model keeps its state between calls."""
    return any(getattr(layer, "stateful", False) for layer in recurrent_layers(model))


def recurrent_layers(model: Any) -> list[Any]:
    """Every SimpleRNN, GRU, LSTM and RNN layer, those inside wrappers and nested models too."""
    import keras

    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]


def rebuild(model: Any, streaming: Streaming) -> Any:
    """The model itself where it is free already, else a new one with the same layers and weights.

    The batch size becomes free, and the length too where the model can stream.
    """
    free_time = streaming.stops is None
    fixed = any(
        tensor.shape[0] is not None or (free_time and timed and tensor.shape[1] is not None)
        for tensor, timed in zip(model.inputs, streaming.timed_inputs, strict=True)
    )
    unrolled = any(layer.unroll for layer in recurrent_layers(model))
    if not fixed and not unrolled and not is_stateful(model):
        return model
    try:
        rebuilt = _from_config(model, streaming)
    except Exception as error:
        try:
            rebuilt = _called_again(model, streaming)
        except Exception:
            raise ExportError(
                f"the model cannot be built again with a free batch size and length: {first_line(error)}; build it "
                "with keras.Input((None, features)), stateful=False and unroll=False, and load the weights into it"
            ) from error
    _assert_same(model, rebuilt)
    return rebuilt


def _from_config(model: Any, streaming: Streaming) -> Any:
    """A model of its own, which leaves the first as it is."""
    import keras

    config = copy.deepcopy(model.get_config())
    _free(config, streaming.timed_names if streaming.stops is None else frozenset())
    rebuilt = type(model).from_config(config, custom_objects=_custom_objects(model))
    rebuilt.set_weights(model.get_weights())
    for layer in rebuilt._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with copies of its weights
    return rebuilt


def _called_again(model: Any, streaming: Streaming) -> Any:
    """The same layers called on new inputs: for layers that have no configuration, as a Lambda."""
    import keras

    if any(layer.unroll or layer.stateful for layer in recurrent_layers(model)):
        raise ValueError("unrolled and stateful layers are not called again as they are")
    free_time = streaming.stops is None
    inputs = [
        keras.Input(
            batch_shape=(None, None if free_time and timed else tensor.shape[1], *tensor.shape[2:])
            if len(tensor.shape) > 1
            else (None,),
            dtype=tensor.dtype,
            name=input_name(tensor),
        )
        for tensor, timed in zip(model.inputs, streaming.timed_inputs, strict=True)
    ]
    return keras.Model(inputs, model.call(pack_inputs(model, inputs), training=False), name=model.name)


def _custom_objects(model: Any) -> dict[str, Any]:
    """The classes of the model's layers, and the functions that they hold, that are not Keras' own."""
    found: dict[str, Any] = {}
    for layer in model._flatten_layers():
        held = [value for value in vars(layer).values() if isinstance(value, FunctionType)]
        items: list[Any] = [type(layer), *held]
        for item in items:
            if not str(item.__module__).startswith("keras."):
                found[item.__name__] = item
    return found


def _free(config: Any, timed_names: frozenset[str]) -> None:
    """Take fixed batch sizes and lengths, stateful and unroll out of a configuration, at any depth."""
    if isinstance(config, list):
        for item in config:
            _free(item, timed_names)
    if not isinstance(config, dict):
        return
    config.pop("build_config", None)
    for key in ("batch_shape", "build_input_shape"):
        shape = config.get(key)
        if isinstance(shape, (list, tuple)) and shape:
            timed = config.get("name") in timed_names and len(shape) > 1
            config[key] = [None, None, *shape[2:]] if timed else [None, *shape[1:]]
    for key in ("stateful", "unroll"):
        if config.get(key) is True:
            config[key] = False
    for value in config.values():
        _free(value, timed_names)


def _assert_same(model: Any, rebuilt: Any) -> None:
    """Compare both on one input of the first model's own shape, and with masked steps where it masks."""
    feeds = sample_inputs(model)
    if not _answer_alike(model, rebuilt, feeds):
        raise ExportError(
            "built again with a free batch size and length the model answers otherwise; "
            "remove what depends on the length, or make its input free (keras.Input((None, features)))"
        )
    names = [str(i) for i in range(len(feeds))]
    embeddings = [embeddings_fed_by(model, tensor) for tensor in model.inputs]
    inputs = describe_inputs(model, names, [False] * len(feeds), embeddings)
    if not has_masks(inputs):
        return
    rows = list(islice(cycle(("end", "holes")), len(feeds[0])))
    masked = masked_feeds(dict(zip(names, feeds, strict=True)), inputs, rows, seed=0)
    if _answer_alike(model, rebuilt, [masked[name] for name in names]):
        return
    for layer in recurrent_layers(model):
        if layer.unroll and layer.go_backwards and layer.zero_output_for_mask:
            raise ExportError(
                "unroll=True with go_backwards and zero_output_for_mask (which Bidirectional sets): Keras zeroes other "
                "steps than the masked ones there; build the layer with unroll=False",
                layer=layer.name,
                argument="unroll",
            )
    raise ExportError(
        "built again with a free batch size and length the model answers otherwise where steps are masked; "
        "build it with unroll=False and stateful=False"
    )


def _answer_alike(model: Any, rebuilt: Any, feeds: list[np.ndarray]) -> bool:
    return all(
        # A mean over a sequence that is all masked is NaN in both.
        a.shape == b.shape and np.allclose(a, b, rtol=SAME_ATOL, atol=SAME_ATOL, equal_nan=True)
        for a, b in zip(answers(model, feeds), answers(rebuilt, feeds), strict=True)
    )


def sample_inputs(model: Any) -> list[np.ndarray]:
    """One random array per input, of the model's own shapes."""
    generator = np.random.default_rng(0)
    shapes = [[2 if d is None and i == 0 else d or 3 for i, d in enumerate(t.shape)] for t in model.inputs]
    return [
        generator.integers(0, 2, size=shape).astype(tensor.dtype)
        if "int" in str(tensor.dtype)
        else generator.uniform(0, 1, size=shape).astype(tensor.dtype)
        for shape, tensor in zip(shapes, model.inputs, strict=True)
    ]


def answers(model: Any, feeds: list[np.ndarray]) -> list[np.ndarray]:
    """What the model gives from a zero state, each output in turn; its own state is put back afterwards."""
    import keras

    kept = [
        (state, state.numpy())
        for layer in recurrent_layers(model)
        if layer.stateful
        for state in keras.tree.flatten(layer.states)
    ]
    try:
        for state, value in kept:
            state.assign(np.zeros_like(value))
        return forward(model)(feeds)
    finally:
        for state, value in kept:
            state.assign(value)
