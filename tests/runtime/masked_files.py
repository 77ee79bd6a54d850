"""ONNX files with masked recurrent nodes, as export writes them, and Keras' meaning of a mask in plain NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from graphs import build, draw, node, value, weights
from onnx import NodeProto, TensorProto
from small_files import stored

from edgeinfer.graph.ops import REGISTRY
from edgeinfer.kernels.twins.activations import RECURRENT

STATES = {"RNN": "h", "GRU": "h", "LSTM": "hc"}
DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
LARGEST = np.iinfo(np.int64).max
PADDING = 9.0  # the mask value of Masking, and nothing that draw gives
Constants = dict[str, np.ndarray]


class Masked(NamedTuple):
    """One recurrent layer and its mask.

    form: stream has states in and out. walk: forward, backwards (go_backwards) or both. source: what the mask comes
    from: an input of its own, Masking of x, or the ids of an Embedding. initial: states as inputs in sequence form.
    """

    op: str = "LSTM"
    linear: int = 0
    form: str = "sequence"
    walk: str = "forward"
    sequences: bool = True
    zero_output: bool = False
    initial: bool = False
    source: str = "input"
    merge: str = "concat"
    hidden: int = 5
    kind: str = ""  # int8, float16: small weights
    opset: int = 17
    finals: bool = True  # of a file in sequence form: whether the final states are outputs

    @property
    def directions(self) -> int:
        return 2 if self.walk == "both" else 1

    @property
    def has_state_inputs(self) -> bool:
        return self.form == "stream" or self.initial

    @property
    def state_names(self) -> list[str]:
        return [f"L/initial_{k}" for k in STATES[self.op]]


FEATURES, WORDS = 3, 6


def masked_file(case: Masked, change: Callable[[dict[str, NodeProto], Constants], None] | None = None) -> bytes:
    """The file's bytes. ``change``: what to alter in nodes (by name) and constants before it is written."""
    nodes: list[NodeProto] = []
    constants: Constants = {
        "table": draw(WORDS, FEATURES),
        "largest": np.array(LARGEST),
        "i/0": np.array(0, np.int64),
        "i/1": np.array(1, np.int64),
        **{f"i/[{i}]": np.array([i], np.int64) for i in (-1, 0, 1, 2)},
        "zero": np.array(0, np.float32),
        "i32/0": np.array(0, np.int32),
        "padding": np.array(PADDING, np.float32),
        "minimum": np.array([np.iinfo(np.int64).min], np.int64),
    }

    def add(op: str, inputs: list[str], name: str, output: str | None = None, **attributes: Any) -> str:
        nodes.append(node(op, inputs, [output or f"{name}:0"], name, **attributes))
        return output or f"{name}:0"

    ins = _source(case, add, constants)
    x, mask = ("E:0" if case.source == "ids" else "x"), "mask" if case.source == "input" else "M/mask:0"
    kept = add("Cast", [mask], "L/mask/kept", to=TensorProto.INT64)
    backwards = case.walk == "backwards"
    seen = add("CumSum", [kept, "i/1"], "L/mask/seen", reverse=int(backwards))
    key = add("Where", [mask, seen, "largest"], "L/mask/key")
    shape = add("Shape", [mask], "L/mask/shape")
    length = add("Gather", [shape, "i/[1]"], "L/mask/length", axis=0)
    nodes.append(
        node("TopK", [key, length], ["values", "order"], "L/mask/order", axis=1, largest=0, sorted=1),
    )
    order = add("Unsqueeze", ["order", "i/[2]"], "L/mask/order_3d")
    count = add("ReduceSum", [kept, "i/[1]"], "L/mask/count", keepdims=0)
    least = add("Max", [count, "i/1"], "L/mask/at_least_one")
    lens = add("Cast", [least], "L/mask/sequence_lens", to=TensorProto.INT32)
    first = add("GatherND", [x, order], "L/kept_first", batch_dims=1)
    turned = add("Transpose", [first], "L/Transpose", perm=[1, 0, 2])
    _weights(case, nodes, constants)
    states = case.state_names if case.has_state_inputs else []
    kinds = STATES[case.op]
    more = {"linear_before_reset": case.linear} if case.op == "GRU" else {}
    direction = "bidirectional" if case.walk == "both" else "forward"
    nodes.append(
        node(
            case.op,
            [turned, "W", "R", "B", lens, *states],
            ["Y", *(f"Y_{k}" for k in kinds)],
            "L",
            hidden_size=case.hidden,
            direction=direction,
            **more,
        )
    )
    empty = add("Equal", [count, "i/0"], "L/mask/is_empty")
    empty = add("Unsqueeze", [empty, "i/[1]"], "L/mask/is_empty_2d")
    finals = []
    for i, k in enumerate(kinds):
        start = states[i] if states else "zero"
        finals.append(add("Where", [empty, start, f"Y_{k}"], f"L/final_{k}", f"L/final_{k}"))
    if case.sequences:
        place = add("Mul", [kept, seen], "L/mask/place") if case.zero_output or case.walk == "both" else seen
        place = add("Unsqueeze", [place, "i/[2]"], "L/mask/place_3d")
        _sequences(case, add, constants, place)
    else:
        _last(case, add, mask, empty)
    ins += [value(name, [case.directions, "batch", case.hidden]) for name in states]
    finals = finals if case.finals else []
    outs = [value("y", None), *(value(name, [case.directions, "batch", case.hidden]) for name in finals)]
    if change is not None:
        change({n.name: n for n in nodes}, constants)
    pairs = [{"input": a, "output": b} for a, b in zip(states, finals, strict=False)]
    spec = {"mode": "stream", "states": pairs} if case.form == "stream" else None
    return build(nodes, ins, outs, constants, opset=case.opset, spec=spec)


