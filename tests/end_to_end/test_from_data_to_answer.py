"""The whole path as a user walks it: train, export, verify, run, score. Every part is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

ROOT = Path(__file__).parents[2]
RUN = {
    "sum": ("--values", "5,6"),
    "next_word": ("--text", "I love"),
    "sentiment": ("--text", "A wonderful, moving film."),
    "demand": ("--csv", str(ROOT / "edgeinfer" / "models" / "demand_sample.csv"), "--column", "y", "--time", "ts"),
}


def run(*command: str, code: int = 0) -> str:
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    result = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment
    )
    assert result.returncode == code, f"{command}: {result.returncode}\n{result.stdout}\n{result.stderr}"
    assert "Traceback" not in result.stderr
    return result.stdout


@pytest.mark.parametrize("recipe", RUN)
def test_a_recipe_becomes_a_file_that_answers(recipe: str, tmp_path: Path) -> None:
    run("-m", "train", recipe, "--quick", "--out", str(tmp_path))
    keras, onnx = tmp_path / f"{recipe}.keras", tmp_path / f"{recipe}.onnx"
    shown = run("-m", "export", str(keras), "-o", str(onnx))
    assert {line.split()[0] for line in shown.splitlines() if " - " in line} == {"keras", "onnxruntime"}

    verified = json.loads(run("-m", "edgeinfer", "verify", str(onnx), "--json"))
    assert "native" in json.dumps(verified)

    described = json.loads(run("-m", "edgeinfer", "info", str(onnx), "--json"))
    assert described["backend"] == "native"
    assert not {node["op"] for node in described["nodes"]} & {"Loop", "Scan", "If"}

    answer = json.loads(run("-m", "edgeinfer", "run", str(onnx), *RUN[recipe], "--backend", "native", "--json"))
    if recipe == "sum":
        assert answer["values"] == [pytest.approx(11, abs=0.5)]
    elif recipe == "next_word":
        assert json.dumps(answer).count('"word": "machine"') + json.dumps(answer).count('"word": "deep"') == 1
    elif recipe == "demand":
        assert len(answer["values"]) == 24

    run("-m", "train", recipe, "--score", str(onnx))


def test_one_flipped_weight_makes_verify_fail(tmp_path: Path) -> None:
    data = bytearray((ROOT / "edgeinfer" / "models" / "demand.onnx").read_bytes())
    model = onnx.load_from_string(bytes(data))
    weights = next(t for t in model.graph.initializer if t.name.endswith("/R"))
    raw = bytearray(weights.raw_data)
    raw[len(raw) // 2 + 3 - len(raw) // 2 % 4] ^= 0x80  # the sign of one weight
    weights.raw_data = bytes(raw)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.SerializeToString())
    shown = run("-m", "edgeinfer", "verify", str(broken), code=1)
    assert "FAILED: a difference of" in shown
