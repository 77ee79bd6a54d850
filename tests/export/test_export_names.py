"""Names that a person can read in Netron: a layer's own on its nodes and weights, wherever the layer stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx
import pytest
from edgeinfer_export import to_onnx

# What TensorFlow, Keras and tf2onnx put into names.
GENERATED = re.compile(
    r"__|:\d|StatefulPartitionedCall|PyFunc|ReadVariableOp|edgeinfer_call|sequential|functional|einsum\d"
)


def written(model: Any, path: Path) -> tuple[dict[str, str], list[str]]:
    """Node names with their operators, and the names of the weights."""
    to_onnx(model, path, verify=False)
    graph = onnx.load(path).graph
    weights = [tensor.name for tensor in graph.initializer if not tensor.name.startswith("constant/")]
    values = [name for node in graph.node for name in (*node.input, *node.output) if name]
    for name in [node.name for node in graph.node] + weights + values:
        assert not GENERATED.search(name), name
    assert len({node.name for node in graph.node}) == len(graph.node)
    # A value is called after the node that gives it, the ends of the graph apart.
    ends = {value.name for value in (*graph.input, *graph.output)}
    for node in graph.node:
        assert all(name.startswith(node.name) for name in node.output if name and name not in ends)
    return {node.name: node.op_type for node in graph.node}, weights


def test_convolution_pooling_and_normalization_have_their_layers_names(
    layers: Any, sequential: Any, tmp_path: Path
) -> None:
    stack = [
        layers.Conv1D(4, 3, padding="causal", name="look"),
        layers.LayerNormalization(name="level"),
        layers.MaxPooling1D(2, name="halve"),
        layers.LSTM(4, name="memory"),
        layers.Dense(1, activation="tanh", name="head"),
    ]
    nodes, weights = written(sequential((12, 8), *stack), tmp_path / "m.onnx")
    owners = {"look", "level", "halve", "memory", "head"}
    assert {name.split("/")[0] for name in nodes} == owners
    assert nodes["look"] == "Conv" and nodes["halve"] == "MaxPool" and nodes["memory"] == "LSTM"
    assert nodes["head/Tanh"] == "Tanh"
    known = {"look/kernel", "look/bias", "level/gamma", "level/beta", "memory/W", "memory/R", "memory/B"}
    assert known | {"head/kernel", "head/bias"} <= set(weights)


def test_attention_keeps_the_names_of_the_layers_inside(keras: Any, layers: Any, shuffled: Any, tmp_path: Path) -> None:
    x = keras.Input((None, 8))
    h = layers.GRU(8, return_sequences=True, name="memory")(x)
    y = layers.Dense(2, name="head")(layers.MultiHeadAttention(2, 4, name="look")(h, h))
    nodes, weights = written(shuffled(keras.Model(x, y)), tmp_path / "m.onnx")
    assert {name.split("/")[0] for name in nodes} == {"memory", "look", "head"}
    assert "look/Softmax" in nodes
    assert {"look/query/kernel", "look/key/kernel", "look/value/kernel"} <= set(weights)


def test_shared_layers_and_models_count_their_calls(keras: Any, layers: Any, shuffled: Any, tmp_path: Path) -> None:
    stack = [layers.Dense(5, activation="relu", name="lift"), layers.GRU(3, return_sequences=True, name="memory")]
    inner = keras.Sequential([keras.Input((None, 2)), *stack], name="inner")
    a, b = keras.Input((None, 2), name="a"), keras.Input((None, 2), name="b")
    y = layers.Concatenate(name="both")([inner(a), inner(b)])
    nodes, weights = written(shuffled(keras.Model([a, b], y)), tmp_path / "m.onnx")
    assert nodes["memory/call_0"] == nodes["memory/call_1"] == "GRU"
    assert nodes["lift/call_0/Relu"] == nodes["lift/call_1/Relu"] == "Relu"
    assert weights.count("lift/kernel") == 1 and not any("inner" in name for name in nodes)


def test_a_layer_inside_another_stands_behind_its_name(keras: Any, layers: Any, shuffled: Any, tmp_path: Path) -> None:
    class Block(keras.layers.Layer):  # type: ignore[name-defined, misc]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.dense = layers.Dense(5, name="lift")
            self.memory = layers.GRU(3, return_sequences=True, name="memory")

        def call(self, x: Any) -> Any:
            return self.memory(keras.ops.tanh(self.dense(x))) + 1.0

    x = keras.Input((None, 3))
    two = [Block(name="first"), Block(name="second")]
    nodes, weights = written(shuffled(keras.Model(x, two[1](two[0](x)))), tmp_path / "m.onnx")
    assert nodes["first/memory"] == nodes["second/memory"] == "GRU"
    assert nodes["first/Tanh"] == "Tanh" and nodes["second/lift/MatMul"] == "MatMul"
    assert {"first/lift/kernel", "second/lift/kernel", "first/memory/W", "second/memory/W"} <= set(weights)


def test_operations_outside_of_layers_have_keras_name_for_them(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    x = keras.Input((None, 3))
    h = layers.GRU(3, return_sequences=True, name="memory")(x)
    nodes, _ = written(shuffled(keras.Model(x, keras.ops.maximum(h, x)[:, -1])), tmp_path / "m.onnx")
    assert {name.split("/")[0] for name in nodes} == {"memory", "maximum", "get_item"}


@pytest.mark.parametrize("name", ["layer_1", "a__3", "gru_1_2"])
def test_a_name_that_looks_generated_is_kept(name: str, layers: Any, sequential: Any, tmp_path: Path) -> None:
    to_onnx(sequential((None, 3), layers.GRU(2, name=name), layers.Dense(2, name="d__1")), tmp_path / "m.onnx")
    names = [node.name for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert names == [f"{name}/Transpose", name, f"{name}/Squeeze", "d__1/MatMul", "d__1/Add"]
