"""Forecasts of a series: raw values in, values of the steps to come out, in the unit they came in."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import snapshot
from ..backends import Turns
from ..errors import PipelineError, StreamError
from ..model import Model
from .fields import (
    BUSY,
    check_width,
    count,
    known_only,
    number,
    only_input,
    only_output,
    preprocessing,
    spec_of,
    wrong,
)
from .series import Moment, SeriesFeatures, Values

# A horizon without end would be computed until memory is full.
MAX_HORIZON = 1 << 20
_SNAPSHOT_KIND = "forecast"
_KEYS = ("horizon", "recursive", "base", "center", "scale")


@dataclass(frozen=True, eq=False)
class Forecast:
    """What is to come: values float64 [H], and their times where those of the series were given."""

    values: npt.NDArray[np.float64]
    times: tuple[datetime, ...] | None


@dataclass(frozen=True)
class ForecastRule:
    """forecast[h] = (v[t + h - base_lag] or 0) + center + scale · output[h - 1], for h = 1 … horizon."""

    horizon: int
    recursive: bool
    base_lag: int | None
    center: float
    scale: float

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ForecastRule:
        """The rule in ``postprocessing``. Raises PipelineError naming the field."""
        known_only(data, "forecast", _KEYS)
        horizon = count(data.get("horizon"), "forecast", "horizon")
        recursive = data.get("recursive", False)
        if not isinstance(recursive, bool):
            raise wrong("forecast", "recursive", "true or false", recursive)
        base = data.get("base")
        lag = None
        if base is not None:
            if not isinstance(base, Mapping) or set(base) != {"lag"}:
                raise wrong("forecast", "base", 'null or {"lag": steps}', base)
            lag = count(base["lag"], "forecast", "base.lag")
            if lag < horizon:
                raise wrong("forecast", "base.lag", f"at least {horizon}, the horizon", lag)
        return cls(
            horizon=horizon,
            recursive=recursive,
            base_lag=lag,
            center=number(data.get("center", 0.0), "forecast", "center"),
            scale=number(data.get("scale", 1.0), "forecast", "scale"),
        )

    def check_horizon(self, horizon: int | None) -> int:
        """The horizon to use. Raises PipelineError where it is too long and the file is not recursive."""
        if horizon is None:
            return self.horizon
        count(horizon, "forecast", "horizon")
        if horizon > self.horizon and not self.recursive:
            raise PipelineError(
                f"forecast: horizon: expected at most {self.horizon}, as many steps as this model answers, "
                f"got {horizon}; only a recursive model goes further",
                stage="forecast",
                field="horizon",
            )
        if horizon > MAX_HORIZON:
            raise wrong("forecast", "horizon", f"at most {MAX_HORIZON} steps", horizon)
        return horizon

    def apply(self, outputs: npt.NDArray[np.float32], base: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
        """Values float64 [..., horizon] from outputs and the values ``base_lag`` steps before each."""
        scaled = self.center + self.scale * outputs.astype(np.float64)
        return scaled if base is None else base + scaled

    def after(self, output: npt.NDArray[np.float32], history: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values float64 [horizon] that follow ``history``: repaired values, base_lag of them at least."""
        if self.base_lag is None:
            return self.apply(output, None)
        start = history.size - self.base_lag
        return self.apply(output, history[start : start + self.horizon])


