"""TimeDistributed of any layer, its length free or fixed, as whole sequences and step by step, against Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeinfer_export import ExportError, to_onnx

import edgeinfer

# float32 rounding in another order of summation, over a few steps
ROUNDING = 1e-6
CONTROL_FLOW = {"If", "Loop", "Scan"}

Build = Callable[[Any, Any], list[Any]]


def inner_model(keras: Any) -> Any:
    x = keras.Input((5, 3))
    parts = [keras.layers.LSTM(3)(x), keras.layers.Flatten()(x)]
    return keras.Model(x, keras.layers.Concatenate()(parts), name="inner")


def inner_sequential(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential([keras.Input((5,)), layers.Embedding(11, 4), layers.LSTM(3), layers.Dense(2)], name="inner")


def flatten(keras: Any) -> Any:
    return keras.layers.Flatten()


# What one step is, its type, and the layers before the GRU that carries the model's state.
STEPS: dict[str, tuple[tuple[int, ...], str, Build]] = {
    "Dense": ((3,), "float32", lambda k, td: [td(k.layers.Dense(4, activation="relu"))]),
    "TimeDistributed(Dense)": ((4, 3), "float32", lambda k, td: [td(td(k.layers.Dense(2))), td(k.layers.Flatten())]),
    "BatchNormalization": ((3,), "float32", lambda k, td: [td(k.layers.BatchNormalization())]),
    "Flatten": ((5, 3), "float32", lambda k, td: [td(k.layers.Flatten())]),
    "Reshape": ((6,), "float32", lambda k, td: [td(k.layers.Reshape((2, 3))), td(k.layers.GRU(3))]),
    "LSTM": ((5, 3), "float32", lambda k, td: [td(k.layers.LSTM(4))]),
    "sequences": ((5, 3), "float32", lambda k, td: [td(k.layers.GRU(4, return_sequences=True)), td(flatten(k))]),
    "Bidirectional": ((5, 3), "float32", lambda k, td: [td(k.layers.Bidirectional(k.layers.LSTM(4)))]),
    "cells": ((5, 3), "float32", lambda k, td: [td(k.layers.RNN([k.layers.LSTMCell(4), k.layers.GRUCell(3)]))]),
    "Embedding": ((5,), "int32", lambda k, td: [td(k.layers.Embedding(11, 4)), td(k.layers.SimpleRNN(4))]),
    "Sequential": ((5,), "int32", lambda k, td: [td(inner_sequential(k))]),
    "Functional": ((5, 3), "float32", lambda k, td: [td(inner_model(k))]),
    "pictures": ((4, 4, 2), "float32", lambda k, td: [td(k.layers.Flatten())]),
}  # fmt: skip


# Keras calls the inner layer once per step, which takes its time.
SLOW = {"Bidirectional", "Functional", "Reshape", "Sequential", "cells", "sequences"}


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in STEPS])
def test_any_layer_streams_inside_time_distributed(
    case: str, keras: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    step, dtype, build = STEPS[case]
    stack = [*build(keras, layers.TimeDistributed), layers.GRU(3, return_sequences=True, name="carried")]
    model = sequential((None, *step), *stack, dtype=dtype)
    result = to_onnx(model, tmp_path / "m.onnx")
    assert not CONTROL_FLOW & set(result.nodes)
    # What is inside has no state over the model's time.
    assert [pair.input for pair in result.spec.states] == ["carried/initial_h"]
    generator = np.random.default_rng(2)
    x = generator.integers(0, 11, (6, *step)) if dtype == "int32" else generator.standard_normal((6, *step))
    x = x.astype(dtype)
    stream = edgeinfer.load(tmp_path / "m.onnx", backend="native").stream()
    found = np.stack([stream.step(item) for item in x])
    np.testing.assert_allclose(found, np.asarray(model(x[None]))[0], rtol=0, atol=ROUNDING)
    stream.reset()
    np.testing.assert_array_equal(stream.run(x), found)


@pytest.mark.parametrize("length", [None, 6])
@pytest.mark.parametrize("opset", [13, 18])
def test_a_second_free_axis_is_kept(
    length: int | None, opset: int, layers: Any, sequential: Any, ends: Any, tmp_path: Path
) -> None:
    distributed = layers.TimeDistributed
    stack = [distributed(layers.LSTM(4, return_sequences=True)), distributed(distributed(layers.LayerNormalization()))]
    result = to_onnx(sequential((length, None, 3), *stack), tmp_path / "m.onnx", opset=opset)
    assert not CONTROL_FLOW & set(result.nodes)
    inputs, outputs = ends(tmp_path / "m.onnx")
    assert len(set(inputs["x"])) == 4
    assert outputs["y"][-1] == 4


def test_a_second_free_axis_may_have_another_length_than_time(layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = [layers.TimeDistributed(layers.LSTM(4)), layers.GRU(3, return_sequences=True)]
    model = sequential((None, None, 3), *stack)
    assert to_onnx(model, tmp_path / "m.onnx").form == "stream"
    x = np.random.default_rng(2).standard_normal((2, 4, 7, 3)).astype(np.float32)
    found = edgeinfer.load(tmp_path / "m.onnx", backend="native")(x)
    np.testing.assert_allclose(found, np.asarray(model(x)), rtol=0, atol=ROUNDING)


def test_dense_becomes_the_same_nodes_as_without_time_distributed(layers: Any, sequential: Any, tmp_path: Path) -> None:
    for wrap in (layers.TimeDistributed, lambda layer: layer):
        stack = [layers.GRU(3, return_sequences=True), wrap(layers.Dense(2, activation="softmax"))]
        result = to_onnx(sequential((None, 3), *stack), tmp_path / "m.onnx")
        assert result.nodes == {"Add": 1, "GRU": 1, "MatMul": 1, "Softmax": 1, "Squeeze": 1, "Transpose": 2}


def test_the_nodes_are_named_after_the_layer(layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = [layers.TimeDistributed(layers.LSTM(4, name="each"), name="steps"), layers.GRU(2, name="over")]
    to_onnx(sequential((None, 5, 3), *stack), tmp_path / "m.onnx")
    names = [node.name for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert {name for name in names if name.startswith("steps")} == {
        "steps/Fold",
        "steps/Unfold",
        "steps/Unfold/Shape",
        "steps/Unfold/Shape_steps",
        "steps/Unfold/Slice_steps",
        "steps/each",
        "steps/each/Squeeze",
        "steps/each/Transpose",
    }


@pytest.mark.slow
def test_two_of_them_one_in_the_other_do_not_stream(layers: Any, sequential: Any, tmp_path: Path) -> None:
    inner = layers.TimeDistributed(layers.LSTM(3))
    stack = [layers.TimeDistributed(inner, name="outer"), layers.TimeDistributed(layers.GRU(2)), layers.GRU(2)]
    result = to_onnx(sequential((None, 4, 5, 3), *stack), tmp_path / "m.onnx")
    assert result.form == "sequence"
    assert result.stops == 'in node "outer/time_distributed/Fold" (Reshape): it mixes the time axis with others'


@pytest.mark.slow
def test_masks_inside_stream_as_well(keras: Any, layers: Any, sequential: Any, tmp_path: Path) -> None:
    words = keras.Sequential(
        [keras.Input((5,)), layers.Embedding(9, 4, mask_zero=True), layers.Bidirectional(layers.LSTM(3))], name="words"
    )
    stack = [layers.TimeDistributed(words), layers.GRU(2, return_sequences=True, name="carried")]
    model = sequential((None, 5), *stack, dtype="int32")
    result = to_onnx(model, tmp_path / "m.onnx")
    assert [pair.input for pair in result.spec.states] == ["carried/initial_h"]
    x = np.random.default_rng(2).integers(0, 3, (6, 5)).astype(np.int32)
    stream = edgeinfer.load(tmp_path / "m.onnx", backend="native").stream()
    found = np.stack([stream.step(item) for item in x])
    np.testing.assert_allclose(found, np.asarray(model(x[None]))[0], rtol=0, atol=ROUNDING)


@pytest.mark.slow
def test_a_mask_of_steps_and_their_steps_goes_to_the_inner_layer(layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = [layers.Embedding(9, 4, mask_zero=True), layers.TimeDistributed(layers.LSTM(3)), layers.Dense(2)]
    to_onnx(sequential((None, 5), *stack, dtype="int32"), tmp_path / "m.onnx")


def test_over_a_repeated_vector_it_is_exact(layers: Any, sequential: Any, tmp_path: Path) -> None:
    head = layers.TimeDistributed(layers.LayerNormalization())
    stack = [layers.GRU(4), layers.RepeatVector(5), layers.GRU(3, return_sequences=True), head]
    assert to_onnx(sequential((None, 3), *stack), tmp_path / "m.onnx").form == "sequence"


def test_a_stateful_layer_inside_is_refused(keras: Any, layers: Any, tmp_path: Path) -> None:
    inner = layers.TimeDistributed(layers.GRU(3, stateful=True, name="kept"), name="steps")
    model = keras.Sequential([keras.Input(batch_shape=(2, 4, 5, 3)), inner])
    with pytest.raises(ExportError, match=r'layer "kept": stateful=True inside steps \(TimeDistributed\)') as raised:
        to_onnx(model, tmp_path / "m.onnx")
    assert raised.value.argument == "stateful"
