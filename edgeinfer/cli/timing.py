"""How calls are timed: singly for the percentiles, in a loop without a clock for the rate, both in rounds.

The one implementation: ``edgeinfer bench``, ``demo`` and the repository's ``bench/`` measure with it.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from .output import bar, table

ROUND_SECONDS = 0.02
_BINS = 12
_LEAST = 3  # calls in a round, however long one takes
# A loop is timed in parts, of which the middle one counts: on a busy machine most of them are not interrupted.
_PART_SECONDS = 0.0005
_WARM = 8  # one call in so many goes before a round, untimed: another may have had the caches since
_BAR = 30

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bin:
    """How many calls took from ``from_ns`` up to ``to_ns``; the last one has no end."""

    from_ns: float
    to_ns: float | None
    count: int


@dataclass(frozen=True)
class Timing:
    """Nanoseconds of single calls, less what reading the clock takes, and calls per second of a loop without it."""

    steps: int
    min_ns: float
    p50_ns: float
    p90_ns: float
    p99_ns: float
    p999_ns: float
    steps_per_second: float
    histogram: tuple[Bin, ...]


class Stopwatch:
    """Times one call on inputs that come in turn, a round at a time, and keeps what it measured.

    call: takes one of ``inputs``. seconds: about how long a round takes. keep: hold on to the results, as many as there
    are inputs at most, so that the memory of the one before cannot be used again.
    """

    def __init__(
        self, call: Callable[[Any], Any], inputs: Sequence[Any], seconds: float = ROUND_SECONDS, keep: bool = False
    ) -> None:
        self._call = call
        self._inputs = inputs
        self._keep = keep
        self._size = self._round_size(seconds)
        self._part = max(min(int(self._size * _PART_SECONDS / seconds * 2), self._size), 1)
        self._singles: list[npt.NDArray[np.int64]] = []
        #: Nanoseconds per call in the loop of each round.
        self.loops: list[float] = []

    def round(self) -> float:
        """One round: a warm-up, calls timed singly, a loop of as many. Returns the loop's nanoseconds per call."""
        self._loop(-(-self._size // _WARM))
        self._singles.append(self._singly(self._size))
        parts = (self._loop(self._part) for _ in range(-(-self._size // self._part)))
        self.loops.append(float(np.median(list(parts))))
        return self.loops[-1]

    def timing(self) -> Timing:
        """All rounds in one."""
        taken = np.maximum(np.concatenate(self._singles) - clock_overhead(), 0.0)
        low, p50, p90, p99, p999 = (float(np.percentile(taken, q)) for q in (0, 50, 90, 99, 99.9))
        rate = 1e9 / max(float(np.median(self.loops)), 1e-9)
        return Timing(2 * taken.size, low, p50, p90, p99, p999, rate, histogram(taken))

    def _round_size(self, seconds: float) -> int:
        self._loop(len(self._inputs))
        size = 1
        while True:
            spent = self._loop(size) * size / 1e9
            if spent >= seconds / 8:
                # half of the round is timed singly, half in the loop
                return max(_LEAST, int(size * seconds / 2 / spent))
            size *= 4

    def _singly(self, count: int) -> npt.NDArray[np.int64]:
        taken = []
        call, clock, inputs = self._call, time.perf_counter_ns, self._inputs
        for i in range(count):
            x = inputs[i % len(inputs)]
            before = clock()
            call(x)
            taken.append(clock() - before)
        return np.array(taken, dtype=np.int64)

    def _loop(self, count: int) -> float:
        """Nanoseconds per call."""
        call, clock = self._call, time.perf_counter_ns
        if self._keep:
            inputs = self._inputs[:count]
            times = -(-count // len(inputs))
            before = clock()
            for _ in range(times):
                kept = [call(x) for x in inputs]
            spent, count = clock() - before, times * len(inputs)
            del kept
            return spent / count
        repeated = list(islice(cycle(self._inputs), count))
        before = clock()
        for x in repeated:
            call(x)
        return (clock() - before) / count


def measure(calls: Sequence[Callable[[Any], Any]], inputs: Sequence[Any], seconds: float) -> list[Stopwatch]:
    """Time calls in turns for ``seconds`` in all, so that what else the machine does falls on all alike."""
    with undisturbed():
        watches = [Stopwatch(call, inputs) for call in calls]
        end = time.perf_counter() + seconds
        while True:
            for watch in watches:
                watch.round()
            if time.perf_counter() >= end:
                return watches


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """How many times as long ``others`` took: the median over rounds that ran side by side."""
    return float(np.median(np.asarray(others) / np.maximum(np.asarray(times), 1e-9)))


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Without garbage collection, which would fall on whichever call is under way."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def clock_overhead() -> float:
    """Nanoseconds that two readings of the clock take."""
    clock = time.perf_counter_ns
    taken = []
    for _ in range(2000):
        before = clock()
        taken.append(clock() - before)
    return float(np.median(taken))


def histogram(taken: Samples) -> tuple[Bin, ...]:
    """Bins of equal ratio up to p99, then one for the rest."""
    low, high = max(float(np.min(taken)), 1.0), float(np.percentile(taken, 99))
    if high <= low:
        return (Bin(low, None, taken.size),)
    edges = np.geomspace(low, high, _BINS + 1)
    counts, _ = np.histogram(np.clip(taken, low, None), np.append(edges, np.inf))
    ends = chain(map(float, edges[1:]), (None,))
    return tuple(Bin(float(a), b, int(n)) for a, b, n in zip(edges, ends, counts, strict=True))


def histogram_table(bins: Sequence[Bin]) -> str:
    """A line per bin, with a bar as long as its share."""
    total = sum(b.count for b in bins)
    largest = max(b.count for b in bins)
    rows = [
        (
            show_ns(b.from_ns),
            "" if b.to_ns is None else show_ns(b.to_ns),
            f"{100 * b.count / total:.1f} %",
            bar(b.count, largest, _BAR),
        )
        for b in bins
    ]
    return table(("from", "to", "share", ""), rows, left=(3,))


def show_ns(nanoseconds: float) -> str:
    """A duration with a unit that fits."""
    for limit, unit, scale in ((999.5, "ns", 1.0), (999.5e3, "µs", 1e3), (999.5e6, "ms", 1e6)):
        if nanoseconds < limit:
            return f"{nanoseconds / scale:.3g} {unit}"
    return f"{nanoseconds / 1e9:.3g} s"