def _source(case: Masked, add: Callable[..., str], constants: Constants) -> list[Any]:
    """The inputs, and the nodes that make M/mask:0 of them."""
    if case.source == "ids":
        add("Gather", ["table", "ids"], "E")
        add("Cast", ["ids"], "M/mask", to=TensorProto.BOOL)
        return [value("ids", ["batch", "time"], np.int32)]
    x = value("x", ["batch", "time", FEATURES])
    if case.source == "input":
        return [x, value("mask", ["batch", "time"], np.bool_)]
    equal = add("Equal", ["x", "padding"], "M/Equal")
    number = add("Cast", [equal], "M/Cast", to=TensorProto.INT32)
    if case.opset < 18:
        least = add("ReduceMin", [number], "M/ReduceMin", axes=[-1], keepdims=0)
    else:
        least = add("ReduceMin", [number, "i/[-1]"], "M/ReduceMin", keepdims=0)
    add("Equal", [least, "i32/0"], "M/mask")
    return [x]


def _weights(case: Masked, nodes: list[NodeProto], constants: Constants) -> None:
    given = weights(case.op, FEATURES, case.hidden, case.directions)
    constants["B"] = given["B"]
    for name in "WR":
        if case.kind:
            made, added = stored(case.kind, name, given[name], 1)
            nodes.extend(made)
            constants |= added
        else:
            constants[name] = given[name]


def _sequences(case: Masked, add: Callable[..., str], constants: Constants, place: str) -> None:
    rank = 4 if case.walk == "both" else 3
    constants["pads"] = np.array([1] + [0] * (2 * rank - 1), np.int64)
    source = "Y" if case.walk == "both" else add("Squeeze", ["Y", "i/[1]"], "L/Squeeze")
    if case.form == "stream" and not case.zero_output:
        filled = add("Concat", ["L/initial_h", source], "L/filled", axis=0)
    else:
        filled = add("Pad", [source, "pads"], "L/filled", mode="constant")
    if case.walk != "both":
        merged = add("Transpose", [filled], "L/Transpose_out", perm=[1, 0, 2])
    elif case.merge == "concat":
        merged = add("Transpose", [filled], "L/Transpose_out", perm=[2, 0, 1, 3])
        constants["flat"] = np.array([0, 0, 2 * case.hidden], np.int64)
        merged = add("Reshape", [merged, "flat"], "L/Concat")
    else:
        reduce = {"sum": "ReduceSum", "ave": "ReduceMean", "mul": "ReduceProd"}[case.merge]
        if case.merge == "sum" or case.opset >= 18:
            merged = add(reduce, [filled, "i/[1]"], "L/merge", keepdims=0)
        else:
            merged = add(reduce, [filled], "L/merge", axes=[1], keepdims=0)
        merged = add("Transpose", [merged], "L/Transpose_out", perm=[1, 0, 2])
    add("GatherND", [merged, place], "L/in_place", "y", batch_dims=1)


def _last(case: Masked, add: Callable[..., str], mask: str, empty: str) -> None:
    if case.zero_output:
        where = add("Gather", [mask, "i/[0]" if case.walk == "backwards" else "i/[-1]"], "L/mask/last", axis=1)
        last = add("Where", [where, "Y_h", "zero"], "L/last")
    elif case.initial:
        last = add("Where", [empty, "zero", "Y_h"], "L/last")
    else:
        last = "L/final_h"
    if case.walk == "both":
        add("Transpose", [last], "L/Squeeze", "y", perm=[1, 0, 2])
    else:
        add("Squeeze", [last, "i/[0]"], "L/Squeeze", "y")


