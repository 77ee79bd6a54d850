"""Joining nodes that one kernel computes: matrix product + bias + activation → Dense.

Dense is internal: no file holds it. Only the native backend fuses, so that the reference stays the plain graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..kernels.twins import Attributes
from ..kernels.twins.activations import RECURRENT
from .ir import Graph, Node, Small, Value
from .ops import LAST, NotCausalError, Op, Time

DENSE = "edgeinfer.Dense"
_ACTIVATIONS = (
    *("Elu", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid"),
    *("Softplus", "Softsign", "Tanh", "ThresholdedRelu"),
)


def fuse(graph: Graph) -> Graph:
    """The same function with every product of a constant float32 matrix as one Dense node."""
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    uses.update(info.name for info in graph.outputs)
    consumers = {name: node for node in graph.nodes for name in node.inputs}
    constants = dict(graph.constants)
    small = dict(graph.small)
    nodes: list[Node] = []
    absorbed: set[int] = set()
    for node in graph.nodes:
        if id(node) in absorbed:
            continue
        dense = _start(node, constants, small)
        if dense is None:
            nodes.append(node)
            continue
        while uses[dense.outputs[0]] == 1 and dense.outputs[0] in consumers:
            follower = consumers[dense.outputs[0]]
            joined = _join(dense, follower, constants)
            if joined is None:
                break
            absorbed.add(id(follower))
            dense = joined
        nodes.append(dense)
    return graph._replace(nodes=tuple(nodes), constants=constants, small=small)


def _start(node: Node, constants: dict[str, np.ndarray], small: dict[str, Small]) -> Node | None:
    """The node as a Dense without activation, or None where it is not one."""
    if node.op_type not in ("MatMul", "Gemm"):
        return None
    weights = constants.get(node.inputs[1])
    if weights is None or weights.ndim != 2 or weights.dtype != np.float32:
        return None
    inputs = [node.inputs[0], node.inputs[1]]
    if node.op_type == "Gemm":
        attributes = node.attributes
        if attributes["transA"] or attributes["alpha"] != 1.0 or attributes["beta"] != 1.0:
            return None
        if attributes["transB"]:
            inputs[1] = f"{node.name}//transposed"
            if node.inputs[1] in small:
                constants[inputs[1]] = weights.T
                small[inputs[1]] = small[node.inputs[1]].transposed()
            else:
                constants[inputs[1]] = np.ascontiguousarray(weights.T)
        if len(node.inputs) > 2:
            bias = constants.get(node.inputs[2])
            columns = constants[inputs[1]].shape[1]
            if bias is None or not _is_row(bias, columns):
                return None
            inputs.append(f"{node.name}//bias")
            constants[inputs[2]] = np.broadcast_to(bias.reshape(-1), (columns,)).copy()
    rank = 2 if node.op_type == "Gemm" else None
    return Node(DENSE, node.name, tuple(inputs), node.outputs, {"activation": None, "rank": rank})


def _is_row(bias: np.ndarray, columns: int) -> bool:
    """Whether every row of a product is given the same: a column [n, 1] gives each row its own, and fits as well."""
    if bias.dtype != np.float32 or bias.ndim > 2:
        return False
    return bias.shape[-1:] in ((), (1,), (columns,)) and bias.size in (1, bias.shape[-1] if bias.ndim else 1)


def _join(dense: Node, follower: Node, constants: dict[str, np.ndarray]) -> Node | None:
    """The Dense with the node after it absorbed, or None where it cannot be."""
    if dense.attributes["activation"] is not None:
        return None
    if follower.op_type == "Add" and len(dense.inputs) == 2:
        other = follower.inputs[1] if follower.inputs[0] == dense.outputs[0] else follower.inputs[0]
        bias = constants.get(other)
        if bias is None or bias.shape != (constants[dense.inputs[1]].shape[1],) or bias.dtype != np.float32:
            return None
        return dense._replace(inputs=(*dense.inputs, other), outputs=follower.outputs)
    if follower.op_type in _ACTIVATIONS:
        chosen = (
            follower.op_type,
            float(follower.attributes.get("alpha", 0.0)),
            float(follower.attributes.get("beta", 0.0)),
        )
        return dense._replace(outputs=follower.outputs, attributes={**dense.attributes, "activation": chosen})
    return None


def _infer(node: Node, ins: Sequence[Value | None]) -> list[Value]:
    x, w = ins[0], ins[1]
    assert x is not None and w is not None
    if x.dtype != w.dtype:
        raise node.malformed(f"inputs of different types: {x.dtype.name}, {w.dtype.name}")
    if node.attributes["rank"] not in (None, len(x.shape)) or not x.shape or x.shape[-1] != w.shape[0]:
        raise node.malformed(f"shapes {list(x.shape)} and {list(w.shape)} do not multiply")
    return [Value(x.dtype, (*x.shape[:-1], w.shape[1]))]


def _twin(attributes: Attributes, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray]:
    y = x @ w if b is None else x @ w + b
    if attributes["activation"] is not None:
        name, alpha, beta = attributes["activation"]
        y = RECURRENT[name][0](y, alpha, beta)
    return (y,)


def _time(node: Node, ins: Sequence[Value | None], outs: Sequence[Value], times: Sequence[Time]) -> list[Time]:
    if times[0] is not None and times[0] != LAST and times[0] == len(outs[0].shape) - 1:
        raise NotCausalError("it sums over the time axis")
    return [times[0]]


INTERNAL: dict[str, Op] = {
    DENSE: Op((2, 3), _infer, _twin, _time, attributes={"activation": None, "rank": None}),
}
