"""Subclassed models, and layers that call others: no Keras graph can be walked, so the converted one decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeinfer_export import ExportError, to_onnx

import edgeinfer

# float32 rounding in another order of summation, over a few steps
ROUNDING = 1e-6
X = np.random.default_rng(3).standard_normal((2, 7, 3)).astype(np.float32)


@pytest.fixture
def subclassed(keras: Any, layers: Any, shuffled: Any) -> Any:
    """A subclassed model of the given layers, whose ``call`` is the given function; called on ``arguments``."""

    def build(call: Any, *arguments: Any, **parts: Any) -> Any:
        model = type("Own", (keras.Model,), {"call": call})(name="own")
        for name, part in parts.items():
            setattr(model, name, part)
        if arguments:
            model(*arguments)
            shuffled(model)
        return model

    return build


def steps_equal_the_whole(path: Path, x: np.ndarray, expected: np.ndarray) -> None:
    """One step at a time the file answers as the model does on the whole sequence."""
    stream = edgeinfer.load(path, backend="native").stream(mode="stream")
    found = np.stack([np.atleast_1d(stream.step(step)) for step in x[0]])
    whole = expected[0] if expected.ndim == 3 else expected[0][None]
    np.testing.assert_allclose(found[-len(whole) :], whole, rtol=0, atol=ROUNDING)


def test_a_model_that_was_called_once_streams_with_free_batch_and_time(
    subclassed: Any, layers: Any, ends: Any, tmp_path: Path
) -> None:
    parts = {"memory": layers.LSTM(4, return_sequences=True, name="memory"), "head": layers.Dense(2, name="head")}
    model = subclassed(lambda self, x: self.head(self.memory(x)), X, **parts)
    exported = to_onnx(model, tmp_path / "m.onnx")
    assert (exported.form, exported.spec.mode, exported.spec.window.length) == ("stream", "window", 7)
    assert ends(tmp_path / "m.onnx")[0]["x"] == ["batch", "time", 3]
    assert exported.nodes == {"Add": 1, "LSTM": 1, "MatMul": 1, "Squeeze": 1, "Transpose": 2}
    assert all(not layer._inbound_nodes for layer in model._flatten_layers())
    steps_equal_the_whole(tmp_path / "m.onnx", X, np.asarray(model(X)))


def test_the_last_step_may_be_cut_off(subclassed: Any, layers: Any, tmp_path: Path) -> None:
    parts = {"memory": layers.GRU(4, return_sequences=True), "head": layers.Dense(2)}
    model = subclassed(lambda self, x: self.head(self.memory(x)[:, -1]), X, **parts)
    assert to_onnx(model, tmp_path / "m.onnx").form == "stream"
    steps_equal_the_whole(tmp_path / "m.onnx", X, np.asarray(model(X)))


def test_it_says_which_node_stops_it(keras: Any, subclassed: Any, layers: Any, tmp_path: Path) -> None:
    model = subclassed(lambda self, x: keras.ops.mean(self.g(x), axis=1), X, g=layers.GRU(4, return_sequences=True))
    exported = to_onnx(model, tmp_path / "m.onnx")
    assert exported.form == "sequence" and edgeinfer.load(tmp_path / "m.onnx")(X[:, :3]).shape == (2, 4)
    assert exported.stops == 'in node "own/ReduceMean" (ReduceMean): it reduces over the time axis'
    with pytest.raises(
        ExportError, match=r'form stream is not possible: in node "own/ReduceMean" .*; use form sequence'
    ):
        to_onnx(model, tmp_path / "m.onnx", form="stream")


def test_a_bidirectional_inside_is_named(subclassed: Any, layers: Any, tmp_path: Path) -> None:
    model = subclassed(lambda self, x: self.both(x), X, both=layers.Bidirectional(layers.GRU(4), name="both"))
    assert to_onnx(model, tmp_path / "m.onnx").stops == 'layer "both" reads the sequence backwards'


def test_one_without_recurrent_layers_has_no_state(subclassed: Any, layers: Any, tmp_path: Path) -> None:
    model = subclassed(lambda self, x: self.head(x), X, head=layers.Dense(2))
    assert (
        to_onnx(model, tmp_path / "m.onnx").stops == "the model has no recurrent layer, so there is no state to carry"
    )


def test_a_length_that_cannot_be_free_stays(
    keras: Any, subclassed: Any, layers: Any, ends: Any, tmp_path: Path
) -> None:
    def call(self: Any, x: Any) -> Any:
        return self.head(keras.ops.reshape(self.memory(x), (-1, x.shape[1] * 3)))

    model = subclassed(call, X, memory=layers.LSTM(3, return_sequences=True), head=layers.Dense(2))
    exported = to_onnx(model, tmp_path / "m.onnx")
    assert exported.stops is not None and exported.stops.startswith("it does not take a free length: Own.call cannot")
    assert (exported.spec.mode, exported.spec.window.length) == ("window", 7)
    assert ends(tmp_path / "m.onnx")[0] == {"x": ["batch", 7, 3]}
    with pytest.raises(ExportError, match="window 5 is not possible: the model takes exactly 7 steps, since it does"):
        to_onnx(model, tmp_path / "m.onnx", window=5)


def test_token_ids_that_an_embedding_reads_are_integers(
    subclassed: Any, layers: Any, ends: Any, tmp_path: Path
) -> None:
    ids = np.random.default_rng(0).integers(0, 11, size=(2, 7))
    parts = {"words": layers.Embedding(11, 3), "memory": layers.GRU(4), "head": layers.Dense(2)}
    model = subclassed(lambda self, x, training=False: self.head(self.memory(self.words(x))), ids, **parts)
    exported = to_onnx(model, tmp_path / "m.onnx")
    golden = exported.spec.goldens[0].inputs["x"]
    assert exported.form == "stream" and golden.dtype == np.int32 and golden.max() > 1
    assert ends(tmp_path / "m.onnx")[0]["x"] == ["batch", "time"]


def test_a_dictionary_in_and_one_out_keep_their_names(
    keras: Any, subclassed: Any, layers: Any, ends: Any, tmp_path: Path
) -> None:
    def call(self: Any, x: Any) -> Any:
        both = self.memory(keras.ops.concatenate([x["load"], x["price"]], axis=-1))
        return {"spread": self.spread(both), "mean": self.mean(both)}

    parts = {"memory": layers.GRU(4, return_sequences=True, name="memory")}
    heads = {"mean": layers.Dense(2), "spread": layers.Dense(1)}
    model = subclassed(call, {"load": X, "price": X[..., :1]}, **parts, **heads)
    assert to_onnx(model, tmp_path / "m.onnx").form == "stream"
    inputs, outputs = ends(tmp_path / "m.onnx")
    assert list(inputs) == ["load", "price", "memory/initial_h"]
    assert {name: outputs[name] for name in ("mean", "spread")} == {
        "mean": ["batch", "time", 2],
        "spread": ["batch", "time", 1],
    }


def test_a_signature_names_the_inputs_of_a_model_that_was_never_called(
    keras: Any, subclassed: Any, layers: Any, ends: Any, tmp_path: Path
) -> None:
    def call(self: Any, x: Any, extra: Any = None) -> Any:
        return self.memory(keras.ops.concatenate([x, extra], axis=-1))

    signature = [keras.InputSpec(shape=(None, None, 3), dtype="float32"), X[..., :1]]
    model = subclassed(call, memory=layers.GRU(4, return_sequences=True, name="memory"))
    assert to_onnx(model, tmp_path / "m.onnx", input_signature=signature).form == "stream"
    assert list(ends(tmp_path / "m.onnx")[0]) == ["x", "extra", "memory/initial_h"]


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        (None, "Own is a subclassed model, and Keras has kept no shapes of its inputs; call it once on an array"),
        (["x"], "input_signature: expected a shape and a dtype, got 'x'; call it once"),
        ([X, X], "Own.call cannot be followed with the inputs .*; if it takes others, call it once"),
    ],
)
def test_inputs_that_are_not_known_are_refused_with_the_way_out(
    signature: Any, text: str, subclassed: Any, layers: Any, tmp_path: Path
) -> None:
    model = subclassed(lambda self, x: self.g(x), g=layers.GRU(4))
    with pytest.raises(ExportError, match=text):
        to_onnx(model, tmp_path / "m.onnx", input_signature=signature)


def test_a_signature_for_a_model_with_inputs_of_its_own_is_refused(
    sequential: Any, layers: Any, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="input_signature is for subclassed models; this one has inputs of its own"):
        to_onnx(sequential((None, 3), layers.GRU(2)), tmp_path / "m.onnx", input_signature=[X])


def test_stateful_and_unrolled_layers_inside_are_exported_and_left_as_they_were(
    keras: Any, subclassed: Any, layers: Any, tmp_path: Path
) -> None:
    memory = layers.LSTM(3, stateful=True, unroll=True, return_sequences=True)
    model = subclassed(lambda self, x: self.memory(x), memory=memory)
    signature = [keras.InputSpec(shape=(2, 7, 3), dtype="float32")]
    exported = to_onnx(model, tmp_path / "m.onnx", input_signature=signature)
    assert (exported.form, exported.spec.mode, len(exported.spec.states)) == ("stream", "stream", 2)
    assert memory.stateful and memory.unroll


def test_a_layer_and_a_model_inside_another_are_followed(
    keras: Any, subclassed: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    class Block(keras.layers.Layer):  # type: ignore[name-defined, misc]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.dense = layers.Dense(5)
            self.memory = layers.GRU(3, return_sequences=True)

        def call(self, x: Any) -> Any:
            return self.memory(keras.ops.tanh(self.dense(x)))

    inner = subclassed(lambda self, x: self.head(x), X[..., :3], head=layers.Dense(2))
    x = keras.Input((9, 3))
    model = shuffled(keras.Model(x, inner(Block(name="block")(x))))
    exported = to_onnx(model, tmp_path / "m.onnx")
    assert (exported.form, exported.spec.window.length) == ("sequence", 9) or exported.form == "stream"
    whole = np.random.default_rng(0).standard_normal((2, 9, 3)).astype(np.float32)
    expected = np.asarray(model(whole))
    np.testing.assert_allclose(edgeinfer.load(tmp_path / "m.onnx")(whole), expected, rtol=0, atol=ROUNDING)


def test_what_keras_graph_does_not_tell_the_converted_one_does(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    x = keras.Input((None, 3))
    h = layers.GRU(4, return_sequences=True)(x)
    models = {
        "last": layers.Dense(2)(h[:, -1]),
        "joined": layers.Dense(2)(keras.ops.concatenate([h, x], axis=-1)),
        "einsum": layers.PReLU(shared_axes=[1])(layers.EinsumDense("btf,fg->btg", (None, 2), bias_axes="g")(h)),
    }
    x_9 = keras.Input((9, 3))
    doubled = layers.Lambda(lambda x: 2.0 * x)(layers.LSTM(4, return_sequences=True)(x_9))
    window = to_onnx(shuffled(keras.Model(x_9, doubled)), tmp_path / "m.onnx")
    assert (window.form, window.spec.mode) == ("stream", "window")
    assert all(
        len(layer._inbound_nodes) == 1 for layer in (x_9._keras_history.operation, doubled._keras_history.operation)
    )
    for name, y in models.items():
        model = shuffled(keras.Model(x, y))
        assert to_onnx(model, tmp_path / f"{name}.onnx").form == "stream", name
        steps_equal_the_whole(tmp_path / f"{name}.onnx", X, np.asarray(model(X)))
    first = keras.Model(x, layers.Dense(2)(h[:, 0]))
    stops = to_onnx(first, tmp_path / "m.onnx").stops
    assert stops is not None
    assert stops.startswith('layer "get_item_1" (GetItem) does not work one time step at a time: in node ')
    assert stops.endswith("(Slice): it cuts the time axis")


def test_a_functional_model_with_a_call_of_its_own_is_what_its_call_computes(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    class Doubled(keras.Model):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            x = keras.Input((None, 3))
            super().__init__(inputs=x, outputs=layers.LSTM(2)(x))

        def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
            return 2.0 * super().call(x, training=training)

    model = shuffled(Doubled())
    exported = to_onnx(model, tmp_path / "m.onnx")
    assert (exported.form, exported.spec.mode) == ("stream", "stream")
    steps_equal_the_whole(tmp_path / "m.onnx", X, np.asarray(model(X)))
