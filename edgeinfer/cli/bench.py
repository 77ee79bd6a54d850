"""``edgeinfer bench``: how long one step takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..errors import InputError
from ..model import Model
from ..stream import Stream
from .answers import backend_of, name_of
from .common import (
    add_backend,
    add_limit,
    add_mode,
    add_model,
    add_parser,
    check_mode,
    load_model,
    open_model,
    open_stream,
    seconds,
)
from .output import plural, say, say_json, table
from .pace import pace, pace_json, pace_table
from .samples import random_steps
from .timing import Timing, histogram_table, measure, ratio, show_ns
from .verify import TOLERANCE, largest_difference

_PREPARED = 256
_FLAT_OUT_SECONDS = 0.2
_HIGHEST_RATE = 1e6
_TEXT = """
example:
  edgeinfer bench demand.onnx
  edgeinfer bench demand.onnx --against onnxruntime --seconds 5
  edgeinfer bench demand.onnx --rate 100 --seconds 30

Times stream.step() on random inputs made beforehand, in one thread, after a
warm-up. min to p99.9 are of single steps, less what reading the clock takes;
steps/s is of a loop without a clock in it, the middle one of short parts, so
that what interrupts a few of them does not count. With --against, both first
have to give the same outputs (else exit status 1), and then take turns; the
ratio is that of the loops, the median over the rounds.

With --rate, a step is due HZ times a second, counted from the first, and the
command sleeps in between: how late it woke, how long the step took, when the
answer was there, which deadlines were missed, and what share of a core it cost.
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "bench", "time a model's steps", _TEXT)
    add_model(parser)
    parser.add_argument("--against", choices=("native", "onnxruntime", "reference"), help="a backend to compare with")
    parser.add_argument("--seconds", type=seconds, default=2.0, metavar="S", help="how long to run (default: 2)")
    parser.add_argument("--rate", type=_rate, metavar="HZ", help="pace the steps as a sensor does")
    add_mode(parser)
    add_backend(parser)
    add_limit(parser)
    parser.set_defaults(function=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    check_mode(args)
    if args.rate is not None and args.against is not None:
        args.parser.error("--rate takes no --against: two at once would be in each other's way")
    models = [open_model(args)]
    if args.against is not None:
        models.append(load_model(args, args.against))
        if models[0].backend == models[1].backend:
            raise InputError(f"--against {args.against}: expected another backend than the one that is timed")
    streams = [open_stream(args, model, scalar=True) for model in models]
    steps = random_steps(models[0], _PREPARED)
    if args.rate is not None:
        return _run_paced(args, models[0], streams[0], steps)
    difference = _compare(models, args, steps)
    equal = difference is None or difference <= TOLERANCE
    for stream in streams:
        fill(stream, steps[0])
    watches = measure([stream.step for stream in streams], steps, args.seconds) if equal else []
    timings = [watch.timing() for watch in watches]
    times_as_long = ratio(watches[0].loops, watches[1].loops) if len(watches) > 1 else None
    mode, window = _mode(args, models[0])
    if args.json:
        say_json(
            {
                "model": name_of(models[0]),
                "mode": mode,
                "window": window,
                "seconds": args.seconds,
                "tolerance": TOLERANCE,
                "largest_difference": difference,
                "equal": equal,
                "ratio": times_as_long,
                "results": [
                    {"backend": model.backend, "isa": model.isa, "arithmetic": model.arithmetic, **asdict(timing)}
                    for model, timing in zip(models, timings, strict=False)
                ],
            }
        )
        return 0 if equal else 1
    if not equal:
        say(f"FAILED: outputs differ by {difference:.1e}, more than {TOLERANCE:g}; nothing was timed")
        return 1
    say(f"{name_of(models[0])}: {_about_step(mode, window)}")
    say()
    say(_timings_table(models, timings))
    for model, timing in zip(models, timings, strict=True):
        say()
        say(f"single steps on {backend_of(model)}")
        say(histogram_table(timing.histogram))
    if times_as_long is not None:
        word = "fast" if times_as_long >= 1 else "slow"
        say()
        say(
            f"{models[0].backend} is {max(times_as_long, 1 / times_as_long):.1f} times as {word} as "
            f"{models[1].backend}; largest difference of outputs {difference:.1e}"
        )
    return 0


def _run_paced(args: argparse.Namespace, model: Model, stream: Stream, steps: Sequence[Any]) -> int:
    fill(stream, steps[0])
    (flat_out,) = measure([stream.step], steps, min(_FLAT_OUT_SECONDS, args.seconds))
    found = pace(stream.step, steps, args.rate, args.seconds)
    mode, window = _mode(args, model)
    p50 = flat_out.timing().p50_ns
    if args.json:
        identity = {"model": name_of(model), "backend": model.backend, "isa": model.isa, "mode": mode, "window": window}
        about = {"rate_hz": args.rate, "seconds": args.seconds, "flat_out_p50_ns": p50}
        say_json({**identity, **about, **pace_json(found)})
        return 0
    say(f"{name_of(model)} on {backend_of(model)}: {_about_step(mode, window)}")
    say(f"due every {show_ns(found.period_ns)} ({args.rate:g} Hz), {plural(found.began.size, 'sample')}")
    say()
    say(pace_table(found, p50))
    return 0


def fill(stream: Stream, x: Any) -> None:
    """Step until an answer comes: a window that waits costs nothing yet."""
    while stream.step(x) is None:
        pass


def _timings_table(models: Sequence[Model], timings: Sequence[Timing]) -> str:
    rows = []
    for model, t in zip(models, timings, strict=True):
        quantiles = map(show_ns, (t.min_ns, t.p50_ns, t.p90_ns, t.p99_ns, t.p999_ns))
        rows.append((backend_of(model), *quantiles, f"{t.steps_per_second:,.0f}"))
    return table(("backend", "min", "p50", "p90", "p99", "p99.9", "steps/s"), rows)


def _compare(models: Sequence[Model], args: argparse.Namespace, steps: Sequence[Any]) -> float | None:
    """The largest difference between what two models answer to the same steps; None for one model."""
    if len(models) == 1:
        return None
    worst = 0.0
    first, second = (open_stream(args, model) for model in models)
    for step in steps:
        a, b = _named(first.step(step)), _named(second.step(step))
        worst = max(worst, largest_difference(b, a), largest_difference(a, b))
    return worst


def _named(answer: Any) -> dict[str, np.ndarray]:
    if answer is None:
        return {}
    if isinstance(answer, dict):
        return {name: np.array(value) for name, value in answer.items()}
    return {"": np.array(answer)}


def _mode(args: argparse.Namespace, model: Model) -> tuple[str | None, int | None]:
    """How the stream steps, and over how many inputs where it is a window."""
    about = model.describe()
    mode = args.mode or about["mode"]
    length = args.window or (about["window"] or {}).get("length")
    return mode, length if mode == "window" else None


def _about_step(mode: str | None, window: int | None) -> str:
    if mode == "window":
        return f"one step, which recomputes the whole window of {window} inputs from a zero state"
    return "one step, the state carried"


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value <= _HIGHEST_RATE:
        raise ValueError(text)
    return value


_rate.__name__ = "rate in Hz"
