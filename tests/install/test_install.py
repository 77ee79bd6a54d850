"""What a user installs: the wheel beside numpy alone, and a source install where no C compiler is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE_LIMIT_BYTES = 1_000_000  # in the wheel, which is compressed
UNPACKED_LIMIT_BYTES = 2_000_000  # 1.99 MB when this was written: half of it the C core, a fifth export and training
MODELS_LIMIT_BYTES = 3_000_000
NO_COMPILER = {"CC": "false", "CXX": "false"}
SOME_TIME = {"SOURCE_DATE_EPOCH": "1700000000"}


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
    """A new venv's bin folder with the wheel and numpy; pip finds nothing else that the wheel might ask for."""
    venv.create(folder / "venv", with_pip=True)
    binaries = folder / "venv" / "bin"
    (wheel,) = (folder / "dist").glob("*.whl")
    pinned = ("--require-hashes", "-r", ROOT / "requirements" / "runtime.txt")
    for what in (pinned, ("--no-index", wheel)):
        result = run(binaries / "pip", "--disable-pip-version-check", "install", "-q", *what)
        assert result.returncode == 0, result.stderr
    return binaries


@pytest.fixture(scope="module")
def with_core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with_core")
    result = build_wheel(folder, EDGEINFER_BUILD_EXT="require", **SOME_TIME)
    assert result.returncode == 0, result.stderr
    return installed(folder)


@pytest.fixture(scope="module")
def wheel(with_core: Path) -> Path:
    (found,) = (with_core.parents[1] / "dist").glob("*.whl")
    return found


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
    shown = run(with_core / "pip", "--disable-pip-version-check", "show", "edgeinfer").stdout
    assert "\nRequires: numpy\n" in shown


def test_the_wheel_stays_small(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel).infolist()
    sizes = {info.filename: info.file_size for info in files}
    models = {name for name in sizes if name.startswith("edgeinfer/models/")}  # and their sample inputs
    assert 0 < sum(sizes[name] for name in models) <= MODELS_LIMIT_BYTES
    code = [info for info in files if info.filename not in models]
    assert sum(info.compress_size for info in code) <= CODE_LIMIT_BYTES
    assert sum(info.file_size for info in code) <= UNPACKED_LIMIT_BYTES
    assert any(name.startswith("edgeinfer/kernels/native.") and name.endswith(".so") for name in sizes)
    assert "edgeinfer/py.typed" in sizes
    assert "edgeinfer/kernels/native.pyi" in sizes


def changed(wheel: Path, folder: Path, gone: str, more: str) -> Path:
    """The wheel without one file and with another."""
    path = folder / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(path, "w") as target:
        for info in source.infolist():
            data = source.read(info)
            if info.filename.endswith("/RECORD"):
                lines = [line for line in data.decode().splitlines(keepends=True) if not line.startswith(f"{gone},")]
                data = "".join([*lines, f"{more},,\n"]).encode()
            if info.filename != gone:
                target.writestr(info, data)
        target.writestr(more, "# stale\n")
    return path


def test_the_wheel_has_every_source_and_nothing_besides(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("check_wheel_contents", reason="check-wheel-contents is not installed")
    command = (ROOT / ".ci" / "check-wheel", sysconfig.get_path("scripts"))
    result = run(*command, wheel)
    assert result.returncode == 0, result.stdout + result.stderr
    result = run(*command, changed(wheel, tmp_path, "edgeinfer_export/layers/dense.py", "edgeinfer/stale.py"))
    assert result.returncode != 0
    said = result.stdout.partition("W101: ")[2]
    assert said.splitlines()[:2] == [
        "Wheel library is missing files in package tree:",
        "  edgeinfer_export/layers/dense.py",
    ]
    said = result.stdout.partition("W102: ")[2]
    assert said.splitlines()[:2] == ["Wheel library contains files not in package tree:", "  edgeinfer/stale.py"]


def test_the_sbom_beside_a_wheel_lists_what_it_needs_and_was_built_with(with_core: Path, wheel: Path) -> None:
    pytest.importorskip("cyclonedx_py", reason="cyclonedx-bom is not installed")
    result = run(sys.executable, ROOT / ".ci" / "sbom.py", wheel, with_core / "python", sys.executable)
    assert result.returncode == 0, result.stderr
    path = Path(result.stdout.strip())
    assert path.parent == wheel.parent
    bom = json.loads(path.read_text("utf-8"))
    root = bom["metadata"]["component"]
    assert (root["name"], root["licenses"][0]["license"]["id"]) == ("edgeinfer", "Apache-2.0")
    assert root["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}]
    listed = {one["name"].lower(): (one.get("scope"), one["purl"]) for one in bom["components"]}
    for name, scope in (("numpy", None), ("cython", "excluded"), ("setuptools", "excluded")):
        assert listed.pop(name) == (scope, f"pkg:pypi/{name}@{metadata.version(name)}")
    assert listed == {}
    (needed,) = (one["dependsOn"] for one in bom["dependencies"] if one["ref"] == root["bom-ref"])
    assert needed == [f"numpy=={metadata.version('numpy')}"]
    assert str(ROOT) not in path.read_text("utf-8")


@pytest.mark.slow
def test_two_builds_of_the_same_sources_have_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    result = build_wheel(tmp_path / "elsewhere", EDGEINFER_BUILD_EXT="require", **SOME_TIME)
    assert result.returncode == 0, result.stderr
    (again,) = (tmp_path / "elsewhere" / "dist").glob("*.whl")
    assert again.read_bytes() == wheel.read_bytes()


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
