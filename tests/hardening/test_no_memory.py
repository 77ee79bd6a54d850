"""Allocations that fail: a share of them everywhere, and planted bugs that the same check must find."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from edgeinfer.limits import DEFAULT
from edgeinfer.onnx_file import reader

from .builds import planted
from .no_memory import campaign

SHARE = 1500  # of 1.3 million
# Those whose step runs in the core from end to end.
NATIVE = ("arrays", "float16", "int8", "masked", "number", "pad", "right", "tokens", "two", "wait")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return campaign(SHARE)


def test_an_operation_without_memory_raises_leaks_nothing_changes_nothing_and_can_be_done_again(
    found: dict[str, Any],
) -> None:
    assert found["findings"] == []
    assert found["cases"] == found["of"] > 500
    assert found["failures"] >= SHARE


def test_a_step_into_an_array_of_the_callers_allocates_nothing(found: dict[str, Any]) -> None:
    counts = {file: found["allocations"][f"{file}/native/step, out"] for file in NATIVE}
    assert counts == dict.fromkeys(NATIVE, 0)
    assert found["allocations"]["arrays/native/step, new"] > 0  # the counter counts
    assert found["allocations"]["arrays/reference/step, out"] > 0


@pytest.mark.parametrize(
    "only",
    [
        "two/native/step*",  # a dict is made of the answer
        "two/native/pool, step*",
        "number/native/step*",  # and a float
        "pad/native/r*",  # the window is written over
        "mixed/native/run",  # the states change places
        "arrays/native/pool, [!s]*",
    ],
)
def test_what_once_failed_after_the_state_had_changed_fails_before(only: str) -> None:
    assert campaign(only=only)["findings"] == []


def test_a_file_is_opened_without_a_lock_that_there_may_be_no_memory_for(tmp_path: Path) -> None:
    """Of which CPython says RuntimeError."""
    made = []

    def opened(*arguments: Any, **named: Any) -> Any:
        made.append(open(*arguments, **named))  # noqa: SIM115 - read_bytes closes it
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "open", opened, raising=False)
        (tmp_path / "m").write_bytes(b"abc" * 1000)
        assert reader.read_bytes(str(tmp_path / "m"), DEFAULT) == b"abc" * 1000
    assert [type(file) for file in made] == [io.FileIO]


@pytest.mark.slow
def test_under_addresssanitizer_too() -> None:
    assert campaign(SHARE, seed=2, asan=True)["findings"] == []


@pytest.mark.parametrize(
    ("canary", "finding"),
    [
        ("", ""),
        ("unchecked allocation", "the process ended with status"),
        ("leak after a failure", "1 blocks stay each time"),
    ],
)
def test_a_planted_bug_of_the_seam_is_found(canary: str, finding: str) -> None:
    findings = campaign(only="arrays/native/stream", asan=True, canary=canary)["findings"]
    assert bool(findings) == bool(canary), findings
    assert any(finding in line for line in findings) or not canary, findings


@pytest.mark.parametrize(
    ("file", "sound", "broken", "case", "finding"),
    [
        (
            "pool.py",
            "            self._engine.set_state(slot, self._layout.initial())\n            self._lowest = slot\n"
            "            self._taken[slot] = True\n",
            "            self._taken[slot] = True\n            self._engine.set_state(slot, self._layout.initial())\n",
            "arrays/native/pool, add",
            "the state changed",
        ),
        (
            "plan/memory.py",
            "            blob = aligned_empty(total)\n",
            "            blob = self.blob = aligned_empty(total)\n",
            "whole/native/first call",
            "wrong when done again",
        ),
        (
            "stream.py",
            "            return encode(self._core.kind, self._sha256, self._core.save())\n",
            "            try:\n                return encode(self._core.kind, self._sha256, self._core.save())\n"
            "            except MemoryError:\n                return b''\n",
            "arrays/native/snapshot",
            "a wrong answer",
        ),
        (
            "snapshot.py",
            "    entries = []\n    chunks = []\n",
            "    entries = []\n    chunks = []\n    encode.__dict__.setdefault('kept', []).append(chunks)\n",
            "arrays/native/snapshot",
            "blocks stay each time",
        ),
    ],
)
def test_a_planted_bug_of_the_package_is_found(
    tmp_path: Path, file: str, sound: str, broken: str, case: str, finding: str
) -> None:
    package = planted(tmp_path, file, sound, broken)
    findings = campaign(400, only=case, package=package)["findings"]
    assert any(finding in line for line in findings), findings
