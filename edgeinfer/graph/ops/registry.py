"""What an operator entry says, and how a node of any supported opset is brought to one form."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ...kernels.twins import Twin
from ...records import NamedTuple
from ..ir import Node, Value

# Where a tensor's time axis is: its index, LAST for "the present step only", None for "does not depend on time".
Time = int | None
LAST = -1

Ins = Sequence[Value | None]
Infer = Callable[[Node, Ins], list[Value]]
TimeRule = Callable[[Node, Ins, Sequence[Value], Sequence[Time]], list[Time]]
REQUIRED = object()
UNLIMITED = 1 << 16


class NotCausalError(Exception):
    """An operator that needs more than the present step and its own state; the text says why."""


class Op(NamedTuple):
    """One operator.

    ``inputs`` is the least and the greatest number of inputs, ``outputs`` the greatest of outputs. ``attributes``
    maps each implemented attribute to its default, REQUIRED where it has none. ``infer`` checks a node against its
    inputs and gives the outputs' dtypes and shapes; ``time`` follows the time axis; ``twin`` computes.
    """

    inputs: tuple[int, int]
    infer: Infer
    twin: Twin
    time: TimeRule
    outputs: int = 1
    attributes: Mapping[str, Any] = {}
    # lists of integers that were attributes and are inputs now: name → (input index, since opset)
    as_input: Mapping[str, tuple[int, int]] = {}
    # attributes that mean nothing at inference
    ignored: frozenset[str] = frozenset()
    # attributes in the form that inference and twins use
    resolve: Callable[[Node, int], Mapping[str, Any]] | None = None
    # a view of its first input: the bytes stay as they are
    view: bool = False
    # bytes that the twin takes for a while, where that is more than what it reads and writes
    scratch: Callable[[Node, Ins], int] | None = None


def normalize(node: Node, op: Op, opset: int, constants: dict[str, np.ndarray]) -> Node:
    """Fill in defaults, turn older opsets' attributes into constant inputs, refuse what is not implemented."""
    attributes = dict(op.attributes)
    inputs = list(node.inputs)
    for name, value in node.attributes.items():
        if name in op.as_input and opset < op.as_input[name][1]:
            _check_type(node, name, value, None)
            index = op.as_input[name][0]
            inputs += [""] * (index + 1 - len(inputs))
            inputs[index] = f"{node.name}//{name}"
            constants[inputs[index]] = np.array(value, np.int64)
        elif name in op.attributes:
            _check_type(node, name, value, op.attributes[name])
            attributes[name] = value
        elif name not in op.ignored:
            raise node.unsupported(f"attribute {name} is not implemented", name)
    for name, value in attributes.items():
        if value is REQUIRED:
            raise node.malformed(f"attribute {name} is missing")
    for name, (index, since) in op.as_input.items():
        if opset < since and index < op.inputs[0] and not any(inputs[index : index + 1]):
            raise node.malformed(f"attribute {name} is missing")
    while inputs and not inputs[-1]:
        inputs.pop()
    complete = Node(node.op_type, node.name, tuple(inputs), node.outputs, attributes)
    if op.resolve is None:
        return complete
    return complete._replace(attributes=op.resolve(complete, opset))


# The types of the attributes that no default tells.
_TYPES: dict[str, type] = {
    "axis": int,
    "dtype": int,
    "end": int,
    "equation": str,
    "hidden_size": int,
    "num_outputs": int,
    "to": int,
    "value": np.ndarray,
}
_ITEM_TYPES = {"activations": str, "activation_alpha": float, "activation_beta": float}


def _check_type(node: Node, name: str, value: Any, default: Any) -> None:
    open_type = default is REQUIRED or default is None
    wanted: type = _TYPES.get(name, tuple) if open_type else type(default)
    if not isinstance(value, wanted):
        raise node.malformed(f"attribute {name}: expected {wanted.__name__}, got {type(value).__name__}")
    item = _ITEM_TYPES.get(name, int)
    if isinstance(value, tuple) and not all(isinstance(v, item) for v in value):
        raise node.malformed(f"attribute {name}: expected a list of {item.__name__}")


