"""The table of operator cases: each is written once and run on every backend and instruction set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from graphs import draw, one_node, weights
from onnx import TensorProto, helper, numpy_helper

F32, F64, I32, I64, BOOL = np.float32, np.float64, np.int32, np.int64, np.bool_


@dataclass(frozen=True)
class Case:
    """One node. ``constant`` names the inputs that stand in the file; ``inputs`` is needed where some are absent."""

    op: str
    label: str
    arrays: Mapping[str, np.ndarray]
    constant: Sequence[str] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 17
    outputs: int = 1
    out_dtype: Any = F32
    inputs: Sequence[str] | None = None

    @property
    def id(self) -> str:
        return f"{self.op}-{self.label}".replace(" ", "_")

    @property
    def feeds(self) -> dict[str, np.ndarray]:
        return {name: array for name, array in self.arrays.items() if name not in self.constant}

    def file(self, dynamic: bool = False, all_constant: bool = False) -> bytes:
        """The node alone in a file; with all inputs constant its answer is known at load."""
        return one_node(
            self.op,
            self.arrays,
            opset=self.opset,
            constant=list(self.arrays) if all_constant else self.constant,
            dynamic=dynamic,
            outputs=self.outputs,
            inputs=self.inputs,
            out_dtype=self.out_dtype,
            **self.attributes,
        )


CASES: list[Case] = []


def add(op: str, label: str, *arrays: Any, **more: Any) -> None:
    """A case with inputs a, b, c …; keywords that Case does not have are the node's attributes."""
    names = ("a", "b", "c", "d", "e", "f", "g", "h")
    given = {name: np.asarray(array) for name, array in zip(names, arrays, strict=False) if array is not None}
    if any(array is None for array in arrays):
        more["inputs"] = [name if array is not None else "" for name, array in zip(names, arrays, strict=False)]
    fields = {key: more.pop(key) for key in ("constant", "opset", "outputs", "out_dtype", "inputs") if key in more}
    CASES.append(Case(op, label, given, attributes=more, **fields))


WIDE = np.linspace(-9.7, 9.7, 37, dtype=F32)
POSITIVE = np.linspace(0.01, 50.0, 37, dtype=F32)
HALVES = np.array([-2.5, -1.5, -0.5, -0.0, 0.0, 0.5, 1.5, 2.5, 1e9, -3.2], F32)

# --- elementwise, one input
for _op in (
    *("Abs", "Neg", "Sign", "Ceil", "Erf", "Exp", "Floor", "Reciprocal", "Round", "Sigmoid", "Softplus", "Softsign"),
    *("Tanh", "Relu", "Elu", "HardSigmoid", "LeakyRelu", "Selu", "ThresholdedRelu", "Log", "Sqrt", "Gelu"),
):
    _x = POSITIVE if _op in ("Log", "Sqrt") else WIDE
    _opset = 20 if _op == "Gelu" else 17
    add(_op, "37 values", _x, opset=_opset)
    add(_op, "scalar", _x[-5], opset=_opset)
    add(_op, "rank 3", _x[:30].reshape(2, 3, 5), opset=_opset)
    add(_op, "nothing", np.zeros((0, 3), F32), opset=_opset)
for _op in ("Abs", "Neg", "Sign"):
    add(_op, "int64", np.array([[-3, 0], [7, -(2**40)]], I64), out_dtype=I64)
    add(_op, "int32", np.array([-3, 0, 7], I32), out_dtype=I32)
for _op in ("Ceil", "Floor", "Round"):
    add(_op, "halves", HALVES)
