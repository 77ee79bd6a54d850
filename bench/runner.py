"""Runs contenders against each other: a process each, one at a time, in rounds that take turns."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from .cases import Case

ROOT = Path(__file__).parents[1]
# For whoever is kept on one core: more threads than that only stand in each other's way.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_PATIENCE = 300.0  # seconds that an answer may take
_END = 5.0  # seconds that a worker has to end by itself


class WorkerDiedError(Exception):
    """A contender's process ended or hung; the text says how."""


class Process:
    """The process of one contender."""

    def __init__(self, name: str, python: str, core: str, log: Path) -> None:
        """core: a number, or ``-`` for all."""
        self._log: IO[bytes] = log.open("wb")
        self._process = subprocess.Popen(
            [python, "-m", f"{__package__}.worker", name, core],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env={**os.environ, **({} if core == "-" else _ONE_THREAD)},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer. Raises WorkerDiedError."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": action, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerDiedError(self._how()) from None
        ready, _, _ = select.select([self._process.stdout], [], [], _PATIENCE)
        if not ready:
            raise WorkerDiedError(f"its process gave no answer to {action} in {_PATIENCE:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise WorkerDiedError(self._how())
        found: dict[str, Any] = json.loads(line)
        return found

    def _how(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END)
        status = self._process.returncode
        if status is not None and status < 0:
            return f"its process was ended by signal {-status} ({signal.Signals(-status).name})"
        return f"its process ended with status {status}, see {self._log.name}"

    def end(self) -> None:
        """End the process, whatever it does. Twice is fine."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


@dataclasses.dataclass(frozen=True)
class Options:
    """How a run goes."""

    folder: Path
    python: str
    core: int | None
    rounds: int
    seconds: float
    limit: int


def run_cases(
    cases: Sequence[Case], names: Sequence[str], options: Options, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """All cases; a result per case with an entry per contender that takes it."""
    from .contenders import CONTENDERS

    results = []
    with _processes() as processes:
        for number, case in enumerate(cases, 1):
            started = time.monotonic()
            entries: dict[str, dict[str, Any]] = {}
            for name in names:
                if CONTENDERS[name].takes(case):
                    entries[name] = _open(name, case, processes, options)
            _rounds(entries, processes, options)
            results.append({"case": dataclasses.asdict(case), "model": case.model, "entries": entries})
            say(f"[{number}/{len(cases)}] {case.name}: {_told(entries)} ({time.monotonic() - started:.0f} s)")
    return results


@contextlib.contextmanager
def _processes() -> Iterator[dict[str, Process]]:
    """Processes by contender's name; all end with the block, also where an exception ends it."""
    processes: dict[str, Process] = {}
    try:
        yield processes
    finally:
        for process in processes.values():
            process.end()


def _open(name: str, case: Case, processes: dict[str, Process], options: Options) -> dict[str, Any]:
    """Start the contender where it is not running, and let it open and check the case."""
    from .contenders import CONTENDERS

    contender = CONTENDERS[name]
    if name not in processes:
        core = "-" if options.core is None or not contender.pinned else str(options.core)
        log = options.folder / "logs" / f"{name.replace(' ', '-').replace('=', '')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        processes[name] = Process(name, options.python, core, log)
    arguments = {"folder": str(options.folder), "seconds": options.seconds, "limit": options.limit}
    return _asked(name, processes, "open", case=dataclasses.asdict(case), **arguments)


def _rounds(entries: dict[str, dict[str, Any]], processes: dict[str, Process], options: Options) -> None:
    for number in range(options.rounds):
        active = [name for name, entry in entries.items() if entry["status"] == "ok"]
        # who goes first changes, so that nobody always follows the same neighbour's end of a turn
        turn = number % max(len(active), 1)
        for name in active[turn:] + active[:turn]:
            entry = entries[name]
            answer = _asked(name, processes, "round")
            if answer["status"] == "ok":
                entry.setdefault("loops", []).append(answer["loop_ns"])
            else:
                entry.update(answer)
    for name, entry in entries.items():
        if entry["status"] == "ok":
            entry.update(_asked(name, processes, "timing"))
        if name in processes:
            _asked(name, processes, "close")


def _asked(name: str, processes: dict[str, Process], action: str, **arguments: Any) -> dict[str, Any]:
    """The answer; where the process died, that it did. The next case gets a new one."""
    try:
        return processes[name].ask(action, **arguments)
    except WorkerDiedError as error:
        processes.pop(name).end()
        return {"status": "died", "why": str(error)}


def _told(entries: dict[str, dict[str, Any]]) -> str:
    timed = sum(entry["status"] == "ok" for entry in entries.values())
    others = [f"{name}: {reason(entry)}" for name, entry in entries.items() if entry["status"] != "ok"]
    return "; ".join([f"{timed} timed", *others])


def reason(entry: dict[str, Any]) -> str:
    """Why a contender was not timed."""
    if entry["status"] == "wrong":
        return f"its outputs differ from float64 by {entry['error']:.1e}"
    word = {"missing": "not there", "failed": "failed", "died": "died"}[entry["status"]]
    return f"{word}: {entry['why']}"


def log(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)
