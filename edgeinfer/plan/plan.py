"""The finished plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..kernels.twins import Twin
from ..records import NamedTuple
from .memory import Ref


class View(NamedTuple):
    """An array in the plan's memory."""

    ref: Ref
    dtype: np.dtype
    shape: tuple[int, ...]


class NumpyCall(NamedTuple):
    """A node without a C kernel: its twin runs on views of the plan's memory."""

    node: str
    twin: Twin
    attributes: Mapping[str, Any]
    ins: tuple[View | np.ndarray | None, ...]
    outs: tuple[View | None, ...]


class Segment(NamedTuple):
    """Instructions ``start`` to ``stop`` in C, then, where there is one, the NumPy call."""

    start: int
    stop: int
    call: NumpyCall | None


class Plan(NamedTuple):
    """What a backend runs: ``records`` for the core, in segments between NumPy calls.

    ``base_bytes`` is how much memory each base needs. ``nodes`` names the node of each record, ``indexed_by`` the node
    whose indices it looks up. ``gate_rows`` names the Gathers that became gate rows.
    """

    records: np.ndarray
    nodes: tuple[str, ...]
    indexed_by: tuple[str, ...]
    segments: tuple[Segment, ...]
    weights: np.ndarray
    constants: np.ndarray
    base_bytes: tuple[int, ...]
    macs: int
    gate_rows: tuple[str, ...] = ()

    @property
    def all_native(self) -> bool:
        return all(segment.call is None for segment in self.segments)

    @property
    def numpy_nodes(self) -> frozenset[str]:
        return frozenset(segment.call.node for segment in self.segments if segment.call is not None)
