"""The end of the interpreter, with whatever is still alive: status 0, and not a word on stderr.

python -m tests.hardening.exits                        # every way, under AddressSanitizer
python -m tests.hardening.exits --plain --count 20     # each so many times, on the package as it stands
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from . import builds

BEGIN = """
import atexit, gc, os, sys, threading, time
import numpy as np
import edgeinfer
model = edgeinfer.load(sys.argv[1])
x = np.zeros(64, np.float32)
xs = np.zeros((400, 64), np.float32)
stream = model.stream()
y = stream.step(x)
"""
WORK = """
def work():
    own = model.stream()
    while True:
        own.run(xs), own.step(x), model(xs[None]), edgeinfer.load(sys.argv[1])
"""
WAYS = {
    "everything alive": "pool = model.pool(9); pool.add(); kept = [model, stream, pool, stream.fork(), y]",
    "in cycles": "cycle = [model, stream, model.pool(3)]; cycle.append(cycle); gc.disable(); del cycle",
    "an answer outlives the rest": "del stream, model",
    "daemon threads at work": WORK + "[threading.Thread(target=work, daemon=True).start() for _ in range(4)]\n"
    "time.sleep(0.2)",
    "a thread that ends later": "def late():\n    time.sleep(0.2); stream.run(xs); model(xs[None])\n"
    "threading.Thread(target=late).start()",
    "a step at exit": "atexit.register(lambda: (stream.step(x), model(xs[None]), model.pool(2).add()))",
    "a step in a finalizer": "class Late:\n    def __del__(self):\n        self.stream.step(self.x)\n"
    "late = Late(); late.stream, late.x = stream, x; late.self = late",
    "sys.exit in a with": "with stream, model.pool(2) as pool:\n    pool.add(); sys.exit(0)",
    "a forked child": "child = os.fork()\nstream.run(xs)\nif child: assert os.waitpid(child, 0)[1] == 0",
    "a forked child while threads work": WORK
    + "threading.Thread(target=work, daemon=True).start(); time.sleep(0.1); child = os.fork()\n"
    "if child: assert os.waitpid(child, 0)[1] == 0\nelse: sys.exit(0)",
    "in a thread's local": "local = threading.local(); local.stream = stream\n"
    "def own():\n    local.stream = model.stream()\n"
    "threading.Thread(target=own).start()",
}


def run(way: str, model: Path, environment: Mapping[str, str]) -> str:
    """What went wrong, or nothing."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BEGIN + WAYS[way], str(model)]
    done = subprocess.run(command, env=dict(environment), cwd=model.parent, capture_output=True, text=True, timeout=300)
    if done.returncode or done.stderr:
        return f"{way}: status {done.returncode}\n{done.stderr}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hardening.exits", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--count", type=int, default=1, help="times for each way (default: %(default)s)")
    parser.add_argument("--plain", action="store_true", help="without the sanitizer")
    args = parser.parse_args()
    from . import subjects

    environment = builds.plain() if args.plain else builds.environment("asan", builds.sanitized("asan"))
    with tempfile.TemporaryDirectory() as folder:
        model = subjects.write(Path(folder)) / "large.onnx"
        for _ in range(args.count):
            for way in WAYS:
                if wrong := run(way, model, environment):
                    print(wrong)
                    return 1
                print(way, file=sys.stderr, flush=True)
    print(f"{args.count} x {len(WAYS)} ways to end: status 0, nothing on stderr")
    return 0


if __name__ == "__main__":
    sys.exit(main())
