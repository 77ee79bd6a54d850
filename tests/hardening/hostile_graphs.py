"""Hostile graphs: valid ones of all operators, grown at random, then hurt where a careless reader would trust them.

Half of them begin as a file that runs and streams; the other half grows node by node, each node one of the operators'
test cases, wired to what stands before it where its shapes allow. Then attributes, shapes, types, constants, wiring,
names, subgraphs, opsets, metadata and bytes are set to extremes (tests/hardening/hurts.py), in most graphs more than
one of them. Each has to be refused with a typed error that names a place, or to load and be right
(tests/hardening/answers.py), in a child process with little memory.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from graphs import node, recurrent_model, value
from masked_files import Masked, masked_file
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from op_cases_off_path import CASES

from edgeinfer import EdgeInferError
from edgeinfer.graph.ir import Node, Value
from edgeinfer.graph.ops import find, normalize

from .hurts import hurt
from .isolated import arguments_of, command
from .mutations import corpus

MOST_NODES = 12
COUNT = 1000
# So many hurts does a graph get, and how often.
HURTS = {0: 4, 1: 8, 2: 5, 3: 2, 5: 1}


class Graph:
    """A graph while it grows.

    What a value is, is asked of the runtime's own inference: only what the graph then says is held against another.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.opset = rng.choice([17, 17, 18, 20, 13])
        self.nodes: list[NodeProto] = []
        self.inputs: list[ValueInfoProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.known: dict[str, Value] = {}
        self.count = itertools.count()

    def grow(self) -> None:
        """One more node, where one fits."""
        case = self.rng.choice(CASES)
        op = find(case.op)
        assert op is not None
        names = case.inputs if case.inputs is not None else case.arrays
        ins = [self._operand(np.asarray(case.arrays[n]), n in case.constant) if n else "" for n in names]
        outs = [f"v{next(self.count)}" for _ in range(case.outputs)]
        made = node(case.op, ins, outs, f"n{len(self.nodes)}", **case.attributes)
        attributes = {name: _plain(item) for name, item in case.attributes.items()}
        try:
            added: dict[str, np.ndarray] = {}
            checked = Node(case.op, made.name, tuple(ins), tuple(outs), attributes)
            checked = normalize(checked, op, self.opset, added)
            known = {**self.known, **{name: Value.of(array) for name, array in added.items()}}
            found = op.infer(checked, [known[name] if name else None for name in checked.inputs])
        except EdgeInferError:
            # mostly graphs that fit, and some that do not
            if self.rng.random() < 0.97:
                return
            found = []
        self.nodes.append(made)
        if sum(np.prod([max(d, 1) for d in out.shape], dtype=float) for out in found) < 1 << 14:
            self.known.update(zip(outs, found, strict=False))

    def _operand(self, array: np.ndarray, constant: bool) -> str:
        """A value of the same type and rank that is there already, or a constant, or an input."""
        fitting = [
            name
            for name, found in self.known.items()
            if found.dtype == array.dtype and (len(found.shape) == array.ndim or self.rng.random() < 0.1)
        ]
        if fitting and not constant and self.rng.random() < 0.85:
            return self.rng.choice(fitting[-8:])
        name = f"v{next(self.count)}"
        if constant or self.rng.random() < 0.5:
            self.constants[name] = array
            self.known[name] = Value.of(array)
        else:
            open_dims = self.rng.random() < 0.5
            names = [self.rng.choice([d, "batch", "time", None]) if open_dims else d for d in array.shape]
            self.inputs.append(value(name, names, array.dtype))
            self.known[name] = Value(array.dtype, array.shape)
        return name

    def file(self) -> ModelProto:
        read = {name for made in self.nodes for name in made.input}
        written = [name for made in self.nodes for name in made.output if name in self.known]
        ends = [name for name in written if name not in read] or written[-1:]
        outputs = [value(name, None, self.known[name].dtype) for name in ends[:50]]
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        made = helper.make_graph(self.nodes, "grown", self.inputs, outputs, constants)
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def _plain(item: Any) -> Any:
    """An attribute as the reader gives it."""
    if isinstance(item, TensorProto):
        return numpy_helper.to_array(item)
    return tuple(item) if isinstance(item, (list, np.ndarray)) else item


@functools.cache
def backbones() -> list[Callable[[], bytes]]:
    """Files that run, and mostly stream: where a hurt is most likely to get far."""
    found = [make for name, make in corpus().items() if not find(name) or name in ("LSTM", "GRU", "RNN")]
    for op, states, last, time in itertools.product(("LSTM", "GRU", "RNN"), (0, 1), (0, 1), ("time", None)):
        found.append(functools.partial(recurrent_model, op, 2, 3, 2, states=bool(states), last=bool(last), time=time))
    for op in ("LSTM", "GRU", "RNN"):
        for direction, linear in (("reverse", 0), ("bidirectional", 0), ("forward", 1)):
            more: dict[str, Any] = {"linear_before_reset": linear} if op == "GRU" else {}
            if direction != "bidirectional":
                found.append(functools.partial(recurrent_model, op, 2, 3, 2, direction=direction, **more))
        for form, walk, source in itertools.product(
            ("stream", "sequence"), ("forward", "backwards", "both"), ("input", "ids")
        ):
            if form == "sequence" or walk == "forward":
                found.append(
                    functools.partial(masked_file, Masked(op=op, form=form, walk=walk, source=source, hidden=2))
                )
    heads = (["Tanh"], ["Relu", "Sigmoid"], ["Gelu"], ["Exp", "Log"], ["Softsign", "Neg"])
    found += [functools.partial(recurrent_model, "GRU", 3, 4, 2, head=head, softmax=len(head) > 1) for head in heads]
    window = {"mode": "window", "window": {"length": 4, "start": "pad"}}
    found.append(functools.partial(recurrent_model, "LSTM", 1, 3, 1, states=False, last=True, spec=window))
    return found


@functools.cache
def backbone(index: int) -> bytes:
    return backbones()[index]()


def build(number: int, seed: int) -> tuple[bytes, str]:
    """A graph as bytes, and what was done to it."""
    rng = random.Random(f"{seed}/{number}")
    if rng.random() < 0.5:
        index = rng.randrange(len(backbones()))
        model = ModelProto.FromString(backbone(index))
        label = f"backbone {index}"
    else:
        graph = Graph(rng)
        for _ in range(rng.randint(1, MOST_NODES)):
            graph.grow()
        model = graph.file()
        label = f"{len(graph.nodes)} nodes"
    (count,) = rng.choices(list(HURTS), list(HURTS.values()))
    data, done = hurt(rng, model, count)
    return data, f"{label}: {', '.join(done) or 'unhurt'}"


class HostileGraphs:
    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> bytes:
        return build(number, self._seed)[0]

    def label(self, number: int) -> str:
        return build(number, self._seed)[1]


def files(count: int = COUNT, seed: int = 0) -> HostileGraphs:
    """What ``search`` examines."""
    return HostileGraphs(count, seed)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hardening.hostile_graphs", description=__doc__)
    arguments_of(parser, f"so many (default: {COUNT})")
    options = parser.parse_args()
    return command("hostile_graphs", {"count": options.count or COUNT, "seed": options.seed}, options)


if __name__ == "__main__":
    sys.exit(main())
