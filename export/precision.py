"""Models of another precision are exported as float32: the same weights, computed as under the float32 policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .errors import ExportError
from .rebuild import answers, sample_inputs

# How far Keras' answers under a policy may lie from those of the same weights in float32, relative to max(1, |y|).
_POLICIES = {
    "mixed_float16": 5e-3,
    "float16": 5e-3,
    "mixed_bfloat16": 5e-2,
    "bfloat16": 5e-2,
    "float64": 1e-5,
}


@contextmanager
def as_float32(model: Any) -> Iterator[None]:
    """Inside the block, every layer of the model holds its weights and computes in float32.

    Raises ExportError where the model then answers otherwise than rounding explains.
    """
    import tensorflow as tf

    layers = [layer for layer in model._flatten_layers() if layer.dtype_policy.name in _POLICIES]
    policies = [layer._dtype_policy for layer in layers]
    weights = {id(weight): weight for layer in layers for weight in layer.weights if "float" in weight.dtype}
    narrow = [weight for weight in weights.values() if weight.dtype != "float32"]
    values = [(weight._value, weight._dtype) for weight in narrow]
    # A subclassed model has no inputs of its own to try it on; strings are not drawn at random.
    inputs = (getattr(model, "inputs", None) or []) if layers else []
    feeds = sample_inputs(model) if inputs and all(tensor.dtype != "string" for tensor in inputs) else None
    before = answers(model, feeds) if feeds is not None else []
    try:
        for weight in narrow:
            weight._value, weight._dtype = tf.Variable(tf.cast(weight.value, "float32")), "float32"
        for layer in layers:
            _set_policy(layer, "float32")
        if feeds is not None:
            _check(policies, before, answers(model, feeds))
        yield
    finally:
        for weight, (value, dtype) in zip(narrow, values, strict=True):
            weight._value, weight._dtype = value, dtype
        for layer, policy in zip(layers, policies, strict=True):
            _set_policy(layer, policy)


def _set_policy(layer: Any, policy: Any) -> None:
    import keras

    layer._dtype_policy = keras.dtype_policies.get(policy)
    if isinstance(layer, keras.layers.Normalization) and layer.built:
        # It computes with copies of its weights, or of its arguments, in its own precision.
        if layer.input_mean is None:
            layer.finalize_state()
        else:
            layer.build(layer._build_input_shape)


def _check(policies: list[Any], before: list[np.ndarray], after: list[np.ndarray]) -> None:
    names = {policy.name for policy in policies}
    allowed = max(_POLICIES[name] for name in names)
    for a, b in zip(before, after, strict=True):
        a, b = a.astype(np.float64), b.astype(np.float64)
        difference = float(np.max(np.abs(a - b) / np.maximum(1, np.abs(a)), initial=0.0))
        if not difference <= allowed:
            raise ExportError(
                f"dtype {', '.join(sorted(names))}: in float32, as it is exported, the model answers otherwise by "
                f"{difference:.1e}, expected at most {allowed:.0e}; build it under the float32 policy, load the "
                "weights into it, and see that its scores hold",
                argument="dtype",
            )
