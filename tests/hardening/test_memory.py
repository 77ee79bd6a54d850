"""Loading takes no more than twice the file and 8 MiB: large weights, and as many things as the limits let pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .builds import ROOT, planted


def measured(package: Path | None = None) -> list[dict[str, Any]]:
    """What each file took, in a process of its own."""
    path = os.pathsep.join([*([str(package)] if package else []), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.hardening.memory", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) > 150, done.stderr
    return found


def test_loading_takes_no_more_than_twice_the_file_and_eight_mebibytes() -> None:
    found = measured()
    assert [item for item in found if item["taken"] > item["allowed"]] == []
    large = [item for item in found if item["file_bytes"] > 8 << 20 and item["ended"] == "loads"]
    # the weights, once in the file and once as the core reads them: the measure sees what is taken
    assert sum(item["taken"] > 1.9 * item["file_bytes"] for item in large) > 5
    # what has no limit of its own is bounded by what is made of it
    assert sum(item["ended"] == "ModelLimitError" for item in found) > 15


def test_weights_that_are_copied_once_more_are_found(tmp_path: Path) -> None:
    package = planted(tmp_path, "plan/memory.py", "quietly(made.fill, place.view(np.float32))", COPIED)
    over = {item["name"] for item in measured(package) if item["taken"] > item["allowed"]}
    assert "LSTM that streams" in over


COPIED = "place.view(np.float32)[:] = made.array()"
