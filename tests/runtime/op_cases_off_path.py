"""The cases of operators that run off the step's path: convolution, pooling, normalization, indexing, reductions."""

from __future__ import annotations

import itertools

import numpy as np
from graphs import draw
from onnx import TensorProto
from op_cases import BOOL, CASES, F32, F64, I32, I64, POSITIVE, WIDE, add

__all__ = ["CASES"]

F16 = np.float16


def ints(*values: int) -> np.ndarray:
    return np.array(values, I64)


# --- elementwise
UNIT = np.linspace(-0.97, 0.97, 31, dtype=F32)
for _op, _x in {
    **dict.fromkeys(("Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Asinh", "HardSwish", "Mish", "Celu"), WIDE),
    **dict.fromkeys(("Asin", "Acos", "Atanh"), UNIT),
    "Acosh": POSITIVE + F32(1),
}.items():
    _opset = 18 if _op == "Mish" else 14
    add(_op, "values", _x / 2 if _op in ("Sinh", "Cosh") else _x, opset=_opset)
    add(_op, "rank 3", np.ascontiguousarray(_x[:30].reshape(2, 3, 5)) / 3 + F32(_op == "Acosh"), opset=_opset)
    add(_op, "nothing", np.zeros((0, 3), F32), opset=_opset)
add("Celu", "alpha", WIDE, alpha=0.3)
add("Celu", "negative alpha", UNIT, alpha=-1.5)
add("PRelu", "each", draw(2, 3, 4), draw(4, seed=1))
add("PRelu", "channels", draw(2, 3, 4), draw(3, 1, seed=1), constant=["b"])
add("PRelu", "one", draw(2, 3, 4), np.array([0.25], F32), opset=16)
SPECIAL = np.array([[1, np.nan, np.inf], [-np.inf, 0, -1]], F32)
add("IsNaN", "special", SPECIAL, out_dtype=BOOL)
add("IsNaN", "float64", SPECIAL.astype(F64), out_dtype=BOOL)
for _down, _up in itertools.product((0, 1), (0, 1)):
    add("IsInf", f"{_down} {_up}", SPECIAL, detect_negative=_down, detect_positive=_up, out_dtype=BOOL)
add("Xor", "table", np.array([[True], [False]]), np.array([True, False]), out_dtype=BOOL)
for _op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
    add(_op, "int32", np.array([[6, -7, 3]], I32), np.array([[3], [12]], I32), opset=18, out_dtype=I32)
    add(_op, "int64", ints(6, -7, 2**40 + 1), ints(3), opset=18, out_dtype=I64)
add("BitwiseNot", "int64", ints(6, -7, 0), opset=18, out_dtype=I64)
for _dtype in (I32, I64):
    _a, _b = np.array([[-7, 7, 8, -8]], _dtype), np.array([[3], [-3]], _dtype)
    add("Mod", f"{_dtype.__name__}", _a, _b, out_dtype=_dtype)
    add("Mod", f"{_dtype.__name__} fmod", _a, _b, out_dtype=_dtype, fmod=1)
add("Mod", "float", WIDE, np.array(2.5, F32), fmod=1)
add("Mean", "one", draw(2, 3))
add("Mean", "three", draw(2, 3), draw(3, seed=1), draw(2, 1, seed=2))

# --- convolution: stride, dilation, pads, groups, on one axis and on two
for _label, _more in {
    "plain": {},
    "kernel given": {"kernel_shape": [3]},
    "strides": {"strides": [2]},
    "dilations": {"dilations": [2]},
    "pads": {"pads": [2, 1]},
    "all": {"strides": [3], "dilations": [2], "pads": [3, 1]},
    "same upper": {"auto_pad": "SAME_UPPER", "strides": [2]},
    "same lower": {"auto_pad": "SAME_LOWER", "strides": [2]},
    "valid": {"auto_pad": "VALID"},
    "more pads than kernel": {"pads": [4, 3]},
    "opset 11": {"opset": 11},
    "constant": {"constant": ["b", "c"]},
}.items():
    add("Conv", _label, draw(2, 4, 10), draw(6, 4, 3, seed=1), draw(6, seed=2), **_more)
    add("Conv", f"{_label} groups", draw(2, 4, 10), draw(6, 2, 3, seed=1), draw(6, seed=2), group=2, **_more)
