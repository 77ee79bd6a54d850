"""What a model computes: the graph, its shapes, its states, whether it can stream. The only folder that knows
ONNX operator names."""

from __future__ import annotations

from .bind import BoundGraph, BoundNode, bind
from .fuse import fuse
from .ir import Graph, Node, Small, Value, ValueInfo
from .ops import LAST
from .ops.recurrent import LENGTHS
from .prepare import Prepared, StepGraph, give, macs, node_bytes, node_macs, prepare
from .states import State
from .streamability import Streamability, window_axis

__all__ = [
    "LAST",
    "LENGTHS",
    "BoundGraph",
    "BoundNode",
    "Graph",
    "Node",
    "Prepared",
    "Small",
    "State",
    "StepGraph",
    "Streamability",
    "Value",
    "ValueInfo",
    "bind",
    "fuse",
    "give",
    "macs",
    "node_bytes",
    "node_macs",
    "prepare",
    "window_axis",
]
