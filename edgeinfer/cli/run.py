"""``edgeinfer run``: a model's answer to values, a text, a file, or a stream of rows."""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from ..errors import InputError, PipelineError
from ..model import Model
from ..pipeline import Classifier, Forecaster, Generator, Pipeline, pipeline
from ..snapshot import write_atomically
from .answers import (
    Asked,
    backend_of,
    classification_json,
    classification_table,
    forecast_json,
    forecast_table,
    identity,
    name_of,
    next_token_json,
    next_token_table,
)
from .common import (
    add_backend,
    add_limit,
    add_mode,
    add_model,
    add_parser,
    check_mode,
    open_model,
    open_stream,
    positive_int,
)
from .csv_series import CsvSeries, parse_number, read_csv_series
from .output import plural, say, say_json, table
from .streaming import pipeline_answers, raw_answers, serve

_T = TypeVar("_T")
_TEXT = """
forecast, for example:
  edgeinfer run sum.onnx --values 5,6
  edgeinfer run demand.onnx --csv history.csv --column load --time hour
text:
  edgeinfer run next_word.onnx --text "I love" --top 3
  edgeinfer run sentiment.onnx --input reviews.txt
any model:
  edgeinfer run model.onnx --npz in.npz --out out.npz

--stream reads one step per line from standard input and answers each with one
line at once:
  a series   value, or time,value, or {"value": 3, "time": "2024-03-01 13:00"};
             --column and --time name the fields of the objects, or the
             columns of a header line. Answer: the forecast, comma-separated
  text       a piece of text, or {"text": "..."}. Answer: label and probability,
             or words and their probabilities, separated by tabs
  any other  the numbers of one step, or a JSON list, or an object by the name
             of the input. Answer: numbers, comma-separated
A step that has no answer yet gives "waiting". Blank lines are skipped. With
--json every answer is an object on a line of its own.
  sensor | edgeinfer run demand.onnx --stream --state demand.state | actuator

--state FILE carries the state over to the next run. It is saved at the end of
the input, when the reader of the answers leaves, before a bad row ends the run,
on SIGTERM (exit status 0) and on SIGINT (130). A file that is damaged or
another model's is refused and left as it was, and so is one that another
process keeps its state in.
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "run", "run a model on values, text, a file, or a stream of rows", _TEXT)
    parser.usage = (
        "edgeinfer run MODEL (--values V,V,... | --text TEXT | --input FILE |\n"
        "                     --csv FILE | --npz FILE | --stream) [options]"
    )
    add_model(parser)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--values", metavar="V,V,...", help="a series, oldest first")
    data.add_argument("--text", metavar="TEXT", help="a text")
    data.add_argument("--input", metavar="FILE", help="texts, one a line")
    data.add_argument("--csv", metavar="FILE", help="a series in a CSV file with a header; needs --column")
    data.add_argument("--npz", metavar="FILE", help="input arrays by name; needs --out")
    data.add_argument("--stream", action="store_true", help="one step per line of standard input")
    parser.add_argument("--column", metavar="NAME", help="the column of the values")
    parser.add_argument("--time", metavar="NAME", help="the column of the times")
    parser.add_argument("--horizon", type=positive_int, metavar="N", help="how many steps to forecast")
    parser.add_argument("--top", type=positive_int, metavar="N", help="how many words (default: 1)")
    parser.add_argument("--out", metavar="FILE", help="where --npz writes the outputs")
    parser.add_argument("--state", metavar="FILE", help="where --stream keeps its state")
    add_mode(parser)
    add_backend(parser)
    add_limit(parser)
    parser.set_defaults(function=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    _check_usage(args)
    model = open_model(args)
    if args.npz is not None:
        return _run_npz(model, args.npz, args.out, args.json)
    task = None if model.spec is None else model.spec.task
    if args.stream:
        if task is None or args.mode is not None:
            return _stream_raw(args, model)
        app = _pipeline(args, model)
        _check_options(args, app)
        answer, state = pipeline_answers(
            app, column=args.column, time=args.time, horizon=args.horizon, top=args.top or 1, as_json=args.json
        )
        return serve(answer, state, args.state)
    if task is None:
        raise PipelineError(
            f"{args.model}: the file names no task, so {_data_option(args)} means nothing to it; "
            "--npz and --stream run any model",
            stage="task",
            field="task",
        )
    app = _pipeline(args, model)
    _check_data(args, app)
    _check_options(args, app)
    if isinstance(app, Forecaster):
        return _run_forecast(args, app)
    return _run_classify(args, app) if isinstance(app, Classifier) else _run_next_token(args, app)


def _pipeline(args: argparse.Namespace, model: Model) -> Pipeline:
    """The model's pipeline; what is wrong in the metadata is said with the file's name."""
    try:
        return pipeline(model)
    except PipelineError as error:
        raise PipelineError(f"{args.model}: {error}", stage=error.stage, field=error.field) from None


def _check_usage(args: argparse.Namespace) -> None:
    for option, needed in (
        ("column", ("csv", "stream")),
        ("time", ("csv", "stream")),
        ("horizon", ("values", "csv", "stream")),
        ("out", ("npz",)),
        ("state", ("stream",)),
        ("mode", ("stream",)),
    ):
        if getattr(args, option) is not None and all(getattr(args, data) in (None, False) for data in needed):
            args.parser.error(f"--{option} needs " + " or ".join(f"--{data}" for data in needed))
    if args.npz is not None and args.out is None:
        args.parser.error("--npz needs --out FILE")
    check_mode(args)


def _data_option(args: argparse.Namespace) -> str:
    return next(f"--{name}" for name in ("values", "text", "input", "csv") if getattr(args, name) is not None)


def _check_data(args: argparse.Namespace, app: Pipeline) -> None:
    """A text model was given text, and a forecast numbers."""
    if isinstance(app, Forecaster):
        takes, does = ("values", "csv"), "forecasts a series"
    elif isinstance(app, Classifier):
        takes, does = ("text", "input"), "labels texts"
    else:
        takes, does = ("text", "input"), "proposes the next word of a text"
    if all(getattr(args, name) is None for name in takes):
        options = " or ".join(f"--{name}" for name in takes)
        raise PipelineError(
            f"{args.model} {does}: expected {options}, got {_data_option(args)}", stage="task", field="task"
        )


def _check_options(args: argparse.Namespace, app: Pipeline | None) -> None:
    """Refuse options that mean nothing to the task: ignored, they would hide a mistake."""
    for option, kind, what in (
        ("column", Forecaster, "a series"),
        ("time", Forecaster, "a series"),
        ("horizon", Forecaster, "a forecast"),
        ("top", Generator, "a model of next words"),
    ):
        if getattr(args, option) is not None and not isinstance(app, kind):
            raise PipelineError(f"{args.model}: --{option} is for {what}", stage="task", field=option)


def _run_forecast(args: argparse.Namespace, app: Forecaster) -> int:
    if args.csv is not None:
        series = read_csv_series(args.csv, args.column, args.time)
        if app.features.needs_time and series.times is None:
            raise PipelineError(
                f"{args.model} reads the calendar: name the time column of {args.csv} with --time; "
                f"there are: {', '.join(series.columns)}",
                stage="series",
                field="times",
            )
    else:
        if app.features.needs_time:
            raise PipelineError(
                f"{args.model} reads the calendar: expected --csv and --time, got --values",
                stage="series",
                field="times",
            )
        cells = args.values.split(",") if args.values.strip() else []
        values = [parse_number(cell, f"--values: number {i}", "values") for i, cell in enumerate(cells, 1)]
        series = CsvSeries("--values", np.array(values), None, tuple(range(1, len(values) + 1)), ())
    try:
        forecast = app(series.values, series.times, args.horizon)
    except PipelineError as error:
        raise series.locate(error) from None
    if args.json:
        say_json({**identity(app.model), "rows": series.values.size, **forecast_json(forecast)})
        return 0
    say(f"{_title(app.model)}, {plural(series.values.size, 'row')} read")
    say()
    say(forecast_table(forecast, series.values))
    return 0


def _run_classify(args: argparse.Namespace, app: Classifier) -> int:
    asked = _asked(args)
    found = _answers(args, asked, app)
    if args.json:
        _say_texts(args, app.model, asked, [classification_json(item) for item in found])
    else:
        say(f"{_title(app.model)}\n\n{classification_table(asked, found)}")
    return 0


def _run_next_token(args: argparse.Namespace, app: Generator) -> int:
    asked = _asked(args)
    found = _answers(args, asked, lambda text: app(text, args.top or 1))
    if args.json:
        _say_texts(args, app.model, asked, [next_token_json(item) for item in found])
    else:
        say(f"{_title(app.model)}\n\n{next_token_table(asked, found)}")
    return 0


def _asked(args: argparse.Namespace) -> list[Asked]:
    """The texts: the one given, or the lines of a file that are not blank."""
    if args.text is not None:
        return [Asked(args.text)]
    try:
        with open(args.input, encoding="utf-8-sig") as file:
            asked = [Asked(line.rstrip("\n"), row) for row, line in enumerate(file, 1) if line.strip()]
    except UnicodeDecodeError as error:
        message = f"{args.input}: not UTF-8 text: {error}"
        raise PipelineError(message, stage="text", field="encoding") from None
    if not asked:
        raise PipelineError(f"{args.input}: empty: expected a text per line", stage="text", field="input")
    return asked


def _answers(args: argparse.Namespace, asked: Sequence[Asked], answer: Callable[[str], _T]) -> list[_T]:
    found = []
    for item in asked:
        try:
            found.append(answer(item.text))
        except PipelineError as error:
            if item.line is None:
                raise
            where = f"{args.input}: line {item.line}: {error}"
            raise PipelineError(where, stage=error.stage, field=error.field) from None
    return found


def _say_texts(
    args: argparse.Namespace, model: Model, asked: Sequence[Asked], answers: Sequence[dict[str, Any]]
) -> None:
    """One text: its answer; a file: a list of them."""
    if args.text is not None:
        say_json({**identity(model), "text": args.text, **answers[0]})
        return
    results = [{"line": a.line, "text": a.text, **found} for a, found in zip(asked, answers, strict=True)]
    say_json({**identity(model), "results": results})


def _title(model: Model) -> str:
    return f"{name_of(model)} on {backend_of(model)}"


def _run_npz(model: Model, source: str, target: str, as_json: bool) -> int:
    feeds = _read_npz(source)
    names = [value.name for value in model.outputs]
    names += [state.output for state in model.states if state.in_file and state.output]
    outputs = dict(zip(names, model.run(names, feeds), strict=True))
    write_atomically(target, _npz_bytes(outputs))
    shapes = {name: {"dtype": y.dtype.name, "shape": list(y.shape)} for name, y in outputs.items()}
    if as_json:
        say_json({**identity(model), "out": target, "outputs": shapes})
    else:
        rows = [(name, shape["dtype"], str(shape["shape"])) for name, shape in shapes.items()]
        say(f"{_title(model)}\n\n{table(('output', 'type', 'shape'), rows, left=(0, 1, 2))}")
        say(f"\nwritten to {target}")
    return 0


def _read_npz(path: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file. Raises InputError where it is none; pickled objects are never loaded."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:6] == b"\x93NUMPY":
        raise InputError(f"{path}: not an .npz file of named arrays, but a single array")
    if data[:2] != b"PK":
        raise InputError(f"{path}: not an .npz file: expected it to begin with b'PK', got {data[:4]!r}")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except MemoryError:
        raise
    except Exception as error:  # zip members fail in as many ways as there are compressions
        raise InputError(f"{path}: not an .npz file of plain arrays: {error}") from None


def _npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    # np.savez takes names as keywords, where "file" would clash.
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            archive.writestr(f"{name}.npy", member.getvalue())
    return buffer.getvalue()


def _stream_raw(args: argparse.Namespace, model: Model) -> int:
    _check_options(args, None)
    stream = open_stream(args, model)
    return serve(raw_answers(model, stream, args.json), stream, args.state)
