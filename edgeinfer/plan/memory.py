"""Where tensors live: bases, offsets, and arena slots that are used again once their tensor is dead."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import numpy as np

from ..kernels.native import aligned_empty
from ..kernels.quiet import quietly
from ..records import NamedTuple

ALIGN = 64

# The bases that every plan has: weights, shared by all plans of a model; constants of the plan's own shapes; scratch
# memory; states before and after. Those of its inputs and outputs follow from FIRST_IO.
WEIGHTS, CONSTANTS, ARENA, STATE_IN, STATE_OUT, FIRST_IO = range(6)


class Placement(NamedTuple):
    """A fixed place for a graph input or output: base and byte offset."""

    base: int
    offset: int = 0


class Storage:
    """A stretch of memory of ``size`` bytes. Its base and offset are settled once, late."""

    __slots__ = ("base", "offset", "size")

    def __init__(self, size: int, base: int | None = None, offset: int = 0) -> None:
        self.size = size
        self.base = base
        self.offset = offset


class Ref(NamedTuple):
    """A place within a storage."""

    storage: Storage
    offset: int = 0

    @property
    def place(self) -> tuple[int, int]:
        assert self.storage.base is not None
        return self.storage.base, self.storage.offset + self.offset


def align(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


class Packed(NamedTuple):
    """``floats`` float32 numbers that ``fill`` writes into an aligned array of that many: in the end, where they stay.

    Weights take most of a model's memory, and made first and copied then they would take it twice.
    """

    floats: int
    fill: Callable[[np.ndarray], None]

    def array(self) -> np.ndarray:
        out = aligned_empty(4 * self.floats).view(np.float32)
        self.fill(out)
        return out


class Pool:
    """Read-only arrays laid out one after the other under one base; each key is stored once."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.blob: np.ndarray | None = None
        self._made: dict[Hashable, tuple[Storage, np.ndarray | Packed]] = {}

    def get(self, key: Hashable, make: Callable[[], np.ndarray | Packed]) -> Ref | None:
        """Where the array is; made and added if new, None if the pool is sealed without it."""
        if key not in self._made and self.blob is None:
            made = make()
            size = made.nbytes if isinstance(made, np.ndarray) else 4 * made.floats
            entry = Storage(size, self.base), made
            if self.blob is None:  # still, see seal
                self._made[key] = entry
        return Ref(self._made[key][0]) if key in self._made else None

    def seal(self) -> np.ndarray:
        """Settle the offsets and write the arrays into one block; later calls return the same block."""
        if self.blob is None:
            total = 0
            entries = list(self._made.items())
            for _, (storage, _) in entries:
                storage.offset = total
                total += align(storage.size)
            blob = aligned_empty(total)
            for _, (storage, made) in entries:
                end = storage.offset + storage.size
                place = blob[storage.offset : end]
                if isinstance(made, Packed):
                    quietly(made.fill, place.view(np.float32))
                else:
                    place[:] = np.ascontiguousarray(made).reshape(-1).view(np.uint8)
                blob[end : storage.offset + align(storage.size)] = 0
            blob.flags.writeable = False
            # the block is what the plans read; what it was made of may go
            made_of: dict[Hashable, tuple[Storage, np.ndarray | Packed]]
            made_of = {key: (storage, blob[:0]) for key, (storage, _) in entries}
            # At last and at once: what interrupts this, a handler that plans the same model even, leaves a whole pool.
            if self.blob is None:
                self.blob, self._made = blob, made_of
        return self.blob


def assign_arena(uses: Iterable[tuple[int, Iterable[Storage]]]) -> int:
    """Give every storage without a base its offset in the arena, first fit; returns the arena's size.

    ``uses`` lists for each step of the plan, in order, the storages that it touches.
    """
    spans: dict[Storage, list[int]] = {}
    for position, storages in uses:
        for storage in storages:
            if storage.base is None or storage in spans:
                spans.setdefault(storage, [position, position])[1] = position
                storage.base = ARENA
    live: list[tuple[Storage, int]] = []
    total = 0
    for storage, (first, last) in spans.items():
        live = [(other, end) for other, end in live if end >= first]
        offset = 0
        for other, _ in sorted(live, key=lambda item: item[0].offset):
            if other.offset - offset >= storage.size:
                break
            offset = max(offset, other.offset + align(other.size))
        storage.offset = offset
        live.append((storage, last))
        total = max(total, offset + align(storage.size))
    return total
