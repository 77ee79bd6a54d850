"""Long runs, shortened; and that what they look for would be found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .builds import ROOT, planted

COUNT = 60_000


def soak(folder: Path, *arguments: str, package: Path = ROOT, count: int = COUNT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.hardening.soak", "--count", str(count), *arguments],
        cwd=folder,  # python -m puts it before PYTHONPATH
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(ROOT)]), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "names",
    [
        ("LSTM", "LSTM that counts", "next_word"),
        pytest.param(("demand", "GRU", "GRU, linear before reset", "RNN", "sum", "sentiment"), marks=pytest.mark.slow),
    ],
    ids=" and ".join,
)
def test_a_stream_neither_grows_nor_allocates_nor_drifts(tmp_path: Path, names: tuple[str, ...]) -> None:
    done = soak(tmp_path, *(argument for name in names for argument in ("--only", name)))
    assert (done.returncode, done.stdout) == (0, f"soak: {COUNT:,} steps of {len(names)} streams, 0 findings\n"), (
        done.stderr
    )


RUN = "            return self._core.run(xs, self._named)\n"
RUN_FIRST = RUN.replace("return", "ys =")
RETURN = "            return ys\n"
RESET = '    def reset(self) -> None:\n        """Back to the state that a new stream has."""\n'


@pytest.mark.parametrize(
    ("sound", "broken", "finding"),
    [
        (
            RUN,
            f"{RUN_FIRST}            by_name.__dict__.setdefault('kept', []).append(ys.repeat(9))\n{RETURN}",
            "memory grew by",
        ),
        (
            RUN,
            f"{RUN_FIRST}            kept = self._core.save()\n"
            f"            self._core.restore({{k: v.astype('f2').astype('f4') for k, v in kept.items()}})\n{RETURN}",
            "from float64, expected at most 1e-05",
        ),
        (
            RESET,
            f"    def step(self, x, out):\n        return [super().step(x, out)][0]\n\n{RESET}",
            "allocations in its steps",
        ),
    ],
    ids=["a leak", "a rounded state", "a step that allocates"],
)
def test_a_planted_fault_is_found(tmp_path: Path, sound: str, broken: str, finding: str) -> None:
    package = planted(tmp_path / "package", "stream.py", sound, broken)
    done = soak(tmp_path, "--only", "RNN", package=package)
    assert done.returncode == 1 and finding in done.stdout, done.stdout + done.stderr
