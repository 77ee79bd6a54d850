"""From a bound graph to a plan: walk the nodes, emit instructions, then give every tensor its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping

import numpy as np

from ..graph import BoundGraph, BoundNode, Value, macs
from . import instructions as code
from .kernels import KERNELS
from .memory import ARENA, CONSTANTS, WEIGHTS, Placement, Pool, Ref, Storage, assign_arena
from .plan import NumpyCall, Plan, Segment, View


class Builder:
    """The plan while it grows. Kernels' lowering functions see it as their context."""

    def __init__(self, bound: BoundGraph, lanes: int, weights: Pool) -> None:
        self.bound = bound
        self.lanes = lanes
        self.items: list[code.Instruction | NumpyCall] = []
        self.refs: dict[str, Ref] = {}
        self.weights = weights
        self.constants = Pool(CONSTANTS)

    def ref(self, name: str) -> Ref:
        """Where a value is; a constant is placed when first asked for."""
        if name not in self.refs:
            data = self.bound.values[name].data
            assert data is not None
            if name in self.bound.graph.constants:
                self.refs[name] = self.weight(name, lambda: data)
            else:
                self.refs[name] = self.constant(name, lambda: data)
        return self.refs[name]

    def weight(self, key: Hashable, make: Callable[[], np.ndarray]) -> Ref:
        """Place what depends on the model alone, under a key that says of what it is made."""
        return self.weights.get(key, make) or self.constant(key, make)

    def constant(self, key: Hashable, make: Callable[[], np.ndarray]) -> Ref:
        """Place what depends on this plan's shapes."""
        ref = self.constants.get(key, make)
        assert ref is not None
        return ref

    def new(self, name: str) -> Ref:
        """Room for a value that the next instruction writes."""
        ref = self.refs[name] = Ref(Storage(size_of(self.bound.values[name])))
        return ref

    def scratch(self, size: int) -> Ref:
        return Ref(Storage(size))

    def alias(self, name: str, source: str) -> None:
        """``name`` has the bytes of ``source``."""
        self.refs[name] = self.ref(source)

    def emit(self, instruction: code.Instruction) -> None:
        self.items.append(instruction)


def size_of(value: Value) -> int:
    return math.prod(value.shape) * value.dtype.itemsize


def lower(
    bound: BoundGraph,
    lanes: int,
    weights: Pool,
    inputs: Mapping[str, Placement],
    outputs: Mapping[str, Placement],
) -> Plan:
    """Plan a bound graph for a core of ``lanes`` floats per vector, with its inputs and outputs where told.

    The first plan of a model fills and seals ``weights``; later ones share it.
    """
    builder = Builder(bound, lanes, weights)
    for name, place in inputs.items():
        builder.refs[name] = Ref(Storage(size_of(bound.values[name]), place.base, place.offset))
    for item in bound.nodes:
        kernel = KERNELS.get(item.node.op_type)
        if item.op.view:
            builder.alias(item.node.outputs[0], item.node.inputs[0])
        elif kernel is None or not kernel(builder, item.node):
            builder.items.append(_numpy_call(builder, item))
    _place_outputs(builder, outputs)
    arena = assign_arena((i, _storages(item)) for i, item in enumerate(builder.items))
    weight_blob, constants = weights.seal(), builder.constants.seal()
    base_bytes = [0] * (1 + max(p.base for p in [*inputs.values(), *outputs.values(), Placement(ARENA)]))
    for places in (inputs, outputs):
        for name, place in places.items():
            end = place.offset + size_of(bound.values[name])
            base_bytes[place.base] = max(base_bytes[place.base], end)
    base_bytes[WEIGHTS], base_bytes[CONSTANTS], base_bytes[ARENA] = len(weight_blob), len(constants), arena
    return _finish(builder, weight_blob, constants, tuple(base_bytes), macs(bound))


def _numpy_call(builder: Builder, item: BoundNode) -> NumpyCall:
    node, bound = item.node, builder.bound
    ins: list[View | np.ndarray | None] = []
    for name in node.inputs:
        value = bound.values[name] if name else None
        if value is None or value.data is not None:
            ins.append(None if value is None else value.data)
        else:
            ins.append(View(builder.ref(name), value.dtype, value.shape))
    outs = [
        View(builder.new(name), bound.values[name].dtype, bound.values[name].shape) if name else None
        for name in node.outputs
    ]
    return NumpyCall(node.name, item.op.twin, node.attributes, tuple(ins), tuple(outs))


def _place_outputs(builder: Builder, outputs: Mapping[str, Placement]) -> None:
    """Let each graph output's producer write where the output goes; copy where it cannot."""
    for name, place in outputs.items():
        value = builder.bound.values[name]
        ref = builder.ref(name)
        if ref.storage.base is None and ref.offset == 0 and ref.storage.size == size_of(value):
            ref.storage.base, ref.storage.offset = place.base, place.offset
            continue
        count = math.prod(value.shape)
        target = Ref(Storage(size_of(value), place.base, place.offset))
        dims = (value.dtype.itemsize, 1, count, 1, 1)
        builder.emit(code.Instruction(code.COPY, name, (ref,), (target,), dims))


def _storages(item: code.Instruction | NumpyCall) -> list[Storage]:
    if isinstance(item, NumpyCall):
        views = [v for v in (*item.ins, *item.outs) if isinstance(v, View)]
        return [v.ref.storage for v in views]
    return [ref.storage for ref in (*item.ins, *item.outs) if ref is not None]


def _finish(
    builder: Builder, weights: np.ndarray, constants: np.ndarray, base_bytes: tuple[int, ...], work: int
) -> Plan:
    native = [item for item in builder.items if isinstance(item, code.Instruction)]
    records = np.zeros(len(native), code.RECORD)
    for record, instruction in zip(records, native, strict=True):
        instruction.write(record)
    segments = []
    start = stop = 0
    for item in builder.items:
        if isinstance(item, NumpyCall):
            segments.append(Segment(start, stop, item))
            start = stop
        else:
            stop += 1
    segments.append(Segment(start, stop, None))
    return Plan(records, tuple(i.node for i in native), tuple(segments), weights, constants, base_bytes, work)
