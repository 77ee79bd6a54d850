"""What a library costs before its first answer, measured in a process that has done nothing else.

``python -m bench.probe CORE NAME CASE FOLDER`` imports, opens and calls; ``CORE NAME FILE.onnx`` imports and loads;
``CORE NAME`` alone tells version and size. One line of JSON.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .cases import all_cases
from .channel import own_output, pin
from .contenders import CONTENDERS, Contender, MissingError

# What a wheel of ours has of the folder that an editable installation leads to, the bundled models aside.
_OWN_CODE = {".py", ".pyi", ".so", ".pyd", ".typed"}


def probe(contender: Contender, arguments: list[str]) -> dict[str, Any]:
    """Milliseconds and bytes, over those of numpy alone."""
    resident = _resident()
    started = time.perf_counter()
    importlib.import_module(contender.module)
    imported = time.perf_counter()
    found: dict[str, Any] = {"import_ms": (imported - started) * 1e3}
    if not arguments:
        found.update(version=version(contender), installed=installed(contender), isa=_isa(contender))
        return found
    if len(arguments) == 1:
        assert contender.load is not None
        started = time.perf_counter()
        loaded = contender.load(Path(arguments[0]))
        found["load_ms"] = (time.perf_counter() - started) * 1e3
        found["resident"] = _resident() - resident
        del loaded
        return found
    name, folder = arguments
    case = next(case for case in all_cases() if case.name == name)
    with np.load(Path(folder) / f"{name}.case.npz") as stored:
        xs = stored["xs"][:1]
    started = time.perf_counter()
    job = contender.open(case, Path(folder))
    (x,) = job.inputs(xs)
    job.call(x)
    found["first_ms"] = (time.perf_counter() - started) * 1e3
    found["resident"] = _resident() - resident
    return found


def version(contender: Contender) -> str:
    """The version of the contender's library."""
    if contender.module == "edgeinfer":
        import edgeinfer

        return edgeinfer.__version__
    return importlib.metadata.version(_distribution(contender))


def installed(contender: Contender) -> int:
    """Bytes on disk of the distribution and all that it requires, numpy aside. Ours requires nothing else."""
    seen: set[str] = {"numpy"}
    waiting = [] if contender.module in ("numpy", "edgeinfer") else [_distribution(contender)]
    total = _own_size() if contender.module == "edgeinfer" else 0
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system or Python
        total += _size(distribution)
        needed = (r for r in distribution.requires or () if "extra ==" not in r)
        waiting += [re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in needed]
    return total


def _distribution(contender: Contender) -> str:
    top = contender.module.partition(".")[0]
    return next(iter(importlib.metadata.packages_distributions().get(top, ())), top.replace("_", "-"))


def _size(distribution: importlib.metadata.Distribution) -> int:
    paths = (Path(str(distribution.locate_file(file))) for file in distribution.files or ())
    return sum(path.stat().st_size for path in paths if path.suffix != ".pyc" and path.is_file())


def _own_size() -> int:
    import edgeinfer

    folder = Path(edgeinfer.__file__).parent
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in _OWN_CODE)


def _isa(contender: Contender) -> str | None:
    """Which instruction set our core takes here."""
    if contender.module != "edgeinfer":
        return None
    from edgeinfer.backends.native import choose_isa

    return choose_isa()


def _resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(arguments: list[str]) -> None:
    """See the module."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = own_output()
    core, name, *rest = arguments
    if core != "-":
        pin(int(core))
    try:
        found = probe(CONTENDERS[name], rest)
    except (MissingError, ModuleNotFoundError, importlib.metadata.PackageNotFoundError) as error:
        found = {"missing": str(error)}
    print(json.dumps(found), file=answers)


if __name__ == "__main__":
    main(sys.argv[1:])
