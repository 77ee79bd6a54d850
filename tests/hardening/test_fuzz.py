"""The fuzzers for a moment each, and that each would see what it is there to see."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from edgeinfer.errors import ModelLoadError
from edgeinfer.onnx_file import read_model
from tests.hardening import builds
from tests.hardening.fuzz import mutate, run, seeds
from tests.hardening.fuzz.run import fuzz
from tests.hardening.fuzz.targets import TARGETS, with_metadata

needs_clang = pytest.mark.skipif(shutil.which("clang") is None, reason="there is no clang")
needs_atheris = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")


@pytest.fixture(scope="module", autouse=True)
def _seeds() -> None:
    seeds.write()


@pytest.mark.parametrize("target", list(TARGETS))
def test_no_seed_is_a_finding(target: str) -> None:
    files = sorted((seeds.FOLDER / target / "seeds").iterdir())
    assert len(files) > 8
    for path in files:
        TARGETS[target](path.read_bytes())


@needs_clang
@pytest.mark.parametrize("target", run.C)
def test_programs_of_the_c_core_touch_nothing_beside_their_operands(target: str, tmp_path: Path) -> None:
    run.prepare((target,))
    result = fuzz(target, count=10_000, corpus=tmp_path)
    assert result.finding is None, result.log.read_text()
    assert result.executions == 10_000


@needs_clang
def test_an_index_that_is_one_too_large_is_seen(tmp_path: Path) -> None:
    run.prepare(("plan",))
    result = fuzz("plan", seconds=60, corpus=tmp_path, more={"EI_CANARY": "one row more"})
    assert result.finding is not None
    result.finding.unlink()


@needs_atheris
def test_the_reader_refuses_what_it_cannot_read_with_its_own_errors(tmp_path: Path) -> None:
    result = fuzz("reader", count=3000, corpus=tmp_path)
    assert result.finding is None, result.log.read_text()


@needs_atheris
@needs_clang
@pytest.mark.slow
@pytest.mark.parametrize("target", run.SANITIZED)
def test_files_states_and_metadata_are_taken_or_refused(target: str, tmp_path: Path) -> None:
    run.prepare((target,))
    result = fuzz(target, seconds=60, corpus=tmp_path)
    assert result.finding is None, result.log.read_text()


@needs_atheris
@pytest.mark.parametrize(
    ("target", "seconds", "file", "sound", "broken", "said"),
    [
        ("reader", 60, "onnx_file/tensors.py", "len(tensor.raw) != expected", "expected < 0", "cannot reshape array"),
        ("loader", 120, "plan/instructions.py", '"Sub": 1', '"Sub": 0', "the C core gives"),
    ],
    ids=["an error of another type", "an answer that differs from the reference's"],
)
def test_a_planted_bug_is_seen(
    tmp_path: Path, target: str, seconds: int, file: str, sound: str, broken: str, said: str
) -> None:
    package = builds.planted(tmp_path / "p", file, sound, broken)
    result = fuzz(target, seconds=seconds, corpus=tmp_path / "corpus", package=package)
    assert result.finding is not None
    assert said in result.log.read_text()
    result.finding.unlink()


def test_a_file_comes_back_from_its_parts() -> None:
    for path in (seeds.FOLDER / "reader" / "seeds").iterdir():
        data = path.read_bytes()
        assert mutate.write(mutate.parse(data)) == data


def test_most_mutations_of_a_file_are_files_again() -> None:
    data = (seeds.MODELS / "tokens.onnx").read_bytes()
    read = 0
    for seed in range(200):
        try:
            read_model(mutate.onnx(data, 8192, seed, lambda part, size: part[::-1][:size]))
        except ModelLoadError:
            continue
        read += 1
    assert read > 100


def test_a_mutation_of_metadata_is_json_again() -> None:
    data = (seeds.FOLDER / "metadata" / "seeds" / "1").read_bytes()
    changed = {mutate.json_text(data, 8192, seed, lambda part, size: part) for seed in range(50)}
    assert len(changed) > 30
    for text in changed:
        json.loads(text[1:])


def test_metadata_are_added_to_a_file_by_bytes_alone() -> None:
    text = json.dumps({"schema_version": 1, "name": "x" * 300})
    added = with_metadata((seeds.MODELS / "sum bare.onnx").read_bytes(), text)
    assert read_model(added).metadata["edgeinfer.spec"] == text
