"""The C core alone: tests/csrc compiled together with it by the system's C compiler, without Python in between."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "edgeinfer" / "kernels" / "csrc"
CHECKS = ROOT / "tests" / "csrc"
FLAGS = ("-std=c11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Wshadow", "-Wpedantic", "-Werror")


@pytest.fixture(scope="session")
def core_checks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    program = tmp_path_factory.mktemp("csrc") / "test_core"
    sources = [str(path) for folder in (CORE, CHECKS) for path in sorted(folder.glob("*.c"))]
    command = [compiler, *FLAGS, f"-I{CORE}", *sources, "-lm", "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return program


def available(program: Path) -> list[str]:
    return subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("core", ["avx512", "avx2", "neon", "generic"])
def test_every_op_of_a_core_agrees_with_its_formula_in_double_precision(core_checks: Path, core: str) -> None:
    if core not in available(core_checks):
        pytest.skip(f"this CPU cannot run the {core} core")
    done = subprocess.run([core_checks, core], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ok   {core}: LSTM" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("core", ["avx512", "avx2", "neon", "generic"])
def test_the_activations_of_a_core_keep_their_error_bounds_over_every_float(core_checks: Path, core: str) -> None:
    if core not in available(core_checks):
        pytest.skip(f"this CPU cannot run the {core} core")
    done = subprocess.run([core_checks, core, "--every-float"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for function in ("sigmoid", "tanh", "exp"):
        found = re.search(rf"ok   {core}: {function} keeps its error bound over all floats \((\d+) checks", done.stdout)
        assert found and int(found[1]) > 2**32


def test_the_generic_core_runs_everywhere(core_checks: Path) -> None:
    assert available(core_checks)[-1] == "generic"


def test_a_core_that_is_not_compiled_in_is_refused_by_name(core_checks: Path) -> None:
    done = subprocess.run([core_checks, "mmx"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "no core mmx here\n")


# What qemu-user emulates, and the cores that it can run then.
EMULATED = {"Nehalem": ["generic"], "SandyBridge": ["generic"], "Haswell": ["avx2", "generic"]}


@pytest.mark.parametrize("cpu", list(EMULATED))
def test_a_cpu_without_an_instruction_set_is_told_so_and_runs_the_others(core_checks: Path, cpu: str) -> None:
    emulator = shutil.which("qemu-x86_64")
    if emulator is None or platform.machine() != "x86_64":
        pytest.skip("needs x86-64 and qemu-user")
    emulate = [emulator, "-cpu", cpu, str(core_checks)]
    listed = subprocess.run([*emulate, "--list"], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == EMULATED[cpu]
    for name in {"avx512", "avx2"} - set(EMULATED[cpu]):
        refused = subprocess.run([*emulate, name], capture_output=True, text=True)
        assert refused.returncode == 2
        assert refused.stderr.splitlines()[-1] == f"no core {name} here"


def test_a_tool_that_is_missing_is_named_with_its_package(tmp_path: Path) -> None:
    for tool in ("bash", "id", "env"):  # and no apt-get, so that nothing is installed
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    command = [ROOT / ".ci" / "need", "bash=bash", "no-such-cc=gcc-of-tests", f"{tmp_path}/lib.a=lib-of-tests"]
    done = subprocess.run(command, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True)
    packages = "gcc-of-tests lib-of-tests"
    assert done.returncode == 1
    assert done.stderr == f"missing here: {packages}; on Debian or Ubuntu: sudo apt-get install {packages}\n"
