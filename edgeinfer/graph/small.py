"""Weights that the file stores in int8 or float16, kept that way for the kernels that compute from them.

A file has them behind DequantizeLinear or Cast (and Reshape, for a node of two directions), which folding would turn
into float32. Only what feeds a weight input is kept; what else reads such a constant gets it folded.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from ..kernels.twins.layout import reshaped
from .ir import Graph, Node, Small
from .ops.recurrent import GATES

_FLOAT = np.dtype(np.float32)
_LARGEST_SCALE = np.finfo(np.float32).max / 128
# Where these operators take a weight: inputs, its rank, and the axis that a scale must not change along.
_WEIGHTS: dict[str, tuple[tuple[int, ...], int, int]] = {
    **dict.fromkeys(GATES, ((1, 2), 3, 2)),
    "MatMul": ((1,), 2, 0),
    "Gemm": ((1,), 2, 0),
    "Gather": ((0,), 2, 1),
}


def keep_small(graph: Graph) -> Graph:
    """The same graph with small weights in ``graph.small`` and the nodes that widened them gone."""
    users: dict[str, list[tuple[Node, int]]] = defaultdict(list)
    for node in graph.nodes:
        for index, name in enumerate(node.inputs):
            users[name].append((node, index))
    outputs = {info.name for info in graph.outputs}
    constants = dict(graph.constants)
    small: dict[str, Small] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        found = _stored(node, graph)
        if found is None:
            continue
        chain, name = [node.name], node.outputs[0]
        while len(users[name]) == 1 and users[name][0][0].op_type == "Reshape" and name not in outputs:
            follower = users[name][0][0]
            further = _reshape(found, follower, graph)
            if further is None:
                break
            found, name = further, follower.outputs[0]
            chain.append(follower.name)
        if name not in outputs and users[name] and all(_takes(found, *user) for user in users[name]):
            small[name] = found
            # loud where something reads it all the same
            constants[name] = np.broadcast_to(np.float32(np.nan), found.values.shape)
            gone.update(chain)
    if not small:
        return graph
    nodes = tuple(node for node in graph.nodes if node.name not in gone)
    return graph._replace(nodes=nodes, constants=constants, small=small)


def _stored(node: Node, graph: Graph) -> Small | None:
    """What DequantizeLinear or Cast widen, or None where it is not a constant of a form that kernels know."""
    if node.op_type not in ("DequantizeLinear", "Cast"):
        return None
    values = graph.constants.get(node.inputs[0])
    if values is None:
        return None
    if node.op_type == "Cast":
        return Small(values) if values.dtype == np.float16 and node.attributes["to"] == _FLOAT else None
    scale = graph.constants.get(node.inputs[1])
    if values.dtype != np.int8 or scale is None or scale.dtype != _FLOAT or scale.ndim > 1:
        return None
    if not (np.abs(scale) <= _LARGEST_SCALE).all():
        return None  # infinite weights, of which a kernel would make one infinite sum, and not infinity less infinity
    if len(node.inputs) > 2:
        zero = graph.constants.get(node.inputs[2])
        if zero is None or zero.any():
            return None
    if scale.ndim and scale.size > 1:
        axis = node.attributes["axis"]
        if not -values.ndim <= axis < values.ndim or values.shape[axis] != scale.size:
            return None  # folding says what is wrong with it
        scale = np.expand_dims(scale, [i for i in range(values.ndim) if i != axis % values.ndim])
    return Small(values, np.broadcast_to(scale, values.shape))


def _reshape(small: Small, node: Node, graph: Graph) -> Small | None:
    target = graph.constants.get(node.inputs[1])
    if target is None or target.dtype != np.int64 or target.ndim != 1:
        return None
    try:
        shape = reshaped(small.values.shape, target, bool(node.attributes["allowzero"]))
    except ValueError:
        return None
    return Small(small.values.reshape(shape), None if small.scale is None else small.scale.reshape(shape))


def _takes(small: Small, node: Node, index: int) -> bool:
    """Whether a node's kernel computes from the small form of this input."""
    if node.op_type not in _WEIGHTS:
        return False
    where, rank, summed = _WEIGHTS[node.op_type]
    if node.op_type == "Gemm" and node.attributes["transB"]:
        summed = 1
    if index not in where or small.values.ndim != rank:
        return False
    # one scale for each sum, so that it can be applied once at its end
    return small.scale is None or not small.scale.strides[summed] or small.values.shape[summed] == 1
