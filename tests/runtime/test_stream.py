"""A stream that carries its state, one step at a time, on every backend and instruction set."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
from graphs import build, draw, node, recurrent_model, token_model, two_outputs_model, value

import edgeinfer
from edgeinfer.backends.native import SegmentedStepper
from edgeinfer.errors import InputError, StreamError
from edgeinfer.graph.ops import REGISTRY
from edgeinfer.kernels.native import Stepper
from edgeinfer.kernels.twins import recurrent as twins

TOLERANCE = 1e-6

DATA = recurrent_model("LSTM", features=3, hidden=9, outputs=2)
ONE = recurrent_model("GRU", features=1, hidden=4, outputs=1)
NUMPY = recurrent_model("GRU", head=["Selu"])
STEPS = 10_000


@pytest.fixture
def model(isa: str) -> edgeinfer.Model:
    m = edgeinfer.load(DATA, backend="native", isa=isa)
    assert m.backend == "native"
    return m


def load(data: bytes, backend: Any = "native") -> edgeinfer.Model:
    return edgeinfer.load(data, backend=backend)


# --- steps


def test_a_step_gives_an_array_of_the_outputs(backend: Any) -> None:
    y = load(DATA, backend).stream().step(draw(3))
    assert type(y) is np.ndarray
    assert (y.shape, y.dtype) == ((2,), np.float32)


def test_run_equals_single_steps_and_the_whole_sequence(backend: Any) -> None:
    m = load(DATA, backend)
    xs = draw(9, 3)
    one, many = m.stream(), m.stream()
    ys = many.run(xs)
    tolerance = 0 if backend == "native" else TOLERANCE
    np.testing.assert_allclose(np.stack([one.step(x) for x in xs]), ys, rtol=0, atol=0)
    np.testing.assert_allclose(m(xs[None])[0], ys, rtol=0, atol=tolerance)


def test_one_output_comes_as_a_float_unless_asked_otherwise(backend: Any) -> None:
    m = load(ONE, backend)
    y = m.stream().step([0.5])
    assert type(y) is float
    array = m.stream(scalar=False).step([0.5])
    assert array.shape == (1,)
    assert array[0] == np.float32(y)


def test_one_feature_may_come_as_a_bare_number(backend: Any) -> None:
    m = load(ONE, backend)
    expected = m.stream().step(np.array([2.0], np.float32))
    for x in (2.0, 2, np.float32(2), np.float64(2), np.int16(2), [2], [2.0], np.array(2.0), np.array([2])):
        assert m.stream().step(x) == expected
    for xs in ([1.0, 2.0], np.array([1, 2]), [[1.0], [2.0]]):
        np.testing.assert_array_equal(m.stream().run(xs), m.stream().run(np.array([[1], [2]], np.float32)))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_a_token_may_come_as_any_integer(dtype: type, backend: Any) -> None:
    m = load(token_model(dtype=dtype), backend)
    expected = m.stream().step(np.array(3, dtype))
    for x in (3, np.int8(3), np.uint16(3), np.int64(3), np.array(3, np.int16)):
        np.testing.assert_array_equal(m.stream().step(x), expected)
    for xs in ([3, 1], np.array([3, 1], np.uint8)):
        np.testing.assert_array_equal(m.stream().run(xs)[0], expected)


def test_a_negative_token_counts_from_the_end_as_onnx_says(backend: Any) -> None:
    m = load(token_model(), backend)
    np.testing.assert_array_equal(m.stream().step(-1), m.stream().step(6))


def test_several_outputs_come_by_name(backend: Any) -> None:
    m = load(two_outputs_model(), backend)
    xs = draw(5, 2)
    whole = m(xs[None])
    stream = m.stream()
    first = stream.step(xs[0])
    assert {name: y.shape for name, y in first.items()} == {"y": (2,), "gate": (1,)}
    rest = stream.run(xs[1:])
    for name in ("y", "gate"):
        found = np.concatenate([first[name][None], rest[name]])
        np.testing.assert_allclose(found, whole[name][0], rtol=0, atol=TOLERANCE)
    record = np.empty(3, np.float32)
    twin = m.stream()
    assert twin.step(xs[0], out=record) is record
    np.testing.assert_array_equal(record, np.concatenate([first["y"], first["gate"]]))


@pytest.mark.parametrize("head", [["Selu"], ["Gelu"], ["Erf", "Tanh", "Floor"], ["Selu", "Softmax"]])
def test_a_model_with_numpy_nodes_in_its_step_equals_the_reference(head: list[str], isa: str) -> None:
    data = recurrent_model("LSTM", head=head)
    m = edgeinfer.load(data, backend="native", isa=isa)
    assert isinstance(m.stream()._core.engine, SegmentedStepper)  # type: ignore[attr-defined]
    xs = draw(7, 3)
    ys = m.stream().run(xs)
    np.testing.assert_allclose(ys, load(data, "reference").stream().run(xs), rtol=0, atol=TOLERANCE)
    stream = m.stream()
    np.testing.assert_array_equal(np.stack([stream.step(x) for x in xs]), ys)


def test_a_model_with_pow_and_mean_in_its_step_equals_the_reference(isa: str) -> None:
    nodes = [
        node("Pow", ["x", "two"], ["p"]),
        node("ReduceMean", ["p"], ["m"], axes=[2]),
        node("Sqrt", ["m"], ["r"]),
        node("Div", ["x", "r"], ["y"]),
    ]
    data = build(nodes, [value("x", ["b", "t", 4])], [value("y", ["b", "t", 4])], {"two": np.array(2, np.float32)})
    m = edgeinfer.load(data, backend="native", isa=isa)
    xs = draw(6, 4)
    ys = m.stream(mode="stream").run(xs)
    np.testing.assert_allclose(ys, xs / np.sqrt((xs**2).mean(1, keepdims=True)), rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(ys, m(xs[None])[0])


# --- which code answers


def test_native_steps_never_call_a_twin(monkeypatch: pytest.MonkeyPatch, isa: str) -> None:
    m = edgeinfer.load(DATA, backend="native", isa=isa)
    assert m.backend == "native"
    assert m.isa == isa
    stream = m.stream()
    assert isinstance(stream._core.engine, Stepper)  # type: ignore[attr-defined]

    def refuse(*_: object) -> None:
        raise AssertionError("a twin was called")

    for name, op in list(REGISTRY.items()):
        monkeypatch.setitem(REGISTRY, name, op._replace(twin=refuse))
    monkeypatch.setattr(twins, "lstm", refuse)
    xs = draw(5, 3)
    ys = stream.run(xs)
    stream.step(xs[0])
    np.testing.assert_array_equal(m(xs[None])[0], ys)


def test_the_guard_above_would_see_a_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a twin was called")

    monkeypatch.setitem(REGISTRY, "Selu", REGISTRY["Selu"]._replace(twin=refuse))
    with pytest.raises(AssertionError, match="a twin was called"):
        load(NUMPY).stream().step(draw(3))


# --- out


def test_out_is_written_and_returned(backend: Any) -> None:
    m = load(DATA, backend)
    x, out = draw(3), np.empty(2, np.float32)
    assert m.stream().step(x, out=out) is out
    np.testing.assert_array_equal(out, m.stream().step(x))


def test_a_new_array_is_given_at_each_step(model: edgeinfer.Model) -> None:
    stream = model.stream()
    kept = [stream.step(x) for x in draw(5, 3)]
    np.testing.assert_array_equal(np.stack(kept), model.stream().run(draw(5, 3)))


def unusable_outs() -> list[Any]:
    readonly = np.empty(2, np.float32)
    readonly.flags.writeable = False
    return [
        pytest.param([0.0, 0.0], "out: expected a NumPy array, got list", id="list"),
        pytest.param(np.empty(3, np.float32), r"float32 array of shape \[2\], got float32 \[3\]", id="longer"),
        pytest.param(np.empty(1, np.float32), r"of shape \[2\], got float32 \[1\]", id="shorter"),
        pytest.param(np.empty((1, 2), np.float32), r"of shape \[2\], got float32 \[1, 2\]", id="rank"),
        pytest.param(np.empty((), np.float32), r"of shape \[2\], got float32 \[\]", id="scalar"),
        pytest.param(np.empty(2, np.float64), r"of shape \[2\], got float64 \[2\]", id="float64"),
        pytest.param(np.empty(2, np.int32), r"of shape \[2\], got int32 \[2\]", id="int32"),
        pytest.param(np.empty(2, ">f4"), r"expected a writable C-contiguous float32 array", id="big-endian"),
        pytest.param(np.empty(4, np.float32)[::2], "expected a writable C-contiguous float32 array", id="strided"),
        pytest.param(readonly, "expected a writable C-contiguous float32 array", id="read-only"),
    ]


@pytest.mark.parametrize(("out", "message"), unusable_outs())
@pytest.mark.parametrize("data", [DATA, NUMPY], ids=["all native", "with numpy nodes"])
def test_an_out_that_cannot_hold_the_answer_is_refused_and_the_state_stays(
    out: Any, message: str, data: bytes, backend: Any
) -> None:
    stream = load(data, backend).stream()
    stream.run(draw(3, 3))
    twin = stream.fork()
    with pytest.raises(InputError, match=message) as info:
        stream.step(draw(3), out=out)
    assert info.value.name == "out"
    np.testing.assert_array_equal(stream.step(draw(3)), twin.step(draw(3)))
    assert stream.snapshot() == twin.snapshot()


@pytest.mark.parametrize("data", [DATA, NUMPY], ids=["all native", "with numpy nodes"])
def test_an_out_that_overlaps_the_input_is_refused_and_the_state_stays(data: bytes, backend: Any) -> None:
    stream = load(data, backend).stream()
    stream.run(draw(3, 3))
    twin = stream.fork()
    memory = draw(8)
    before = memory.copy()
    for start in (1, 2, 4):
        with pytest.raises(InputError, match="out: expected memory of its own, got an array that overlaps the input"):
            stream.step(memory[2:5], out=memory[start : start + 2])
    np.testing.assert_array_equal(memory, before)
    expected = twin.step(memory[2:5])
    np.testing.assert_array_equal(stream.step(memory[2:5], out=memory[5:7]), expected)
    np.testing.assert_array_equal(memory[:5], before[:5])
    assert stream.snapshot() == twin.snapshot()


# --- inputs


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(2), r'input "x": expected shape \[3\], got shape \[2\]'),
        (np.zeros((1, 3)), r'input "x": expected shape \[3\], got shape \[1, 3\]'),
        (1.0, r'input "x": expected shape \[3\], got shape \[\]'),
        (1, r'input "x": expected shape \[3\], got shape \[\]'),
        ("text", r'input "x": expected shape \[3\], got shape \[\]'),
        (["a", "b", "c"], 'input "x": expected float32, got text'),
        (None, r'input "x": expected shape \[3\], got shape \[\]'),
        ([True, False, True], 'input "x": expected float32, got bool'),
        ([1j, 0, 0], 'input "x": expected float32, got complex128'),
        ([0.0, np.nan, 0.0], r'input "x": expected finite numbers, got nan at \[1\]'),
        (np.array([0, 0, np.inf], np.float32), r'input "x": expected finite numbers, got inf at \[2\]'),
        ([0.0, 0.0, 1e300], r'input "x": expected finite numbers, got inf at \[2\]'),
    ],
)
@pytest.mark.parametrize("data", [DATA, NUMPY], ids=["all native", "with numpy nodes"])
def test_an_input_that_does_not_fit_is_refused_and_the_state_stays(
    x: Any, message: str, data: bytes, backend: Any
) -> None:
    stream = load(data, backend).stream()
    stream.run(draw(2, 3))
    before = stream.snapshot()
    with pytest.raises(InputError, match=message):
        stream.step(x)
    assert stream.snapshot() == before


@pytest.mark.parametrize("x", [np.nan, np.inf, float("nan"), -np.inf, np.float32(np.nan), [np.nan], 1e39, 1e300])
def test_a_bare_number_that_is_not_finite_is_refused(x: Any, backend: Any) -> None:
    stream = load(ONE, backend).stream()
    before = stream.snapshot()
    with pytest.raises(InputError, match=r'input "x": expected finite numbers, got (nan|inf|-inf)'):
        stream.step(x)
    assert stream.snapshot() == before


@pytest.mark.parametrize("x", [True, np.bool_(True), "1", b"1", 1j, None, [1, 2], {}, object()])
def test_a_bare_thing_that_is_no_number_is_refused(x: Any, backend: Any) -> None:
    stream = load(ONE, backend).stream()
    before = stream.snapshot()
    with pytest.raises(InputError, match='input "x": expected'):
        stream.step(x)
    assert stream.snapshot() == before


def test_nan_goes_through_a_stream_where_asked(isa: str) -> None:
    stream = edgeinfer.load(ONE, backend="native", isa=isa, nan="propagate").stream()
    assert np.isnan(stream.step(np.nan))
    assert np.isnan(stream.step(0.0))  # it is in the state now
    stream.reset()
    assert np.isfinite(stream.step(0.0))


@pytest.mark.parametrize("bad", [7, -8, 2**31 - 2, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**70, 1.0, "a", [1, 2]])
def test_a_token_that_is_none_is_refused_and_the_state_stays(bad: Any, backend: Any) -> None:
    stream = load(token_model(), backend).stream()
    stream.run([1, 2])
    before = stream.snapshot()
    with pytest.raises(InputError, match=r"outside the table|expected|refuses the input"):
        stream.step(bad)
    assert stream.snapshot() == before


@pytest.mark.parametrize("length", [2, 3, 6])
@pytest.mark.parametrize("position", [0, 1, -1])
def test_a_token_outside_the_table_in_a_run_leaves_the_state(length: int, position: int, backend: Any) -> None:
    stream = load(token_model(), backend).stream()
    stream.run([1, 2, 3])
    before = stream.snapshot()
    ids = [4] * length
    ids[position] = 99
    with pytest.raises(InputError, match=r"an index is outside the table|ONNX Runtime refuses the input"):
        stream.run(ids)
    assert stream.snapshot() == before


def test_a_token_outside_the_table_names_the_step_and_the_node(isa: str) -> None:
    stream = edgeinfer.load(token_model(), backend="native", isa=isa).stream()
    with pytest.raises(InputError, match=r'in node "embedding" \(Gather\) at step 2: an index is outside the table'):
        stream.run([1, 2, 99, 3])
    with pytest.raises(InputError, match=r'in node "embedding" \(Gather\): an index is outside the table'):
        stream.step(99)


def test_a_failure_after_numpy_nodes_leaves_the_state() -> None:
    nodes = [
        node("Floor", ["x"], ["f"]),
        node("Cast", ["f"], ["i"], to=7),
        node("Gather", ["t", "i"], ["e"], "lookup"),
        node("Squeeze", ["e", "axis"], ["e2"]),
        node("Transpose", ["e2"], ["xt"], perm=[1, 0, 2]),
        node("RNN", ["xt", "W", "R"], ["g"], "rnn", hidden_size=2),
        node("Squeeze", ["g", "one"], ["s"]),
        node("Transpose", ["s"], ["y"], perm=[1, 0, 2]),
    ]
    constants = {
        "t": draw(4, 3),
        "W": draw(1, 2, 3),
        "R": draw(1, 2, 2),
        "axis": np.array([2], np.int64),
        "one": np.array([1], np.int64),
    }
    data = build(nodes, [value("x", ["b", "t", 1])], [value("y", ["b", "t", 2])], constants)
    m = load(data)
    stream = m.stream(mode="stream")
    assert isinstance(stream._core.engine, SegmentedStepper)  # type: ignore[attr-defined]
    stream.run([1.5, 2.5, 0.0])
    before = stream.snapshot()
    for bad in ([9.0], [0.0, 9.0], [0.0, 1.0, 9.0], [0.0, 1.0, 2.0, 9.0]):
        with pytest.raises(InputError, match=r'in node "lookup"( \(Gather\))?: an index is outside the table'):
            stream.run(bad)
        assert stream.snapshot() == before
    with pytest.raises(InputError, match="an index is outside the table"):
        stream.step(9.0)
    assert stream.snapshot() == before


def test_nan_in_the_middle_of_a_run_leaves_the_state(backend: Any) -> None:
    stream = load(DATA, backend).stream()
    stream.run(draw(2, 3))
    before = stream.snapshot()
    xs = draw(5, 3)
    xs[3, 1] = np.nan
    with pytest.raises(InputError, match=r'input "x": expected finite numbers, got nan at \[3, 1\]'):
        stream.run(xs)
    assert stream.snapshot() == before


@pytest.mark.parametrize("xs", [np.zeros(3), np.zeros((2, 4)), np.zeros((1, 2, 3)), 1.0, "text", [[1, 2, 3], [1]]])
def test_a_run_over_what_does_not_fit_is_refused(xs: Any, backend: Any) -> None:
    with pytest.raises(InputError, match=r'input "x": expected (shape \[steps, 3\]|an array)'):
        load(DATA, backend).stream().run(xs)


def test_no_steps_give_nothing_and_leave_the_state(backend: Any) -> None:
    for data, empty, shape in (
        (DATA, np.zeros((0, 3)), (0, 2)),
        (NUMPY, np.zeros((0, 3)), (0, 2)),
        (ONE, [], (0, 1)),
        (token_model(), [], (0, 7)),
    ):
        stream = load(data, backend).stream()
        before = stream.snapshot()
        ys = stream.run(empty)
        assert ys.shape == shape
        assert ys.dtype == np.float32
        assert stream.snapshot() == before


# --- state


def test_reset_goes_back_to_the_start(backend: Any) -> None:
    stream = load(DATA, backend).stream()
    fresh = stream.snapshot()
    first = stream.run(draw(5, 3))
    assert stream.snapshot() != fresh
    stream.reset()
    assert stream.snapshot() == fresh
    np.testing.assert_array_equal(stream.run(draw(5, 3)), first)


@pytest.mark.parametrize("data", [DATA, NUMPY], ids=["all native", "with numpy nodes"])
def test_a_snapshot_brings_the_state_back(data: bytes, backend: Any) -> None:
    m = load(data, backend)
    stream = m.stream()
    stream.run(draw(5, 3))
    saved = stream.snapshot()
    expected = stream.run(draw(4, 3, seed=2))
    stream.restore(saved)
    np.testing.assert_array_equal(stream.run(draw(4, 3, seed=2)), expected)
    other = m.stream()
    other.restore(saved)
    assert other.snapshot() == saved
    np.testing.assert_array_equal(other.run(draw(4, 3, seed=2)), expected)


def test_a_snapshot_of_one_backend_is_restored_by_another() -> None:
    saved = {}
    for name in ("native", "reference", "onnxruntime"):
        stream = load(DATA, name).stream()
        stream.run(draw(5, 3))
        saved[name] = stream.snapshot()
    expected = load(DATA, "reference").stream().run(np.concatenate([draw(5, 3), draw(3)[None]]))[-1]
    for snapshot in saved.values():
        for name in saved:
            stream = load(DATA, name).stream()
            stream.restore(snapshot)
            np.testing.assert_allclose(stream.step(draw(3)), expected, rtol=0, atol=TOLERANCE)


def test_a_snapshot_of_one_instruction_set_is_restored_by_another(isa: str) -> None:
    stream = edgeinfer.load(DATA, backend="native", isa="generic").stream()
    stream.run(draw(5, 3))
    other = edgeinfer.load(DATA, backend="native", isa=isa).stream()
    other.restore(stream.snapshot())
    assert other.snapshot() == stream.snapshot()
    np.testing.assert_allclose(other.step(draw(3)), stream.step(draw(3)), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("data", [DATA, NUMPY], ids=["all native", "with numpy nodes"])
def test_a_fork_goes_its_own_way(data: bytes, backend: Any) -> None:
    stream = load(data, backend).stream()
    stream.run(draw(3, 3))
    twin = stream.fork()
    assert twin.snapshot() == stream.snapshot()
    twin.run(draw(4, 3, seed=3))
    other = load(data, backend).stream()
    other.run(draw(3, 3))
    np.testing.assert_array_equal(stream.step(draw(3)), other.step(draw(3)))
    twin.close()
    stream.step(draw(3))


def test_a_fork_keeps_whether_one_output_is_a_float() -> None:
    assert type(load(ONE).stream(scalar=False).fork().step(1.0)) is np.ndarray


def test_a_closed_stream_refuses_everything(backend: Any) -> None:
    stream = load(DATA, backend).stream()
    saved = stream.snapshot()
    stream.close()
    stream.close()
    for call in (
        lambda: stream.step(draw(3)),
        lambda: stream.run(draw(2, 3)),
        stream.reset,
        stream.snapshot,
        lambda: stream.restore(saved),
        stream.fork,
    ):
        with pytest.raises(StreamError, match="the stream is closed"):
            call()


def test_a_stream_closes_at_the_end_of_a_with() -> None:
    with load(DATA).stream() as stream:
        stream.step(draw(3))
    with pytest.raises(StreamError, match="the stream is closed"):
        stream.step(draw(3))


def test_streams_of_a_model_do_not_share_state(backend: Any) -> None:
    m = load(DATA, backend)
    one, two = m.stream(), m.stream()
    xs = draw(6, 3)
    mixed = [(one.step(x), two.step(-x)) for x in xs]
    np.testing.assert_array_equal(np.stack([a for a, _ in mixed]), m.stream().run(xs))
    np.testing.assert_array_equal(np.stack([b for _, b in mixed]), m.stream().run(-xs))


# --- modes


def test_a_file_that_says_nothing_must_be_told_the_mode(backend: Any) -> None:
    m = load(recurrent_model(states=False, with_spec=False), backend)
    with pytest.raises(StreamError, match=r"choose: model\.stream\(mode='stream'\) .* model\.stream\(mode='window', w"):
        m.stream()
    if backend != "onnxruntime":
        assert m.stream(mode="stream").step(draw(3)).shape == (2,)
    assert m.stream(mode="window", window=2).step(draw(3)) is None


def test_a_file_with_state_inputs_streams_without_metadata(isa: str) -> None:
    m = edgeinfer.load(recurrent_model(with_spec=False), backend="native", isa=isa)
    xs = draw(4, 3)
    np.testing.assert_array_equal(m.stream().run(xs), m(xs[None])[0])


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(StreamError, match="mode: expected 'stream' or 'window', got 'fast'"):
        load(DATA).stream(mode="fast")  # type: ignore[arg-type]


def test_a_window_without_the_mode_is_refused() -> None:
    with pytest.raises(StreamError, match="window goes with mode='window' only"):
        load(DATA).stream(window=4)


# --- threads


class Blocking:
    """An input whose conversion waits, so that a step is under way for as long as the test wants."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self.entered.set()
        assert self.leave.wait(20)
        return np.ones(3, np.float32)