add("Conv", "no bias", draw(2, 4, 10), draw(6, 4, 3, seed=1))
add("Conv", "depthwise", draw(2, 4, 10), draw(8, 1, 3, seed=1), draw(8, seed=2), group=4)
add("Conv", "kernel as long as x", draw(1, 2, 5), draw(3, 2, 5, seed=1))
add("Conv", "as tf2onnx has it", draw(2, 4, 1, 10), draw(6, 4, 1, 3, seed=1), strides=[1, 2], pads=[0, 1, 0, 1])
add("Conv", "two axes", draw(2, 3, 7, 8), draw(4, 3, 3, 2, seed=1), strides=[2, 1], dilations=[1, 2], pads=[1, 0, 2, 1])
add("Conv", "three axes", draw(1, 2, 4, 5, 4), draw(3, 2, 2, 3, 2, seed=1), draw(3, seed=2))
add("Conv", "no rows", draw(0, 4, 10), draw(6, 4, 3, seed=1))
for _label, _more in {
    "plain": {},
    "strides": {"strides": [2]},
    "wide strides": {"strides": [5]},
    "dilations": {"dilations": [2], "strides": [2]},
    "pads": {"pads": [2, 1], "strides": [2]},
    "output padding": {"strides": [3], "output_padding": [2], "pads": [1, 1]},
    "output shape": {"strides": [2], "output_shape": [19]},
    "output shape lower": {"strides": [2], "output_shape": [18], "auto_pad": "SAME_LOWER"},
    "output shape upper": {"strides": [2], "output_shape": [18], "auto_pad": "SAME_UPPER"},
    "same upper": {"strides": [2], "auto_pad": "SAME_UPPER"},
    "same lower": {"strides": [2], "auto_pad": "SAME_LOWER"},
    "valid": {"strides": [2], "auto_pad": "VALID"},
    "opset 11": {"opset": 11, "strides": [2]},
}.items():
    add("ConvTranspose", _label, draw(2, 4, 10), draw(4, 6, 3, seed=1), draw(6, seed=2), **_more)
    add("ConvTranspose", f"{_label} groups", draw(2, 4, 10), draw(4, 3, 3, seed=1), draw(6, seed=2), group=2, **_more)
add("ConvTranspose", "no bias", draw(2, 4, 10), draw(4, 6, 3, seed=1))
add("ConvTranspose", "two axes", draw(2, 3, 4, 5), draw(3, 2, 3, 2, seed=1), strides=[2, 3], pads=[1, 0, 0, 1])
add(
    "ConvTranspose",
    "fewer elements than taps",
    draw(2, 4, 2),
    draw(4, 6, 5, seed=1),
    strides=[2],
    dilations=[2],
    pads=[1, 3],
)
add("ConvTranspose", "fewer on two axes", draw(1, 3, 2, 2), draw(3, 2, 3, 4, seed=1), strides=[2, 1], dilations=[1, 2])
add("ConvTranspose", "no rows", draw(0, 4, 10), draw(4, 6, 3, seed=1))

# --- pooling
for _op in ("MaxPool", "AveragePool"):
    for _label, _more in {
        "plain": {},
        "strides": {"strides": [2]},
        "pads": {"strides": [2], "pads": [2, 1]},
        "same upper": {"auto_pad": "SAME_UPPER", "strides": [2]},
        "same lower": {"auto_pad": "SAME_LOWER", "strides": [2]},
        "valid": {"auto_pad": "VALID", "strides": [3]},
        "opset 11": {"opset": 11},
        "dilations": {"dilations": [2], "pads": [1, 1], "opset": 19},
    }.items():
        add(_op, _label, draw(2, 3, 10) - F32(1), kernel_shape=[3], **_more)
    add(_op, "two axes", draw(2, 3, 6, 7), kernel_shape=[2, 3], strides=[2, 1], pads=[0, 1, 1, 2])
    add(_op, "no rows", draw(0, 3, 5), kernel_shape=[2])
    add(_op, "many taps", draw(2, 3, 90), kernel_shape=[70], strides=[2], pads=[5, 0])
    add(_op, "many taps of two axes", draw(1, 2, 10, 12), kernel_shape=[9, 8], pads=[0, 1, 2, 0])
