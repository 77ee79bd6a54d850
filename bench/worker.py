"""The process of one contender. Commands come as JSON lines on standard input, answers go out on standard output.

``{"do": "open", "case": …, "folder": …, "seconds": …, "limit": …}`` makes the model ready, holds its outputs against
the float64 answers and sizes a round; ``round`` times one; ``timing`` gives all rounds in one; ``close`` lets go.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from edgeinfer.cli.timing import Stopwatch, undisturbed

from .cases import TOLERANCE, Case
from .channel import own_output, pin
from .contenders import CONTENDERS, Contender, Job, MissingError

_PREPARED = 256


class Worker:
    """Answers commands, one case at a time."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self._job: Job | None = None
        self._watch: Stopwatch | None = None

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what a command asks. The answer has ``status``: ok, wrong (outputs disagree), missing or failed."""
        action = command.pop("do")
        try:
            return {"status": "ok", **getattr(self, f"_{action}")(**command)}
        except (MissingError, ModuleNotFoundError) as error:
            return {"status": "missing", "why": str(error)}
        except Exception as error:
            traceback.print_exc()
            return {"status": "failed", "why": f"{type(error).__name__}: {error}".splitlines()[0]}

    def _open(self, case: dict[str, Any], folder: str, seconds: float, limit: int) -> dict[str, Any]:
        what = Case(**case)
        self._job = self._contender.open(what, Path(folder))
        with np.load(Path(folder) / f"{what.name}.case.npz") as stored:
            xs, ys = stored["xs"][:limit], stored["ys"][:limit]
        error, inputs = largest_error(self._job, xs, ys)
        if not error <= TOLERANCE[what.kind]:
            self._close()
            return {"status": "wrong", "error": error, "compared": len(ys)}
        with undisturbed():
            self._watch = Stopwatch(self._job.call, inputs[:_PREPARED], seconds, self._job.keep)
        return {"error": error, "compared": len(ys)}

    def _round(self) -> dict[str, Any]:
        assert self._watch is not None
        with undisturbed():
            return {"loop_ns": self._watch.round()}

    def _timing(self) -> dict[str, Any]:
        assert self._watch is not None
        return {"timing": dataclasses.asdict(self._watch.timing())}

    def _close(self) -> dict[str, Any]:
        self._job = self._watch = None
        gc.collect()
        return {}


def largest_error(job: Job, xs: np.ndarray, ys: np.ndarray) -> tuple[float, list[Any]]:
    """max |got - y| / max(1, |y|) over the outputs from a zero state, infinite where a shape differs or NaN came."""
    inputs = job.inputs(xs)
    outputs = []
    for i, x in enumerate(inputs, 1):
        y = job.call(x)
        if i % job.every == 0:
            outputs.append(np.array(job.output(y), np.float64))
    if len(outputs) != len(ys) or any(got.shape != y.shape for got, y in zip(outputs, ys, strict=True)):
        return float("inf"), inputs
    error = np.abs(np.stack(outputs) - ys) / np.maximum(1.0, np.abs(ys))
    return (float(np.max(error)) if np.isfinite(error).all() else float("inf")), inputs


def main(arguments: list[str]) -> None:
    """NAME of a contender, and the core to stay on or ``-``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner gets it too, and ends its workers
    name, core = arguments
    answers = own_output()
    if core != "-":
        pin(int(core))
    worker = Worker(CONTENDERS[name])
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), file=answers)


if __name__ == "__main__":
    main(sys.argv[1:])
