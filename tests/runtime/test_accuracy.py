"""What speed must not cost: long runs against float64, values out of the ordinary, and time that does not depend on
them; on every instruction set."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
import pytest
from graphs import GATES, build, draw, node, recurrent_model, value
from test_recurrent import SIZES, STATES, definition

import edgeinfer
from edgeinfer.kernels import native

# Of any step of STEPS, as docs/operators.md promises. Measured: 1.6e-6, a tanh RNN of 64 inputs and 256 units.
LONG_RUN_TOLERANCE = 2e-6
STEPS = 1000
# Every unit count around the lanes of every instruction set with another input size, then the sizes of the benchmark.
LAYERS = [*zip(SIZES[3:] + SIZES[:3], SIZES, strict=True), (1, 32), (8, 64), (10, 50), (16, 128), (32, 256), (64, 256)]
CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {"linear_before_reset": 0}),
    "GRU, linear before reset": ("GRU", {"linear_before_reset": 1}),
    "RNN": ("RNN", {}),
    "RNN, relu": ("RNN", {"activations": ["Relu"]}),
}


def keras_weights(op: str, features: int, hidden: int) -> dict[str, np.ndarray]:
    """Keras' defaults: glorot uniform W, orthogonal R, zero biases but 1 for the LSTM's forget gate."""
    rng = np.random.default_rng([features, hidden])
    rows = GATES[op] * hidden
    limit = np.sqrt(6 / (features + rows))
    q, upper = np.linalg.qr(rng.normal(size=(rows, hidden)))
    bias = np.zeros((1, 2 * rows))
    if op == "LSTM":
        bias[0, 2 * hidden : 3 * hidden] = 1  # gates i, o, f, c
    arrays = {"W": rng.uniform(-limit, limit, (1, rows, features)), "R": (q * np.sign(np.diag(upper)))[None], "B": bias}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def cell(name: str, constants: dict[str, np.ndarray], initial: bool = False) -> bytes:
    """X [time, batch, features] → one node → Y and its final states."""
    op, attributes = CELLS[name]
    hidden = constants["R"].shape[-1]
    starts = [f"initial_{k}" for k in STATES[op]] if initial else []
    outputs = ["Y", *(f"Y_{k}" for k in STATES[op])]
    nodes = [node(op, ["X", "W", "R", "B", "", *starts], outputs, "cell", hidden_size=hidden, **attributes)]
    given = [
        value("X", ["time", "batch", constants["W"].shape[-1]]),
        *(value(start, [1, "batch", hidden]) for start in starts),
    ]
    return build(nodes, given, [value(y, None) for y in outputs], constants)


@pytest.mark.parametrize(("features", "hidden"), LAYERS)
@pytest.mark.parametrize("name", list(CELLS))
def test_after_a_thousand_steps_a_state_is_within_2e_6_of_float64(name: str, features: int, hidden: int) -> None:
    data = cell(name, keras_weights(CELLS[name][0], features, hidden))
    feeds = {"X": draw(STEPS, 1, features, scale=1.0)}
    truth = definition(data, feeds)
    for isa in native.core_names():
        answers = edgeinfer.load(data, backend="native", isa=isa).run(None, feeds)
        for y, true in zip(answers, truth, strict=True):
            size = np.max(np.abs(true)) if name == "RNN, relu" else 1  # which has no bound, so relative
            np.testing.assert_allclose(y, true, rtol=0, atol=LONG_RUN_TOLERANCE * size, err_msg=isa)


@pytest.mark.parametrize("name", list(CELLS))
def test_an_infinite_input_saturates_and_a_nan_stays(name: str, isa: str) -> None:
    data = cell(name, keras_weights(CELLS[name][0], 3, 17))
    model = edgeinfer.load(data, backend="native", isa=isa, nan="propagate")
    x = draw(6, 2, 3)
    x[1, 0, 1], x[2, 0, 2] = np.inf, -np.inf
    x[3, 1, 0] = np.nan
    answers = model.run(None, {"X": x})
    with np.errstate(invalid="ignore"):
        truth = definition(data, {"X": x})
    if name != "RNN, relu":  # an infinite state meets itself with both signs
        assert np.isfinite(answers[0][:, 0, 0]).all()
    assert np.isnan(answers[0][3:, 0, 1]).all() and not np.isnan(answers[0][:3, 0, 1]).any()
    for y, true in zip(answers, truth, strict=True):
        np.testing.assert_allclose(y, true, rtol=LONG_RUN_TOLERANCE, atol=LONG_RUN_TOLERANCE)


@pytest.mark.parametrize("op", list(GATES))
def test_where_the_input_lies_changes_no_bit(op: str, isa: str) -> None:
    features = 5
    model = edgeinfer.load(recurrent_model(op, features, 17, 2), backend="native", isa=isa)
    xs = draw(9, features)
    expected = model.stream().run(xs)
    raw = np.zeros(xs.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(np.float32).reshape(xs.shape)
    unaligned[...] = xs
    assert not unaligned.flags.aligned
    wide = np.full((18, 3 * features), np.nan, np.float32)
    wide[::2, ::3] = xs
    backwards = np.ascontiguousarray(xs[::-1, ::-1])[::-1, ::-1]
    for there in (unaligned, wide[::2, ::3], backwards, np.asfortranarray(xs), xs.astype(np.float64)):
        np.testing.assert_array_equal(there, xs)
        np.testing.assert_array_equal(model.stream().run(there), expected)
        stream = model.stream()
        np.testing.assert_array_equal(np.stack([stream.step(x) for x in there]), expected)
        np.testing.assert_array_equal(model(there[None])[0], expected)


# A state that stays subnormal took 1.2 to 1.9 times as long on Zen 5, and takes ten times and more where the CPU traps.
SUBNORMAL_RATIO = 1.25
ROUNDS = 60


@pytest.mark.parametrize("op", list(GATES))
def test_a_state_that_decays_does_not_slow_its_steps(op: str, isa: str) -> None:
    """One stream is fed ones, the other zeros after a first one: its state falls by a quarter in each step, which at
    the smallest subnormal number rounds back to that number for ever."""
    hidden = 32
    rows = GATES[op] * hidden
    r, b = np.zeros((1, rows, hidden), np.float32), np.zeros((1, 2 * rows), np.float32)
    if op == "RNN":
        r[0] = 0.75 * np.eye(hidden)
    else:
        forget = 2 if op == "LSTM" else 0  # the gate that multiplies the state, of i, o, f, c and of z, r, h
        b[0, forget * hidden : (forget + 1) * hidden] = 1
    constants = {"W": np.full((1, rows, 1), 0.5, np.float32), "R": r, "B": b, "axis": np.array([1], np.int64)}
    starts, ends = [f"start_{k}" for k in STATES[op]], [f"end_{k}" for k in STATES[op]]
    nodes = [
        node(op, ["x", "W", "R", "B", "", *starts], ["Y", *ends], "cell", hidden_size=hidden),
        node("Squeeze", ["Y", "axis"], ["y"]),
    ]
    state = [1, 1, hidden]
    pairs = [{"input": start, "output": end} for start, end in zip(starts, ends, strict=True)]
    data = build(
        nodes,
        [value("x", ["time", 1, 1]), *(value(start, state) for start in starts)],
        [value("y", ["time", 1, hidden]), *(value(end, state) for end in ends)],
        constants,
        spec={"mode": "stream", "states": pairs},
    )
    model = edgeinfer.load(data, backend="native", isa=isa)
    ones, zeros = np.ones((500, 1), np.float32), np.zeros((500, 1), np.float32)
    active, decayed = model.stream(), model.stream()
    active.run(ones)
    decayed.run(ones[:1])
    decayed.run(zeros)
    assert np.max(np.abs(decayed.step(zeros[0]))) < np.finfo(np.float32).tiny
    best = {"active": np.inf, "decayed": np.inf}
    for _ in range(ROUNDS):
        for name, stream, xs in (("active", active, ones), ("decayed", decayed, zeros)):
            start = perf_counter()
            stream.run(xs)
            best[name] = min(best[name], perf_counter() - start)
    assert best["decayed"] / best["active"] < SUBNORMAL_RATIO
