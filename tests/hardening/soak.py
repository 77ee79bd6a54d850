"""Streams of ten million steps: resident memory that stays flat, no allocation, and a state that does not drift away.

Each bundled model and an LSTM, two GRUs and an RNN are stepped on random inputs beside a twin in float64
(tests/hardening/twin.py). A model that carries its state then goes on with inputs that saturate it, with none, with
subnormal ones, from subnormal and saturated states, and with common ones again. Every difference is relative to
max(1, |y|). One LSTM more counts its steps in its cell state, which has to be exact.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

import edgeinfer
from edgeinfer import snapshot
from edgeinfer.kernels import native

from .builds import BUILDS, ROOT
from .preload import preloaded
from .twin import Twin

sys.path[:0] = [str(ROOT / "tests" / "runtime")]

from graphs import recurrent_model  # noqa: E402 - found through the line above

LIMIT = 1e-5
"""Of any difference, relative to max(1, |y|). Measured in 10^7 steps: docs/soak.md."""
RSS_KIB = 256
"""What resident memory may grow by in the second half of the steps; a leak of 4 bytes in each of 10^7 is 20 MB. In the
first it takes the allocator some blocks to settle."""
BLOCK = 10_000
PHASE = 1000
SAMPLES = 50
"""Windows of a block that the twin answers too; it would take the window's length times as long for all."""
RESULTS = BUILDS / "soak.json"
PAGE = ROOT / "docs" / "soak.md"
DECADES = (1000, 100_000, 10_000_000)


class Case(NamedTuple):
    """A file, and whether its stream carries its state or looks at ``window`` inputs; tokens below ``words``."""

    file: Callable[[], bytes]
    window: int | None = None
    words: int | None = None


def bundled(name: str) -> bytes:
    return (ROOT / "edgeinfer" / "models" / f"{name}.onnx").read_bytes()


def cell(op: str, **attributes: int) -> bytes:
    return recurrent_model(op, 8, 32, 4, **attributes)


def counter() -> bytes:
    """An LSTM of 17 units whose gates are all open: each step adds one to its cell state."""
    model = onnx.load_from_string(recurrent_model("LSTM", 1, 17, 1))
    for tensor in model.graph.initializer:
        if tensor.name in ("W", "R", "B"):
            fill = 50.0 if tensor.name == "B" else 0.0
            tensor.CopyFrom(numpy_helper.from_array(np.full(tuple(tensor.dims), fill, np.float32), tensor.name))
    return bytes(model.SerializeToString())


CASES = {
    "demand": Case(lambda: bundled("demand")),
    "LSTM": Case(lambda: cell("LSTM")),
    "GRU": Case(lambda: cell("GRU", linear_before_reset=0)),
    "GRU, linear before reset": Case(lambda: cell("GRU", linear_before_reset=1)),
    "RNN": Case(lambda: cell("RNN")),
    "LSTM that counts": Case(counter),
    "sum": Case(lambda: bundled("sum"), 2),
    "next_word": Case(lambda: bundled("next_word"), 4, 13),
    "sentiment": Case(lambda: bundled("sentiment"), 100, 5000),
}


class Found(NamedTuple):
    """What a soak of ``steps`` found; ``largest`` by number of steps, ``phases`` by what was fed after them."""

    name: str
    steps: int
    seed: int
    microseconds: float
    allocations: int
    grown_kib: int
    largest: Mapping[int, float]
    phases: Mapping[str, float]

    def wrong(self) -> list[str]:
        """What should not be."""
        found = []
        if self.allocations:
            found.append(f"{self.allocations} allocations in its steps")
        if self.grown_kib > RSS_KIB:
            found.append(f"resident memory grew by {self.grown_kib} KiB")
        for when, difference in [*self.largest.items(), *self.phases.items()]:
            limit = 0 if when == "counted" else LIMIT
            if not difference <= limit:
                found.append(f"{when}: {difference:.1e} from float64, expected at most {limit:.0e}")
        return found


