"""A plan while it grows: what the lowering functions emit to, and where every value will be."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np

from ..graph import BoundGraph
from ..records import NamedTuple
from . import instructions as code
from .memory import CONSTANTS, Packed, Pool, Ref, Storage
from .plan import NumpyCall
from .small import Arithmetic


class GateTable(NamedTuple):
    """What a recurrent node looks up in place of x: the value with its tokens, and a table for each direction.

    ``gather`` names the node that looked the rows up; ``dims`` are the instruction's from 10 on.
    """

    gather: str
    tokens: str
    tables: tuple[Ref, ...]
    dims: tuple[int, ...]


class Builder:
    """Collects instructions and NumPy calls in order; knows the Ref of every value placed so far."""

    def __init__(self, bound: BoundGraph, lanes: int, weights: Pool, arithmetic: Arithmetic) -> None:
        self.bound = bound
        self.lanes = lanes
        self.arithmetic = arithmetic
        self.items: list[code.Instruction | NumpyCall] = []
        self.refs: dict[str, Ref] = {}
        self.weights = weights
        self.constants = Pool(CONSTANTS)
        self.gate_tables: dict[int, GateTable] = {}  # by the id of the recurrent node
        self.idle: set[int] = set()  # ids of nodes that nothing reads any more

    def ref(self, name: str) -> Ref:
        """Where a value is; a constant is placed when first asked for."""
        if name not in self.refs:
            data = self.data(name)
            if name in self.bound.graph.constants:
                self.refs[name] = self.weight(name, lambda: data)
            else:
                self.refs[name] = self.constant(name, lambda: data)
        return self.refs[name]

    def data(self, name: str) -> np.ndarray:
        """The values of a constant, in float32 where the file has them smaller."""
        if name in self.bound.graph.small:
            return self.bound.graph.array(name)
        data = self.bound.values[name].data
        assert data is not None
        return data

    def weight(self, key: Hashable, make: Callable[[], np.ndarray | Packed]) -> Ref:
        """Place what depends on the model alone, under a key that says of what it is made."""
        return self.weights.get(key, make) or self.constant(key, make)

    def constant(self, key: Hashable, make: Callable[[], np.ndarray | Packed]) -> Ref:
        """Place what depends on this plan's shapes."""
        ref = self.constants.get(key, make)
        assert ref is not None
        return ref

    def new(self, name: str) -> Ref:
        """Room for a value that the next instruction writes."""
        ref = self.refs[name] = Ref(Storage(self.bound.values[name].nbytes))
        return ref

    def scratch(self, size: int) -> Ref:
        return Ref(Storage(size))

    def alias(self, name: str, source: str) -> None:
        """``name`` has the bytes of ``source``."""
        self.refs[name] = self.ref(source)

    def emit(self, instruction: code.Instruction) -> None:
        self.items.append(instruction)
