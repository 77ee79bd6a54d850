"""ONNX files with int8 or float16 weights for the runtime's tests, written node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from graphs import Arrays, build, draw, node, value, weights
from onnx import NodeProto, TensorProto

KINDS = ("int8", "float16")
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def int8_rows(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 with one scale for each index of ``axis``."""
    others = tuple(i for i in range(array.ndim) if i != axis)
    scale = (np.abs(array).max(axis=others) / 127).astype(np.float32)
    shaped = np.expand_dims(scale, others)
    return np.rint(array / shaped).astype(np.int8), scale


def stored(kind: str, name: str, array: np.ndarray, axis: int) -> tuple[list[NodeProto], dict[str, np.ndarray]]:
    """The nodes that give ``name``, and the constants they read."""
    if kind == "float16":
        return [node("Cast", [f"{name}/f16"], [name], f"{name}/cast", to=TensorProto.FLOAT)], {
            f"{name}/f16": array.astype(np.float16)
        }
    flat = array.reshape(-1, array.shape[-1]) if array.ndim == 3 and len(array) > 1 else array
    axis = 0 if flat is not array else axis
    values, scale = int8_rows(flat, axis)
    given = {f"{name}/q": values, f"{name}/scale": scale}
    if flat is array:
        return [node("DequantizeLinear", list(given), [name], f"{name}/dq", axis=axis)], given
    given[f"{name}/shape"] = np.array(array.shape, np.int64)
    return [
        node("DequantizeLinear", [f"{name}/q", f"{name}/scale"], [f"{name}/rows"], f"{name}/dq", axis=0),
        node("Reshape", [f"{name}/rows", f"{name}/shape"], [name], f"{name}/reshape"),
    ], given


def small_cell(
    kind: str,
    op: str,
    hidden: int,
    *,
    features: int = 3,
    direction: str = "forward",
    linear: int = 0,
    kinds: Sequence[str] | None = None,
    spec: dict[str, Any] | None = None,
    **attributes: Any,
) -> bytes:
    """X [time, batch, features] → one node with states in and out; W of ``kinds[0]``, R of ``kinds[1]``."""
    directions = DIRECTIONS[direction]
    given = weights(op, features, hidden, directions)
    constants = {"B": given["B"]}
    nodes: list[NodeProto] = []
    for name, chosen in zip("WR", kinds or (kind, kind), strict=True):
        if chosen == "float32":
            constants[name] = given[name]
            continue
        made, added = stored(chosen, name, given[name], 1)
        nodes += made
        constants |= added
    if op == "GRU":
        attributes["linear_before_reset"] = linear
    states = "hc" if op == "LSTM" else "h"
    inputs = ["X", "W", "R", "B", "", *(f"initial_{k}" for k in states)]
    outputs = ["Y", *(f"Y_{k}" for k in states)]
    nodes.append(node(op, inputs, outputs, "cell", hidden_size=hidden, direction=direction, **attributes))
    ins = [value("X", ["time", "batch", features])]
    ins += [value(f"initial_{k}", [directions, "batch", hidden]) for k in states]
    return build(nodes, ins, [value(y, None) for y in outputs], constants, spec=spec)


def cell_feeds(
    op: str, hidden: int, *, features: int = 3, directions: int = 1, steps: int = 6, batch: int = 3
) -> Arrays:
    """Inputs N(0, 0.5²) and initial states in [-1, 1]."""
    feeds = {"X": draw(steps, batch, features)}
    for k in "hc" if op == "LSTM" else "h":
        feeds[f"initial_{k}"] = np.tanh(draw(directions, batch, hidden, seed=ord(k)))
    return feeds
