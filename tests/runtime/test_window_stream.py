"""A stream that recomputes the last inputs at every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import build, draw, node, recurrent_model, token_model, two_outputs_model, value, weights

import edgeinfer
from edgeinfer.errors import InputError, ModelFormatError, ModelLimitError, StreamError

TOLERANCE = 1e-6
LENGTH = 4


def windowed(op: str = "LSTM", **window: Any) -> bytes:
    spec = {"mode": "window", "window": {"length": LENGTH, **window}}
    return recurrent_model(op, states=False, last=True, spec=spec)


def tokens(**window: Any) -> bytes:
    return token_model(mode="window", window={"length": LENGTH, **window})


def load(data: bytes, backend: Any = "native", **more: Any) -> edgeinfer.Model:
    return edgeinfer.load(data, backend=backend, **more)


XS = draw(9, 3)


def same(y: np.ndarray, true: np.ndarray, backend: str) -> None:
    np.testing.assert_allclose(y, true, rtol=0, atol=0 if backend == "native" else TOLERANCE)


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_a_step_equals_the_model_on_the_window_bit_for_bit(op: str, isa: str) -> None:
    m = edgeinfer.load(windowed(op, start="wait"), backend="native", isa=isa)
    stream = m.stream()
    for t, x in enumerate(XS):
        y = stream.step(x)
        if t < LENGTH - 1:
            assert y is None
        else:
            np.testing.assert_array_equal(y, m(XS[None, t - LENGTH + 1 : t + 1])[0])


def test_a_window_waits_until_it_is_full(backend: Any) -> None:
    stream = load(windowed(start="wait"), backend).stream()
    assert [stream.step(x) is None for x in XS[:5]] == [True, True, True, False, False]
    stream.reset()
    ys = stream.run(XS)
    assert np.isnan(ys[: LENGTH - 1]).all()
    assert np.isfinite(ys[LENGTH - 1 :]).all()


def test_a_run_of_one_step_over_a_window_that_waits_is_nan(backend: Any) -> None:
    stream = load(windowed(start="wait"), backend).stream()
    for _ in range(LENGTH - 1):
        held = np.zeros((1, 2), np.float32)  # what the memory of the answer may have held before
        del held
        assert np.isnan(stream.run(XS[:1])).all()
    assert np.isfinite(stream.run(XS[:1])).all()


def test_wait_is_the_default(backend: Any) -> None:
    assert load(windowed(), backend).stream().step(XS[0]) is None


def test_a_partial_window_answers_from_what_there_is(backend: Any) -> None:
    m = load(windowed(start="partial"), backend)
    stream = m.stream()
    for t in range(len(XS)):
        first = max(0, t - LENGTH + 1)
        same(stream.step(XS[t]), m(XS[None, first : t + 1])[0], backend)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", [0.0, -1.5])
def test_a_padded_window_is_filled_on_its_side(side: str, pad: float, backend: Any) -> None:
    m = load(windowed(start="pad", pad_value=pad, pad_side=side), backend)
    stream = m.stream()
    for t in range(len(XS)):
        seen = XS[max(0, t - LENGTH + 1) : t + 1]
        padding = np.full((LENGTH - len(seen), 3), pad, np.float32)
        window = np.concatenate([padding, seen] if side == "left" else [seen, padding])
        same(stream.step(XS[t]), m(window[None])[0], backend)


def test_an_out_that_does_not_fit_or_overlaps_leaves_the_window_as_it_was(backend: Any) -> None:
    stream = load(windowed(start="partial"), backend).stream()
    stream.run(XS[:3])
    before = stream.snapshot()
    memory = np.zeros(5, np.float32)
    with pytest.raises(InputError, match=r"out: expected a writable C-contiguous float32 array of shape"):
        stream.step(XS[3], out=np.zeros(99, np.float32))
    with pytest.raises(InputError, match="out: expected memory of its own, got an array that overlaps the input"):
        stream.step(memory[:3], out=memory[: stream.step(XS[3]).size])
    stream.restore(before)
    assert stream.snapshot() == before


@pytest.mark.parametrize("side", ["left", "right"])
def test_tokens_are_padded_too(side: str, isa: str) -> None:
    m = edgeinfer.load(tokens(start="pad", pad_value=2, pad_side=side), backend="native", isa=isa)
    stream = m.stream()
    ids = [5, 1, 6, 0, 3]
    for t in range(len(ids)):
        seen = ids[max(0, t - LENGTH + 1) : t + 1]
        pad = [2] * (LENGTH - len(seen))
        window = pad + seen if side == "left" else seen + pad
        np.testing.assert_array_equal(stream.step(ids[t]), m([window])[0, -1])


def test_a_row_that_is_as_long_as_the_window_cannot_be_partial(backend: Any) -> None:
    nodes = [node("Flatten", ["x"], ["y"])]
    spec = {"schema_version": 1, "mode": "window", "window": {"length": 3, "start": "partial"}}
    m = load(build(nodes, [value("x", ["batch", "time", 2])], [value("y", ["batch", None])], spec=spec), backend)
    stream = m.stream()
    before = stream.snapshot()
    with pytest.raises(
        StreamError, match=r'output "y": a window of 1 inputs gives a row of \[2\], one of 3 gives \[6\]'
    ):
        stream.step(XS[0][:2])
    assert stream.snapshot() == before


@pytest.mark.parametrize("pad", [0.5, 1e300, -(2**31) - 1])
def test_tokens_are_padded_by_tokens_only(pad: float, backend: Any) -> None:
    if abs(pad) < 1e38:
        m = load(tokens(start="pad", pad_value=pad), backend)
        with pytest.raises(StreamError, match='pad_value: expected a number of int32, as input "x" takes, got '):
            m.stream()
    else:
        with pytest.raises(
            ModelFormatError, match=r"window.pad_value: expected a finite number of float32, got 1e.300"
        ):
            load(tokens(start="pad", pad_value=pad), backend)


@pytest.mark.parametrize("start", ["pad", "partial", "wait"])
def test_run_equals_steps(start: str, backend: Any) -> None:
    m = load(windowed(start=start), backend)
    one, many = m.stream(), m.stream()
    ys = np.concatenate([many.run(XS[:2]), many.run(XS[2:2]), many.run(XS[2:])])
    for x, y in zip(XS, ys, strict=True):
        step = one.step(x)
        if step is None:
            assert np.isnan(y).all()
        else:
            np.testing.assert_array_equal(step, y)
    assert one.snapshot() == many.snapshot()
    assert many.run(XS[:0]).shape == (0, 2)


def test_a_window_over_a_model_of_sequences_gives_the_last_row(isa: str) -> None:
    m = edgeinfer.load(recurrent_model("GRU"), backend="native", isa=isa)
    stream = m.stream(mode="window", window=3)
    ys = stream.run(XS)
    np.testing.assert_array_equal(ys[-1], m(XS[None, -3:])[0, -1])


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_window_over_a_time_major_model(backend: Any) -> None:
    nodes = [
        node("GRU", ["x", "W", "R", "B"], ["g"], "gru", hidden_size=4),
        node("Squeeze", ["g", "one"], ["y"]),
    ]
    data = build(
        nodes,
        [value("x", ["t", "b", 3])],
        [value("y", ["t", "b", 4])],
        {**weights("GRU", 3, 4), "one": np.array([1], np.int64)},
    )
    m = load(data, backend)
    ys = m.stream(mode="window", window=3).run(XS)
    for t in range(2, len(XS)):
        same(ys[t], m(XS[t - 2 : t + 1, None])[-1, 0], backend)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("names", [("b", "t"), (None, None)])
def test_a_window_over_a_model_that_looks_both_ways(backend: Any, names: Any) -> None:
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("GRU", ["xt", "W", "R", "B"], ["", "h"], "gru", hidden_size=4, direction="bidirectional"),
        node("Transpose", ["h"], ["ht"], perm=[1, 0, 2]),
        node("Flatten", ["ht"], ["y"]),
    ]
    data = build(nodes, [value("x", [*names, 3])], [value("y", [names[0], 8])], weights("GRU", 3, 4, 2))
    m = load(data, backend)
    with pytest.raises(StreamError, match="the model cannot stream"):
        m.stream(mode="stream")
    ys = m.stream(mode="window", window=5).run(XS)
    for t in range(4, len(XS)):
        same(ys[t], m(XS[None, t - 4 : t + 1])[0], backend)


def test_a_model_of_a_fixed_length_knows_its_window(backend: Any) -> None:
    m = load(recurrent_model(states=False, last=True, time=6, with_spec=False), backend)  # type: ignore[arg-type]
    stream = m.stream(mode="window")
    ys = stream.run(XS)
    assert np.isnan(ys[:5]).all()
    same(ys[5], m(XS[None, :6])[0], backend)
    with pytest.raises(StreamError, match='window: input "x" takes exactly 6 time steps, got 5'):
        m.stream(mode="window", window=5)


def test_a_window_of_another_length_may_be_asked_for() -> None:
    m = load(windowed(start="partial"))
    ys = m.stream(mode="window", window=2).run(XS)
    np.testing.assert_array_equal(ys[-1], m(XS[None, -2:])[0])


@pytest.mark.parametrize("length", [None, 0, -1, 2.5, True, 2**20 + 1])
def test_a_window_of_no_length_is_refused(length: Any) -> None:
    m = load(recurrent_model(with_spec=False))
    with pytest.raises(
        StreamError, match=r"window: expected how many inputs the model looks at, from 1 to 1048576, got"
    ):
        m.stream(mode="window", window=length)


def test_a_window_over_two_inputs_is_refused() -> None:
    data = build([node("Add", ["a", "b"], ["y"])], [value("a", ["n", 2]), value("b", ["n", 2])], [value("y", None)])
    with pytest.raises(StreamError, match=r"a window goes over one input, the model has \['a', 'b'\]"):
        load(data).stream(mode="window", window=2)


def test_a_window_over_an_input_without_time_is_refused() -> None:
    data = build([node("Relu", ["x"], ["y"])], [value("x", ["n"])], [value("y", ["n"])])
    with pytest.raises(StreamError, match=r'input "x" \[\'n\'\] has no time axis to take a window of'):
        load(data).stream(mode="window", window=2)


def test_a_window_over_dynamic_features_is_refused() -> None:
    data = build([node("Relu", ["x"], ["y"])], [value("x", ["n", "t", "f"])], [value("y", ["n", "t", "f"])])
    with pytest.raises(StreamError, match="has dynamic features; a window needs fixed ones"):
        load(data).stream(mode="window", window=2)


def test_several_outputs_come_by_name(backend: Any) -> None:
    m = load(two_outputs_model(), backend)
    stream = m.stream(mode="window", window=3)
    xs = draw(6, 2)
    assert stream.step(xs[0]) is None
    rest = stream.run(xs[1:])
    whole = m(xs[None, -3:])
    for name in ("y", "gate"):
        same(rest[name][-1], whole[name][0, -1], backend)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_an_answer_of_one_number_per_step_is_a_float(backend: Any) -> None:
    data = build(
        [node("MatMul", ["x", "v"], ["y"])], [value("x", ["b", "t", 3])], [value("y", ["b", "t"])], {"v": draw(3)}
    )
    m = load(data, backend)
    stream = m.stream(mode="window", window=2)
    ys = stream.run(XS)
    assert ys.shape == (9,)
    assert np.isnan(ys[0])
    assert stream.step(XS[0]) == pytest.approx(float(XS[0] @ draw(3)), abs=TOLERANCE)


# --- out, errors and state


def test_out_is_written_and_returned(backend: Any) -> None:
    m = load(windowed(start="partial"), backend)
    stream, out = m.stream(), np.empty(2, np.float32)
    assert stream.step(XS[0], out=out) is out
    np.testing.assert_array_equal(out, m.stream().step(XS[0]))


def test_while_it_waits_out_is_left_alone() -> None:
    out = np.full(2, 7, np.float32)
    assert load(windowed()).stream().step(XS[0], out=out) is None
    assert out.tolist() == [7, 7]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ([0.0, 0.0], "out: expected a NumPy array, got list"),
        (np.empty(3, np.float32), r"of shape \[2\], got float32 \[3\]"),
        (np.empty(2), r"of shape \[2\], got float64 \[2\]"),
    ],
)
def test_an_out_that_cannot_hold_the_answer_is_refused_and_the_window_stays(out: Any, message: str) -> None:
    stream = load(windowed(start="partial")).stream()
    stream.run(XS[:3])
    before = stream.snapshot()
    with pytest.raises(InputError, match=message):
        stream.step(XS[3], out=out)
    assert stream.snapshot() == before


@pytest.mark.parametrize("bad", [np.zeros(2), "text", [np.nan, 0, 0], None])
def test_an_input_that_does_not_fit_is_refused_and_the_window_stays(bad: Any, backend: Any) -> None:
    stream = load(windowed(), backend).stream()
    stream.run(XS[:3])
    before = stream.snapshot()
    with pytest.raises(InputError, match='input "x": expected'):
        stream.step(bad)
    with pytest.raises(InputError, match='input "x": expected'):
        stream.run([[0, 0, 0], [0, 0, np.inf]])
    assert stream.snapshot() == before


def test_a_token_outside_the_table_is_refused_and_the_window_stays(backend: Any) -> None:
    stream = load(tokens(start="pad"), backend).stream()
    stream.run([1, 2])
    before = stream.snapshot()
    for call in (lambda: stream.step(7), lambda: stream.run([1, 7, 2]), lambda: stream.run([1, 2, 7])):
        with pytest.raises(InputError, match=r"an index is outside the table|ONNX Runtime refuses the input"):
            call()
        assert stream.snapshot() == before


@pytest.mark.parametrize("filled", [0, 2, 7])
def test_a_snapshot_holds_the_window(filled: int, backend: Any) -> None:
    m = load(windowed(), backend)
    stream = m.stream()
    stream.run(XS[:filled])
    other = m.stream()
    other.restore(stream.snapshot())
    np.testing.assert_array_equal(other.run(XS), stream.run(XS))


def test_a_window_too_long_for_the_stream_is_refused() -> None:
    m = load(windowed())
    long = m.stream(mode="window", window=8)
    long.run(XS)
    short = m.stream()
    before = short.snapshot()
    with pytest.raises(StreamError, match="expected a window of at most 4 inputs"):
        short.restore(long.snapshot())
    assert short.snapshot() == before


def test_a_snapshot_of_the_other_mode_is_refused() -> None:
    m = load(recurrent_model())
    carrying, windowing = m.stream(), m.stream(mode="window", window=3)
    with pytest.raises(StreamError, match="the snapshot is of another kind: expected window, got stream"):
        windowing.restore(carrying.snapshot())
    with pytest.raises(StreamError, match="the snapshot is of another kind: expected stream, got window"):
        carrying.restore(windowing.snapshot())


def test_a_fork_and_a_reset_go_their_own_way(backend: Any) -> None:
    m = load(windowed(start="partial"), backend)
    stream = m.stream()
    stream.run(XS[:5])
    twin = stream.fork()
    stream.reset()
    np.testing.assert_array_equal(stream.step(XS[0]), m.stream().step(XS[0]))
    other = m.stream()
    other.run(XS[:5])
    np.testing.assert_array_equal(twin.step(XS[5]), other.step(XS[5]))


@pytest.mark.parametrize("times", ["t", LENGTH])
@pytest.mark.parametrize("features", [3, LENGTH])
def test_a_model_with_time_first_that_looks_ahead_gets_its_window_along_time(
    times: str | int, features: int, backend: Any
) -> None:
    arrays = weights("GRU", features, 5, directions=2)
    gru = node("GRU", ["x", *arrays], ["s"], hidden_size=5, direction="bidirectional", linear_before_reset=1)
    batch = 1 if times == LENGTH else "b"
    data = build(
        [gru, node("ReduceSum", ["s", "axes"], ["y"], keepdims=0)],
        [value("x", [times, batch, features])],
        [value("y", [times, batch, 5])],
        {**arrays, "axes": np.array([1])},
    )
    m = load(data, backend)
    xs = draw(7, features)
    ys = m.stream(mode="window", window=LENGTH).run(xs)
    for t in range(LENGTH - 1, 7):
        true = m(xs[t - LENGTH + 1 : t + 1, None])[-1, 0]
        same(ys[t], true, "native" if backend == "native" else "other")


def test_a_model_that_cannot_stream_says_why_and_that_a_window_can() -> None:
    arrays = weights("GRU", 3, 5, directions=1)
    gru = node("GRU", ["x", *arrays], ["s"], name="back", hidden_size=5, direction="reverse", linear_before_reset=1)
    m = load(build([gru], [value("x", ["t", "b", 3])], [value("s", ["t", 1, "b", 5])], arrays))
    with pytest.raises(StreamError, match=r'cannot stream: .*"back".* model\.stream\(mode=\'window\', window=N\)'):
        m.stream()


def test_a_model_of_several_inputs_is_not_asked_to_choose_a_mode() -> None:
    add = node("Add", ["a", "b"], ["y"])
    m = load(build([add], [value("a", ["n", "t", 2]), value("b", ["n", "t", 2])], [value("y", ["n", "t", 2])]))
    with pytest.raises(StreamError, match=r"a stream steps over one input, the model has \['a', 'b'\]"):
        m.stream()


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        ([node("ReduceSum", ["x"], ["y"], keepdims=0)], r"\[\]"),
        ([node("Slice", ["x", "zero", "zero", "zero"], ["y"])], r"\[0, 2, 1\]"),
        ([node("Concat", ["x", "x"], ["y"], axis=0)], r"\[2, 2, 1\]"),
    ],
)
def test_an_output_without_a_row_for_a_batch_of_1_is_refused_by_name(nodes: Any, shape: str, backend: Any) -> None:
    zero = {"zero": np.array([0], np.int64)}
    data = build(nodes, [value("x", ["batch", "time", 1])], [value("y", None)], zero)
    with pytest.raises(StreamError, match=rf'output "y": a window needs its row for a batch of 1, .* {shape}'):
        edgeinfer.load(data, backend=backend).stream(mode="window", window=2)


def test_a_window_is_not_longer_than_a_tensor_may_be() -> None:
    data = build([node("Neg", ["x"], ["y"])], [value("x", ["batch", "time", 1 << 16])], [value("y", None)])
    with pytest.raises(ModelLimitError, match='a window of 1048576 over input "x": tensor_bytes is 274877906944'):
        edgeinfer.load(data, backend="native").stream(mode="window", window=1 << 20)
