"""NumPy without its floating-point warnings."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import TypeVar

import numpy as np

_T = TypeVar("_T")
# NumPy 1 keeps what it warns of by thread.
_BY_CONTEXT = int(np.__version__.partition(".")[0]) >= 2
_QUIET = contextvars.Context()
if _BY_CONTEXT:
    _QUIET.run(np.seterr, all="ignore")


def quietly(function: Callable[..., _T], *arguments: object) -> _T:
    """``function(*arguments)`` under ``np.errstate(all="ignore")``.

    Where there is no memory to enter an errstate, CPython ends the process; where there is none to copy a context that
    has entered one already, it raises MemoryError.
    """
    if _BY_CONTEXT:
        return _QUIET.copy().run(function, *arguments)
    with np.errstate(all="ignore"):
        return function(*arguments)
