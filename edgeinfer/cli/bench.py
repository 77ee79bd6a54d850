"""``edgeinfer bench``: how long one step takes."""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..model import Model, load
from ..stream import Stream
from .answers import backend_of, name_of
from .common import add_backend, add_mode, add_model, add_parser, open_model, open_stream
from .output import say, say_json, table
from .samples import random_steps
from .verify import TOLERANCE, largest_difference

_PREPARED = 256
_ROUND_SECONDS = 0.02
_TEXT = """
example:
  edgeinfer bench demand.onnx
  edgeinfer bench demand.onnx --against onnxruntime --seconds 5

Times stream.step() on random inputs made beforehand, in one thread, after a
warm-up. min, p50 and p99 are of single steps, less what reading the clock
takes; steps/s is of a loop without a clock in it. With --against, both first
have to give the same outputs (else exit status 1), and then take turns.
"""


@dataclass(frozen=True)
class Timing:
    """Nanoseconds of single steps, and steps per second of an undisturbed loop."""

    steps: int
    min_ns: float
    p50_ns: float
    p99_ns: float
    steps_per_second: float


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "bench", "time a model's steps", _TEXT)
    add_model(parser)
    parser.add_argument("--against", choices=("native", "onnxruntime", "reference"), help="a backend to compare with")
    parser.add_argument("--seconds", type=_seconds, default=2.0, metavar="S", help="how long to run (default: 2)")
    add_mode(parser)
    add_backend(parser)
    parser.set_defaults(function=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.window is not None and args.mode != "window":
        args.parser.error("--window needs --mode window")
    models = [open_model(args)]
    if args.against is not None:
        models.append(load(args.model, backend=args.against))
        if models[0].backend == models[1].backend:
            raise InputError(f"--against {args.against}: expected another backend than the one that is timed")
    streams = [open_stream(args, model, scalar=True) for model in models]
    steps = random_steps(models[0], _PREPARED)
    difference = _compare(models, args, steps)
    equal = difference is None or difference <= TOLERANCE
    timings = measure(streams, steps, args.seconds) if equal else []
    about = models[0].describe()
    window = args.window or (about.get("window") or {}).get("length")
    mode = args.mode or about.get("mode")
    if args.json:
        say_json(
            {
                "model": name_of(models[0]),
                "mode": mode,
                "window": window if mode == "window" else None,
                "seconds": args.seconds,
                "tolerance": TOLERANCE,
                "largest_difference": difference,
                "equal": equal,
                "results": [
                    {"backend": model.backend, "isa": model.isa, **vars(timing)}
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
    rows = [
        (backend_of(model), *map(show_ns, (t.min_ns, t.p50_ns, t.p99_ns)), f"{t.steps_per_second:,.0f}")
        for model, t in zip(models, timings, strict=True)
    ]
    say(table(("backend", "min", "p50", "p99", "steps/s"), rows))
    if difference is not None:
        ratio = timings[1].p50_ns / max(timings[0].p50_ns, 1.0)
        word = "fast" if ratio >= 1 else "slow"
        say()
        say(
            f"{models[0].backend} is {max(ratio, 1 / ratio):.1f} times as {word} as {models[1].backend} by p50; "
            f"largest difference of outputs {difference:.1e}"
        )
    return 0


def measure(streams: Sequence[Stream], steps: Sequence[Any], seconds: float) -> list[Timing]:
    """Time streams in turns for ``seconds`` in all, so that what else the machine does falls on all alike."""
    overhead = _clock_overhead()
    sizes = [_round_size(stream, steps) for stream in streams]
    singles: list[list[npt.NDArray[np.int64]]] = [[] for _ in streams]
    loops = [[0, 0] for _ in streams]
    collecting = gc.isenabled()
    gc.disable()
    try:
        end = time.perf_counter() + seconds
        while True:
            for i, stream in enumerate(streams):
                singles[i].append(_time_singly(stream, steps, sizes[i]))
                loops[i][0] += sizes[i]
                loops[i][1] += _time_loop(stream, steps, sizes[i])
            if time.perf_counter() >= end:
                break
    finally:
        if collecting:
            gc.enable()
    return [_summary(np.concatenate(singles[i]), overhead, loops[i][0], loops[i][1]) for i in range(len(streams))]


def show_ns(nanoseconds: float) -> str:
    """A duration with a unit that fits."""
    for limit, unit, scale in ((1e3, "ns", 1.0), (1e6, "µs", 1e3), (1e9, "ms", 1e6)):
        if nanoseconds < limit:
            return f"{nanoseconds / scale:.3g} {unit}"
    return f"{nanoseconds / 1e9:.3g} s"


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


def _round_size(stream: Stream, steps: Sequence[Any]) -> int:
    """How many steps make a round of about _ROUND_SECONDS; a warm-up that fills windows, too."""
    _time_loop(stream, steps, len(steps))
    while stream.step(steps[0]) is None:  # a window that waits costs nothing yet
        pass
    size = 16
    while True:
        spent = _time_loop(stream, steps, size) / 1e9
        if spent >= _ROUND_SECONDS / 4:
            return max(16, int(size * _ROUND_SECONDS / spent))
        size *= 4


def _time_singly(stream: Stream, steps: Sequence[Any], count: int) -> npt.NDArray[np.int64]:
    taken = []
    step, clock, prepared = stream.step, time.perf_counter_ns, len(steps)
    for i in range(count):
        x = steps[i % prepared]
        before = clock()
        step(x)
        taken.append(clock() - before)
    return np.array(taken, dtype=np.int64)


def _time_loop(stream: Stream, steps: Sequence[Any], count: int) -> int:
    step, clock = stream.step, time.perf_counter_ns
    repeated = [steps[i % len(steps)] for i in range(count)]
    before = clock()
    for x in repeated:
        step(x)
    return clock() - before


def _clock_overhead() -> float:
    clock = time.perf_counter_ns
    taken = []
    for _ in range(2000):
        before = clock()
        taken.append(clock() - before)
    return float(np.median(taken))


def _summary(taken: npt.NDArray[np.int64], overhead: float, steps: int, nanoseconds: int) -> Timing:
    low, middle, high = (max(float(np.percentile(taken, q)) - overhead, 0.0) for q in (0, 50, 99))
    return Timing(taken.size + steps, low, middle, high, steps / max(nanoseconds, 1) * 1e9)


def _about_step(mode: str | None, window: int | None) -> str:
    if mode == "window":
        return f"one step, which recomputes the whole window of {window} inputs from a zero state"
    return "one step, the state carried"


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise ValueError(text)
    return value


_seconds.__name__ = "number of seconds"  # argparse names the type in its message
