"""One target for a while: started, watched, and what it says at its end."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .. import builds
from . import seeds
from .seeds import FOLDER

PYTHON = ("reader", "loader", "snapshot", "metadata")
C = ("plan", "steps")
TARGETS = (*PYTHON, *C)
# The reader is Python alone, and runs ten times as often without a sanitizer.
SANITIZED = ("loader", "snapshot", "metadata")
LENGTHS = {"reader": 4096, "loader": 4096, "snapshot": 1024, "metadata": 6000, "plan": 512, "steps": 256}
# One input, in seconds and MiB. Under a sanitizer, on a machine with other work, a thousand times what most take.
SLOWEST, MEMORY = 30, 1024
_HERE = Path(__file__).parent
_FLAGS = f"-std=c11 -O1 -g1 -ffp-contract=off -fno-math-errno -Wall -Wextra -Wshadow -Wpedantic -Werror -DEI_CANARIES \
-fsanitize=address {builds.UNDEFINED} -fno-sanitize-recover=undefined -I{builds.ROOT}/edgeinfer/kernels/csrc"


class Result(NamedTuple):
    """What came of it. ``finding`` is the input's file, ``log`` all that the fuzzer said."""

    target: str
    executions: int
    finding: Path | None
    log: Path

    @property
    def line(self) -> str:
        what = "nothing found" if self.finding is None else f"FOUND {self.finding}"
        return f"{self.target}: {self.executions:,} executions, {what}"


def prepare(targets: tuple[str, ...]) -> None:
    """Everything that the targets need, once; so that two may start at the same time."""
    if any(target in C for target in targets):
        build_c()
    if any(target in SANITIZED for target in targets):
        builds.sanitized("fuzz")
    if any(target in PYTHON for target in targets):
        seeds.write()


def build_c() -> None:
    """plan and steps, by clang, where a source is newer than what stands there."""
    folder = FOLDER / "c"
    folder.mkdir(parents=True, exist_ok=True)
    newest = max(builds.newest_source(), *(path.stat().st_mtime for path in _HERE.glob("*.[ch]")))
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if all((folder / name).exists() and (folder / name).stat().st_mtime > newest for name in C):
            return
        clang = ["clang", *_FLAGS.split(), "-fsanitize=fuzzer-no-link"]
        ours = {_HERE / f"{name}.c": clang for name in ("program", *C)}
        objects = builds.compile_core(folder, clang, ours)
        for name in C:
            chosen = [str(path) for path in objects if path.stem not in C or path.stem == name]
            builds.run([*clang, "-fsanitize=fuzzer", *chosen, "-lm", "-o", str(folder / name)])


def fuzz(
    target: str,
    *,
    seconds: int = 0,
    count: int = -1,
    seed: int = 1,
    package: Path | None = None,
    more: Mapping[str, str] | None = None,
    corpus: Path | None = None,
) -> Result:
    """Run a target that is prepared, for so many seconds (0: no end) or executions (-1: no end), or to a finding.

    package: the folder of another edgeinfer, without sanitizers. more: environment. corpus: where what it learns is
    kept; left out, for the next run.
    """
    own = FOLDER / target
    corpus, findings, log = corpus or own / "corpus", own / "findings", own / "log"
    for folder in (corpus, findings, own / "seeds"):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    # What libFuzzer reads as its peak of memory begins, on Linux, at that of the process that starts it.
    memory = MEMORY + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    command = [*command_of(target), f"-max_total_time={seconds}", f"-runs={count}", f"-seed={seed}"]
    command += [f"-max_len={LENGTHS[target]}", f"-timeout={SLOWEST}", f"-rss_limit_mb={memory}", "-entropic=0"]
    command += ["-print_final_stats=1", f"-artifact_prefix={findings}/", str(corpus), str(own / "seeds")]
    with log.open("w") as out:
        done = subprocess.run(
            command, cwd=builds.ROOT, env={**_environment(target, package), **(more or {})}, stdout=out, stderr=out
        )
    said = log.read_text(errors="replace")
    ran = re.findall(r"stat::number_of_executed_units:\s+(\d+)", said)
    found = sorted(set(findings.iterdir()) - before)
    if bool(done.returncode) != bool(found) or not ran:
        raise RuntimeError(f"{target} ended with {done.returncode} and {len(found)} findings; {log}:\n{said[-2000:]}")
    return Result(target, int(ran[-1]), found[0] if found else None, log)


def command_of(target: str) -> list[str]:
    if target in C:
        return [str(FOLDER / "c" / target)]
    return [sys.executable, "-m", "tests.hardening.fuzz.child", target]


def _environment(target: str, package: Path | None) -> dict[str, str]:
    if target in C:
        return {**os.environ, **builds.OPTIONS["fuzz"]}
    if package is None and target in SANITIZED:
        return builds.environment("fuzz", builds.sanitized("fuzz"))
    return builds.plain(package or builds.ROOT)
