"""How far a file with small weights drifts from the float32 file, how much smaller and how much faster it is.

Both run on edgeinfer's native core, on the goldens' own inputs repeated one after the other. Each source of error has
a row of its own, and one row says how far float32 itself moves when its sums are rounded in another order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

import edgeinfer
from edgeinfer.backends import available
from edgeinfer.cli.samples import random_feeds, random_steps
from edgeinfer.model import Model

from .differences import difference
from .limits import RAISED

STEPS = (10, 1_000, 100_000)
# A window starts from zero at every step, so that nothing builds up over more of them.
WINDOW_STEPS = (10, 1_000)
# ONNX Runtime on the same file differs by the order of float32 sums only.
RUNTIME_TOLERANCE = 1e-5
_CHUNK = 1_000
_REPORT_EVERY = 20_000
_ROUNDS = 9
_ROUND_SECONDS = 0.02
_OTHER_ORDER = "float32, sums in another order"
_Feed = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Drift:
    """What was measured. Differences are relative to max(1, |y|).

    ``rows``: source of error → the largest difference within each of ``columns``. ``goldens`` is the difference from
    the goldens in the file, or from the float32 file where it holds none. ``onnxruntime`` compares ONNX Runtime and
    native on the same file; None where it is not installed. ``step_ns``: float32 and small, medians.
    """

    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]
    goldens: float
    onnxruntime: float | None
    step_ns: tuple[float, float]
    runs_on: str

    @property
    def largest(self) -> float:
        """Of the small weights' own rows, and of the goldens."""
        own = (value for name, row in self.rows.items() if name != _OTHER_ORDER for value in row)
        return max(self.goldens, *own)

    def table(self) -> str:
        """For people."""
        width = max(map(len, self.rows))
        head = " " * width + "".join(f"{column:>20}" for column in self.columns)
        lines = [f"{name:<{width}}" + "".join(f"{v:>20.1e}" for v in row) for name, row in self.rows.items()]
        return "\n".join([head, *lines])

    def to_dict(self) -> dict[str, Any]:
        return {
            "columns": list(self.columns),
            "rows": {name: list(row) for name, row in self.rows.items()},
            "largest": self.largest,
            "goldens": self.goldens,
            "onnxruntime": self.onnxruntime,
            "step_ns": {"float32": self.step_ns[0], "small": self.step_ns[1]},
            "runs_on": self.runs_on,
        }


def measure(before: bytes, after: bytes, say: Callable[[str], None]) -> Drift:
    """Run both files. ``say`` is called with a line before each part that takes time."""
    base = edgeinfer.load(before, backend="native", limits=RAISED)
    small = edgeinfer.load(after, backend="native", precision="exact", limits=RAISED)
    assert base.isa is not None and small.spec is not None
    others = {f"{small.spec.weights} weights": small}
    asked = edgeinfer.load(after, backend="native", limits=RAISED)
    if small.spec.activations == "int8":
        others["int8 weights and states"] = asked
    others[_OTHER_ORDER] = edgeinfer.load(before, backend="native", isa="generic", limits=RAISED)
    say("comparing with the goldens" if small.spec.goldens else "the file holds no goldens; comparing on random inputs")
    columns, rows = _drift(base, others, say)
    runtime = None
    if "onnxruntime" in available():
        say("comparing with ONNX Runtime on the same file")
        peer = edgeinfer.load(after, backend="onnxruntime", limits=RAISED)
        runtime = max(_apart(peer, small, feed) for feed in _feeds(small))
    say("timing")
    goldens = max(_from_goldens(base, small), _from_goldens(base, asked))
    return Drift(columns, rows, goldens, runtime, _time(base, asked), f"native ({base.isa}), {asked.arithmetic}")


