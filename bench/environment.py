"""Where and with what a run was made: nothing in a table means anything without it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .runner import ROOT


def describe(core: int | None) -> dict[str, Any]:
    """Commit, CPU, system, interpreter, compiler of the core, threads."""
    return {
        "commit": commit(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "core": core,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "compiler": compiler(),
    }


def commit() -> str:
    """The commit of this clone; ``-dirty`` where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() or "unknown"


def cpu() -> str:
    """The name that the CPU gives itself."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", text, re.MULTILINE))
    name = fields.get("model name") or platform.machine()
    numbers = [f"{key} {fields[key]}" for key in ("cpu family", "model") if key in fields]
    return f"{name} ({', '.join(numbers)})" if numbers else name


def compiler() -> str:
    """What built the core, as the compiler left it in the file."""
    from edgeinfer.kernels import native

    data = Path(native.__file__).read_bytes()
    found = re.search(rb"(GCC: \([^)]*\) [\d.]+|clang version [\d.]+)", data)
    return found.group().decode() if found else "not told by the file"
