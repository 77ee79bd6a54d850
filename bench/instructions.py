#!/usr/bin/env python3
"""Counts the instructions of a step of the C core under valgrind and holds them against what is recorded: make regress.

python bench/instructions.py PROGRAM            compare; exit status 1 where a step takes more than it did
python bench/instructions.py PROGRAM --record   write the counts of this compiler into bench/instructions.json

PROGRAM is bench/instructions.c, compiled. Valgrind emulates no AVX-512: that core is timed against AVX2 in one process.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

RECORD = Path(__file__).with_suffix(".json")
CORES = ("avx2", "neon", "generic")

# The same compiler gives the same instructions; what is left is libm and the C library, and rounding in this file.
SAME_COMPILER = 1.03
# Two releases of one compiler: gcc 11 and 12 differ by up to 14 % (generic), 5 % (AVX2), either way.
OTHER_RELEASE = 1.25
# AVX-512 against AVX2, geometric mean of all cases. Twice the floats in an instruction give 1.3 and more where the CPU
# also does twice as many in a cycle; where it does not, no case may lose.
DOUBLE_RATE = 1.5
LEAST_RATIO_AT_DOUBLE_RATE = 1.15
LEAST_RATIO = 0.9
RATIO_TRIES = 3  # a busy machine can spoil one

Counts = dict[str, dict[str, float]]  # core → case → instructions in a step


def ask(program: Path, *arguments: str, under: tuple[str, ...] = ()) -> list[str]:
    done = subprocess.run([*under, program, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{program} {' '.join(arguments)}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout.splitlines()


def count(program: Path, core: str, cases: dict[str, int]) -> dict[str, float]:
    """Instructions in a step of each case. callgrind writes one file for each case, out.1 and so on."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        tool = ("valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}")
        marks = ("--zero-before=counting_begins", "--dump-before=counting_ends")
        ask(program, core, under=(*tool, *marks))
        counts = {}
        for number, (case, steps) in enumerate(cases.items(), 1):
            found = re.search(r"^summary: (\d+)$", Path(f"{out}.{number}").read_text(), re.MULTILINE)
            assert found, f"callgrind counted nothing for {case}"
            counts[case] = round(int(found[1]) / steps, 1)
    return counts


def nearest(record: dict[str, Counts], key: str) -> tuple[str | None, float]:
    """What to compare with, and how much more than it is allowed: this compiler, or the nearest release of it."""
    if key in record:
        return key, SAME_COMPILER
    name, release, machine = key.split()
    others = [other for other in record if other.split()[0] == name and other.split()[2] == machine]
    closest = min(others, key=lambda other: abs(int(other.split()[1]) - int(release)), default=None)
    return closest, OTHER_RELEASE


def compare(counts: Counts, record: dict[str, Counts], key: str) -> tuple[list[str], list[str]]:
    """Failures, and remarks."""
    known, allowed = nearest(record, key)
    if known is None:
        return [], [f"nothing is recorded for {key}: make regress-record"]
    failures, remarks = [], [] if known == key else [f"{key} is held against {known}: {allowed - 1:.0%} allowed"]
    for core, cases in counts.items():
        for case, got in cases.items():
            want = record[known].get(core, {}).get(case)
            if want is None:
                failures.append(f"{core}, {case}: nothing is recorded: make regress-record")
            elif got > want * allowed:
                failures.append(f"{core}, {case}: {got} instructions in a step, {got / want - 1:.1%} more than {want}")
            elif got * allowed < want:
                remarks.append(f"{core}, {case}: {1 - got / want:.1%} fewer than recorded: make regress-record")
    return failures, remarks


def avx512_is_worth_it(lines: list[str]) -> tuple[bool, str]:
    """Whether AVX-512 gains what it should, from "CASE: ratio" lines of which the first is the FMA rate's."""
    ratios = {name: float(ratio) for name, ratio in (line.split(": ") for line in lines)}
    rate = ratios.pop("FMA")
    mean = math.exp(sum(math.log(ratio) for ratio in ratios.values()) / len(ratios))
    least = LEAST_RATIO_AT_DOUBLE_RATE if rate >= DOUBLE_RATE else LEAST_RATIO
    all_of_them = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    text = f"AVX2 ÷ AVX-512, time: {mean:.2f} in the mean, at least {least} where FMAs gain {rate:.2f} ({all_of_them})"
    return mean >= least, text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    program = arguments.program.resolve()

    compiler, *lines = ask(program, "--cases")
    cases = {name: int(steps) for name, steps in (line.split(": ") for line in lines)}
    name, release = compiler.split()[:2]
    key = f"{name} {release.split('.')[0]} {platform.machine()}"
    available = ask(program, "--cores", under=("valgrind", "-q", "--tool=none"))
    counts = {core: count(program, core, cases) for core in CORES if core in available}
    record: dict[str, Counts] = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    if arguments.record:
        record[key] = counts
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8")
        print(f"{key}: recorded in {RECORD}")
        return 0

    failures, remarks = compare(counts, record, key)
    for line in (*failures, *remarks):
        print(line)
    print(f"{key}: {', '.join(counts)}: {len(cases)} cases each, {len(failures)} regressions")
    for remaining in reversed(range(RATIO_TRIES)):
        ratios = ask(program, "--ratio")
        if not ratios:
            break
        enough, text = avx512_is_worth_it(ratios)
        if enough or remaining == 0:
            print(text)
            if not enough:
                failures.append(text)
            break
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
