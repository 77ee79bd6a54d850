"""The child of no_memory.py: makes allocations fail under the allocator of failing_malloc.c, and tells what came of it.

python -m tests.hardening.failing FOLDER COUNT SEED SECONDS PATTERN
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from .no_memory_cases import Case, cases

MODES = ("once", "onward")
# An attempt is repeated; what it leaves behind every time is a leak, what it leaves once is some cache's.
REPEATED, MORE = 3, 6
FEWEST = 1  # of a case's allocations in one mode
FAILED = object()

DEPTH = 48


class Failing(ctypes.Structure):
    """These two are those of failing_malloc.c."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("armed", "at", "onward", "seen", "failed", "blocks"))


class Last(ctypes.Structure):
    _fields_ = (*((name, ctypes.c_long) for name in ("at", "onward", "depth")), ("stack", ctypes.c_void_p * DEPTH))


class Symbol(ctypes.Structure):
    """dladdr's."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


class Campaign:
    """failures: how many allocations were made to fail. survived: attempts that gave the right answer all the same.
    findings: what breaks the promise. foreign: what CPython or NumPy did when they could not allocate something of
    their own, which no program on them can change.
    """

    def __init__(self) -> None:
        self.process = ctypes.CDLL(None)
        self.failing = Failing.in_dll(self.process, "failing")
        self.last = ctypes.POINTER(Last).in_dll(self.process, "last").contents
        self.failures = self.survived = 0
        self.findings: list[str] = []
        self.foreign: Counter[str] = Counter()

    def allocations_of(self, case: Case) -> int:
        """How many there are where none fails."""
        case.prepare().act()  # the first time is another: caches fill
        scene = case.prepare()
        held = take_spare()
        self._arm(0, 0)
        scene.act()
        self.failing.armed = 0
        del held
        return self.failing.seen

    def check(self, case: Case, numbers: list[int], mode: str) -> None:
        """Fail each of the allocations in turn."""
        scene = case.prepare()
        answer = scene.act()
        after = scene.state()  # look may change it
        wanted = (scene.look(answer), after)
        del scene, answer
        kept = in_modules()
        left = (ctypes.c_long * (REPEATED + MORE))()  # a list would hold objects of its own
        for at in (0, *numbers):  # where none fails nothing may stay either
            for attempt in range(REPEATED):
                left[attempt] = self._left_by(case, at, mode, wanted)
            if left[REPEATED - 1] > left[REPEATED - 2]:
                for attempt in range(REPEATED, len(left)):
                    left[attempt] = self._left_by(case, at, mode, wanted)
                more = min(later - earlier for earlier, later in pairwise(left[1:]))
                if more > 0:
                    self.find(case, f"{more} blocks stay each time", "leaks" if at else "")
            self.failures += at > 0
        if in_modules() != kept:
            self.find(case, f"the package's own tables have {in_modules()} entries, they had {kept}")

    def find(self, case: Case, what: str, foreign: str = "") -> None:
        """foreign: what it is called where CPython or NumPy asked for the memory, and it is theirs then."""
        asked = self.asked_by()
        if foreign and asked != "edgeinfer":
            self.foreign[f"{asked} {foreign}"] += 1
            return
        mode = MODES[self.last.onward]
        finding = f"{case.name}: allocation {self.last.at} failed {mode}, for {asked}: {what}"
        if finding not in self.findings:
            self.findings.append(finding)

    def asked_by(self) -> str:
        """Who is to answer for the first of the allocations that failed: the seam, where it asked for the memory or
        called NumPy, which did; or NumPy or CPython, called by the interpreter.
        """
        asked = "CPython"
        for address in self.last.stack[: self.last.depth]:
            symbol = Symbol()
            if not self.process.dladdr(ctypes.c_void_p(address), ctypes.byref(symbol)):
                continue
            file = os.path.basename((symbol.file or b"").decode())
            if file.startswith("native."):
                return "edgeinfer"
            if symbol.name == b"_PyEval_EvalFrameDefault":
                break
            if file.startswith(("_multiarray", "_umath")):
                asked = "NumPy"
        return asked

    def _left_by(self, case: Case, at: int, mode: str, wanted: Any) -> int:
        """One attempt; how many blocks are alive after it."""
        try:
            self._attempt(case, at, mode, wanted)
        except Exception as error:
            self.find(case, f"afterwards {told(error)}")
        ctypes.pythonapi.PyType_ClearCache()  # it keeps the names that were looked up
        gc.collect()
        return self.failing.blocks

    def _attempt(self, case: Case, at: int, mode: str, wanted: Any) -> None:
        scene = case.prepare()
        before = scene.state()
        held = take_spare()
        self._arm(at, MODES.index(mode))
        try:
            answer = scene.act()
            self.failing.armed = 0
        except MemoryError:
            self.failing.armed = 0
            answer = FAILED
        except BaseException as error:
            self.failing.armed = 0
            answer = FAILED
            self.find(case, told(error), "SystemError" if isinstance(error, SystemError) else "")
        del held
        what = "a wrong answer"
        if answer is FAILED:
            if scene.state() != before:
                self.find(case, "the state changed")
                return
            answer = scene.act()
            what = "wrong when done again"
        else:
            self.survived += self.failing.failed > 0
        after = scene.state()
        if (scene.look(answer), after) != wanted:
            self.find(case, what)

    def _arm(self, at: int, onward: int) -> None:
        self.failing.at, self.failing.onward, self.failing.seen, self.failing.failed = at, onward, 0, 0
        self.failing.armed = 1


def take_spare() -> Any:
    """Objects of the kinds that CPython keeps spare ones of: without those it allocates."""
    return [[k + 0.5 for k in range(128)], [[] for _ in range(128)], [{} for _ in range(128)]]


def told(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{error!r} in {frame.name}, {os.path.basename(frame.filename)}:{frame.lineno}"


def in_modules() -> int:
    """How much the package's modules hold in tables of their own."""
    found = 0
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "edgeinfer":
            # what begins with __ is Python's: it notes there which warnings it gave
            tables = [item for key, item in vars(module).items() if not key.startswith("__")]
            found += sum(len(item) for item in tables if isinstance(item, (dict, list, set)))
    return found


