"""The answers of pipelines, for people and as JSON: shared by ``run`` and ``demo``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from ..model import Model
from ..pipeline import Classification, Forecast, NextToken
from .output import bar, decimals, plural, sparkline, table

_TAIL = 48  # values of the history that a chart shows before the forecast
_EXCERPT = 50


@dataclass(frozen=True)
class Asked:
    """A text and the line of the file it stood in, if it came from one."""

    text: str
    line: int | None = None


def identity(model: Model) -> dict[str, Any]:
    """The first keys of a command's JSON."""
    task = None if model.spec is None else model.spec.task
    return {"model": name_of(model), "task": task, "backend": model.backend, "isa": model.isa}


def name_of(model: Model) -> str:
    """The name in the metadata, else the file's."""
    if model.spec is not None and model.spec.name:
        return model.spec.name
    return "model" if model.path is None else PurePath(model.path).stem


def backend_of(model: Model) -> str:
    """The backend, with its instruction set where it has one."""
    small = "" if model.arithmetic == "float32" else f", {model.arithmetic}"
    return model.backend if model.isa is None else f"{model.backend} ({model.isa}{small})"


def forecast_json(forecast: Forecast) -> dict[str, Any]:
    """A forecast's part of the JSON."""
    times = None if forecast.times is None else [time.isoformat() for time in forecast.times]
    return {"horizon": forecast.values.size, "values": forecast.values, "times": times}


def classification_json(found: Classification) -> dict[str, Any]:
    """A classification's part of the JSON."""
    return {
        "label": found.label,
        "score": found.score,
        "scores": found.scores,
        "unknown": list(found.unknown),
        "unknown_count": len(found.unknown),
    }


def next_token_json(found: NextToken) -> dict[str, Any]:
    """A next word's part of the JSON."""
    return {
        "candidates": [{"word": word, "probability": share} for word, share in found.candidates],
        "unknown": list(found.unknown),
        "unknown_count": len(found.unknown),
    }


def forecast_table(forecast: Forecast, history: npt.NDArray[np.float64]) -> str:
    """Step, time where known, and value; below, a chart of the last of the history and the forecast."""
    places = decimals(forecast.values)
    values = [f"{value:,.{places}f}" for value in forecast.values]
    if forecast.times is None:
        steps = [str(step) for step in range(1, len(values) + 1)]
        lines = [table(("step", "forecast"), list(zip(steps, values, strict=True)), left=())]
    else:
        times = [show_time(time) for time in forecast.times]
        lines = [table(("time", "forecast"), list(zip(times, values, strict=True)))]
    if len(values) > 1:
        tail = history[-_TAIL:]
        chart = sparkline(np.concatenate([tail, forecast.values]))
        lines += ["", f"{chart[: tail.size]} | {chart[tail.size :]}"]
        label = f"last {plural(tail.size, 'row')}"
        if len(label) <= tail.size:
            lines.append(f"{label.ljust(tail.size)} | forecast")
    return "\n".join(lines)


def classification_table(asked: Sequence[Asked], found: Sequence[Classification]) -> str:
    """Label, probability, number of unknown words and the text's beginning."""
    rows = [
        (_line(a), c.label, f"{c.score:.3f}", bar(c.score, 1.0, 10), str(len(c.unknown)), _excerpt(a.text))
        for a, c in zip(asked, found, strict=True)
    ]
    headers = ("line", "label", "probability", "", "unknown", "text")
    return _with_unknown(_rows(headers, rows, (1, 3, 5)), [word for c in found for word in c.unknown])


def next_token_table(asked: Sequence[Asked], found: Sequence[NextToken]) -> str:
    """The text's end, and the words proposed with their probabilities."""
    rows = []
    for a, words in zip(asked, found, strict=True):
        for rank, (word, share) in enumerate(words.candidates):
            line, text = (_line(a), _excerpt(a.text)) if rank == 0 else ("", "")
            rows.append((line, text, word, f"{share:.3f}", bar(share, 1.0, 10)))
    headers = ("line", "text", "next word", "probability", "")
    return _with_unknown(_rows(headers, rows, (1, 2, 4)), [word for words in found for word in words.unknown])


def show_time(time: datetime) -> str:
    """A time as tables print it."""
    return time.isoformat(sep=" ", timespec="minutes" if time.second == time.microsecond == 0 else "auto")


def _rows(headers: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    if any(row[0] for row in rows):
        return table(headers, rows, left)
    return table(headers[1:], [row[1:] for row in rows], [column - 1 for column in left])


def _with_unknown(text: str, unknown: Sequence[str]) -> str:
    if not unknown:
        return text
    distinct = list(dict.fromkeys(unknown))
    listed = ", ".join(distinct[:12]) + (", …" if len(distinct) > 12 else "")
    return f"{text}\n\n{plural(len(unknown), 'word')} not in the vocabulary, read as <unk>: {listed}"


def _line(asked: Asked) -> str:
    return "" if asked.line is None else str(asked.line)


def _excerpt(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= _EXCERPT else shown[: _EXCERPT - 1] + "…"
