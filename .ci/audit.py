"""Asks for known vulnerabilities of all that requirement files pin: .ci/audit.py FILE ... [-- ARGUMENT ...]

pip-audit asks PyPI, or whom its own arguments after `--` name. What the service does not know it calls skipped, and
ends as if all were well; so a release against which there are advisories is asked for first.

Exit codes: 0 nothing is known against any of them, 1 something is, 2 not all could be asked for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CANARY = ("jinja2", "2.10")  # PYSEC-2019-217, a sandbox escape, and more since
Pin = tuple[str, str]


def pins(files: list[Path]) -> set[Pin]:
    """(name, version) of all that the files pin, for every Python and platform."""
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    pinned = [line.split(" ")[0].split("==") for line in lines if line[:1].isalnum()]
    return {(name, version) for name, version in pinned}


def rounds(asked: set[Pin]) -> list[list[Pin]]:
    """pip-audit takes one version of a package at a time: the first of each, then the second where there is one …"""
    left = sorted(asked)
    found = []
    while left:
        one_each = dict(reversed(left))
        found.append(sorted(one_each.items()))
        left = [(name, version) for name, version in left if one_each[name] != version]
    return found


def answers(asked: list[Pin], arguments: list[str]) -> tuple[dict[Pin, list[dict[str, Any]]], str]:
    """The advisories against each that the service knows, and what pip-audit says of one that it does not."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{name}=={version}\n" for name, version in asked)
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--progress-spinner=off"]
        command += ["--format=json", "-r", file.name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        said = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):  # it has failed, and stdout is empty
        return {}, done.stderr.strip().rpartition("\n")[2]
    known = {(one["name"], one["version"]): one["vulns"] for one in said if "vulns" in one}
    return known, next((one["skip_reason"] for one in said if "skip_reason" in one), "")


def main(arguments: list[str]) -> int:
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    asked = pins([Path(name) for name in arguments[:cut]])
    more = arguments[cut + 1 :]
    known, said = answers([CANARY], more)
    if not known.get(CANARY):
        print(
            f"audit: nothing was audited: expected the advisories against {CANARY[0]} {CANARY[1]}, got none: "
            + (said or "the service knows the release, and none of them"),
            file=sys.stderr,
        )
        return 2
    known = {}
    for one_each in rounds(asked):
        some, said = answers(one_each, more)
        known |= some
        for name, version in sorted(set(one_each) - some.keys()):
            print(f"audit: no answer for {name} {version}: {said}", file=sys.stderr)
    advisories = sorted((*pin, one["id"], one["fix_versions"]) for pin in known for one in known[pin])
    for name, version, advisory, fixed in advisories:
        print(f"{name} {version}: {advisory}, mended in {', '.join(fixed) or 'no version yet'}")
    print(f"audit: {len(known)} of {len(asked)} releases answered for, {len(advisories)} advisories")
    return 1 if advisories else 2 if asked - known.keys() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
