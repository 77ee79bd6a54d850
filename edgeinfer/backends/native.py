"""The native backend: plans for the C core. Imported only where the compiled seam is there."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np

from ..caller import Finish
from ..errors import InputError, ModelFormatError, ModelLimitError, ModelLoadError
from ..graph import BoundGraph, Node, Prepared, StepGraph, Value, bind, fuse, node_bytes, node_macs
from ..kernels.native import Call, Program, Slots, Stepper, aligned_empty, core_has_vnni, core_lanes, core_names
from ..kernels.native import Window as NativeWindow
from ..kernels.quiet import quietly
from ..plan import (
    ARENA,
    FIRST_IO,
    KERNEL_NAMES,
    STATE_IN,
    STATE_OUT,
    WEIGHTS,
    Arithmetic,
    GateRows,
    NumpyCall,
    Placement,
    Plan,
    Pool,
    View,
    check_fast,
    lower,
    name_arithmetic,
)
from ..spec import Window
from .base import Converter, Part, Parts, StateLayout, check_out, into_record

ISA_VARIABLE = "EDGEINFER_ISA"
_MAX_IO = 56
GATE_ROWS = "native, as gate rows"
MASKED_CELL = "native, masked cell"
IN_MASKED_CELL = "native, in a masked cell"


def choose_isa(wanted: str | None = None) -> str:
    """The instruction set to use: the one asked for, that of EDGEINFER_ISA, or the fastest.

    Raises ModelLoadError where this machine or build lacks it.
    """
    names = core_names()
    asked_by = "isa" if wanted else ISA_VARIABLE
    wanted = wanted or os.environ.get(ISA_VARIABLE) or names[0]
    if wanted not in names:
        raise ModelLoadError(f"{asked_by}: expected one of {', '.join(names)} on this machine, got {wanted!r}")
    return wanted


class NativeBackend:
    """One model on the C core.

    ``isa`` forces an instruction set. ``gate_table_bytes``: how much memory gate rows of embeddings may take.
    """

    name = "native"

    def __init__(
        self, prepared: Prepared, isa: str | None = None, gate_table_bytes: int = 0, fast: bool = False
    ) -> None:
        self.isa = choose_isa(isa)
        self._gate_rows = GateRows(gate_table_bytes, partial(_run_alone, self.isa))
        if fast:
            check_fast(prepared.graph)
        self._arithmetic = Arithmetic(fast, fast and core_has_vnni(self.isa))
        self.arithmetic = name_arithmetic(prepared.graph, self._arithmetic)
        self.inputs = prepared.graph.inputs
        self.outputs = prepared.graph.outputs
        if len(self.inputs) + len(self.outputs) > _MAX_IO:
            raise ModelLimitError(f"{len(self.inputs) + len(self.outputs)} inputs and outputs, at most {_MAX_IO}")
        self._lanes = core_lanes(self.isa)
        self._prepared = prepared
        self._graph = fuse(prepared.joined)
        self._weights = Pool(WEIGHTS)
        self._states = StateLayout(prepared.step.states if prepared.step else ())
        self._step_plan = self._plan_step()

    def given(self, prepared: Prepared) -> NativeBackend:
        return NativeBackend(prepared, self.isa, self._gate_rows.limit, self._arithmetic.fast)

    def session(self, shapes: Mapping[str, tuple[int, ...]]) -> NativeSession:
        bound = self._bind(shapes)
        plan = self._plan(bound)
        return NativeSession(_program(plan, self.isa), plan, bound)

    def stepper(self, convert: Converter, states: StateLayout, shape: tuple[int, ...]) -> Stepper | SegmentedStepper:
        step, plan = self._prepared.step, self._step_plan
        assert step is not None and plan is not None
        program = _program(plan, self.isa)
        if plan.all_native:
            return Stepper(
                program,
                convert,
                step.input.dtype,
                step.input_shape,
                shape,
                states.nbytes,
                convert.reject_nonfinite,
            )
        return SegmentedStepper(program, plan, convert, shape, states.nbytes)

    def slots(
        self,
        convert: Converter,
        states: StateLayout,
        shape: tuple[int, ...],
        used: np.ndarray,
        refuse: Callable[[np.ndarray, int], NoReturn],
    ) -> Slots | None:
        step, plan = self._prepared.step, self._step_plan
        assert step is not None and plan is not None
        if not plan.all_native:
            return None
        program = _program(plan, self.isa)
        reject = convert.reject_nonfinite
        return Slots(program, convert, step.input_shape, shape, states.nbytes, reject, used, refuse)

    def placement(self) -> dict[str, str]:
        plan = self._step_plan or self._smallest_plan()
        graph, joined = self._prepared.graph, self._prepared.joined
        left = {node.name: node for node in joined.nodes}
        runs = {node.name: _runs_as(left.get(node.name)) for node in graph.nodes}
        runs.update(dict.fromkeys(plan.numpy_nodes, "numpy"), **dict.fromkeys(plan.gate_rows, GATE_ROWS))
        return runs

    def step_parts(self, x: np.ndarray) -> Parts:
        step, plan = self._prepared.step, self._step_plan
        assert step is not None and plan is not None
        states = aligned_empty(self._states.nbytes)
        states[:] = self._states.initial()
        after = aligned_empty(self._states.nbytes)
        y = np.empty(plan.base_bytes[FIRST_IO + 1] // 4, np.float32)
        return self._parts(plan, self._bind_step(step), (states, after, x, y))

    def parts(self, feeds: Mapping[str, np.ndarray]) -> Parts:
        bound = self._bind({name: array.shape for name, array in feeds.items()})
        values = (bound.values[info.name] for info in self.outputs)
        outputs = [np.empty(value.shape, value.dtype) for value in values]
        ins = [feeds[info.name] for info in self.inputs]
        return self._parts(self._plan(bound), bound, (None, None, *ins, *outputs))

    def _parts(self, plan: Plan, bound: BoundGraph, buffers: tuple[np.ndarray | None, ...]) -> Parts:
        """buffers: one array per base from the states on."""
        program = _program(plan, self.isa)
        memory = (aligned_empty(plan.base_bytes[ARENA]), *buffers)
        nodes = {item.node.name: item for item in bound.nodes}
        parts = []

        def add(name: str, kernel: str, run: Callable[[int], None]) -> None:
            item = nodes.get(name)  # a copy to where an output goes is no node's
            op = "copy" if item is None else item.node.op_type.rpartition(".")[2]
            costs = (0, 0) if item is None else (node_macs(bound, item), node_bytes(bound, item))
            parts.append(Part(name, op, kernel, *costs, run))

        for segment in plan.segments:
            for i in range(segment.start, segment.stop):
                kernel = KERNEL_NAMES[int(plan.records[i]["op"])]
                add(plan.nodes[i], kernel, partial(program.run, i, i + 1, memory))
            if segment.call is not None:
                add(segment.call.node, "numpy", partial(_repeat, partial(_call, segment.call, plan, memory)))
        if plan.all_native:
            return Parts(tuple(parts), partial(program.run, 0, len(plan.nodes), memory))
        return Parts(tuple(parts), partial(_repeat, partial(_Runner(program, plan).run, memory)))

    def _bind(self, shapes: Mapping[str, tuple[int, ...]]) -> BoundGraph:
        if not self._prepared.checked:
            bind(self._prepared.graph, shapes)  # a fused node does not see all that is wrong in those it was made of
        try:
            return bind(self._graph, shapes)
        except ModelFormatError:
            if self._prepared.joined is self._prepared.graph:
                raise
        # a mask of other steps than x has: what its subgraph makes of that, no masked cell does
        return bind(fuse(self._prepared.graph), shapes)

    def _plan(self, bound: BoundGraph) -> Plan:
        """The plan of the whole graph, every input and output in a base of its own."""
        names = [info.name for info in self.inputs]
        inputs = {name: Placement(FIRST_IO + i) for i, name in enumerate(names)}
        first = FIRST_IO + len(names)
        outputs = {info.name: Placement(first + i) for i, info in enumerate(self.outputs)}
        return lower(bound, self._lanes, self._weights, inputs, outputs, self._gate_rows, self._arithmetic)

    def _smallest_plan(self) -> Plan:
        """The plan with every dynamic dimension 1, for a model that has no step."""
        shapes = {i.name: tuple(d if isinstance(d, int) else 1 for d in i.shape) for i in self.inputs}
        return self._plan(self._bind(shapes))

    def _plan_step(self) -> Plan | None:
        """The plan of one step, or None for a model that does not stream."""
        step = self._prepared.step
        if step is None or any(info.dtype != np.float32 for info in step.outputs):
            return None
        bound = self._bind_step(step)
        inputs = {step.input.name: Placement(FIRST_IO)}
        outputs = {}
        offset = 0
        for info, shape in zip(step.outputs, step.output_shapes, strict=True):
            outputs[info.name] = Placement(FIRST_IO + 1, offset)
            offset += math.prod(shape) * 4
        for state, offset in zip(self._states.states, self._states.offsets, strict=True):
            inputs[state.input] = Placement(STATE_IN, offset)
            outputs[state.output] = Placement(STATE_OUT, offset)
        return lower(bound, self._lanes, self._weights, inputs, outputs, self._gate_rows, self._arithmetic)

    def _bind_step(self, step: StepGraph) -> BoundGraph:
        shapes = {info.name: step.bound.values[info.name].shape for info in step.bound.graph.inputs}
        return bind(fuse(step.bound.graph), shapes)


def _runs_as(node: Node | None) -> str:
    """What runs a node of the file; None where a masked cell has taken it in."""
    if node is None:
        return IN_MASKED_CELL
    return MASKED_CELL if node.attributes.get("masked") is not None else "native"


def _program(plan: Plan, isa: str) -> Program:
    return Program(isa, plan.records, plan.indexed_by, plan.weights, plan.constants, plan.base_bytes, plan.macs)


def _run_alone(isa: str, record: np.ndarray, weights: np.ndarray, constants: np.ndarray, arena: np.ndarray) -> None:
    """Run one instruction on operands in WEIGHTS and CONSTANTS that writes ``arena``, uint8 and aligned, whole."""
    aligned = aligned_empty(weights.nbytes)
    aligned[:] = weights.view(np.uint8)
    base_bytes = (weights.nbytes, constants.nbytes, arena.nbytes, 0, 0)
    Program(isa, record, ("",), aligned, constants, base_bytes, arena.nbytes).run(0, 1, (arena, None, None))


class _Runner:
    """Runs a plan's segments over given memory."""

    def __init__(self, program: Program, plan: Plan) -> None:
        self._program = program
        self._plan = plan

    def run(self, buffers: tuple[np.ndarray | None, ...]) -> None:
        """buffers: one array per base from the arena on."""
        for segment in self._plan.segments:
            if segment.stop > segment.start:
                self._program.run(segment.start, segment.stop, buffers)
            if segment.call is not None:
                _call(segment.call, self._plan, buffers)


