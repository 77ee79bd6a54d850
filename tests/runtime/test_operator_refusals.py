"""What the operators off the step's path refuse, naming the node: every wrong shape, type, attribute and constant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import build, draw, node, one_node, value

import edgeinfer
from edgeinfer.errors import InputError, ModelFormatError, ModelLimitError, UnsupportedOperatorError

F32, I64 = np.float32, np.int64
X = draw(2, 4, 10)
W = draw(6, 4, 3)
WT = draw(4, 6, 3)
ZEROS = np.zeros((1, 1, 1), I64)
NAN = np.array(np.nan, F32)
MINUS = np.array(-1, np.float16)  # which cannot be held against 2**31 as it is


def ints(*values: int) -> np.ndarray:
    return np.array(values, I64)


def bad(op: str, message: str, *arrays: np.ndarray, **more: Any) -> Any:
    return pytest.param(op, message, arrays, more, id=f"{op}-{message[:40]}")


MALFORMED = [
    # --- convolution and pooling
    bad("Conv", "expected a float tensor, got int64", np.zeros((1, 1, 3), I64), np.zeros((1, 1, 1), I64)),
    bad("Conv", "inputs of different types: float32, float64", X, W.astype(np.float64)),
    bad("Conv", r"W: expected 3 axes of 1 and more, got \[6, 4\]", X, W[..., 0]),
    bad("Conv", r"W: expected 3 axes of 1 and more, got \[0, 4, 3\]", X, W[:0]),
    bad("Conv", r"expected \[batch, channels, …\], got \[2, 4\]", X[..., 0], W[..., 0]),
    bad("Conv", r"W: expected a kernel of \[2\], got \[6, 4, 3\]", X, W, kernel_shape=[2]),
    bad("Conv", r"X \[2, 4, 10\] and W \[6, 3, 3\] do not fit in 1 groups", X, W[:, :3]),
    bad("Conv", r"X \[2, 4, 10\] and W \[5, 2, 3\] do not fit in 2 groups", X, W[:5, :2], group=2),
    bad("Conv", ".* do not fit in 0 groups", X, W, group=0),
    bad("Conv", ".* do not fit in -1 groups", X, W, group=-1),
    bad("Conv", r"B: expected \[6\], got \[5\]", X, W, draw(5)),
    bad("Conv", r"strides: expected 1 numbers, got \[1, 1\]", X, W, strides=[1, 1]),
    bad("Conv", r"strides: expected numbers from 1 to 2147483647, got \[0\]", X, W, strides=[0]),
    bad("Conv", r"dilations: expected numbers from 1 to 2147483647, got \[-1\]", X, W, dilations=[-1]),
    bad("Conv", r"dilations: expected numbers from 1 to 2147483647, got \[2147483648\]", X, W, dilations=[2**31]),
    bad("Conv", r"pads: expected numbers from 0 to 2147483647, got \[-1, 0\]", X, W, pads=[-1, 0]),
    bad("Conv", r"pads: expected 2 numbers, got \[1\]", X, W, pads=[1]),
    bad("Conv", "auto_pad: expected one of NOTSET, SAME_UPPER, SAME_LOWER, VALID, got 'SAME'", X, W, auto_pad="SAME"),
    bad("Conv", "a kernel that reaches over 11 for 10 elements", X, W, dilations=[5]),
    bad("ConvTranspose", r"X \[2, 4, 10\] and W \[6, 4, 3\] do not fit in 1 groups", X, W),
    bad("ConvTranspose", r"X \[2, 4, 10\] and W \[4, 6, 3\] do not fit in 3 groups", X, WT, group=3),
    bad("ConvTranspose", r"expected \[batch, channels, …\], got \[4\]", draw(4), draw(4)),
    bad("ConvTranspose", r"B: expected \[6\], got \[4\]", X, WT, draw(4)),
    bad("ConvTranspose", r"output_padding: expected 1 numbers, got \[1, 1\]", X, WT, output_padding=[1, 1]),
    bad("ConvTranspose", r"output_shape: expected 1 numbers, got \[1, 1\]", X, WT, output_shape=[1, 1]),
    bad("ConvTranspose", r"an output of \[99\] from windows that cover \[12\]", X, WT, output_shape=[99]),
    bad("ConvTranspose", r"an output of \[-2\] from windows that cover \[12\]", X, WT, pads=[7, 7]),
    bad("ConvTranspose", r"nothing to spread in \[2, 4, 0\]", X[..., :0], WT),
    bad("MaxPool", "expected a float tensor, got int64", np.zeros((1, 1, 3), I64), kernel_shape=[2]),
    bad("MaxPool", "attribute kernel_shape is missing", X),
    bad("MaxPool", r"kernel_shape: expected numbers from 1 to 2147483647, got \[0\]", X, kernel_shape=[0]),
    bad("MaxPool", r"a kernel of 2 axes for an input of shape \[2, 4, 10\]", X, kernel_shape=[2, 2]),
    bad("AveragePool", "pads of 3 for a kernel that reaches over 3", X, kernel_shape=[3], pads=[0, 3]),
    bad("AveragePool", "a kernel that reaches over 11 for 10 elements", X, kernel_shape=[11]),
    bad("GlobalMaxPool", r"expected \[batch, channels, …\] with something to pool, got \[2, 4\]", X[..., 0]),
    bad("GlobalAveragePool", r"expected \[batch, channels, …\] with something to pool, got \[2, 4, 0\]", X[..., :0]),
    # --- normalization
    bad("BatchNormalization", r"expected at least 2 axes, got \[4\]", *[draw(4)] * 5),
    bad("BatchNormalization", r"mean: expected \[4\], got \[3\]", X, draw(4), draw(4), draw(3), draw(4)),
    bad("BatchNormalization", "expected a float tensor, got int64", np.zeros((2, 4), I64), *[draw(4)] * 4),
    bad("LayerNormalization", r"Scale: \[4\] does not broadcast to \[10\]", X, draw(4)),
    bad("LayerNormalization", r"B: \[2, 10\] does not broadcast to \[10\]", X, draw(10), draw(2, 10)),
    bad("LayerNormalization", "axis 3 is out of range for rank 3", X, draw(10), axis=3),
    bad("LayerNormalization", r"nothing to normalize in \[2, 4, 0\]", X[..., :0], draw(0)),
    bad("InstanceNormalization", r"scale: expected \[4\], got \[10\]", X, draw(10), draw(4)),
    bad("InstanceNormalization", r"expected at least 3 axes, got \[2, 4\]", X[..., 0], draw(4), draw(4)),
    bad("InstanceNormalization", r"nothing to normalize in \[2, 4, 0\]", X[..., :0], draw(4), draw(4)),
    # --- reductions
    bad("ReduceLogSumExp", r"nothing to reduce in \[2, 0\]", draw(2, 0), axes=[1]),
    bad("CumSum", "axis 3 is out of range for rank 3", X, np.array(3), constant=["b"]),
    bad("CumSum", r"expected one integer as axis, got float32 \[\]", X, np.array(1, F32), constant=["b"]),
    bad("CumSum", r"expected one integer as axis, got int64 \[2\]", X, ints(1, 2), constant=["b"]),
    bad("CumSum", "expected numbers, got bool", np.array([True]), np.array(0), constant=["b"]),
    bad("ArgMax", "axis -4 is out of range for rank 3", X, axis=-4),
    bad("ArgMin", r"nothing to choose from in \[2, 4, 0\]", X[..., :0], axis=2),
    bad("TopK", r"K: expected one number from 0 to 10, got \[11\]", X, ints(11), constant=["b"], outputs=2),
    bad("TopK", r"K: expected one number from 0 to 10, got \[-1\]", X, ints(-1), constant=["b"], outputs=2),
    bad("TopK", r"K: expected one number from 0 to 10, got \[1, 2\]", X, ints(1, 2), constant=["b"], outputs=2),
    bad("TopK", "axis 3 is out of range for rank 3", X, ints(1), constant=["b"], outputs=2, axis=3),
    # --- single elements
    bad("GatherElements", "expected int32 or int64 indices, got float32", X, X),
    bad("GatherElements", r"indices of shape \[3, 1, 1\] for \[2, 4, 10\] along axis 1", X, ZEROS.repeat(3, 0), axis=1),
    bad("GatherElements", r"indices of shape \[2\] for \[2, 4, 10\] along axis 0", X, ints(0, 1)),
    bad("GatherND", "expected int64 indices, got int32", X, np.zeros((1, 1), np.int32)),
    bad("GatherND", r"indices of shape \[1, 4\] for \[2, 4, 10\], batch_dims 0", X, np.zeros((1, 4), I64)),
    bad("GatherND", r"indices of shape \[1, 0\] for \[2, 4, 10\], batch_dims 0", X, np.zeros((1, 0), I64)),
    bad("GatherND", r"indices of shape \[1, 1\] for \[2, 4, 10\], batch_dims 1", X, ZEROS[0], batch_dims=1),
    bad("GatherND", r"batch_dims 2 for shapes \[2, 4, 10\] and \[2, 1\]", X, np.zeros((2, 1), I64), batch_dims=2),
    bad("GatherND", r"batch_dims -1 for shapes", X, np.zeros((2, 1), I64), batch_dims=-1),
    bad("GatherND", r"batch_dims 0 for shapes \[2, 4, 10\] and \[\]", X, np.array(0)),
    bad("ScatterElements", r"updates: expected \[1, 1, 1\], got \[1\]", X, ZEROS, draw(1)),
    bad("ScatterElements", "reduction: expected one of none, add, mul, max, min, got 'x'", X, ZEROS, X, reduction="x"),
    bad("ScatterND", r"updates: expected \[1, 10\], got \[1, 4\]", X, np.zeros((1, 2), I64), draw(1, 4)),
    bad("ScatterND", r"indices of shape \[1, 4\] for \[2, 4, 10\]", X, np.zeros((1, 4), I64), draw(1)),
    bad("ScatterND", "inputs of different types: float32, int64", X, np.zeros((1, 3), I64), ints(1)),
    bad(
        *("ScatterND", "expected numbers to reduce, got bool", np.array([True]), ZEROS[0], np.array([True])),
        reduction="add",
        opset=18,
    ),
    bad("OneHot", "expected numbers, got bool", np.array([True]), np.array(2), draw(2), constant=["b"]),
    bad("OneHot", r"depth: expected one positive number, got \[0\]", ints(1), np.array(0), draw(2), constant=["b"]),
    bad("OneHot", r"depth: expected one positive number, got \[2, 3\]", ints(1), ints(2, 3), draw(2), constant=["b"]),
    bad("OneHot", r"depth: expected one positive number, got \[nan\]", ints(1), NAN, draw(2), constant=["b"]),
    bad("OneHot", r"depth: expected one positive number, got \[-1\.0\]", ints(1), MINUS, draw(2), constant=["b"]),
    bad("OneHot", r"values: expected \[2\], got \[3\]", ints(1), np.array(2), draw(3), constant=["b"]),
    bad("OneHot", "axis 2 is out of range for rank 2", ints(1), np.array(2), draw(2), constant=["b"], axis=2),
    bad("ReverseSequence", "expected batch_axis and time_axis 0 and 1, got 1 and 1", X, ints(1, 1), time_axis=1),
    bad("ReverseSequence", r"sequence_lens: expected int64, one for each row of \[2, 4, 10\], got int64", X, ints(1)),
    bad("Compress", r"condition: expected a list of bool, got int64 \[1\]", X, ints(1), constant=["b"]),
    bad("Compress", "a condition of 3 for 2 elements", X, np.array([True] * 3), constant=["b"], axis=0),
    bad("Compress", "axis 3 is out of range for rank 3", X, np.array([True]), constant=["b"], axis=3),
    # --- sums of products
    bad("Einsum", "'ij,jk->ik' has 2 inputs, the node 1", draw(2, 3), equation="ij,jk->ik"),
    bad("Einsum", "'ij' for an input of shape", draw(2, 3, 4), equation="ij->i"),
    bad("Einsum", "'ijk' for an input of shape", draw(2, 3), equation="ijk->i"),
    bad("Einsum", r"'i\.\.\.jk' for an input of shape", draw(2, 3), equation="i...jk->i...jk"),
    bad("Einsum", "j is 3 and 4", draw(2, 3), draw(4, 5), equation="ij,jk->ik"),
    bad("Einsum", r"shapes \[3\] and \[4\] do not broadcast", draw(3, 2), draw(4, 2), equation="...i,...i->..."),
    bad("Einsum", "'ij->k': the output needs labels of the inputs, each once", draw(2, 3), equation="ij->k"),
    bad("Einsum", "'ij->ii': the output needs labels of the inputs, each once", draw(2, 3), equation="ij->ii"),
    bad("Einsum", "'i1->i' is not an equation of letters, commas and an ellipsis", draw(2, 3), equation="i1->i"),
    bad("Einsum", "'iß->i' is not an equation of letters", draw(2, 3), equation="iß->i"),
    bad("Einsum", r"'\.\.\.\.\.\.->\.\.\.' is not an equation of letters", draw(2, 3), equation="......->..."),
    bad("Einsum", "inputs of different types: float32, int64", draw(2), ints(1, 2), equation="i,i->i"),
    bad("Einsum", "expected numbers, got bool", np.array([True]), equation="i->i"),
    # --- padding and the rest
    bad("Pad", "expected 6 pads, got 4", X, ints(0, 0, 0, 0), constant=["b"]),
    bad("Pad", "pads 0 and -11 for 10 elements, mode constant", X, ints(0, 0, 0, 0, 0, -11), constant=["b"]),
    bad("Pad", "pads 4 and 0 for 4 elements, mode reflect", X, ints(0, 4, 0, 0, 0, 0), constant=["b"], mode="reflect"),
    bad("Pad", "pads 1 and 0 for 0 elements, mode edge", draw(0), ints(1, 0), constant=["b"], mode="edge"),
    bad("Pad", "pads 3 and 0 for 2 elements, mode wrap", draw(2), ints(3, 0), constant=["b"], mode="wrap", opset=19),
    bad("Pad", "mode: expected one of constant, reflect, edge, wrap, got 'mirror'", draw(2), ints(1, 0), mode="mirror"),
    bad("Pad", r"expected one float32 as value, got int64 \[\]", draw(2), ints(1, 0), np.array(1), constant=["b"]),
    bad("Pad", r"expected one float32 as value, got float32 \[2\]", draw(2), ints(1, 0), draw(2), constant=["b"]),
    bad("Pad", "a scalar has no axis to pad", np.array(1, F32), np.zeros(0, I64), constant=["b"]),
    bad("EyeLike", r"expected a matrix, got \[2, 4, 10\]", X),
    bad("EyeLike", "k: 9223372036854775807 is out of range", draw(2, 2), k=2**63 - 1),
    # --- elementwise
    bad("Celu", "alpha is 0", X, alpha=0.0),
    bad("PRelu", r"slope: \[3, 2, 4, 10\] does not broadcast to \[2, 4, 10\]", X, draw(3, 2, 4, 10)),
    bad("Mod", "floats need fmod=1", X, X),
    bad("IsNaN", "expected a float tensor, got int64", ints(1)),
    bad("BitwiseAnd", "expected integers, got float32", X, X),
    bad("Mean", "expected a float tensor, got int64", ints(1), ints(2)),
]  # fmt: skip


@pytest.mark.parametrize(("op", "message", "arrays", "more"), MALFORMED)
def test_what_breaks_the_rules_of_onnx_is_refused(
    op: str, message: str, arrays: tuple[np.ndarray, ...], more: dict[str, Any]
) -> None:
    given = dict(zip("abcde", arrays, strict=False))
    with pytest.raises(ModelFormatError, match=rf'in node "n" \({op}\): {message}'):
        edgeinfer.load(one_node(op, given, **more), backend="native", nonfinite_weights=True)


@pytest.mark.parametrize(("axes", "message"), [((0, 0), r"axes \[0, 0\] repeat"), ((0, 3), "axes 3 is out of range")])
def test_pads_for_axes_that_are_not_there_or_repeat_are_refused(axes: tuple[int, ...], message: str) -> None:
    given = {"a": X, "b": ints(0, 0, 0, 0), "d": ints(*axes)}
    data = one_node("Pad", given, inputs=["a", "b", "", "d"], constant=["b", "d"], opset=18)
    with pytest.raises(ModelFormatError, match=rf'in node "n" \(Pad\): {message}'):
        edgeinfer.load(data, backend="native")


UNSUPPORTED = [
    bad("MaxPool", "ceil_mode is not implemented", X, kernel_shape=[3], ceil_mode=1),
    bad("BatchNormalization", "training_mode is not implemented", X, *[draw(4)] * 4, training_mode=1),
    bad("LayerNormalization", "stash_type: expected 1, float32", X, draw(10), stash_type=11),
    bad("Einsum", "more than two inputs are not implemented", *[draw(2)] * 3, equation="i,i,i->i"),
    bad("Einsum", "an ellipsis that is summed over is not implemented", draw(2, 3), equation="...i->i"),
    bad("EyeLike", "element type 8 is not implemented", draw(2, 2), dtype=8),
    bad("CumSum", "the axis must be constant", X, np.array(1)),
    bad("TopK", "K must be constant", X, ints(1), outputs=2),
    bad("OneHot", "depth must be constant", ints(1), np.array(2), draw(2)),
    bad("Compress", "the condition must be constant", X, np.array([True]), axis=0),
    bad("Pad", "pads must be constant", draw(2), ints(1, 0)),
]


@pytest.mark.parametrize(("op", "message", "arrays", "more"), UNSUPPORTED)
def test_what_is_not_implemented_is_refused_by_name(
    op: str, message: str, arrays: tuple[np.ndarray, ...], more: dict[str, Any]
) -> None:
    given = dict(zip("abcde", arrays, strict=False))
    with pytest.raises(UnsupportedOperatorError, match=rf'in node "n" \({op}\): {message}') as info:
        edgeinfer.load(one_node(op, given, **more), backend="native")
    assert (info.value.op_type, info.value.node) == (op, "n")


@pytest.mark.parametrize(
    ("op", "arrays", "more"),
    [
        ("GatherElements", (draw(3), ints(3)), {}),
        ("GatherElements", (draw(3), ints(-4)), {}),
        ("GatherND", (draw(3, 2), np.array([[1, 2]], I64)), {}),
        ("ScatterElements", (draw(3), ints(3), draw(1)), {}),
        ("ScatterND", (draw(3, 2), np.array([[3]], I64), draw(1, 2)), {}),
        ("ScatterND", (draw(3, 2), np.array([[-4]], I64), draw(1, 2)), {"reduction": "add", "opset": 16}),
        ("ReverseSequence", (draw(2, 3), ints(1, 4)), {"batch_axis": 0, "time_axis": 1}),
    ],
)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_an_index_outside_the_tensor_is_refused_naming_the_node(
    op: str, arrays: tuple[np.ndarray, ...], more: dict[str, Any], backend: Any
) -> None:
    given = dict(zip("abc", arrays, strict=False))
    model = edgeinfer.load(one_node(op, given, **more), backend=backend)
    with pytest.raises(InputError, match=r'in node "n".*an index is outside the table'):
        model.run(None, given)


ONE = np.ones((1, 1, 1), F32)


@pytest.mark.parametrize(
    ("op", "arrays", "more"),
    [
        # little goes in and comes out, and much would be needed between
        ("Conv", (ONE, np.ones((1, 1, 2), F32)), {"pads": [2**31 - 1] * 2, "strides": [2**31 - 1]}),
        ("ConvTranspose", (np.ones((1, 1, 2), F32), ONE), {"strides": [2**31 - 1], "pads": [2**31 - 1, 0]}),
        ("MaxPool", (ONE,), {"kernel_shape": [2**30], "pads": [2**29, 2**29]}),
        ("AveragePool", (np.ones((1, 1, 2**16), F32),), {"kernel_shape": [2**15]}),
        # what comes out is too much by itself, if only along the axes that are not empty
        ("Tile", (np.ones((0, 1), F32), ints(1, 2**62)), {"constant": ["b"]}),
        ("Conv", (ONE, ONE), {"pads": [2**30, 2**30]}),
        ("Pad", (np.ones(1, F32), ints(2**62, 0)), {"constant": ["b"]}),
        ("OneHot", (np.zeros(64, I64), np.array(2**30), np.ones(2, F32)), {"constant": ["b"]}),
        ("Einsum", (np.ones(2**16, F32), np.ones(2**16, F32)), {"equation": "i,j->ij"}),
    ],
)
def test_a_node_that_needs_more_memory_than_a_tensor_may_have_is_refused(
    op: str, arrays: tuple[np.ndarray, ...], more: dict[str, Any]
) -> None:
    given = dict(zip("abc", arrays, strict=False))
    with pytest.raises(ModelLimitError, match=rf'in node "n" \({op}\).*tensor_bytes is \d+, the limit is') as info:
        edgeinfer.load(one_node(op, given, **more), backend="native")
    assert info.value.limit == "tensor_bytes"


def test_what_a_constant_convolution_needs_counts_as_folding() -> None:
    constants = {"a": np.ones((1, 1, 2**13), F32), "b": np.ones((1, 1, 2**12), F32)}
    nodes = [node("Conv", ["a", "b"], ["c"], "n"), node("Add", ["x", "c"], ["y"])]
    data = build(nodes, [value("x", [1])], [value("y", None)], constants)
    with pytest.raises(
        ModelLimitError, match=r'in node "n" \(Conv\): constants of \d+ bytes would be computed'
    ) as info:
        edgeinfer.load(data, backend="native")
    assert info.value.limit == "folded_bytes"


def test_a_list_that_was_an_attribute_once_is_missed_as_one() -> None:
    with pytest.raises(ModelFormatError, match=r'in node "n" \(Unsqueeze\): attribute axes is missing'):
        edgeinfer.load(one_node("Unsqueeze", {"a": draw(3, 2)}, opset=11))
