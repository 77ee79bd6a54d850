"""``demand``: a GRU or LSTM forecasts hourly electricity demand 24 hours ahead, its state carried over years.

What it predicts is the difference to the same hour yesterday. Errors are measured against the demand as it
came, the wrong hours of clock changes included; only what the network sees and learns from is repaired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeinfer.pipeline.series import SeriesFeatures

from . import datasets
from .errors import DataError
from .recipe import Options, Trained

HORIZON = 24
DAY, WEEK = 24, 168
UNITS = 64
CLEAN = {"season": DAY, "low": 0.6, "high": 1.6}

# Clock changes spoil some ten hours a year. A series of which CLEAN would replace more moves that far by itself.
_MOST_REPAIRED = 1 / 500

# float32 against float32 over 26,000 steps, in units of demand.
TOLERANCES = {"test_mae": 0.01}

_PARALLEL = 16
_CHUNK = WEEK // 2
# A state that begins at zero in the middle of the series knows nothing yet: these hours teach nothing.
_SETTLE = 48
_DROPOUT = 0.3
_RATE = 5e-3
_WEIGHT_DECAY = 1e-2
_EPOCHS, _QUICK_EPOCHS = 60, 16
_VALIDATE_EVERY = 4

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """The series as the network meets it; every array has one row for each row of the series."""

    features: SeriesFeatures
    x: npt.NDArray[np.float32]
    """[N - warmup, F]"""
    actual: Rows
    """Demand 1 to 24 hours later, as it came: [N, 24]; NaN beyond the end."""
    base: Rows
    """Repaired demand at the same hours of the day before: [N, 24]."""
    change: Rows
    """Repaired demand minus base: what is learned, in units of demand."""
    scale: float
    train_end: int
    validation_end: int

    def forecast(self, model: Any, rows: int) -> Rows:
        """Forecasts from the first ``rows`` rows, in one run from the start of the series: [rows, 24]."""
        outputs = model.predict(self.x[np.newaxis, : rows - self.features.warmup], verbose=0)[0]
        answer = np.full((rows, HORIZON), np.nan)
        answer[self.features.warmup :] = self.base[self.features.warmup : rows] + self.scale * outputs.astype(
            np.float64
        )
        return answer

    def validation_error(self, model: Any) -> float:
        """Mean absolute error over the validation part, whose targets end before the test part."""
        rows = slice(self.train_end, self.validation_end - HORIZON)
        return float(np.mean(np.abs(self.forecast(model, rows.stop)[rows] - self.actual[rows])))


def train(options: Options) -> Trained:
    """Train the GRU, the LSTM or both, and keep what validates best."""
    hours = datasets.electricity_demand(options.data)
    task = prepare(hours)
    cells = ("gru", "lstm") if options.cell in (None, "best") else (options.cell,)
    epochs = options.epochs or (_QUICK_EPOCHS if options.quick else _EPOCHS)
    validated, models = {}, {}
    for cell in cells:
        models[cell], validated[cell] = _fit(task, cell, epochs, options.seed)
    chosen = min(validated, key=lambda cell: validated[cell])
    errors = {cell: _errors(task.forecast(model, len(hours.values)), task) for cell, model in models.items()}
    yesterday, last_week = (_errors(_ago(hours.values, lag), task).mean for lag in (DAY, WEEK))
    return Trained(
        model=models[chosen],
        task="forecast",
        mode="stream",
        preprocessing={"series": task.features.to_dict()},
        postprocessing={
            "horizon": HORIZON,
            "recursive": False,
            "base": {"lag": DAY},
            "center": 0.0,
            "scale": task.scale,
        },
        scores={
            "cell": chosen,
            "test_mae": errors[chosen].mean,
            "same_hour_yesterday_mae": yesterday,
            "same_hour_last_week_mae": last_week,
            **_below(errors[chosen].mean, min(yesterday, last_week)),
            **{f"{cell}_validation_mae": error for cell, error in validated.items()},
            **{f"{cell}_test_mae": error.mean for cell, error in errors.items()},
            "test_mae_by_hour_ahead": [round(error, 3) for error in errors[chosen].by_hour],
            "epochs": epochs,
        },
        data=hours.source
        | {
            "split": {
                "train": task.train_end,
                "validation": task.validation_end - task.train_end,
                "test": len(hours.values) - task.validation_end,
            }
        },
    )


def score(app: Any, provenance: Mapping[str, Any], data: Path | None) -> Mapping[str, float]:
    """Mean absolute error over the last 20 %, from the raw series."""
    hours = datasets.electricity_demand(data)
    task = prepare(hours)
    forecasts = np.full(task.actual.shape, np.nan)
    answers = app.backtest(hours.values, hours.times)
    forecasts[len(forecasts) - len(answers) :] = answers
    return {"test_mae": _errors(forecasts, task).mean}


def prepare(hours: datasets.Hours) -> Task:
    """Features, targets and the chronological split of a series. Raises DataError, PipelineError."""
    count = len(hours.values)
    train_end, validation_end = int(count * 0.7), int(count * 0.8)
    needed = _PARALLEL * (_CHUNK + _SETTLE) + WEEK + HORIZON
    if train_end < needed:
        raise DataError(
            f"{hours.source['file']}: expected at least {-(-needed * 10 // 7)} hours, since 70 % of them are "
            f"for training, got {count}"
        )
    features = _features(hours.values[:train_end])
    x = features.transform(hours.values, hours.times)
    repaired = features.repaired(hours.values)
    base = _ago(repaired, DAY)
    change = _later(repaired) - base
    # Targets of the last training hours are not yet part of the training data.
    scale = float(np.std(change[features.warmup : train_end - HORIZON])) or 1.0
    return Task(features, x, _later(hours.values), base, change, scale, train_end, validation_end)


@dataclass(frozen=True)
class Errors:
    """Mean absolute errors over all forecasts of the test part whose target lies in the series."""

    mean: float
    by_hour: list[float]


def _errors(forecasts: Rows, task: Task) -> Errors:
    errors = np.abs(forecasts - task.actual)[task.validation_end :]
    return Errors(float(np.nanmean(errors)), [float(error) for error in np.nanmean(errors, axis=0)])


def _below(error: float, naive: float) -> dict[str, float]:
    """The score against a naive forecast; none where that one is perfect."""
    return {"below_the_better_naive": 1 - error / naive} if naive else {}


def _later(values: Rows) -> Rows:
    """The values 1 to 24 rows after each row: [N, 24], NaN beyond the end."""
    padded = np.concatenate([values[1:], np.full(HORIZON, np.nan)])
    return np.lib.stride_tricks.sliding_window_view(padded, HORIZON).copy()


def _ago(values: Rows, lag: int) -> Rows:
    """The values ``lag`` rows before the 1 to 24 rows after each row: [N, 24], NaN before the start."""
    shifted = _later(np.concatenate([np.full(lag, np.nan), values]))
    return shifted[: len(values)]


def _features(training: Rows) -> SeriesFeatures:
    """Levels and changes scaled by the training part, and the calendar of now and of the hours to come."""
    clean = _cleaning(training)
    listed: list[dict[str, Any]] = [
        _scaled({"kind": "value"}, training, clean),
        *(_scaled({"kind": "difference", "lag": lag}, training, clean) for lag in (1, DAY, WEEK)),
    ]
    calendar = [("hour", 24 / k, 0) for k in (1, 2)]
    calendar += [("weekday", 7 / k, ahead) for k in (1, 2, 3) for ahead in (0, HORIZON)]
    calendar += [("day_of_year", 366 / k, HORIZON // 2) for k in (1, 2)]
    for field, period, ahead in calendar:
        for encoding in ("sin", "cos"):
            wave = {
                "kind": "calendar",
                "field": field,
                "period": period,
                "encoding": encoding,
                "ahead": ahead,
            }
            listed.append(wave)
    return SeriesFeatures.from_dict({"step_seconds": 3600, "clean": clean, "features": listed})


def _cleaning(training: Rows) -> dict[str, Any] | None:
    """CLEAN where it finds single wrong hours; None for a series such as wind or solar power."""
    repaired = SeriesFeatures.from_dict({"clean": CLEAN, "features": [{"kind": "value"}]}).repaired(training)
    return CLEAN if float(np.mean(repaired != training)) <= _MOST_REPAIRED else None


def _scaled(feature: dict[str, Any], training: Rows, clean: dict[str, Any] | None) -> dict[str, Any]:
    raw = SeriesFeatures.from_dict({"clean": clean, "features": [feature]}).transform(training)
    return feature | {"center": float(raw.mean()), "scale": float(raw.std()) or 1.0}


def _layers(cell: str, stateful: bool) -> list[Any]:
    import keras

    recurrent = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[cell]
    return [
        recurrent(UNITS, return_sequences=True, stateful=stateful, name=cell),
        keras.layers.Dense(HORIZON, name="ahead"),
    ]


def _fit(task: Task, cell: str, epochs: int, seed: int) -> tuple[Any, float]:
    """The model with the weights that validated best, and its error there.

    The training part is walked in parallel segments of equal length, from another start in every epoch, by
    backpropagation through a chunk at a time; the state is carried from chunk to chunk.
    """
    import keras

    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    x = task.x[: task.train_end - HORIZON - task.features.warmup]
    y = (task.change[task.features.warmup : task.train_end - HORIZON] / task.scale).astype(np.float32)
    segment = len(x) // _PARALLEL
    chunks = segment // _CHUNK
    width = x.shape[1]

    recurrent, ahead = _layers(cell, stateful=True)
    walker = keras.Sequential(
        [
            keras.Input(batch_shape=(_PARALLEL, _CHUNK, width)),
            recurrent,
            keras.layers.Dropout(_DROPOUT, seed=seed),
            ahead,
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(_RATE, epochs * chunks)
    walker.compile(keras.optimizers.AdamW(schedule, weight_decay=_WEIGHT_DECAY, global_clipnorm=1.0), "mae")
    model = keras.Sequential([keras.Input((None, width), name="x"), *_layers(cell, stateful=False)], name="demand")

    best, weights = np.inf, model.get_weights()
    for epoch in range(1, epochs + 1):
        # A segment may run over the end of the training part into its beginning, one break in many hours.
        starts = random.integers(len(x)) + np.arange(_PARALLEL) * segment
        at = (starts[:, np.newaxis] + np.arange(chunks * _CHUNK)) % len(x)
        recurrent.reset_state()
        losses = []
        for chunk in range(chunks):
            now = at[:, chunk * _CHUNK : (chunk + 1) * _CHUNK]
            settled = np.ones(now.shape, dtype=np.float32)
            if chunk == 0:
                settled[:, :_SETTLE] = 0.0
            losses.append(walker.train_on_batch(x[now], y[now], sample_weight=settled))
            walker.reset_metrics()
        if epoch % _VALIDATE_EVERY and epoch != epochs:
            continue
        model.set_weights(walker.get_weights())
        error = task.validation_error(model)
        print(
            f"{cell} epoch {epoch}/{epochs}  loss {float(np.mean(losses)):.3f}  validation MAE {error:.2f}",
            flush=True,
        )
        if error < best:
            best, weights = error, model.get_weights()
    model.set_weights(weights)
    return model, float(best)
