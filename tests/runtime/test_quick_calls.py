"""The short ways of the C core: a window in one piece of memory, and a model called on one array."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from graphs import build, draw, node, recurrent_model, token_model, two_outputs_model, value

import edgeinfer
from edgeinfer.errors import InputError
from edgeinfer.kernels import native
from edgeinfer.stream import PlainWindow

LENGTH = 4
XS = draw(50, 3)


def windowed(isa: str | None = None, **window: Any) -> edgeinfer.Model:
    spec = {"mode": "window", "window": {"length": LENGTH, **window}}
    data = recurrent_model("LSTM", states=False, last=True, spec=spec)
    return edgeinfer.load(data, backend="native", isa=isa)


def expected(m: edgeinfer.Model, xs: np.ndarray, start: str, side: str = "left", pad: float = 0.0) -> np.ndarray | None:
    """The answer after the last of xs, from the model over the window."""
    seen = xs[-LENGTH:]
    missing = LENGTH - len(seen)
    if missing and start == "wait":
        return None
    if missing and start == "pad":
        filling = np.full((missing, 3), pad, np.float32)
        seen = np.concatenate([filling, seen] if side == "left" else [seen, filling])
    y: np.ndarray = m(seen[None])[0]
    return y


STARTS = [
    {"start": "wait"},
    {"start": "partial"},
    {"start": "pad", "pad_side": "left", "pad_value": -1.5},
    {"start": "pad", "pad_side": "right", "pad_value": 0.5},
]


@pytest.mark.parametrize("window", STARTS, ids=["wait", "partial", "left", "right"])
def test_a_window_goes_on_over_many_times_its_length(window: dict[str, Any], isa: str) -> None:
    m = windowed(isa, **window)
    stream = m.stream()
    assert isinstance(stream._core.engine, native.Window)  # type: ignore[attr-defined]
    pad, side = window.get("pad_value", 0.0), window.get("pad_side", "left")
    rows = []
    for t, x in enumerate(XS):
        y = stream.step(x)
        true = expected(m, XS[: t + 1], window["start"], side, pad)
        if true is None:
            assert y is None
        else:
            np.testing.assert_array_equal(y, true)
        rows.append(np.full(2, np.nan, np.float32) if y is None else y.copy())
    many = m.stream()
    ys = np.concatenate([many.run(XS[:7]), many.run(XS[7:8]), many.run(XS[8:])])
    np.testing.assert_array_equal(ys, np.stack(rows))


@pytest.mark.parametrize("window", STARTS, ids=["wait", "partial", "left", "right"])
@pytest.mark.parametrize("taken", [0, 1, 3, 4, 5, 7, 8, 9, 30])
def test_a_failure_a_snapshot_and_a_reset_find_the_window_wherever_it_lies(window: dict[str, Any], taken: int) -> None:
    spec = {"mode": "window", "window": {"length": LENGTH, **window, "pad_value": 1}}
    m = edgeinfer.load(token_model(**spec), backend="native")
    ids = np.random.default_rng(3).integers(0, 7, 60)
    stream, other = m.stream(), m.stream()
    for token in ids[:taken]:
        stream.step(token)
        other.step(token)
    before = stream.snapshot()
    # a window that waits has not looked at its first inputs yet
    looked = window["start"] != "wait" or taken >= LENGTH - 1
    for bad in ([99], [1, 2, 99], [*range(6), *range(6), 99]) if looked else ():
        with pytest.raises(InputError, match="an index is outside the table"):
            stream.step(*bad) if len(bad) == 1 else stream.run(bad)
        assert stream.snapshot() == before
    restored = m.stream()
    restored.run(ids[40:53])
    restored.restore(before)
    np.testing.assert_array_equal(restored.run(ids[taken:]), other.run(ids[taken:]))
    stream.reset()
    assert stream.snapshot() == m.stream().snapshot()
    np.testing.assert_array_equal(stream.run(ids), m.stream().run(ids))


def test_a_model_with_numpy_nodes_keeps_its_window_by_numpy() -> None:
    spec = {"mode": "window", "window": {"length": LENGTH}}
    data = recurrent_model("GRU", states=False, last=True, head=["Selu"], spec=spec)
    m = edgeinfer.load(data, backend="native")
    stream = m.stream()
    assert isinstance(stream._core.engine, PlainWindow)  # type: ignore[attr-defined]
    ys = stream.run(XS)
    np.testing.assert_array_equal(ys[9], m(XS[None, 6:10])[0])


def test_an_answer_with_its_time_last_is_taken_apart_by_numpy() -> None:
    data = build(
        [node("Transpose", ["x"], ["y"], perm=[0, 2, 1])], [value("x", ["b", "t", 3])], [value("y", ["b", 3, "t"])]
    )
    stream = edgeinfer.load(data, backend="native").stream(mode="window", window=LENGTH)
    assert isinstance(stream._core.engine, PlainWindow)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(stream.run(XS)[-1], XS[-1])


def test_a_window_of_one_number_comes_as_a_float() -> None:
    spec = {"mode": "window", "window": {"length": 2}}
    m = edgeinfer.load(recurrent_model("RNN", 1, 4, 1, states=False, last=True, spec=spec), backend="native")
    stream = m.stream()
    assert stream.step(0.5) is None
    y = stream.step(np.float32(0.25))
    assert type(y) is float
    assert y == m(np.array([[[0.5], [0.25]]], np.float32))[0, 0]


# --- calls


def test_a_call_on_an_array_gives_the_bits_of_any_other_way(isa: str) -> None:
    m = edgeinfer.load(recurrent_model("LSTM"), backend="native", isa=isa)
    for shape in ((2, 5, 3), (1, 1, 3), (4, 2, 3)) * 3:
        x = draw(*shape)
        (true,) = m.run(["y"], {"x": x})
        for given in (x, x.astype(np.float64), x.tolist(), np.repeat(x, 2, axis=0)[::2], {"x": x}):
            y = m(given)
            assert (y.shape, y.dtype) == (true.shape, true.dtype)
            np.testing.assert_array_equal(y, true)


def test_every_call_gives_an_array_of_its_own() -> None:
    m = edgeinfer.load(recurrent_model(), backend="native")
    xs = draw(6, 2, 4, 3)
    kept = [m(x) for x in xs]
    for x, y in zip(xs, kept, strict=True):
        np.testing.assert_array_equal(y, m(x))


def test_a_call_on_tokens_and_several_outputs() -> None:
    tokens = edgeinfer.load(token_model(), backend="native")
    ids = np.array([[1, 2, 3], [6, 5, 4]], np.int32)
    for _ in range(3):
        np.testing.assert_array_equal(tokens(ids), tokens({"x": ids}))
        with pytest.raises(InputError, match='in node "embedding" \\(Gather\\): an index is outside the table'):
            tokens(ids + 9)
    two = edgeinfer.load(two_outputs_model(), backend="native")
    x = draw(1, 4, 2)
    for _ in range(3):
        found = two(x)
        assert list(found) == ["y", "gate"]
        for name, y in found.items():
            np.testing.assert_array_equal(y, two({"x": x})[name])


@pytest.mark.parametrize("outputs", [("y", "x"), ("x", "y"), ("x",)])
def test_an_output_that_is_the_input_itself(outputs: tuple[str, ...]) -> None:
    shape = ["batch", "time", 2]
    data = build([node("Neg", ["x"], ["y"])], [value("x", shape)], [value(name, shape) for name in outputs])
    m = edgeinfer.load(data, backend="native")
    x = draw(1, 3, 2)
    stream = m.stream(mode="window", window=3)
    steps = [(row, stream.step(row)) for row in (*x[0], *x[0])]
    for given, found in [(x, m(x)), (x, m(x)), (x, m({"x": x})), *steps[2:]]:
        by_name = found if isinstance(found, dict) else {outputs[0]: found}
        assert tuple(by_name) == outputs
        for name, y in by_name.items():
            np.testing.assert_array_equal(y, -given if name == "y" else given)


def test_a_call_on_what_does_not_fit_is_refused_also_after_one_that_did() -> None:
    m = edgeinfer.load(recurrent_model(), backend="native")
    x = draw(1, 4, 3)
    m(x)
    x[0, 2, 1] = np.nan
    with pytest.raises(InputError, match=r'input "x": expected finite numbers, got nan at \[0, 2, 1\]'):
        m(x)
    with pytest.raises(InputError, match=r'input "x": expected shape \[any, any, 3\], got shape \[1, 4, 2\]'):
        m(draw(1, 4, 2))
    with pytest.raises(InputError, match='input "x": expected float32, got complex128'):
        m(np.zeros((1, 4, 3), np.complex128))
    assert np.isnan(edgeinfer.load(recurrent_model(), backend="native", nan="propagate")(x)).any()


def test_more_shapes_than_are_kept_give_what_they_gave() -> None:
    m = edgeinfer.load(recurrent_model(), backend="native")
    xs = [draw(1, steps, 3) for steps in range(1, 30)]
    first = [m(x) for x in xs]
    for x, y in zip(xs, first, strict=True):
        np.testing.assert_array_equal(m(x), y)
    assert len(m._quick) <= 8


def test_many_threads_may_call_one_model_on_one_shape() -> None:
    m = edgeinfer.load(recurrent_model("LSTM", 3, 65, 2), backend="native")
    xs = draw(8, 1, 60, 3)
    true = [m(x) for x in xs]
    wrong: list[int] = []

    def work(i: int) -> None:
        wrong.extend(i for _ in range(50) if not np.array_equal(m(xs[i]), true[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
