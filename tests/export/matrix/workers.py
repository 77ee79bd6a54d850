"""Worker processes: each takes cases one by one; one that dies or hangs costs its case, not the run."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
# TensorFlow keeps a little of every graph.
CASES_PER_PROCESS = 150


class Worker:
    """A process of ``work.py``, started when it is first asked."""

    def __init__(self, work: str, timeout: float) -> None:
        self._command = [sys.executable, "-m", "tests.export.matrix.work", work]
        self._timeout = timeout
        self._process: subprocess.Popen[str] | None = None
        self._done = 0

    def ask(self, name: str) -> dict[str, Any]:
        """The worker's answer, or one of status ``failed`` where it died or took too long."""
        if self._process is None:
            self._process = self._start()
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        timer = threading.Timer(self._timeout, process.kill)
        timer.start()
        started = time.monotonic()
        try:
            process.stdin.write(json.dumps(name) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if line:
            self._done += 1
            if self._done % CASES_PER_PROCESS == 0:
                self.close()
            found: dict[str, Any] = json.loads(line)
            return found
        late = time.monotonic() - started >= self._timeout
        why = f"no answer within {self._timeout:.0f} s" if late else f"the process died ({process.wait()})"
        self.close()
        return {"status": "failed", "verdict": "fails", "why": why}

    def _start(self) -> subprocess.Popen[str]:
        """A process that has imported what it needs. Raises RuntimeError where it cannot."""
        process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"exit {process.wait()}, see {' '.join(self._command)}")
        return process

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def run(names: Sequence[str], work: str, jobs: int, timeout: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each name with its answer, as they come."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    answers: queue.SimpleQueue[tuple[str, dict[str, Any]] | RuntimeError] = queue.SimpleQueue()

    def serve() -> None:
        worker = Worker(work, timeout)
        try:
            while True:
                name = waiting.get_nowait()
                answers.put((name, worker.ask(name)))
        except queue.Empty:
            pass
        except RuntimeError as error:
            answers.put(error)
        finally:
            worker.close()

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for _ in names:
        answer = answers.get()
        if isinstance(answer, RuntimeError):
            raise answer
        yield answer
    for thread in threads:
        thread.join()
