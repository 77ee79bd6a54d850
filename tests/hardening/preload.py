"""A C library that stands between Python and the system's: compiled here, loaded before all others."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .builds import BUILDS


def compiled(name: str) -> Path:
    """tests/hardening/``name``.c as a library."""
    BUILDS.mkdir(parents=True, exist_ok=True)
    library, source = BUILDS / f"{name}.so", Path(__file__).with_name(f"{name}.c")
    made = library.with_suffix(f".{os.getpid()}.so")  # another process may be using the one that is there
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", source, "-o", made, "-ldl"], check=True)
    return made.replace(library)


def preloaded(name: str, argv: Sequence[str], **environment: str) -> ctypes.PyDLL:
    """tests/hardening/``name``.c in this process, which for it is started again as ``python -m`` with ``argv``."""
    if os.environ.get("PRELOADED") != name:
        library = compiled(name)
        module = sys.modules["__main__"].__spec__
        assert module is not None, "run it as python -m"
        full = {**os.environ, **environment, "LD_PRELOAD": str(library), "PRELOADED": name}
        os.execve(sys.executable, [sys.executable, "-m", module.name, *argv], full)
    return ctypes.PyDLL(str(BUILDS / f"{name}.so"))
