"""Normalization with learned scale and bias."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...kernels.twins.normalization import TWINS
from ..ir import Node, Value
from .registry import Ins, NotCausalError, Op, Time, axis_in, float_only, need, outside


def _batch(node: Node, ins: Ins) -> list[Value]:
    if node.attributes["training_mode"]:
        raise node.unsupported("training_mode is not implemented", "training_mode")
    return _by_channel(node, ins, ("scale", "B", "mean", "var"), 2)


def _instance(node: Node, ins: Ins) -> list[Value]:
    values = _by_channel(node, ins, ("scale", "B"), 3)
    if 0 in values[0].shape[2:]:
        raise node.malformed(f"nothing to normalize in {list(values[0].shape)}")
    return values


def _by_channel(node: Node, ins: Ins, names: Sequence[str], rank: int) -> list[Value]:
    x = need(ins[0])
    float_only(node, [need(value) for value in ins])
    if len(x.shape) < rank:
        raise node.malformed(f"expected at least {rank} axes, got {list(x.shape)}")
    for name, value in zip(names, ins[1:], strict=True):
        if need(value).shape != x.shape[1:2]:
            raise node.malformed(f"{name}: expected {list(x.shape[1:2])}, got {list(need(value).shape)}")
    return [Value(x.dtype, x.shape)]


def _layer(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    values = [value for value in ins if value is not None]
    float_only(node, values)
    inner = x.shape[axis_in(node, node.attributes["axis"], len(x.shape)) :]
    if 0 in inner:
        raise node.malformed(f"nothing to normalize in {list(x.shape)}")
    if node.attributes["stash_type"] != 1:
        raise node.unsupported("stash_type: expected 1, float32", "stash_type")
    for name, value in zip(("Scale", "B"), values[1:], strict=False):
        if not _fits(value.shape, inner):
            raise node.malformed(f"{name}: {list(value.shape)} does not broadcast to {list(inner)}")
    return [Value(x.dtype, x.shape)]


def _fits(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    try:
        return tuple(np.broadcast_shapes(shape, target)) == target
    except ValueError:
        return False


def _batch_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    _check_learned(times)
    return [outside({1}, "its time axis is that of the channels", times[0])]


def _instance_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    _check_learned(times)
    return [outside(range(1, len(outs[0].shape)), "it normalizes over the time axis", times[0])]


def _layer_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    _check_learned(times)
    rank = len(outs[0].shape)
    return [outside(range(node.attributes["axis"] % rank, rank), "it normalizes over the time axis", times[0])]


def _check_learned(times: Sequence[Time]) -> None:
    if any(t is not None for t in times[1:]):
        raise NotCausalError("its scale or bias changes with time")


OPS: dict[str, Op] = {
    "BatchNormalization": Op(
        (5, 5),
        _batch,
        TWINS["BatchNormalization"],
        _batch_time,
        attributes={"epsilon": 1e-5, "training_mode": 0},
        ignored=frozenset({"momentum"}),
    ),
    "LayerNormalization": Op(
        (2, 3),
        _layer,
        TWINS["LayerNormalization"],
        _layer_time,
        attributes={"axis": -1, "epsilon": 1e-5, "stash_type": 1},
    ),
    "InstanceNormalization": Op(
        (3, 3), _instance, TWINS["InstanceNormalization"], _instance_time, attributes={"epsilon": 1e-5}
    ),
}