def constant(node: Node, value: Value | None, what: str) -> np.ndarray:
    """The data of an input that must be known before running. Raises UnsupportedOperatorError otherwise."""
    if value is None or value.data is None:
        raise node.unsupported(f"{what} must be constant")
    return value.data


def integers(node: Node, value: Value | None, what: str) -> np.ndarray:
    """A constant list of integers as int64 [n]; a scalar counts as a list of one. Raises ModelFormatError otherwise."""
    data = constant(node, value, what)
    if data.ndim > 1 or data.dtype.name not in ("int32", "int64"):
        raise node.malformed(f"{what}: expected a list of integers, got {data.dtype.name} {list(data.shape)}")
    return data.reshape(-1).astype(np.int64)


def axis_in(node: Node, axis: int, rank: int, name: str = "axis") -> int:
    """A possibly negative axis as an index. Raises ModelFormatError outside [-rank, rank)."""
    if not -rank <= axis < rank:
        raise node.malformed(f"{name} {axis} is out of range for rank {rank}")
    return axis % rank


def numeric(node: Node, values: Sequence[Value]) -> None:
    """Raises ModelFormatError for a bool tensor."""
    for value in values:
        if value.dtype.kind == "b":
            raise node.malformed("expected numbers, got bool")


def need(value: Value | None) -> Value:
    """An input that the arity check has already proven present."""
    assert value is not None
    return value


def broadcast(node: Node, values: Sequence[Value]) -> tuple[int, ...]:
    """The common shape. Raises ModelFormatError where there is none."""
    try:
        return tuple(np.broadcast_shapes(*(v.shape for v in values)))
    except ValueError:
        shapes = " and ".join(str(list(v.shape)) for v in values)
        raise node.malformed(f"shapes {shapes} do not broadcast") from None


def same_dtype(node: Node, values: Sequence[Value]) -> np.dtype:
    """The common dtype. Raises ModelFormatError where they differ."""
    dtypes = {v.dtype for v in values}
    if len(dtypes) != 1:
        raise node.malformed("inputs of different types: " + ", ".join(sorted(d.name for d in dtypes)))
    return values[0].dtype


def combine(times: Sequence[Time]) -> Time:
    """The time of a function of several tensors of equal rank."""
    present = {t for t in times if t is not None}
    if len(present) > 1:
        raise NotCausalError("it combines the present step with the whole sequence")
    return present.pop() if present else None


def pointwise(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    """Each output element depends on the input elements at its own place, after broadcasting from the right."""
    rank = len(outs[0].shape)
    moved = [
        t if t is None or t == LAST or v is None else t + rank - len(v.shape) for t, v in zip(times, ins, strict=True)
    ]
    return [combine(moved)] * len(outs)


def float_only(node: Node, values: Sequence[Value]) -> np.dtype:
    """The common dtype, a float. Raises ModelFormatError otherwise."""
    for value in values:
        if value.dtype.kind != "f":
            raise node.malformed(f"expected a float tensor, got {value.dtype.name}")
    return same_dtype(node, values)


def outside(axes: Collection[int], reason: str, time: Time) -> Time:
    """The time axis, which must not be one of these. Raises NotCausalError with the reason."""
    if time is not None and time != LAST and time in axes:
        raise NotCausalError(reason)
    return time


def timeless(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    """What this operator gives depends on shapes only."""
    return [None] * len(outs)


def same_bytes(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    """A view keeps the time axis where as many elements stand before it as before, and it has its length."""
    time = times[0]
    if time is None or time == LAST:
        return [time]
    source, target = need(ins[0]).shape, outs[0].shape
    before = math.prod(source[:time])
    for axis, d in enumerate(target):
        if d == source[time] and math.prod(target[:axis]) == before:
            return [axis]
    raise NotCausalError("it mixes the time axis with others")
