"""The NumPy backend: every node by its twin. Slow, plain, and what the others are held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..caller import Finish
from ..errors import InputError
from ..graph import BoundGraph, Prepared, StepGraph, bind, node_bytes, node_macs
from ..kernels.quiet import quietly
from .base import Converter, Part, Parts, StateLayout, check_out, into_record


class ReferenceBackend:
    """One model on its NumPy twins."""

    name = "reference"
    isa = None
    arithmetic = "float32"  # small weights are widened

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self.inputs = prepared.graph.inputs
        self.outputs = prepared.graph.outputs

    def given(self, prepared: Prepared) -> ReferenceBackend:
        return ReferenceBackend(prepared)

    def session(self, shapes: Mapping[str, tuple[int, ...]]) -> ReferenceSession:
        return ReferenceSession(bind(self._prepared.graph, shapes))

    def stepper(self, convert: Converter, states: StateLayout, shape: tuple[int, ...]) -> ReferenceStepper:
        assert self._prepared.step is not None
        return ReferenceStepper(self._prepared.step, convert, states, shape)

    def slots(self, *_: object) -> None:
        return None

    def placement(self) -> dict[str, str]:
        return {node.name: "numpy" for node in self._prepared.graph.nodes}

    def step_parts(self, x: np.ndarray) -> Parts:
        step = self._prepared.step
        assert step is not None
        shape = step.bound.values[step.input.name].shape
        states = {state.input: state.initial for state in step.states}
        return ReferenceSession(step.bound).parts({step.input.name: x.reshape(shape), **states})

    def parts(self, feeds: Mapping[str, np.ndarray]) -> Parts:
        return self.session({name: array.shape for name, array in feeds.items()}).parts(feeds)


class ReferenceSession:
    """A bound graph, run node by node."""

    def __init__(self, bound: BoundGraph) -> None:
        self._bound = bound

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = dict(feeds)
        for item in self._bound.nodes:
            ins = [None if not name else self._value(name, arrays) for name in item.node.inputs]
            try:
                outs = quietly(item.op.twin, item.node.attributes, *ins)
            except IndexError:
                message = f"{item.node.where}: an index is outside the table"
                raise InputError(message, name=item.node.name) from None
            except InputError as error:
                raise InputError(f"{item.node.where}: {error}", name=item.node.name) from None
            arrays.update(zip(item.node.outputs, outs, strict=False))
        # ascontiguousarray alone would make a vector of a scalar
        found = {info.name: np.asarray(self._value(info.name, arrays)) for info in self._bound.graph.outputs}
        return {name: np.ascontiguousarray(y).reshape(y.shape) for name, y in found.items()}

    def quick(self, name: str, outputs: Sequence[str], reject_nonfinite: bool) -> None:
        return None

    def window(self, *_: object) -> None:
        return None

    def parts(self, feeds: Mapping[str, np.ndarray]) -> Parts:
        """Each node on what the nodes before it give for ``feeds``."""
        arrays: dict[str, np.ndarray] = dict(feeds)
        parts = []
        for item in self._bound.nodes:
            node, twin = item.node, item.op.twin
            ins = tuple(None if not name else self._value(name, arrays) for name in node.inputs)
            with np.errstate(all="ignore"):
                arrays.update(zip(node.outputs, twin(node.attributes, *ins), strict=False))
            run = partial(_repeat, partial(twin, node.attributes, *ins))
            costs = node_macs(self._bound, item), node_bytes(self._bound, item)
            parts.append(Part(node.name, node.op_type, "numpy", *costs, run))
        return Parts(tuple(parts), partial(_repeat, partial(self.run, feeds)))

    def _value(self, name: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        data = self._bound.values[name].data
        return arrays[name] if data is None else data


def _repeat(call: Callable[[], object], times: int) -> None:
    with np.errstate(all="ignore"):
        for _ in range(times):
            call()


class ReferenceStepper:
    """One step at a time through a session bound to one step; the states are a dictionary of arrays."""

    def __init__(self, step: StepGraph, convert: Converter, states: StateLayout, shape: tuple[int, ...]) -> None:
        self._session = ReferenceSession(step.bound)
        self._step = step
        self._convert = convert
        self._layout = states
        self._shape = shape
        self._states = {state.input: state.initial for state in states.states}

    def step(self, x: Any, out: np.ndarray | None, finish: Finish | None) -> Any:
        check_out(out, self._shape, x)
        outputs, states = self._advance(self._convert.checked(x), self._states)
        y = into_record(outputs, out, self._shape)
        answer = y if finish is None else finish(y)
        self._states = states
        return answer

    def run(self, x: Any, finish: Finish | None = None) -> Any:
        xs = self._convert.checked(x, many=True)
        ys = np.empty((len(xs), *self._shape), np.float32)
        states = self._states
        for step, item in enumerate(xs):
            outputs, states = self._advance(item, states)
            ys[step] = into_record(outputs, None, self._shape)
        answer = ys if finish is None else finish(ys)
        self._states = states
        return answer

    def _advance(
        self, x: np.ndarray, states: Mapping[str, np.ndarray]
    ) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        bound = self._step.bound
        feeds = {self._step.input.name: x.reshape(bound.values[self._step.input.name].shape), **states}
        found = self._session.run(feeds)
        after = {state.input: found[state.output] for state in self._layout.states}
        return [found[info.name] for info in self._step.outputs], after

    def get_state(self) -> np.ndarray:
        return self._layout.pack(self._states)

    def set_state(self, state: np.ndarray) -> None:
        self._states = {name: view.copy() for name, view in self._layout.views(state).items()}
