"""How the time axis goes through convolution, pooling, normalization, indexing and reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import build, draw, node, value

import edgeinfer
from edgeinfer.errors import StreamError

# A product of one step and of six may be summed in another order; values are near 1.
TOLERANCE = 1e-6
B, T = "batch", "time"


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def file(nodes: tuple[Any, ...], constants: dict[str, np.ndarray]) -> bytes:
    return build(nodes, [value("x", [B, T, 3])], [value("y", None)], constants, opset=18)


def refuses(reason: str, *nodes: Any, label: str, **constants: Any) -> Any:
    return pytest.param(reason, nodes, constants, id=label)


# x [batch, time, 3] with channels before time, as convolution wants it
FIRST = node("Transpose", ["x"], ["c"], perm=[0, 2, 1])
# and as tf2onnx writes it: [batch, 3, 1, time]
FLAT = node("Unsqueeze", ["c", "two"], ["f"])
WINDOWS = "its windows take in several steps"


@pytest.mark.parametrize(
    ("reason", "nodes", "constants"),
    [
        refuses(rf"\(Conv\): {WINDOWS}", FIRST, node("Conv", ["c", "w"], ["y"]), w=draw(2, 3, 2), label="kernel"),
        refuses(
            rf"\(Conv\): {WINDOWS}",
            *(FIRST, node("Conv", ["c", "w"], ["y"], auto_pad="SAME_UPPER")),
            w=draw(2, 3, 3),
            label="kernel and padding",
        ),
        refuses(
            rf"\(Conv\): {WINDOWS}",
            *(FIRST, node("Conv", ["c", "w"], ["y"], strides=[2])),
            w=draw(2, 3, 1),
            label="strides",
        ),
        refuses(
            rf"\(Conv\): {WINDOWS}",
            *(FIRST, node("Conv", ["c", "w"], ["y"], pads=[0, 1])),
            w=draw(2, 3, 1),
            label="pads",
        ),
        refuses(
            r"\(Pad\): it pads the time axis",
            *(FIRST, node("Pad", ["c", "p"], ["d"]), node("Conv", ["d", "w"], ["y"])),
            p=ints(0, 0, 2, 0, 0, 0),
            w=draw(2, 3, 3),
            label="causal",
        ),
        refuses(
            rf"\(ConvTranspose\): {WINDOWS}",
            *(FIRST, node("ConvTranspose", ["c", "w"], ["y"], strides=[2])),
            w=draw(3, 2, 2),
            label="transposed",
        ),
        refuses(
            rf"\(ConvTranspose\): {WINDOWS}",
            *(FIRST, node("ConvTranspose", ["c", "w"], ["y"], output_padding=[1], pads=[1, 0], strides=[1])),
            w=draw(3, 2, 1),
            label="transposed and moved",
        ),
        refuses(
            rf"\(MaxPool\): {WINDOWS}", FIRST, node("MaxPool", ["c"], ["y"], kernel_shape=[2]), label="max pooling"
        ),
        refuses(
            r"\(GlobalAveragePool\): it pools over the time axis",
            *(FIRST, node("GlobalAveragePool", ["c"], ["y"])),
            label="global pooling",
        ),
        refuses(
            r"\(CumSum\): it sums over the time axis", node("CumSum", ["x", "i"], ["y"]), i=np.array(1), label="sums"
        ),
        refuses(
            r"\(ArgMax\): it looks for the largest or smallest over the time axis",
            *(node("ArgMax", ["x"], ["i"], axis=1), node("Cast", ["i"], ["y"], to=1)),
            label="argmax",
        ),
        refuses(
            r"\(TopK\): it sorts the steps of the sequence",
            node("TopK", ["x", "k"], ["y", "i"], axis=1),
            k=ints(1),
            label="top k",
        ),
        refuses(
            r"\(ReduceL2\): it reduces over the time axis", node("ReduceL2", ["x", "a"], ["y"]), a=ints(1), label="norm"
        ),
        refuses(
            r"\(LayerNormalization\): it normalizes over the time axis",
            *(FIRST, node("ReduceSum", ["c", "a"], ["s"], keepdims=0), node("LayerNormalization", ["s", "one"], ["y"])),
            a=ints(1),
            one=np.ones(1, np.float32),
            label="layer norm",
        ),
        refuses(
            r"\(InstanceNormalization\): it normalizes over the time axis",
            *(FIRST, node("InstanceNormalization", ["c", "s", "s"], ["y"])),
            s=draw(3),
            label="instance norm",
        ),
        refuses(
            r"\(BatchNormalization\): its scale or bias changes with time",
            node("Gather", ["x", "l"], ["last"], axis=1),
            node("Squeeze", ["last", "zero"], ["s"]),
            node("BatchNormalization", ["z", "s", "s", "s", "s"], ["y"]),
            l=np.array(-1),
            z=draw(1, 3, 1),
            zero=ints(0),
            label="batch norm by computed weights",
        ),
        refuses(
            r"\(GatherElements\): it looks steps up by a computed index",
            *(node("Cast", ["x"], ["i"], to=7), node("GatherElements", ["x", "i"], ["y"], axis=1)),
            label="elements of time",
        ),
        refuses(
            r"\(GatherElements\): it picks single steps",
            node("GatherElements", ["x", "i"], ["y"], axis=2),
            i=np.zeros((1, 1, 2), np.int64),
            label="elements of one step",
        ),
        refuses(
            r"\(GatherND\): it looks steps up by a computed index",
            *(node("Cast", ["x"], ["i"], to=7), node("GatherND", ["x", "i"], ["y"])),
            label="computed places",
        ),
        refuses(
            r"\(GatherND\): it looks steps up by a computed index",
            node("GatherND", ["x", "i"], ["y"]),
            i=np.array([[0, 0]]),
            label="one place",
        ),
        refuses(
            r"\(ScatterND\): it writes into single steps of the sequence",
            node("Concat", ["x", "x"], ["xx"], axis=2),
            node("ScatterND", ["x", "i", "u"], ["y"]),
            i=np.zeros((1, 3), np.int64),
            u=draw(1),
            label="scatter",
        ),
        refuses(
            r"\(ReverseSequence\): it turns the sequence round",
            node("ReverseSequence", ["x", "l"], ["y"], batch_axis=0, time_axis=1),
            l=ints(1),
            label="reversed",
        ),
        refuses(
            r"\(Compress\): it picks single steps of the sequence",
            node("Compress", ["x", "k"], ["y"], axis=1),
            k=np.array([True]),
            label="compress",
        ),
        refuses(
            r"\(Einsum\): it sums over the time axis",
            node("Einsum", ["x"], ["y"], equation="bti->bi"),
            label="summed time",
        ),
        refuses(
            r"\(Einsum\): its inputs have the time on different axes",
            node("Einsum", ["x", "x"], ["y"], equation="bti,bsi->bts"),
            label="attention",
        ),
        refuses(
            r"\(OneHot\): its values change with time",
            node("Gather", ["x", "l"], ["last"], axis=1),
            node("Gather", ["last", "first"], ["v"], axis=1),
            node("Concat", ["v", "v"], ["vs"], axis=0),
            node("OneHot", ["i", "depth", "vs"], ["y"]),
            l=np.array(-1),
            first=np.array(0),
            i=np.zeros((1, 2), np.int64),
            depth=np.array(3),
            label="values of a step",
        ),
    ],
)  # fmt: skip
def test_what_needs_more_than_the_present_step_says_so(
    reason: str, nodes: tuple[Any, ...], constants: dict[str, np.ndarray]
) -> None:
    model = edgeinfer.load(file(nodes, constants), backend="native")
    with pytest.raises(StreamError, match=rf"the model cannot stream: .*{reason}"):
        model.stream(mode="stream")


def streams(*nodes: Any, label: str, **constants: Any) -> Any:
    return pytest.param(nodes, constants, id=label)


BACK = node("Transpose", ["z"], ["y"], perm=[0, 2, 1])


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        streams(FIRST, node("Conv", ["c", "w", "b"], ["z"]), BACK, w=draw(2, 3, 1), b=draw(2), label="kernel of one"),
        streams(
            *(FIRST, FLAT, node("Conv", ["f", "w"], ["g"]), node("Squeeze", ["g", "two"], ["z"]), BACK),
            w=draw(2, 3, 1, 1),
            two=ints(2),
            label="kernel of one as tf2onnx writes it",
        ),
        streams(FIRST, node("ConvTranspose", ["c", "w"], ["z"]), BACK, w=draw(3, 2, 1), label="transposed"),
        streams(FIRST, node("MaxPool", ["c"], ["z"], kernel_shape=[1]), BACK, label="pooling of one"),
        # tf2onnx writes a mean over the features this way: time stands where channels do
        streams(node("GlobalAveragePool", ["x"], ["y"]), label="mean over features"),
        streams(node("AveragePool", ["x"], ["y"], kernel_shape=[2]), label="pooling of features"),
        streams(
            *(FIRST, node("BatchNormalization", ["c", "s", "s", "s", "v"], ["z"]), BACK),
            s=draw(3),
            v=np.abs(draw(3)) + np.float32(0.1),
            label="batch norm",
        ),
        streams(node("LayerNormalization", ["x", "s", "s"], ["y"]), s=draw(3), label="layer norm"),
        streams(node("CumSum", ["x", "i"], ["y"]), i=np.array(2), label="running sum of features"),
        streams(node("ArgMax", ["x"], ["i"], axis=-1, keepdims=0), node("Cast", ["i"], ["y"], to=1), label="argmax"),
        streams(node("TopK", ["x", "k"], ["y", "i"]), k=ints(2), label="top k of features"),
        streams(node("ReduceLogSumExp", ["x", "a"], ["y"], keepdims=0), a=ints(-1), label="log sum exp"),
        streams(
            *(node("TopK", ["x", "k"], ["v", "i"]), node("GatherElements", ["x", "i"], ["y"], axis=2)),
            k=ints(3),
            label="elements by a computed index",
        ),
        streams(
            node("Unsqueeze", ["x", "a"], ["u"]),
            node("ReduceMax", ["x", "last"], ["m"], keepdims=1),
            node("Greater", ["m", "half"], ["g"]),
            node("Cast", ["g"], ["i"], to=7),
            node("GatherND", ["x", "i"], ["y"], batch_dims=2),
            a=ints(-1),
            last=ints(-1),
            half=np.array(0.3, np.float32),
            label="places by a computed index",
        ),
        streams(
            *(node("Cast", ["x"], ["i"], to=7), node("GatherND", ["table", "u"], ["y"])),
            node("Unsqueeze", ["i", "a"], ["u"]),
            a=ints(-1),
            table=draw(9, 2),
            label="a table",
        ),
        streams(
            *(node("Cast", ["x"], ["i"], to=7), node("OneHot", ["i", "d", "v"], ["y"], axis=1)),
            d=np.array(4),
            v=draw(2),
            label="one hot",
        ),
        streams(node("Einsum", ["x", "w"], ["y"], equation="abc,cd->abd"), w=draw(3, 2), label="dense by einsum"),
        streams(node("Einsum", ["x", "x"], ["y"], equation="...i,...i->..."), label="squares by einsum"),
        streams(node("Pad", ["x", "p"], ["y"]), p=ints(0, 0, 1, 0, 0, 2), label="padded features"),
        streams(node("Compress", ["x", "k"], ["y"], axis=2), k=np.array([True, False, True]), label="features picked"),
        streams(node("Mod", ["x", "m"], ["y"], fmod=1), m=np.array(0.3, np.float32), label="pointwise"),
        streams(node("PRelu", ["x", "m"], ["y"]), m=draw(3), label="slopes"),
    ],
)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_node_that_leaves_the_time_axis_alone_streams_what_it_gives_on_the_whole_sequence(
    nodes: tuple[Any, ...], constants: dict[str, np.ndarray], backend: Any
) -> None:
    model = edgeinfer.load(file(nodes, constants), backend=backend)
    xs = np.abs(draw(6, 3, scale=0.8))
    whole = model(xs[None])
    axis = next(i for i, d in enumerate(whole.shape) if d == 6)
    whole = np.moveaxis(whole[0], axis - 1, 0)
    found = model.stream(mode="stream").run(xs)
    np.testing.assert_allclose(found.reshape(whole.shape), whole, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("op", "shape", "macs"), [("Conv", (2, 3, 1), 6), ("ConvTranspose", (3, 4, 1), 12)])
def test_a_convolution_counts_its_multiplications(op: str, shape: tuple[int, ...], macs: int) -> None:
    data = file((FIRST, node(op, ["c", "w"], ["z"]), BACK), {"w": draw(*shape)})
    assert edgeinfer.load(data, backend="native").describe()["macs_per_step"] == macs


def test_layer_normalization_gives_a_step_the_bits_of_the_sequence(isa: str) -> None:
    data = file((node("LayerNormalization", ["x", "s", "b"], ["y"]),), {"s": draw(3), "b": draw(3, seed=1)})
    model = edgeinfer.load(data, backend="native", isa=isa)
    assert model.describe()["bit_stable"]
    xs = draw(50, 3)
    stream = model.stream(mode="stream")
    np.testing.assert_array_equal(np.stack([stream.step(x) for x in xs]), model(xs[None])[0])
