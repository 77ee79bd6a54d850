"""Arrays, locks and memory that something else gets at in the middle of a call: another thread, a signal, a fork."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest
from graphs import draw, recurrent_model, token_model, two_outputs_model

import edgeinfer
from edgeinfer.errors import InputError, StreamError
from edgeinfer.pipeline import pipeline
from edgeinfer.plan import memory

DATA = recurrent_model("LSTM", features=3, hidden=9, outputs=2)
NUMPY = recurrent_model("GRU", head=["Selu"])


def load(data: bytes, backend: Any = "native") -> edgeinfer.Model:
    return edgeinfer.load(data, backend=backend)


class Asked:
    """An input that runs ``then`` as it is read."""

    def __init__(self, array: np.ndarray, then: Any) -> None:
        self.array, self.then = array, then

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        found = self.array
        self.then(self)
        return found


@pytest.mark.parametrize("data", [DATA, NUMPY], ids=["all native", "with numpy nodes"])
def test_slots_that_change_after_they_were_checked_are_the_checked_ones(data: bytes, backend: Any) -> None:
    pool = load(data, backend).pool(3)
    expected = load(data, backend).pool(3)
    for each in (pool, expected):
        for _ in range(3):
            each.add()
    slots = np.array([0, 2])
    x = draw(2, 3)

    def spoil(asked: Asked) -> None:
        slots[:] = 2**40

    np.testing.assert_array_equal(pool.step(slots, Asked(x, spoil)), expected.step([0, 2], x))
    assert [pool.snapshot(i) for i in range(3)] == [expected.snapshot(i) for i in range(3)]


def test_an_input_that_is_finite_when_it_is_asked_again_is_refused_all_the_same(backend: Any) -> None:
    stream = load(DATA, backend).stream()
    before = stream.snapshot()

    def heal(asked: Asked) -> None:
        asked.array = np.zeros(3, np.float32)

    with pytest.raises(InputError, match=r'input "x": expected finite numbers, got nan at \[1\]'):
        stream.step(Asked(np.array([0, np.nan, 0], np.float32), heal))
    assert stream.snapshot() == before


def test_an_array_that_was_healed_meanwhile_is_still_refused_by_an_error_of_ours() -> None:
    converter = load(DATA)._converters["x"]
    with pytest.raises(InputError, match=r'input "x": expected finite numbers, got nan \(load the model'):
        converter.refuse(np.zeros((1, 3), np.float32))


def test_out_of_a_pool_may_not_be_the_input_in_another_coat() -> None:
    pool = load(recurrent_model("GRU", features=2, outputs=2)).pool(2)
    slots = [pool.add(), pool.add()]
    before = [pool.snapshot(slot) for slot in slots]
    out = np.zeros((2, 2), np.float32)
    with pytest.raises(InputError, match="out: expected memory of its own, got an array that overlaps the input"):
        pool.step(slots, memoryview(out), out=out)
    assert [pool.snapshot(slot) for slot in slots] == before


@pytest.mark.parametrize("form", ["run", "call", "run of names", "pool"])
def test_tokens_that_another_thread_changes_are_refused_or_in_the_table(form: str) -> None:
    """The core gives the GIL away and reads them twice: for a check, and for their rows."""
    m = load(token_model(words=50, width=64, hidden=128))
    xs = np.zeros((1, 60), np.int32)
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            xs[0, -1] = 2**30
            xs[0, -1] = 1

    thread = threading.Thread(target=change)
    thread.start()
    stream, pool = m.stream(), m.pool(60)
    slots = [pool.add() for _ in range(60)]
    calls = {
        "run": lambda: stream.run(xs[0]),
        "call": lambda: m(xs),
        "run of names": lambda: m.run(None, {"x": xs})[0],
        "pool": lambda: pool.step(slots, xs[0]),
    }
    try:
        for _ in range(100):
            try:
                assert np.isfinite(calls[form]()).all()
            except InputError as error:
                assert "outside the table" in str(error)
    finally:
        stop.set()
        thread.join()


def test_weights_whose_packing_is_interrupted_are_packed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model without a step packs at its first call."""
    data = recurrent_model("GRU", states=False, last=True, direction="reverse", with_spec=False)
    m, x = load(data), draw(1, 4, 3)
    expected = load(data)(x)

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(memory.np, "ascontiguousarray", interrupt)
        with pytest.raises(KeyboardInterrupt):
            m(x)
    np.testing.assert_array_equal(m(x), expected)


