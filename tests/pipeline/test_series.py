from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinfer.errors import PipelineError
from edgeinfer.pipeline.series import SeriesFeatures
from edgeinfer.pipeline.series_spec import Clean

START = datetime(2023, 12, 30, 22)
CLEAN = {"season": 24, "low": 0.6, "high": 1.6}
VALUE = {"kind": "value"}
HOUR = {"kind": "calendar", "field": "hour", "period": 24, "encoding": "sin"}
MIXED = {
    "step_seconds": 3600,
    "clean": CLEAN,
    "features": [
        {"kind": "value", "lag": 0, "center": 100.0, "scale": 7.0},
        HOUR | {"ahead": 24},
        {"kind": "difference", "lag": 24, "center": 1.0, "scale": 3.0},
        {"kind": "difference", "lag": 24, "ago": 6},
        {"kind": "calendar", "field": "weekday", "period": 3.5, "encoding": "cos", "ahead": 1},
        {"kind": "value", "lag": 2},
    ],
}


def features(*listed: dict[str, Any], **rest: Any) -> SeriesFeatures:
    return SeriesFeatures.from_dict({"features": list(listed), **rest})


def hours(count: int) -> list[datetime]:
    return [START + timedelta(hours=i) for i in range(count)]


def daily(count: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 2, count)
    return 100 + 30 * np.sin(2 * np.pi * np.arange(count) / 24) + noise


def test_complex_values_are_refused_instead_of_cut() -> None:
    features = SeriesFeatures.from_dict({"features": [{"kind": "value"}]})
    with pytest.raises(PipelineError, match="values: expected numbers: they are complex"):
        features.transform(np.array([1 + 2j, 3]))


def test_a_value_feature_is_lagged_and_scaled() -> None:
    rows = features({"kind": "value", "lag": 1, "center": 10.0, "scale": 2.0}).transform([10, 12, 16])
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0.0], [1.0]]


def test_a_difference_feature_subtracts_an_earlier_value() -> None:
    series = features({"kind": "difference", "lag": 2, "center": 1.0, "scale": 2.0})
    assert series.warmup == 2
    assert series.transform([1, 2, 4, 8]).tolist() == [[1.0], [2.5]]


def test_a_difference_can_end_some_rows_ago() -> None:
    series = features({"kind": "difference", "lag": 1, "ago": 2})
    assert series.warmup == 3
    assert series.transform([1, 2, 4, 8, 16]).tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(("field", "value"), [("hour", 22), ("weekday", 5), ("day_of_year", 364), ("month", 12)])
def test_a_calendar_feature_is_a_wave_of_its_field(field: str, value: int) -> None:
    wave = {"kind": "calendar", "field": field, "period": 9, "encoding": "cos"}
    rows = features(wave, step_seconds=3600).transform([0.0], [START])
    assert rows.tolist() == [[np.float32(math.cos(2 * math.pi * value / 9))]]


def test_a_calendar_feature_can_look_at_the_time_of_a_later_step() -> None:
    series = features(
        {"kind": "calendar", "field": "day_of_year", "period": 1000, "encoding": "sin", "ahead": 2},
        step_seconds=86400,
    )
    rows = series.transform([0.0, 0.0], [datetime(2023, 12, 30), datetime(2023, 12, 31)])
    expected = [[np.float32(math.sin(2 * math.pi * day / 1000))] for day in (1, 2)]
    assert rows.tolist() == expected


def test_times_may_be_text_with_or_without_a_zone() -> None:
    series = features(HOUR, step_seconds=3600)
    plain = series.transform([0, 0], ["2024-03-01 13:00:00", " 2024-03-01T14:00 "])
    assert np.array_equal(plain, series.transform([0, 0], ["2024-03-01T13:00Z", "2024-03-01T14:00+00:00"]))


def test_a_change_of_offset_is_no_gap() -> None:
    series = features(HOUR, step_seconds=3600)
    rows = series.transform([0, 0], ["2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00"])
    assert rows.tolist() == [[np.float32(math.sin(2 * math.pi * hour / 24))] for hour in (1, 3)]


