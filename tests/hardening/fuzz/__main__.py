"""The command: targets for so many seconds or executions each, two at a time."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from .run import PYTHON, TARGETS, Result, command_of, fuzz, prepare

_WHAT = """Coverage-guided fuzzing, under AddressSanitizer and UndefinedBehaviorSanitizer but for the reader.

  reader    an ONNX file's bytes: read, or refused with a typed error
  loader    a file's bytes on the C core: called, stepped, pooled, and held against the reference backend
  snapshot  a state's bytes: taken whole, or refused with the stream as it was
  metadata  a file's metadata: read, written again, and the task that they describe run
  plan      instructions of the C core as core.h allows them, or with a field that it does not know
  steps     steps of a model in C: as steps, as rows of a pool, as one sequence, to the same bits

What a run learns is kept in build/hardening/fuzzing/TARGET/corpus, and the next one goes on from there; inputs with a
finding are in .../findings, and what the fuzzer said in .../log.
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m tests.hardening.fuzz", description=_WHAT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all of them, or some of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=0, help="for each target (30 where there is no --count)")
    parser.add_argument("--count", type=int, default=-1, help="executions of each target")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the mutations (the time, and it is told)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="targets at the same time")
    asked = parser.parse_args()
    targets = tuple(asked.targets) or TARGETS
    if importlib.util.find_spec("atheris") is None:
        print(f"atheris is not installed, so without {', '.join(PYTHON)}", file=sys.stderr)
        targets = tuple(target for target in targets if target not in PYTHON)
    unknown = [name for name in targets if name not in TARGETS]
    if unknown:
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    seconds = asked.seconds or (30 if asked.count < 0 else 0)
    print(f"building; then {len(targets)} targets, seed {asked.seed}", file=sys.stderr)
    prepare(targets)

    def one(target: str) -> Result:
        print(f"{target}: begins", file=sys.stderr)
        result = fuzz(target, seconds=seconds, count=asked.count, seed=asked.seed)
        print(result.line, flush=True)
        if result.finding is not None:
            again = shlex.join([*command_of(target), str(result.finding)])
            print(f"  what was seen: {result.log}\n  again: {again}", flush=True)
        return result

    with ThreadPoolExecutor(asked.jobs) as pool:
        results = list(pool.map(one, targets))
    found = sum(result.finding is not None for result in results)
    print(
        f"{sum(r.executions for r in results):,} executions of {len(results)} targets, {found} found, seed {asked.seed}"
    )
    return 1 if found else 0


sys.exit(main())
