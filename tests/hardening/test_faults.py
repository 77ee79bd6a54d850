"""Files on a disk that fails; and that a writer that does not mind would be found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .builds import ROOT, planted

FAST = ("run --state", "run --state, the first time", "run --out", "two files")
SLOW = ("export quantize", "export", "train")


def faults(folder: Path, *names: str, package: Path = ROOT) -> subprocess.CompletedProcess[str]:
    only = [argument for name in names for argument in ("--only", name)]
    # Where the packages of the workstation are installed, they are found; this one comes from where the test says.
    return subprocess.run(
        [sys.executable, "-m", "tests.hardening.faults", *only],
        cwd=folder,  # python -m puts it before PYTHONPATH
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", ""), str(ROOT)])},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("names", [FAST, pytest.param(SLOW, marks=pytest.mark.slow)], ids=["runtime", "workstation"])
def test_on_a_failing_disk_a_file_is_old_or_new_and_the_error_names_it(tmp_path: Path, names: tuple[str, ...]) -> None:
    done = faults(tmp_path, *names)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.fullmatch(rf"faults: (\d+) faults in \d+ calls of {len(names)} writers, 0 findings\n", done.stdout)
    assert found is not None and int(found[1]) > 50 * len(names) // 2, done.stdout


SYNC = "        os.fsync(file.fileno())\n"
REPLACE = "os.replace(temporary, target)"
SYNC_FOLDER = "            _sync_folder(os.path.dirname(target))\n"
TAKE_AWAY = "        for path, target, _ in written[1:]:\n"


@pytest.mark.parametrize(
    ("sound", "broken", "finding"),
    [
        (SYNC, "", "is renamed before it is synced"),
        (SYNC_FOLDER, "            pass\n", "the folder is not synced after"),
        (REPLACE, "open(target, 'wb').write(open(temporary, 'rb').read())", "the files are torn"),
        (TAKE_AWAY, "        for path, target, _ in []:\n", "the files are new, old"),
        ("                os.unlink(temporary)\n", "                pass\n", "left behind: .one."),
        ("        error.filename = os.fspath(path)\n", "", "exit status 3: "),
    ],
    ids=["not synced", "folder not synced", "written in place", "one by one", "leftovers", "unnamed"],
)
def test_a_planted_fault_is_found(tmp_path: Path, sound: str, broken: str, finding: str) -> None:
    done = faults(tmp_path, "two files", package=planted(tmp_path / "package", "snapshot.py", sound, broken))
    assert done.returncode == 1 and finding in done.stdout, done.stdout + done.stderr
