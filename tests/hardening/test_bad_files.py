"""Each bad file gives the error that stands beside it in the table, in little memory and time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from .bad_files import SECONDS, TABLE, Bad
from .builds import ROOT


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What loading each said, in a process of its own with a limit on its memory."""
    folder = tmp_path_factory.mktemp("bad")
    done = subprocess.run(
        [sys.executable, "-m", "tests.hardening.bad_files", folder, "--json"], cwd=ROOT, capture_output=True, text=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(TABLE), done.stderr
    return {item["name"]: item for item in found}


@pytest.mark.parametrize("one", TABLE, ids=[one.name for one in TABLE])
def test_a_bad_file_gives_its_error(one: Bad, results: dict[str, dict[str, Any]]) -> None:
    found = results[one.name]
    assert found["error"] == one.error
    assert one.message in found["message"]
    assert found["seconds"] < SECONDS
    if one.error == "ModelFormatError":
        assert found["path"].endswith(".onnx")


def test_the_names_of_bad_files_are_different() -> None:
    assert len({one.name for one in TABLE}) == len(TABLE) >= 40
