"""Forecasts from models with known weights."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from models import demand_model, next_word_model, sum_model

import edgeinfer
from edgeinfer.errors import PipelineError, StreamError
from edgeinfer.pipeline import Forecaster, pipeline
from edgeinfer.pipeline.forecaster import MAX_HORIZON

# Another order of summation in float32, times a scale of 10 on values around 100.
SUM_TOLERANCE = 1e-5
START = datetime(2024, 3, 1, 7)


def forecaster(data: bytes) -> Forecaster:
    app = pipeline(data, backend="reference")
    assert isinstance(app, Forecaster)
    return app


def hours(count: int) -> list[datetime]:
    return [START + timedelta(hours=i) for i in range(count)]


def series(count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return 100 + 15 * np.sin(np.arange(count) / 3) + rng.normal(0, 4, count)


def test_the_next_value_is_what_the_model_says() -> None:
    forecast = forecaster(sum_model())([5, 6])
    assert forecast.values.tolist() == [11.0]
    assert forecast.values.dtype == np.float64
    assert forecast.times is None


def test_a_recursive_model_feeds_its_forecasts_back() -> None:
    assert forecaster(sum_model())([1, 5, 6], horizon=5).values.tolist() == [11, 17, 28, 45, 73]


def test_a_forecast_that_outgrows_float32_is_not_fed_back() -> None:
    app = forecaster(sum_model())
    # 2e38 and 3e38 make 5e38, more than float32 holds
    assert app([2e38, 3e38]).values.tolist() == [np.inf]
    with pytest.raises(PipelineError, match=r"horizon: step 1 of 4 is beyond the range of float32") as caught:
        app([2e38, 3e38], horizon=4)
    assert (caught.value.stage, caught.value.field) == ("forecast", "horizon")


def test_a_horizon_without_end_is_refused() -> None:
    with pytest.raises(PipelineError, match=f"horizon: expected at most {MAX_HORIZON} steps, got {MAX_HORIZON + 1}"):
        forecaster(sum_model())([0, 0], horizon=MAX_HORIZON + 1)


def test_a_longer_horizon_is_refused_with_both_numbers() -> None:
    app = forecaster(demand_model())
    with pytest.raises(PipelineError, match=r"horizon: expected at most 3.*got 24.*recursive") as caught:
        app(series(20), hours(20), horizon=24)
    assert (caught.value.stage, caught.value.field) == ("forecast", "horizon")


def test_a_shorter_horizon_is_the_beginning_of_the_whole() -> None:
    app = forecaster(demand_model())
    whole, short = app(series(20), hours(20)), app(series(20), hours(20), horizon=2)
    assert np.array_equal(short.values, whole.values[:2])
    assert whole.times is not None and short.times == whole.times[:2]


@pytest.mark.parametrize("horizon", [0, -1, 2.5, True])
def test_a_horizon_that_is_no_positive_integer_is_refused(horizon: Any) -> None:
    with pytest.raises(PipelineError, match="horizon: expected an integer of at least 1"):
        forecaster(sum_model())([5, 6], horizon=horizon)


def test_forecast_times_follow_the_last_time() -> None:
    forecast = forecaster(demand_model())(series(20), hours(20))
    assert forecast.times == tuple(START + timedelta(hours=20 + h) for h in range(3))


def test_a_forecast_stands_on_the_values_one_base_lag_earlier() -> None:
    app = forecaster(demand_model())
    values = series(20)
    features = app.features.transform(values, hours(20))
    outputs = np.asarray(app.model(features[None]))[0, -1]
    expected = values[-4:-1] + 0.5 + 10.0 * outputs.astype(np.float64)
    np.testing.assert_allclose(app(values, hours(20)).values, expected, rtol=0, atol=SUM_TOLERANCE)


@pytest.mark.parametrize("data", [sum_model(), demand_model()], ids=["window", "stream"])
def test_backtest_stream_and_call_give_the_same_bits(data: bytes) -> None:
    app = forecaster(data)
    values, times = series(30), hours(30)
    tested = app.backtest(values, times)
    assert tested.shape == (30 - app.warmup, app.horizon)
    stream = app.stream()
    for row in range(30):
        answer = stream.step(values[row], times[row])
        if row < app.warmup:
            assert answer is None
            continue
        assert answer is not None
        assert np.array_equal(answer.values, tested[row - app.warmup])
        called = app(values[: row + 1], times[: row + 1])
        assert np.array_equal(called.values, answer.values)
        assert called.times == answer.times


def test_cleaning_reaches_the_base_of_the_forecast() -> None:
    clean = {"season": 4, "low": 0.5, "high": 1.8}
    spec = {"step_seconds": 3600, "clean": clean, "features": [{"kind": "value", "lag": k} for k in range(3)]}
    app = forecaster(demand_model(preprocessing={"series": spec}))
    values = series(30)
    values[28] = 1.0
    tested = app.backtest(values)
    assert np.array_equal(app(values).values, tested[-1])
    stream = app.stream()
    answers = [stream.step(value) for value in values]
    assert answers[-1] is not None and np.array_equal(answers[-1].values, tested[-1])
    assert abs(app(values).values[1] - 100) < 80


def test_a_recursive_stream_model_continues_its_own_state() -> None:
    rule = {"horizon": 3, "recursive": True, "base": {"lag": 4}, "scale": 10.0}
    app = forecaster(demand_model(postprocessing=rule))
    values, times = list(series(20)), hours(20)
    first = app(values, times)
    longer = app(values, times, horizon=8)
    assert np.array_equal(longer.values[:3], first.values)
    by_hand = app([*values, *first.values], hours(23))
    assert np.array_equal(longer.values[3:6], by_hand.values)
    assert longer.times is not None and longer.times[-1] == START + timedelta(hours=27)
    stream = app.stream()
    for value, time in zip(values, times, strict=True):
        answer = stream.step(value, time, horizon=8)
    assert answer is not None and np.array_equal(answer.values, longer.values)
    after = stream.step(99.0, START + timedelta(hours=20))
    fresh = app([*values, 99.0], hours(21))
    assert after is not None and np.array_equal(after.values, fresh.values)


def test_a_series_that_is_too_short_says_how_long_it_must_be() -> None:
    with pytest.raises(PipelineError, match="series too short: expected at least 2 rows, got 1"):
        forecaster(sum_model())([5])
    with pytest.raises(PipelineError, match="expected at least 4 rows, got 3"):
        forecaster(demand_model()).backtest(series(3), hours(3))


def test_an_empty_series_is_refused() -> None:
    with pytest.raises(PipelineError, match="empty"):
        forecaster(sum_model())([])


def test_missing_times_are_named() -> None:
    with pytest.raises(PipelineError, match="the model reads the calendar"):
        forecaster(demand_model())(series(20))


def test_a_snapshot_continues_with_the_same_bits() -> None:
    app = forecaster(demand_model())
    values, times = series(20), hours(20)
    one, other = app.stream(), app.stream()
    for row in range(12):
        one.step(values[row], times[row])
    other.restore(one.snapshot())
    assert other.forecast() is None
    for row in range(12, 20):
        a, b = one.step(values[row], times[row]), other.step(values[row], times[row])
        assert a is not None and b is not None
        assert np.array_equal(a.values, b.values)
        assert a.times == b.times


def test_a_snapshot_of_another_model_is_refused_and_changes_nothing() -> None:
    app = forecaster(sum_model())
    stream = app.stream()
    stream.step(5)
    foreign = forecaster(sum_model(name="other")).stream().snapshot()
    with pytest.raises(StreamError, match="another model"):
        stream.restore(foreign)
    with pytest.raises(StreamError, match="corrupt"):
        stream.restore(stream.snapshot()[:-1] + b"\0")
    answer = stream.step(6)
    assert answer is not None and answer.values.tolist() == [11.0]


def test_a_refused_value_leaves_no_trace() -> None:
    app = forecaster(demand_model())
    values, times = series(20), hours(20)
    stream = app.stream()
    for row in range(19):
        stream.step(values[row], times[row])
    before = stream.snapshot()
    with pytest.raises(PipelineError, match="NaN"):
        stream.step(float("nan"), times[19])
    with pytest.raises(PipelineError, match="expected a time 3600 s after"):
        stream.step(values[19], times[19] + timedelta(hours=1))
    assert stream.snapshot() == before
    answer = stream.step(values[19], times[19])
    assert answer is not None and np.array_equal(answer.values, app(values, times).values)


def test_reset_begins_a_new_series() -> None:
    stream = forecaster(sum_model()).stream()
    stream.step(1)
    stream.step(2)
    stream.reset()
    assert stream.count == 0
    assert stream.step(5) is None
    answer = stream.step(6)
    assert answer is not None and answer.values.tolist() == [11.0]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "horizon: expected an integer of at least 1, got None"),
        ({"horizon": 2}, r"y: expected a last axis of 2, one for each step of the horizon"),
        ({"horizon": 3, "recursive": 1}, "recursive: expected true or false, got 1"),
        ({"horizon": 3, "base": 24}, "base: expected null or"),
        ({"horizon": 3, "base": {"lag": 2}}, "base.lag: expected at least 3, the horizon, got 2"),
        ({"horizon": 3, "scale": None}, "scale: expected a finite number, got None"),
        ({"horizon": 3, "center": "0"}, "center: expected a finite number, got '0'"),
        ({"horizon": 3, "log": True}, "unknown field 'log'; known: horizon, recursive"),
    ],
)
def test_postprocessing_that_is_wrong_is_refused_by_field(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError, match=message) as caught:
        pipeline(demand_model(postprocessing=rule), backend="reference")
    assert caught.value.stage == "forecast"


def test_features_that_do_not_fit_the_input_are_refused() -> None:
    spec = {"series": {"features": [{"kind": "value"}]}}
    with pytest.raises(PipelineError, match=r"x: expected a last axis of 1, one for each feature"):
        pipeline(demand_model(preprocessing=spec), backend="reference")


def test_a_forecast_without_a_series_is_refused() -> None:
    with pytest.raises(PipelineError, match=r"preprocessing.series: expected an object"):
        pipeline(demand_model(preprocessing={}), backend="reference")


def test_a_model_without_a_task_has_no_pipeline() -> None:
    with pytest.raises(PipelineError, match=r"names a task \(forecast, classify, next_token\), found none"):
        pipeline(sum_model(task=None), backend="reference")
    with pytest.raises(PipelineError, match=r"edgeinfer.load\(\)"):
        pipeline(sum_model(spec=None), backend="reference")


def test_a_loaded_model_keeps_its_backend() -> None:
    model = edgeinfer.load(next_word_model(), backend="reference")
    assert pipeline(model).model is model
