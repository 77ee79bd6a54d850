"""``edgeinfer demo``: the bundled models on bundled inputs."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import EdgeInferError
from ..model import BackendName, Model, load
from ..pipeline import Classifier, Forecast, Forecaster, Generator
from .answers import (
    Asked,
    backend_of,
    classification_json,
    classification_table,
    forecast_json,
    name_of,
    next_token_json,
    next_token_table,
    show_time,
)
from .common import add_backend, add_parser
from .csv_series import CsvSeries, read_csv_series
from .output import decimals, marks, plural, say, say_json, table
from .samples import random_steps
from .timing import Timing, measure, show_ns

MODELS = ("sum", "next_word", "sentiment", "demand")
SUM_VALUES = (5.0, 6.0)
NEXT_WORD_TEXT = "I love"
_TOP = 3
_HELD_BACK = 24
_SECONDS = 0.2
_TEXT = """
example:
  edgeinfer demo

Runs four models that come with edgeinfer: the next number of a series, the
next word of a sentence, the label of a review, and 24 hours of electricity
demand beside what really came; then shows how long a step takes.
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "demo", "run the bundled models on bundled inputs", _TEXT)
    add_backend(parser)
    parser.set_defaults(function=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    models = {name: _load(name, args.backend) for name in MODELS}
    adder = Forecaster(models["sum"])
    summed = adder(SUM_VALUES)
    writer = Generator(models["next_word"])
    words = writer(NEXT_WORD_TEXT, _TOP)
    critic = Classifier(models["sentiment"])
    reviews = [Asked(text, line) for line, text in enumerate(_reviews(), 1)]
    opinions = [critic(review.text) for review in reviews]
    demand = Forecaster(models["demand"])
    series = _series()
    past, came = series.values[:-_HELD_BACK], series.values[-_HELD_BACK:]
    forecast = demand(past, None if series.times is None else series.times[:-_HELD_BACK], _HELD_BACK)
    timings = {name: _time(model) for name, model in models.items()}
    if args.json:
        say_json(
            {
                "backend": models["demand"].backend,
                "isa": models["demand"].isa,
                "sum": {"values": SUM_VALUES, "forecast": forecast_json(summed)},
                "next_word": {"text": NEXT_WORD_TEXT, **next_token_json(words)},
                "sentiment": [
                    {"text": review.text, **classification_json(opinion)}
                    for review, opinion in zip(reviews, opinions, strict=True)
                ],
                "demand": {
                    **forecast_json(forecast),
                    "actual": came,
                    "mean_absolute_error": _mae(forecast.values, came),
                    "mean_absolute_error_same_hour_yesterday": _mae(past[-_HELD_BACK:], came),
                },
                "step": {name: asdict(timing) for name, timing in timings.items()},
            }
        )
        return 0
    say(f"Four models on {backend_of(models['demand'])}.")
    say()
    shown = ", ".join(f"{value:g}" for value in SUM_VALUES)
    say(f"== sum: which number follows {shown}?")
    say()
    say(f"{shown} -> {summed.values[0]:.3f}")
    say()
    say("== next_word: which word comes next?")
    say()
    say(next_token_table([Asked(NEXT_WORD_TEXT)], [words]))
    say()
    say("== sentiment: did they like it?")
    say()
    say(classification_table(reviews, opinions))
    say()
    say("== demand: the next 24 hours of electricity, from hours that came before")
    say()
    say(_demand_table(forecast, came))
    error, naive = _mae(forecast.values, came), _mae(past[-_HELD_BACK:], came)
    say()
    say(
        f"{plural(past.size, 'hour')} read. Mean absolute error {error:.1f}, {error / came.mean():.1%} of the mean; "
        f"the same hour yesterday: {naive:.1f}"
    )
    _say_scores(demand)
    say()
    say("== time per step")
    say()
    say(_timing_table(models, timings))
    return 0


def _load(name: str, backend: BackendName) -> Model:
    return load(_read(f"{name}.onnx"), backend=backend)


def _read(name: str) -> bytes:
    file = resources.files("edgeinfer.models") / name
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise EdgeInferError(f"{name} is not bundled with this installation") from None


def _reviews() -> list[str]:
    lines = _read("reviews.txt").decode("utf-8").splitlines()
    return [line for line in lines if line.strip()]


def _series() -> CsvSeries:
    name = "demand_sample.csv"
    _read(name)
    with resources.as_file(resources.files("edgeinfer.models") / name) as path:
        return read_csv_series(str(path), "y", "ts")


def _demand_table(forecast: Forecast, came: npt.NDArray[np.float64]) -> str:
    places = decimals(came)
    both = np.concatenate([forecast.values, came])
    low, high = np.min(both), np.max(both)
    rows = []
    for hour, (value, actual) in enumerate(zip(forecast.values, came, strict=True)):
        when = str(hour + 1) if forecast.times is None else show_time(forecast.times[hour])
        numbers = [f"{number:,.{places}f}" for number in (value, actual)]
        rows.append((when, *numbers, f"{value - actual:+,.{places}f}", marks(value, actual, low, high)))
    headers = ("hour", "forecast", "actual", "error", "o forecast   x actual   * both")
    return table(headers, rows, left=(0, 4))


def _say_scores(demand: Forecaster) -> None:
    """What one day cannot tell: the scores over the test data, from the file's metadata."""
    assert demand.model.spec is not None
    scores = demand.model.spec.provenance.get("scores") or {}
    error, naive = scores.get("test_mae"), scores.get("same_hour_yesterday_mae")
    if isinstance(error, float) and isinstance(naive, float):
        say(f"Over all of its test data: {error:.1f}; the same hour yesterday: {naive:.1f}")


def _timing_table(models: dict[str, Model], timings: dict[str, Timing]) -> str:
    rows = []
    for name, model in models.items():
        about: dict[str, Any] = model.describe()
        window = about.get("window") or {}
        does = "carries its state" if about["mode"] == "stream" else f"recomputes {window['length']} inputs"
        timing = timings[name]
        rows.append((name_of(model), does, show_ns(timing.p50_ns), f"{timing.steps_per_second:,.0f}"))
    return table(("model", "a step", "p50", "steps/s"), rows, left=(0, 1))


def _time(model: Model) -> Timing:
    return measure([model.stream().step], random_steps(model, 64), _SECONDS)[0].timing()


def _mae(values: npt.NDArray[np.float64], came: npt.NDArray[np.float64]) -> float:
    return float(np.mean(np.abs(values - came)))