def test_a_row_alone_equals_the_same_row_of_the_series_bit_for_bit() -> None:
    series = SeriesFeatures.from_dict(MIXED)
    values = daily(400)
    values[[100, 101, 250]] = (0.0, 1.0, 500.0)
    whole = series.transform(values, hours(400))
    stream = series.stream()
    alone = [stream.push(value, time) for value, time in zip(values, hours(400), strict=True)]
    assert alone[: series.warmup] == [None] * series.warmup
    assert np.array_equal(np.stack(alone[series.warmup :]).view(np.int32), whole.view(np.int32))
    assert np.array_equal(stream.history, series.repaired(values)[-31:])


# Ratios of at most 10 keep repaired values inside float32 over 40 rows.
readings = st.floats(1, 10) | st.sampled_from([0.0, -3.0])


@settings(max_examples=200, deadline=None)
@given(st.lists(readings, min_size=1, max_size=40), st.integers(1, 5), st.integers(0, 5))
def test_any_series_gives_the_same_rows_alone_and_together(values: list[float], season: int, lag: int) -> None:
    series = features(
        {"kind": "difference", "lag": lag + 1, "center": 0.1, "scale": 3.0},
        {"kind": "value", "lag": lag, "scale": 0.7},
        clean={"season": season, "low": 0.5, "high": 1.5},
    )
    stream = series.stream()
    alone = [row for row in map(stream.push, values) if row is not None]
    if len(values) <= series.warmup:
        assert alone == []
    else:
        assert np.array_equal(np.stack(alone).view(np.int32), series.transform(values).view(np.int32))


@pytest.mark.parametrize("glitch", [0.0, 3.0, 400.0])
def test_clean_replaces_a_single_wrong_reading(glitch: float) -> None:
    series = features(VALUE, clean=CLEAN)
    values = daily(72)
    right = values[60]
    values[60] = glitch
    repaired = series.repaired(values)
    assert np.flatnonzero(repaired != values).tolist() == [60]
    # Noise of a few per cent in the three values that the replacement is made of.
    assert repaired[60] == pytest.approx(right, rel=0.2)


def test_clean_lets_a_new_level_pass_after_one_row() -> None:
    values = np.r_[np.full(48, 100.0), np.full(48, 300.0)]
    repaired = features(VALUE, clean=CLEAN).repaired(values)
    assert np.flatnonzero(repaired != values).tolist() == [48]


def test_clean_leaves_a_series_that_is_not_positive_alone() -> None:
    values = np.tile([0.0, -5.0, 5.0], 30)
    assert np.array_equal(features(VALUE, clean=CLEAN).repaired(values), values)


def test_clean_never_replaces_by_what_is_not_finite() -> None:
    assert Clean(1, 0.5, 2.0).repair(1.0, 1e300, 1e300, 1e-300) == 1.0


def test_a_stream_goes_on_from_a_saved_state() -> None:
    series = SeriesFeatures.from_dict(MIXED)
    values, times = daily(80), hours(80)
    values[50] = 0.0
    whole = series.transform(values, times)
    for cut in (0, 10, 25, 51, 79):
        stream = series.stream(keep=40)
        for i in range(cut):
            stream.push(values[i], times[i])
        resumed = series.stream(keep=40)
        resumed.set_state(stream.state())
        assert np.array_equal(resumed.history, stream.history)
        for i in range(cut, 80):
            row = resumed.push(values[i], times[i])
            assert row is None if i < series.warmup else np.array_equal(row, whole[i - series.warmup])


def test_a_value_that_was_refused_leaves_no_trace() -> None:
    series = SeriesFeatures.from_dict(MIXED)
    values, times = daily(60), hours(60)
    whole = series.transform(values, times)
    stream = series.stream()
    for i in range(60):
        for value, time in ((math.nan, times[i]), (1.0, None), (1.0, times[i] + timedelta(minutes=1))):
            if i or time != times[i] + timedelta(minutes=1):
                with pytest.raises(PipelineError, match=f"row {i + 1}|times"):
                    stream.push(value, time)
        row = stream.push(values[i], times[i])
    assert stream.count == 60
    assert stream.time == times[-1]
    assert np.array_equal(row, whole[-1])


