"""Import time, cold load, memory and installed size: the median of fresh processes that take turns."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any

from .contenders import CONTENDERS
from .runner import ROOT, Options

#: One contender for each library, and the case that all of them open.
LIBRARIES = ("edgeinfer", "onnxruntime run", "litert fed back", "openvino", "torch", "tract", "numpy")
CASE = "lstm-8-64"
BUNDLED = ("sum", "next_word", "sentiment", "demand")


def about_libraries(names: Sequence[str], options: Options) -> dict[str, dict[str, Any]]:
    """Version and size of each library, by the contender that stands for it; or that it is missing."""
    libraries = {CONTENDERS[name].module for name in names}
    return {name: _probe(name, options) for name in LIBRARIES if CONTENDERS[name].module in libraries}


def measure(names: Sequence[str], options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """``libraries``: each opening the same model; ``bundled``: the bundled models where a library reads any file."""
    here = [name for name in LIBRARIES if name in names]
    # as pip leaves what it installs; this clone's files may never have been compiled
    subprocess.run([options.python, "-m", "compileall", "-q", str(ROOT / "edgeinfer")], check=False)
    jobs: dict[tuple[str, ...], list[dict[str, Any]]] = {(name, CASE, str(options.folder)): [] for name in here}
    for model in BUNDLED:
        path = str(resources.files("edgeinfer.models") / f"{model}.onnx")
        jobs.update({(name, path): [] for name in here if CONTENDERS[name].load is not None})
    for number in range(options.rounds):
        say(f"footprint: round {number + 1} of {options.rounds}")
        for job, found in jobs.items():
            found.append(_probe(job[0], options, *job[1:]))
    libraries: dict[str, dict[str, float]] = {}
    bundled: dict[str, dict[str, dict[str, float]]] = {}
    for (name, *rest), found in jobs.items():
        complete = [entry for entry in found if "missing" not in entry]
        if not complete:
            continue
        medians = {key: median(entry[key] for entry in complete) for key in complete[0]}
        if len(rest) == 2:
            libraries[name] = medians
        else:
            bundled.setdefault(Path(rest[0]).stem, {})[name] = medians
    return {"libraries": libraries, "bundled": bundled}


def _probe(name: str, options: Options, *arguments: str) -> dict[str, Any]:
    core = "-" if options.core is None else str(options.core)
    command = [options.python, "-m", f"{__package__}.probe", core, name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return {"missing": lines[-1]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found
