"""What a model computes: the graph, its shapes, its states, whether it can stream. The only folder that knows
ONNX operator names."""

from __future__ import annotations

from .bind import BoundGraph, BoundNode, bind
from .fuse import fuse
from .ir import Graph, Node, Small, Value, ValueInfo
from .ops import LAST, NotCausalError
from .ops.recurrent import LENGTHS
from .prepare import Prepared, StepGraph, give, macs, node_bytes, node_macs, prepare
from .states import State
from .streamability import Streamability, follow_time, window_axis

__all__ = [
    "LAST",
    "LENGTHS",
    "BoundGraph",
    "BoundNode",
    "Graph",
    "Node",
    "NotCausalError",
    "Prepared",
    "Small",
    "State",
    "StepGraph",
    "Streamability",
    "Value",
    "ValueInfo",
    "bind",
    "follow_time",
    "fuse",
    "give",
    "macs",
    "node_bytes",
    "node_macs",
    "prepare",
    "window_axis",
]
