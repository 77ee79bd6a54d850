"""A graph with concrete input shapes: every dtype and shape known, whatever depends on constants alone computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import ModelFormatError, ModelLimitError
from ..kernels.quiet import quietly
from ..limits import FOLDED_BYTES, Limits
from ..records import NamedTuple
from .fuse import INTERNAL
from .ir import Graph, Node, Value
from .ops import Op, find


class BoundNode(NamedTuple):
    """A node that has to run."""

    node: Node
    op: Op


class BoundGraph(NamedTuple):
    """The nodes left to run for one choice of input shapes, and what is known of every value they touch.

    ``large`` says where the first node stands that reads only constants and runs all the same, for its size; "" where
    there is none.
    """

    graph: Graph
    nodes: tuple[BoundNode, ...]
    values: Mapping[str, Value]
    large: str = ""

    def inputs_of(self, node: Node) -> list[Value | None]:
        return [self.values[name] if name else None for name in node.inputs]

    def outputs_of(self, node: Node) -> list[Value]:
        return [self.values[name] for name in node.outputs if name]


class _Budget:
    """What constants that are computed once may take, all together."""

    def __init__(self, graph: Graph) -> None:
        # a small weight may be widened to four bytes
        stored = sum(array.size * max(array.itemsize, 4) for array in graph.constants.values())
        self._limit = max(FOLDED_BYTES, stored)
        self._taken = 0

    def take(self, node: Node, op: Op, ins: Sequence[Value | None], outs: Sequence[Value]) -> None:
        """Raises ModelLimitError, and takes nothing, where the rest is not enough for what a node gives."""
        size = 0 if op.view else sum(out.nbytes for out in outs) + (op.scratch(node, ins) if op.scratch else 0)
        if self._taken + size > self._limit:
            raise ModelLimitError(
                f"{node.where}: constants of {self._taken + size} bytes would be computed, the limit is "
                f"{self._limit}: what the file stores, or 1 MiB",
                limit="folded_bytes",
            )
        self._taken += size


def bind(graph: Graph, shapes: Mapping[str, tuple[int, ...]], limits: Limits | None = None) -> BoundGraph:
    """Infer every value from the shapes of the graph's inputs, fold constants, drop what no output needs.

    A constant that the shapes make larger than folding may be is computed in each run instead.

    Raises ModelFormatError where a node does not fit its inputs or an output is not of its declared type,
    UnsupportedOperatorError where a node needs what is not implemented, ModelLimitError where a tensor would blow
    up. ``limits``: other ones than the graph's.
    """
    limits = limits or graph.limits
    values: dict[str, Value] = {name: Value.of(array) for name, array in graph.constants.items()}
    budget = _Budget(graph)
    for info in graph.inputs:
        values[info.name] = Value(info.dtype, shapes[info.name])
        limits.check("tensor_bytes", values[info.name].nbytes, f'input "{info.name}"')
    running: list[BoundNode] = []
    large = ""
    for node in graph.nodes:
        op = _op(node)
        ins = [values[name] if name else None for name in node.inputs]
        outs = op.infer(node, ins)
        for out in outs:
            limits.check("rank", len(out.shape), node.where)
            # NumPy refuses a shape by its other axes even where one is empty
            limits.check("tensor_bytes", out.dtype.itemsize * math.prod(d or 1 for d in out.shape), node.where)
        if op.scratch is not None:
            limits.check("tensor_bytes", op.scratch(node, ins), f"{node.where}: while it runs")
        if any(out.data is None for out in outs) and all(v is None or v.data is not None for v in ins):
            try:
                budget.take(node, op, ins, outs)
                outs = _fold(node, op, [_widened(graph, name, values.get(name)) for name in node.inputs], outs)
            except ModelLimitError:
                large = large or node.where
        values.update((name, out) for name, out in zip(node.outputs, outs, strict=False) if name)
        if any(out.data is None for out in outs):
            running.append(BoundNode(node, op))
    for info in graph.outputs:
        found = values[info.name].dtype
        if found != info.dtype:
            raise ModelFormatError(f'output "{info.name}" is declared {info.dtype.name} and computed as {found.name}')
    return BoundGraph(graph, _live(running, graph), values, large)


def fold(graph: Graph) -> Graph:
    """The same graph with every node that reads constants only computed once."""
    constants = dict(graph.constants)
    budget = _Budget(graph)
    kept = []
    outputs = {info.name for info in graph.outputs}
    for node in graph.nodes:
        if all(not name or name in constants for name in node.inputs) and not outputs & set(node.outputs):
            op = _op(node)
            ins = [_widened(graph, name, Value.of(constants[name])) if name else None for name in node.inputs]
            outs = op.infer(node, ins)
            budget.take(node, op, ins, outs)
            for name, out in zip(node.outputs, _fold(node, op, ins, outs), strict=False):
                if name:
                    assert out.data is not None
                    constants[name] = out.data
        else:
            kept.append(node)
    used = {name for node in kept for name in node.inputs} | outputs
    return graph._replace(
        nodes=tuple(kept),
        constants={name: array for name, array in constants.items() if name in used},
        small={name: small for name, small in graph.small.items() if name in used},
    )


def _op(node: Node) -> Op:
    op = INTERNAL.get(node.op_type) or find(node.op_type)
    assert op is not None  # the graph was checked when it was read
    return op


def _widened(graph: Graph, name: str, value: Value | None) -> Value | None:
    """The value, with its data where only its shape stands in the graph's constants."""
    return Value.of(graph.array(name)) if name in graph.small else value


def _fold(node: Node, op: Op, ins: list[Value | None], outs: list[Value]) -> list[Value]:
    try:
        arrays = quietly(op.twin, node.attributes, *(None if v is None else v.data for v in ins))
    except (ValueError, IndexError, TypeError, ArithmeticError) as error:
        raise node.malformed(f"its constants do not compute: {error}") from None
    folded = []
    for array, out in zip(arrays, outs, strict=False):
        if array.shape != out.shape or array.dtype != out.dtype:
            raise ModelFormatError(f"{node.where}: {array.dtype} {array.shape} is not {out.dtype} {out.shape}")
        data = np.ascontiguousarray(array).reshape(array.shape)
        data.flags.writeable = False
        folded.append(Value.of(data))
    return folded


def _live(running: list[BoundNode], graph: Graph) -> tuple[BoundNode, ...]:
    needed = {info.name for info in graph.outputs}
    kept = []
    for bound in reversed(running):
        if needed & set(bound.node.outputs):
            needed.update(bound.node.inputs)
            kept.append(bound)
    return tuple(reversed(kept))
