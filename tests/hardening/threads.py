"""Eight threads on one model at once, under ThreadSanitizer.

    python -m tests.hardening.threads --count 100000       # steps of each thread
    python -m tests.hardening.threads --count 500 --plain  # on the package as it stands

Each thread steps a stream of its own, one that all share, and a pool that all share, calls the model, and opens, forks,
saves and closes streams meanwhile. A shared stream is held against as many steps as it took; everything else has one
right answer. ThreadSanitizer ends the process where two threads touch the same memory of the core without an order.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

import edgeinfer

THREADS = 8
# A thread takes its own steps by so many in one call, for which the core gives the GIL away, and then some one by one.
BLOCK, SINGLE = 200, 10


class Work:
    """What the threads share, and the answers that there are."""

    def __init__(self, folder: Path, count: int) -> None:
        self.blocks = -(-count // (BLOCK + SINGLE))
        self.steps = self.blocks * (BLOCK + SINGLE)
        self.data = (folder / "floats.onnx").read_bytes()
        self.model = edgeinfer.load(self.data, backend="native")
        assert self.model.backend == "native"
        self.x = np.linspace(-1, 1, 3, dtype=np.float32)
        self.xs = np.tile(self.x, (BLOCK, 1))
        self.start = self.model.stream().snapshot()
        self.shared = self.model.stream()
        self.pool = self.model.pool(THREADS)
        self.slots = [self.pool.add() for _ in range(THREADS)]
        self.ys = self.model.stream().run(self.xs)
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
        assert self.shared.snapshot() == self._after(BLOCK * sum(self.took)), "a shared stream took other steps"

    def _guarded(self, me: int) -> None:
        try:
            self._work(me)
        except BaseException as error:
            self.errors.append(error)

    def _work(self, me: int) -> None:
        own = self.model.stream()
        for i in range(self.blocks):
            ys = own.run(self.xs)
            assert i or np.array_equal(ys, self.ys), "a stream of its own gave another answer"
            for _ in range(SINGLE):
                own.step(self.x)
            for call in (self._run_shared, self._step_pool, self._save_shared):
                try:
                    call(me)
                except edgeinfer.StreamError:
                    self.busy[me] += 1
            self._call(i)
            self._open_and_close()
            if i % 100 == me:
                assert np.array_equal(edgeinfer.load(self.data, backend="native")(self.xs[None])[0], self.ys)
        assert own.snapshot() == self._after(self.steps), "a stream of its own has another state"

    def _after(self, steps: int) -> bytes:
        stream = self.model.stream()
        stream.run(np.tile(self.x, (steps, 1)))
        return stream.snapshot()

    def _run_shared(self, me: int) -> None:
        self.shared.run(self.xs)
        self.took[me] += 1

    def _step_pool(self, me: int) -> None:
        assert self.pool.step([self.slots[me]], self.x[None]).shape == (1, 2)
        self.pool.reset(self.slots[me])

    def _save_shared(self, me: int) -> None:
        self.shared.snapshot()

    def _call(self, i: int) -> None:
        steps = BLOCK - i % 11  # more shapes than plans are kept
        assert np.array_equal(self.model(self.xs[None, :steps])[0], self.ys[:steps]), "a call gave another answer"

    def _open_and_close(self) -> None:
        with self.model.stream() as stream:
            stream.restore(self.start)
            twin = stream.fork()
            assert np.array_equal(twin.run(self.xs), self.ys), "a fork gave another answer"
        twin.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hardening.threads", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--count", type=int, default=100_000, help="steps of each thread (default: %(default)s)")
    parser.add_argument("--plain", action="store_true", help="without the sanitizer")
    parser.add_argument("--here", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        work = Work(args.here, args.count)
        work.run()
        took, busy = sum(work.took), sum(work.busy)
        steps = f"{THREADS} threads, {work.steps:,} steps each of its own stream, {BLOCK * took:,} of a shared one"
        print(f"{steps}, {busy:,} calls refused as busy: all right")
        return 0
    from . import builds, subjects

    package = Path(edgeinfer.__file__).parents[1]
    environment = builds.plain(package) if args.plain else builds.environment("tsan", builds.sanitized("tsan"))
    with tempfile.TemporaryDirectory() as folder:
        subjects.write(Path(folder))
        command = [sys.executable, "-m", "tests.hardening.threads", "--here", folder, "--count", str(args.count)]
        return 1 if subprocess.run(command, cwd=folder, env=environment).returncode else 0


if __name__ == "__main__":
    sys.exit(main())
