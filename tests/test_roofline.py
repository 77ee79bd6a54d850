"""bench/roofline.c: it builds by its make target, and its table follows from what it measured."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgeinfer.kernels import native

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "build" / "cc" / "roofline"
# The JSON has six digits.
PRINTED = 1e-4
SIZES = {(3, 17), (64, 512)}


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    if shutil.which("make") is None or shutil.which("cc") is None:
        pytest.skip("there is no make or no C compiler")
    built = subprocess.run(["make", "build/cc/roofline"], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "warning" not in built.stderr
    arguments = ["--json", "--rounds", "3", *(f"{inputs},{hidden}" for inputs, hidden in SIZES)]
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_report_says_where_it_was_made(report: dict[str, Any]) -> None:
    assert report["cpu"] and report["compiler"] and "-O2" in report["flags"] and report["core"] >= 0
    assert report["formula"] == "max(MACs / FMA rate, bytes / bandwidth of where the weights lie) + chain latency"


def test_every_instruction_set_of_this_machine_is_measured(report: dict[str, Any]) -> None:
    assert tuple(part["isa"] for part in report["isas"]) == native.core_names()
    for part in report["isas"]:
        assert {(row["input"], row["hidden"]) for row in part["steps"]} == SIZES
        assert [row["cell"] for row in part["steps"]] == ["LSTM"] * 2 + ["GRU"] * 2 + ["RNN"] * 2


def test_the_floor_is_its_formula(report: dict[str, Any]) -> None:
    for part in report["isas"]:
        for row in part["steps"]:
            inputs, hidden = row["input"], row["hidden"]
            gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[row["cell"]]
            bias_rows = {"LSTM": 4, "GRU": 4, "RNN": 1}[row["cell"]]
            assert row["macs"] == gates * hidden * (inputs + hidden) + hidden
            assert row["bytes"] == 4 * (row["macs"] + bias_rows * hidden + 1)
            assert row["macs_ns"] == pytest.approx(row["macs"] / part["macs_per_ns"], rel=PRINTED)
            smallest = min(report["cache_bytes"].values(), default=0)
            if row["bytes"] <= smallest:
                assert row["bytes_ns"] == pytest.approx(row["bytes"] / part["bytes_per_ns"]["L1"], rel=PRINTED)
            floor = max(row["macs_ns"], row["bytes_ns"]) + row["chain_ns"]
            assert row["floor_ns"] == pytest.approx(floor, rel=PRINTED)
            assert row["step_over_floor"] == pytest.approx(row["step_ns"] / floor, rel=PRINTED)
            by_level = max(row["macs_ns"], row["bytes"] / part["bytes_per_ns"][row["level"]]) + row["chain_ns"]
            assert row["level_floor_ns"] == pytest.approx(by_level, rel=PRINTED)
            held = {**report["cache_bytes"], "memory": float("inf")}
            assert row["level"] == next(name for name, size in held.items() if row["bytes"] <= size)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--isa", "mmx"], "roofline: this machine cannot run the core mmx"),
        (["--rounds", "0"], "roofline: at least one round"),
        (["16"], "roofline: cannot read 16"),
        (["0,16"], "roofline: cannot read 0,16"),
        (["--core", "x"], "roofline: not a number in range: x"),
    ],
)
def test_wrong_usage_is_refused(report: dict[str, Any], arguments: list[str], message: str) -> None:
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == message
