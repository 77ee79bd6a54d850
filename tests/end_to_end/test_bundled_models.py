"""The four models that come with the package: what they answer, and that every way of asking gives the same bits."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import edgeinfer
from edgeinfer.graph.ops.recurrent import OPS as RECURRENT
from edgeinfer.pipeline import Classifier, Forecaster, Generator
from edgeinfer.spec import SPEC_KEY

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "edgeinfer" / "models"
NAMES = ("sum", "next_word", "sentiment", "demand")
WINDOWED = ("sum", "next_word", "sentiment")
MODELS_LIMIT_BYTES = 3_000_000
# What export promises, relative to max(1, |y|).
AGREEMENT = 1e-5
# Demand is in the thousands; float32 rounding of a forecast built step by step in float64 lies far below this.
FORECAST_TOLERANCE = 1e-3


def native(name: str, isa: str | None = None) -> edgeinfer.Model:
    model = edgeinfer.load(MODELS / f"{name}.onnx", backend="native", isa=isa)
    assert model.backend == "native"
    return model


def sample_rows() -> tuple[list[float], list[str]]:
    with (MODELS / "demand_sample.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [float(row["y"]) for row in rows], [row["ts"] for row in rows]


def random_input(model: edgeinfer.Model, steps: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    info = model.inputs[0]
    if info.dtype.kind == "i":
        assert model.spec is not None
        words = len(model.spec.preprocessing["text"]["vocabulary"])
        return rng.integers(0, words, steps).astype(info.dtype)
    return rng.normal(size=(steps, int(info.shape[-1] or 1))).astype(info.dtype)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_has_recurrent_nodes_and_no_loop(name: str) -> None:
    description = native(name).describe()
    operators = {node["op"] for node in description["nodes"]}
    assert operators & set(RECURRENT)
    assert not operators & {"Loop", "Scan", "If"}
    assert {node["runs"] for node in description["nodes"]} <= {"native", "native, as gate rows"}
    assert description["bit_stable"]


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_carries_its_scores_and_goldens(name: str) -> None:
    spec = native(name).spec
    assert spec is not None
    assert spec.provenance["scores"]
    assert spec.goldens


@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_of_a_bundled_model_follow_the_schema(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "docs" / "spec.schema.json").read_text("utf-8"))
    jsonschema.validate(json.loads(native(name).metadata[SPEC_KEY]), schema)


@pytest.mark.parametrize("backend", ["native", "reference", "onnxruntime"])
@pytest.mark.parametrize("name", NAMES)
def test_every_backend_gives_what_keras_gave(name: str, backend: str) -> None:
    model = edgeinfer.load(MODELS / f"{name}.onnx", backend=backend)  # type: ignore[arg-type]
    assert model.backend == backend
    assert model.spec is not None
    for golden in model.spec.goldens:
        for output, expected in golden.outputs.items():
            (got,) = model.run([output], golden.inputs)
            assert np.all(np.abs(got - expected) <= AGREEMENT * np.maximum(1, np.abs(expected))), golden.name


def test_the_bundled_models_together_stay_under_three_megabytes() -> None:
    assert sum((MODELS / f"{name}.onnx").stat().st_size for name in NAMES) <= MODELS_LIMIT_BYTES


def test_demand_step_by_step_equals_the_whole_sequence_bit_for_bit(isa: str) -> None:
    model = native("demand", isa)
    x = random_input(model, 200)
    stream = model.stream()
    steps = np.stack([stream.step(row) for row in x])
    np.testing.assert_array_equal(steps, model(x[None])[0])
    np.testing.assert_array_equal(steps, model.stream().run(x))


@pytest.mark.parametrize("name", WINDOWED)
def test_a_streamed_answer_equals_the_answer_of_the_whole_window_bit_for_bit(name: str, isa: str) -> None:
    model = native(name, isa)
    assert model.spec is not None
    assert model.spec.window is not None
    length = model.spec.window.length
    x = random_input(model, length + 5)
    stream = model.stream(scalar=False)
    padding = np.full((length, *x.shape[1:]), model.spec.window.pad_value, x.dtype)
    for count in range(1, len(x) + 1):
        y = stream.step(x[count - 1])
        window = np.concatenate([padding, x[:count]])[-length:]
        if count < length and model.spec.window.start == "wait":
            assert y is None
        else:
            np.testing.assert_array_equal(y, model(window[None])[0])


def test_sum_goes_on_with_eleven() -> None:
    app = edgeinfer.pipeline(native("sum"))
    assert isinstance(app, Forecaster)
    assert app([5, 6]).values == pytest.approx([11], abs=0.5)


def test_next_word_goes_on_as_the_corpus_does() -> None:
    app = edgeinfer.pipeline(native("next_word"))
    assert isinstance(app, Generator)
    assert {word for word, _ in app("I love", top=2).candidates} == {"machine", "deep"}


def test_sentiment_tells_the_sample_reviews_apart() -> None:
    app = edgeinfer.pipeline(native("sentiment"))
    assert isinstance(app, Classifier)
    reviews = (MODELS / "reviews.txt").read_text("utf-8").splitlines()
    assert [app(review).label for review in reviews] == ["positive", "negative"] * 3


def test_demand_beats_the_better_naive_by_what_it_promises() -> None:
    spec = native("demand").spec
    assert spec is not None
    scores = spec.provenance["scores"]
    better = min(scores["same_hour_yesterday_mae"], scores["same_hour_last_week_mae"])
    assert scores["test_mae"] <= 0.85 * better


def test_demand_from_raw_rows_is_the_same_at_once_in_a_backtest_and_row_by_row() -> None:
    app = edgeinfer.pipeline(native("demand"))
    assert isinstance(app, Forecaster)
    values, times = sample_rows()
    at_once = app(values, times)
    backtest = app.backtest(values, times)
    stream = app.stream()
    answers = [stream.step(value, time) for value, time in zip(values, times, strict=True)]
    assert [a is None for a in answers] == [i < app.warmup for i in range(len(values))]
    last = answers[-1]
    assert last is not None
    np.testing.assert_allclose(last.values, at_once.values, atol=FORECAST_TOLERANCE)
    np.testing.assert_allclose(last.values, backtest[-1], atol=FORECAST_TOLERANCE)
    assert last.times == at_once.times