def test_weights_are_whole_where_their_packing_plans_the_same_model_again() -> None:
    pool = memory.Pool(memory.WEIGHTS)
    first = pool.get("first", lambda: np.ones(3, np.float32))

    def make() -> np.ndarray:
        assert pool.get("inner", lambda: np.full(3, 2, np.float32)) is not None
        pool.seal()
        return np.full(3, 3, np.float32)

    assert pool.get("late", make) is None  # as for a pool that was sealed before
    blob = pool.seal()
    inner = pool.get("inner", lambda: np.zeros(3, np.float32))
    assert first is not None
    assert inner is not None
    for ref, value in ((first, 1), (inner, 2)):
        assert blob[ref.place[1] :][:12].view(np.float32).tolist() == [value] * 3


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of Python 3.12: with threads, which is the point
def test_a_child_can_plan_while_a_thread_of_its_parent_did() -> None:
    m = load(DATA)
    held, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with m._lock():
            held.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(20)
    child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            m(draw(1, 3, 3))
            os._exit(0)
        finally:
            os._exit(1)
    try:
        assert os.waitpid(child, 0)[1] == 0
    finally:
        leave.set()
        thread.join()


def test_a_handler_may_call_the_model_that_is_being_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    m, x = load(DATA), draw(1, 3, 3)
    expected = load(DATA)(x)
    plain = type(m)._bind

    def bind(self: Any, shapes: Any) -> Any:
        monkeypatch.setattr(type(m), "_bind", plain)
        np.testing.assert_array_equal(m(x[:, :2]), expected[:, :2])  # as a signal's handler would
        return plain(self, shapes)

    monkeypatch.setattr(type(m), "_bind", bind)
    np.testing.assert_array_equal(m(x), expected)


def test_a_close_between_a_run_and_its_answer_hurts_nobody() -> None:
    stream = load(two_outputs_model()).stream()
    xs = draw(4, 2)
    expected = load(two_outputs_model()).stream().run(xs)
    core = stream._core

    class ClosesLater:
        outputs = core.outputs

        def run(self, xs: Any, finish: Any) -> Any:
            stream._core = core
            ys = core.run(xs, finish)
            closer.start()
            return ys

    closer = threading.Thread(target=lambda: closing(stream))
    stream._core = ClosesLater()  # type: ignore[assignment]
    found = stream.run(xs)
    closer.join()
    assert found.keys() == expected.keys()
    with pytest.raises(StreamError, match="the stream is closed"):
        stream.run(xs)


def closing(stream: edgeinfer.Stream) -> None:
    while True:
        try:
            stream.close()
        except StreamError:
            continue
        return


def test_a_pipelines_stream_serves_one_thread_at_a_time() -> None:
    from models import sentiment_model

    stream = pipeline(load(sentiment_model())).stream()
    encoder = stream._tokens.encoder
    entered, leave = threading.Event(), threading.Event()

    class Slow:
        def encode(self, text: Any) -> Any:
            entered.set()
            assert leave.wait(20)
            return encoder.encode(text)

    stream._tokens.encoder = Slow()  # type: ignore[assignment]
    thread = threading.Thread(target=lambda: stream.step("a good film"))
    thread.start()
    try:
        assert entered.wait(20)
        for call in (stream.reset, stream.snapshot, stream.close, lambda: stream.step("bad")):
            with pytest.raises(StreamError, match="busy in another thread; give each thread its own"):
                call()
    finally:
        leave.set()
        thread.join()
    assert stream.snapshot()
