"""RNN, GRU and LSTM: one ONNX node each, layout 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...kernels.twins import recurrent as twins
from ...kernels.twins.activations import RECURRENT
from ..ir import Node, Value
from .registry import LAST, REQUIRED, Ins, NotCausalError, Op, Time, constant, need

# op → (gates, default activations of one direction, names of the inputs, states)
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_INPUT_NAMES = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
# Where sequence_lens stand among the inputs; where attribute "masked" is not None, a mask, bool [batch, time].
LENGTHS = 4
# Where the initial states stand among the inputs; the final states are outputs 1 and 2.
STATE_INPUTS = {"RNN": (5,), "GRU": (5,), "LSTM": (5, 6)}
# Where the outputs have the model's time when it is the batch of a node that starts from zero: each step of the model
# is a sequence of its own, and there is no state to carry from one to the next.
_OVER_ROWS = (2, 1, 1)
ANOTHER_AXIS = "it runs over another axis than the time axis"


def _attributes(node: Node, opset: int) -> dict[str, Any]:
    given = node.attributes
    direction = given["direction"]
    if direction not in _DIRECTIONS:
        raise node.malformed(f"direction: expected one of {', '.join(_DIRECTIONS)}, got {direction!r}")
    if given["layout"]:
        raise node.unsupported("layout 1 is not implemented; export with layout 0", "layout")
    if given["clip"]:
        raise node.unsupported("clip is not implemented", "clip")
    if given.get("input_forget"):
        raise node.unsupported("input_forget is not implemented", "input_forget")
    if given["hidden_size"] < 1:
        raise node.malformed(f"hidden_size: expected at least 1, got {given['hidden_size']}")
    return {
        "hidden_size": given["hidden_size"],
        "direction": direction,
        "linear_before_reset": bool(given.get("linear_before_reset", 0)),
        "activations": _activations(node, _DIRECTIONS[direction]),
        "masked": None,
    }


def _activations(node: Node, directions: int) -> tuple[tuple[str, float, float], ...]:
    """Name, alpha and beta of every activation; those that take parameters consume them in order."""
    defaults = _DEFAULTS[node.op_type]
    names = node.attributes["activations"] or defaults * directions
    if len(names) != len(defaults) * directions:
        raise node.malformed(f"activations: expected {len(defaults) * directions} names, got {list(names)}")
    known = {name.lower(): name for name in RECURRENT}
    alphas = list(node.attributes["activation_alpha"] or ())
    betas = list(node.attributes["activation_beta"] or ())
    # A list as long as the names has a value for each of them, whether it takes one or not.
    alpha_each, beta_each = len(alphas) == len(names), len(betas) == len(names)
    chosen = []
    for name in names:
        if name.lower() not in known:
            raise node.unsupported(f"activation {name!r} is not one that ONNX names", "activations")
        proper = known[name.lower()]
        _, alpha, beta = RECURRENT[proper]
        takes_alpha = proper in _TAKES_ALPHA
        takes_beta = proper in _TAKES_BETA
        if alphas and (takes_alpha or alpha_each):
            value = alphas.pop(0)
            alpha = value if takes_alpha else alpha
        if betas and (takes_beta or beta_each):
            value = betas.pop(0)
            beta = value if takes_beta else beta
        chosen.append((proper, float(alpha), float(beta)))
    return tuple(chosen)


_TAKES_ALPHA = {"Affine", "Elu", "HardSigmoid", "LeakyRelu", "ScaledTanh", "ThresholdedRelu"}
_TAKES_BETA = {"Affine", "HardSigmoid", "ScaledTanh"}


def _infer(node: Node, ins: Ins) -> list[Value]:
    gates = GATES[node.op_type]
    hidden = node.attributes["hidden_size"]
    directions = _DIRECTIONS[node.attributes["direction"]]
    for value, name in zip(ins, _INPUT_NAMES, strict=False):
        if value is None:
            continue
        if name == "P":
            raise node.unsupported(f"the input {name} is not implemented", name)
        if name == "sequence_lens":
            continue
        if value.dtype.name != "float32":
            raise node.unsupported(f"{name}: expected float32, got {value.dtype.name}")
        if name in ("W", "R", "B"):
            constant(node, value, name)
    x = need(ins[0])
    if len(x.shape) != 3:
        raise node.malformed(f"X: expected [time, batch, features], got {list(x.shape)}")
    steps, batch, features = x.shape
    state = (directions, batch, hidden)
    expected = {
        "W": (directions, gates * hidden, features),
        "R": (directions, gates * hidden, hidden),
        "B": (directions, 2 * gates * hidden),
        "initial_h": state,
        "initial_c": state,
    }
    for value, name in zip(ins, _INPUT_NAMES, strict=False):
        if value is not None and name in expected and value.shape != expected[name]:
            raise node.malformed(f"{name}: expected {list(expected[name])}, got {list(value.shape)}")
    _check_steps(node, ins[LENGTHS] if len(ins) > LENGTHS else None, steps, batch)
    outputs = [Value(x.dtype, (steps, directions, batch, hidden))]
    outputs += [Value(x.dtype, state)] * len(STATE_INPUTS[node.op_type])
    return outputs[: len(node.outputs)]


def _check_steps(node: Node, value: Value | None, steps: int, batch: int) -> None:
    """sequence_lens, or the mask in its place. What lengths are is seen when the model runs."""
    if value is None:
        return
    name, dtype = "sequence_lens", "int32"
    shape: tuple[int, ...] = (batch,)
    if node.attributes["masked"] is not None:
        name, dtype, shape = "mask", "bool", (batch, steps)
    if value.dtype.name != dtype or value.shape != shape:
        raise node.malformed(f"{name}: expected {dtype} {list(shape)}, got {value.dtype.name} {list(value.shape)}")


def _time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    if times[0] is None:
        raise NotCausalError("its input does not change with time")
    if times[0] == LAST:
        raise NotCausalError("it runs over something else than the time steps")
    if times[0] == 1 and all(v is None for v in ins[LENGTHS + 1 :]) and set(times[LENGTHS:]) <= {None, 0}:
        return [time for time, name in zip(_OVER_ROWS, node.outputs, strict=False) if name]
    if times[0] != 0:
        raise NotCausalError(ANOTHER_AXIS)
    if node.attributes["direction"] != "forward":
        raise NotCausalError("it looks ahead, since it runs backwards in time")
    mask = times[LENGTHS] if len(times) > LENGTHS else None
    if node.attributes["masked"] is not None:
        if mask != 1:
            raise NotCausalError("its mask does not tell of every step by itself")
        if node.attributes["masked"][1] and len(node.inputs) > STATE_INPUTS[node.op_type][0]:
            raise NotCausalError("it gives 0 before the first step that its mask keeps, not its initial state")
    elif len(node.inputs) > LENGTHS and node.inputs[LENGTHS]:
        raise NotCausalError("its sequence_lens say where the sequence ends")
    if any(t is not None for i, t in enumerate(times) if i not in (0, LENGTHS)):
        raise NotCausalError("its initial state is computed from the input")
    return [LAST if i else 0 for i, name in enumerate(node.outputs) if name]


def _op(name: str, twin: Any, **more: Any) -> Op:
    states = len(STATE_INPUTS[name])
    return Op(
        (3, 8 if name == "LSTM" else 6),
        _infer,
        twin,
        _time,
        outputs=1 + states,
        attributes={
            "hidden_size": REQUIRED,
            "direction": "forward",
            "layout": 0,
            "clip": 0.0,
            "activations": None,
            "activation_alpha": None,
            "activation_beta": None,
            **more,
        },
        resolve=_attributes,
    )


OPS: dict[str, Op] = {
    "RNN": _op("RNN", twins.rnn),
    "GRU": _op("GRU", twins.gru, linear_before_reset=0),
    "LSTM": _op("LSTM", twins.lstm, input_forget=0),
}