@pytest.mark.parametrize("method", ["step", "run"])
def test_a_second_thread_gets_an_error_not_a_torn_state(method: str, backend: Any) -> None:
    stream = load(DATA, backend).stream()
    saved = stream.snapshot()
    x = Blocking()
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(getattr(stream, method)(x))
        except InputError as error:  # run() wants more than one axis
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert x.entered.wait(20)
        for call in (
            lambda: stream.step(draw(3)),
            lambda: stream.run(draw(2, 3)),
            stream.reset,
            stream.snapshot,
            lambda: stream.restore(saved),
            stream.fork,
            stream.close,
        ):
            with pytest.raises(StreamError, match=r"the stream is busy in another thread; give each thread its own"):
                call()
    finally:
        x.leave.set()
        thread.join()
    assert len(found) == 1
    stream.reset()
    assert stream.step(draw(3)).shape == (2,)


def test_a_failed_step_leaves_the_stream_free() -> None:
    stream = load(DATA).stream()
    for _ in range(3):
        with pytest.raises(InputError):
            stream.step("text")
    stream.step(draw(3))


def test_many_threads_each_with_their_stream_give_what_one_gives() -> None:
    m = load(recurrent_model("LSTM", 3, 65, 2))
    xs = draw(300, 3)
    expected = m.stream().run(xs)
    found: dict[int, np.ndarray] = {}

    def work(i: int) -> None:
        stream = m.stream()
        found[i] = np.stack([stream.step(x) for x in xs])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ys in found.values():
        np.testing.assert_array_equal(ys, expected)
    assert len(found) == 4


