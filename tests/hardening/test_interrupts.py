"""SIGINT in the middle of calls, shortened; and that a torn state and a flag that is not given back are found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from . import builds, interrupts

CASES = interrupts.cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_call_that_is_interrupted_was_made_or_was_not(case: interrupts.Case) -> None:
    interrupts.at_points(case, most=12)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_call_that_is_interrupted_anywhere_was_made_or_was_not(case: interrupts.Case) -> None:
    assert interrupts.at_points(case) >= 0


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_call_that_a_signal_interrupts_was_made_or_was_not(count: int) -> None:
    sent, inside = interrupts.at_random(CASES, count, seed=1)
    assert sent >= count
    assert inside > count // 10  # so many at least came while a call was under way


def campaign(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.hardening.interrupts", *arguments],
        cwd=package,
        env=builds.plain(package),
        capture_output=True,
        text=True,
    )


def test_a_state_that_is_written_before_the_end_is_found(tmp_path: Path) -> None:
    sound = "state, banks = self._state, (self._next, aligned_empty(len(self._state)))"
    broken = "state, banks = self._state, (self._next, self._state)"
    package = builds.planted(tmp_path, "backends/native.py", sound, broken)
    for how, where in (("points", "at point"), ("signals", "by signal")):
        done = campaign(package, how, "--only", "numpy: run")
        assert done.returncode == 1, done.stderr
        assert done.stdout.startswith(f"numpy: run, interrupted {where} ")
        assert "the state is neither the old nor the new" in done.stdout


def test_a_flag_that_is_taken_by_a_call_is_found(tmp_path: Path) -> None:
    sound = "        with self._turn():\n            self._core.reset()\n"
    broken = (
        "        turn = self._turn()\n        turn.__enter__()\n"
        "        self._core.reset()\n        turn.__exit__(None, None, None)\n"
    )
    package = builds.planted(tmp_path, "stream.py", sound, broken)
    done = campaign(package, "points", "--only", "floats: reset")
    assert done.returncode == 1, done.stderr
    assert "not usable again: StreamError('the stream is busy" in done.stdout
