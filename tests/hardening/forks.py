"""Forks in the middle of work: a child must be able to go on, and its parent not notice.

    python -m tests.hardening.forks --count 1000

Threads step streams, call models for the first time and load them, while this process forks again and again. A child
uses the same models, streams of its own and its parent's that nobody was in, and must give the right answers in the
time that it has; a stream that another thread was in when it forked may say that it is busy, and nothing else.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import traceback
import warnings

import numpy as np

import edgeinfer

from . import subjects

THREADS = 3


class Work:
    def __init__(self) -> None:
        self.data = subjects.files()["large"]
        self.model = edgeinfer.load(self.data)
        self.x = np.linspace(-1, 1, 64, dtype=np.float32)
        self.xs = np.tile(self.x, (1, 40, 1))
        self.expected = edgeinfer.load(self.data)(self.xs)[0]
        self.quiet = self.model.stream()
        self.busy = self.model.stream()
        self.pool = self.model.pool(4)
        self.pool.add()
        self.new = self.model
        self.stop = False

    def thread(self, me: int) -> None:
        """Hold, most of the time, what a child must do without: the plans' lock, a stream, a pool."""
        while not self.stop:
            if me == 0:
                self.new = edgeinfer.load(self.data)
                for i in range(60):
                    self.new(self.xs[:, : 1 + i % 11])  # more shapes than plans are kept
            elif me == 1:
                self.busy.run(self.xs[0])
            else:
                self.pool.step([0], self.xs[0, :1])

    def in_the_child(self) -> None:
        assert np.array_equal(self.new(self.xs)[0], self.expected), "a model gave another answer"
        assert np.array_equal(self.model(self.xs[:, :7])[0], self.expected[:7]), "a model gave another answer"
        self.quiet.reset()
        assert np.array_equal(self.quiet.run(self.xs[0]), self.expected), "a parent's stream gave another answer"
        assert np.array_equal(self.model.stream().step(self.x), self.expected[0]), "a stream gave another answer"
        for call in (lambda: self.busy.run(self.xs[0]), lambda: self.pool.step([0], self.xs[0, :1]), self.busy.close):
            try:
                call()
            except edgeinfer.StreamError as error:
                assert "busy in another thread" in str(error), error
        assert np.array_equal(edgeinfer.load(self.data)(self.xs)[0], self.expected), "a new model gave another answer"


def fork(work: Work, seconds: int) -> str:
    """What went wrong in a child, or nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: a fork with threads, which is the point
        child = os.fork()
    if not child:
        signal.alarm(seconds)
        try:
            work.in_the_child()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if not status:
        return ""
    return f"a child did not end in {seconds} s" if os.WIFSIGNALED(status) else "a child failed"


def run(count: int, seconds: int) -> str:
    """Fork so many times. What went wrong first, or nothing."""
    work = Work()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that a thread is anywhere when its time is over
    threads = [threading.Thread(target=work.thread, args=(me,)) for me in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        for i in range(count):
            time.sleep(i % 7 * 1e-4)
            wrong = fork(work, seconds)
            if wrong:
                return f"fork {i}: {wrong}"
            if i % 100 == 99:
                print(f"{i + 1} forks", file=sys.stderr, flush=True)
    finally:
        work.stop = True
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    work.quiet.reset()
    return "" if np.array_equal(work.quiet.run(work.xs[0]), work.expected) else "the parent gives another answer"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hardening.forks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--count", type=int, default=1000, help="forks (default: %(default)s)")
    # far more than a child needs; only one that waits for ever takes so long
    parser.add_argument("--seconds", type=int, default=60, help="time for each child (default: %(default)s)")
    args = parser.parse_args()
    wrong = run(args.count, args.seconds)
    print(wrong or f"{args.count} forks with {THREADS} threads at work: every child gave the right answers")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
