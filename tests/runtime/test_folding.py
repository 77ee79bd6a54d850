"""What depends on constants and shapes alone is computed once, within a limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import build, draw, node, value, weights

import edgeinfer
from edgeinfer.errors import ModelLimitError, StreamError
from edgeinfer.limits import FOLDED_BYTES


def test_folding_a_bomb_is_refused() -> None:
    shape = np.array([FOLDED_BYTES // 4 + 1], np.int64)
    nodes = [node("ConstantOfShape", ["s"], ["big"], "bomb"), node("ReduceSum", ["big"], ["y"])]
    with pytest.raises(
        ModelLimitError,
        match=r'in node "bomb" \(ConstantOfShape\): constants of \d+ bytes would be computed, the limit',
    ):
        edgeinfer.load(build(nodes, [], [value("y", None)], {"s": shape}))


def test_many_small_constants_that_add_up_to_a_bomb_are_refused() -> None:
    shape = np.array([FOLDED_BYTES // 40], np.int64)
    nodes = [node("ConstantOfShape", ["s"], [f"c{i}"], f"part{i}") for i in range(12)]
    nodes.append(node("Sum", [f"c{i}" for i in range(12)], ["y"]))
    with pytest.raises(ModelLimitError, match=r'in node "part10" \(ConstantOfShape\): constants of'):
        edgeinfer.load(build(nodes, [], [value("y", None)], {"s": shape}))


def test_folding_up_to_the_limit_is_fine() -> None:
    shape = np.array([FOLDED_BYTES // 4 - 1], np.int64)
    nodes = [node("ConstantOfShape", ["s"], ["big"]), node("ReduceMax", ["big"], ["y"], keepdims=0)]
    assert edgeinfer.load(build(nodes, [], [value("y", None)], {"s": shape})).run(None, {})[0] == 0


def test_folding_divides_by_zero_without_a_warning() -> None:
    nodes = [node("Div", ["a", "b"], ["c"]), node("Add", ["x", "c"], ["y"])]
    constants = {"a": np.array([1, 0], np.float32), "b": np.zeros(2, np.float32)}
    y = edgeinfer.load(build(nodes, [value("x", [2])], [value("y", [2])], constants))(np.zeros(2))
    np.testing.assert_array_equal(y, [np.inf, np.nan])


def test_a_shape_that_a_weight_depends_on_gives_each_length_its_own_weights() -> None:
    w = weights("RNN", 1, 2)
    nodes = [
        node("Shape", ["x"], ["s"], start=0, end=1),
        node("Cast", ["s"], ["t"], to=1),
        node("Mul", ["W", "t"], ["Wt"]),
        node("RNN", ["x", "Wt", "R", "B"], ["", "h"], "rnn", hidden_size=2),
    ]
    data = build(nodes, [value("x", ["time", 1, 1])], [value("h", [1, 1, 2])], w)
    native, reference = (edgeinfer.load(data, backend=name) for name in ("native", "reference"))
    for steps in (2, 3, 2):
        x = draw(steps, 1, 1)
        np.testing.assert_allclose(native(x), reference(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_large_constant_of_the_shapes_is_computed_in_each_run(backend: Any) -> None:
    """As the causal mask of an attention over many steps."""
    nodes = [
        node("Shape", ["x"], ["t"], start=1, end=2),
        node("Concat", ["t", "t"], ["square"], axis=0),
        node("Expand", ["one", "square"], ["ones"]),
        node("CumSum", ["ones", "axis"], ["column"], "column"),
        node("Transpose", ["column"], ["row"]),
        node("GreaterOrEqual", ["column", "row"], ["before"]),
        node("Cast", ["before"], ["mask"], to=1),
        node("MatMul", ["x", "mask"], ["y"]),
    ]
    constants = {"one": np.ones((1, 1), np.float32), "axis": np.array(0)}
    model = edgeinfer.load(
        build(nodes, [value("x", ["batch", "time"])], [value("y", None)], constants), backend=backend
    )
    assert not model.describe()["streams"]
    for steps in (3, 2100):  # two matrices of 2,100 rows are larger than what is folded
        x = np.arange(2 * steps, dtype=np.float32).reshape(2, steps) % 5
        np.testing.assert_array_equal(model(x), x @ np.tri(steps, dtype=np.float32))
    with pytest.raises(
        StreamError, match=r'in node ".*" \(\w+\): what it computes depends on the number of time steps'
    ):
        model.stream(mode="stream")
