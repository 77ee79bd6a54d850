"""The layers around recurrent ones: no control flow, few nodes, Keras' answers for a free and a fixed length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeinfer_export import ExportError, to_onnx

CONTROL_FLOW = {"If", "Loop", "Scan"}
FEATURES, LENGTH = 4, 9
# Most of what any of these layers may take; tf2onnx alone writes 60 to 140 for attention and dilated convolutions.
MOST_NODES = 25

Build = Callable[[Any, Any], Any]

# Name → what follows the input (Keras' layers and the input → the output), and how many nodes of each operator that
# becomes where they are ours.
CASES: dict[str, tuple[Build, dict[str, int] | None]] = {
    **{
        f"Conv1D {padding} {extra}": (
            lambda k, x, p=padding, e=extra: k.Conv1D(6, 3, padding=p, **e)(x),
            {"Conv": 1, "Transpose": 2},
        )
        for padding in ("valid", "same", "causal")
        for extra in ({}, {"dilation_rate": 2}, {"strides": 2}, {"groups": 2, "use_bias": False})
    },
    "Conv1D of width 4, stride 3": (
        lambda k, x: k.Conv1D(6, 4, strides=3, padding="same")(x),
        {"Conv": 1, "Transpose": 2},
    ),
    "Conv1D of width 1": (lambda k, x: k.Conv1D(6, 1, activation="relu")(x), {"Add": 1, "MatMul": 1, "Relu": 1}),
    "SeparableConv1D": (
        lambda k, x: k.SeparableConv1D(6, 3, depth_multiplier=2)(x),
        {"Conv": 2, "Transpose": 2},
    ),
    "SeparableConv1D dilated": (
        lambda k, x: k.SeparableConv1D(6, 3, padding="same", dilation_rate=2)(x),
        {"Conv": 2, "Transpose": 2},
    ),
    "DepthwiseConv1D": (
        lambda k, x: k.DepthwiseConv1D(3, strides=2, padding="same", depth_multiplier=2)(x),
        {"Conv": 1, "Transpose": 2},
    ),
    "DepthwiseConv1D dilated": (
        lambda k, x: k.DepthwiseConv1D(3, dilation_rate=2, padding="same")(x),
        {"Conv": 1, "Transpose": 2},
    ),
    **{
        f"Conv1DTranspose {padding} {extra}": (
            lambda k, x, p=padding, e=extra: k.Conv1DTranspose(5, padding=p, **e)(x),
            {"ConvTranspose": 1, "Transpose": 2},
        )
        for padding in ("valid", "same")
        for extra in (
            {"kernel_size": 3},
            {"kernel_size": 3, "strides": 2},
            {"kernel_size": 2, "strides": 3},
            {"kernel_size": 4, "strides": 3, "output_padding": 1},
        )
    },
    **{
        f"{pool} {padding} {size}, {strides}": (
            lambda k, x, n=pool, p=padding, s=size, t=strides: getattr(k, n)(s, strides=t, padding=p)(x),
            {pool.removesuffix("ing1D"): 1, "Transpose": 2},
        )
        for pool in ("MaxPooling1D", "AveragePooling1D")
        for padding in ("valid", "same")
        for size, strides in ((2, None), (3, 1), (3, 2))
    },
    "AveragePooling1D of channels first": (
        lambda k, x: k.AveragePooling1D(2, data_format="channels_first")(k.Permute((2, 1))(x)),
        {"AveragePool": 1, "Squeeze": 1, "Transpose": 1, "Unsqueeze": 1},
    ),
    "GlobalMaxPooling1D": (lambda k, x: k.GlobalMaxPooling1D()(x), {"ReduceMax": 1}),
    "GlobalAveragePooling1D": (lambda k, x: k.GlobalAveragePooling1D(keepdims=True)(x), {"ReduceMean": 1}),
    "LayerNormalization": (lambda k, x: k.LayerNormalization()(x), {"LayerNormalization": 1}),
    "LayerNormalization plain": (
        lambda k, x: k.LayerNormalization(scale=False, center=False)(x),
        {"LayerNormalization": 1},
    ),
    "BatchNormalization": (lambda k, x: k.BatchNormalization(scale=False)(x), None),
    "GroupNormalization": (lambda k, x: k.GroupNormalization(2)(x), None),
    "UnitNormalization": (lambda k, x: k.UnitNormalization()(x), None),
    "RMSNormalization": (lambda k, x: k.RMSNormalization()(x), None),
    "Rescaling": (lambda k, x: k.Rescaling(2.0, 1.0)(x), None),
    "UpSampling1D": (lambda k, x: k.UpSampling1D(3)(x), {"Reshape": 1, "Tile": 1, "Unsqueeze": 1}),
    "RepeatVector": (
        lambda k, x: k.RepeatVector(3)(k.GlobalMaxPooling1D()(x)),
        {"ReduceMax": 1, "Tile": 1, "Unsqueeze": 1},
    ),
    "ZeroPadding1D": (lambda k, x: k.ZeroPadding1D((1, 2))(x), {"Pad": 1}),
    "Cropping1D": (lambda k, x: k.Cropping1D((1, 2))(x), {"Slice": 1}),
    "Permute": (lambda k, x: k.Permute((2, 1))(x), {"Transpose": 1}),
    "Reshape": (lambda k, x: k.Reshape((-1, 2, 2))(x), {"Reshape": 1}),
    "merges": (
        lambda k, x: k.Concatenate()(
            [layer()([x, k.Dense(4)(x)]) for layer in (k.Add, k.Subtract, k.Multiply, k.Average, k.Maximum, k.Minimum)]
        ),
        None,
    ),
    "Concatenate in time": (lambda k, x: k.Concatenate(axis=1)([x, k.Dense(4)(x)]), None),
    "Dot": (lambda k, x: k.Dot(axes=-1, normalize=True)([x, k.Dense(4)(x)]), None),
    "Attention": (lambda k, x: k.Attention(use_scale=True)([x, k.Dense(4)(x), x]), None),
    "Attention causal": (lambda k, x: k.Attention()([x, x], use_causal_mask=True), None),
    "AdditiveAttention": (lambda k, x: k.AdditiveAttention()([x, k.Dense(4)(x)]), None),
    "MultiHeadAttention": (
        lambda k, x: k.MultiHeadAttention(2, 3)(x, x),
        {"Add": 4, "MatMul": 6, "Mul": 1, "Reshape": 4, "Softmax": 1, "Transpose": 4},
    ),
    "MultiHeadAttention of one head": (
        lambda k, x: k.MultiHeadAttention(1, 3, value_dim=2, output_shape=5, use_bias=False)(x, x),
        None,
    ),
    "EinsumDense": (lambda k, x: k.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de")(x), None),
    "activations": (
        lambda k, x: k.Concatenate()([k.Activation(name)(x) for name in ("gelu", "celu", "silu", "selu", "softmax")]),
        None,
    ),
    "PReLU": (lambda k, x: k.PReLU(shared_axes=[1], alpha_initializer="uniform")(x), None),
    "noise": (lambda k, x: k.GaussianNoise(0.1)(k.SpatialDropout1D(0.1)(k.AlphaDropout(0.1)(k.Dense(4)(x)))), None),
}  # fmt: skip
QUICK = (
    "Conv1D valid {}", "Conv1D causal {'dilation_rate': 2}", "Conv1D same {'dilation_rate': 2}",
    "Conv1D valid {'groups': 2, 'use_bias': False}", "Conv1D of width 1", "SeparableConv1D dilated",
    "Conv1DTranspose same {'kernel_size': 3, 'strides': 2}", "AveragePooling1D same 3, 2",
    "AveragePooling1D of channels first", "LayerNormalization",
    "UpSampling1D", "RepeatVector", "MultiHeadAttention", "MultiHeadAttention of one head", "activations", "Cropping1D",
)  # fmt: skip


def exported(case: str, length: int | None, opset: int, keras: Any, shuffled: Any, path: Path) -> dict[str, int]:
    """The nodes that a case becomes, verified against Keras."""
    x = keras.Input((length, FEATURES))
    model = shuffled(keras.Model(x, CASES[case][0](keras.layers, x)))
    return dict(to_onnx(model, path, opset=opset).nodes)


@pytest.mark.parametrize("case", QUICK)
def test_a_layer_of_free_length_becomes_few_nodes(
    case: str, keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    nodes = exported(case, None, 17, keras, shuffled, tmp_path / "m.onnx")
    expected = CASES[case][1]
    assert expected is None or nodes == expected
    assert sum(nodes.values()) <= MOST_NODES


@pytest.mark.slow
@pytest.mark.parametrize("opset", [13, 17, 18])
@pytest.mark.parametrize("length", [None, LENGTH])
@pytest.mark.parametrize("case", CASES)
def test_every_layer_is_exact_for_any_length_and_opset(
    case: str, length: int | None, opset: int, keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    nodes = exported(case, length, opset, keras, shuffled, tmp_path / "m.onnx")
    assert not CONTROL_FLOW & set(nodes)
    expected = CASES[case][1]
    if expected is not None and (opset >= 17 or "LayerNormalization" not in expected):
        assert nodes == expected
    assert sum(nodes.values()) <= MOST_NODES


def test_a_convolution_of_width_one_and_a_normalization_stream(
    keras: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    stack = [
        layers.Conv1D(5, 1),
        layers.GRU(3, return_sequences=True),
        layers.LayerNormalization(),
        layers.Conv1D(2, 1),
    ]
    assert to_onnx(sequential((None, FEATURES), *stack), tmp_path / "m.onnx").form == "stream"


def test_a_model_that_needs_several_steps_is_verified_on_enough(layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = [layers.Conv1D(4, 5, dilation_rate=3), layers.GRU(3)]
    result = to_onnx(sequential((None, FEATURES), *stack), tmp_path / "m.onnx")
    assert {golden.inputs["x"].shape[1] for golden in result.spec.goldens} == {13}


def test_a_model_that_keras_itself_cannot_run_is_told(layers: Any, sequential: Any, tmp_path: Path) -> None:
    model = sequential((None, FEATURES), layers.Conv1DTranspose(2, 3, dilation_rate=2))
    with pytest.raises(ExportError, match=r"Keras cannot run the model on x \[1, 1, 4\]"):
        to_onnx(model, tmp_path / "m.onnx")


def test_layers_inside_time_distributed_keep_their_own_nodes(
    keras: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    each = keras.Sequential(
        [keras.Input((6, FEATURES)), layers.Conv1D(3, 3), layers.MaxPooling1D(2), layers.Flatten()], name="each"
    )
    result = to_onnx(sequential((None, 6, FEATURES), layers.TimeDistributed(each), layers.GRU(3)), tmp_path / "m.onnx")
    assert (result.form, result.nodes["Conv"], result.nodes["MaxPool"]) == ("stream", 1, 1)
