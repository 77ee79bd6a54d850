"""Files by the thousand, each examined in a child process that may take little memory and must not stand still.

A campaign is a module with `files(**arguments)`, which gives a sequence of files; each is made from its number alone.
A child examines one stretch of numbers. When it dies, the number it was at is a finding, and another child goes on
behind it. A finding is an answer, error, crash, hang or use of memory that docs/security.md rules out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import mmap
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .builds import BUILDS, ROOT

FINDINGS = BUILDS / "findings"
MEMORY = 1 << 30
"""What a child may take beside what it has once everything is imported."""
CPU_SECONDS = 20
"""What the examination of one small file may take."""
STANDSTILL_SECONDS = 300
"""After which one that takes no processor time is given up too; far more than a busy machine lets a child wait."""
TOLD_EVERY_SECONDS = 20


class Files(Protocol):
    """A campaign's files by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> bytes: ...

    def label(self, number: int) -> str:
        """What was done to which file."""
        ...


class Finding(NamedTuple):
    number: int
    label: str
    what: str


class Report(NamedTuple):
    """How many files ended in which way."""

    outcomes: Counter[str]
    findings: list[Finding]
    seconds: float

    @property
    def examined(self) -> int:
        return sum(self.outcomes.values()) + len(self.findings)


def search(
    module: str,
    arguments: Mapping[str, Any],
    *,
    seconds: float | None = None,
    package: Path | None = None,
    most_findings: int = 20,
    numbers: Sequence[int] | None = None,
    cpu_seconds: float = CPU_SECONDS,
) -> Report:
    """Examine the files of ``tests.hardening.<module>``, all or those between two ``numbers``.

    seconds: stop when they are over. package: the folder to import edgeinfer from. cpu_seconds: what one file may take.
    """
    files: Files = importlib.import_module(f".{module}", __package__).files(**arguments)
    first, last = numbers or (0, len(files))
    outcomes: Counter[str] = Counter()
    findings: list[Finding] = []
    began = time.monotonic()
    with tempfile.NamedTemporaryFile() as shared:
        shared.truncate(8)
        at = mmap.mmap(shared.fileno(), 8)
        while first < last and len(findings) < most_findings:
            left = 0.0 if seconds is None else max(seconds - (time.monotonic() - began), 0.1)
            most = most_findings - len(findings)
            given = json.dumps([module, arguments, first, last, left, shared.name, most, cpu_seconds])
            at[:] = first.to_bytes(8, "little")
            told, died, errors = _child(given, package, at, last)
            for line in told.splitlines():
                kind, *rest = json.loads(line)
                if kind == "finding":
                    findings.append(Finding(rest[0], files.label(rest[0]), rest[1]))
                    print(f"a finding: {rest[0]}", file=sys.stderr, flush=True)
                else:
                    outcomes.update(rest[0])
                    first = rest[1]
            if died:
                number = int.from_bytes(at[:], "little")
                # what came before it in this child was examined, though the child's own count went with it
                outcomes["examined before a crash"] += number - first
                if died == "SIGPROF":
                    died = f"hang: more than {cpu_seconds} s of processor time"
                findings.append(Finding(number, files.label(number), f"{died}\n{errors}"))
                first = number + 1
            if seconds is not None and time.monotonic() - began > seconds:
                break
        at.close()
    for finding in findings:
        FINDINGS.mkdir(parents=True, exist_ok=True)
        (FINDINGS / f"{module}-{finding.number}.onnx").write_bytes(files[finding.number])
    return Report(outcomes, findings, time.monotonic() - began)


def _child(given: str, package: Path | None, at: mmap.mmap, last: int) -> tuple[str, str, str]:
    """What a child told, how it died (a signal's name; "" where it came to its end), and the last of its stderr."""
    path = [*([str(package)] if package else []), str(ROOT)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONSAFEPATH": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.hardening.isolated", given],
            cwd=ROOT,
            env=environment,
            stdout=told,
            stderr=errors,
        )
        seen, since = b"", time.monotonic()
        told_at = since
        died = ""
        while child.poll() is None:
            time.sleep(0.02)
            if time.monotonic() - told_at > TOLD_EVERY_SECONDS:
                told_at = time.monotonic()
                print(f"at {int.from_bytes(at[:], 'little')} of {last}", file=sys.stderr, flush=True)
            if at[:] != seen:
                seen, since = at[:], time.monotonic()
            elif time.monotonic() - since > STANDSTILL_SECONDS:
                child.kill()
                died = f"hang: stood still for {STANDSTILL_SECONDS} s"
        if child.returncode and not died:
            died = f"exit code {child.returncode}"
            if child.returncode < 0:
                died = signal.Signals(-child.returncode).name
        told.seek(0)
        errors.seek(0)
        return told.read(), died, errors.read()[-2000:]


def _work(given: str) -> None:
    """A child: examine, tell of findings as they come and of the count at the end."""
    module, arguments, first, last, seconds, progress, most_findings, cpu_seconds = json.loads(given)
    from .answers import FindingError, examine, warm

    files: Files = importlib.import_module(f".{module}", __package__).files(**arguments)
    warm()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * mmap.PAGESIZE + MEMORY, resource.RLIM_INFINITY))
    outcomes: Counter[str] = Counter()
    began = time.monotonic()
    found = 0
    with open(progress, "r+b") as file, mmap.mmap(file.fileno(), 8) as at:
        number = first
        while number < last and found < most_findings and not (seconds and time.monotonic() - began > seconds):
            at[:] = number.to_bytes(8, "little")
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
            try:
                outcomes[examine(files[number], number)] += 1
            except FindingError as wrong:
                found += 1
                print(json.dumps(["finding", number, str(wrong)]), flush=True)
            number += 1
        signal.setitimer(signal.ITIMER_PROF, 0)
    print(json.dumps(["end", outcomes, number]))


def arguments_of(parser: argparse.ArgumentParser, count: str) -> None:
    """The options that every campaign over files has."""
    parser.add_argument("--count", type=int, help=count)
    parser.add_argument("--seconds", type=float, help="stop after so many")
    parser.add_argument("--seed", type=int, default=0, help="what is drawn depends on nothing else (default: 0)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one file alone, as a finding names it")


def command(module: str, arguments: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Search as the options say, in stretches, and tell; 1 on a finding."""
    if options.only is not None:
        report = search(module, arguments, numbers=(options.only, options.only + 1))
    else:
        report = search(module, arguments, seconds=options.seconds)
    print(f"{module}: {report.examined} files, {len(report.findings)} findings, {report.seconds:.0f} s: {told(report)}")
    for finding in report.findings:
        where = FINDINGS.relative_to(ROOT) / f"{module}-{finding.number}.onnx"
        print(f"\nnumber {finding.number}, {finding.label}, saved as {where}, {json.dumps(arguments)}:\n{finding.what}")
    return 1 if report.findings else 0


def told(report: Report) -> str:
    """The outcomes, most frequent first."""
    return ", ".join(f"{count} {name}" for name, count in report.outcomes.most_common())


if __name__ == "__main__":
    _work(sys.argv[1])
