"""Masked cells: a recurrent node that reads the steps that a mask keeps, as one node.

ONNX knows how long a sequence is, not which steps to leave out. So an exporter brings the kept steps to the front,
runs the node with sequence_lens, and looks every step's answer up: a subgraph of some twenty nodes, of which nothing
runs step by step. Joined, the node has the mask in place of sequence_lens and attribute ``masked``; it streams.

A subgraph is joined only where it is that construction node by node and all that is read of the recurrent node goes
through it; what merely looks like it stays a graph of plain nodes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

import numpy as np

from ..records import NamedTuple
from .ir import Graph, Node
from .ops.recurrent import LENGTHS, STATE_INPUTS

_LARGEST = np.iinfo(np.int64).max
_TIME_FIRST = (1, 0, 2)


def join_masked_cells(graph: Graph) -> Graph:
    """The same function with every masked recurrent node as one node; the graph itself where there is none."""
    look = _Look(graph)
    changed: dict[int, tuple[Node, ...]] = {}
    for node in graph.nodes:
        if node.op_type in STATE_INPUTS and any(node.inputs[LENGTHS : LENGTHS + 1]):
            changed.update(_joined(look, node) or {})
    if not changed:
        return graph
    nodes = [new for node in graph.nodes for new in changed.get(id(node), (node,))]
    needed = {info.name for info in graph.outputs}
    kept = []
    for node in reversed(nodes):
        if needed & set(node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    return graph._replace(nodes=tuple(reversed(kept)))


class _Seen(NamedTuple):
    """What numbers the kept steps of a mask: from the first, or from the last."""

    mask: str
    backwards: bool


class _Look:
    """Reads a graph against the direction of its edges; every method gives None where it finds something else."""

    def __init__(self, graph: Graph) -> None:
        self.constants = graph.constants
        self._producers = {name: node for node in graph.nodes for name in node.outputs}
        self._users: dict[str, list[Node]] = defaultdict(list)
        for node in graph.nodes:
            for name in dict.fromkeys(node.inputs):
                self._users[name].append(node)
        self._outputs = {info.name for info in graph.outputs}

    def made(self, name: str, op: str, **attributes: Any) -> Node | None:
        """The node that makes a tensor, where it is of this kind."""
        return _is(self._producers.get(name), op, **attributes)

    def users(self, name: str) -> list[Node] | None:
        """All that reads a tensor, where that is nodes alone."""
        return None if name in self._outputs else self._users[name] if name else []

    def user(self, name: str) -> Node | None:
        """The one node that reads a tensor, once."""
        users = self.users(name)
        return users[0] if users and len(users) == 1 and users[0].inputs.count(name) == 1 else None

    def integers(self, node: Node, position: int) -> list[int] | None:
        """A constant input of integers, as a flat list."""
        name = node.inputs[position] if position < len(node.inputs) else ""
        array = self.constants.get(name)
        return None if array is None or array.dtype.kind != "i" else [int(v) for v in array.reshape(-1)]

    def is_zero(self, name: str) -> bool:
        """Whether a tensor is a constant of zeros, or none at all."""
        return not name or (name in self.constants and not self.constants[name].any())

    def is_one_zero(self, name: str) -> bool:
        """Whether a tensor is a constant, a single zero."""
        return bool(name) and self.is_zero(name) and self.constants[name].ndim == 0

    def beside(self, node: Node, number: int) -> str | None:
        """The other input of a commutative node, one of whose inputs is this one integer."""
        for position in (0, 1):
            constant = self.constants.get(node.inputs[position])
            if constant is not None and constant.ndim < 2 and self.integers(node, position) == [number]:
                return node.inputs[1 - position]
        return None

    def kept(self, name: str) -> str | None:
        """The mask of which this is 0 and 1."""
        cast = self.made(name, "Cast", to=np.dtype(np.int64))
        return cast.inputs[0] if cast else None

    def seen(self, name: str) -> _Seen | None:
        """The mask of which this counts the kept steps so far, in the order of time or against it."""
        count = self.made(name, "CumSum", exclusive=0)
        mask = self.kept(count.inputs[0]) if count else None
        if count is None or mask is None or self.integers(count, 1) not in ([1], [-1]):
            return None
        return _Seen(mask, bool(count.attributes["reverse"]))

    def count(self, name: str) -> str | None:
        """The mask of which this counts all kept steps, [batch]."""
        total = self.made(name, "ReduceSum", keepdims=0)
        return self.kept(total.inputs[0]) if total and self.integers(total, 1) == [1] else None

    def sequence_lens(self, name: str) -> str | None:
        """The mask of which this counts the kept steps, 1 where there are none, as int32."""
        cast = self.made(name, "Cast", to=np.dtype(np.int32))
        least = self.made(cast.inputs[0], "Max") if cast else None
        total = self.beside(least, 1) if least and len(least.inputs) == 2 else None
        return self.count(total) if total else None

    def is_empty(self, name: str) -> str | None:
        """The mask of which this says for each row that it keeps nothing, [batch, 1]."""
        column = self.made(name, "Unsqueeze")
        equal = self.made(column.inputs[0], "Equal") if column and self.integers(column, 1) == [1] else None
        total = self.beside(equal, 0) if equal else None
        return self.count(total) if total else None

    def is_one_step(self, name: str) -> str | None:
        """The mask of which this is one step, [batch, 1]."""
        picked = self.made(name, "Gather")
        axis = picked.attributes["axis"] if picked else None
        one = picked and (self.integers(picked, 1) or []) in ([0], [-1]) and self.constants[picked.inputs[1]].ndim == 1
        return picked.inputs[0] if picked and one and axis in (1, -1) else None

    def in_front(self, name: str) -> tuple[str, _Seen] | None:
        """x and how its steps are numbered, where this is x with its kept steps in front, time first."""
        turned = self.made(name, "Transpose", perm=_TIME_FIRST)
        gathered = self.made(turned.inputs[0], "GatherND", batch_dims=1) if turned else None
        index = self.made(gathered.inputs[1], "Unsqueeze") if gathered else None
        order = self.made(index.inputs[0], "TopK", largest=0, sorted=1) if index else None
        if gathered is None or index is None or order is None or self.integers(index, 1) not in ([2], [-1]):
            return None
        key = self.made(order.inputs[0], "Where")
        seen = self.seen(key.inputs[1]) if key else None
        if (
            key is None
            or seen is None
            or order.attributes["axis"] not in (1, -1)
            or order.outputs.index(index.inputs[0]) != 1
            or key.inputs[0] != seen.mask
            or self.integers(key, 2) != [_LARGEST]
            or self.constants[key.inputs[2]].ndim > 2
            or not self._is_length(order.inputs[1], {seen.mask, key.outputs[0]})
        ):
            return None
        return gathered.inputs[0], seen

    def _is_length(self, name: str, of: Collection[str]) -> bool:
        picked = self.made(name, "Gather", axis=0)
        shape = self.made(picked.inputs[0], "Shape", start=0, end=None) if picked else None
        return picked is not None and shape is not None and self.integers(picked, 1) == [1] and shape.inputs[0] in of

    def places(self, name: str) -> tuple[_Seen, bool] | None:
        """How the steps are numbered where this says which answer a step has, and whether one not kept has none."""
        column = self.made(name, "Unsqueeze")
        if column is None or self.integers(column, 1) not in ([2], [-1]):
            return None
        seen = self.seen(column.inputs[0])
        if seen:
            return seen, False
        product = self.made(column.inputs[0], "Mul")
        for kept, count in (product.inputs, product.inputs[::-1]) if product else ():
            seen = self.seen(count)
            if seen and self.kept(kept) == seen.mask:
                return seen, True
        return None


def _is(node: Node | None, op: str, **attributes: Any) -> Node | None:
    if node is None or node.op_type != op:
        return None
    return node if all(node.attributes[name] == value for name, value in attributes.items()) else None


class _Output(NamedTuple):
    """What is read of a node's Y: the nodes between it and the tensor that a reader sees, and how that is filled."""

    changed: dict[int, tuple[Node, ...]]
    zero_output: bool
    zero_before: bool