add("AveragePool", "padding counts", draw(2, 3, 10), kernel_shape=[3], pads=[1, 2], count_include_pad=1)
add(
    "AveragePool",
    "same and padding counts",
    draw(2, 3, 10),
    kernel_shape=[4],
    auto_pad="SAME_UPPER",
    count_include_pad=1,
)
add("MaxPool", "float64", draw(2, 3, 10).astype(F64), kernel_shape=[3], pads=[1, 0], out_dtype=F64)
for _op in ("GlobalMaxPool", "GlobalAveragePool"):
    add(_op, "one axis", draw(2, 3, 5))
    add(_op, "two axes", draw(2, 3, 5, 4), opset=11)

# --- normalization
_norm = [draw(3, seed=1), draw(3, seed=2), draw(3, seed=3), np.abs(draw(3, seed=4)) + F32(0.1)]
add("BatchNormalization", "rank 3", draw(2, 3, 5), *_norm)
add("BatchNormalization", "rank 2", draw(4, 3), *_norm, epsilon=0.01)
add("BatchNormalization", "rank 4 constant", draw(2, 3, 2, 4), *_norm, constant=["b", "c", "d", "e"])
for _opset in (11, 14, 15):
    add("BatchNormalization", f"opset {_opset}", draw(2, 3, 5), *_norm, opset=_opset, momentum=0.5)
add("BatchNormalization", "no rows", draw(0, 3, 5), *_norm)
add("LayerNormalization", "last axis", draw(2, 3, 5), draw(5, seed=1), draw(5, seed=2))
add("LayerNormalization", "no bias", draw(2, 3, 5), draw(5, seed=1), epsilon=0.01)
add("LayerNormalization", "two axes", draw(2, 3, 5), draw(3, 5, seed=1), draw(3, 5, seed=2), axis=1)
add("LayerNormalization", "from the last", draw(2, 3, 5), draw(3, 5, seed=1), axis=-2)
add("LayerNormalization", "one scale", draw(2, 3, 5), draw(1, seed=1), draw(1, seed=2))
add("LayerNormalization", "scale of the last axis", draw(2, 3, 5), draw(5, seed=1), draw(3, 1, seed=2), axis=1)
add("LayerNormalization", "constant", draw(4, 33), draw(33, seed=1), draw(33, seed=2), constant=["b", "c"])
add("LayerNormalization", "everything", draw(2, 3), draw(2, 3, seed=1), axis=0)
add("LayerNormalization", "no rows", draw(0, 3, 5), draw(5, seed=1), draw(5, seed=2))
add("InstanceNormalization", "rank 3", draw(2, 3, 5), draw(3, seed=1), draw(3, seed=2))
add("InstanceNormalization", "rank 4", draw(2, 3, 5, 2), draw(3, seed=1), draw(3, seed=2), epsilon=0.01, opset=11)

# --- reductions
for _op in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"):
    _x = np.abs(draw(2, 3, 4)) + F32(0.1) if _op == "ReduceLogSum" else draw(2, 3, 4)
    for _keep in (0, 1):
        add(_op, f"all keep {_keep}", _x, keepdims=_keep)
        add(_op, f"axes keep {_keep}", _x, axes=[0, -1], keepdims=_keep)
    add(_op, "opset 18", _x, ints(-2), constant=["b"], opset=18)
    add(_op, "opset 11", _x, axes=[1], opset=11)
    add(_op, "scalar", np.array(2.5, F32), keepdims=0)
add("ReduceLogSumExp", "far", np.array([[1000, 999, -1000]], F32), axes=[1])
add("ReduceSumSquare", "int32", np.array([[3, -4], [1, 2]], I32), axes=[1], out_dtype=I32)
for _exclusive, _reverse in itertools.product((0, 1), (0, 1)):
    for _axis in (0, 1, -1):
        add(
            "CumSum",
            f"{_exclusive} {_reverse} axis {_axis}",
            *(draw(2, 5, 3), np.array(_axis, I32)),
            constant=["b"],
            exclusive=_exclusive,
            reverse=_reverse,
        )
add("CumSum", "int64", np.arange(6).reshape(2, 3), np.array([1]), constant=["b"], out_dtype=I64)
add("CumSum", "int32 opset 11", np.arange(6, dtype=I32), np.array(0), constant=["b"], out_dtype=I32, opset=11)
add("CumSum", "nothing", draw(2, 0), np.array(1), constant=["b"], exclusive=1)
TIES = np.array([[3, 1, 3, 2, 1], [0, 0, 0, 0, 0], [-1, 5, -7, 5, 2]], F32)
for _op in ("ArgMax", "ArgMin"):
    for _axis, _keep, _last in itertools.product((0, 1, -1), (0, 1), (0, 1)):
        _label = f"axis {_axis} {_keep} {_last}"
        add(_op, _label, TIES, axis=_axis, keepdims=_keep, select_last_index=_last, out_dtype=I64)
    add(_op, "default", draw(2, 3, 4), out_dtype=I64, opset=11)
    add(_op, "int32", TIES.astype(I32), axis=1, out_dtype=I64)