class Soak:
    """One stream and its twin, and what was seen of them."""

    def __init__(self, case: Case, seed: int, count_allocations: Callable[[], int]) -> None:
        data = case.file()
        model = edgeinfer.load(data, backend="native")
        self.sha256 = model.sha256
        self.stream = model.stream(scalar=False)
        self.twin = Twin(data)
        self.states = self.twin.zero()
        self._case = case
        self._rng = np.random.default_rng(seed)
        self._count_allocations = count_allocations
        self._xs = np.zeros((BLOCK, *model.inputs[0].shape[2:]), np.int32 if case.words else np.float32)
        self._ys = np.zeros((BLOCK, model.outputs[0].shape[-1]), np.float32)
        self._rows = list(self._xs), list(self._ys)
        self._before = self._xs[:0]
        self.steps, self.allocated, self.seconds = 0, 0, 0.0
        self.largest = dict.fromkeys(DECADES, 0.0)
        self.resident: list[int] = []

    def run(self, steps: int, say: Callable[[str], None]) -> None:
        """Steps one by one and steps in one call, a block of each in turn, each answer held against the twin's."""
        idle = self._allocations(lambda x, out: None, BLOCK)
        while self.steps < steps:
            until = min([steps, *(decade for decade in DECADES if decade > self.steps)])
            count = min(BLOCK, until - self.steps)
            self._draw()
            started = time.perf_counter()
            if len(self.resident) % 2 == 0:
                calls = self._allocations(self.stream.step, count)
                self.allocated += max(0, calls - idle) if self.steps else 0  # the first step may import
            else:
                self._ys[:count] = self.stream.run(self._xs[:count])
            self.seconds += time.perf_counter() - started
            difference = self._difference(count)
            self.steps += count
            for decade in DECADES:
                if self.steps <= decade:
                    self.largest[decade] = max(self.largest[decade], difference)
            self.resident.append(resident_kib())
            if self.steps % (100 * BLOCK) == 0:
                say(f"{self.steps:,} steps, {self.seconds / self.steps * 1e6:.2f} µs each")

    def phase(self, xs: np.ndarray, states: Sequence[float] | None = None) -> float:
        """The largest difference over ``xs``, all states first set to these values if they are given."""
        if states is not None:
            self._set(states)
        hs, self.states = self.twin.run(xs.astype(np.float64), self.states)
        return relative(self.stream.run(xs), self.twin.outputs(hs))

    def saved(self) -> dict[str, np.ndarray]:
        return snapshot.decode(self.stream.snapshot(), "stream", self.sha256)

    def inputs(self, steps: int, scale: float) -> np.ndarray:
        with np.errstate(under="ignore"):
            return (self._rng.standard_normal((steps, *self._xs.shape[1:])) * scale).astype(np.float32)

    def _set(self, values: Sequence[float]) -> None:
        shapes = {name: array.shape for name, array in self.saved().items()}
        arrays = {
            name: (value * self._rng.choice([-1.0, 1.0], shape)).astype(np.float32)
            for (name, shape), value in zip(shapes.items(), values, strict=False)
        }
        self.stream.restore(snapshot.encode("stream", self.sha256, arrays))
        self.states = tuple(array.reshape(-1).astype(np.float64) for array in arrays.values())

    def _draw(self) -> None:
        if self._case.words:
            self._xs[...] = self._rng.integers(0, self._case.words, len(self._xs))
            self._rows = self._xs.tolist(), self._rows[1]
        else:
            self._xs[...] = self.inputs(len(self._xs), 1.0)

    def _allocations(self, step: Callable[..., object], count: int) -> int:
        xs, ys = self._rows
        before = self._count_allocations()
        for x, y in zip(xs[:count], ys[:count], strict=True):
            step(x, out=y)
        return self._count_allocations() - before

    def _difference(self, count: int) -> float:
        if self._case.window is None:
            hs, self.states = self.twin.run(self._xs[:count], self.states)
            return relative(self._ys[:count], self.twin.outputs(hs))
        joined = np.concatenate([self._before, self._xs[:count]])
        length = self._case.window
        self._before = joined[1 - length :]
        first = length - 1 - (len(joined) - count)  # the first whose window is full
        chosen = self._rng.integers(max(first, 0), count, SAMPLES)
        windows = np.stack([joined[i - first : i - first + length] for i in chosen], axis=1)
        hs, _ = self.twin.run(windows, self.twin.zero(SAMPLES))
        return relative(self._ys[chosen], self.twin.outputs(hs[-1]))


