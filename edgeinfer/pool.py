"""A pool: many streams of one model, stepped together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NoReturn

import numpy as np

from .backends import StepEngine, Turns
from .backends.base import Converter, PoolEngine, StateLayout, check_out, record_shape
from .caller import Closed, Finish
from .errors import InputError, StreamError
from .stream import Outputs, by_name

_BUSY = "the pool is busy in another thread; a pool serves one thread at a time"
_CLOSED = "the pool is closed"


class Pool:
    """Made by Model.pool(). Streams by slot number; one call steps any of them. For one thread at a time."""

    def __init__(
        self,
        make: Callable[[np.ndarray, Callable[[np.ndarray, int], NoReturn]], PoolEngine],
        layout: StateLayout,
        outputs: Outputs,
        model_sha256: str,
        capacity: int,
    ) -> None:
        # Which slots are in use. Nobody else keeps that: one store takes a slot or frees it, whatever interrupts.
        self._taken = bytearray(capacity)
        self._used = np.frombuffer(self._taken, np.uint8)
        # below it, all are in use
        self._lowest = 0
        # not a method of self: a pool that is let go of is gone at once, not when the collector comes by
        self._engine = make(self._used, partial(_refuse, self._used))
        self._layout = layout
        self._outputs = outputs
        self._named = None if len(outputs) == 1 else partial(by_name, outputs)
        self._sha256 = model_sha256
        self._capacity = capacity
        self._closed = False
        self._turns = Turns(_BUSY)

    @property
    def capacity(self) -> int:
        """How many streams it can hold."""
        return self._capacity

    @property
    def slots(self) -> tuple[int, ...]:
        """The slots in use, in ascending order."""
        return tuple(np.flatnonzero(self._used).tolist())

    def __len__(self) -> int:
        """How many slots are in use."""
        return int(np.count_nonzero(self._used))

    def add(self) -> int:
        """Take a slot into use, in the state that a new stream has. Raises StreamError where none is free."""
        with self._turn():
            slot = self._taken.find(0, self._lowest)
            if slot < 0:
                raise StreamError(
                    f"the pool is full: all {self._capacity} slots are in use; pool.remove(slot) frees one"
                )
            self._engine.set_state(slot, self._layout.initial())
            self._lowest = slot
            self._taken[slot] = True
            return slot

    def remove(self, slot: int) -> None:
        """Take a slot out of use; add() may give its number again. Raises StreamError for one that is not in use."""
        with self._turn():
            slot = self._one(slot)
            self._lowest = min(self._lowest, slot)
            self._taken[slot] = False

    def reset(self, slot: int) -> None:
        """Bring a slot back to the state that a new stream has."""
        with self._turn():
            self._engine.set_state(self._one(slot), self._layout.initial())

    def step(self, slots: Sequence[int] | np.ndarray, x: Any, out: np.ndarray | None = None) -> Any:
        """One time step of each of the given streams, with an input of its own.

        slots: n different slots in use, in any order. x: float32 [n, features], or [n] tokens. out: a float32 array
        [n, outputs] to write the answers to. Returns the outputs [n, outputs] as a new array (or out), a dict by name
        where there are several. Each row has the bits that a single stream's step gives (on native).
        All or nothing: raises InputError for an input or slots that do not fit, StreamError when closed or busy, and
        then every state is as it was.
        """
        with self._turn():
            which = self._numbers(slots)
            if out is not None:
                self._check_out(out, len(which), x)
            return self._engine.step(which, x, out, self._named if out is None else None)

    def snapshot(self, slot: int) -> bytes:
        """A slot's state as bytes, for restore() here, or of any stream of the same model."""
        from .snapshot import encode

        with self._turn():
            views = self._layout.views(self._engine.get_state(self._one(slot)))
            return encode("stream", self._sha256, views)

    def restore(self, slot: int, data: bytes) -> None:
        """Take over a snapshot of a slot or of a stream. Raises StreamError for one of another model, or damaged."""
        from .snapshot import decode

        with self._turn():
            slot = self._one(slot)
            self._engine.set_state(slot, self._layout.pack(decode(data, "stream", self._sha256)))

    def close(self) -> None:
        """Let all states go; every later call raises StreamError. Closing twice is fine."""
        closed: Any = Closed(_CLOSED)
        with self._turns():
            self._closed = True
            self._engine = closed

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _numbers(self, slots: Any) -> np.ndarray:
        """The slots as int64 [n], a copy: what is checked now must be what is stepped, whoever else has the array."""
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
        return np.array(found, np.int64)

    def _one(self, slot: Any) -> int:
        """A slot in use. Raises StreamError for any other."""
        whole = isinstance(slot, (int, np.integer)) and not isinstance(slot, bool)
        if whole and 0 <= slot < self._capacity and self._taken[slot]:
            return int(slot)
        raise StreamError(f"slot {slot!r} is not in use; the pool has {self._capacity} slots, {len(self)} in use")

    def _check_out(self, out: Any, count: int, x: Any) -> None:
        check_out(out, (count, *record_shape([shape for _, shape in self._outputs])), x)

    def _turn(self) -> AbstractContextManager[object]:
        if self._closed:
            raise StreamError(_CLOSED)
        return self._turns()


def _refuse(used: np.ndarray, slots: np.ndarray, position: int) -> NoReturn:
    """Raise the InputError for the slot at a position, which cannot be stepped."""
    slot = int(slots[position])
    if not 0 <= slot < len(used):
        problem = f"expected numbers from 0 to {len(used) - 1}, got {slot} at [{position}]"
    elif not used[slot]:
        problem = f"slot {slot} at [{position}] is not in use; pool.add() gives one that is"
    else:
        problem = f"slot {slot} comes again at [{position}]; each may take one step at a time"
    raise InputError(f"slots: {problem}", name="slots", got=slot)


class PlainPool:
    """A pool on any backend: one engine, which takes the slots' states one after the other."""

    def __init__(
        self,
        engine: StepEngine,
        convert: Converter,
        shape: tuple[int, ...],
        used: np.ndarray,
        refuse: Callable[[np.ndarray, int], NoReturn],
    ) -> None:
        self._engine = engine
        self._convert = convert
        self._shape = shape
        self._used = used
        self._refuse = refuse
        self._states: dict[int, np.ndarray] = {}

    def step(self, slots: np.ndarray, x: Any, out: np.ndarray | None, finish: Finish | None) -> Any:
        which = slots.tolist()
        for position, slot in enumerate(which):
            if not 0 <= slot < len(self._used) or not self._used[slot] or slot in which[:position]:
                self._refuse(slots, position)
        xs = self._convert.rows(x, len(which))
        ys = np.empty((len(which), *self._shape), np.float32)
        after = {}
        for row, slot in enumerate(which):
            self._engine.set_state(self._states[slot])
            ys[row] = self._engine.run(xs[row : row + 1])[0]
            after[slot] = self._engine.get_state()
        if out is not None:
            out[...] = ys
            ys = out
        answer = ys if finish is None else finish(ys)
        self._states.update(after)
        return answer

    def get_state(self, slot: int) -> np.ndarray:
        return self._states[slot]

    def set_state(self, slot: int, state: np.ndarray) -> None:
        self._states[slot] = state