for _largest, _k, _axis in itertools.product((0, 1), (0, 2, 3), (0, -1)):
    _more = {"constant": ["b"], "outputs": 2, "out_dtype": (F32, I64), "largest": _largest, "axis": _axis}
    add("TopK", f"{_k} of axis {_axis} {_largest}", TIES, ints(_k), **_more)
add("TopK", "int64", TIES.astype(I64), ints(4), constant=["b"], outputs=2, out_dtype=(I64, I64))
add("TopK", "int32 smallest", TIES.astype(I32), ints(4), constant=["b"], outputs=2, out_dtype=(I32, I64), largest=0)
add("TopK", "opset 11", draw(2, 6), ints(3), constant=["b"], outputs=2, out_dtype=(F32, I64), opset=11)

# --- single elements
_rows = np.array([[2, 0], [-1, 1], [1, -3]], I64)
add("GatherElements", "axis 1", draw(3, 3), _rows, axis=1)
add("GatherElements", "axis 0", draw(3, 2), _rows)
add("GatherElements", "fewer rows", draw(5, 3, 4), np.array([[[2, 1]], [[0, -1]]], I32), axis=-1)
add("GatherElements", "int64", np.arange(9).reshape(3, 3), _rows, axis=1, out_dtype=I64)
add("GatherElements", "opset 11", draw(3, 3), _rows, axis=-1, constant=["b"], opset=11)
add("GatherND", "elements", draw(2, 3), np.array([[0, 1], [-1, 2]], I64))
add("GatherND", "rows", draw(2, 3, 4), np.array([[[1]], [[0]]], I64))
add("GatherND", "batch", draw(2, 3, 4), np.array([[2], [0]], I64), batch_dims=1)
add("GatherND", "batch of several", draw(2, 3, 4), np.array([[[2], [1]], [[0], [-1]]], I64), batch_dims=1)
add("GatherND", "two batches", draw(2, 3, 4, 5), _rows[None, :, :].repeat(2, 0) % 3, batch_dims=2)
add("GatherND", "int32", np.arange(6, dtype=I32).reshape(2, 3), np.array([[1, 1]], I64), out_dtype=I32, opset=12)
_updates = draw(3, 2, seed=3)
for _reduction, _opset in {"none": 13, "add": 16, "mul": 16, "max": 18, "min": 18}.items():
    _more = {} if _reduction == "none" else {"reduction": _reduction}
    add("ScatterElements", f"{_reduction} axis 1", draw(3, 4), _rows % 4, _updates, axis=1, opset=_opset, **_more)
    add("ScatterElements", f"{_reduction} axis 0", draw(5, 2), _rows, _updates, opset=_opset, **_more)
    add("ScatterND", f"{_reduction} elements", draw(3, 4), _rows, draw(3, seed=4), opset=_opset, **_more)
    add("ScatterND", f"{_reduction} rows", draw(3, 4), ints(2, 0)[:, None], draw(2, 4, seed=4), opset=_opset, **_more)
add("ScatterND", "int64", np.arange(4), np.array([[1], [-1]]), ints(7, 8), out_dtype=I64, opset=11)
add("ScatterElements", "opset 11", draw(3, 4), _rows % 4, _updates, axis=-1, opset=11)
_places = np.array([[0, 2, -1], [3, -4, 9]], I64)
for _axis in (-1, 0, 1, 2, -2):
    add("OneHot", f"axis {_axis}", _places, np.array(4, I64), np.array([0, 1], F32), constant=["b", "c"], axis=_axis)
