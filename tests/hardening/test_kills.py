"""kill -9 while a state is saved, some times; and that a write that is not atomic would be found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .builds import ROOT, planted

RENAME = "os.replace(temporary, target)"
# Where and in what portions does not matter to whoever is not killed.
IN_PLACE = "[open(target, 'wb').close(), [open(target, 'ab').write(bytes([b])) for b in open(temporary, 'rb').read()]]"
TIDY = "if found.startswith"


def kills(folder: Path, count: int, package: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.hardening.kills", "--count", str(count)],
        cwd=folder,  # python -m puts it before PYTHONPATH
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(ROOT)])},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("count", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_a_killed_process_leaves_the_last_state_or_the_one_that_it_saved(tmp_path: Path, count: int) -> None:
    done = kills(tmp_path, count)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.fullmatch(rf"kills: {count} kills, .*; ([\d,]+) steps saved\n", done.stdout)
    assert found is not None and int(found[1].replace(",", "")) > count // 4, done.stdout


@pytest.mark.parametrize(
    ("sound", "broken", "finding"),
    [(RENAME, IN_PLACE, "bytes that are not the state after"), (TIDY, f"if not {TIDY[3:]}", "left behind: ")],
    ids=["a file written in place", "leftovers that stay"],
)
def test_a_planted_fault_is_found(tmp_path: Path, sound: str, broken: str, finding: str) -> None:
    package = planted(tmp_path / "package", "snapshot.py", sound, broken)
    done = kills(tmp_path, 29 if sound is TIDY else 9, package)
    assert done.returncode == 1 and finding in done.stdout, done.stdout + done.stderr