def chosen(total: int, share: float, generator: random.Random) -> list[int]:
    """Which of the allocations are made to fail."""
    count = min(total, max(FEWEST, round(total * share)))
    return sorted(generator.sample(range(1, total + 1), count))


def in_a_fork(campaign: Campaign, work: Callable[[], None]) -> int:
    """Let the campaign do its work in a process of its own and take over what it found; the status it ended with."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        work()
        said = campaign.failures, campaign.survived, campaign.findings, campaign.foreign
        with open(writing, "w") as file:
            json.dump(said, file)
        os._exit(0)
    os.close(writing)
    with open(reading) as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    if status == 0:
        campaign.failures, campaign.survived, campaign.findings, foreign = json.loads(said)
        campaign.foreign = Counter(foreign)
    return status


def main(folder: str, count: str, seed: str, seconds: str, pattern: str) -> int:
    generator = random.Random(int(seed))
    end = time.monotonic() + float(seconds)
    campaign = Campaign()
    found = list(cases(Path(folder), pattern))
    totals = [campaign.allocations_of(case) for case in found]
    sys.unraisablehook = lambda event: None  # what ends a generator may fail too, and CPython tells of it
    gc.disable()  # so that an attempt is the same each time
    gc.freeze()
    share = int(count) / (len(MODES) * max(1, sum(totals))) if int(count) else 1.0
    done = 0
    for case, total in zip(found, totals, strict=True):
        if time.monotonic() > end:
            break
        for mode in MODES:
            numbers = chosen(total, share, generator)
            while numbers:
                status = in_a_fork(campaign, lambda: campaign.check(case, numbers, mode))  # noqa: B023 (it ends first)
                if status == 0:
                    break
                campaign.find(case, f"the process ended with status {status:#x}", "crashes")
                numbers = [number for number in numbers if number > campaign.last.at]
        done += 1
        print(f"{done}/{len(found)} {case.name}: {total} allocations", file=sys.stderr)
    json.dump(
        {
            "cases": done,
            "of": len(found),
            "allocations": {case.name: total for case, total in zip(found, totals, strict=True)},
            "failures": campaign.failures,
            "survived": campaign.survived,
            "foreign": campaign.foreign,
            "findings": campaign.findings,
        },
        sys.stdout,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