add("Elu", "alpha", WIDE, alpha=0.3)
add("HardSigmoid", "keras", WIDE, alpha=1 / 6, beta=0.5)
add("LeakyRelu", "alpha", WIDE, alpha=0.3)
add("LeakyRelu", "negative alpha", WIDE, alpha=-0.3)
add("Selu", "alpha gamma", WIDE, alpha=2.0, gamma=0.5)
add("ThresholdedRelu", "alpha", WIDE, alpha=2.5)
add("ThresholdedRelu", "negative alpha", WIDE, alpha=-2.5)
add("Gelu", "tanh", WIDE, approximate="tanh", opset=20)
add("Relu", "float64", WIDE.astype(F64), out_dtype=F64)
add("Sigmoid", "far", np.array([-1e4, -90, -87, 87, 90, 1e4], F32))
add("Tanh", "far", np.array([-1e4, -90, -1e-30, 1e-4, 90, 1e4], F32))
add("Exp", "far", np.array([-200, -104, -88, 88, 89, 200], F32))
add("Softplus", "far", np.array([-200, -20, 20, 200], F32))
add("Not", "bool", np.array([[True, False]]), out_dtype=BOOL)
add("Not", "scalar", np.array(True), out_dtype=BOOL)

# --- elementwise, two inputs with broadcasting
SHAPES = {
    "same": ((3, 5), (3, 5)),
    "row": ((3, 5), (5,)),
    "column": ((3, 5), (3, 1)),
    "both": ((4, 1, 5), (3, 1)),
    "left grows": ((5,), (2, 3, 5)),
    "scalar": ((2, 3), ()),
    "scalars": ((), ()),
    "long": ((37,), (37,)),
    "rank 6": ((2, 1, 2, 1, 2, 3), (1, 3, 2, 2, 1, 1)),
    "nothing": ((0, 4), (4,)),
    "nothing outside": ((3, 0), (1, 1)),
}
for _op in ("Add", "Sub", "Mul", "Div"):
    for _label, (_a, _b) in SHAPES.items():
        add(_op, _label, draw(*_a, scale=2.0), np.abs(draw(*_b, seed=5)) + F32(0.5))
    for _dtype in (I32, I64):
        _a_int = np.array([[-7, 7, 8], [-8, 0, 2**30]], _dtype)
        add(_op, _dtype.__name__, _a_int, np.array([3, -3, 1], _dtype), out_dtype=_dtype)
    add(_op, "constant", draw(3, 5), draw(5, seed=2) + F32(3), constant=["b"])
    add(_op, "constant first", draw(3, 5), draw(5, seed=2) + F32(3), constant=["a"])
    add(_op, "float64", draw(4).astype(F64), draw(4, seed=1).astype(F64) + 2, out_dtype=F64)
add("Pow", "square", draw(3, 5), np.array(2.0, F32))
add("Pow", "root", POSITIVE, np.array([0.5], F32))
add("Pow", "each", np.abs(draw(3, 5)), draw(5, seed=3))
add("Pow", "float to int", draw(4), np.array([1, 2, 3, 0], I64))
add("Pow", "int to float", np.array([1, 2, 3], I32), np.array([0.5, 2.0, 1.0], F32), out_dtype=I32)
add("Pow", "negative exponent", np.array([1, 2, -1, 4], I64), np.array([-1, -2, -3, 2], I64), out_dtype=I64)
for _op in ("And", "Or"):
    add(_op, "table", np.array([[True], [False]]), np.array([True, False]), out_dtype=BOOL)
for _op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
    add(_op, "float", np.array([1, 2, 3, np.nan], F32), np.array([[2], [3]], F32), out_dtype=BOOL)
    add(_op, "int64", np.array([1, 2, 3], I64), np.array(2, I64), out_dtype=BOOL)
    add(_op, "nothing", np.zeros((0,), F32), np.zeros((1,), F32), out_dtype=BOOL)
for _op in ("Max", "Min"):
    for _label, (_a, _b) in SHAPES.items():
        add(_op, _label, draw(*_a), draw(*_b, seed=5))
    add(_op, "int64", np.array([1, 5], I64), np.array([[3], [9]], I64), out_dtype=I64)
for _op in ("Max", "Min", "Sum"):
    add(_op, "one", draw(2, 3))
    add(_op, "three", draw(2, 3), draw(3, seed=1), draw(2, 1, seed=2))
    add(_op, "two", draw(2, 3), draw(3, seed=1))
