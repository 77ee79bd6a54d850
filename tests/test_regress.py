"""bench/instructions.py: what counts as a regression. `make regress` runs it on the core itself."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECORD = {
    "gcc 12 x86_64": {"avx2": {"LSTM 8,64": 1000.0}},
    "gcc 15 x86_64": {"avx2": {"LSTM 8,64": 900.0}},
    "gcc 13 aarch64": {"neon": {"LSTM 8,64": 1.0}},
}


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("instructions", ROOT / "bench" / "instructions.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def counted(value: float, case: str = "LSTM 8,64") -> dict[str, dict[str, float]]:
    return {"avx2": {case: value}}


def test_a_tenth_more_instructions_fail_and_the_same_pass(check: ModuleType) -> None:
    assert check.compare(counted(1000.0), RECORD, "gcc 12 x86_64") == ([], [])
    assert check.compare(counted(1020.0), RECORD, "gcc 12 x86_64") == ([], [])
    failures, remarks = check.compare(counted(1100.0), RECORD, "gcc 12 x86_64")
    assert failures == ["avx2, LSTM 8,64: 1100.0 instructions in a step, 10.0% more than 1000.0"]
    assert remarks == []


def test_another_release_is_held_against_the_nearest_and_may_differ(check: ModuleType) -> None:
    failures, remarks = check.compare(counted(1200.0), RECORD, "gcc 13 x86_64")
    assert (failures, remarks) == ([], ["gcc 13 x86_64 is held against gcc 12 x86_64: 25% allowed"])
    failures, _ = check.compare(counted(1300.0), RECORD, "gcc 13 x86_64")
    assert failures == ["avx2, LSTM 8,64: 1300.0 instructions in a step, 30.0% more than 1000.0"]
    failures, _ = check.compare(counted(1200.0), RECORD, "gcc 16 x86_64")
    assert failures == ["avx2, LSTM 8,64: 1200.0 instructions in a step, 33.3% more than 900.0"]


def test_what_is_not_recorded_is_said(check: ModuleType) -> None:
    assert check.compare(counted(1.0), RECORD, "clang 14 x86_64") == (
        [],
        ["nothing is recorded for clang 14 x86_64: make regress-record"],
    )
    failures, _ = check.compare(counted(1.0, "RNN 1,16"), RECORD, "gcc 12 x86_64")
    assert failures == ["avx2, RNN 1,16: nothing is recorded: make regress-record"]
    _, remarks = check.compare(counted(800.0), RECORD, "gcc 12 x86_64")
    assert remarks == ["avx2, LSTM 8,64: 20.0% fewer than recorded: make regress-record"]


def test_avx512_must_gain_where_its_multiply_adds_do(check: ModuleType) -> None:
    enough, text = check.avx512_is_worth_it(["FMA: 2.0", "LSTM 8,64: 1.44", "Dense 50,3: 0.9"])
    assert not enough
    assert text.startswith("AVX2 ÷ AVX-512, time: 1.14 in the mean, at least 1.15 where FMAs gain 2.00")
    assert check.avx512_is_worth_it(["FMA: 2.0", "LSTM 8,64: 1.44"])[0]
    assert check.avx512_is_worth_it(["FMA: 1.0", "LSTM 8,64: 0.95"])[0]
    assert not check.avx512_is_worth_it(["FMA: 1.0", "LSTM 8,64: 0.85"])[0]


def test_the_compilers_of_ci_are_recorded() -> None:
    record = json.loads((ROOT / "bench" / "instructions.json").read_text("utf-8"))
    assert {"gcc 12 x86_64", "clang 14 x86_64"} <= set(record)
    for counts in record.values():
        assert set(counts) == {"avx2", "generic"}
