"""Threads under ThreadSanitizer, shortened; and that a race in the core is found."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .builds import ROOT
from .threads import THREADS


def campaign(*arguments: str, canary: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.hardening.threads", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "EI_CANARY": canary}, capture_output=True, text=True)


@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_threads_on_one_model_touch_nothing_without_an_order(count: int) -> None:
    done = campaign("--count", str(count))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{THREADS} threads, ")


def test_a_counter_that_two_steps_write_at_once_is_found() -> None:
    done = campaign("--count", "2000", canary="race")
    assert done.returncode == 1
    assert "ThreadSanitizer: data race" in done.stderr
    assert "ei_run_steps" in done.stderr
