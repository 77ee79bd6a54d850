"""What a user installs: the wheel beside numpy alone, and a source install where no C compiler is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE_LIMIT_BYTES = 1_000_000  # in the wheel, which is compressed
UNPACKED_LIMIT_BYTES = 2_000_000  # 1.9 MB when this was written: half of it the C core, a fifth export and training
MODELS_LIMIT_BYTES = 3_000_000
NO_COMPILER = {"CC": "false", "CXX": "false"}


def run(*command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("EDGEINFER_", "PYTHON"))}
    return subprocess.run(
        [str(c) for c in command], env={**clean, **env}, capture_output=True, text=True, cwd="/", timeout=300
    )


def build_wheel(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A wheel out of a copy of the sources, in which nothing was built before."""
    source = folder / "source"
    ignore = shutil.ignore_patterns(".git", ".venv*", "build", "*.so", "*.egg-info", "__pycache__", "tests", ".*_cache")
    shutil.copytree(ROOT, source, ignore=ignore)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    return run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder / "dist", source, **env)


def installed(folder: Path) -> Path:
    """A new venv's bin folder with the wheel and what the wheel asks for."""
    venv.create(folder / "venv", with_pip=True)
    binaries = folder / "venv" / "bin"
    (wheel,) = (folder / "dist").glob("*.whl")
    result = run(binaries / "pip", "--disable-pip-version-check", "install", "-q", wheel)
    assert result.returncode == 0, result.stderr
    return binaries


@pytest.fixture(scope="module")
def with_core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with_core")
    result = build_wheel(folder, EDGEINFER_BUILD_EXT="require")
    assert result.returncode == 0, result.stderr
    return installed(folder)


@pytest.fixture(scope="module")
def without_core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("without_core")
    result = build_wheel(folder, **NO_COMPILER)
    assert result.returncode == 0, result.stderr
    return installed(folder)


def model(binaries: Path, name: str) -> Path:
    (found,) = binaries.parent.glob(f"lib/*/site-packages/edgeinfer/models/{name}.onnx")
    return found


def test_the_wheel_brings_numpy_and_nothing_else(with_core: Path) -> None:
    result = run(with_core / "pip", "--disable-pip-version-check", "list", "--format=json")
    names = {package["name"] for package in json.loads(result.stdout)}
    assert names - {"pip", "setuptools"} == {"edgeinfer", "numpy"}


def test_the_wheel_stays_small(with_core: Path) -> None:
    (wheel,) = (with_core.parents[1] / "dist").glob("*.whl")
    files = zipfile.ZipFile(wheel).infolist()
    sizes = {info.filename: info.file_size for info in files}
    models = sum(size for name, size in sizes.items() if name.endswith(".onnx"))
    assert 0 < models <= MODELS_LIMIT_BYTES
    assert sum(info.compress_size for info in files if not info.filename.endswith(".onnx")) <= CODE_LIMIT_BYTES
    assert sum(sizes.values()) - models <= UNPACKED_LIMIT_BYTES
    assert any(name.startswith("edgeinfer/kernels/native.") and name.endswith(".so") for name in sizes)
    assert "edgeinfer/py.typed" in sizes
    assert "edgeinfer/kernels/native.pyi" in sizes


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("sum", ("--values", "5,6"), "11"),
        ("next_word", ("--text", "I love"), None),
        ("sentiment", ("--text", "A wonderful film, moving and beautifully played."), "positive"),
        ("demand", ("--csv", "SAMPLE", "--column", "y", "--time", "ts"), "2014-12-10 23:00"),
    ],
)
def test_a_bundled_model_runs_on_the_core(
    with_core: Path, name: str, arguments: tuple[str, ...], expected: str | None
) -> None:
    sample = model(with_core, name).with_name("demand_sample.csv")
    asked = [sample if argument == "SAMPLE" else argument for argument in arguments]
    result = run(with_core / "edgeinfer", "run", model(with_core, name), *asked, "--backend", "native")
    assert result.returncode == 0, result.stderr
    assert expected is None or expected in result.stdout
    if name == "next_word":
        assert "machine" in result.stdout or "deep" in result.stdout


def test_the_demo_runs_and_says_that_the_core_answered(with_core: Path) -> None:
    result = run(with_core / "edgeinfer", "demo")
    assert result.returncode == 0, result.stderr
    assert "native" in result.stdout


def test_train_and_export_say_which_extra_they_need(with_core: Path, tmp_path: Path) -> None:
    keras = tmp_path / "model.keras"
    with zipfile.ZipFile(keras, "w") as archive:
        for member in ("config.json", "metadata.json", "model.weights.h5"):
            archive.writestr(member, "{}")
    for extra, command in (
        ("export", ("export", keras, "-o", tmp_path / "model.onnx")),
        ("train", ("train", "sum", "--out", tmp_path)),
    ):
        result = run(with_core / "edgeinfer", *command)
        assert result.returncode == 3
        assert f"edgeinfer[{extra}]" in result.stderr
        assert "Traceback" not in result.stderr


def test_without_a_compiler_numpy_answers_and_info_says_so(without_core: Path) -> None:
    result = run(without_core / "edgeinfer", "info", model(without_core, "sum"), "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["backend"] == "reference"
    shown = run(without_core / "edgeinfer", "info", model(without_core, "sum"))
    assert "reference" in shown.stdout
    answer = run(without_core / "edgeinfer", "run", model(without_core, "sum"), "--values", "5,6")
    assert answer.returncode == 0
    assert "11" in answer.stdout


def test_without_a_compiler_native_is_refused_with_the_way_out(without_core: Path) -> None:
    command = ("run", model(without_core, "sum"), "--values", "5,6", "--backend", "native")
    result = run(without_core / "edgeinfer", *command)
    assert result.returncode == 3
    assert "the C core is not installed" in result.stderr
    assert "EDGEINFER_BUILD_EXT=require" in result.stderr


def test_a_required_core_that_does_not_compile_fails_the_build(tmp_path: Path) -> None:
    result = build_wheel(tmp_path, EDGEINFER_BUILD_EXT="require", **NO_COMPILER)
    assert result.returncode != 0


def test_an_unknown_build_choice_is_named(tmp_path: Path) -> None:
    result = build_wheel(tmp_path, EDGEINFER_BUILD_EXT="maybe")
    assert result.returncode != 0
    assert "expected one of auto, require, skip, got 'maybe'" in result.stderr + result.stdout
