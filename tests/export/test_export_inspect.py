"""``inspect`` tells what becomes of each layer and all that is refused, and agrees with what export then does."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeinfer_export import ExportError, command, to_onnx
from edgeinfer_export.inspect import inspect_model
from edgeinfer_export.plan import Wanted

Build = Callable[[Any, Any], Any]


def own_model(keras: Any, layers: Any, fails: bool = False) -> Any:
    class Own(keras.Model):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__(name="own")
            self.memory = layers.LSTM(4, return_sequences=True, name="memory")
            self.head = layers.Dense(2, name="head")

        def call(self, x: Any) -> Any:
            y = self.head(self.memory(x))
            return keras.ops.max(y, axis=1) if fails else y

    model = Own()
    model(np.zeros((2, 7, 3), np.float32))
    return model


def stack(*shape: int | None, **options: Any) -> Callable[[Any, list[Any]], Any]:
    return lambda keras, parts: keras.Sequential([keras.Input(shape, **options), *parts])


def attention(keras: Any, layers: Any) -> Any:
    x = keras.Input((None, 4))
    h = layers.GRU(4, return_sequences=True, name="memory")(x)
    return keras.Model(x, layers.Dense(1, name="head")(layers.Attention(name="look")([h, h])))


def operations(keras: Any, layers: Any) -> Any:
    x = keras.Input((None, 3), name="x")
    h = layers.GRU(3, return_sequences=True, name="memory")(x)
    return keras.Model(x, layers.Dense(1, name="head")(keras.ops.maximum(h, x)[:, -1]))


def running(keras: Any, layers: Any) -> Any:
    import tensorflow as tf

    class Gamma(layers.Layer):  # type: ignore[name-defined, misc]
        def call(self, x: Any) -> Any:
            return tf.math.lgamma(x)

    return stack(None, 3)(keras, [Gamma(name="one"), layers.GRU(3), Gamma(name="two")])


AGREE: dict[str, Build] = {
    "stream": lambda k, of: stack(None, 3)(k, [of.LSTM(4), of.Dense(1)]),
    "window": lambda k, of: stack(9, 3)(k, [of.BatchNormalization(), of.GRU(4), of.Dropout(0.1), of.Dense(1)]),
    "tokens": lambda k, of: stack(None, dtype="int32")(k, [of.Embedding(9, 4), of.LSTM(4, return_sequences=True)]),
    "convolution": lambda k, of: stack(12, 3)(k, [of.Conv1D(4, 3, padding="causal"), of.LSTM(4), of.Dense(1)]),
    "convolution over any length": lambda k, of: stack(None, 3)(k, [of.Conv1D(4, 9, strides=2), of.LSTM(4)]),
    "masked": lambda k, of: stack(None, dtype="int32")(k, [of.Embedding(9, 4, mask_zero=True), of.LSTM(4)]),
    "operations": operations,
    "bidirectional": lambda k, of: stack(None, 3)(k, [of.Bidirectional(of.GRU(4)), of.Dense(1)]),
    "attention": attention,
    "subclassed": own_model,
    "subclassed, over time": lambda k, of: own_model(k, of, fails=True),
    "bad activation": lambda k, of: stack(None, 3)(k, [of.GRU(3, activation="selu"), of.Dense(1)]),
    "no operator": running,
    "stateful, backwards": lambda k, of: k.Sequential(
        [k.Input(batch_shape=(2, 4, 3)), of.Bidirectional(of.GRU(3, stateful=True))]
    ),
}


@pytest.mark.parametrize("case", AGREE)
def test_inspect_and_export_agree(case: str, keras: Any, layers: Any, tmp_path: Path) -> None:
    model = AGREE[case](keras, layers)
    found = inspect_model(model, Wanted())
    try:
        exported = to_onnx(model, tmp_path / "m.onnx")
    except ExportError as error:
        assert str(found.refusals[0]) == str(error)
        assert len(found.refusals) == 1 + len(error.others)
        return
    assert not found.refusals
    window = exported.spec.window.length if exported.spec.window else None
    assert (found.form, found.mode, found.window) == (exported.form, exported.spec.mode, window)
    assert (found.stops, found.states) == (exported.stops, tuple(pair.input for pair in exported.spec.states))
    nodes = [node.name for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert sorted(name for row in found.rows for name in row.nodes) == sorted(nodes)
    assert found.parameters == model.count_params()


def test_each_layer_has_what_it_becomes_its_size_and_its_cost(keras: Any, layers: Any) -> None:
    parts = [
        layers.LSTM(64, return_sequences=True, name="memory"),
        layers.Dropout(0.1, name="drop"),
        layers.Bidirectional(layers.GRU(4), name="both"),
        layers.Dense(1, activation="tanh", name="head"),
    ]
    found = inspect_model(stack(10, 3)(keras, parts), Wanted())
    assert [(row.name, row.becomes, row.streams) for row in found.rows] == [
        ("memory", "LSTM memory", True),
        ("drop", "nothing at inference", True),
        ("both", "GRU both, with Reshape", False),
        ("head", "MatMul + Add + Tanh", True),
    ]
    # 10 steps; 4 gates of 64 over 3 + 64, twice 3 gates of 4 over 64 + 4, one row of 8.
    assert [row.macs for row in found.rows] == [10 * 256 * 67, 0, 10 * 2 * 12 * 68, 8]
    assert [row.parameters for row in found.rows] == [256 * 68, 0, 2 * 12 * (64 + 4 + 2), 9]
    assert (found.steps, found.macs) == (10, sum(row.macs or 0 for row in found.rows))


def test_the_nodes_of_a_mask_are_counted_not_listed(keras: Any, layers: Any) -> None:
    parts = [layers.Masking(name="keep"), layers.Bidirectional(layers.GRU(4, return_sequences=True), name="both")]
    parts += [layers.LSTM(3, name="last")]
    rows = {row.name: row for row in inspect_model(stack(None, 3)(keras, parts), Wanted()).rows}
    for name, operator in (("both", "GRU both"), ("last", "LSTM last")):
        around = sum("Transpose" not in node and "Squeeze" not in node for node in rows[name].nodes) - 1
        assert rows[name].becomes == f"{operator}, with {around} nodes for its mask"


def test_layers_inside_models_and_other_layers_are_indented(keras: Any, layers: Any) -> None:
    inner = stack(None, 2)(keras, [layers.Dense(5, activation="relu", name="lift"), layers.GRU(3, name="memory")])
    a, b = keras.Input((None, 2), name="a"), keras.Input((None, 2), name="b")
    found = inspect_model(keras.Model([a, b], layers.Concatenate(name="both")([inner(a), inner(b)])), Wanted())
    rows = {row.name: row for row in found.rows}
    assert (rows["lift"].depth, rows["memory"].depth, rows["both"].depth) == (1, 1, 0)
    assert set(rows["memory"].becomes.split(", ")) == {"GRU memory/call_0", "GRU memory/call_1"}
    assert found.states == ("memory/call_0/initial_h", "memory/call_1/initial_h")
    own = {row.name: row for row in inspect_model(own_model(keras, layers), Wanted()).rows}
    assert (own["own"].depth, own["memory"].depth) == (0, 1)
    assert own["memory"].shape == "[-, -, 4]"


def test_all_refusals_are_told_at_once_on_their_layers(
    keras: Any, layers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [
        layers.GRU(3, activation="selu", return_sequences=True, name="one"),
        layers.Bidirectional(layers.LSTM(3, recurrent_activation="softmax", name="inner"), name="two"),
        layers.Dense(1, name="head"),
    ]
    model = stack(None, 3)(keras, parts)
    model.layers[-1].bias.assign([np.nan])
    save(model, tmp_path / "m.keras")
    assert run("inspect", tmp_path / "m.keras") == 3
    out = capsys.readouterr().out
    assert "refused, for " in out and 'layer "one": activation "selu" has no ONNX recurrent form' in out
    assert 'recurrent_activation "softmax" has no ONNX recurrent form' in out
    assert 'layer "head": its weight "bias" holds NaN or infinity' in out
    assert run("inspect", tmp_path / "m.keras", "--json") == 3
    report = json.loads(capsys.readouterr().out)
    assert {"one", "head"} < {refusal["layer"] for refusal in report["refusals"]}
    assert [bool(row["refused"]) for row in report["layers"]] == [True, True, True]
    assert report["form"] is None and report["refusals"][0]["argument"] == "activation"


def test_a_text_layer_becomes_preprocessing(keras: Any, layers: Any) -> None:
    words = layers.TextVectorization(output_sequence_length=5, name="words")
    words.set_vocabulary(["good", "bad"])
    x = keras.Input((), dtype="string", name="text")
    y = layers.Dense(1, name="head")(layers.LSTM(3, name="memory")(layers.Embedding(4, 2, name="table")(words(x))))
    found = inspect_model(keras.Model(x, y), Wanted())
    assert (found.rows[0].name, found.rows[0].becomes) == ("words", "preprocessing in the metadata")
    assert (found.form, found.mode, found.window) == ("stream", "window", 5)
    assert [row.becomes for row in found.rows if row.name in ("table", "memory")] == ["Gather", "LSTM memory"]


def test_operations_without_onnx_form_are_all_told(keras: Any, layers: Any) -> None:
    found = inspect_model(running(keras, layers), Wanted())
    assert {error.layer for error in found.refusals} == {"one", "two"}
    assert all("operation Lgamma has no ONNX form" in str(error) for error in found.refusals)
    assert [row.becomes for row in found.rows] == ["", "GRU gru", ""]


def test_for_people_it_ends_with_a_verdict(
    keras: Any, layers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(stack(24, 3)(keras, [layers.LSTM(8, name="memory"), layers.Dense(1, name="head")]), tmp_path / "m.keras")
    assert run("inspect", tmp_path / "m.keras") == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].split() == ["layer", "output", "becomes", "streams", "parameters", "MACs"]
    assert lines[1].split() == ["memory", "(LSTM)", "[-,", "8]", "LSTM", "memory", "yes", "384", "352"]
    assert lines[-3:] == [
        "393 parameters, 360 multiply-accumulates for a step",
        "stream form, mode window of 24, recomputed at every step",
        "states: memory/initial_h, memory/initial_c",
    ]
    assert run("inspect", tmp_path / "m.keras", "--form", "sequence") == 0
    assert capsys.readouterr().out.endswith(
        "multiply-accumulates for 24 steps\nsequence form, mode window of 24, recomputed at every step\n"
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "m.keras"]


def test_a_file_that_is_no_model_and_wrong_usage_have_their_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("inspect", tmp_path / "none.keras") == 3
    assert "none.keras: no such file" in capsys.readouterr().err
    assert run("inspect") == run("inspect", "m.keras", "--window", "0") == 2


def save(model: Any, path: Path) -> None:
    with warnings.catch_warnings():
        # Keras hands its variables to h5py, which asks NumPy for a copy in the old way.
        warnings.simplefilter("ignore", DeprecationWarning)
        model.save(path)


def run(*arguments: str | Path) -> int:
    return command.main([str(argument) for argument in arguments])