# --- memory


@pytest.mark.parametrize("data", [DATA, token_model(), two_outputs_model()], ids=["floats", "tokens", "two outputs"])
def test_a_step_into_out_allocates_nothing(data: bytes, isa: str) -> None:
    m = edgeinfer.load(data, backend="native", isa=isa)
    stream = m.stream()
    shape = m.inputs[0].shape[2:]
    x: Any = draw(*(d for d in shape if isinstance(d, int))) if shape else 3
    out = np.empty(sum(int(np.prod(s)) for _, s in stream._core.outputs), np.float32)
    step = stream.step
    for _ in range(100):
        step(x, out=out)
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        for _ in range(STEPS):
            step(x, out=out)
        blocks = sys.getallocatedblocks() - before
        tracemalloc.start()
        for _ in range(100):
            step(x, out=out)
        start, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(STEPS):
            step(x, out=out)
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    finally:
        gc.enable()
    # the loop's own counters are all that lives: a leak of one object per step would be 10,000
    assert blocks < 20
    assert now - start < 1000
    # the most that was alive at once: call frames and a bound method, no array (the smallest takes 96 bytes)
    assert peak - start < 1000


def test_a_step_that_is_refused_leaks_nothing() -> None:
    stream = load(DATA).stream()
    bad = np.array([0, np.nan, 0], np.float32)

    def fail() -> None:
        with pytest.raises(InputError):
            stream.step(bad)

    for _ in range(50):
        fail()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(500):
        fail()
    gc.collect()
    assert sys.getallocatedblocks() - before < 200


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("mode", ["stream", "window"])
def test_an_answer_that_there_is_no_memory_for_leaves_the_state(
    monkeypatch: pytest.MonkeyPatch, backend: Any, mode: Any
) -> None:
    def none_left(outputs: Any, record: np.ndarray) -> None:
        raise MemoryError

    m = load(two_outputs_model(), backend)
    window = 2 if mode == "window" else None
    whole = m.stream(mode=mode, window=window)
    xs = draw(6, 2)
    expected = whole.run(xs)
    monkeypatch.setattr(edgeinfer.stream, "by_name", none_left)
    stream = m.stream(mode=mode, window=window)
    record = np.empty(3, np.float32)
    stream.step(xs[0], out=record)
    before = stream.snapshot()
    for call in (lambda: stream.step(xs[1]), lambda: stream.run(xs[1:])):
        with pytest.raises(MemoryError):
            call()
        assert stream.snapshot() == before
    for t in range(1, 6):
        stream.step(xs[t], out=record)
    np.testing.assert_array_equal(record[:2], expected["y"][-1])
