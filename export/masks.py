"""Where a model's masks come from, read off its Functional graph."""

from __future__ import annotations

from typing import Any

from .graph import entered, graph_nodes, graph_of

# Each value of the result comes from the values at its own place.
_ELEMENTWISE = {
    "Equal", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalNot", "LogicalOr", "LogicalXor",
    "NotEqual", "OnesLike", "ZerosLike",
}  # fmt: skip
_ALONG_LAST = {"All", "Any", "Concatenate", "Max", "Min", "Squeeze", "Sum"}
_KEEP_VALUES = ("Dropout", "GaussianDropout", "GaussianNoise", "Identity", "SpatialDropout1D")


def mask_of(node: Any) -> Any:
    """What a call of a layer takes as its ``mask``: by hand, or from the layers before it."""
    arguments = node.arguments
    if "mask" in arguments.kwargs:
        return arguments.kwargs["mask"]
    names = [name for name in node.operation.call_signature_parameters if name != "self"]
    place = names.index("mask") if "mask" in names else len(arguments.args)
    return arguments.args[place] if place < len(arguments.args) else None


def computes_masks_per_step(node: Any) -> bool:
    """Whether an operation between [batch, time] and [batch, time, ...] reads and writes the same time step only."""
    kind, tensors = type(node.operation).__name__, node.arguments.keras_tensors
    rank = len(tensors[0].shape)
    if kind in _ELEMENTWISE:
        return len({len(tensor.shape) for tensor in tensors}) == 1 and _has_no_arrays(node)
    if kind == "ExpandDims":
        return rank >= 2 and node.operation.axis in (-1, rank)
    axis = getattr(node.operation, "axis", None)
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    return kind in _ALONG_LAST and rank > 2 and axes in ([-1], [rank - 1])


def _has_no_arrays(node: Any) -> bool:
    import keras

    flat = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return all(value is None or isinstance(value, (keras.KerasTensor, bool, int, float, str)) for value in flat)


def is_mask(model: Any, tensor: Any) -> bool:
    """Whether a graph input [batch, time] is the mask of a layer, or a mask is computed from it."""
    import keras

    for node in graph_nodes(model):
        operation = node.operation
        if node.is_input or all(argument is not tensor for argument in node.arguments.keras_tensors):
            continue
        if isinstance(operation, keras.layers.Layer):
            found = any(m is tensor for m in keras.tree.flatten(mask_of(node)))
            found = found or any(is_mask(operation, inner) for inner in entered(node, tensor))
        else:
            found = type(operation).__name__ == "Cast" or computes_masks_per_step(node)
            found = found and is_mask(model, node.outputs[0])
        if found:
            return True
    return False


def mask_values(model: Any, tensor: Any) -> list[float]:
    """The values that Masking layers look for in a graph input, in nested models too.

    Inside a subclassed model, where no graph tells which input they read, they may read any with features.
    """
    import keras

    found: list[float] = []
    for layer in model.layers if len(tensor.shape) > 2 else ():
        if isinstance(layer, keras.Model) and not hasattr(graph_of(layer), "_nodes_by_depth"):
            inner = [x for x in layer._flatten_layers() if isinstance(x, keras.layers.Masking)]
            found += [float(x.mask_value) for x in inner]
    for node in graph_nodes(model):
        if node.is_input or all(argument is not tensor for argument in node.arguments.keras_tensors):
            continue
        if isinstance(node.operation, keras.layers.Masking):
            found.append(float(node.operation.mask_value))
        for inner in entered(node, tensor):
            found += mask_values(node.operation, inner)
        if type(node.operation).__name__ in _KEEP_VALUES:
            found += mask_values(model, node.outputs[0])
    return found
