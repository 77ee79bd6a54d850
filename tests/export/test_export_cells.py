"""Every kind of cell, with each of its arguments, against Keras in ONNX Runtime and in edgeinfer's native backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeinfer_export import to_onnx

# The bar of the export command itself, relative to max(1, |y|).
ATOL = 1e-5
FEATURES, UNITS = 3, 5

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "SimpleRNN": ("SimpleRNN", {}),
    "GRU": ("GRU", {"reset_after": True}),
    "GRU_reset_before": ("GRU", {"reset_after": False}),
    "LSTM": ("LSTM", {}),
}
OPERATORS = {"SimpleRNN": "RNN", "GRU": "GRU", "GRU_reset_before": "GRU", "LSTM": "LSTM"}
STATES = {"SimpleRNN": ["h"], "GRU": ["h"], "GRU_reset_before": ["h"], "LSTM": ["h", "c"]}
ACTIVATIONS = (
    "tanh", "sigmoid", "relu", "linear", "hard_sigmoid", "elu", "leaky_relu", "softsign", "softplus",
)  # fmt: skip


@pytest.fixture
def cell(layers: Any) -> Callable[..., Any]:
    def build(kind: str, **arguments: Any) -> Any:
        name, fixed = KINDS[kind]
        return getattr(layers, name)(UNITS, name="cell", **fixed, **arguments)

    return build


def exported(model: Any, path: Path, **options: Any) -> tuple[Any, Any]:
    """Export with verification on; returns the result and the file's one recurrent node."""
    result = to_onnx(model, path, **options)
    assert result.differences is not None and result.differences.largest <= ATOL
    nodes = [node for node in onnx.load(path).graph.node if node.op_type in ("RNN", "GRU", "LSTM")]
    assert len(nodes) == 1
    return result, nodes[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sequences", [True, False])
def test_a_layer_becomes_one_node_with_its_state_as_input_and_output(
    kind: str, sequences: bool, cell: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    model = sequential((None, FEATURES), cell(kind, return_sequences=sequences), layers.Dense(2))
    result, node = exported(model, tmp_path / "m.onnx")
    assert (result.form, result.spec.mode, result.stops) == ("stream", "stream", None)
    assert (node.name, node.op_type) == ("cell", OPERATORS[kind])
    assert [(pair.input, pair.output) for pair in result.spec.states] == [
        (f"cell/initial_{state}", f"cell/final_{state}") for state in STATES[kind]
    ]
    assert list(node.input[5:]) == [pair.input for pair in result.spec.states]
    assert list(node.output[1:]) == [pair.output for pair in result.spec.states]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_that_onnx_names_is_exact(
    activation: str, cell: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    for kind in ("SimpleRNN", "GRU", "LSTM"):
        model = sequential((None, FEATURES), cell(kind, activation=activation), layers.Dense(2))
        exported(model, tmp_path / "m.onnx")


@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid", "leaky_relu", "softsign", "linear"])
@pytest.mark.parametrize("kind", ["GRU", "GRU_reset_before", "LSTM"])
def test_a_recurrent_activation_that_onnx_names_is_exact(
    kind: str, activation: str, cell: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    stack = [cell(kind, recurrent_activation=activation, activation="elu", return_sequences=True)]
    exported(sequential((None, FEATURES), *stack, layers.Dense(2)), tmp_path / "m.onnx")


def test_activation_layers_keep_their_slope(cell: Any, layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = cell("LSTM", activation=layers.LeakyReLU(0.05), recurrent_activation=layers.ELU(0.5))
    _, node = exported(sequential((None, FEATURES), stack), tmp_path / "m.onnx")
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert attributes["activations"] == [b"Elu", b"LeakyRelu", b"LeakyRelu"]
    assert attributes["activation_alpha"] == pytest.approx([0.5, 0.05, 0.05])


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_without_bias_has_no_bias_input(
    kind: str, cell: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    model = sequential((None, FEATURES), cell(kind, use_bias=False), layers.Dense(2, use_bias=False))
    result, node = exported(model, tmp_path / "m.onnx")
    assert node.input[3] == ""
    assert "Add" not in result.nodes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sequences", [True, False])
def test_go_backwards_is_a_reverse_node_and_does_not_stream(
    kind: str, sequences: bool, cell: Any, sequential: Any, tmp_path: Path
) -> None:
    layer = cell(kind, go_backwards=True, return_sequences=sequences)
    result, node = exported(sequential((None, FEATURES), layer), tmp_path / "m.onnx")
    assert (result.form, result.spec.mode, result.spec.states) == ("sequence", None, ())
    assert 'layer "cell"' in result.stops and "reads the sequence backwards" in result.stops
    assert onnx.helper.get_node_attr_value(node, "direction") == b"reverse"


@pytest.mark.parametrize("kind", KINDS)
def test_returned_states_are_outputs_of_the_model(
    kind: str, cell: Any, keras: Any, layers: Any, shuffled: Any, ends: Any, tmp_path: Path
) -> None:
    x = keras.Input((None, FEATURES))
    y, *states = cell(kind, return_sequences=True, return_state=True)(x)
    model = shuffled(keras.Model(x, [layers.Dense(2, name="head")(y), *states]))
    exported(model, tmp_path / "m.onnx")
    _, outputs = ends(tmp_path / "m.onnx")
    assert outputs["head"] == ["batch", "time", 2]
    assert outputs["cell"] == ["batch", UNITS]
    assert outputs["cell/final_h"] == [1, "batch", UNITS]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("argument", ["unroll", "stateful"])
def test_unroll_and_stateful_layers_become_the_same_node_with_free_batch_and_time(
    kind: str, argument: str, cell: Any, keras: Any, layers: Any, shuffled: Any, ends: Any, tmp_path: Path
) -> None:
    layer = cell(kind, return_sequences=True, **{argument: True})
    first = keras.Input(batch_shape=(2, 4, FEATURES))
    model = shuffled(keras.Sequential([first, layer, layers.Dense(2)]))
    result, _ = exported(model, tmp_path / "m.onnx")
    inputs, _ = ends(tmp_path / "m.onnx")
    assert inputs["x"] == ["batch", "time", FEATURES]
    assert result.form == "stream"
    assert result.spec.mode == ("stream" if argument == "stateful" else "window")


def test_an_unrolled_layer_is_rolled_up_where_another_needs_the_fixed_length(
    layers: Any, sequential: Any, ends: Any, tmp_path: Path
) -> None:
    stack = [layers.LSTM(3, return_sequences=True, unroll=True), layers.Flatten(name="flatten"), layers.Dense(2)]
    result, _ = exported(sequential((4, FEATURES), *stack), tmp_path / "m.onnx")
    inputs, _ = ends(tmp_path / "m.onnx")
    assert inputs["x"] == ["batch", 4, FEATURES]
    assert result.nodes["LSTM"] == 1
    assert result.stops is not None and 'layer "flatten"' in result.stops


def test_dropout_layers_and_arguments_are_no_ops(cell: Any, layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = [cell("LSTM", dropout=0.5, recurrent_dropout=0.4), layers.Dropout(0.5), layers.Dense(2)]
    result, _ = exported(sequential((None, FEATURES), *stack), tmp_path / "m.onnx")
    assert result.nodes == {"Add": 1, "LSTM": 1, "MatMul": 1, "Squeeze": 1, "Transpose": 1}


def test_a_stack_of_layers_has_one_node_and_state_each(layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = [
        layers.LSTM(6, return_sequences=True, name="a"),
        layers.Dropout(0.2),
        layers.GRU(5, return_sequences=True, name="b"),
        layers.Dense(4, activation="relu"),
        layers.SimpleRNN(3, name="c"),
        layers.Dense(2, activation="softmax"),
    ]
    result = to_onnx(sequential((None, FEATURES), *stack), tmp_path / "m.onnx")
    assert {op: result.nodes[op] for op in ("LSTM", "GRU", "RNN")} == {"LSTM": 1, "GRU": 1, "RNN": 1}
    assert [pair.input for pair in result.spec.states] == [
        "a/initial_h", "a/initial_c", "b/initial_h", "c/initial_h",
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
def test_token_inputs_of_any_dtype_are_looked_up(dtype: str, layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = [layers.Embedding(9, 4), layers.GRU(UNITS), layers.Dense(3, activation="sigmoid")]
    result = to_onnx(sequential((None,), *stack, dtype=dtype), tmp_path / "m.onnx")
    assert result.nodes["Gather"] == 1
    assert result.nodes.get("Cast", 0) == (dtype == "float32")
    assert onnx.load(tmp_path / "m.onnx").graph.input[0].type.tensor_type.elem_type == (
        onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    )


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("sequences", [True, False])
def test_a_bidirectional_layer_is_one_node(
    kind: str, sequences: bool, cell: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    wrapped = layers.Bidirectional(cell(kind, return_sequences=sequences), name="both")
    result, node = exported(sequential((None, FEATURES), wrapped, layers.Dense(2)), tmp_path / "m.onnx")
    assert node.name == "both"
    assert onnx.helper.get_node_attr_value(node, "direction") == b"bidirectional"
    assert result.form == "sequence"
    assert result.stops == 'layer "both" (Bidirectional) reads the sequence backwards'


def test_a_layer_called_twice_has_two_nodes_that_share_weights(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    x = keras.Input((None, FEATURES))
    shared = layers.GRU(FEATURES, return_sequences=True, name="shared")
    to_onnx(shuffled(keras.Model(x, shared(shared(x)))), tmp_path / "m.onnx")
    nodes = [node for node in onnx.load(tmp_path / "m.onnx").graph.node if node.op_type == "GRU"]
    assert [node.name for node in nodes] == ["shared/call_0", "shared/call_1"]
    assert list(nodes[0].input[1:4]) == list(nodes[1].input[1:4]) == ["shared/W", "shared/R", "shared/B"]


def test_an_initial_state_from_another_layer_is_wired_in(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    encoder, decoder = keras.Input((None, 2), name="encoder"), keras.Input((None, 3), name="decoder")
    _, *state = layers.LSTM(UNITS, return_state=True, name="read")(encoder)
    y = layers.LSTM(UNITS, return_sequences=True, name="write")(decoder, initial_state=state)
    result = to_onnx(shuffled(keras.Model([encoder, decoder], layers.Dense(2)(y))), tmp_path / "m.onnx")
    assert result.nodes["LSTM"] == 2
    assert result.stops == 'layer "write" (LSTM) takes its initial state from another layer'