def _joined(look: _Look, node: Node) -> dict[int, tuple[Node, ...]] | None:
    """By the id of each node that changes what stands there when the cell is joined; None where it is not one."""
    mask = look.sequence_lens(node.inputs[LENGTHS])
    front = look.in_front(node.inputs[0])
    if mask is None or front is None or front[1].mask != mask:
        return None
    x, seen = front
    direction = node.attributes["direction"]
    if direction == "reverse" or (seen.backwards and direction != "forward"):
        return None
    cell = node._replace(
        inputs=(f"{node.name}//x", *node.inputs[1:LENGTHS], mask, *node.inputs[LENGTHS + 1 :]),
        outputs=tuple(
            f"{node.name}//{name}" if look.users(output) != [] else ""
            for name, output in zip(("Y", "Y_h", "Y_c"), node.outputs, strict=False)
        ),
    )
    output = _sequence(look, node, cell, seen)
    if output is None:
        return None
    changed = dict(output.changed)
    for position in range(1, len(node.outputs)):
        ends = _ends(look, node, cell, position, mask)
        if ends is None:
            return None
        cell, users = ends
        changed.update(users)
    attributes = {**node.attributes, "masked": (output.zero_output, output.zero_before)}
    if seen.backwards:
        attributes["direction"] = "reverse"
    turn = Node("Transpose", cell.inputs[0], (x,), (cell.inputs[0],), {"perm": _TIME_FIRST})
    changed[id(node)] = (turn, cell._replace(attributes=attributes))
    return changed


