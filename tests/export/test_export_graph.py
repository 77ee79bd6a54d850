"""The graph that is written: small, named after the layers, with free batch and time, without anything dead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeinfer_export import to_onnx

# float32 rounding in another order of summation, over a few steps
ROUNDING = 1e-6
CONTROL_FLOW = {"Loop", "Scan", "If"}


def nodes_of(path: Path) -> list[Any]:
    return list(onnx.load(path).graph.node)


@pytest.fixture
def lstm_dense(layers: Any, sequential: Any, tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    stack = [layers.LSTM(64, name="lstm"), layers.Dense(1, name="head")]
    to_onnx(sequential((None, 3), *stack), path)
    return path


def test_lstm_and_dense_have_at_most_ten_nodes_named_after_their_layers(lstm_dense: Path) -> None:
    nodes = nodes_of(lstm_dense)
    assert [(node.op_type, node.name) for node in nodes] == [
        ("Transpose", "lstm/Transpose"),
        ("LSTM", "lstm"),
        ("Squeeze", "lstm/Squeeze"),
        ("MatMul", "head/MatMul"),
        ("Add", "head/Add"),
    ]
    assert [list(node.input) for node in nodes] == [
        ["x"],
        ["lstm/Transpose", "lstm/W", "lstm/R", "lstm/B", "", "lstm/initial_h", "lstm/initial_c"],
        ["lstm/final_h", "constant/0"],
        ["lstm/Squeeze", "head/kernel"],
        ["head/MatMul", "head/bias"],
    ]
    assert list(nodes[1].output) == ["", "lstm/final_h", "lstm/final_c"]


def test_the_file_declares_opset_17_and_an_ir_version_that_older_tools_read(lstm_dense: Path) -> None:
    model = onnx.load(lstm_dense)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert model.producer_name == "edgeinfer"
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("opset", [13, 15, 18])
def test_another_opset_is_written_when_asked(opset: int, layers: Any, sequential: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    wrapped = layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="ave")
    to_onnx(sequential((None, 3), layers.LSTM(4, return_sequences=True), wrapped), path, opset=opset)
    assert onnx.load(path).opset_import[0].version == opset


def test_inputs_and_outputs_have_names_and_free_dimensions(lstm_dense: Path, ends: Any) -> None:
    inputs, outputs = ends(lstm_dense)
    state = [1, "batch", 64]
    assert inputs == {"x": ["batch", "time", 3], "lstm/initial_h": state, "lstm/initial_c": state}
    assert outputs == {"y": ["batch", 1], "lstm/final_h": state, "lstm/final_c": state}


def test_several_inputs_and_outputs_keep_the_names_and_the_order_of_keras(
    keras: Any, layers: Any, shuffled: Any, ends: Any, tmp_path: Path
) -> None:
    load, price = keras.Input((None, 2), name="load"), keras.Input((None, 1), name="price")
    hidden = layers.GRU(4, return_sequences=True)(layers.Concatenate()([load, price]))
    heads = [layers.Dense(3, name="mean")(hidden), layers.Dense(1, name="spread")(hidden)]
    to_onnx(shuffled(keras.Model([load, price], heads)), tmp_path / "m.onnx")
    inputs, outputs = ends(tmp_path / "m.onnx")
    assert list(inputs)[:2] == ["load", "price"]
    assert list(outputs)[:2] == ["mean", "spread"]
    assert outputs["mean"] == ["batch", "time", 3]


def test_a_tensor_that_is_two_outputs_keeps_both(
    keras: Any, layers: Any, shuffled: Any, ends: Any, tmp_path: Path
) -> None:
    x = keras.Input((None, 2))
    y = layers.GRU(3, name="g")(x)
    to_onnx(shuffled(keras.Model(x, [y, y])), tmp_path / "m.onnx")
    assert list(ends(tmp_path / "m.onnx")[1])[:2] == ["g", "g_1"]


def test_dense_on_sequences_is_one_product_and_one_sum(layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = [layers.Dense(4, activation="relu"), layers.GRU(5, return_sequences=True), layers.Dense(2)]
    result = to_onnx(sequential((None, 3), *stack), tmp_path / "m.onnx")
    assert result.nodes == {"Add": 2, "GRU": 1, "MatMul": 2, "Relu": 1, "Squeeze": 1, "Transpose": 2}


def test_residual_connections_between_normalized_layers_are_one_sum_each(
    layers: Any, keras: Any, tmp_path: Path
) -> None:
    given = keras.Input((None, 8), name="x")
    x = given
    for _ in range(3):
        x = layers.LayerNormalization()(layers.Add()([x, layers.GRU(8, return_sequences=True)(x)]))
    exported = to_onnx(keras.Model(given, x), tmp_path / "m.onnx")
    assert exported.nodes == {"Add": 3, "GRU": 3, "LayerNormalization": 3, "Squeeze": 3, "Transpose": 6}


def test_flatten_is_one_reshape(layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = [layers.LSTM(4, return_sequences=True), layers.Flatten(), layers.Dense(2)]
    result = to_onnx(sequential((5, 3), *stack), tmp_path / "m.onnx")
    assert result.nodes == {"Add": 1, "LSTM": 1, "MatMul": 1, "Reshape": 1, "Squeeze": 1, "Transpose": 2}


def test_no_name_is_a_generated_one_and_nothing_is_dead(layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = [
        layers.BatchNormalization(name="norm"),
        layers.GRU(4, return_sequences=True, name="gru"),
        layers.LayerNormalization(name="layer_norm"),
        layers.Dense(3, activation="tanh", name="hidden"),
        layers.GRU(2, name="gru_1"),
        layers.Dense(2, activation="softmax", name="head"),
    ]
    to_onnx(sequential((None, 3), *stack), tmp_path / "m.onnx", verify=False)
    graph = onnx.load(tmp_path / "m.onnx").graph
    names = [node.name for node in graph.node] + [tensor.name for tensor in graph.initializer]
    values = [name for node in graph.node for name in node.output if name]
    for name in names + values:
        assert "StatefulPartitionedCall" not in name and "PyFunc" not in name and "__" not in name
    assert {"gru", "gru_1", "hidden/Tanh", "head/Softmax"} <= set(names)
    assert len(set(names)) == len(names) and len(set(values)) == len(values)
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    assert all(any(name in read for name in node.output) for node in graph.node)
    assert all(tensor.name in read for tensor in graph.initializer)
    assert not {node.op_type for node in graph.node} & (CONTROL_FLOW | {"Identity"})


def test_outputs_that_a_node_must_have_stay_where_nothing_reads_them(
    layers: Any, sequential: Any, tmp_path: Path
) -> None:
    import tensorflow as tf

    parts = layers.Lambda(lambda x: tf.split(x, 2, axis=2)[1], name="parts")
    # tf2onnx sorts with TopK, of which this reads the indices only
    order = layers.Lambda(lambda x: tf.cast(tf.argsort(x, axis=-1), tf.float32), name="order")
    to_onnx(sequential((None, 4), parts, order), tmp_path / "m.onnx", verify=False)
    nodes = {node.op_type: node for node in nodes_of(tmp_path / "m.onnx")}
    assert len(nodes["Split"].output) == 2 and all(nodes["Split"].output)
    assert len(nodes["TopK"].output) == 2 and all(nodes["TopK"].output)


def test_two_layers_of_nested_models_may_share_a_name(
    keras: Any, layers: Any, sequential: Any, shuffled: Any, tmp_path: Path
) -> None:
    stack = [layers.GRU(4, return_sequences=True, name="g"), layers.Dense(3, name="d")]
    inner = keras.Sequential([keras.Input((6, 3)), *stack], name="inner")
    outer = sequential((6, 3), inner, layers.GRU(4, name="g"), layers.Dense(3, name="d"))
    result = to_onnx(outer, tmp_path / "m.onnx")
    assert [pair.input for pair in result.spec.states] == ["g/initial_h", "g_1/initial_h"]


def test_one_step_at_a_time_equals_the_whole_sequence_in_onnx_runtime(
    layers: Any, sequential: Any, ort: Any, tmp_path: Path
) -> None:
    model = sequential((None, 3), layers.LSTM(6, return_sequences=True), layers.GRU(4, return_sequences=True))
    result = to_onnx(model, tmp_path / "m.onnx")
    run = ort(tmp_path / "m.onnx")
    x = np.random.default_rng(0).standard_normal((2, 7, 3)).astype(np.float32)
    units = {"lstm": 6, "gru": 4}
    carried = {pair.input: np.zeros((1, 2, units[pair.input.split("/")[0]]), np.float32) for pair in result.spec.states}
    steps = []
    for t in range(x.shape[1]):
        answer = run({"x": x[:, t : t + 1], **carried})
        carried = {pair.input: answer[pair.output] for pair in result.spec.states}
        steps.append(answer["y"])
    expected = np.asarray(model(x, training=False))
    np.testing.assert_allclose(np.concatenate(steps, axis=1), expected, rtol=0, atol=ROUNDING)


def test_form_sequence_leaves_the_states_out(layers: Any, sequential: Any, ends: Any, tmp_path: Path) -> None:
    model = sequential((None, 3), layers.LSTM(4), layers.Dense(1))
    result = to_onnx(model, tmp_path / "m.onnx", form="sequence")
    assert (result.form, result.spec.states, result.spec.mode) == ("sequence", (), None)
    assert [list(names) for names in ends(tmp_path / "m.onnx")] == [["x"], ["y"]]


@pytest.mark.parametrize("length", [None, 8])
def test_what_a_normalization_layer_has_learned_is_in_the_file(
    length: int | None, layers: Any, keras: Any, ends: Any, tmp_path: Path
) -> None:
    normalization = layers.Normalization(name="scaled")
    normalization.adapt(3.0 + 2.0 * np.random.default_rng(1).standard_normal((50, 3)))
    model = keras.Sequential([keras.Input((length, 3)), normalization, layers.GRU(4, name="gru")])
    assert to_onnx(model, tmp_path / "m.onnx").form == "stream"
    assert set(ends(tmp_path / "m.onnx")[0]) == {"x", "gru/initial_h"}


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool", "float64"])
@pytest.mark.parametrize("first", ["LSTM", "Dense"])
def test_inputs_that_are_not_float32_are_cast_as_keras_does(
    dtype: str, first: str, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    layer = layers.Dense(4) if first == "Dense" else layers.LSTM(4, return_sequences=True)
    exported = to_onnx(sequential((None, 3), layer, layers.GRU(2), dtype=dtype), tmp_path / "m.onnx")
    assert exported.nodes["Cast"] == 1
    assert exported.spec.goldens[0].inputs["x"].dtype == dtype


def test_gelu_becomes_erf(layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = (layers.GRU(4), layers.Dense(5, activation="gelu"), layers.Dense(2, activation="gelu"))
    exported = to_onnx(sequential((None, 3), *stack), tmp_path / "m.onnx")
    assert (exported.form, exported.nodes["Erf"]) == ("stream", 2)
