"""Every operator of the registry, on every backend and instruction set, against ONNX Runtime."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from graphs import ask_onnxruntime, one_node
from op_cases import Case
from op_cases_off_path import CASES

import edgeinfer
from edgeinfer.graph.ops import every_operator
from edgeinfer.kernels import native
from edgeinfer.plan.kernels import KERNELS

REGISTRY = every_operator()

# Float32 sums of up to 1,000 terms in another order, and exp within 1e-6, relative to max(1, |y|).
TOLERANCE = 3e-6
HALF_TOLERANCE = 2e-3  # one rounding to float16

ENGINES = [("reference", None), ("onnxruntime", None), *(("native", name) for name in native.core_names())]


@pytest.fixture(params=ENGINES, ids=lambda engine: engine[1] or engine[0])
def engine(request: pytest.FixtureRequest) -> dict[str, str]:
    """Keyword arguments of load()."""
    backend, isa = request.param
    return {"backend": backend, **({"isa": isa} if isa else {})}


@functools.cache
def oracle(index: int) -> list[np.ndarray]:
    case = CASES[index]
    return ask_onnxruntime(case.file(), case.feeds)


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for y, true in zip(found, expected, strict=True):
        assert y.dtype == true.dtype
        assert y.shape == true.shape
        if true.dtype.kind != "f":
            np.testing.assert_array_equal(y, true)
        else:
            tolerance = HALF_TOLERANCE if true.dtype == np.float16 else TOLERANCE
            scale = np.maximum(1, np.abs(np.where(np.isfinite(true), true, 1)))
            np.testing.assert_allclose(y / scale, true / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("index", range(len(CASES)), ids=[case.id for case in CASES])
def test_an_operator_gives_what_onnx_runtime_gives(index: int, engine: dict[str, str]) -> None:
    case = CASES[index]
    model = edgeinfer.load(case.file(), nan="propagate", **engine)
    assert model.backend == engine["backend"]
    if engine["backend"] == "onnxruntime" and any(array.size == 0 for array in case.feeds.values()):
        with pytest.raises(edgeinfer.InputError, match=r'input ".": ONNX Runtime takes no empty arrays, got \[.*0.*\]'):
            model.run(None, case.feeds)
        return
    assert_same(model.run(None, case.feeds), oracle(index))


@pytest.mark.parametrize("index", range(len(CASES)), ids=[case.id for case in CASES])
def test_an_operator_of_dynamic_shapes_gives_the_same(index: int) -> None:
    case = CASES[index]
    model = edgeinfer.load(case.file(dynamic=True), nan="propagate", backend="native")
    assert_same(model.run(None, case.feeds), oracle(index))


@pytest.mark.parametrize("index", range(len(CASES)), ids=[case.id for case in CASES])
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_an_operator_on_constants_is_computed_at_load_to_the_same(index: int, backend: str) -> None:
    model = edgeinfer.load(CASES[index].file(all_constant=True), backend=backend, nonfinite_weights=True)
    assert_same(model.run(None, {}), oracle(index))


def test_every_operator_of_the_registry_stands_in_the_table() -> None:
    assert set(REGISTRY) == {case.op for case in CASES}


def test_every_kernel_belongs_to_an_operator() -> None:
    assert set(KERNELS) <= {*REGISTRY, "edgeinfer.Dense"}


# Where the core has no kernel for what the node asks, the twin answers.
TWIN_CASES = {
    *("Clip-computed_bounds", "Clip-crossed", "Clip-scalar", "Clip-opset_11", "Transpose-rank_9"),
    *("Softmax-axis_0", "Softmax-axis_1_of_3", "LogSoftmax-axis_0", "LogSoftmax-axis_1_of_3"),
    *("Gather-axis_1", "Gather-axis_-1", "Gather-one"),
    *("Max-one", "Max-three", "Min-one", "Min-three"),
    *("LayerNormalization-one_scale", "LayerNormalization-scale_of_the_last_axis"),
}


def _has_kernel(case: Case) -> bool:
    floats = all(a.dtype in (np.float32, np.int32, np.int64) for a in case.arrays.values())
    moves = case.op in ("Transpose", "Slice", "Concat", "Expand", "Gather")
    arithmetic = case.op in ("Add", "Sub", "Mul", "Div", "Max", "Min")
    all_float = all(a.dtype == np.float32 for a in case.arrays.values())
    return (
        case.op in KERNELS
        and case.id not in TWIN_CASES
        and not case.op.startswith("Reduce")  # what has one stands below
        and (moves or all_float or (arithmetic and floats))
        and not (case.op == "Cast" and case.out_dtype not in (np.float32, np.int32, np.int64))
    )


@pytest.mark.parametrize("case", [c for c in CASES if _has_kernel(c)], ids=lambda c: c.id)
def test_an_operator_with_a_kernel_is_not_answered_by_its_twin(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the twin was called")

    model = edgeinfer.load(case.file(), nan="propagate", backend="native")
    monkeypatch.setitem(REGISTRY, case.op, REGISTRY[case.op]._replace(twin=refuse))
    model.run(None, case.feeds)


LOGIC = {
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "LessOrEqual"), (np.float32, np.int32, np.int64)),
    "Equal": (np.float32, np.int32, np.int64, np.bool_),
    **dict.fromkeys(("And", "Or", "Not"), (np.bool_,)),
    **{f"Reduce{op}": (np.float32, np.int32, np.int64) for op in ("Max", "Min", "Sum", "Prod")},
    "ReduceMean": (np.float32,),
}


@pytest.mark.parametrize(("op", "dtype"), [(op, dtype) for op, dtypes in LOGIC.items() for dtype in dtypes])
def test_what_a_mask_is_made_of_is_not_answered_by_a_twin(
    op: str, dtype: type, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    reduces = op.startswith("Reduce")
    arrays = {"a": rng.integers(0, 2 + 2 * (dtype is not np.bool_), (2, 3, 5)).astype(dtype)}
    if op != "Not":
        axes = np.array([1, 0] if op in ("ReduceMin", "ReduceMean") else [1, 2])
        arrays["b"] = axes if reduces else rng.integers(0, 2, (3, 1)).astype(dtype)
    out = dtype if reduces else np.bool_
    more = {"keepdims": 0} if reduces else {}
    data = one_node(op, arrays, out_dtype=out, opset=18, constant=["b"] if reduces else [], **more)
    feeds = {"a": arrays["a"]} if reduces else arrays
    expected = edgeinfer.load(data, backend="reference").run(None, feeds)[0]

    def refuse(*_: object) -> None:
        raise AssertionError("the twin was called")

    model = edgeinfer.load(data, backend="native", isa=isa)
    monkeypatch.setitem(REGISTRY, op, REGISTRY[op]._replace(twin=refuse))
    y = model.run(None, feeds)[0]
    assert y.dtype == expected.dtype
    np.testing.assert_allclose(y, expected, rtol=TOLERANCE, atol=0)
    np.testing.assert_allclose(y, ask_onnxruntime(data, feeds)[0], rtol=TOLERANCE, atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, np.float64])
def test_a_choice_runs_in_the_core_whatever_it_chooses_from(dtype: type, isa: str) -> None:
    rng = np.random.default_rng(5)
    arrays = {
        "c": rng.integers(0, 2, (3, 1)).astype(np.bool_),
        "a": rng.integers(0, 2, (2, 3, 5)).astype(dtype),
        "b": rng.integers(0, 9, (5,)).astype(dtype),
    }
    data = one_node("Where", arrays, out_dtype=dtype)
    model = edgeinfer.load(data, backend="native", isa=isa)
    assert [node["runs"] for node in model.describe()["nodes"]] == ["native"]
    np.testing.assert_array_equal(model.run(None, arrays)[0], np.where(arrays["c"], arrays["a"], arrays["b"]))


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
def test_a_product_with_a_constant_matrix_is_not_answered_by_its_twin(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the twin was called")

    arrays = {"a": np.ones((3, 5), np.float32), "b": np.ones((5, 7), np.float32)}
    model = edgeinfer.load(one_node(op, arrays, constant=["b"]), backend="native")
    monkeypatch.setitem(REGISTRY, op, REGISTRY[op]._replace(twin=refuse))
    np.testing.assert_array_equal(model(arrays["a"]), np.full((3, 7), 5, np.float32))


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, np.nan, -3.0, 2.0], np.float32)


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh", "Relu", "Exp", "Abs", "Neg", "Sqrt", "Reciprocal", "Clip", "Elu"])
def test_nan_and_infinities_go_through_as_in_numpy(op: str, isa: str) -> None:
    data = one_node(op, {"a": SPECIAL})
    y = edgeinfer.load(data, nan="propagate", backend="native", isa=isa)(SPECIAL)
    true = edgeinfer.load(data, nan="propagate", backend="reference")(SPECIAL)
    np.testing.assert_allclose(y, true, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
def test_nan_and_infinities_go_through_two_inputs_as_in_numpy(op: str, isa: str) -> None:
    arrays = {"a": SPECIAL, "b": SPECIAL[:, None]}
    data = one_node(op, arrays)
    y = edgeinfer.load(data, nan="propagate", backend="native", isa=isa).run(None, arrays)[0]
    true = edgeinfer.load(data, nan="propagate", backend="reference").run(None, arrays)[0]
    np.testing.assert_array_equal(y, true)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integers_divide_towards_zero_to_the_ends_of_their_range(backend: str, dtype: type, isa: str) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    a = np.array([low, low, low, high, high, 7, -7, 5], dtype)
    b = np.array([1, 2, -1, -1, 2, 0, 2, -3], dtype)
    arrays = {"a": a, "b": b}
    y = edgeinfer.load(one_node("Div", arrays, out_dtype=dtype), backend=backend, isa=isa).run(None, arrays)[0]
    np.testing.assert_array_equal(y, np.array([low, low // 2, low, -high, high // 2, 0, -3, -1], dtype))


@pytest.mark.parametrize("target", [np.int32, np.int64])
def test_a_float_that_no_integer_holds_casts_to_the_minimum(target: type, isa: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2.9, -2.9], np.float32)
    to = {np.int32: 6, np.int64: 7}[target]
    data = one_node("Cast", {"a": x}, to=to, out_dtype=target)
    low = np.iinfo(target).min
    for engine in ({"backend": "native", "isa": isa}, {"backend": "reference"}):
        y = edgeinfer.load(data, nan="propagate", **engine)(x)
        np.testing.assert_array_equal(y, np.array([low, low, low, low, low, 2, -2], target))


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("axis", [0, 1])
def test_an_index_outside_the_table_is_refused_naming_the_node(backend: str, axis: int) -> None:
    arrays = {"a": np.zeros((3, 4), np.float32), "b": np.array([0, 4 if axis else 3])}
    model = edgeinfer.load(one_node("Gather", arrays, axis=axis), backend=backend)
    with pytest.raises(edgeinfer.InputError, match=r'in node "n".*an index is outside the table'):
        model.run(None, arrays)
    arrays["b"] = np.array([-5])
    with pytest.raises(edgeinfer.InputError, match=r"do not fit|an index is outside the table"):
        edgeinfer.load(one_node("Gather", arrays, axis=axis), backend=backend).run(None, arrays)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(CASES)), ids=[case.id for case in CASES])
def test_an_operator_of_dynamic_shapes_gives_the_same_on_every_instruction_set(index: int, isa: str) -> None:
    case = CASES[index]
    model = edgeinfer.load(case.file(dynamic=True), nan="propagate", backend="native", isa=isa)
    assert_same(model.run(None, case.feeds), oracle(index))
