"""Eight threads on one model at once, under ThreadSanitizer.

    python -m tests.hardening.threads --count 100000       # steps of each thread
    python -m tests.hardening.threads --count 500 --plain  # on the package as it stands

Each thread steps a stream of its own, one that all share, and a pool that all share, calls the model, and opens, forks,
saves and closes streams meanwhile. A shared stream is held against as many steps as it took; everything else has one
right answer. ThreadSanitizer ends the process where two threads touch the same memory of the core without an order.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

import edgeinfer

THREADS = 8
# Every so many of its own steps a thread does one of the other things, each in its turn.
OTHERS_EVERY = 4


class Work:
    """What the threads share, and the answers that there are."""

    def __init__(self, folder: Path, count: int) -> None:
        self.count = count
        self.data = (folder / "large.onnx").read_bytes()
        self.model = edgeinfer.load(self.data, backend="native")
        assert self.model.backend == "native"
        self.x = np.linspace(-1, 1, 64, dtype=np.float32)
        self.sequences = [np.tile(self.x, (1, steps, 1)) for steps in range(1, 12)]  # more shapes than plans are kept
        self.start = self.model.stream().snapshot()
        self.shared = self.model.stream()
        self.pool = self.model.pool(THREADS)
        self.slots = [self.pool.add() for _ in range(THREADS)]
        reference = self.model.stream()
        self.ys = [reference.step(self.x) for _ in range(20)]
        self.took = [0] * THREADS
        self.busy = [0] * THREADS
        self.errors: list[BaseException] = []

    def run(self) -> None:
        threads = [threading.Thread(target=self._guarded, args=(i,)) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]
        reference = self.model.stream()
        for _ in range(sum(self.took)):
            reference.step(self.x)
        assert self.shared.snapshot() == reference.snapshot(), "a shared stream took another number of steps"

    def _guarded(self, me: int) -> None:
        try:
            self._work(me)
        except BaseException as error:
            self.errors.append(error)

    def _work(self, me: int) -> None:
        own = self.model.stream()
        others: list[Callable[[int, int], None]] = [
            self._step_shared,
            self._step_pool,
            self._call,
            self._open_and_close,
            self._load,
            self._save_shared,
        ]
        for i in range(self.count):
            y = own.step(self.x)
            if i < len(self.ys):
                assert np.array_equal(y, self.ys[i]), "a stream of its own gave another answer"
            if i % OTHERS_EVERY == 0:
                others[i // OTHERS_EVERY % len(others)](me, i)
        reference = self.model.stream()
        reference.run(np.tile(self.x, (self.count, 1)))
        assert own.snapshot() == reference.snapshot(), "a stream of its own has another state"

    def _step_shared(self, me: int, i: int) -> None:
        try:
            self.shared.step(self.x)
            self.took[me] += 1
        except edgeinfer.StreamError:
            self.busy[me] += 1

    def _step_pool(self, me: int, i: int) -> None:
        try:
            y = self.pool.step([self.slots[me]], self.x[None])
            self.pool.reset(self.slots[me])
            assert y.shape == (1, 3)
        except edgeinfer.StreamError:
            self.busy[me] += 1

    def _call(self, me: int, i: int) -> None:
        xs = self.sequences[i % len(self.sequences)]
        y = self.model(xs)
        assert np.array_equal(y[0], self.ys[: xs.shape[1]]), "a call gave another answer"

    def _open_and_close(self, me: int, i: int) -> None:
        with self.model.stream() as stream:
            stream.restore(self.start)
            twin = stream.fork()
            assert np.array_equal(twin.run(self.sequences[4][0]), self.ys[:5])
        twin.close()

    def _load(self, me: int, i: int) -> None:
        if i % 100 == 0:
            model = edgeinfer.load(self.data, backend="native")
            assert np.array_equal(model(self.sequences[0])[0], self.ys[:1])

    def _save_shared(self, me: int, i: int) -> None:
        try:
            self.shared.snapshot()
        except edgeinfer.StreamError:
            self.busy[me] += 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hardening.threads", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--count", type=int, default=1000, help="steps of each thread (default: %(default)s)")
    parser.add_argument("--plain", action="store_true", help="without the sanitizer")
    parser.add_argument("--here", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        work = Work(args.here, args.count)
        work.run()
        took, busy = sum(work.took), sum(work.busy)
        print(
            f"{THREADS} threads, {args.count} steps each, {took} of a shared stream, {busy} refused as busy: all right"
        )
        return 0
    from . import builds, subjects

    environment = {**os.environ, "PYTHONPATH": str(builds.ROOT), "PYTHONSAFEPATH": "1"}
    if not args.plain:
        environment = builds.environment("tsan", builds.sanitized("tsan"))
    with tempfile.TemporaryDirectory() as folder:
        subjects.write(Path(folder))
        command = [sys.executable, "-m", "tests.hardening.threads", "--here", folder, "--count", str(args.count)]
        return 1 if subprocess.run(command, cwd=folder, env=environment).returncode else 0


if __name__ == "__main__":
    sys.exit(main())
