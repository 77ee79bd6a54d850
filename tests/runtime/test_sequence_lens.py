"""LSTM, GRU and RNN nodes with sequence_lens: as ONNX Runtime has it, and each row with the bits that it has alone."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from graphs import GATES, ask_onnxruntime, build, draw, node, value, weights
from small_files import KINDS, stored

import edgeinfer
from edgeinfer.errors import InputError, ModelLoadError
from edgeinfer.plan.instructions import STEPS_AHEAD

# Sums of up to 40 products in another order, fed back for up to 40 steps.
TOLERANCE = 1e-5
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
STATES = {"RNN": "h", "GRU": "h", "LSTM": "hc"}
CELLS = [("LSTM", 0), ("GRU", 0), ("GRU", 1), ("RNN", 0)]
STEPS = STEPS_AHEAD + 6
LENGTHS = [[5, 0, STEPS], [0, 0, 0], [STEPS, STEPS, STEPS], [1, STEPS - 1, 2]]


def lens_file(
    op: str, linear: int, direction: str, hidden: int = 9, *, initial: bool = True, kind: str = "", lens: bool = True
) -> bytes:
    directions = DIRECTIONS[direction]
    given = weights(op, 3, hidden, directions)
    constants, nodes = dict(given), []
    if kind:
        del constants["W"], constants["R"]
        for name in "WR":
            made, added = stored(kind, name, given[name], 1)
            nodes += made
            constants |= added
    inputs = ["X", "W", "R", "B", "lens" if lens else "", *(f"initial_{k}" for k in STATES[op] if initial)]
    outputs = ["Y", *(f"Y_{k}" for k in STATES[op])]
    more: dict[str, Any] = {"linear_before_reset": linear} if op == "GRU" else {}
    nodes.append(node(op, inputs, outputs, "cell", hidden_size=hidden, direction=direction, **more))
    ins = [value("X", ["time", "batch", 3])]
    if lens:
        ins.append(value("lens", ["batch"], np.int32))
    ins += [value(name, [directions, "batch", hidden]) for name in inputs[5:]]
    return build(nodes, ins, [value(y, None) for y in outputs], constants)


def feeds_of(op: str, direction: str, lens: list[int], hidden: int = 9, initial: bool = True) -> dict[str, np.ndarray]:
    batch = len(lens)
    feeds = {"X": draw(STEPS, batch, 3), "lens": np.array(lens, np.int32)}
    if initial:
        feeds |= {f"initial_{k}": draw(DIRECTIONS[direction], batch, hidden, seed=ord(k)) for k in STATES[op]}
    return feeds


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("direction", list(DIRECTIONS))
@pytest.mark.parametrize(("op", "linear"), CELLS)
def test_short_rows_give_what_onnx_runtime_gives(op: str, linear: int, direction: str, initial: bool, isa: str) -> None:
    for hidden, lens in zip((1, 9, 17, 33), LENGTHS, strict=True):
        data = lens_file(op, linear, direction, hidden, initial=initial)
        feeds = feeds_of(op, direction, lens, hidden, initial)
        expected = ask_onnxruntime(data, feeds)
        for engine in ({"backend": "native", "isa": isa}, {"backend": "reference"}):
            for y, true in zip(edgeinfer.load(data, **engine).run(None, feeds), expected, strict=True):
                np.testing.assert_allclose(y, true, rtol=0, atol=TOLERANCE, err_msg=f"{lens} {engine}")


@pytest.mark.parametrize("kind", ["", *KINDS])
@pytest.mark.parametrize("direction", list(DIRECTIONS))
@pytest.mark.parametrize(("op", "linear"), CELLS)
def test_a_short_row_has_the_bits_of_a_run_of_that_length(
    op: str, linear: int, direction: str, kind: str, isa: str
) -> None:
    model = edgeinfer.load(lens_file(op, linear, direction, kind=kind), backend="native", isa=isa)
    plain = edgeinfer.load(lens_file(op, linear, direction, kind=kind, lens=False), backend="native", isa=isa)
    for lens in ([5, 0, STEPS], [1, STEPS - 1, 2]):
        feeds = feeds_of(op, direction, lens)
        y, *finals = model.run(None, feeds)
        for b, length in enumerate(lens):
            row = {name: x[:, b : b + 1] for name, x in feeds.items() if name != "lens"}
            row["X"] = row["X"][:length]
            if length:
                y_alone, *finals_alone = plain.run(None, row)
            else:
                y_alone = np.zeros((0, DIRECTIONS[direction], 1, 9), np.float32)
                finals_alone = [np.zeros((DIRECTIONS[direction], 1, 9), np.float32)] * len(STATES[op])
            np.testing.assert_array_equal(y[:length, :, b : b + 1], y_alone)
            assert not y[length:, :, b].any()
            for final, alone in zip(finals, finals_alone, strict=True):
                np.testing.assert_array_equal(final[:, b : b + 1], alone)


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("op", list(GATES))
def test_one_step_of_one_row_counts_or_does_not(op: str, length: int, isa: str) -> None:
    data = lens_file(op, 0, "forward")
    feeds = {name: x[:, :1] if x.ndim > 1 else x for name, x in feeds_of(op, "forward", [length]).items()}
    feeds["X"] = feeds["X"][:1]
    for engine in ({"backend": "native", "isa": isa}, {"backend": "reference"}):
        for y, true in zip(edgeinfer.load(data, **engine).run(None, feeds), ask_onnxruntime(data, feeds), strict=True):
            np.testing.assert_allclose(y, true, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("wrong", [-1, STEPS + 1, -(2**31), 2**31 - 1])
@pytest.mark.parametrize(("op", "steps"), list(itertools.product(GATES, (STEPS, 1))))
def test_a_length_that_is_no_length_is_refused_by_name(op: str, steps: int, wrong: int, isa: str) -> None:
    data = lens_file(op, 0, "bidirectional")
    feeds = feeds_of(op, "bidirectional", [1, wrong, 0])
    feeds["X"] = feeds["X"][:steps]
    message = rf'^in node "cell"( \({op}\))?: sequence_lens: a length is outside 0 to the number of steps$'
    for engine in ({"backend": "native", "isa": isa}, {"backend": "reference"}):
        model = edgeinfer.load(data, **engine)
        with pytest.raises(InputError, match=message) as info:
            model.run(None, feeds)
        assert info.value.name == "cell"


@pytest.mark.parametrize(
    ("lens", "got"),
    [
        (np.zeros(2, np.int64), r"int64 \[2\]"),
        (np.zeros((2, 1), np.int32), r"int32 \[2, 1\]"),
        (np.zeros(3, np.int32), r"int32 \[3\]"),
        (np.zeros(2, np.float32), r"float32 \[2\]"),
    ],
)
def test_lengths_of_another_form_are_refused_at_load(lens: np.ndarray, got: str) -> None:
    constants = {**weights("GRU", 3, 5), "lens": lens}
    nodes = [node("GRU", ["X", "W", "R", "B", "lens"], ["Y"], "cell", hidden_size=5)]
    data = build(nodes, [value("X", ["time", 2, 3])], [value("Y", None)], constants)
    message = rf'^in node "cell" \(GRU\): sequence_lens: expected int32 \[2\], got {got}$'
    with pytest.raises(ModelLoadError, match=message):
        edgeinfer.load(data)


def test_a_node_with_lengths_does_not_stream_and_says_why() -> None:
    constants = {**weights("GRU", 3, 5), "lens": np.array([2], np.int32)}
    nodes = [node("GRU", ["X", "W", "R", "B", "lens"], ["Y"], "cell", hidden_size=5)]
    model = edgeinfer.load(build(nodes, [value("X", ["time", 1, 3])], [value("Y", None)], constants))
    assert model.describe()["streams_not_because"] == (
        'in node "cell" (GRU): its sequence_lens say where the sequence ends'
    )
    with pytest.raises(InputError, match="sequence_lens: a length is outside"):
        model(draw(1, 1, 3))


def test_lengths_behind_an_embedding_leave_both_checks_their_names() -> None:
    constants = {"table": draw(6, 3), **weights("LSTM", 3, 5)}
    nodes = [
        node("Gather", ["table", "ids"], ["X"], "embedding"),
        node("LSTM", ["X", "W", "R", "B", "lens"], ["Y"], "cell", hidden_size=5),
    ]
    ins = [value("ids", ["time", "batch"], np.int32), value("lens", ["batch"], np.int32)]
    model = edgeinfer.load(build(nodes, ins, [value("Y", None)], constants), backend="native")
    ids = np.arange(4, dtype=np.int32)[:, None]
    with pytest.raises(InputError, match='in node "cell": sequence_lens'):
        model.run(None, {"ids": ids, "lens": np.array([5], np.int32)})
    with pytest.raises(InputError, match='in node "embedding"'):
        model.run(None, {"ids": ids + 3, "lens": np.array([4], np.int32)})
