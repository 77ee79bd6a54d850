"""Writes what a wheel needs and was built with, as CycloneDX 1.6, beside it.

cyclonedx-py tells what is installed for two interpreters, where the wheel is and where it was built. Listed is what
pyproject.toml names of that: the dependencies, and what the build requires with scope "excluded", since Cython's own C
and numpy's headers are compiled into the core. The wheel's SHA-256 says which file is meant.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
USAGE = "usage: .ci/sbom.py WHEEL RUNTIME_PYTHON BUILD_PYTHON"


def environment(python: str) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        "environment",
        "--pyproject",
        str(PYPROJECT),
        "--mc-type",
        "library",
    ]
    command += ["--sv", "1.6", "--output-reproducible", "--no-validate", python]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def named(bom: dict[str, Any], requirements: list[str]) -> list[dict[str, Any]]:
    installed = {canonicalize_name(one["name"]): one for one in bom["components"]}
    names = [canonicalize_name(Requirement(text).name) for text in requirements]
    missing = [name for name in names if name not in installed]
    if missing:
        raise SystemExit(f"sbom: not installed: {', '.join(missing)}")
    return [installed[name] for name in names]


def main(wheel: Path, runtime_python: str, build_python: str) -> Path:
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))
    bom = environment(runtime_python)
    root = bom["metadata"]["component"]
    root["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}]
    root["purl"] = f"pkg:pypi/{root['name']}@{root['version']}?file_name={wheel.name}"
    # cyclonedx-py takes for a dependency what an extra asks for, too, if it is installed
    needed = named(bom, project["project"]["dependencies"])
    refs = [one["bom-ref"] for one in needed]
    tools = named(environment(build_python), project["build-system"]["requires"])
    bom["components"] = needed + [{**one, "scope": "excluded"} for one in tools if one["bom-ref"] not in refs]
    bom["dependencies"] = [{"ref": root["bom-ref"], "dependsOn": refs}, *({"ref": ref} for ref in refs)]
    text = json.dumps(bom, indent=2) + "\n"
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        raise SystemExit(f"sbom: not CycloneDX 1.6: {wrong}")
    path = wheel.with_name(f"{wheel.name}.cdx.json")
    path.write_text(text, "utf-8")
    return path


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(USAGE)
    print(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