def _call(call: NumpyCall, plan: Plan, buffers: tuple[np.ndarray | None, ...]) -> None:
    def array(view: View) -> np.ndarray:
        base, offset = view.ref.place
        memory = (plan.weights, plan.constants, *buffers)[base]
        assert memory is not None
        size = math.prod(view.shape) * view.dtype.itemsize
        flat = memory.reshape(-1).view(np.uint8)[offset : offset + size]
        return flat.view(view.dtype).reshape(view.shape)

    ins = [array(item) if isinstance(item, View) else item for item in call.ins]
    try:
        outs = quietly(call.twin, call.attributes, *ins)
    except IndexError:
        raise InputError(f'in node "{call.node}": an index is outside the table', name=call.node) from None
    except InputError as error:
        raise InputError(f'in node "{call.node}": {error}', name=call.node) from None
    for view, result in zip(call.outs, outs, strict=False):
        if view is not None:
            array(view)[...] = result


def _repeat(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


class NativeSession:
    """A plan for one choice of input shapes; every call has its own memory."""

    def __init__(self, program: Program, plan: Plan, bound: BoundGraph) -> None:
        self._runner = _Runner(program, plan)
        self._program = program if plan.all_native else None
        self._values = {info.name: bound.values[info.name] for info in (*bound.graph.inputs, *bound.graph.outputs)}
        self._arena_bytes = plan.base_bytes[ARENA]
        self._inputs = [info.name for info in bound.graph.inputs]
        self._outputs = [(info.name, bound.values[info.name]) for info in bound.graph.outputs]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = {name: np.empty(value.shape, value.dtype) for name, value in self._outputs}
        arena = aligned_empty(self._arena_bytes)
        # whole numbers and masks are checked and then read again: another thread must not change them in between
        ins = [x if (x := feeds[name]).dtype.kind == "f" else x.copy() for name in self._inputs]
        self._runner.run((arena, None, None, *ins, *outputs.values()))
        return outputs

    def quick(self, name: str, outputs: Sequence[str], reject_nonfinite: bool) -> Call | None:
        if self._program is None:
            return None
        x, (ins, outs) = self._values[name], self._bases()
        return Call(
            self._program,
            x.dtype,
            x.shape,
            reject_nonfinite,
            ins[name],
            tuple(ins[other] for other in self._inputs if other != name),
            tuple((outs[y], self._values[y].shape, self._values[y].dtype) for y in outputs),
            tuple(outs[y] for y, _ in self._outputs if y not in outputs),
        )

    def window(
        self,
        convert: Converter,
        window: Window,
        times: Mapping[str, int],
        shape: tuple[int, ...],
        short: Callable[[np.ndarray], np.ndarray],
    ) -> NativeWindow | None:
        ins, outs = self._bases()
        pieces = [_last_row(self._values[name], time) for name, time in times.items()]
        if self._program is None or None in pieces:
            return None
        return NativeWindow(
            self._program,
            convert,
            convert.dtype,
            convert.shape,
            shape,
            convert.reject_nonfinite,
            window.length,
            window.pad_side if window.start == "pad" else window.start,
            window.pad_value,
            ins[convert.name],
            tuple(ins[name] for name in self._inputs if name != convert.name),
            tuple((outs[name], *piece) for name, piece in zip(times, pieces, strict=True) if piece),
            short,
        )

    def _bases(self) -> tuple[dict[str, int], dict[str, int]]:
        """Those of the inputs and those of the outputs: an input may be an output too, in two places."""
        ins = {name: FIRST_IO + i for i, name in enumerate(self._inputs)}
        return ins, {name: FIRST_IO + len(ins) + i for i, (name, _) in enumerate(self._outputs)}


def _last_row(value: Value, time: int) -> tuple[int, int] | None:
    """At which byte the last row in time begins of an output with a batch of 1, and how many it has.

    None where it does not stand in one piece or is not float32.
    """
    axis = max(time, 0)
    if value.dtype != np.float32 or axis > 1 or len(value.shape) <= time:
        return None
    if time < 0:
        return (0, value.nbytes) if value.shape[:1] == (1,) else None
    if len(value.shape) < 2 or value.shape[1 - axis] != 1:
        return None
    size = value.nbytes // value.shape[axis]
    return (value.nbytes - size, size)


class SegmentedStepper:
    """A stream whose step has NumPy nodes between its C segments. Same face as the seam's Stepper."""

    def __init__(
        self, program: Program, plan: Plan, convert: Converter, shape: tuple[int, ...], state_bytes: int
    ) -> None:
        self._runner = _Runner(program, plan)
        self._convert = convert
        self._shape = shape
        self._arena = aligned_empty(plan.base_bytes[ARENA])
        self._state = aligned_empty(state_bytes)
        self._next = aligned_empty(state_bytes)
        self._state[:] = 0

    def step(self, x: Any, out: np.ndarray | None, finish: Finish | None) -> Any:
        check_out(out, self._shape, x)
        y = into_record([self._advance(self._convert.checked(x), self._state, self._next)], out, self._shape)
        answer = y if finish is None else finish(y)
        self._state, self._next = self._next, self._state
        return answer

    def run(self, x: Any, finish: Finish | None = None) -> Any:
        xs = self._convert.checked(x, many=True)
        ys = np.empty((len(xs), *self._shape), np.float32)
        answer = ys if finish is None else finish(ys)
        # the state that a failure leaves is in neither of the two that are written
        state, banks = self._state, (self._next, aligned_empty(len(self._state)))
        for step in range(len(xs)):
            after = banks[step % 2]
            ys[step] = self._advance(xs[step : step + 1], state, after)  # an array even where an item is a number
            state = after
        if len(xs):
            self._state, self._next = state, self._state
        return answer

    def _advance(self, x: np.ndarray, state: np.ndarray, after: np.ndarray) -> np.ndarray:
        y = np.empty(self._shape, np.float32)
        self._runner.run((self._arena, state, after, x, y))
        return y

    def get_state(self) -> np.ndarray:
        return self._state.copy()

    def set_state(self, state: np.ndarray) -> None:
        self._state[:] = state
