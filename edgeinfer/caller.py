"""One caller at a time, and the step: what a Stream is made of where every nanosecond counts.

This is the plain form. Where the C core is there, kernels/native has the same classes compiled, and Stream derives from
that one (backends.OneCaller and backends.Turns are those of the two that this installation uses).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NoReturn, Protocol

import numpy as np

from .errors import StreamError

Finish = Callable[[np.ndarray], Any]


class Engine(Protocol):
    """Takes a step; None where there is no answer yet.

    finish makes a step's record what is returned, before the state changes: what it may run out of memory for is had by
    then. It may be handed the record unfilled, to take views of.
    """

    def step(self, x: Any, out: np.ndarray | None, finish: Finish | None) -> Any: ...


class Turns:
    """``with turns():`` lets one caller in at a time; another one gets StreamError.

    The lock is taken and given back by the ``with`` itself. Between a call of ``acquire`` and a ``try`` after it, a
    signal's handler may raise, and the lock would never be free again. Two threads that come at the same moment may
    both find it free: one of them then waits for the other.
    """

    __slots__ = ("_busy_text", "_lock")

    def __init__(self, busy_text: str) -> None:
        self._busy_text = busy_text
        self._lock = threading.Lock()

    def __call__(self) -> AbstractContextManager[object]:
        if self._lock.locked():
            raise StreamError(self._busy_text)
        return self._lock


class Closed:
    """Stands where something was that is closed: whatever is asked of it is a StreamError."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __getattr__(self, name: str) -> NoReturn:
        raise StreamError(self._text)


class OneCaller:
    """Lets one caller in at a time. ``_busy_text`` is what others get."""

    __slots__ = ("_engine", "_finish", "_turn")
    _busy_text: ClassVar[str]

    def __init__(self, engine: Engine, scalar: bool, finish: Finish | None) -> None:
        """scalar: an answer has one element, and comes as a float. finish: as Engine.step has it."""
        self._turn = Turns(self._busy_text)
        self._finish = np.ndarray.item if scalar else finish
        self._use(engine)

    def _use(self, engine: Engine) -> None:
        """Step with this engine from now on."""
        self._engine = engine

    def step(self, x: Any, out: np.ndarray | None = None) -> Any:
        """One time step.

        x: float32 [features]; a float for one feature; an int for a token. out: a float32 array to write the answer
        to, which allocates nothing. Returns the output [outputs] as a new array (or out), a float where it has one
        element, a dict by name where there are several, None while a window that waits to be full is not.
        Raises InputError for an input that does not fit (the state is as it was), StreamError when closed or busy.
        """
        with self._turn():
            return self._engine.step(x, out, self._finish if out is None else None)
