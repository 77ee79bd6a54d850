"""A series of numbers to the features of a model: what a recipe trains through is what the device runs.

Rows are counted from 1 in messages: row 1 is the first value. All arithmetic is float64 until the last
rounding to float32, so that a row computed alone equals the same row of a whole series bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import PipelineError
from .series_spec import (
    MAX_FEATURES,
    Calendar,
    Clean,
    Feature,
    Numeric,
    check_keys,
    read_clean,
    read_feature,
    read_number,
    refused,
    write_feature,
    wrong,
)

Moment = datetime | str
Values = Sequence[float] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class SeriesFeatures:
    """Turns a series, and its times where a feature needs them, into rows of features."""

    features: tuple[Feature, ...]
    step_seconds: float | None = None
    clean: Clean | None = None

    @classmethod
    def from_dict(cls, data: Any) -> SeriesFeatures:
        """The features described by ``preprocessing.series``. Raises PipelineError naming the field."""
        check_keys(data, "series", ("step_seconds", "clean", "features"))
        step = data.get("step_seconds")
        if step is not None:
            step = read_number(step, "step_seconds", positive=True)
        listed = data.get("features")
        if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_FEATURES:
            raise wrong("features", f"a list of 1 to {MAX_FEATURES} features", listed)
        features = tuple(read_feature(item, f"features[{i}]") for i, item in enumerate(listed))
        clean = None if data.get("clean") is None else read_clean(data["clean"])
        series = cls(features, step, clean)
        if series.needs_time and step is None:
            raise wrong("step_seconds", "the seconds between rows, as a calendar feature needs them", None)
        return series

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as from_dict reads it."""
        clean = None
        if self.clean is not None:
            clean = {"season": self.clean.season, "low": self.clean.low, "high": self.clean.high}
        return {
            "step_seconds": self.step_seconds,
            "clean": clean,
            "features": [write_feature(feature) for feature in self.features],
        }

    @property
    def width(self) -> int:
        """How many features a row has."""
        return len(self.features)

    @property
    def needs_time(self) -> bool:
        """Whether a feature reads the calendar, so that times must come with the values."""
        return any(isinstance(feature, Calendar) for feature in self.features)

    @cached_property
    def warmup(self) -> int:
        """How many rows pass before the first row of features."""
        return max((max(f.lag, f.minus or 0) for f in self.features if isinstance(f, Numeric)), default=0)

    def transform(self, values: Values, times: Sequence[Moment] | None = None) -> npt.NDArray[np.float32]:
        """The features of a series: float32 [N - warmup, width] from N values and, where needed, N times.

        Raises PipelineError naming the row where a value is not finite or a time is not one step after the
        last, and where the series is shorter than warmup + 1 rows or its times are missing.
        """
        checked = self.check_values(values)
        moments = self.check_times(times, checked.size)
        if checked.size <= self.warmup:
            needed = f"{self.warmup + 1} rows are needed for the first features, {checked.size} came"
            raise refused("values", f"too short: {needed}")
        rows = np.arange(self.warmup, checked.size)
        return self.rows(self.repaired(checked), rows, None if moments is None else moments[self.warmup :])

    def repaired(self, values: Values) -> npt.NDArray[np.float64]:
        """The series after ``clean``: float64 [N]. Raises PipelineError as check_values."""
        checked = self.check_values(values)
        if self.clean is None:
            return checked
        series = checked.tolist()
        season = self.clean.season
        replaced = False
        for row in range(season + 1, len(series)):
            value = series[row]
            if not replaced:
                series[row] = self.clean.repair(value, series[row - season], series[row - 1], series[row - 1 - season])
            replaced = series[row] != value
        return np.array(series, dtype=np.float64)

    def stream(self, keep: int = 0) -> SeriesStream:
        """The same features for one value at a time; its ``history`` holds at least ``keep`` values."""
        return SeriesStream(self, keep)

    def check_values(self, values: Values) -> npt.NDArray[np.float64]:
        """``values`` as float64 [N], N ≥ 1, all finite; else PipelineError."""
        try:
            if np.iscomplexobj(values):
                raise TypeError("they are complex")
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise refused("values", f"values: expected numbers: {error}") from None
        if array.ndim != 1:
            raise wrong("values", "a one-dimensional series", array.shape)
        if array.size == 0:
            raise refused("values", "empty: expected at least one row")
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            raise _not_finite(float(array[bad[0]]), int(bad[0]) + 1)
        return array

    def check_times(self, times: Sequence[Moment] | None, rows: int) -> list[datetime] | None:
        """``times`` parsed and found regular, else PipelineError; None where these features need none."""
        if self.step_seconds is None or (times is None and not self.needs_time):
            return None
        if times is None:
            raise _missing_time()
        if len(times) != rows:
            raise wrong("times", f"{rows} times, one for each value", len(times))
        moments = [parse_time(moment, row) for row, moment in enumerate(times, start=1)]
        for row in range(1, rows):
            self.check_step(moments[row - 1], moments[row], row + 1)
        return moments

    def check_step(self, before: datetime, now: datetime, row: int) -> None:
        """Raise PipelineError naming ``row`` unless ``now`` is one step after ``before``."""
        try:
            seconds = (now - before).total_seconds()
        except TypeError:
            both = f"one of {_show(before)} and {_show(now)} has a time zone, the other none"
            raise refused("times", f"row {row}: {both}") from None
        if seconds != self.step_seconds:
            due = f"a time {self.step_seconds:g} s after {_show(before)}"
            raise refused("times", f"row {row}: expected {due}, got {_show(now)}")

    def rows(
        self,
        repaired: npt.NDArray[np.float64],
        rows: npt.NDArray[np.intp],
        moments: Sequence[datetime] | None,
    ) -> npt.NDArray[np.float32]:
        """Features of some rows of ``repaired``: float32 [len(rows), width]; ``moments``: their times."""
        layout = self._layout
        out = np.empty((rows.size, self.width), dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            out[:, layout.columns] = layout.numeric(repaired, rows)
        if not np.isfinite(out[:, layout.columns]).all():
            raise refused("values", "a feature is beyond the range of float32")
        if moments is None:
            return out
        for (ahead, field), calendars in layout.calendars.items():
            read = self._calendar(moments, ahead, field)
            for column, table in calendars:
                out[:, column] = table[read]
        return out

    def _calendar(self, moments: Sequence[datetime], ahead: int, field: str) -> list[int]:
        assert self.step_seconds is not None
        try:
            shift = timedelta(seconds=self.step_seconds * ahead)
            later = [moment + shift for moment in moments] if ahead else moments
        except OverflowError:
            far = f"a time {ahead} steps after {_show(moments[-1])} is beyond the calendar"
            raise refused("times", far) from None
        if field == "hour":
            return [moment.hour for moment in later]
        if field == "weekday":
            return [moment.weekday() for moment in later]
        if field == "month":
            return [moment.month for moment in later]
        return [moment.timetuple().tm_yday for moment in later]

    @cached_property
    def _layout(self) -> _Layout:
        return _Layout(self.features)


class _Layout:
    """Where each feature goes, and the numeric ones as arrays, so that one expression computes them all."""

    def __init__(self, features: Sequence[Feature]) -> None:
        numeric = [(column, f) for column, f in enumerate(features) if isinstance(f, Numeric)]
        self.columns = np.array([column for column, _ in numeric], dtype=np.intp)
        self._lag = np.array([f.lag for _, f in numeric], dtype=np.intp)
        self._minus = np.array([f.lag if f.minus is None else f.minus for _, f in numeric], dtype=np.intp)
        self._plain = np.array([f.minus is None for _, f in numeric], dtype=np.bool_)
        self._center = np.array([f.center for _, f in numeric], dtype=np.float64)
        self._scale = np.array([f.scale for _, f in numeric], dtype=np.float64)
        self.calendars: dict[tuple[int, str], list[tuple[int, npt.NDArray[np.float32]]]] = {}
        for column, f in enumerate(features):
            if isinstance(f, Calendar):
                self.calendars.setdefault((f.ahead, f.field), []).append((column, f.table))

    def numeric(self, values: npt.NDArray[np.float64], rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        at = rows[:, np.newaxis]
        subtracted = np.where(self._plain, 0.0, values[at - self._minus])
        scaled: npt.NDArray[np.float64] = ((values[at - self._lag] - subtracted) - self._center) / self._scale
        return scaled


class SeriesStream:
    """Features of one value at a time; the history that they need is kept here."""

    def __init__(self, features: SeriesFeatures, keep: int = 0) -> None:
        self._features = features
        season = 0 if features.clean is None else features.clean.season
        self._size = max(features.warmup + 1, keep, season + 2)
        self._row = np.array([self._size - 1], dtype=np.intp)
        self.reset()

    def reset(self) -> None:
        """Forget every value."""
        self._values = np.zeros(self._size, dtype=np.float64)
        self._count = 0
        self._replaced = False
        self._time: datetime | None = None

    @property
    def count(self) -> int:
        """How many values have come."""
        return self._count

    @property
    def time(self) -> datetime | None:
        """The time of the last value, or None."""
        return self._time

    @property
    def history(self) -> npt.NDArray[np.float64]:
        """The latest repaired values, oldest first: float64 [n], n up to what is kept; a copy."""
        return self._values[self._size - min(self._count, self._size) :].copy()

    def push(self, value: float, time: Moment | None = None) -> npt.NDArray[np.float32] | None:
        """Take the next value: its features, float32 [width], or None while warming up.

        Raises PipelineError as SeriesFeatures.transform; a value that was refused leaves no trace.
        """
        row = self._count + 1
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise wrong("values", f"a number in row {row}", value) from None
        if not math.isfinite(number):
            raise _not_finite(number, row)
        moment = self._next_time(time, row)
        repaired = self._repair(number)
        values = np.append(self._values[1:], repaired)
        answer = None
        if row > self._features.warmup:
            answer = self._features.rows(values, self._row, None if moment is None else (moment,))[0]
        self._values, self._count, self._replaced, self._time = values, row, repaired != number, moment
        return answer

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """All that the next push depends on, as float64, int64, bool and uint8 arrays."""
        stamp = "" if self._time is None else self._time.isoformat()
        return {
            "values": self.history,
            "count": np.array([self._count], dtype=np.int64),
            "replaced": np.array([self._replaced], dtype=np.bool_),
            "time": np.frombuffer(stamp.encode("ascii"), dtype=np.uint8).copy(),
        }

    def set_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from what ``state`` returned. Raises PipelineError where it does not fit these features."""
        try:
            values = np.asarray(state["values"], dtype=np.float64)
            count = int(state["count"][0])
            replaced = bool(state["replaced"][0])
            stamp = state["time"].tobytes().decode("ascii")
            moment = datetime.fromisoformat(stamp) if stamp else None
        except (KeyError, IndexError, AttributeError, TypeError, ValueError) as error:
            raise refused("state", f"not a saved state: {error!r}") from None
        held = min(count, self._size)
        if held < 0 or values.shape != (held,) or not np.isfinite(values).all():
            raise wrong("state", f"{held} finite values", values.shape)
        if self._features.needs_time and (moment is None) != (count == 0):
            raise wrong("state", "the time of the last value", stamp)
        self._values = np.concatenate([np.zeros(self._size - held), values])
        self._count, self._replaced, self._time = count, replaced, moment

    def _next_time(self, time: Moment | None, row: int) -> datetime | None:
        features = self._features
        if features.step_seconds is None or (time is None and not features.needs_time):
            return None
        if time is None:
            raise _missing_time()
        moment = parse_time(time, row)
        if self._time is not None:
            features.check_step(self._time, moment, row)
        return moment

    def _repair(self, value: float) -> float:
        clean = self._features.clean
        if clean is None or self._count <= clean.season or self._replaced:
            return value
        # Python floats, as for a whole series: numpy's give the same bits, but warn where they overflow.
        season_ago = float(self._values[-clean.season])
        before_season_ago = float(self._values[-clean.season - 1])
        return clean.repair(value, season_ago, float(self._values[-1]), before_season_ago)


def parse_time(moment: Moment, row: int) -> datetime:
    """A datetime as it is; ISO 8601 text (``2024-03-01 13:00``, ``2024-03-01T13:00:00+01:00``) as one.

    Raises PipelineError naming ``row``.
    """
    if isinstance(moment, datetime):
        return moment
    if isinstance(moment, str):
        text = moment.strip()
        if text.endswith(("Z", "z")):
            text = text[:-1] + "+00:00"
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise refused("times", f"row {row}: expected a time such as 2024-03-01 13:00:00, got {moment!r}")


def _show(moment: datetime) -> str:
    return moment.isoformat(sep=" ")


def _missing_time() -> PipelineError:
    return refused("times", "times: expected the time of every row, as the model reads the calendar; none came")


def _not_finite(value: float, row: int) -> PipelineError:
    shown = "NaN" if math.isnan(value) else f"{value:g}"
    return refused("values", f"row {row}: expected a finite number, got {shown}")