add("Clip", "both", WIDE, np.array(-1.5, F32), np.array(2.5, F32), constant=["b", "c"])
add("Clip", "computed bounds", WIDE, np.array(-1.5, F32), np.array(2.5, F32))
add("Clip", "low", WIDE, np.array(-1.5, F32), constant=["b"])
add("Clip", "high", WIDE, None, np.array(2.5, F32), constant=["c"])
add("Clip", "none", WIDE)
add("Clip", "crossed", WIDE, np.array(2.0, F32), np.array(-2.0, F32), constant=["b", "c"])
add("Clip", "int64", np.array([1, 5, 9], I64), np.array(2, I64), np.array(6, I64), out_dtype=I64)
add("Clip", "scalar", np.array(7, F32), np.array(2, F32), np.array(6, F32))
add("Clip", "opset 11", WIDE, np.array(-1.5, F32), np.array(2.5, F32), opset=11)
add("Where", "broadcast", np.array([[True], [False]]), draw(3), draw(2, 3, seed=1))
add("Where", "int64", np.array([True, False]), np.array([1, 2], I64), np.array(0, I64), out_dtype=I64)
_TYPES = {"float32": F32, "float64": F64, "int32": I32, "int64": I64, "bool": BOOL, "float16": np.float16}
for _from, _source in _TYPES.items():
    for _to, _target in _TYPES.items():
        _x = np.array([0, 1, -2.75, 3.5, 100], F32).astype(_source)
        add("Cast", f"{_from} {_to}", _x, to=helper.np_dtype_to_tensor_dtype(np.dtype(_target)), out_dtype=_target)
add("Cast", "nothing", np.zeros((0, 2), F32), to=TensorProto.INT64, out_dtype=I64)
add("Cast", "scalar", np.array(2.5, F32), to=TensorProto.INT32, out_dtype=I32)
add("DequantizeLinear", "one scale", np.array([[-128, 0, 127]], np.int8), np.array(0.02, F32))
add("DequantizeLinear", "zero point", np.array([0, 7, 255], np.uint8), np.array(0.5, F32), np.array(9, np.uint8))
add(
    *("DequantizeLinear", "per row", np.array([[1, -2], [3, -4], [5, 6]], np.int8)),
    *(np.array([0.1, 0.2, 0.3], F32), np.array([0, 1, -1], np.int8)),
    axis=-2,
)
add("Cast", "uint8", np.array([0, 7, 255], np.uint8), to=TensorProto.FLOAT)

# --- moving values
add("Identity", "float", draw(2, 3))
add("Identity", "scalar", np.array(3, I64), out_dtype=I64)
add("Dropout", "opset 17", draw(2, 3))
add("Dropout", "ratio", draw(2, 3), np.array(0.5, F32), constant=["b"])
add("Dropout", "opset 11", draw(2, 3), ratio=0.3, opset=11)
add("Transpose", "default", draw(2, 3, 4))
add("Transpose", "matrix", draw(5, 7))
for _perm in ((0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1), (2, 1, 0)):
    add("Transpose", f"perm {_perm}", draw(2, 3, 4), perm=list(_perm))
add("Transpose", "ones move", draw(1, 3, 1, 4), perm=[1, 0, 3, 2])
add("Transpose", "rank 8", draw(2, 1, 2, 1, 3, 1, 2, 2), perm=[7, 6, 5, 4, 3, 2, 1, 0])
add("Transpose", "rank 9", draw(2, 1, 2, 1, 3, 1, 2, 1, 2), perm=[8, 7, 6, 5, 4, 3, 2, 1, 0])
add("Transpose", "nothing", draw(0, 3, 2), perm=[2, 0, 1])
add("Transpose", "scalar", np.array(1.5, F32))
add("Transpose", "int64", np.arange(6, dtype=I64).reshape(2, 3), out_dtype=I64)
add("Transpose", "bool", np.array([[True, False, True]] * 2), out_dtype=BOOL)
for _label, _shape in {"flat": [-1], "infer": [2, -1], "copy": [0, -1, 2], "same": [2, 3, 4]}.items():
    add("Reshape", _label, draw(2, 3, 4), np.array(_shape, I64), constant=["b"])
