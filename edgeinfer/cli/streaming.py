"""``run --stream``: one answer for every line, at once, with a state that outlives the process."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import EdgeInferError, InputError, PipelineError, StreamError
from ..model import Model
from ..pipeline import Classification, Classifier, Forecaster, Generator, Pipeline
from ..snapshot import remove_leftovers, write_atomically
from ..stream import Stream
from .lock import only_one
from .output import discard_output, json_text, number, numbers
from .pipes import Pipes, Stopped
from .rows import SeriesRows, parse_step, parse_text

WAITING = "waiting"
_SERIES_ROW = re.compile(r"^series: (row \d+: )?")


class State(Protocol):
    """What is saved between runs."""

    def snapshot(self) -> bytes: ...

    def restore(self, data: bytes) -> None: ...


# A line and its number to the text of the answer; None where the line asks for none (a header).
Answer = Callable[[str, int], str | None]


def serve(answer: Answer, state: State, path: str | None) -> int:
    """Answer every line of standard input; returns the exit status.

    With ``path`` the state is loaded from there where the file exists, and saved there at the end of the input,
    on SIGTERM (then 0 is returned), on SIGINT (130), when the reader goes away, and, as of the last good line,
    before a bad one raises. Raises StreamError, the file untouched, where it is damaged, another model's, or another
    process keeps its state there.
    """
    if path is None:
        with Pipes(()) as pipes:
            return _ended(pipes, answer)
    # Not Path.resolve(), which raises RuntimeError for a link to itself.
    target = Path(os.path.realpath(path))
    with Pipes((signal.SIGTERM, signal.SIGINT)) as pipes, only_one(target, path):
        try:
            state.restore(target.read_bytes())
        except FileNotFoundError:
            pass
        except StreamError as error:
            raise StreamError(f"{path}: {error}") from None
        remove_leftovers(target)
        # Saved once before the first row: whoever cannot write the file learns it now, not after a day.
        write_atomically(target, state.snapshot())
        try:
            return _ended(pipes, answer)
        finally:
            write_atomically(target, state.snapshot())


def _ended(pipes: Pipes, answer: Answer) -> int:
    """The exit status, once all is answered or nobody asks or reads any more."""
    try:
        _answer_all(pipes, answer)
    except Stopped as stop:
        return 130 if stop.signum == signal.SIGINT else 0
    except BrokenPipeError:
        discard_output()
    return 0


def _answer_all(pipes: Pipes, answer: Answer) -> None:
    row = 0
    while True:
        row += 1
        try:
            line = pipes.read_line()
            if line is None:
                return
            text = answer(line, row) if line.strip() else None
        except PipelineError as error:
            raise PipelineError(_in_row(error, row), stage=error.stage, field=error.field) from None
        except InputError as error:
            raise InputError(_in_row(error, row), name=error.name) from None
        if text is not None:
            pipes.write_line(text)


def _in_row(error: EdgeInferError, row: int) -> str:
    return f"row {row}: " + _SERIES_ROW.sub("", str(error), count=1)


def pipeline_answers(
    app: Pipeline,
    *,
    column: str | None,
    time: str | None,
    horizon: int | None,
    top: int,
    as_json: bool,
) -> tuple[Answer, State]:
    """How a pipeline answers lines, and its state."""
    if isinstance(app, Forecaster):
        return _forecast_answers(app, SeriesRows(column, time), horizon, as_json)
    if isinstance(app, Classifier):
        return _label_answers(app, as_json)
    return _word_answers(app, top, as_json)


def _forecast_answers(app: Forecaster, rows: SeriesRows, horizon: int | None, as_json: bool) -> tuple[Answer, State]:
    app.rule.check_horizon(horizon)
    stream = app.stream()

    def answer(line: str, row: int) -> str | None:
        parsed = rows.parse(line)
        if parsed is None:
            return None
        value, moment = parsed
        forecast = stream.step(value, moment, horizon)
        if as_json:
            if forecast is None:
                return _json(row=row, time=moment, values=None, times=None)
            times = None if forecast.times is None else [time.isoformat() for time in forecast.times]
            return _json(row=row, time=moment, values=forecast.values.tolist(), times=times)
        return WAITING if forecast is None else ",".join(repr(value) for value in forecast.values.tolist())

    return answer, stream


def _label_answers(app: Classifier, as_json: bool) -> tuple[Answer, State]:
    stream = app.stream()

    def answer(line: str, row: int) -> str:
        found: Classification | None = stream.step(parse_text(line))
        if as_json:
            if found is None:
                return _json(row=row, label=None, score=None, scores=None, unknown=[])
            return _json(
                row=row,
                label=found.label,
                score=found.score,
                scores=found.scores,
                unknown=list(found.unknown),
            )
        return WAITING if found is None else f"{found.label}\t{found.score:.6g}"

    return answer, stream


def _word_answers(app: Generator, top: int, as_json: bool) -> tuple[Answer, State]:
    stream = app.stream()

    def answer(line: str, row: int) -> str:
        found = stream.step(parse_text(line), top)
        if as_json:
            if found is None:
                return _json(row=row, candidates=None, unknown=[])
            words = [{"word": word, "probability": share} for word, share in found.candidates]
            return _json(row=row, candidates=words, unknown=list(found.unknown))
        if found is None:
            return WAITING
        return "\t".join(f"{word}\t{share:.6g}" for word, share in found.candidates)

    return answer, stream


def raw_answers(model: Model, stream: Stream, as_json: bool) -> Answer:
    """How a model without a pipeline answers: the numbers of its outputs."""

    def answer(line: str, row: int) -> str:
        answered = stream.step(parse_step(line, model))
        if answered is None:
            return _json(row=row, outputs=None) if as_json else WAITING
        outputs = answered if isinstance(answered, dict) else {model.outputs[0].name: answered}
        if as_json:
            return _json(row=row, outputs={name: numbers(np.asarray(y)) for name, y in outputs.items()})
        flat = [item for y in outputs.values() for item in np.asarray(y).reshape(-1)]
        return ",".join(repr(number(item)) for item in flat)

    return answer


def _json(**fields: Any) -> str:
    return json_text(fields)
