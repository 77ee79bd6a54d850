"""Can the model run one time step at a time, and along which axis?

The time axis is followed from the input through every node. A node that needs other steps than the present one,
other than through its own state, ends it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np

from ..errors import ModelLoadError
from ..limits import Limits
from ..records import NamedTuple
from .bind import BoundGraph, bind
from .ir import Graph, Node, ValueInfo
from .ops import LAST, NotCausalError, Time
from .ops.recurrent import ANOTHER_AXIS, STATE_INPUTS

# Two lengths that no real dimension has, to tell what depends on the number of steps.
_PROBES = (7919, 7907)
# nothing is computed at these lengths, so tensors may be of any size
_UNBOUNDED = Limits(tensor_bytes=1 << 62)
# Two sizes for the first two axes, to tell which of them arrives where a node has its time.
_AXIS_PROBES = (101, 103)
# What these take besides the data is a shape or a range, which their own time rule judges.
_SHAPE_ARGUMENTS = frozenset({"Expand", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Unsqueeze"})


class Streamability(NamedTuple):
    """Whether the model streams; if so its input's axes and where each output has its time axis (LAST: nowhere).

    ``reason`` says what stops it, naming the node. ``stateless`` are the recurrent nodes, by their outputs, for which
    each step of the model is a sequence of its own, as inside Keras' TimeDistributed.
    """

    streams: bool
    reason: str = ""
    input: str = ""
    time_axis: int = -1
    output_times: Mapping[str, int] = {}
    stateless: frozenset[tuple[str, ...]] = frozenset()


def find_streamability(graph: Graph, state_inputs: Collection[str]) -> Streamability:
    """Follow the time axis from the graph's one data input to its outputs."""
    data = [info for info in graph.inputs if info.name not in state_inputs]
    if len(data) != 1:
        return Streamability(False, f"it has {len(data)} inputs besides states, and a stream steps over one")
    (info,) = data
    starts = Counter(
        node.inputs[index]
        for node in graph.nodes
        for index in STATE_INPUTS.get(node.op_type, ())
        if index < len(node.inputs) and node.inputs[index] in state_inputs
    )
    for name, count in starts.items():
        if count > 1:
            return Streamability(False, f'state input "{name}" starts {count} states, and a stream carries each alone')
    what = f'input "{info.name}" {list(info.shape)}'
    if len(info.shape) < 2:
        return Streamability(False, f"{what} has no time axis")
    # batch first, as Keras has it, or time first, which only a recurrent node can tell; the batch must be free or 1
    free = [not isinstance(d, int) for d in info.shape[:2]]
    recurrent = any(node.op_type in STATE_INPUTS for node in graph.nodes)
    candidates = [
        axis for axis in ((1, 0) if recurrent else (1,)) if free[axis] and (free[1 - axis] or info.shape[1 - axis] == 1)
    ]
    if not candidates:
        return Streamability(False, f"{what} has its time axis or its batch fixed")
    reasons = []
    for axis in candidates:
        try:
            return Streamability(True, "", info.name, axis, *_follow(graph, {info.name: axis}))
        except NotCausalError as error:
            reasons.append(str(error))
        except ModelLoadError as error:
            reasons.append(f"with another number of time steps, {error}")
    return Streamability(False, reasons[0])


def step_shapes(graph: Graph, axes: Mapping[str, int], steps: int) -> dict[str, tuple[int, ...]]:
    """Input shapes for a batch of 1 and the given number of time steps, which the inputs in ``axes`` have at that axis.

    Every other dynamic dimension is 1.
    """
    shapes = {}
    for info in graph.inputs:
        shape = tuple(d if isinstance(d, int) else 1 for d in info.shape)
        if info.name in axes:
            time = axes[info.name]
            shape = (*shape[:time], steps, *shape[time + 1 :])
        shapes[info.name] = shape
    return shapes


def window_axis(graph: Graph, info: ValueInfo) -> int:
    """The axis of an input that the first recurrent node takes for time: 0 or 1; 1 where none tells."""
    if len(info.shape) < 2:
        return 1
    lengths = [d if isinstance(d, int) else probe for d, probe in zip(info.shape[:2], _AXIS_PROBES, strict=True)]
    symbols = {d: length for d, length in zip(info.shape[:2], lengths, strict=True) if isinstance(d, str)}
    shapes = {
        i.name: tuple(d if isinstance(d, int) else symbols.get(d or "", 1) for d in i.shape) for i in graph.inputs
    }
    shapes[info.name] = (*lengths, *shapes[info.name][2:])
    try:
        bound = bind(graph, shapes)
    except ModelLoadError:
        return 1
    times = (bound.values[n.node.inputs[0]].shape[0] for n in bound.nodes if n.node.op_type in STATE_INPUTS)
    time = next(times, lengths[1])
    return 0 if time == lengths[0] != lengths[1] else 1


def follow_time(graph: Graph, axes: Mapping[str, int]) -> dict[str, int]:
    """Where each output has its time axis (LAST: nowhere), given where the inputs have theirs.

    Raises NotCausalError naming the node that needs other steps than the present one.
    """
    return _follow(graph, axes)[0]


def _follow(graph: Graph, axes: Mapping[str, int]) -> tuple[dict[str, int], frozenset[tuple[str, ...]]]:
    """The same, and the nodes that have no state to carry."""
    first, second = (bind(graph, step_shapes(graph, axes, probe), _UNBOUNDED) for probe in _PROBES)
    if [b.node for b in first.nodes] != [b.node for b in second.nodes]:
        raise NotCausalError("what it computes depends on the number of time steps")
    if first.large or second.large:
        # whose values are not known, so that they cannot be held against each other
        raise NotCausalError(f"{first.large or second.large}: what it computes depends on the number of time steps")
    times: dict[str, Time] = dict(axes)
    for bound in first.nodes:
        node = bound.node
        ins = [times.get(name) for name in node.inputs]
        if all(t is None for t in ins):
            continue
        try:
            _check_constants(node, ins, first, second)
            outs = bound.op.time(node, first.inputs_of(node), first.outputs_of(node), ins)
        except NotCausalError as error:
            raise NotCausalError(f"{node.where}: {error}") from None
        times.update(zip((name for name in node.outputs if name), outs, strict=False))
    cells = [bound.node for bound in first.nodes if bound.node.op_type in STATE_INPUTS]
    stateless = [node for node in cells if times.get(node.inputs[0]) == 1]
    if stateless and len(stateless) == len(cells):
        # a file whose time axis is the first of the two, or nothing that a stream could carry
        raise NotCausalError(f"{stateless[0].where}: {ANOTHER_AXIS}")
    found = {}
    for output in graph.outputs:
        time = times.get(output.name)
        found[output.name] = LAST if time is None else time
        shape = first.values[output.name].shape
        batch = 1 if time == 0 else 0
        if len(shape) <= batch or shape[batch] != 1:
            raise NotCausalError(f'output "{output.name}" has no batch axis')
    return found, frozenset(node.outputs for node in stateless)


def _check_constants(node: Node, times: list[Time], first: BoundGraph, second: BoundGraph) -> None:
    for position, (name, time) in enumerate(zip(node.inputs, times, strict=True)):
        if not name or time is not None or (position and node.op_type in _SHAPE_ARGUMENTS):
            continue
        a, b = first.values[name], second.values[name]
        same_data = a.data is b.data or (
            a.data is not None and b.data is not None and np.array_equal(a.data, b.data, equal_nan=True)
        )
        if a.shape != b.shape or not same_data:
            raise NotCausalError(f'its input "{name}" depends on the number of time steps')
