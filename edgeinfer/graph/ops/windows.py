"""Convolution and pooling: what slides along the axes after batch and channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...kernels.twins.windows import TWINS, covered, extents, filled, output_spans, window_pads
from ..ir import Node, Value
from .registry import REQUIRED, Ins, NotCausalError, Op, Time, float_only, need, outside

_AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
_LARGEST = (1 << 31) - 1


def _attributes(node: Node, opset: int) -> dict[str, Any]:
    given = dict(node.attributes)
    if given["auto_pad"] not in _AUTO_PADS:
        raise node.malformed(f"auto_pad: expected one of {', '.join(_AUTO_PADS)}, got {given['auto_pad']!r}")
    if given.pop("ceil_mode", 0):
        raise node.unsupported("ceil_mode is not implemented", "ceil_mode")
    for name in ("kernel_shape", "strides", "dilations", "pads", "output_padding", "output_shape"):
        least = 0 if name in ("pads", "output_padding") else 1
        values = given.get(name) or ()
        if not all(least <= v <= _LARGEST for v in values):
            raise node.malformed(f"{name}: expected numbers from {least} to {_LARGEST}, got {list(values)}")
    return given


def _over(node: Node, x: Value, kernel: Sequence[int]) -> Node:
    """The node with its lists filled in for x. Raises ModelFormatError where they do not fit its axes."""
    rank = len(x.shape) - 2
    if rank < 1:
        raise node.malformed(f"expected [batch, channels, …], got {list(x.shape)}")
    if len(kernel) != rank:
        raise node.malformed(f"a kernel of {len(kernel)} axes for an input of shape {list(x.shape)}")
    given = filled(node.attributes, rank)
    for name in ("strides", "dilations", "pads", "output_padding"):
        wanted = 2 * rank if name == "pads" else rank
        if name in given and len(given[name]) != wanted:
            raise node.malformed(f"{name}: expected {wanted} numbers, got {list(given[name])}")
    return node._replace(attributes=given)


def _slide(node: Node, x: Value, kernel: Sequence[int]) -> tuple[Node, tuple[int, ...]]:
    """The filled-in node, and how many places its windows have on each axis."""
    node = _over(node, x, kernel)
    size = x.shape[2:]
    reach = extents(kernel, node.attributes["dilations"])
    pads = window_pads(node.attributes, size, kernel)
    out = []
    for d, extent, stride, (before, after) in zip(size, reach, node.attributes["strides"], pads, strict=True):
        if max(before, after) >= extent and node.op_type != "Conv":
            raise node.malformed(f"pads of {max(before, after)} for a kernel that reaches over {extent}")
        if d + before + after < extent:
            raise node.malformed(f"a kernel that reaches over {extent} for {d + before + after} elements")
        out.append((d + before + after - extent) // stride + 1)
    return node, tuple(out)


def _window_bytes(node: Node, x: Value, kernel: Sequence[int]) -> int:
    """x padded, and every window on its own."""
    node, out = _slide(node, x, kernel)
    pads = window_pads(node.attributes, x.shape[2:], kernel)
    padded = math.prod(d + before + after for d, (before, after) in zip(x.shape[2:], pads, strict=True))
    return math.prod(x.shape[:2]) * (padded + math.prod(out) * math.prod(kernel)) * x.dtype.itemsize


def _weights(node: Node, ins: Ins, transposed: bool) -> tuple[Value, Value]:
    """X and W; W is [M, C / group, *kernel], transposed [C, M / group, *kernel]."""
    values = [value for value in ins if value is not None]
    float_only(node, values)
    x, w = values[:2]
    group, kernel = node.attributes["group"], node.attributes["kernel_shape"]
    if len(x.shape) < 3:
        raise node.malformed(f"expected [batch, channels, …], got {list(x.shape)}")
    if len(w.shape) != len(x.shape) or 0 in w.shape:
        raise node.malformed(f"W: expected {len(x.shape)} axes of 1 and more, got {list(w.shape)}")
    if kernel is not None and tuple(kernel) != w.shape[2:]:
        raise node.malformed(f"W: expected a kernel of {list(kernel)}, got {list(w.shape)}")
    expected = x.shape[1] if transposed else w.shape[1] * group
    found, filters = (w.shape[0], w.shape[1] * group) if transposed else (x.shape[1], w.shape[0])
    if group < 1 or found % group or w.shape[0] % group or found != expected:
        raise node.malformed(f"X {list(x.shape)} and W {list(w.shape)} do not fit in {group} groups")
    if len(values) > 2 and values[2].shape != (filters,):
        raise node.malformed(f"B: expected {[filters]}, got {list(values[2].shape)}")
    return x, w


def _conv(node: Node, ins: Ins) -> list[Value]:
    x, w = _weights(node, ins, transposed=False)
    return [Value(x.dtype, (x.shape[0], w.shape[0], *_slide(node, x, w.shape[2:])[1]))]


def _conv_scratch(node: Node, ins: Ins) -> int:
    return _window_bytes(node, need(ins[0]), need(ins[1]).shape[2:])


def _conv_transpose(node: Node, ins: Ins) -> list[Value]:
    x, w = _weights(node, ins, transposed=True)
    size, kernel = x.shape[2:], w.shape[2:]
    node = _over(node, x, kernel)
    wanted = node.attributes["output_shape"]
    if wanted is not None and len(wanted) != len(size):
        raise node.malformed(f"output_shape: expected {len(size)} numbers, got {list(wanted)}")
    if 0 in size:
        raise node.malformed(f"nothing to spread in {list(x.shape)}")
    full, spans = covered(node.attributes, size, kernel), output_spans(node.attributes, size, kernel)
    if any(length < 1 or start + length > d for d, (start, length) in zip(full, spans, strict=True)):
        raise node.malformed(f"an output of {[length for _, length in spans]} from windows that cover {full}")
    return [Value(x.dtype, (x.shape[0], w.shape[1] * node.attributes["group"], *(length for _, length in spans)))]


def _transpose_scratch(node: Node, ins: Ins) -> int:
    """What each tap gives, and all that the windows cover."""
    x, w = need(ins[0]), need(ins[1])
    size, kernel = x.shape[2:], w.shape[2:]
    given = _over(node, x, kernel).attributes
    elements = math.prod(kernel) * math.prod(size) + math.prod(covered(given, size, kernel))
    return x.shape[0] * w.shape[1] * node.attributes["group"] * elements * x.dtype.itemsize


def _pool(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    float_only(node, [x])
    return [Value(x.dtype, (*x.shape[:2], *_slide(node, x, node.attributes["kernel_shape"])[1]))]


def _pool_scratch(node: Node, ins: Ins) -> int:
    return _window_bytes(node, need(ins[0]), node.attributes["kernel_shape"])


def _global_pool(node: Node, ins: Ins) -> list[Value]:
    x = need(ins[0])
    float_only(node, [x])
    if len(x.shape) < 3 or 0 in x.shape[2:]:
        raise node.malformed(f"expected [batch, channels, …] with something to pool, got {list(x.shape)}")
    return [Value(x.dtype, (*x.shape[:2], *(1 for _ in x.shape[2:])))]


def _time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    """A window of one step that moves by one step leaves the time axis alone."""
    if any(t is not None for t in times[1:]):
        raise NotCausalError("its weights change with time")
    x = need(ins[0])
    kernel = node.attributes.get("kernel_shape") or need(ins[1]).shape[2:]
    given = _over(node, x, kernel).attributes
    reaching = {1} if "group" in given else set()
    for axis, (k, stride) in enumerate(zip(kernel, given["strides"], strict=True)):
        moved = any(given.get("output_padding", ())) or outs[0].shape[axis + 2] != x.shape[axis + 2]
        if k > 1 or stride > 1 or moved:
            reaching.add(axis + 2)
    return [outside(reaching, "its windows take in several steps", times[0])]


def _global_time(node: Node, ins: Ins, outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    return [outside(range(2, len(outs[0].shape)), "it pools over the time axis", times[0])]


_WINDOW = {"auto_pad": "NOTSET", "strides": None, "dilations": None, "pads": None}
_POOL = {**_WINDOW, "kernel_shape": REQUIRED, "ceil_mode": 0}
_CONV = {**_WINDOW, "kernel_shape": None, "group": 1}

OPS: dict[str, Op] = {
    "Conv": Op((2, 3), _conv, TWINS["Conv"], _time, attributes=_CONV, resolve=_attributes, scratch=_conv_scratch),
    "ConvTranspose": Op(
        (2, 3),
        _conv_transpose,
        TWINS["ConvTranspose"],
        _time,
        attributes={**_CONV, "output_padding": None, "output_shape": None},
        resolve=_attributes,
        scratch=_transpose_scratch,
    ),
    "MaxPool": Op(
        (1, 1),
        _pool,
        TWINS["MaxPool"],
        _time,
        attributes=_POOL,
        ignored=frozenset({"storage_order"}),
        resolve=_attributes,
        scratch=_pool_scratch,
    ),
    "AveragePool": Op(
        (1, 1),
        _pool,
        TWINS["AveragePool"],
        _time,
        attributes={**_POOL, "count_include_pad": 0},
        resolve=_attributes,
        scratch=_pool_scratch,
    ),
    **{name: Op((1, 1), _global_pool, TWINS[name], _global_time) for name in ("GlobalMaxPool", "GlobalAveragePool")},
}
