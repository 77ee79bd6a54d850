"""One caller at a time, and the step: what a Stream is made of where every nanosecond counts.

This is the plain form. Where the C core is there, kernels/native has the same class compiled, and Stream derives from
that one (backends.OneCaller is the one of the two that this installation uses).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import numpy as np

from .errors import StreamError


class Engine(Protocol):
    """Takes a step; None where there is no answer yet."""

    def step(self, x: Any, out: np.ndarray | None = None) -> np.ndarray | None: ...


class OneCaller:
    """Lets one caller in at a time, and none once closed. ``_busy_text`` and ``_closed_text`` are what others get."""

    __slots__ = ("_closed", "_engine", "_finish", "_lock", "_scalar")
    _busy_text: ClassVar[str]
    _closed_text: ClassVar[str]

    def __init__(self, engine: Engine, scalar: bool, finish: Callable[[np.ndarray], Any] | None) -> None:
        """scalar: an answer has one element, and comes as a float. finish: makes a step's record what is returned."""
        self._engine: Engine | None = engine
        self._scalar = scalar
        self._finish = finish
        self._closed = False
        self._lock = threading.Lock()

    def step(self, x: Any, out: np.ndarray | None = None) -> Any:
        """One time step.

        x: float32 [features]; a float for one feature; an int for a token. out: a float32 array to write the answer
        to, which allocates nothing. Returns the output [outputs] as a new array (or out), a float where it has one
        element, a dict by name where there are several, None while a window that waits to be full is not.
        Raises InputError for an input that does not fit (the state is as it was), StreamError when closed or busy.
        """
        self._begin()
        try:
            assert self._engine is not None
            y = self._engine.step(x, out)
        finally:
            self._end()
        if out is not None or y is None:
            return y
        if self._scalar:
            return y.item()
        return y if self._finish is None else self._finish(y)

    def _begin(self) -> None:
        """Let the caller in, or raise StreamError."""
        if not self._lock.acquire(blocking=False):
            raise StreamError(self._busy_text)
        if self._closed:
            self._lock.release()
            raise StreamError(self._closed_text)

    def _end(self, closed: bool = False) -> None:
        """Let the caller out; with ``closed``, nobody comes in again."""
        self._closed = closed
        if closed:
            self._engine = None
        self._lock.release()
