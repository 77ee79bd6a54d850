"""What a file says about itself: mode and window, the recipe's part, provenance, goldens."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeinfer_export import ExportError, to_onnx

from edgeinfer.spec import SPEC_KEY, Spec, Window

# Keras twice on the same input: the same code, eager both times.
SAME_CODE = 1e-7
GOLDEN_BYTES = 16 * 1024

RECIPE: dict[str, Any] = {
    "name": "words",
    "recipe": "next_word",
    "task": "next_token",
    "mode": "window",
    "window": {"length": 4, "start": "pad", "pad_value": 0, "pad_side": "left"},
    "preprocessing": {"text": {"case": "unicode", "vocabulary": ["", "<unk>", "a", "b", "c"], "oov": 1}},
    "postprocessing": {},
    "scores": {"accuracy": 0.75},
    "data": {"rows": 13},
    "versions": {"keras": "0.0", "numpy": "1.2.3"},
    "seed": 3,
    "sample_inputs": ["a b"],
}


def spec_of(path: Path) -> Spec:
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert list(entries) == [SPEC_KEY]
    return Spec.from_json(entries[SPEC_KEY])


@pytest.fixture
def tokens(layers: Any, sequential: Any) -> Any:
    stack = [layers.Embedding(5, 3), layers.GRU(4), layers.Dense(5, activation="softmax")]
    return sequential((None,), *stack, dtype="int32", name="tokens")


@pytest.fixture
def series(layers: Any, sequential: Any) -> Any:
    return sequential((None, 2), layers.LSTM(4, return_sequences=True), layers.Dense(1), name="series")


def test_the_recipes_part_is_taken_over_and_its_provenance_kept(tokens: Any, tmp_path: Path) -> None:
    result = to_onnx(tokens, tmp_path / "m.onnx", spec=RECIPE)
    spec = spec_of(tmp_path / "m.onnx")
    assert spec.to_json() == result.spec.to_json()
    assert (spec.name, spec.task, spec.mode) == ("words", "next_token", "window")
    assert spec.window == Window(4, "pad", 0, "left")
    assert spec.preprocessing == RECIPE["preprocessing"]
    assert [(pair.input, pair.output) for pair in spec.states] == [("gru/initial_h", "gru/final_h")]
    expected = {"recipe": "next_word", "scores": {"accuracy": 0.75}, "data": {"rows": 13}, "seed": 3}
    assert {key: spec.provenance[key] for key in expected} == expected
    assert set(spec.provenance) == {*expected, "versions"}


def test_the_versions_are_those_that_made_the_file(tokens: Any, tmp_path: Path) -> None:
    import keras
    import tensorflow

    to_onnx(tokens, tmp_path / "m.onnx", spec=RECIPE)
    found = spec_of(tmp_path / "m.onnx").provenance["versions"]
    assert set(found) == {"edgeinfer", "keras", "numpy", "onnx", "tensorflow", "tf2onnx"}
    assert (found["keras"], found["tensorflow"]) == (keras.__version__, tensorflow.__version__)
    assert found["tf2onnx"] == metadata.version("tf2onnx")
    assert found["numpy"] == "1.2.3"


def test_without_a_recipe_the_model_streams_and_has_no_task(series: Any, tmp_path: Path) -> None:
    to_onnx(series, tmp_path / "m.onnx")
    spec = spec_of(tmp_path / "m.onnx")
    assert (spec.name, spec.task, spec.mode, spec.window) == ("series", None, "stream", None)


def test_a_fixed_length_becomes_the_window_and_time_becomes_free(
    layers: Any, sequential: Any, ends: Any, tmp_path: Path
) -> None:
    to_onnx(sequential((6, 2), layers.GRU(3), layers.Dense(1)), tmp_path / "m.onnx")
    spec = spec_of(tmp_path / "m.onnx")
    assert (spec.mode, spec.window) == ("window", Window(6))
    assert ends(tmp_path / "m.onnx")[0]["x"] == ["batch", "time", 2]


def test_a_fixed_length_stays_where_a_layer_needs_it(layers: Any, sequential: Any, ends: Any, tmp_path: Path) -> None:
    stack = [layers.GRU(3, return_sequences=True), layers.Flatten(name="flat"), layers.Dense(1)]
    result = to_onnx(sequential((6, 2), *stack), tmp_path / "m.onnx")
    assert result.stops == 'layer "flat" (Flatten) does not work one time step at a time'
    assert result.spec.window == Window(6)
    assert ends(tmp_path / "m.onnx")[0] == {"x": ["batch", 6, 2]}


def test_what_the_caller_asks_comes_before_the_recipe(tokens: Any, tmp_path: Path) -> None:
    assert to_onnx(tokens, tmp_path / "m.onnx", spec=RECIPE, mode="stream").spec.mode == "stream"
    window = to_onnx(tokens, tmp_path / "m.onnx", spec=RECIPE, window=7).spec.window
    assert window == Window(7, "pad", 0, "left")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"window": {"length": 0}}, "window.length: expected an integer of at least 1"),
        ({"task": "guess"}, "task: expected one of forecast, classify, next_token, got 'guess'"),
        ({"window": None}, r"window: expected an object with a length"),
    ],
)
def test_a_recipe_that_is_not_as_the_schema_says_is_refused(
    change: dict[str, Any], text: str, tokens: Any, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=text):
        to_onnx(tokens, tmp_path / "m.onnx", spec={**RECIPE, **change})


def test_a_spec_file_that_is_not_json_is_named(tokens: Any, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    with pytest.raises(ExportError, match=r"recipe.json: no such file"):
        to_onnx(tokens, tmp_path / "m.onnx", spec=path)
    path.write_text("{")
    with pytest.raises(ExportError, match=r"recipe.json: expected the JSON that a recipe writes"):
        to_onnx(tokens, tmp_path / "m.onnx", spec=path)
    path.write_text("[]")
    with pytest.raises(ExportError, match=r"recipe.json: expected a JSON object, got list"):
        to_onnx(tokens, tmp_path / "m.onnx", spec=path)


def test_mode_window_needs_a_length(series: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"mode window needs the window's length \(--window N\)"):
        to_onnx(series, tmp_path / "m.onnx", mode="window")


def test_a_window_other_than_the_fixed_length_is_refused(layers: Any, sequential: Any, tmp_path: Path) -> None:
    model = sequential((6, 2), layers.GRU(3, return_sequences=True), layers.Flatten())
    with pytest.raises(ExportError, match="window 4 is not possible: the model takes exactly 6 steps, since layer"):
        to_onnx(model, tmp_path / "m.onnx", window=4)


def test_goldens_are_what_keras_gives(series: Any, tmp_path: Path) -> None:
    to_onnx(series, tmp_path / "m.onnx")
    goldens = spec_of(tmp_path / "m.onnx").goldens
    shapes = [golden.inputs["x"].shape for golden in goldens]
    assert len({shape[0] for shape in shapes}) == 2 and len({shape[1] for shape in shapes}) == 2
    for golden in goldens:
        assert set(golden.inputs) == {"x"} and set(golden.outputs) == {"y"}
        expected = np.asarray(series(golden.inputs["x"], training=False))
        np.testing.assert_allclose(golden.outputs["y"], expected, rtol=0, atol=SAME_CODE)


def test_goldens_of_token_models_hold_padding_and_the_windows_length(tokens: Any, tmp_path: Path) -> None:
    to_onnx(tokens, tmp_path / "m.onnx", spec=RECIPE)
    goldens = {golden.name: golden for golden in spec_of(tmp_path / "m.onnx").goldens}
    assert set(goldens) == {"random", "batch", "mostly_padding", "only_padding"}
    assert goldens["random"].inputs["x"].shape == (1, 4)
    assert goldens["random"].inputs["x"].dtype == np.int32
    mostly = goldens["mostly_padding"].inputs["x"]
    assert not mostly[:, :3].any()
    np.testing.assert_array_equal(mostly[:, 3:], goldens["random"].inputs["x"][:, 3:])
    assert not goldens["only_padding"].inputs["x"].any()


def test_goldens_stay_small(layers: Any, sequential: Any, tmp_path: Path) -> None:
    model = sequential((None, 64), layers.GRU(4, return_sequences=True), layers.Dense(200))
    to_onnx(model, tmp_path / "m.onnx")
    spec = spec_of(tmp_path / "m.onnx")
    assert len(json.dumps(spec.to_dict()["goldens"])) < GOLDEN_BYTES
