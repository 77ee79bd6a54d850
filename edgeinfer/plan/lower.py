"""From a bound graph to a plan: walk the nodes, emit instructions, then give every tensor its place."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ..graph import BoundGraph, BoundNode, macs
from . import instructions as code
from .builder import Builder
from .gate_rows import GateRows, place_gate_rows
from .kernels import KERNELS
from .memory import ARENA, CONSTANTS, WEIGHTS, Placement, Pool, Ref, Storage, assign_arena
from .plan import NumpyCall, Plan, Segment, View
from .small import EXACT, Arithmetic


def lower(
    bound: BoundGraph,
    lanes: int,
    weights: Pool,
    inputs: Mapping[str, Placement],
    outputs: Mapping[str, Placement],
    gate_rows: GateRows | None = None,
    arithmetic: Arithmetic = EXACT,
) -> Plan:
    """Plan a bound graph for a core of ``lanes`` floats per vector, with its inputs and outputs where told.

    The first plan of a model fills and seals ``weights``; later ones share it. ``gate_rows``: how rows of an embedding
    become gate rows, None to look the embedding up at every step.
    """
    builder = Builder(bound, lanes, weights, arithmetic)
    for name, place in inputs.items():
        builder.refs[name] = Ref(Storage(bound.values[name].nbytes, place.base, place.offset))
    if gate_rows is not None and gate_rows.limit > 0:
        place_gate_rows(builder, gate_rows)
    for item in bound.nodes:
        if id(item.node) in builder.idle:
            continue
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
            end = place.offset + bound.values[name].nbytes
            base_bytes[place.base] = max(base_bytes[place.base], end)
    base_bytes[WEIGHTS], base_bytes[CONSTANTS], base_bytes[ARENA] = len(weight_blob), len(constants), arena
    return _finish(builder, weight_blob, constants, tuple(base_bytes), macs(bound))


def _numpy_call(builder: Builder, item: BoundNode) -> NumpyCall:
    node, bound = item.node, builder.bound
    ins: list[View | np.ndarray | None] = []
    for name in node.inputs:
        value = bound.values[name] if name else None
        if value is None or value.data is not None:
            ins.append(None if value is None else builder.data(name))
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
        if ref.storage.base is None and ref.offset == 0 and ref.storage.size == value.nbytes:
            ref.storage.base, ref.storage.offset = place.base, place.offset
            continue
        count = math.prod(value.shape)
        target = Ref(Storage(value.nbytes, place.base, place.offset))
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
    records = code.records(native)
    segments = []
    start = stop = 0
    for item in builder.items:
        if isinstance(item, NumpyCall):
            segments.append(Segment(start, stop, item))
            start = stop
        else:
            stop += 1
    segments.append(Segment(start, stop, None))
    return Plan(
        records,
        tuple(i.node for i in native),
        tuple(i.indexed_by or i.node for i in native),
        tuple(segments),
        weights,
        constants,
        base_bytes,
        work,
        tuple(dict.fromkeys(table.gather for table in builder.gate_tables.values())),
    )