def masked_feeds(case: Masked, mask: np.ndarray, seed: int = 7) -> dict[str, np.ndarray]:
    """What to feed for a mask, bool [batch, time]."""
    batch, steps = mask.shape
    rng = np.random.default_rng(seed)
    feeds: dict[str, np.ndarray] = {}
    if case.source == "ids":
        feeds["ids"] = np.where(mask, rng.integers(1, WORDS, mask.shape), 0).astype(np.int32)
    else:
        feeds["x"] = rng.normal(0, 0.5, (batch, steps, FEATURES)).astype(np.float32)
        if case.source == "input":
            feeds["mask"] = mask
        else:
            feeds["x"][~mask] = PADDING
    if case.has_state_inputs:
        shape = (case.directions, batch, case.hidden)
        feeds |= {name: rng.uniform(-1, 1, shape).astype(np.float32) for name in case.state_names}
    return feeds


def keras_says(case: Masked, feeds: dict[str, np.ndarray], mask: np.ndarray) -> list[np.ndarray]:
    """y and the final states in float64, row by row and step by step, as Keras' RNN does it.

    A step that is masked leaves the states and answers what the step before it did, zeros before the first (in stream
    form the state that came in), or zeros always with zero_output_for_mask.
    """
    given = {k: v.astype(np.float64) for k, v in weights(case.op, FEATURES, case.hidden, case.directions).items()}
    x = draw(WORDS, FEATURES)[feeds["ids"]] if case.source == "ids" else feeds["x"]
    batch, steps = mask.shape
    zero_output = case.zero_output or (case.walk == "both" and case.sequences)
    finals = [np.zeros((case.directions, batch, case.hidden)) for _ in STATES[case.op]]
    answers = np.zeros((case.directions, batch, steps, case.hidden))
    lasts = np.zeros((case.directions, batch, case.hidden))
    names = DEFAULTS[case.op]
    attributes = {
        "direction": "forward",
        "linear_before_reset": bool(case.linear),
        "activations": tuple((n, *RECURRENT[n][1:]) for n in names),
        "masked": None,
    }
    for d in range(case.directions):
        own = [given[k][d : d + 1] for k in "WRB"]
        for b in range(batch):
            states = [
                feeds[n][d : d + 1, b : b + 1].astype(np.float64)
                if case.has_state_inputs
                else np.zeros((1, 1, case.hidden))
                for n in case.state_names
            ]
            answer = states[0] if case.form == "stream" else np.zeros((1, 1, case.hidden))
            order = range(steps - 1, -1, -1) if case.walk == "backwards" or d else range(steps)
            for t in order:
                if mask[b, t]:
                    twin = REGISTRY[case.op].twin
                    _, *states = twin(attributes, x[b : b + 1, t : t + 1].astype(np.float64), *own, None, *states)
                    answer = states[0]
                answers[d, b, t] = lasts[d, b] = 0 if zero_output and not mask[b, t] else answer[0, 0]
            for final, state in zip(finals, states, strict=True):
                final[d, b] = state[0, 0]
    if not case.sequences:
        return [lasts[0] if case.directions == 1 else lasts.swapaxes(0, 1), *finals]
    merged = {
        "concat": lambda: np.concatenate(list(answers), axis=-1),
        "sum": lambda: answers.sum(axis=0),
        "ave": lambda: answers.mean(axis=0),
        "mul": lambda: answers.prod(axis=0),
    }[case.merge]
    return [answers[0] if case.directions == 1 else merged(), *finals]


def masks(batch: int, steps: int, seed: int = 3) -> dict[str, np.ndarray]:
    """Masks of every kind, bool [batch, time]."""
    rng = np.random.default_rng([seed, batch, steps])
    at, cut = np.arange(steps), rng.integers(0, steps + 1, (batch, 1))
    mixed = np.stack([rng.random(steps) < p for p in np.linspace(0, 1, batch)])
    return {
        "all kept": np.ones((batch, steps), np.bool_),
        "padding behind": at < cut,
        "padding before": at >= cut,
        "holes": rng.random((batch, steps)) < 0.5,
        "one step kept": at == rng.integers(0, max(steps, 1), (batch, 1)),
        "nothing kept": np.zeros((batch, steps), np.bool_),
        "rows of all kinds": mixed,
    }