class Forecaster:
    """Forecasts with a model whose task is ``forecast``."""

    def __init__(self, model: Model) -> None:
        spec = spec_of(model)
        self.model = model
        self.features = SeriesFeatures.from_dict(preprocessing(model, "series"))
        self.rule = ForecastRule.from_dict(spec.postprocessing)
        check_width(only_input(model, "forecast"), "forecast", self.features.width, "feature")
        check_width(only_output(model, "forecast"), "forecast", self.rule.horizon, "step of the horizon")
        waits = spec.mode == "window" and spec.window is not None and spec.window.start == "wait"
        self._length = spec.window.length if spec.mode == "window" and spec.window is not None else None
        silent = self.features.warmup + (self._length - 1 if waits and self._length is not None else 0)
        self.warmup = max(silent, (self.rule.base_lag or 1) - 1)
        """How many rows pass before the first forecast."""

    @property
    def horizon(self) -> int:
        """How many steps the model answers at once."""
        return self.rule.horizon

    def __call__(self, values: Values, times: Sequence[Moment] | None = None, horizon: int | None = None) -> Forecast:
        """The forecast from the end of a series.

        ``values`` [N], N > warmup; ``times`` [N] where the model reads the calendar. ``horizon`` may be
        shorter than the model's own; longer only where the file says recursive, forecasts being fed back then.
        Raises PipelineError on a series that is too short, holds NaN or irregular times, and on the horizon.
        """
        horizon = self.rule.check_horizon(horizon)
        checked = self.features.check_values(values)
        self._check_length(checked.size)
        if horizon > self.rule.horizon:
            reader = self.stream()
            reader._read(checked, times)
            forecast = reader.forecast(horizon)
            assert forecast is not None
            return forecast
        features = self.features.transform(checked, times)
        if self._length is not None and len(features) >= self._length:
            window = np.asarray(self.model(features[None, -self._length :]))
            output = self._row(window.reshape(-1, self.rule.horizon)[-1])
        else:
            with self.model.stream(scalar=False) as stream:
                output = self._row(stream.run(features)[-1])
        moments = self.features.check_times(times, checked.size)
        return Forecast(
            values=self.rule.after(output, self.features.repaired(checked))[:horizon],
            times=None if moments is None else self._times(moments[-1], horizon),
        )

    def backtest(self, values: Values, times: Sequence[Moment] | None = None) -> npt.NDArray[np.float64]:
        """The forecast from every row that has one: float64 [N - warmup, horizon], the first at row ``warmup``.

        Each equals what a stream answers at that row. Raises as calling does.
        """
        repaired = self.features.repaired(values)
        self._check_length(repaired.size)
        features = self.features.transform(values, times)
        with self.model.stream(scalar=False) as stream:
            outputs = np.asarray(stream.run(features), dtype=np.float32)
        origins = np.arange(self.warmup, repaired.size)
        outputs = outputs[outputs.shape[0] - origins.size :].reshape(origins.size, self.rule.horizon)
        if self.rule.base_lag is None:
            return self.rule.apply(outputs, None)
        ahead = np.arange(1, self.rule.horizon + 1)
        return self.rule.apply(outputs, repaired[origins[:, None] + ahead - self.rule.base_lag])

    def stream(self) -> ForecastStream:
        """A forecast after every value, with the state kept."""
        return ForecastStream(self)

    def _row(self, output: Any) -> npt.NDArray[np.float32]:
        """An output as float32 [horizon], a copy."""
        row = np.array(output, dtype=np.float32).reshape(-1)
        if row.size != self.rule.horizon:
            raise wrong("forecast", "output", f"{self.rule.horizon} values, the horizon", row.size)
        return row

    def _times(self, last: datetime, horizon: int) -> tuple[datetime, ...]:
        assert self.features.step_seconds is not None
        step = self.features.step_seconds
        try:
            return tuple(last + timedelta(seconds=step * ahead) for ahead in range(1, horizon + 1))
        except OverflowError:
            raise PipelineError(
                f"forecast: a time {horizon} steps after {last.isoformat()} is beyond the calendar",
                stage="forecast",
                field="horizon",
            ) from None

    def _check_length(self, rows: int) -> None:
        if rows <= self.warmup:
            raise PipelineError(
                f"forecast: series too short: expected at least {self.warmup + 1} rows, got {rows}",
                stage="forecast",
                field="values",
            )


