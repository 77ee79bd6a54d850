"""A pool: many streams of one model, stepped together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from .backends import StepEngine
from .backends.base import Converter, PoolEngine, StateLayout, check_out, record_shape
from .errors import InputError, StreamError
from .stream import Outputs, by_name

_BUSY = "the pool is busy in another thread; a pool serves one thread at a time"
_CLOSED = "the pool is closed"


class Pool:
    """Made by Model.pool(). Streams by slot number; one call steps any of them. For one thread at a time."""

    def __init__(
        self,
        make: Callable[[Callable[[np.ndarray, int], None]], PoolEngine],
        layout: StateLayout,
        outputs: Outputs,
        model_sha256: str,
        capacity: int,
    ) -> None:
        self._used: set[int] = set()
        # not a method of self: a pool that is let go of is gone at once, not when the collector comes by
        self._engine = make(partial(_refuse, capacity, self._used))
        self._layout = layout
        self._outputs = outputs
        self._sha256 = model_sha256
        self._capacity = capacity
        # the highest first, so that the lowest is taken from the end
        self._free = list(range(capacity - 1, -1, -1))
        self._closed = False
        self._lock = threading.Lock()

    @property
    def capacity(self) -> int:
        """How many streams it can hold."""
        return self._capacity

    @property
    def slots(self) -> tuple[int, ...]:
        """The slots in use, in ascending order."""
        return tuple(sorted(self._used))

    def __len__(self) -> int:
        """How many slots are in use."""
        return len(self._used)

    def add(self) -> int:
        """Take a slot into use, in the state that a new stream has. Raises StreamError where none is free."""
        with self._busy():
            if not self._free:
                raise StreamError(
                    f"the pool is full: all {self._capacity} slots are in use; pool.remove(slot) frees one"
                )
            slot = self._free.pop()
            self._used.add(slot)
            self._engine.use(slot, True)
            self._engine.set_state(slot, self._layout.initial())
            return slot

    def remove(self, slot: int) -> None:
        """Take a slot out of use; add() may give its number again. Raises StreamError for one that is not in use."""
        with self._busy():
            slot = self._one(slot)
            self._engine.use(slot, False)
            self._used.remove(slot)
            self._free.append(slot)

    def reset(self, slot: int) -> None:
        """Bring a slot back to the state that a new stream has."""
        with self._busy():
            self._engine.set_state(self._one(slot), self._layout.initial())

    def step(self, slots: Sequence[int] | np.ndarray, x: Any, out: np.ndarray | None = None) -> Any:
        """One time step of each of the given streams, with an input of its own.

        slots: n different slots in use, in any order. x: float32 [n, features], or [n] tokens. out: a float32 array
        [n, outputs] to write the answers to. Returns the outputs [n, outputs] as a new array (or out), a dict by name
        where there are several. Each row has the bits that a single stream's step gives (on native).
        All or nothing: raises InputError for an input or slots that do not fit, StreamError when closed or busy, and
        then every state is as it was.
        """
        with self._busy():
            which = self._numbers(slots)
            if out is not None:
                self._check_out(out, len(which), x)
            ys = self._engine.step(which, x, out)
        return ys if out is not None or len(self._outputs) == 1 else by_name(self._outputs, ys)

    def snapshot(self, slot: int) -> bytes:
        """A slot's state as bytes, for restore() here, or of any stream of the same model."""
        from .snapshot import encode

        with self._busy():
            views = self._layout.views(self._engine.get_state(self._one(slot)))
            return encode("stream", self._sha256, views)

    def restore(self, slot: int, data: bytes) -> None:
        """Take over a snapshot of a slot or of a stream. Raises StreamError for one of another model, or damaged."""
        from .snapshot import decode

        with self._busy():
            slot = self._one(slot)
            self._engine.set_state(slot, self._layout.pack(decode(data, "stream", self._sha256)))

    def close(self) -> None:
        """Let all states go; every later call raises StreamError. Closing twice is fine."""
        if not self._closed:
            with self._busy():
                self._closed = True
                del self._engine

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _numbers(self, slots: Any) -> np.ndarray:
        """The slots as int64 [n]."""
        try:
            found = np.asarray(slots)
        except ValueError:
            found = np.empty((0, 0))
        if found.ndim == 1 and not found.size:
            found = found.astype(np.int64)
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise InputError(
                f"slots: expected integers [n], got {found.dtype.name} {list(found.shape)}", name="slots", got=slots
            )
        return np.ascontiguousarray(found, np.int64)

    def _one(self, slot: Any) -> int:
        """A slot in use. Raises StreamError for any other."""
        if isinstance(slot, (int, np.integer)) and not isinstance(slot, bool) and slot in self._used:
            return int(slot)
        raise StreamError(f"slot {slot!r} is not in use; the pool has {self._capacity} slots, {len(self._used)} in use")

    def _check_out(self, out: Any, count: int, x: Any) -> None:
        check_out(out, (count, *record_shape([shape for _, shape in self._outputs])), x)

    @contextmanager
    def _busy(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise StreamError(_BUSY)
        try:
            if self._closed:
                raise StreamError(_CLOSED)
            yield
        finally:
            self._lock.release()


def _refuse(capacity: int, used: Collection[int], slots: np.ndarray, position: int) -> None:
    """Raise the InputError for the slot at a position, which cannot be stepped."""
    slot = int(slots[position])
    if not 0 <= slot < capacity:
        problem = f"expected numbers from 0 to {capacity - 1}, got {slot} at [{position}]"
    elif slot not in used:
        problem = f"slot {slot} at [{position}] is not in use; pool.add() gives one that is"
    else:
        problem = f"slot {slot} comes again at [{position}]; each may take one step at a time"
    raise InputError(f"slots: {problem}", name="slots", got=slot)


class PlainPool:
    """A pool on any backend: an engine for each slot in use, stepped one after the other."""

    def __init__(
        self,
        make: Callable[[], StepEngine],
        convert: Converter,
        shape: tuple[int, ...],
        refuse: Callable[[np.ndarray, int], None],
    ) -> None:
        self._make = make
        self._convert = convert
        self._shape = shape
        self._refuse = refuse
        self._engines: dict[int, StepEngine] = {}

    def step(self, slots: np.ndarray, x: Any, out: np.ndarray | None = None) -> np.ndarray:
        seen: set[int] = set()
        for position, slot in enumerate(slots.tolist()):
            if slot not in self._engines or slot in seen:
                self._refuse(slots, position)
            seen.add(slot)
        xs = self._convert.rows(x, len(slots))
        engines = [self._engines[slot] for slot in slots.tolist()]
        before = [engine.get_state() for engine in engines]
        ys = np.empty((len(slots), *self._shape), np.float32)
        try:
            for row, engine in enumerate(engines):
                ys[row] = engine.run(xs[row : row + 1])[0]
        except BaseException:
            for engine, state in zip(engines, before, strict=True):
                engine.set_state(state)
            raise
        if out is None:
            return ys
        out[...] = ys
        return out

    def use(self, slot: int, used: bool) -> None:
        if used:
            self._engines[slot] = self._make()
        else:
            del self._engines[slot]

    def get_state(self, slot: int) -> np.ndarray:
        return self._engines[slot].get_state()

    def set_state(self, slot: int, state: np.ndarray) -> None:
        self._engines[slot].set_state(state)
