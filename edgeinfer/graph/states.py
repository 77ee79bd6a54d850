"""The states of a model: which tensors a stream carries from one step to the next."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from ..errors import ModelFormatError
from ..records import NamedTuple
from .bind import BoundGraph
from .ir import Graph, Node, ValueInfo
from .ops.recurrent import STATE_INPUTS


class State(NamedTuple):
    """A tensor that one step leaves for the next: read from graph input ``input``, written to ``output``.

    ``initial`` is what a stream starts from, with a batch of 1. ``in_file`` says whether the file itself has the
    pair, or only the operator does.
    """

    input: str
    output: str
    initial: np.ndarray
    in_file: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.initial.shape


def find_state_inputs(graph: Graph, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The graph inputs that hold states → the graph outputs that hold them after (or "" where there is none).

    Those that the metadata pairs, and those that go straight into a recurrent node's initial state.
    Raises ModelFormatError where the metadata names what the graph does not have, or an output twice.
    """
    inputs = {info.name for info in graph.inputs}
    outputs = {info.name for info in graph.outputs}
    found = {}
    for source, target in pairs:
        for name, known, what in ((source, inputs, "input"), (target, outputs, "output")):
            if name not in known:
                raise ModelFormatError(f'metadata edgeinfer.spec: states: the graph has no {what} "{name}"')
        found[source] = target
    for node in graph.nodes:
        for position, index in enumerate(STATE_INPUTS.get(node.op_type, ())):
            name = _input(node, index)
            if name in inputs and name not in found:
                target = node.outputs[position + 1] if len(node.outputs) > position + 1 else ""
                found[name] = target if target in outputs else ""
    carried: dict[str, str] = {}
    for source, target in found.items():
        if target and carried.setdefault(target, source) != source:
            raise ModelFormatError(
                f'metadata edgeinfer.spec: states: expected each output to be one input\'s next state, "{target}" is '
                f'that of "{carried[target]}" and of "{source}"'
            )
    return found


def make_states_explicit(
    graph: Graph, state_inputs: dict[str, str], bound: BoundGraph, stateless: Collection[tuple[str, ...]] = ()
) -> tuple[Graph, tuple[State, ...]]:
    """A graph for single steps: every recurrent node reads its state from an input and writes it to an output.

    Those whose outputs are among ``stateless`` have none. ``bound`` is the graph bound to one step of a batch
    of 1; initial states that are constant there become what a stream starts from.
    """
    inputs, outputs = list(graph.inputs), list(graph.outputs)
    names = {info.name for info in outputs}
    states: list[State] = []
    nodes: list[Node] = []
    copies: list[Node] = []
    for source, target in state_inputs.items():
        if target:
            value, after = bound.values[source], bound.values[target]
            if (value.dtype, value.shape) != (after.dtype, after.shape):
                raise ModelFormatError(
                    f'state input "{source}" is {value.dtype.name} {list(value.shape)}, '
                    f'its output "{target}" is {after.dtype.name} {list(after.shape)}'
                )
            states.append(State(source, target, np.zeros(value.shape, value.dtype), in_file=True))
    for node in graph.nodes:
        for position, index in enumerate(() if node.outputs in stateless else STATE_INPUTS.get(node.op_type, ())):
            source = _input(node, index)
            if state_inputs.get(source):
                continue
            kind = "hc"[position]
            shape = _state_shape(node, bound)
            known = bound.values[source].data if source else None
            if source and known is None and source not in state_inputs:
                continue  # computed from the file's own state inputs, which carry it
            initial = np.zeros(shape, np.float32) if known is None else np.array(known, np.float32)
            if source not in state_inputs:
                source = f"{node.name}//initial_{kind}"
                node = _with_input(node, index, source)
                inputs.append(ValueInfo(source, initial.dtype, shape))
            carried = f"{node.name}//final_{kind}"
            node, target = _with_output(node, position + 1, carried)
            if target in names:
                # what the file gives as an output stays one; the stream carries a second name for it
                copies.append(Node("Identity", carried, (target,), (carried,), {}))
                target = carried
            outputs.append(ValueInfo(target, initial.dtype, shape))
            states.append(State(source, target, initial, in_file=False))
        nodes.append(node)
    explicit = graph._replace(nodes=(*nodes, *copies), inputs=tuple(inputs), outputs=tuple(outputs))
    return explicit, tuple(states)


def _state_shape(node: Node, bound: BoundGraph) -> tuple[int, ...]:
    directions = bound.values[node.inputs[2]].shape[0]
    batch = bound.values[node.inputs[0]].shape[1]
    return (directions, batch, node.attributes["hidden_size"])


def _input(node: Node, index: int) -> str:
    return node.inputs[index] if index < len(node.inputs) else ""


def _with_input(node: Node, index: int, name: str) -> Node:
    inputs = [*node.inputs, *[""] * (index + 1 - len(node.inputs))]
    inputs[index] = name
    return node._replace(inputs=tuple(inputs))


def _with_output(node: Node, index: int, name: str) -> tuple[Node, str]:
    outputs = [*node.outputs, *[""] * (index + 1 - len(node.outputs))]
    outputs[index] = outputs[index] or name
    return node._replace(outputs=tuple(outputs)), outputs[index]
