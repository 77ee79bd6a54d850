"""Every allocation of the API made to fail: MemoryError, nothing leaked, the state as it was, and usable again.

Each operation (load, a call, given, and all of a stream and a pool) on each kind of model, on the native and the
reference backend, is done again and again, and one of its allocations fails: the first, the second, and so on; in one
mode it alone, in the other all that come after it too. An attempt has to raise MemoryError, or to survive with the
right answer. Then the state must be the one before, the same operation must give the right answer, and nothing may be
alive that was not before. The allocator is failing_malloc.c, loaded before all others; Python's objects and NumPy's
arrays come from it alike. What is in CPython's and NumPy's hands is counted apart: neither is free of memory errors.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import builds
from .no_memory_cases import write_files
from .preload import compiled

CHILD = "tests.hardening.failing"


def campaign(
    count: int = 0,
    seed: int = 1,
    seconds: float = 1e9,
    only: str = "*",
    asan: bool = False,
    canary: str = "",
    package: Path = builds.ROOT,
) -> dict[str, Any]:
    """What failing.py says: how much was done, and what was found.

    count: how many allocations are to fail, spread over all cases; 0: each. canary: a planted bug of a sanitizer
    build. package: the folder that edgeinfer is imported from.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(package), str(builds.ROOT)]),
        "PYTHONMALLOC": "malloc",
        "PYTHONSAFEPATH": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    preloaded = [str(compiled("failing_malloc"))]
    if asan:
        environment = builds.environment("asan", builds.sanitized("asan"))
        preloaded.append(environment["LD_PRELOAD"])
        environment["ASAN_OPTIONS"] += ":verify_asan_link_order=0"  # this library stands before the sanitizer's
    environment |= {"LD_PRELOAD": " ".join(preloaded), "EI_CANARY": canary}
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        command = [sys.executable, "-m", CHILD, folder, str(count), str(seed), str(seconds), only]
        # A process that ends of a signal says so on stderr, with its stack; what counts is in the answer.
        done = subprocess.run(command, cwd=builds.ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"the campaign itself ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.hardening.no_memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--count", type=int, default=0, help="allocations to fail, spread over all cases (default: all)"
    )
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no case after so many seconds")
    parser.add_argument("--seed", type=int, default=1, help="which allocations of a case, where not all (default: 1)")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="cases by name, as 'tokens/native/step*'")
    parser.add_argument("--asan", action="store_true", help="on the build under AddressSanitizer")
    chosen = parser.parse_args(arguments)
    found = campaign(**vars(chosen))
    for finding in found["findings"]:
        print(finding)
    foreign = ", ".join(f"{count} {what}" for what, count in sorted(found["foreign"].items())) or "nothing"
    total = 2 * sum(found["allocations"].values())
    print(
        f"{found['failures']} allocations failed of {total}, in {found['cases']} of {found['of']} cases; "
        f"{found['survived']} attempts answered all the same; {len(found['findings'])} findings; "
        f"not ours: {foreign}; seed {chosen.seed}"
    )
    return 1 if found["findings"] or not found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
