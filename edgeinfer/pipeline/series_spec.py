"""What ``preprocessing.series`` can ask for, as frozen dataclasses, and how its JSON form is validated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import PipelineError, shorten

KINDS = ("value", "difference", "calendar")
ENCODINGS = ("sin", "cos")
# What a field can be: its largest value bounds the table of a Calendar.
FIELDS = {"hour": range(24), "weekday": range(7), "day_of_year": range(1, 367), "month": range(1, 13)}
# A file must not make the device hold more history than this: a million rows of float64 are 8 MB.
MAX_LAG = 1_000_000
MAX_FEATURES = 4096


@dataclass(frozen=True)
class Clean:
    """Repairs single wrong readings, such as the hours of a clock change, without looking ahead.

    Two values are expected: that of a season earlier, and the same times the change over a season of the row
    before. A value outside ``low`` to ``high`` times both is replaced by the second. Never two rows in
    succession, so that a real change of level passes after one. Where one of the three earlier values is not
    positive there is no such change, and the value stays.
    """

    season: int
    low: float
    high: float

    def repair(self, value: float, season_ago: float, before: float, before_season_ago: float) -> float:
        """``value``, or what replaces it; the other three are repaired values already."""
        if season_ago <= 0 or before <= 0 or before_season_ago <= 0:
            return value
        expected = season_ago * (before / before_season_ago)
        plausible = any(self.low * v <= value <= self.high * v for v in (season_ago, expected))
        return value if plausible or not 0 < expected < math.inf else expected


@dataclass(frozen=True)
class Numeric:
    """(v[t - lag] - center) / scale; with ``minus``: ((v[t - lag] - v[t - minus]) - center) / scale."""

    lag: int
    minus: int | None
    center: float
    scale: float


@dataclass(frozen=True)
class Calendar:
    """sin or cos of 2π · field / period at the time ``ahead`` steps later.

    Fields: hour 0 to 23, weekday 0 (Monday) to 6, day_of_year 1 to 366, month 1 to 12.
    """

    field: str
    period: float
    encoding: Literal["sin", "cos"]
    ahead: int

    @cached_property
    def table(self) -> npt.NDArray[np.float32]:
        """The feature for every value of the field, indexed by it."""
        wave = math.sin if self.encoding == "sin" else math.cos
        values = range(FIELDS[self.field].stop)
        return np.array([wave(2 * math.pi * value / self.period) for value in values], dtype=np.float32)


Feature = Numeric | Calendar


def read_feature(value: Any, where: str) -> Feature:
    """The feature described by one entry of ``features``. Raises PipelineError naming ``where``."""
    if not isinstance(value, dict):
        raise wrong(where, "an object", value)
    kind = value.get("kind")
    if kind == "calendar":
        check_keys(value, where, ("kind", "field", "period", "encoding", "ahead"))
        field = value.get("field")
        if field not in tuple(FIELDS):
            raise wrong(f"{where}.field", "one of " + ", ".join(FIELDS), field)
        encoding = value.get("encoding")
        if encoding not in ENCODINGS:
            raise wrong(f"{where}.encoding", "one of " + ", ".join(ENCODINGS), encoding)
        period = read_number(value.get("period"), f"{where}.period", positive=True)
        return Calendar(field, period, encoding, read_rows(value.get("ahead", 0), f"{where}.ahead"))
    if kind not in KINDS:
        raise wrong(f"{where}.kind", "one of " + ", ".join(KINDS), kind)
    center = read_number(value.get("center", 0.0), f"{where}.center")
    scale = read_number(value.get("scale", 1.0), f"{where}.scale", positive=True)
    if kind == "value":
        check_keys(value, where, ("kind", "lag", "center", "scale"))
        return Numeric(read_rows(value.get("lag", 0), f"{where}.lag"), None, center, scale)
    check_keys(value, where, ("kind", "lag", "ago", "center", "scale"))
    ago = read_rows(value.get("ago", 0), f"{where}.ago")
    return Numeric(ago, ago + read_rows(value.get("lag"), f"{where}.lag", minimum=1), center, scale)


def write_feature(feature: Feature) -> dict[str, Any]:
    """The JSON form, as read_feature reads it."""
    if isinstance(feature, Calendar):
        return {
            "kind": "calendar",
            "field": feature.field,
            "period": feature.period,
            "encoding": feature.encoding,
            "ahead": feature.ahead,
        }
    scaling = {"center": feature.center, "scale": feature.scale}
    if feature.minus is None:
        return {"kind": "value", "lag": feature.lag, **scaling}
    return {"kind": "difference", "lag": feature.minus - feature.lag, "ago": feature.lag, **scaling}


def read_clean(value: Any) -> Clean:
    """The rule described by ``clean``. Raises PipelineError naming the field."""
    check_keys(value, "clean", ("season", "low", "high"))
    season = read_rows(value.get("season"), "clean.season", minimum=1)
    low = read_number(value.get("low"), "clean.low", positive=True)
    high = read_number(value.get("high"), "clean.high", positive=True)
    if not low < 1 < high:
        raise wrong("clean", "low below 1 and high above 1", f"{low:g} and {high:g}")
    return Clean(season, low, high)


def check_keys(value: Any, where: str, known: Sequence[str]) -> None:
    """Raise PipelineError unless ``value`` is an object whose keys are all ``known``."""
    if not isinstance(value, dict):
        raise wrong(where, "an object", value)
    for key in value:
        if key not in known:
            raise refused(where, f"{where}: unknown field {key!r}; known: {', '.join(known)}")


def read_number(value: Any, where: str, positive: bool = False) -> float:
    """A finite number, else PipelineError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number) and (number > 0 or not positive):
            return number
    raise wrong(where, "a positive finite number" if positive else "a finite number", value)


def read_rows(value: Any, where: str, minimum: int = 0) -> int:
    """A number of rows from ``minimum`` to MAX_LAG, else PipelineError."""
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= MAX_LAG:
        raise wrong(where, f"a number of rows from {minimum} to {MAX_LAG}", value)
    return value


def wrong(field: str, expected: str, got: object) -> PipelineError:
    """The error for a field that is not what it should be."""
    return refused(field, f"{field}: expected {expected}, got {shorten(got)}")


def refused(field: str, message: str) -> PipelineError:
    """The error of this stage about ``field``."""
    return PipelineError(f"series: {message}", stage="series", field=field)