add("Reshape", "allowzero", draw(0, 3), np.array([3, 0], I64), constant=["b"], allowzero=1)
add("Reshape", "scalar", draw(1, 1), np.array([], I64), constant=["b"])
add("Squeeze", "axes", draw(1, 3, 1, 2), np.array([0, -2], I64), constant=["b"])
add("Squeeze", "all", draw(1, 3, 1, 2))
add("Squeeze", "opset 11", draw(1, 3, 1, 2), axes=[0, 2], opset=11)
add("Unsqueeze", "axes", draw(3, 2), np.array([0, -1], I64), constant=["b"])
add("Unsqueeze", "opset 11", draw(3, 2), axes=[1, 3], opset=11)
add("Unsqueeze", "scalar", np.array(2.0, F32), np.array([0], I64), constant=["b"])
for _axis in (0, 1, 2, 3, -1, -3):
    add("Flatten", f"axis {_axis}", draw(2, 3, 4), axis=_axis)
add("Flatten", "default", draw(2, 3, 4))
add("Flatten", "nothing", draw(2, 0, 4))
add("Shape", "whole", draw(2, 3, 4), out_dtype=I64)
add("Shape", "part", draw(2, 3, 4), start=-2, end=-1, out_dtype=I64)
add("Shape", "start", draw(2, 3, 4), start=1, out_dtype=I64)
add("Shape", "opset 11", draw(2, 3, 4), opset=11, out_dtype=I64)
add("Size", "rank 3", draw(2, 3, 4), out_dtype=I64)
for _index in (I32, I64):
    add("Gather", f"rows {_index.__name__}", draw(5, 3), np.array([[4, 0], [-1, -5]], _index))
add("Gather", "constant table", draw(5, 3), np.array([[4, 0], [-1, -5]], I64), constant=["a"])
add("Gather", "axis 1", draw(2, 5, 3), np.array([4, -2], I64), axis=1)
add("Gather", "axis -1", draw(2, 5, 3), np.array([2, 0], I64), axis=-1)
add("Gather", "one", draw(2, 5, 3), np.array(-1, I64), axis=1, constant=["b"])
add("Gather", "no index", draw(5, 3), np.zeros((0, 2), I64))
add("Gather", "int64 table", np.arange(6, dtype=I64).reshape(3, 2), np.array([2, 1], I64), out_dtype=I64)
for _axis in (0, 1, -1):
    add("Concat", f"axis {_axis}", draw(2, 2), draw(2, 2, seed=1), draw(2, 2, seed=2), axis=_axis)
add("Concat", "different", draw(2, 3, 2), draw(2, 1, 2, seed=1), axis=1)
add("Concat", "nothing", draw(2, 0), draw(2, 3, seed=1), axis=1)
add("Concat", "one", draw(2, 3), axis=0)
add("Concat", "int64", np.array([1], I64), np.array([2, 3], I64), axis=0, out_dtype=I64)
add("Concat", "bool", np.array([True]), np.array([False]), axis=0, out_dtype=BOOL)
add("Concat", "float64", draw(1, 2).astype(F64), draw(3, 2).astype(F64), axis=0, out_dtype=F64)
add("Concat", "float16", draw(1, 2).astype(np.float16), draw(3, 2).astype(np.float16), axis=0, out_dtype=np.float16)
add("Split", "even", draw(2, 6), axis=1, outputs=3, opset=13)
add("Split", "sizes", draw(2, 6), np.array([1, 5, 0], I64), axis=-1, outputs=3, constant=["b"], opset=13)
add("Split", "opset 11", draw(5, 2), split=[2, 3], outputs=2, opset=11)
add("Split", "uneven", draw(7, 2), num_outputs=3, outputs=3, opset=18)
for _label, _parts in {
    "front": ([0], [2], [1], [1]),
    "back": ([-2], [2**31 - 1], [1], [1]),
    "steps": ([0], [5], [1], [2]),
    "reverse": ([-1], [-(2**31)], [1], [-1]),
    "reverse by two": ([4], [0], [-2], [-2]),
    "two axes": ([1, 0], [3, 2], [1, 2], [1, 1]),
    "beyond": ([-100], [100], [1], [1]),
    "nothing": ([3], [3], [1], [1]),
    "past the end": ([9], [20], [1], [1]),
    "reverse from beyond": ([100], [1], [1], [-1]),
    "a step over all": ([4], [0], [-2], [-(2**63)]),
}.items():
    _slice = [np.array(part, I64) for part in _parts]
    add("Slice", _label, draw(3, 5, 4), *_slice, constant=["b", "c", "d", "e"])
