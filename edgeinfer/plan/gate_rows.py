"""Embedding → recurrent as gate rows: what a token's row adds up to in the cell's gates, computed once at load.

Where a recurrent node's x is rows of a constant table by integer tokens, bias + x W depends on the token alone. The
core sums it for every row of the table, in the order in which a step would, so that the bits are the same; a step
then looks its token's row up and has only h R left to sum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ..graph import LENGTHS, BoundNode, Node
from ..records import NamedTuple
from . import instructions as code
from .builder import Builder, GateTable
from .kernels import RECURRENT, packed_cell
from .memory import ARENA, CONSTANTS, WEIGHTS, Packed, Ref, Storage
from .pack import gate_row_floats

# records, packed weights, x rows, where the result goes, aligned: one run of the core at load
Compute = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]


class GateRows(NamedTuple):
    """How the core computes gate rows, and how many bytes of them a model may have."""

    limit: int
    compute: Compute


class _Use(NamedTuple):
    """A recurrent node that reads a Gather's rows, perhaps with time and batch exchanged."""

    node: Node
    exchanged: bool


def place_gate_rows(builder: Builder, rows: GateRows) -> None:
    """Give the builder the tables of all nodes that can have one, first come first served, and what they make idle."""
    consumers: dict[str, list[BoundNode]] = defaultdict(list)
    for item in builder.bound.nodes:
        for name in dict.fromkeys(item.node.inputs):
            consumers[name].append(item)
    left = rows.limit
    for item in builder.bound.nodes:
        if item.node.op_type != "Gather" or not _looks_up_rows(builder, item.node):
            continue
        idle: list[Node] = [item.node]
        uses = list(_uses(builder, item.node.outputs[0], consumers, idle))
        if not uses or None in uses:
            continue
        found = [use for use in uses if use is not None]
        needed = sum(_bytes(builder, item.node, use.node) for use in found)
        if needed > left:
            continue
        tables = [_tables(builder, item.node, use, rows.compute) for use in found]
        if None not in tables:
            left -= needed
            builder.idle.update(map(id, idle))
            builder.gate_tables.update((id(use.node), t) for use, t in zip(found, tables, strict=True) if t)


def _looks_up_rows(builder: Builder, node: Node) -> bool:
    graph, (table, indices) = builder.bound.graph, (builder.bound.values[name] for name in node.inputs)
    return (
        node.inputs[0] in graph.constants
        and node.inputs[0] not in graph.small
        and table.dtype == np.float32
        and len(table.shape) == 2
        and node.attributes["axis"] % 2 == 0
        and indices.data is None
        and indices.dtype in (np.int32, np.int64)
    )


def _uses(
    builder: Builder, name: str, consumers: dict[str, list[BoundNode]], idle: list[Node], exchanged: bool = False
) -> Iterator[_Use | None]:
    """The recurrent nodes that read the rows, None for whatever else does. Collects the views between."""
    value = builder.bound.values[name]
    if name in {info.name for info in builder.bound.graph.outputs}:
        yield None
    for item in consumers[name]:
        node = item.node
        if node.op_type in RECURRENT:
            graph = builder.bound.graph
            stored = all(n in graph.constants and n not in graph.small for n in node.inputs[1:4] if n)
            # what is out of range would be told of the Gather, be it a token or a length
            stored &= not any(node.inputs[LENGTHS:][:1]) or node.attributes["masked"] is not None
            yield _Use(node, exchanged) if stored and node.inputs.count(name) == 1 and node.inputs[0] == name else None
        elif node.op_type == "Transpose" and not exchanged and node.attributes["perm"] == (1, 0, 2):
            idle.append(node)
            yield from _uses(builder, node.outputs[0], consumers, idle, exchanged=min(value.shape[:2]) != 1)
        elif item.op.view and not exchanged and builder.bound.values[node.outputs[0]].shape[-1:] == value.shape[-1:]:
            idle.append(node)
            yield from _uses(builder, node.outputs[0], consumers, idle)
        else:
            yield None


def _bytes(builder: Builder, gather: Node, node: Node) -> int:
    values = builder.bound.values
    directions, _, hidden = values[node.inputs[2]].shape
    linear = bool(node.attributes["linear_before_reset"])
    floats = gate_row_floats(node.op_type, hidden, builder.lanes, linear)
    return 4 * directions * floats * int(values[gather.inputs[0]].shape[0])


def _tables(builder: Builder, gather: Node, use: _Use, compute: Compute) -> GateTable | None:
    """The tables of one node, one per direction; None where the model's weights are settled without them."""
    values, node = builder.bound.values, use.node
    rows, features = values[gather.inputs[0]].shape
    directions, _, hidden = values[node.inputs[2]].shape
    steps, batch, _ = values[node.inputs[0]].shape
    size = _bytes(builder, gather, node) // directions
    refs = []
    for d in range(directions):
        op, key, pack = packed_cell(builder, node, d)

        def fill(out: np.ndarray, pack: Callable[[], np.ndarray | Packed], op: int) -> None:
            linear = int(node.attributes["linear_before_reset"])
            weights = pack()
            packed = weights.array() if isinstance(weights, Packed) else weights
            table = np.ascontiguousarray(builder.data(gather.inputs[0]))
            instruction = code.Instruction(
                code.X_SUMS,
                node.name,
                (Ref(Storage(table.nbytes, CONSTANTS)), Ref(Storage(packed.nbytes, WEIGHTS))),
                (Ref(Storage(size, ARENA)),),
                (op, rows, features, hidden, linear),
            )
            compute(code.records([instruction]), packed, table, out.view(np.uint8))

        make = partial(Packed, size // 4, partial(fill, pack=pack, op=op))
        ref = builder.weights.get(("gate rows", gather.inputs[0], *key), make)
        if ref is None:
            return None
        refs.append(ref)
    strides = (1, steps) if use.exchanged else (batch, 1)
    tokens = values[gather.inputs[1]]
    dims = (rows, code.DTYPES[tokens.dtype], *strides)
    return GateTable(gather.name, gather.inputs[1], tuple(refs), dims)