class ForecastStream:
    """One series, value by value: the model's state and the history that its features need."""

    def __init__(self, forecaster: Forecaster) -> None:
        self._forecaster = forecaster
        self._turns = Turns(BUSY)
        # The next state is made in the spare stream, and the two change places together with what belongs to them.
        self._series = forecaster.features.stream(keep=forecaster.rule.base_lag or 0)
        self._stream = forecaster.model.stream(scalar=False)
        self._spare = self._stream.fork()
        self._output: npt.NDArray[np.float32] | None = None

    @property
    def count(self) -> int:
        """How many values have come."""
        return self._series.count

    def step(self, value: float, time: Moment | None = None, horizon: int | None = None) -> Forecast | None:
        """The forecast after one more value, or None while warming up.

        Raises PipelineError on a value or time that does not follow, InputError from the model; a value that
        was refused leaves no trace.
        """
        horizon = self._forecaster.rule.check_horizon(horizon)
        with self._turns():
            self._push(value, time)
            return self._forecast(horizon)

    def forecast(self, horizon: int | None = None) -> Forecast | None:
        """The forecast after the latest value; None while warming up, and after restore until the next."""
        with self._turns():
            return self._forecast(self._forecaster.rule.check_horizon(horizon))

    def _forecast(self, horizon: int) -> Forecast | None:
        rule = self._forecaster.rule
        if self._output is None or self._series.count <= self._forecaster.warmup:
            return None
        blocks = [self._next_values()]
        twin = self._fork() if horizon > rule.horizon else self
        while len(blocks) * rule.horizon < horizon:
            if not np.isfinite(blocks[-1]).all():
                step = (len(blocks) - 1) * rule.horizon + int(np.argmin(np.isfinite(blocks[-1]))) + 1
                beyond = f"step {step} of {horizon} is beyond the range of float32 and cannot be fed back"
                raise PipelineError(
                    f"forecast: horizon: {beyond}",
                    stage="forecast",
                    field="horizon",
                )
            for value, moment in zip(blocks[-1], twin._times(rule.horizon) or [None] * rule.horizon, strict=True):
                twin._push(float(value), moment)
            blocks.append(twin._next_values())
        return Forecast(np.concatenate(blocks)[:horizon], self._times(horizon))

    def snapshot(self) -> bytes:
        """All that the next step depends on."""
        with self._turns():
            arrays = {f"series/{name}": array for name, array in self._series.state().items()}
            arrays["model"] = np.frombuffer(self._stream.snapshot(), dtype=np.uint8)
        return snapshot.encode(_SNAPSHOT_KIND, self._forecaster.model.sha256, arrays)

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot. Raises StreamError, nothing changed, where it is another's or damaged."""
        arrays = snapshot.decode(data, _SNAPSHOT_KIND, self._forecaster.model.sha256)
        series = self._forecaster.features.stream(keep=self._forecaster.rule.base_lag or 0)
        try:
            prefix = "series/"
            series.set_state({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})
            model = arrays["model"].tobytes()
        except (KeyError, PipelineError) as error:
            raise StreamError(f"the snapshot is corrupt: {error}") from None
        with self._turns():
            stream = self._spare
            stream.restore(model)
            self._series, self._stream, self._spare, self._output = series, stream, self._stream, None

    def reset(self) -> None:
        """Begin a new series."""
        with self._turns():
            series, stream = copy.copy(self._series), self._spare
            series.reset()
            stream.reset()
            self._series, self._stream, self._spare, self._output = series, stream, self._stream, None

    def close(self) -> None:
        """Release the state; a closed stream raises StreamError."""
        with self._turns():
            self._stream.close()
            self._spare.close()

    def _push(self, value: float, time: Moment | None) -> None:
        series, stream, row = copy.copy(self._series), self._stream, self._output
        features = series.push(value, time)
        if features is not None:
            stream = self._spare
            stream._take_over(self._stream)
            output = stream.step(features)
            row = None if output is None else self._forecaster._row(output)
            self._spare = self._stream
        self._series, self._stream, self._output = series, stream, row

    def _read(self, values: npt.NDArray[np.float64], times: Sequence[Moment] | None) -> None:
        """As pushing every value of a series into a fresh stream, only the last answer being wanted."""
        checked = self._forecaster.features.check_times(times, values.size)
        moments: Sequence[datetime | None] = checked if checked is not None else [None] * values.size
        rows = [self._series.push(value, time) for value, time in zip(values.tolist(), moments, strict=True)]
        features = np.stack([row for row in rows if row is not None])
        if self._forecaster._length is not None:
            features = features[-self._forecaster._length :]
        self._output = self._forecaster._row(self._stream.run(features)[-1])

    def _fork(self) -> ForecastStream:
        twin = ForecastStream.__new__(ForecastStream)
        twin._forecaster = self._forecaster
        twin._series = self._forecaster.features.stream(keep=self._forecaster.rule.base_lag or 0)
        twin._series.set_state(self._series.state())
        twin._stream, twin._spare = self._stream.fork(), self._stream.fork()
        twin._output = self._output
        return twin

    def _next_values(self) -> npt.NDArray[np.float64]:
        assert self._output is not None
        return self._forecaster.rule.after(self._output, self._series.history)

    def _times(self, horizon: int) -> tuple[datetime, ...] | None:
        last = self._series.time
        return None if last is None else self._forecaster._times(last, horizon)
