"""kill -9 while a stream's state is saved: the file holds the last state or the one being saved, always a whole one.

A round takes the file that the round before left. In most, a child goes on from it: step, save, step, save; it says
over a pipe which step it saves and which it has saved, and is killed after a random time. In every tenth the command
does it, ``edgeinfer run --stream --state``: it is given rows, told by SIGTERM to save and end, and killed as it does.
After each round the file has to be, byte for byte, the state after the last step known to be saved or after the one
that was being saved, and the next round has to go on from there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import edgeinfer
from edgeinfer.snapshot import remove_leftovers, write_atomically

from .builds import BUILDS, MEMORY, ROOT

MODEL = ROOT / "edgeinfer" / "models" / "demand.onnx"
FINDINGS = BUILDS / "findings"
LONGEST = 0.03
"""Seconds that a child may go on; it saves some hundred times in memory, some times on a disk."""
COMMANDS = 10
"""One round in so many is the command's."""


class Truth:
    """The state after any number of steps, computed again from the beginning as far as it is asked for."""

    def __init__(self, model: edgeinfer.Model, rng: np.random.Generator) -> None:
        self.xs = rng.standard_normal((64, 24)).astype(np.float32)
        self._stream = model.stream()
        self.states = [self._stream.snapshot()]

    def input(self, step: int) -> np.ndarray:
        x: np.ndarray = self.xs[step % len(self.xs)]
        return x

    def after(self, steps: int) -> bytes:
        while len(self.states) <= steps:
            self._stream.step(self.input(len(self.states) - 1))
            self.states.append(self._stream.snapshot())
        return self.states[steps]


class Campaign:
    """Rounds on one state file."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.path = folder / "state"
        self.model = edgeinfer.load(MODEL, backend="native")
        self.truth = Truth(self.model, np.random.default_rng(seed))
        self.rng = random.Random(seed)
        self.steps = 0
        self.ends: Counter[str] = Counter()
        write_atomically(self.path, self.truth.after(0))

    def round(self, number: int) -> str | None:
        """What is wrong, or None."""
        known, trying = self._command() if number % COMMANDS == COMMANDS - 1 else self._child()
        found = self.path.read_bytes() if self.path.exists() else b""
        for steps in range(known, trying + 1):
            if found == self.truth.after(steps):
                self.ends["newer" if steps > known else "last"] += 1
                self.steps = steps
                return None
        return f"{len(found)} bytes that are not the state after {known} to {trying} steps"

    def _child(self) -> tuple[int, int]:
        """Steps known to be saved, and steps that it may have saved."""
        says, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(says)
            self._save_for_ever(told)
        os.close(told)
        # Not before it has begun to save: all else would be a test of starting.
        first = os.read(says, 1)
        time.sleep(self.rng.uniform(0, LONGEST))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(says, "rb") as pipe:
            said = first + pipe.read()
        return self.steps + said.count(b"."), self.steps + said.count(b"+")

    def _save_for_ever(self, told: int) -> None:
        with contextlib.suppress(BaseException):
            remove_leftovers(self.path)
            stream = self.model.stream()
            stream.restore(self.path.read_bytes())
            steps = self.steps
            while True:
                stream.step(self.truth.input(steps))
                steps += 1
                os.write(told, b"+")
                write_atomically(self.path, stream.snapshot())
                os.write(told, b".")
        os._exit(1)

    def _command(self) -> tuple[int, int]:
        arguments = [
            "run",
            str(MODEL),
            "--stream",
            "--mode",
            "stream",
            "--state",
            str(self.path),
            "--backend",
            "native",
        ]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(
            [sys.executable, "-m", "edgeinfer", *arguments], cwd=self.path.parent, **pipes
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            rows = self.rng.randint(1, 5)
            for step in range(self.steps, self.steps + rows):
                process.stdin.write(",".join(map(repr, self.truth.input(step).tolist())).encode() + b"\n")
            process.stdin.flush()
            answers = [process.stdout.readline() for _ in range(rows)]
            if b"" in answers:
                raise RuntimeError("edgeinfer run --state ended by itself")
            process.send_signal(signal.SIGTERM)
            time.sleep(self.rng.uniform(0, LONGEST))
            process.kill()
            ended = process.wait()
        saved = ended == 0  # it was quicker
        return self.steps + (rows if saved else 0), self.steps + rows


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0 nothing found, 1 a finding."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hardening.kills",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="rounds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--folder", default=MEMORY, help="where the file is (default: %(default)s)")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        campaign = Campaign(Path(folder), arguments.seed)
        for number in range(arguments.count):
            wrong = campaign.round(number)
            if wrong is not None:
                FINDINGS.mkdir(parents=True, exist_ok=True)
                kept = FINDINGS / "torn.state"
                shutil.copy(campaign.path, kept)
                print(f"kills: round {number} of seed {arguments.seed}: {wrong}: {kept}")
                return 1
            if number % 100 == 99:
                print(f"{number + 1} rounds, {campaign.steps:,} steps saved", file=sys.stderr, flush=True)
        left = sorted(name for name in os.listdir(folder) if name != "state")
    ends = ", ".join(f"{count} found the {what} state" for what, count in sorted(campaign.ends.items()))
    print(f"kills: {arguments.count} kills, {ends}; {campaign.steps:,} steps saved")
    if len(left) > 2:  # what the last round left, which nobody has tidied up: a temporary file and a lock
        print(f"kills: left behind: {', '.join(left)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
