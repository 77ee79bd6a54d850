"""Everything about a model that does not depend on a backend, found once at load."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import ModelFormatError
from ..limits import STRICT, Policy
from ..onnx_file import ModelProto
from ..records import NamedTuple
from .bind import BoundGraph, BoundNode, bind, fold
from .ir import Graph, ValueInfo
from .load import build_graph
from .ops import LAST
from .ops.recurrent import GATES, LENGTHS
from .small import keep_small
from .states import State, find_state_inputs, make_states_explicit
from .streamability import Streamability, find_streamability, step_shapes


class StepGraph(NamedTuple):
    """The graph of one time step for a batch of 1, its states explicit, bound to its shapes."""

    bound: BoundGraph
    states: tuple[State, ...]
    input: ValueInfo
    input_shape: tuple[int, ...]
    outputs: tuple[ValueInfo, ...]
    output_shapes: tuple[tuple[int, ...], ...]


class Prepared(NamedTuple):
    """A loaded model: its graph with constants folded, which inputs are states, and whether and how it streams.

    ``joined`` is the same graph with each masked cell as one node; the graph itself where it has none. ``checked``:
    every node was seen to fit its inputs; where 1 for each dimension that the file leaves open does not fit, what is
    wrong shows when it runs.
    """

    graph: Graph
    joined: Graph
    state_inputs: dict[str, str]
    streamability: Streamability
    step: StepGraph | None
    parameters: int
    checked: bool


def prepare(
    proto: ModelProto, state_pairs: Sequence[tuple[str, str]] = (), policy: Policy = STRICT, *, small: bool = False
) -> Prepared:
    """Check a model and find its states and whether it streams.

    ``small`` keeps int8 and float16 weights as the file stores them, for a backend that computes from those.
    Raises ModelFormatError, UnsupportedOperatorError and ModelLimitError naming the node.
    """
    stored = build_graph(proto, policy)
    graph = fold(keep_small(stored) if small else stored)
    joined = _join(graph)
    return _prepare(graph, joined, find_state_inputs(joined, state_pairs), _parameters(stored))


def give(prepared: Prepared, constants: Mapping[str, np.ndarray]) -> Prepared:
    """The same model with these inputs of its graph as constants, what follows from them computed once.

    Raises what prepare raises.
    """
    graph = prepared.graph
    rest = tuple(info for info in graph.inputs if info.name not in constants)
    given = graph._replace(inputs=rest, constants={**graph.constants, **constants})
    graph = fold(given)
    return _prepare(graph, _join(graph), prepared.state_inputs, prepared.parameters)


def _prepare(graph: Graph, joined: Graph, state_inputs: dict[str, str], parameters: int) -> Prepared:
    streamability = find_streamability(joined, state_inputs)
    step = _step_graph(joined, state_inputs, streamability) if streamability.streams else None
    checked = True
    if step is None or joined is not graph:
        # Not all is bound yet: with every dynamic dimension 1, what is wrong in a node shows at load.
        shapes = {i.name: tuple(d if isinstance(d, int) else 1 for d in i.shape) for i in graph.inputs}
        try:
            bind(graph, shapes)
        except ModelFormatError:
            # a batch of 1 fits every model, one step each that streams; 1 for another dimension may be what does not
            fixed = all(isinstance(d, int) for info in graph.inputs for d in info.shape[len(info.shape) > 1 :])
            if fixed or step is not None:
                raise
            checked = False
    return Prepared(graph, joined, state_inputs, streamability, step, parameters, checked)


def _join(graph: Graph) -> Graph:
    """The graph with its masked cells joined."""
    if not any(node.op_type in GATES and any(node.inputs[LENGTHS : LENGTHS + 1]) for node in graph.nodes):
        return graph
    from .masked import join_masked_cells  # the most part of models has none, and each start pays for an import

    return join_masked_cells(graph)


def _parameters(graph: Graph) -> int:
    """How many weights the file stores; a scale is part of how an integer is stored."""
    widened = [node.inputs for node in graph.nodes if node.op_type == "DequantizeLinear"]
    integers, scales = {inputs[0] for inputs in widened}, {inputs[1] for inputs in widened}
    return sum(
        array.size
        for name, array in graph.constants.items()
        if name in integers or (array.dtype.kind == "f" and name not in scales)
    )


def _step_graph(graph: Graph, state_inputs: dict[str, str], streamability: Streamability) -> StepGraph:
    shapes = step_shapes(graph, {streamability.input: streamability.time_axis}, 1)
    explicit, states = make_states_explicit(graph, state_inputs, bind(graph, shapes), streamability.stateless)
    for state in states:
        shapes.setdefault(state.input, state.shape)
    bound = bind(explicit, shapes)
    info = next(i for i in graph.inputs if i.name == streamability.input)
    state_outputs = {state.output for state in states}
    outputs = tuple(i for i in graph.outputs if i.name not in state_outputs)
    times = [streamability.output_times[i.name] for i in outputs]
    return StepGraph(
        bound,
        states,
        info,
        _one_step(shapes[info.name], streamability.time_axis),
        outputs,
        tuple(_one_step(bound.values[i.name].shape, time) for i, time in zip(outputs, times, strict=True)),
    )


def _one_step(shape: tuple[int, ...], time: int) -> tuple[int, ...]:
    """The shape less its batch and time axes, both of which are 1 here. Batch is the other of the first two."""
    axes = {0} if time == LAST else {0, 1} if time < 2 else {0, time}
    return tuple(d for axis, d in enumerate(shape) if axis not in axes)


def macs(bound: BoundGraph) -> int:
    """Multiply-accumulate operations of one run: recurrent nodes, matrix products and convolutions."""
    return sum(node_macs(bound, item) for item in bound.nodes)


def node_macs(bound: BoundGraph, item: BoundNode) -> int:
    """Those of one node."""
    node = item.node
    if node.op_type in GATES:
        steps, batch, features = bound.values[node.inputs[0]].shape
        directions, rows, hidden = bound.values[node.inputs[2]].shape
        return steps * batch * directions * rows * (features + hidden)
    if node.op_type in ("MatMul", "Gemm", "edgeinfer.Dense"):
        inner = bound.values[node.inputs[0]].shape[0 if node.attributes.get("transA") else -1]
        return math.prod(bound.values[node.outputs[0]].shape) * inner
    if node.op_type in ("Conv", "ConvTranspose"):
        # each output element (transposed: each input element) meets the kernel over the channels of its group
        met = node.outputs[0] if node.op_type == "Conv" else node.inputs[0]
        return math.prod(bound.values[met].shape) * math.prod(bound.values[node.inputs[1]].shape[1:])
    return 0


def node_bytes(bound: BoundGraph, item: BoundNode) -> int:
    """Bytes of a node's inputs and outputs, weights as the file stores them; of a table, the rows that are read."""
    node, total = item.node, 0
    for index, name in enumerate((*node.inputs, *node.outputs)):
        if not name or (node.op_type == "Gather" and index == 0):
            continue
        small = bound.graph.small.get(name)
        total += bound.values[name].nbytes if small is None else small.values.nbytes
    return total + (bound.values[node.outputs[0]].nbytes if node.op_type == "Gather" else 0)