add("OneHot", "int32", _places.astype(I32), np.array([4], I32), np.array([2, -1], F32), constant=["b"])
add("OneHot", "float depth", _places.astype(F32), np.array(4, F32), np.array([0, 1], F32), constant=["b"], opset=11)
add("OneHot", "half depth", _places, np.array(4, F16), np.array([0, 1], F32), constant=["b"])
add("OneHot", "int64 values", _places, np.array(4, I64), ints(5, 7), constant=["b"], out_dtype=I64)
_lens = ints(1, 3, 4)
add("ReverseSequence", "time first", draw(4, 3, 2), _lens)
add("ReverseSequence", "batch first", draw(3, 4, 2), _lens, batch_axis=0, time_axis=1)
add("ReverseSequence", "matrix", draw(3, 4), _lens, batch_axis=0, time_axis=1, constant=["b"])
add("ReverseSequence", "int64", np.arange(12).reshape(4, 3), _lens, out_dtype=I64, opset=11)
_picks = np.array([True, False, True])
add("Compress", "axis 0", draw(3, 4), _picks, axis=0, constant=["b"])
add("Compress", "axis -1", draw(2, 4), _picks, axis=-1, constant=["b"])
add("Compress", "flat", draw(2, 4), _picks, constant=["b"], opset=11)
add("Compress", "nothing", draw(3, 4), np.array([False]), axis=0, constant=["b"])

# --- sums of products
for _label, (_equation, _shapes) in {
    "attention": ("bthd,bshd->bhts", ((2, 3, 4, 5), (2, 6, 4, 5))),
    "attention back": ("bhts,bshd->bthd", ((2, 4, 3, 6), (2, 6, 4, 5))),
    "dense": ("abc,cd->abd", ((2, 3, 4), (4, 5))),
    "heads": ("abc,cde->abde", ((2, 3, 4), (4, 2, 5))),
    "transposed": ("ij->ji", ((2, 3),)),
    "implicit": ("ij,jk", ((2, 3), (3, 4))),
    "implicit one": ("ba", ((2, 3),)),
    "sum": ("ij->", ((2, 3),)),
    "rows": ("ij->i", ((2, 3),)),
    "diagonal": ("ii->i", ((3, 3),)),
    "trace": ("ii", ((3, 3),)),
    "outer": ("i,j->ij", ((2,), (3,))),
    "pointwise": ("ij,ij->ij", ((2, 3), (2, 3))),
    "ellipsis": ("...ij,...jk->...ik", ((2, 3, 4), (2, 4, 5))),
    "ellipsis grows": ("...ij,jk->...ik", ((2, 5, 3, 4), (4, 5))),
    "spaces": (" i j , j k -> k i ", ((2, 3), (3, 4))),
    "capitals": ("aB,BA->aA", ((2, 3), (3, 4))),
}.items():
    add("Einsum", _label, *(draw(*shape, seed=i) for i, shape in enumerate(_shapes)), equation=_equation, opset=12)
add("Einsum", "float64", draw(2, 3).astype(F64), draw(3, 2).astype(F64), equation="ij,jk->ik", out_dtype=F64)
add("Einsum", "int64", np.arange(6).reshape(2, 3), np.arange(3), equation="ij,j->i", out_dtype=I64)

# --- padding, and a matrix with ones
for _mode in ("constant", "reflect", "edge"):
    for _label, _pads in {"both": (0, 1, 0, 2), "cut": (0, -1, 1, -2), "none": (0, 0, 0, 0)}.items():
        add("Pad", f"{_mode} {_label}", draw(3, 5), ints(*_pads), constant=["b"], mode=_mode)
add("Pad", "value", draw(3, 5), ints(1, 0, 0, 2), np.array(2.5, F32), constant=["b"])
add("Pad", "opset 11", draw(3, 5), ints(1, 0, 0, 2), np.array(2.5, F32), constant=["b", "c"], opset=11)
add("Pad", "axes", draw(3, 5, 2), ints(1, 2), None, ints(-2), constant=["b", "d"], opset=18)
add("Pad", "axes in another order", draw(3, 5, 2), ints(1, 2, 3, 0), None, ints(2, 0), constant=["b", "d"], opset=18)
add("Pad", "wrap", draw(3, 5), ints(0, 2, 1, 3), constant=["b"], mode="wrap", opset=19)
add("Pad", "int64", np.arange(4), ints(1, 2), np.array(9), constant=["b"], out_dtype=I64)
add("Pad", "bool", np.array([True, False]), ints(1, 2), constant=["b"], out_dtype=BOOL)
add("Pad", "nothing", draw(0, 2), ints(1, 0, 0, 1), constant=["b"])
add("EyeLike", "square", draw(3, 3))
add("EyeLike", "above", draw(2, 4), k=1)
add("EyeLike", "below", draw(4, 2), k=-2)
add("EyeLike", "int64", draw(2, 3), dtype=TensorProto.INT64, out_dtype=I64)
