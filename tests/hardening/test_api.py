"""The API in any order under AddressSanitizer, shortened; and that a byte too far and a state not copied are found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from . import builds


def campaign(folder: Path, *arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.hardening.api", *arguments],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("count", [800, pytest.param(20_000, marks=pytest.mark.slow)])
def test_no_order_of_calls_leads_outside_memory_or_to_another_answer(count: int, tmp_path: Path) -> None:
    done = campaign(tmp_path, "--count", str(count), environment=builds.plain())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "/hardening/asan/lib/edgeinfer" in done.stdout.splitlines()[-1]


def test_a_byte_written_behind_an_answer_is_found(tmp_path: Path) -> None:
    environment = {**builds.plain(), "EI_CANARY": "overrun"}
    done = campaign(tmp_path, "--models", "number", "--count", "2000", environment=environment)
    assert done.returncode == 1
    assert "heap-buffer-overflow" in done.stdout
    assert "ei_run_steps" in done.stdout


def test_a_state_that_is_not_copied_is_found(tmp_path: Path) -> None:
    sound = "        self.engine.set_state(other.engine.get_state())\n"
    package = builds.planted(tmp_path, "stream.py", sound, "        pass\n")
    done = campaign(
        tmp_path, "--plain", "--first", "--models", "number", "--count", "2000", environment=builds.plain(package)
    )
    assert done.returncode == 1
    assert "fork" in done.stdout