def test_a_stream_forgets_on_reset() -> None:
    stream = features({"kind": "difference", "lag": 1}).stream()
    stream.push(1.0)
    stream.push(2.0)
    stream.reset()
    assert stream.count == 0
    assert stream.history.size == 0
    assert stream.push(5.0) is None


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"values": np.zeros(3)},
        {"values": np.array([np.nan, 1.0])},
        {"count": np.array([9])},
        {"count": np.array([-1])},
        {"count": np.array([])},
        {"time": np.frombuffer(b"yesterday", np.uint8)},
        {"time": np.zeros(0, np.uint8)},
        {"values": "x"},
    ],
)
def test_a_saved_state_that_does_not_fit_is_refused(broken: dict[str, Any]) -> None:
    stream = features(HOUR, {"kind": "value", "lag": 5}, step_seconds=3600).stream()
    for time in hours(2):
        stream.push(1.0, time)
    state = {**stream.state(), **broken} if broken else {}
    with pytest.raises(PipelineError, match=r"series: (not a saved state|state: expected)") as caught:
        stream.set_state(state)
    assert caught.value.field == "state"
    assert stream.count == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_names_its_row(value: float) -> None:
    series = features(VALUE)
    with pytest.raises(PipelineError, match=r"series: row 3: expected a finite number, got (NaN|-?inf)") as caught:
        series.transform([1.0, 2.0, value, value])
    assert (caught.value.stage, caught.value.field) == ("series", "values")
    stream = series.stream()
    stream.push(1.0)
    with pytest.raises(PipelineError, match="series: row 2: expected a finite number"):
        stream.push(value)


