"""``edgeinfer bench --rate``: steps at the pace of a sensor, each due at a time of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .output import fields, plural, table
from .timing import show_ns

MAX_STEPS = 10_000_000
_LATE = 0.1
_LEAD_NS = 1_000_000  # from now to when the first sample is due
_QUANTILES = {"min": 0.0, "p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}

Nanoseconds = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Paced:
    """Samples due every ``period_ns``: when each one's step began and ended, in nanoseconds after it was due."""

    period_ns: float
    began: Nanoseconds
    ended: Nanoseconds
    cpu_share: float

    @property
    def missed(self) -> int:
        """Answers that came later than the next sample was due."""
        return int(np.count_nonzero(self.ended > self.period_ns))

    @property
    def late(self) -> int:
        """Samples that waited for more than _LATE of a period although the one before them was answered in time."""
        free = np.append(True, self.ended[:-1] <= self.period_ns)
        return int(np.count_nonzero(free & (self.began > _LATE * self.period_ns)))

    @property
    def spans(self) -> dict[str, Nanoseconds]:
        """What the quantiles are of, by what it is called."""
        return {"start after due": self.began, "step": self.ended - self.began, "answer after due": self.ended}


def pace(call: Callable[[Any], Any], inputs: Sequence[Any], rate: float, seconds: float) -> Paced:
    """Call with inputs that come in turn, ``rate`` a second for ``seconds``.

    Every sample has its due time, counted from the first: a late one does not move those after it, and what piles up
    is worked off without a pause. Sleeps until the due time, as a program that waits for a sensor does; never spins.
    Raises InputError for more than MAX_STEPS samples.
    """
    count = max(round(rate * seconds), 1)
    if count > MAX_STEPS:
        raise InputError(
            f"--rate {rate:g} for --seconds {seconds:g}: expected at most {MAX_STEPS:,} steps, got {count:,}"
        )
    period = 1e9 / rate
    began, ended = np.empty(count, np.int64), np.empty(count, np.int64)
    clock, sleep, supply = time.perf_counter_ns, time.sleep, cycle(inputs)
    cpu, first = time.process_time_ns(), clock() + _LEAD_NS
    started = clock()
    for i in range(count):
        due = first + round(i * period)
        x = next(supply)
        wait = due - clock()
        if wait > 0:
            sleep(wait / 1e9)
        began[i] = clock() - due
        call(x)
        ended[i] = clock() - due
    share = (time.process_time_ns() - cpu) / max(clock() - started, 1)
    return Paced(period, began, ended, share)


def pace_json(found: Paced) -> dict[str, Any]:
    """The measurement as JSON has it."""
    return {
        "steps": found.began.size,
        "missed": found.missed,
        "late_starts": found.late,
        "cpu_share": found.cpu_share,
        **{f"{name.replace(' ', '_')}_ns": _quantiles(span) for name, span in found.spans.items()},
    }


def pace_table(found: Paced, flat_out_ns: float) -> str:
    """Quantiles, and below them what was missed. flat_out_ns: the same step without a pause between."""
    rows = [(name, *map(show_ns, _quantiles(span).values())) for name, span in found.spans.items()]
    count = found.began.size
    step = float(np.mean(found.spans["step"]))
    below = [
        ("missed", f"{found.missed:,} of {plural(count, 'deadline')}: the answer came after the next sample was due"),
        ("late starts", f"{found.late:,}: woken more than a tenth of the period late, with nothing left to do before"),
        ("CPU", f"{100 * found.cpu_share:.2g} % of a core; the steps alone {100 * step / found.period_ns:.2g} %"),
        ("flat out", f"a step takes {show_ns(flat_out_ns)} (p50) where no pause lets caches and clock rate go"),
    ]
    return "\n\n".join((table(("", *_QUANTILES), rows), fields(below)))


def _quantiles(span: Nanoseconds) -> dict[str, float]:
    return {name: float(np.percentile(span, q)) for name, q in _QUANTILES.items()}
