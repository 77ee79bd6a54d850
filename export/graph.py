"""Keras' own graph of a Sequential or Functional model."""

from __future__ import annotations

from typing import Any


def graph_of(model: Any) -> Any:
    """The Functional graph behind a Sequential, or the model itself."""
    return getattr(model, "_functional", None) or model


def graph_nodes(model: Any) -> list[Any]:
    """The calls of layers and operations, inputs first."""
    by_depth = graph_of(model)._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def entered(node: Any, tensor: Any) -> list[Any]:
    """The inputs of a nested model that a call of it passes ``tensor`` to; none where it is no such model."""
    graph = graph_of(node.operation)
    if not hasattr(graph, "_nodes_by_depth"):
        return []
    # Masks that come in with the inputs stand behind them.
    pairs = zip(node.arguments.keras_tensors, graph.inputs, strict=False)
    return [inner for given, inner in pairs if given is tensor]
