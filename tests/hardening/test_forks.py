"""Forks in the middle of work, shortened; and that a lock which a child inherits is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from . import builds


def campaign(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.hardening.forks", *arguments],
        cwd=package,
        env=builds.plain(package),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_child_that_is_forked_in_the_middle_of_work_goes_on(count: int) -> None:
    done = campaign(builds.ROOT, "--count", str(count))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_lock_that_nobody_in_the_child_gives_back_is_found(tmp_path: Path) -> None:
    sound, broken = "self._locks.get(os.getpid())", "next(iter(self._locks.values()))"
    package = builds.planted(tmp_path, "model.py", sound, broken)
    done = campaign(package, "--seconds", "5", "--count", "500")
    assert done.returncode == 1
    assert "a child did not end in 5 s" in done.stdout