def _sequence(look: _Look, node: Node, cell: Node, seen: _Seen) -> _Output | None:
    """Y, looked up for every step."""
    if not cell.outputs[0]:
        return _Output({}, False, False)
    initial = node.inputs[LENGTHS + 1] if len(node.inputs) > LENGTHS + 1 else ""
    both = node.attributes["direction"] == "bidirectional"
    chain: list[Node] = []
    source = node.outputs[0]
    if not both:
        squeezed = _is(look.user(source), "Squeeze")
        if squeezed is None or look.integers(squeezed, 1) != [1]:
            return None
        chain, source = [squeezed], squeezed.outputs[0]
    filled = look.user(source)
    fill = _fill(look, filled, source, 4 if both else 3)
    if filled is None or fill is None or fill not in ("", initial):
        return None
    chain += _merged(look, filled.outputs[0]) if both else _turned(look, filled.outputs[0])
    if len(chain) != 2:
        return None
    gathered = _is(look.user(chain[1].outputs[0]), "GatherND", batch_dims=1)
    places = look.places(gathered.inputs[1]) if gathered and gathered.inputs[0] == chain[1].outputs[0] else None
    if gathered is None or places is None or places[0] != seen:
        return None
    zero_output = places[1]
    if (both and not zero_output) or (zero_output and fill):
        return None
    first = chain[0]._replace(inputs=(cell.outputs[0], *chain[0].inputs[1:]))
    second = chain[1]._replace(inputs=(first.outputs[0], *chain[1].inputs[1:]), outputs=gathered.outputs)
    changed = {id(filled): (), id(chain[0]): (first,), id(chain[1]): (), id(gathered): (second,)}
    return _Output(changed, zero_output, not fill and not zero_output and not look.is_zero(initial))


def _fill(look: _Look, node: Node | None, source: str, rank: int) -> str | None:
    """What stands before the first step where the node puts one there: "" for zeros, or a tensor's name."""
    if node is None:
        return None
    if _is(node, "Concat", axis=0) and rank == 3 and len(node.inputs) == 2 and node.inputs[1] == source:
        return node.inputs[0] or None
    given = (*node.inputs, "", "", "")
    pads = _is(node, "Pad", mode="constant") and look.integers(node, 1) == [1, *[0] * (2 * rank - 1)]
    return "" if pads and given[0] == source and look.is_zero(given[2]) and not given[3] else None


def _turned(look: _Look, name: str) -> list[Node]:
    """[time, batch, hidden] → [batch, time, hidden]"""
    turned = _is(look.user(name), "Transpose", perm=_TIME_FIRST)
    return [turned] if turned else []


def _merged(look: _Look, name: str) -> list[Node]:
    """Both directions' [time, 2, batch, hidden] as one [batch, time, …], each step by itself, zeros as zeros."""
    first = look.user(name)
    if first is None:
        return []
    if _is(first, "Transpose", perm=(2, 0, 1, 3)):
        flat = _is(look.user(first.outputs[0]), "Reshape", allowzero=0)
        target = (look.integers(flat, 1) if flat else None) or []
        return [first, flat] if flat and len(target) == 3 and target[:2] == [0, 0] else []
    if first.op_type in ("ReduceSum", "ReduceMean", "ReduceProd") and not first.attributes["keepdims"]:
        turned = _turned(look, first.outputs[0])
        return [first, *turned] if turned and look.integers(first, 1) == [1] else []
    return []


def _ends(
    look: _Look, node: Node, cell: Node, position: int, mask: str
) -> tuple[Node, dict[int, tuple[Node, ...]]] | None:
    """A final state, of which the initial one takes the place where nothing is kept."""
    name = node.outputs[position]
    users = look.users(name)
    if users is None:
        return None
    given = LENGTHS + position
    initial = node.inputs[given] if given < len(node.inputs) else ""
    changed: dict[int, tuple[Node, ...]] = {}
    joined = False
    for user in users:
        if user.op_type != "Where" or user.inputs.count(name) != 1:
            return None
        condition, yes, no = user.inputs
        if no == name and look.is_empty(condition) == mask:
            if not joined and (yes == initial or (look.is_one_zero(yes) and look.is_zero(initial))):
                joined = True
                outputs = [*cell.outputs]
                outputs[position] = user.outputs[0]
                cell = cell._replace(outputs=tuple(outputs))
                changed[id(user)] = ()
        elif yes != name or look.is_one_step(condition) != mask:
            return None
    for user in users:
        if id(user) not in changed:
            inputs = tuple(cell.outputs[position] if other == name else other for other in user.inputs)
            changed[id(user)] = (user._replace(inputs=inputs),)
    return cell, changed
