"""How a contender's process is kept apart: on its core, and with an output that its library cannot write to."""

from __future__ import annotations

import os
from typing import IO


def pin(core: int) -> None:
    """Keep this process on one core, where the system can. Before the library starts its threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def own_output() -> IO[str]:
    """Standard output for answers alone: what a library prints there goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return answers