def _drift(
    base: Model, others: Mapping[str, Model], say: Callable[[str], None]
) -> tuple[tuple[str, ...], dict[str, tuple[float, ...]]]:
    """The largest difference of each model from ``base`` within so many steps."""
    mode = _mode(base)
    if mode is None:
        worst = {name: max(_apart(base, model, feed) for feed in _feeds(base)) for name, model in others.items()}
        return ("whole sequences",), {name: (value,) for name, value in worst.items()}
    marks = WINDOW_STEPS if mode == "window" else STEPS
    stream, streams = _open(base, mode), {name: _open(model, mode) for name, model in others.items()}
    inputs = _step_inputs(base)
    largest = dict.fromkeys(others, 0.0)
    found: dict[str, list[float]] = {name: [] for name in others}
    done = 0
    for mark in marks:
        while done < mark:
            count = min(_CHUNK, mark - done)
            xs = np.take(inputs, range(done, done + count), axis=0, mode="wrap")
            expected = _arrays(stream.run(xs))
            for name, other in streams.items():
                largest[name] = max(largest[name], _largest(expected, _arrays(other.run(xs))))
            done += count
            if done % _REPORT_EVERY == 0:
                say(f"{done:,} of {marks[-1]:,} steps")
        for name in others:
            found[name].append(largest[name])
    word = "windows" if mode == "window" else "steps"
    return tuple(f"{mark:,} {word}" for mark in marks), {name: tuple(row) for name, row in found.items()}


def _mode(model: Model) -> str | None:
    """How the file's streams run; a foreign file that can stream carries its state. None: whole sequences only."""
    if len(model.inputs) != 1 or not model.outputs:
        return None
    mode = model.spec.mode if model.spec else None
    return mode or ("stream" if model.describe()["streams"] else None)


def _open(model: Model, mode: str) -> Any:
    return model.stream(mode=mode)  # type: ignore[arg-type]


def _step_inputs(model: Model) -> np.ndarray:
    """The inputs of single steps, [steps, …]: the goldens' sequences one after the other, else random ones."""
    name = model.inputs[0].name
    goldens = model.spec.goldens if model.spec else ()
    sequences = [golden.inputs[name] for golden in goldens if golden.inputs[name].ndim > 1]
    if sequences:
        return np.concatenate([xs.reshape(-1, *xs.shape[2:]) for xs in sequences])
    return np.array(random_steps(model, _CHUNK), model.inputs[0].dtype)


def _feeds(model: Model) -> list[_Feed]:
    """Whole inputs: the goldens', else random ones."""
    goldens = model.spec.goldens if model.spec else ()
    return [golden.inputs for golden in goldens] or [random_feeds(model)]


def _from_goldens(base: Model, small: Model) -> float:
    assert small.spec is not None
    if not small.spec.goldens:
        return max(_apart(base, small, feed) for feed in _feeds(base))
    return max(
        _largest(golden.outputs, dict(zip(golden.outputs, small.run(list(golden.outputs), golden.inputs), strict=True)))
        for golden in small.spec.goldens
    )


def _apart(one: Model, other: Model, feed: _Feed) -> float:
    """The largest difference between two models' outputs and final states."""
    names = [info.name for info in one.outputs]
    return max(difference(a, b) for a, b in zip(one.run(names, feed), other.run(names, feed), strict=True))


def _arrays(answer: Any) -> dict[str, np.ndarray]:
    return answer if isinstance(answer, dict) else {"": np.asarray(answer)}


def _largest(expected: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray]) -> float:
    """Rows of NaN are those of a window that waits to be full, alike in both."""
    worst = 0.0
    for name, wanted in expected.items():
        answered = ~np.isnan(wanted)
        worst = max(worst, difference(wanted[answered], np.asarray(got[name])[answered]))
    return worst


def _time(base: Model, small: Model) -> tuple[float, float]:
    """Nanoseconds of one step of each (of one whole call where they do not step), in interleaved rounds."""
    mode = _mode(base)
    works: list[Callable[[], Any]] = []
    for model in (base, small):
        if mode is None:
            feed = dict(_feeds(model)[0])
            works.append(lambda model=model, feed=feed: model.run(None, feed))  # type: ignore[misc]
        else:
            stream, x = _open(model, mode), _step_inputs(model)[0]
            for _ in range(model.spec.window.length if model.spec and model.spec.window else 1):
                stream.step(x)
            works.append(lambda stream=stream, x=x: stream.step(x))  # type: ignore[misc]
    counts = [_count(work) for work in works]
    rounds: Sequence[list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for taken, work, count in zip(rounds, works, counts, strict=True):
            taken.append(_spent(work, count) / count)
    return median(rounds[0]), median(rounds[1])


def _count(work: Callable[[], Any]) -> int:
    return max(1, round(_ROUND_SECONDS * 1e9 / max(_spent(work, 10) / 10, 1.0)))


def _spent(work: Callable[[], Any], count: int) -> int:
    start = time.perf_counter_ns()
    for _ in range(count):
        work()
    return time.perf_counter_ns() - start
