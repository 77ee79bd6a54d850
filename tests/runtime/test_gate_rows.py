"""Embedding → recurrent as gate rows: the same bits as without, for every cell, and only where they are asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from graphs import GATES, ask_onnxruntime, build, draw, node, token_model, value, weights

import edgeinfer
from edgeinfer.kernels import native

TOKENS, FEATURES = 11, 5
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
# Sums of up to 39 products in another order, fed back for 6 steps.
TOLERANCE = 5e-6
ENOUGH = 1 << 20
CASES = [
    (op, linear, direction, hidden, exchanged, dtype)
    for (op, linear), direction, hidden in itertools.product(
        (("LSTM", 0), ("GRU", 0), ("GRU", 1), ("RNN", 0)), DIRECTIONS, (7, 16, 33)
    )
    for exchanged, dtype in (((True, np.int32),) if hidden == 7 else ((False, np.int64), (True, np.int64)))
]


def file(
    op: str, linear: int, direction: str, hidden: int, exchanged: bool, dtype: type, also_rows: bool = False
) -> bytes:
    """tokens [T, B], or [B, T] where exchanged → a table's rows → one recurrent node → Y [T, D, B, H]."""
    constants = weights(op, FEATURES, hidden, DIRECTIONS[direction])
    constants["table"] = draw(TOKENS, FEATURES)
    names = ["table", "tokens"]
    nodes = [node("Gather", names, ["rows"], name="embedding")]
    if exchanged:
        nodes.append(node("Transpose", ["rows"], ["x"], name="by_time", perm=[1, 0, 2]))
    attributes = {"linear_before_reset": linear} if op == "GRU" else {}
    recurrent = ["x" if exchanged else "rows", "W", "R", "B"]
    nodes.append(node(op, recurrent, ["Y"], name="cell", direction=direction, hidden_size=hidden, **attributes))
    outputs = [value("Y", ["t", DIRECTIONS[direction], "b", hidden])]
    if also_rows:
        outputs.append(value("rows", [None, None, FEATURES]))
    return build(nodes, [value("tokens", [None, None], dtype)], outputs, constants)


def runs(model: edgeinfer.Model) -> dict[str, str]:
    return {entry["name"]: entry["runs"] for entry in model.describe()["nodes"]}


@pytest.mark.parametrize("isa", native.core_names())
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gate_rows_change_no_bit(case: tuple, isa: str) -> None:
    data = file(*case)
    looked_up = edgeinfer.load(data, backend="native", isa=isa, gate_table_bytes=ENOUGH)
    summed = edgeinfer.load(data, backend="native", isa=isa, gate_table_bytes=0)
    assert runs(looked_up)["embedding"] == "native, as gate rows"
    assert runs(summed)["embedding"] == "native"
    for shape in ((1, 1), (1, 6), (6, 1), (3, 4)):
        tokens = np.random.default_rng(shape).integers(-TOKENS, TOKENS, shape).astype(case[-1])
        got = looked_up(tokens)
        assert np.array_equal(got, summed(tokens))
        np.testing.assert_allclose(got, ask_onnxruntime(data, {"tokens": tokens})[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("isa", native.core_names())
@pytest.mark.parametrize("op", GATES)
def test_a_step_by_gate_rows_equals_the_step_inside_a_sequence(op: str, isa: str) -> None:
    data = file(op, 0, "forward", 33, False, np.int64)
    tokens = np.arange(9) * 7 % TOKENS
    model = edgeinfer.load(data, backend="native", isa=isa, gate_table_bytes=ENOUGH)
    stream = model.stream(mode="stream")
    steps = np.stack([stream.step(int(token)) for token in tokens])
    assert np.array_equal(steps.reshape(9, 33), model(tokens[:, None]).reshape(9, 33))


def test_a_token_outside_the_table_is_named_by_the_node_that_looked_it_up() -> None:
    model = edgeinfer.load(file("GRU", 0, "forward", 7, True, np.int32), backend="native", gate_table_bytes=ENOUGH)
    assert runs(model)["embedding"] == "native, as gate rows"
    for bad in (TOKENS, -TOKENS - 1):
        for tokens in ([[0, bad]], [[bad]]):
            with pytest.raises(edgeinfer.InputError) as refused:
                model(np.array(tokens, np.int32))
            assert str(refused.value) == 'in node "embedding" (Gather): an index is outside the table'


def test_gate_rows_take_no_more_memory_than_allowed() -> None:
    data = file("LSTM", 0, "bidirectional", 16, False, np.int64)
    needed = TOKENS * 2 * 4 * 16 * 4
    for allowed, expected in ((needed - 1, "native"), (needed, "native, as gate rows")):
        model = edgeinfer.load(data, backend="native", isa="generic", gate_table_bytes=allowed)
        assert runs(model)["embedding"] == expected


def test_without_a_word_gate_rows_take_no_more_than_twice_the_file() -> None:
    small = file("RNN", 0, "forward", 33, False, np.int64)
    assert runs(edgeinfer.load(small, backend="native"))["embedding"] == "native, as gate rows"
    constants = {"table": draw(2000, 1), **weights("LSTM", 1, 16)}
    wide = build(
        [
            node("Gather", ["table", "tokens"], ["x"], name="embedding"),
            node("LSTM", ["x", "W", "R", "B"], ["Y"], name="cell", hidden_size=16),
        ],
        [value("tokens", [None, None], np.int64)],
        [value("Y", None)],
        constants,
    )
    assert runs(edgeinfer.load(wide, backend="native"))["embedding"] == "native"


def test_gate_rows_share_what_a_load_may_take_with_what_is_parsed() -> None:
    for listed, expected in ((0, "native, as gate rows"), (72_000, "native")):
        model = edgeinfer.load(token_model(5000, 128, 72, provenance={"listed": [0] * listed}), backend="native")
        assert runs(model)["embedding"] == expected


def test_rows_that_something_else_reads_are_looked_up_as_they_are() -> None:
    model = edgeinfer.load(file("LSTM", 0, "forward", 16, True, np.int64, also_rows=True), backend="native")
    assert runs(model)["embedding"] == "native"


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(edgeinfer.ModelLoadError) as refused:
        edgeinfer.load(file("RNN", 0, "forward", 7, False, np.int64), gate_table_bytes=-1)
    assert str(refused.value) == "gate_table_bytes: expected a number of bytes from 0 on, got -1"