add("Slice", "no axes", draw(3, 5), np.array([1], I32), np.array([2], I32), constant=["b", "c"])
add("Slice", "int64", np.arange(9, dtype=I64), np.array([2]), np.array([5]), constant=["b", "c"], out_dtype=I64)
add("Slice", "empty input", draw(3, 0), *(np.array([v]) for v in (-1, -9, 1, -1)), constant=["b", "c", "d", "e"])
add("Expand", "rows", draw(1, 3), np.array([4, 3], I64), constant=["b"])
add("Expand", "smaller shape", draw(2, 3), np.array([1], I64), constant=["b"])
add("Expand", "new axes", draw(3, 1), np.array([2, 1, 5], I64), constant=["b"])
add("Expand", "bool", np.array([True]), np.array([3], I64), constant=["b"], out_dtype=BOOL)
add("Expand", "nothing", draw(1, 3), np.array([0, 3], I64), constant=["b"])
add("Tile", "both axes", draw(2, 3), np.array([2, 3], I64), constant=["b"])
add("Tile", "zero", draw(2, 3), np.array([0, 1], I64), constant=["b"])
add("ConstantOfShape", "zeros", np.array([2, 3], I64), constant=["a"])
add(
    "ConstantOfShape",
    "sevens",
    np.array([2, 0, 3], I64),
    constant=["a"],
    out_dtype=I64,
    value=numpy_helper.from_array(np.array([7], I64)),
)
add("Range", "int64", *(np.array(v, I64) for v in (3, 11, 2)), constant=["a", "b", "c"], out_dtype=I64)
add("Range", "backwards", *(np.array(v, F32) for v in (3, -1, -0.75)), constant=["a", "b", "c"])
add("Range", "nothing", *(np.array(v, F32) for v in (3, 1, 1)), constant=["a", "b", "c"])

# --- products, softmax, reductions
for _label, (_a, _b) in {
    "matrices": ((3, 5), (5, 7)),
    "batched": ((4, 3, 5), (5, 7)),
    "both batched": ((4, 3, 5), (4, 5, 2)),
    "broadcast batch": ((4, 1, 3, 5), (2, 5, 2)),
    "vector right": ((3, 5), (5,)),
    "vector left": ((5,), (5, 7)),
    "batched vector": ((2, 3, 5), (5,)),
    "dot": ((5,), (5,)),
    "wide": ((9, 33), (33, 67)),
    "no rows": ((0, 5), (5, 7)),
    "nothing to sum": ((3, 0), (0, 4)),
}.items():
    add("MatMul", _label, draw(*_a), draw(*_b, seed=1))
    add("MatMul", f"{_label} constant", draw(*_a), draw(*_b, seed=1), constant=["b"])
