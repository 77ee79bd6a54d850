"""``python -m tests.export.matrix``: run the matrix, Keras' own export of it, or random models; write the page."""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import importlib.metadata
import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .cases import all_cases
from .workers import ROOT, run

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "matrix"
PACKAGES = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy")
# One case that hangs; a slow one takes some seconds.
TIMEOUT = 300.0
COMMITTED = {"export": HERE / "results.json", "plain": HERE / "plain.json"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 all as expected, 1 a disagreement."""
    arguments = _parser().parse_args(argv)
    if arguments.what == "page":
        return _page()
    if arguments.what == "random":
        from .random_models import main as random_main

        return random_main(arguments)
    return _run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.export.matrix", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    for name, text in (("export", "export every case and compare"), ("plain", "the same with model.export")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--only", default="*", metavar="PATTERN", help="cases whose id matches, as 'Masks: *'")
        command.add_argument("--resume", action="store_true", help="keep what build/matrix has, run the rest")
        command.add_argument("--again", metavar="STATUS", help="with --resume: run those again, as 'wrong,failed'")
        command.add_argument("--jobs", type=int, default=1, help="worker processes (default: %(default)s)")
    commands.add_parser("page", help="write the committed JSON and docs/keras-support.md from build/matrix")
    command = commands.add_parser("random", help="models made at random")
    command.add_argument("--seed", type=int, default=0, help="the first seed (default: %(default)s)")
    command.add_argument("--count", type=int, default=1, help="how many, one after another (default: %(default)s)")
    command.add_argument("--jobs", type=int, default=1, help="worker processes (default: %(default)s)")
    command.add_argument("--show", action="store_true", help="print the model's layers")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    file = BUILD / f"{arguments.what}.jsonl"
    BUILD.mkdir(parents=True, exist_ok=True)
    done = read_lines(file) if arguments.resume else {}
    again = set((arguments.again or "").split(","))
    done = {name: found for name, found in done.items() if found.get("status") not in again}
    file.write_text("".join(json.dumps([name, found]) + "\n" for name, found in done.items()))
    names = [name for name in all_cases() if fnmatch.fnmatchcase(name, arguments.only) and name not in done]
    started, counts = time.monotonic(), Counter[str]()
    with file.open("a") as out:
        for i, (name, found) in enumerate(run(names, arguments.what, arguments.jobs, TIMEOUT), start=1):
            print(json.dumps([name, found]), file=out, flush=True)
            verdict = found.get("status") or found.get("verdict") or "?"
            counts[verdict] += 1
            left = (time.monotonic() - started) / i * (len(names) - i)
            shown = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
            print(
                f"{i}/{len(names)} ({shown}; {left / 60:.0f} min left)  {name}: {verdict}", file=sys.stderr, flush=True
            )
            if found.get("why") and verdict not in ("equal", "fails"):
                print(f"      {found['why']}", file=sys.stderr, flush=True)
    if arguments.what == "plain":
        return 0
    return int(not all(as_expected(name, found) for name, found in read_lines(file).items()))


def as_expected(name: str, found: Mapping[str, Any]) -> bool:
    """Whether a case was exported and is equal, or is refused with the words that it should be."""
    case = all_cases()[name]
    if case.refused is not None:
        return found["status"] == "refused" and case.refused in found["why"]
    return found["status"] == "equal"


def read_lines(file: Path) -> dict[str, dict[str, Any]]:
    """What a run has written so far, for the cases that there are."""
    if not file.exists():
        return {}
    lines = (json.loads(line) for line in file.read_text().splitlines())
    return {name: found for name, found in lines if name in all_cases()}


def _page() -> int:
    from .page import write_page

    for what, committed in COMMITTED.items():
        found = read_lines(BUILD / f"{what}.jsonl")
        if not found:
            continue
        versions = {name: _version(name) for name in PACKAGES}
        seconds = sum(result.get("seconds", 0.0) for result in found.values())
        head = {
            "minutes": max(1, round(seconds / 60)),
            "date": datetime.date.today().isoformat(),
            "python": platform.python_version(),
            "versions": versions,
        }
        lines = [
            f"  {json.dumps(name, ensure_ascii=False)}: {_json(found[name])}" for name in all_cases() if name in found
        ]
        text = json.dumps(head, indent=1)[:-2] + ',\n "cases": {\n' + ",\n".join(lines) + "\n }\n}\n"
        committed.write_text(text, "utf-8")
    write_page(ROOT / "docs" / "keras-support.md", load("export"), load("plain"))
    return 0


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version(f"{package}-cpu")  # TensorFlow has two names


def load(what: str) -> dict[str, Any]:
    """The committed results of ``export`` or ``plain``."""
    found: dict[str, Any] = json.loads(COMMITTED[what].read_text("utf-8"))
    return found


def _json(found: Mapping[str, Any]) -> str:
    """One line; differences to two digits, and without what changes from run to run."""
    rounded = {key: float(f"{v:.1e}") if isinstance(v, float) else v for key, v in found.items() if key != "seconds"}
    return json.dumps(rounded, ensure_ascii=False)
