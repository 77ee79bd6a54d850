"""int8 and float16 weights: recognised, kept small, and equal to ONNX Runtime on the same file."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from graphs import GATES, ask_onnxruntime, build, draw, node, value
from onnx import TensorProto
from small_files import DIRECTIONS, KINDS, cell_feeds, int8_rows, small_cell, stored

import edgeinfer
from edgeinfer.graph import prepare
from edgeinfer.onnx_file import read_model

# What DESIGN.md promises of exact arithmetic: sums of float32 in another order.
TOLERANCE = 1e-5
SIZES = (1, 7, 8, 9, 15, 16, 17, 31, 33, 50, 64)


def kept(data: bytes) -> dict[str, str]:
    """The constants that the native backend keeps small, with their kind."""
    return {name: small.kind for name, small in prepare(read_model(data), small=True).graph.small.items()}


def close(data: bytes, feeds: Any, **engine: Any) -> None:
    expected = ask_onnxruntime(data, feeds)
    for y, true in zip(edgeinfer.load(data, **engine).run(None, feeds), expected, strict=True):
        np.testing.assert_allclose(y, true, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("kind", KINDS)
def test_a_small_cell_gives_what_onnx_runtime_gives_for_the_same_file(
    kind: str, op: str, hidden: int, isa: str
) -> None:
    for direction, linear in itertools.product(DIRECTIONS, (0, 1) if op == "GRU" else (0,)):
        data = small_cell(kind, op, hidden, direction=direction, linear=linear)
        assert kept(data) == {"W": kind, "R": kind}
        feeds = cell_feeds(op, hidden, directions=DIRECTIONS[direction])
        close(data, feeds, backend="native", isa=isa)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_widens_small_weights_and_agrees(kind: str) -> None:
    data = small_cell(kind, "LSTM", 9, direction="bidirectional")
    close(data, cell_feeds("LSTM", 9, directions=2), backend="reference")


def test_float16_weights_give_the_bits_of_a_float32_file_with_the_rounded_weights(isa: str) -> None:
    """The order of sums is that of float32, and widening is exact."""
    data = small_cell("float16", "LSTM", 33)
    folded = prepare(read_model(data)).graph.constants
    wide = build(
        [node("LSTM", ["X", "W", "R", "B", "", "initial_h", "initial_c"], ["Y", "Y_h", "Y_c"], "cell", hidden_size=33)],
        [value("X", ["time", "batch", 3]), value("initial_h", [1, "batch", 33]), value("initial_c", [1, "batch", 33])],
        [value(y, None) for y in ("Y", "Y_h", "Y_c")],
        {name: folded[name] for name in "WRB"},
    )
    feeds = cell_feeds("LSTM", 33)
    answers = [edgeinfer.load(file, backend="native", isa=isa).run(None, feeds) for file in (data, wide)]
    for small, full in zip(*answers, strict=True):
        np.testing.assert_array_equal(small, full)


@pytest.mark.parametrize("kinds", [("int8", "float16"), ("float32", "int8"), ("float16", "float32")])
def test_a_cell_whose_w_and_r_are_stored_differently_runs(kinds: tuple[str, str], isa: str) -> None:
    data = small_cell("", "GRU", 17, kinds=kinds)
    assert kept(data) == {name: kind for name, kind in zip("WR", kinds, strict=True) if kind != "float32"}
    close(data, cell_feeds("GRU", 17), backend="native", isa=isa)


def product(kind: str, transposed: bool = False, **attributes: Any) -> bytes:
    """x [rows, 33] · K [33, 50] + b, from a small K."""
    k = draw(33, 50)
    nodes, constants = stored(kind, "K", k.T.copy() if transposed else k, 0 if transposed else 1)
    if transposed:
        nodes.append(node("Gemm", ["x", "K", "b"], ["y"], "gemm", transB=1, **attributes))
    else:
        nodes += [node("MatMul", ["x", "K"], ["p"], "matmul"), node("Add", ["p", "b"], ["y"], "add")]
    return build(nodes, [value("x", ["rows", 33])], [value("y", ["rows", 50])], {**constants, "b": draw(50)})


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_small_matrix_gives_the_product_of_the_widened_one(kind: str, transposed: bool, rows: int, isa: str) -> None:
    data = product(kind, transposed)
    assert kept(data) == {"K": kind}
    x = draw(rows, 33)
    expected = edgeinfer.load(data, backend="reference")(x)
    np.testing.assert_allclose(
        edgeinfer.load(data, backend="native", isa=isa)(x), expected, rtol=TOLERANCE, atol=TOLERANCE
    )


def test_a_gemm_that_no_kernel_takes_computes_from_the_widened_matrix() -> None:
    data = product("int8", transposed=True, alpha=0.5)
    x = draw(3, 33)
    np.testing.assert_allclose(
        edgeinfer.load(data, backend="native")(x), ask_onnxruntime(data, {"x": x})[0], atol=TOLERANCE
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_table_gives_the_bits_of_the_widened_one(kind: str, isa: str) -> None:
    nodes, constants = stored(kind, "table", draw(20, 9), 0)
    nodes.append(node("Gather", ["table", "x"], ["y"], "embedding"))
    data = build(nodes, [value("x", ["batch", "time"], np.int32)], [value("y", None)], constants)
    assert kept(data) == {"table": kind}
    x = np.array([[0, 19, -1, 7]], np.int32)
    np.testing.assert_array_equal(
        edgeinfer.load(data, backend="native", isa=isa)(x), ask_onnxruntime(data, {"x": x})[0]
    )


def test_a_weight_that_is_read_otherwise_too_is_widened_at_load() -> None:
    nodes, constants = stored("int8", "K", draw(4, 4), 1)
    nodes += [node("MatMul", ["x", "K"], ["p"], "matmul"), node("Add", ["p", "K"], ["y"], "add")]
    data = build(nodes, [value("x", [4, 4])], [value("y", [4, 4])], constants)
    assert kept(data) == {}
    x = draw(4, 4)
    np.testing.assert_allclose(
        edgeinfer.load(data, backend="native")(x), ask_onnxruntime(data, {"x": x})[0], atol=TOLERANCE
    )


@pytest.mark.parametrize(
    ("zero", "scale", "axis", "found"),
    [
        (0, None, 1, {"K": "int8"}),
        (3, None, 1, {}),  # asymmetric
        (0, None, 0, {}),  # the scale changes within a sum
        (0, np.float32(0.01), 1, {"K": "int8"}),  # one for all
    ],
)
def test_only_symmetric_scales_per_sum_are_kept_small(
    zero: int, scale: np.float32 | None, axis: int, found: dict[str, str]
) -> None:
    values, scales = int8_rows(draw(8, 8), axis)
    given = scales if scale is None else np.asarray(scale)
    constants = {"q": values, "s": given, "z": np.full(given.shape, zero, np.int8)}
    nodes = [
        node("DequantizeLinear", ["q", "s", "z"], ["K"], "dq", axis=axis),
        node("MatMul", ["x", "K"], ["y"], "matmul"),
    ]
    data = build(nodes, [value("x", ["rows", 8])], [value("y", ["rows", 8])], constants)
    assert kept(data) == found
    x = draw(2, 8)
    wide = (values.astype(np.float32) - zero) * (np.expand_dims(given, 1 - axis) if given.ndim else given)
    np.testing.assert_allclose(edgeinfer.load(data, backend="native")(x), x @ wide, atol=TOLERANCE)


@pytest.mark.parametrize("scale", [np.inf, 1e37])
def test_weights_that_are_infinite_once_they_are_widened_give_what_infinities_give(scale: float) -> None:
    constants = {"q": np.array([[100], [-100]], np.int8), "s": np.array([scale], np.float32)}
    nodes = [node("DequantizeLinear", ["q", "s"], ["K"], "dq", axis=1), node("MatMul", ["x", "K"], ["y"], "matmul")]
    data = build(nodes, [value("x", ["rows", 2])], [value("y", ["rows", 1])], constants)
    model = edgeinfer.load(data, backend="native", nonfinite_weights=True)
    np.testing.assert_array_equal(model(np.array([[2, 1], [1, -1]], np.float32)), [[np.nan], [np.inf]])


def test_parameters_are_counted_once_whatever_they_are_stored_in() -> None:
    counts = {
        edgeinfer.load(small_cell(kind, "LSTM", 9, kinds=(kind, kind)), backend=backend).describe()["parameters"]
        for kind in ("int8", "float16", "float32")
        for backend in ("native", "reference")
    }
    assert counts == {4 * 9 * (3 + 9) + 8 * 9}


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"q": np.zeros((2, 3), np.float32), "s": np.ones(3, np.float32)}, "expected integers, got float32"),
        ({"q": np.zeros((2, 3), np.int8), "s": np.ones(3, np.float16)}, "scale: expected float32, got float16"),
        ({"q": np.zeros((2, 3), np.int8), "s": np.ones((2, 3), np.float32)}, "blocks are not implemented"),
        ({"q": np.zeros((2, 3), np.int8), "s": np.ones(2, np.float32)}, "expected 3 scales for axis 1, got 2"),
        (
            {"q": np.zeros((2, 3), np.int8), "s": np.ones(3, np.float32), "z": np.zeros(3, np.uint8)},
            "zero point: expected int8 [3], got uint8 [3]",
        ),
    ],
)
def test_a_malformed_dequantize_linear_is_refused_by_name(constants: dict[str, np.ndarray], message: str) -> None:
    nodes = [node("DequantizeLinear", list(constants), ["w"], "dq"), node("Add", ["x", "w"], ["y"], "add")]
    data = build(nodes, [value("x", [2, 3])], [value("y", [2, 3])], constants)
    with pytest.raises(edgeinfer.ModelLoadError) as caught:
        edgeinfer.load(data, backend="native")
    assert 'in node "dq" (DequantizeLinear): ' in str(caught.value) and message in str(caught.value)


def test_a_cast_to_another_type_is_no_small_weight() -> None:
    constants = {"h": draw(3, 3).astype(np.float16)}
    nodes = [
        node("Cast", ["h"], ["w"], "cast", to=TensorProto.DOUBLE),
        node("Cast", ["w"], ["v"], "again", to=TensorProto.FLOAT),
        node("MatMul", ["x", "v"], ["y"], "matmul"),
    ]
    data = build(nodes, [value("x", [2, 3])], [value("y", [2, 3])], constants)
    assert kept(data) == {}
    x = draw(2, 3)
    np.testing.assert_allclose(
        edgeinfer.load(data, backend="native")(x), ask_onnxruntime(data, {"x": x})[0], atol=TOLERANCE
    )
