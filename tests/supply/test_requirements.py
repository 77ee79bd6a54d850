"""requirements/ pins all that is installed to build, test and measure, by hash, and agrees with pyproject.toml."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "requirements"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
BUILD = PYPROJECT["build-system"]["requires"]
ASKED = {
    "runtime": PROJECT["dependencies"],
    "build": BUILD,
    "dev": [*BUILD, *PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]],
    "bench": [*BUILD, *PROJECT["dependencies"], *PROJECT["optional-dependencies"]["bench"]],
    "lock": PYPROJECT["dependency-groups"]["lock"],
}
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")


def pins(name: str) -> list[tuple[Requirement, list[str]]]:
    """Each requirement of a file with its hashes."""
    text = (FOLDER / f"{name}.txt").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line[:1].isalnum()]
    return [
        (Requirement(line.partition("--hash")[0]), re.findall(r"--hash=sha256:[0-9a-f]{64}", line)) for line in lines
    ]


def environment(python: str, machine: str) -> dict[str, str]:
    """What markers are asked about, on Linux."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.5",
        "platform_machine": machine,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }


def applies(requirement: Requirement, where: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**where, "extra": ""})


def asked(requirements: list[str], where: dict[str, str]) -> list[Requirement]:
    """What applies of them, and of the project's own extras that they name."""
    found = []
    for requirement in map(Requirement, requirements):
        if requirement.name == PROJECT["name"]:
            for extra in requirement.extras:
                found += asked(PROJECT["optional-dependencies"][extra], where)
        elif applies(requirement, where):
            found.append(requirement)
    return found


def satisfied(requirement: Requirement, version: str | None) -> bool:
    return version is not None and requirement.specifier.contains(version)


def missing(name: str, requirements: list[str], python: str, machine: str) -> list[str]:
    where = environment(python, machine)
    pinned: dict[str, str] = {}
    for requirement, _ in pins(name):
        if applies(requirement, where):
            (specifier,) = requirement.specifier
            assert canonicalize_name(requirement.name) not in pinned, f"{requirement.name} is pinned twice"
            pinned[canonicalize_name(requirement.name)] = specifier.version
    return [
        str(requirement)
        for requirement in asked(requirements, where)
        if not satisfied(requirement, pinned.get(canonicalize_name(requirement.name)))
    ]


def test_there_is_one_file_for_each_thing_that_is_installed() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(ASKED)


@pytest.mark.parametrize("name", ASKED)
def test_every_line_pins_one_version_and_its_wheels(name: str) -> None:
    assert (FOLDER / f"{name}.txt").read_text("utf-8").splitlines()[2] == "--only-binary :all:"
    for requirement, hashes in pins(name):
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
        assert hashes, requirement


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", ASKED)
def test_what_pyproject_asks_for_is_pinned_on_every_python(name: str, python: str, machine: str) -> None:
    assert missing(name, ASKED[name], python, machine) == [], "make lock"


def test_what_is_not_pinned_or_older_than_asked_for_is_named() -> None:
    more = [*ASKED["build"], "numpy>=1000", "atheris>=3; python_version < '3.12'", "absent"]
    assert missing("build", more, "3.11", "x86_64") == ["numpy>=1000", 'atheris>=3; python_version < "3.12"', "absent"]
    assert missing("build", more, "3.12", "x86_64") == ["numpy>=1000", "absent"]


def test_the_build_group_is_what_the_build_requires() -> None:
    assert PYPROJECT["dependency-groups"]["build"] == BUILD


def test_the_runtime_needs_what_it_names_and_nothing_through_it() -> None:
    """Or the wheel's SBOM, which lists what it names, would not list all."""
    assert {requirement.name for requirement, _ in pins("runtime")} == {
        Requirement(r).name for r in PROJECT["dependencies"]
    }


def test_the_makefile_installs_by_hash_or_from_the_clone_alone() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(r"^PINNED := .*--require-hashes -r$", text, re.MULTILINE)
    assert re.search(r"^OURS := .*--no-index --no-build-isolation$", text, re.MULTILINE)
    calls = re.findall(r"/pip (.*)", text)
    assert len(calls) >= 6
    for call in calls:
        builds = "wheel -q --no-deps --no-build-isolation" in call
        assert builds or call.startswith(("$(PINNED) ", "$(OURS) ")), call
    assert not re.search(r"\bpip\b", (ROOT / ".ci" / "run").read_text("utf-8"))


def test_a_changed_package_is_refused(tmp_path: Path) -> None:
    """Under the name and version that are pinned, as an index would serve it whose files someone has changed."""
    here = ".".join(map(str, sys.version_info[:2]))
    where = environment(here if here in PYTHONS else PYTHONS[-1], "x86_64")
    (pin,) = (requirement for requirement, _ in pins("runtime") if applies(requirement, where))
    version = next(iter(pin.specifier)).version
    information = f"numpy-{version}.dist-info"
    with zipfile.ZipFile(tmp_path / f"numpy-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("numpy.py", "changed = True\n")
        wheel.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: numpy\nVersion: {version}\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--no-index"]
    command += ["--find-links", str(tmp_path), "--target", str(tmp_path / "installed"), "--require-hashes", "-r"]
    done = subprocess.run([*command, str(FOLDER / "runtime.txt")], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "installed").exists()