def relative(ys: np.ndarray, true: np.ndarray) -> float:
    """The largest difference relative to max(1, |y|); infinite where an answer is not finite."""
    if not np.isfinite(ys).all():
        return np.inf
    return float(np.max(np.abs(ys - true) / np.maximum(1, np.abs(true)), initial=0.0))


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def soak(name: str, steps: int, seed: int, count_allocations: Callable[[], int], say: Callable[[str], None]) -> Found:
    case = CASES[name]
    run = Soak(case, seed, count_allocations)
    run.run(steps, say)
    phases: dict[str, float] = {}
    if name == "LSTM that counts":
        counted = run.saved()["l/initial_c"]
        phases["counted"] = float(np.max(np.abs(counted - np.float32(run.steps))))
    elif case.window is None:
        sign = np.sign(run.inputs(PHASE, 1.0)) * np.float32(1e30)
        phases["saturated"] = run.phase(sign)
        phases["silent"] = run.phase(np.zeros_like(sign))
        phases["subnormal"] = run.phase(run.inputs(PHASE, 1e-40), (1e-40, 1e-40))
        phases["from the ends"] = run.phase(run.inputs(PHASE, 1.0), (1.0, 1e6))
        phases["again"] = run.phase(run.inputs(PHASE, 1.0))
    later = run.resident[len(run.resident) // 2 :]
    return Found(
        name, run.steps, seed, run.seconds / run.steps * 1e6, run.allocated, max(later) - later[0], run.largest, phases
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0 all is as it should be, 1 something is not."""
    arguments = _parser().parse_args(argv)
    if arguments.page:
        PAGE.write_text(page(json.loads(RESULTS.read_text("utf-8"))), "utf-8")
        return 0
    # PYTHONMALLOC: every object that Python makes is a call of malloc too. The threshold: the twin's arrays go back to
    # the system when they are let go of.
    library = preloaded(
        "allocations",
        sys.argv[1:] if argv is None else argv,
        PYTHONMALLOC="malloc",
        MALLOC_MMAP_THRESHOLD_="100000",
    )
    count_allocations: Callable[[], int] = library.allocations
    names, wrong = arguments.only or list(CASES), 0
    for name in names:
        say = partial(_say, name)
        found = soak(name, arguments.count, arguments.seed, count_allocations, say)
        for line in found.wrong():
            print(f"{name}: {line} (--only {name!r} --seed {arguments.seed} --count {arguments.count})")
        wrong += len(found.wrong())
        say(f"{max(found.largest.values()):.1e} from float64, {found.grown_kib} KiB, {found.allocations} allocations")
        if not found.wrong():
            keep(found)
    print(f"soak: {arguments.count:,} steps of {len(names)} streams, {wrong} findings")
    return int(wrong > 0)


def _say(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.hardening.soak",
        description=__doc__,
        epilog=f"--page writes {PAGE.relative_to(ROOT)} from the last runs, kept in {RESULTS.relative_to(ROOT)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=10_000_000, metavar="N", help="steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=CASES, metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--page", action="store_true", help="run nothing, write the page")
    return parser


def keep(found: Found) -> None:
    """Beside what was found of the other streams, and in place of what took fewer steps."""
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    if kept.get(found.name, {}).get("steps", 0) > found.steps:
        return
    kept[found.name] = {**found._asdict(), "date": datetime.date.today().isoformat(), "machine": machine()}
    RESULTS.write_text(json.dumps(kept, indent=1), "utf-8")


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return f"{cpu}, {native.core_names()[0]}, Python {platform.python_version()}, numpy {np.__version__}"


HEAD = """# Long runs

Each stream takes random inputs, 10,000 steps one by one and 10,000 in one call in turn, beside a twin in float64 that
shares nothing with edgeinfer ([tests/hardening/twin.py](../tests/hardening/twin.py)). Differences are relative to
max(1, |y|). A model that carries its state has carried it from the first step to the last, and so has the twin:
rounding does not add up, since each step forgets a part of the state and the rounding in it. Of a window model, which
starts from zero in each window, 1 window in 200 is computed again.

```
$ make soak                             # 10,000,000 steps of each stream, some hours
$ make soak ARGS="--only sentiment"
$ make soak ARGS=--page                 # writes this page
```

"""

BETWEEN = """
LSTM, GRU and RNN: 8 inputs, 32 units, 4 outputs. `LSTM that counts` has all its gates open, and its cell state is
exactly the number of steps (up to 2^24, behind which float32 does not have every whole number).

Then, in the same streams, 1,000 steps each of: inputs of ±1e30; zeros; subnormal inputs from a subnormal state; common
inputs from h = ±1 and c = ±1e6; and common inputs again.
"""


def page(kept: Mapping[str, Any]) -> str:
    """docs/soak.md."""
    rows = [kept[name] for name in CASES if name in kept]
    dates, machines = sorted({row["date"] for row in rows}), sorted({row["machine"] for row in rows})
    lines = [f"{', '.join(dates)}; {'; '.join(machines)}; one core, which other work shared.", ""]
    lines += [
        "| stream | steps | allocations | memory grew by, in the second half "
        "| largest difference in 1,000 steps | in 100,000 | in all |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        largest = " | ".join(f"{value:.1e}" for value in row["largest"].values())
        cells = f"{row['steps']:,} | {row['allocations']} | {row['grown_kib']} KiB | {largest}"
        lines.append(f"| {row['name']} | {cells} |")
    lines += [
        BETWEEN,
        "| stream | saturated | silent | subnormal | from the ends | again |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if len(row["phases"]) > 1:
            lines.append(f"| {row['name']} | {' | '.join(f'{value:.1e}' for value in row['phases'].values())} |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