add("MatMul", "float64", draw(3, 5).astype(F64), draw(5, 2).astype(F64), out_dtype=F64)
add("MatMul", "int32", np.arange(6, dtype=I32).reshape(2, 3), np.arange(3, dtype=I32), out_dtype=I32)
for _label, _c in {"none": None, "row": (7,), "column": (3, 1), "full": (3, 7), "scalar": (), "one": (1,)}.items():
    _gemm = [draw(3, 5), draw(5, 7, seed=1), *([] if _c is None else [draw(*_c, seed=2)])]
    add("Gemm", f"C {_label}", *_gemm)
    add("Gemm", f"C {_label} constant", *_gemm, constant=["b", "c"][: len(_gemm) - 1])
add("Gemm", "transposed", draw(5, 3), draw(7, 5, seed=1), draw(7, seed=2), transA=1, transB=1)
add("Gemm", "transB constant", draw(3, 5), draw(7, 5, seed=1), draw(7, seed=2), transB=1, constant=["b", "c"])
add("Gemm", "transA constant", draw(5, 3), draw(5, 7, seed=1), draw(7, seed=2), transA=1, constant=["b", "c"])
add("Gemm", "alpha beta", draw(3, 5), draw(5, 7, seed=1), draw(7, seed=2), alpha=0.5, beta=-2.0)
add("Gemm", "alpha beta constant", draw(3, 5), draw(5, 7), draw(7), alpha=0.5, beta=-2.0, constant=["b", "c"])
for _op in ("Softmax", "LogSoftmax"):
    add(_op, "default", draw(3, 5, scale=3.0))
    add(_op, "axis 0", draw(3, 5, scale=3.0), axis=0)
    add(_op, "axis 1 of 3", draw(3, 5, 2, scale=3.0), axis=1)
    add(_op, "long", draw(2, 1030, scale=9.0))
    add(_op, "far", np.array([[1000.0, 0.0, -1000.0]], F32))
    add(_op, "one column", draw(4, 1))
    add(_op, "last axes of one", draw(4, 3, 1, 1), axis=1)
    add(_op, "opset 11", draw(3, 5), opset=11)
    add(_op, "no rows", draw(0, 4))
    add(_op, "no columns", draw(3, 0))
    add(_op, "float64", draw(3, 4).astype(F64), out_dtype=F64)
for _op in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"):
    _as_input = _op == "ReduceSum"
    for _label, _axes in {"all": None, "axis 1": [1], "axes": [0, -1]}.items():
        for _keep in (0, 1):
            if _axes is None:
                add(_op, f"{_label} keep {_keep}", draw(2, 3, 4), keepdims=_keep)
            elif _as_input:
                add(_op, f"{_label} keep {_keep}", draw(2, 3, 4), np.array(_axes), constant=["b"], keepdims=_keep)
            else:
                add(_op, f"{_label} keep {_keep}", draw(2, 3, 4), axes=_axes, keepdims=_keep)
    add(_op, "opset 18", draw(2, 3, 4), np.array([-2], I64), constant=["b"], opset=18)
    add(_op, "noop", draw(2, 3), noop_with_empty_axes=1, opset=18)
    add(_op, "int32", np.array([[3, -4, 5], [1, 1, 2]], I32), keepdims=0, out_dtype=I32)
    add(_op, "scalar", np.array(2.5, F32), keepdims=0)
add("ReduceSum", "opset 11", draw(2, 3, 4), axes=[1], opset=11)
add("ReduceSum", "nothing", draw(0, 4), np.array([0], I64), constant=["b"])

# --- recurrent; tests/runtime/test_recurrent.py has the large products
for _op in ("RNN", "GRU", "LSTM"):
    _states = 2 if _op == "LSTM" else 1
    for _direction, _count in {"forward": 1, "reverse": 1, "bidirectional": 2}.items():
        _w = weights(_op, 3, 5, _count)
        add(
            _op,
            _direction,
            draw(4, 2, 3),
            *_w.values(),
            None,
            *(draw(_count, 2, 5, seed=20 + k) for k in range(_states)),
            constant=["b", "c", "d"],
            outputs=1 + _states,
            hidden_size=5,
            direction=_direction,
        )