def test_a_stream_refuses_what_is_not_a_number() -> None:
    with pytest.raises(PipelineError, match="expected a number in row 1, got 'a'"):
        features(VALUE).stream().push("a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "series: empty: expected at least one row"),
        ([[1.0]], r"series: values: expected a one-dimensional series, got \(1, 1\)"),
        (["a"], "series: values: expected numbers"),
        ([1, 2, 3], "series: too short: 4 rows are needed for the first features, 3 came"),
    ],
)
def test_a_series_that_does_not_fit_is_refused(values: Any, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        features({"kind": "value", "lag": 3}).transform(values)


def test_a_feature_beyond_float32_is_refused() -> None:
    series = features({"kind": "value", "scale": 1e-10})
    with pytest.raises(PipelineError, match="series: a feature is beyond the range of float32"):
        series.transform([1e300])


def test_a_missing_time_is_said_to_be_missing() -> None:
    series = features(HOUR, step_seconds=3600)
    for ask in (lambda: series.transform([1.0]), lambda: series.stream().push(1.0)):
        with pytest.raises(PipelineError, match="series: times: expected the time of every row") as caught:
            ask()
        assert caught.value.field == "times"


def test_features_without_a_calendar_need_no_time_but_check_one_that_comes() -> None:
    series = features(VALUE, step_seconds=60)
    assert series.transform([1.0, 2.0]).shape == (2, 1)
    with pytest.raises(PipelineError, match="row 2: expected a time 60 s after"):
        series.transform([1.0, 2.0], hours(2))


@pytest.mark.parametrize(
    ("shift", "came"),
    [(2, "2023-12-31 01:00:00"), (0, "2023-12-30 23:00:00"), (-1, "2023-12-30 22:00:00")],
    ids=["gap", "duplicate", "backwards"],
)
def test_an_irregular_step_names_row_and_both_times(shift: int, came: str) -> None:
    series = features(HOUR, step_seconds=3600)
    times = [START, START + timedelta(hours=1), START + timedelta(hours=1 + shift)]
    expected = f"series: row 3: expected a time 3600 s after 2023-12-30 23:00:00, got {came}"
    with pytest.raises(PipelineError, match=expected):
        series.transform([1.0] * 3, times)
    stream = series.stream()
    stream.push(1.0, times[0])
    stream.push(1.0, times[1])
    with pytest.raises(PipelineError, match=expected):
        stream.push(1.0, times[2])


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["2024-01-01"], "times: expected 2 times, one for each value, got 1"),
        (["2024-01-01", "noon"], "row 2: expected a time such as 2024-03-01 13:00:00, got 'noon'"),
        ([20240101, 20240102], "row 1: expected a time such as"),
        ([START, START.replace(tzinfo=timezone.utc)], "row 2: one of .* has a time zone, the other none"),
        ([datetime.max.replace(minute=0), datetime.max], "row 2: expected a time 3600 s after"),
    ],
)
def test_times_that_do_not_fit_are_refused(times: list[Any], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        features(HOUR, step_seconds=3600).transform([1.0, 2.0], times)


def test_a_calendar_beyond_the_last_year_is_refused() -> None:
    with pytest.raises(PipelineError, match=r"a time 24 steps after .* is beyond the calendar"):
        features(HOUR | {"ahead": 24}, step_seconds=3600).transform([1.0], [datetime.max])


def test_features_survive_their_json_form() -> None:
    series = SeriesFeatures.from_dict(MIXED)
    assert SeriesFeatures.from_dict(series.to_dict()) == series
    assert (series.width, series.warmup, series.needs_time) == (6, 30, True)


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        (None, "series", "expected an object, got None"),
        ({"features": [VALUE], "lags": 1}, "series", "unknown field 'lags'"),
        ({}, "features", "a list of 1 to 4096 features, got None"),
        ({"features": []}, "features", "a list of 1 to 4096 features"),
        ({"features": [3]}, r"features[0]", "expected an object, got 3"),
        (
            {"features": [{"kind": "log"}]},
            "features[0].kind",
            "one of value, difference, calendar, got 'log'",
        ),
        ({"features": [{"kind": []}]}, "features[0].kind", "one of value, difference, calendar"),
        (
            {"features": [VALUE | {"lag": -1}]},
            "features[0].lag",
            "a number of rows from 0 to 1000000, got -1",
        ),
        ({"features": [VALUE | {"lag": 10**12}]}, "features[0].lag", "a number of rows"),
        ({"features": [VALUE | {"lag": True}]}, "features[0].lag", "a number of rows"),
        ({"features": [VALUE | {"scale": 0}]}, "features[0].scale", "a positive finite number, got 0"),
        ({"features": [VALUE | {"scale": 10**400}]}, "features[0].scale", "a positive finite number"),
        ({"features": [VALUE | {"center": "0"}]}, "features[0].center", "a finite number, got '0'"),
        ({"features": [VALUE | {"ago": 1}]}, "features[0]", "unknown field 'ago'"),
        ({"features": [{"kind": "difference"}]}, "features[0].lag", "a number of rows from 1 to"),
        ({"features": [VALUE, HOUR | {"field": "minute"}]}, "features[1].field", "one of hour, weekday"),
        ({"features": [HOUR | {"field": {}}]}, "features[0].field", "one of hour, weekday"),
        ({"features": [HOUR | {"encoding": "tan"}]}, "features[0].encoding", "one of sin, cos, got 'tan'"),
        ({"features": [HOUR | {"period": 0}]}, "features[0].period", "a positive finite number"),
        ({"features": [HOUR | {"ahead": 1.5}]}, "features[0].ahead", "a number of rows"),
        ({"features": [HOUR]}, "step_seconds", "the seconds between rows"),
        ({"features": [HOUR], "step_seconds": 0}, "step_seconds", "a positive finite number"),
        ({"features": [VALUE], "clean": 1}, "clean", "expected an object"),
        ({"features": [VALUE], "clean": CLEAN | {"season": 0}}, "clean.season", "a number of rows from 1"),
        ({"features": [VALUE], "clean": CLEAN | {"low": 1.2}}, "clean", "low below 1 and high above 1"),
        ({"features": [VALUE], "clean": CLEAN | {"x": 1}}, "clean", "unknown field 'x'"),
    ],
)
def test_a_description_that_is_wrong_names_stage_and_field(data: Any, field: str, message: str) -> None:
    with pytest.raises(PipelineError, match=message) as caught:
        SeriesFeatures.from_dict(data)
    assert (caught.value.stage, caught.value.field) == ("series", field)
