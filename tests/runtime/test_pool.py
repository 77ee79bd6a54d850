"""Many streams of one model, stepped together."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from graphs import draw, recurrent_model, token_model, two_outputs_model

import edgeinfer
from edgeinfer.errors import InputError, StreamError
from edgeinfer.kernels import native
from edgeinfer.pool import PlainPool

TOLERANCE = 1e-6
DATA = recurrent_model("LSTM", features=3, hidden=9, outputs=2)
NUMPY = recurrent_model("GRU", head=["Selu"])
# Around a tile and around what the core takes at once, which is 32.
COUNTS = (1, 2, 3, 4, 5, 31, 32, 33, 71)


def load(data: bytes = DATA, backend: Any = "native") -> edgeinfer.Model:
    return edgeinfer.load(data, backend=backend)


def filled(m: edgeinfer.Model, count: int, capacity: int = 100) -> tuple[edgeinfer.Pool, list[int]]:
    pool = m.pool(capacity)
    return pool, [pool.add() for _ in range(count)]


# --- bits


@pytest.mark.parametrize(
    ("op", "attributes"), [("LSTM", {}), ("GRU", {"linear_before_reset": 1}), ("GRU", {}), ("RNN", {})]
)
@pytest.mark.parametrize("hidden", [1, 7, 8, 9, 15, 16, 17, 31, 33, 64, 70, 128])
def test_a_row_has_the_bits_of_a_single_stream(op: str, attributes: dict[str, int], hidden: int, isa: str) -> None:
    data = recurrent_model(op, 3, hidden, 2, **attributes)  # type: ignore[arg-type]
    m = edgeinfer.load(data, backend="native", isa=isa)
    pool, slots = filled(m, 39)
    streams = [m.stream() for _ in slots]
    for step in range(3):
        x = draw(len(slots), 3, seed=step)
        expected = np.stack([stream.step(row) for stream, row in zip(streams, x, strict=True)])
        np.testing.assert_array_equal(pool.step(slots, x), expected)


@pytest.mark.parametrize("outputs", [1, 2, 4, 5, 8, 9, 16, 17, 33, 40, 70])
@pytest.mark.parametrize("features", [1, 2, 3, 5, 17])
def test_rows_have_the_bits_of_a_single_stream_for_any_width(outputs: int, features: int, isa: str) -> None:
    data = recurrent_model("GRU", features, 18, outputs, softmax=True)
    m = edgeinfer.load(data, backend="native", isa=isa)
    pool, slots = filled(m, 9)
    x = draw(9, features)
    expected = np.stack([m.stream(scalar=False).step(row) for row in x])
    np.testing.assert_array_equal(pool.step(slots, x), expected)


@pytest.mark.parametrize("activations", [["HardSigmoid", "Tanh", "Relu"], ["Sigmoid", "Softsign", "Tanh"]])
def test_other_activations_have_the_same_bits_too(activations: list[str], isa: str) -> None:
    data = recurrent_model("LSTM", 3, 20, 2, activations=activations)  # type: ignore[arg-type]
    m = edgeinfer.load(data, backend="native", isa=isa)
    pool, slots = filled(m, 6)
    x = draw(6, 3)
    np.testing.assert_array_equal(pool.step(slots, x), np.stack([m.stream().step(row) for row in x]))


@pytest.mark.parametrize("count", COUNTS)
def test_any_choice_of_slots_in_any_order_steps_those_and_no_others(count: int, backend: Any) -> None:
    m = load(token_model(), backend)
    pool, slots = filled(m, 80)
    streams = {slot: m.stream() for slot in slots}
    rng = np.random.default_rng(count)
    for _ in range(4):
        chosen = rng.permutation(slots)[:count]
        ids = rng.integers(0, 7, count)
        ys = pool.step(chosen, ids)
        assert (ys.shape, ys.dtype) == ((count, 7), np.float32)
        for slot, token, y in zip(chosen, ids, ys, strict=True):
            np.testing.assert_allclose(
                y, streams[slot].step(token), rtol=0, atol=0 if backend == "native" else TOLERANCE
            )
    for slot in slots:
        other = m.stream()
        other.restore(pool.snapshot(slot))
        np.testing.assert_allclose(
            other.step(1), streams[slot].step(1), rtol=0, atol=0 if backend == "native" else TOLERANCE
        )


def test_the_batched_core_answers_where_all_of_a_step_is_native() -> None:
    assert isinstance(load().pool(2)._engine, native.Slots)
    assert isinstance(load(NUMPY).pool(2)._engine, PlainPool)
    assert isinstance(load(DATA, "reference").pool(2)._engine, PlainPool)


def test_a_model_with_numpy_nodes_steps_its_slots_one_by_one() -> None:
    m = load(NUMPY)
    pool, slots = filled(m, 5)
    x = draw(5, 3)
    np.testing.assert_array_equal(pool.step(slots, x), np.stack([m.stream().step(row) for row in x]))


def test_several_outputs_come_by_name(backend: Any) -> None:
    m = load(two_outputs_model(), backend)
    pool, slots = filled(m, 6)
    x = draw(6, 2)
    found = pool.step(slots, x)
    assert {name: y.shape for name, y in found.items()} == {"y": (6, 2), "gate": (6, 1)}
    for row in range(6):
        single = m.stream().step(x[row])
        for name in ("y", "gate"):
            np.testing.assert_allclose(found[name][row], single[name], rtol=0, atol=TOLERANCE)
    record = np.empty((6, 3), np.float32)
    other, slots = filled(m, 6)
    assert other.step(slots, x, out=record) is record
    np.testing.assert_array_equal(record, np.concatenate([found["y"], found["gate"]], axis=1))


def test_no_slots_give_no_rows(backend: Any) -> None:
    pool, _ = filled(load(DATA, backend), 2)
    assert pool.step([], np.empty((0, 3))).shape == (0, 2)


# --- slots


def test_slots_are_given_from_the_lowest_on_and_again_when_they_are_free() -> None:
    pool, slots = filled(load(), 3, capacity=4)
    assert (slots, pool.slots, len(pool), pool.capacity) == ([0, 1, 2], (0, 1, 2), 3, 4)
    pool.remove(1)
    assert pool.slots == (0, 2)
    assert (pool.add(), pool.add(), len(pool)) == (1, 3, 4)
    with pytest.raises(StreamError, match=r"the pool is full: all 4 slots are in use; pool\.remove\(slot\) frees one"):
        pool.add()


def test_a_slot_begins_in_the_state_of_a_new_stream(backend: Any) -> None:
    m = load(DATA, backend)
    pool, slots = filled(m, 3)
    fresh = m.stream().snapshot()
    pool.step(slots, draw(3, 3))
    assert pool.snapshot(1) != fresh
    pool.reset(1)
    assert pool.snapshot(1) == fresh
    assert pool.snapshot(2) != fresh
    pool.remove(2)
    assert pool.add() == 2
    assert pool.snapshot(2) == fresh


@pytest.mark.parametrize(
    ("slots", "message", "got"),
    [
        ([0, 1, 100], r"slots: expected numbers from 0 to 99, got 100 at \[2\]", 100),
        ([-1, 1, 2], r"slots: expected numbers from 0 to 99, got -1 at \[0\]", -1),
        ([0, 2**62, 1], r"slots: expected numbers from 0 to 99, got 4611686018427387904 at \[1\]", 2**62),
        ([0, 5, 1], r"slots: slot 5 at \[1\] is not in use; pool\.add\(\) gives one that is", 5),
        ([0, 1, 0], r"slots: slot 0 comes again at \[2\]; each may take one step at a time", 0),
    ],
)
def test_slots_that_cannot_be_stepped_are_refused_and_no_state_changes(
    slots: list[int], message: str, got: int, backend: Any
) -> None:
    pool, used = filled(load(DATA, backend), 4)
    pool.step(used, draw(4, 3))
    before = [pool.snapshot(slot) for slot in used]
    with pytest.raises(InputError, match=message) as info:
        pool.step(slots, draw(3, 3))
    assert (info.value.name, info.value.got) == ("slots", got)
    assert [pool.snapshot(slot) for slot in used] == before
    pool.step(used, draw(4, 3))


@pytest.mark.parametrize("slots", [[0.0, 1.0], "ab", [[0, 1]], 0, None, [True, False], [[0], [1, 2]]])
def test_what_is_no_list_of_slots_is_refused(slots: Any, backend: Any) -> None:
    pool, _ = filled(load(DATA, backend), 2)
    with pytest.raises(InputError, match=r"slots: expected integers \[n\], got"):
        pool.step(slots, draw(2, 3))


@pytest.mark.parametrize("slot", [3, -1, 100, "0", None, 0.0, True])
def test_a_slot_that_is_not_in_use_is_refused_by_every_call(slot: Any) -> None:
    pool, _ = filled(load(), 3)
    saved = pool.snapshot(0)
    for call in (pool.remove, pool.reset, pool.snapshot, lambda s: pool.restore(s, saved)):
        with pytest.raises(StreamError, match=r"slot .* is not in use; the pool has 100 slots, 3 in use"):
            call(slot)


# --- inputs and outputs


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 3)), r'input "x": expected shape \[4, 3\], got shape \[2, 3\]'),
        (np.zeros((4, 2)), r'input "x": expected shape \[steps, 3\], got shape \[4, 2\]'),
        (np.zeros(3), r'input "x": expected shape \[steps, 3\], got shape \[3\]'),
        (np.full((4, 3), np.nan), r'input "x": expected finite numbers, got nan at \[0, 0\]'),
        ([[0, 0, 0]] * 3 + [[0, 0, 1e300]], r'input "x": expected finite numbers, got inf at \[3, 2\]'),
        ("text", r'input "x": expected shape \[steps, 3\], got shape \[\]'),
    ],
)
@pytest.mark.parametrize("data", [DATA, NUMPY], ids=["all native", "with numpy nodes"])
def test_an_input_that_does_not_fit_is_refused_and_no_state_changes(
    x: Any, message: str, data: bytes, backend: Any
) -> None:
    pool, slots = filled(load(data, backend), 4)
    pool.step(slots, draw(4, 3))
    before = [pool.snapshot(slot) for slot in slots]
    with pytest.raises(InputError, match=message):
        pool.step(slots, x)
    assert [pool.snapshot(slot) for slot in slots] == before


@pytest.mark.parametrize("bad", [0, 5, 31, 32, 39])
def test_a_token_outside_the_table_in_one_row_changes_no_state(bad: int, backend: Any) -> None:
    pool, slots = filled(load(token_model(), backend), 40)
    pool.step(slots, [1] * 40)
    before = [pool.snapshot(slot) for slot in slots]
    ids = [2] * 40
    ids[bad] = 99
    message = r"an index is outside the table|ONNX Runtime refuses the input"
    if backend == "native":
        message = rf'in node "embedding" \(Gather\) in row {bad}: an index is outside the table'
    with pytest.raises(InputError, match=message):
        pool.step(slots, ids)
    assert [pool.snapshot(slot) for slot in slots] == before


def test_nan_goes_through_where_asked() -> None:
    m = edgeinfer.load(DATA, backend="native", nan="propagate")
    pool, slots = filled(m, 3)
    x = draw(3, 3)
    x[1, 0] = np.nan
    assert np.isnan(pool.step(slots, x)).any(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize("form", [np.asarray, list, tuple, lambda a: a[::-1].copy()[::-1]])
def test_inputs_and_slots_come_in_any_form(form: Any) -> None:
    pool, slots = filled(load(), 5)
    other, _ = filled(load(), 5)
    x = draw(5, 3)
    for narrow in (x, x.astype(np.float64)):
        expected = pool.step(np.array(slots), x)
        np.testing.assert_array_equal(other.step(form(np.array(slots, np.int32)), form(narrow)), expected)


def test_out_is_written_and_returned_and_refused_where_it_does_not_fit(backend: Any) -> None:
    m = load(DATA, backend)
    pool, slots = filled(m, 4)
    x, out = draw(4, 3), np.empty((4, 2), np.float32)
    assert pool.step(slots, x, out=out) is out
    np.testing.assert_array_equal(out, filled(m, 4)[0].step(slots, x))
    before = [pool.snapshot(slot) for slot in slots]
    for bad in (np.empty((3, 2), np.float32), np.empty((4, 2)), [0.0], np.empty((8, 2), np.float32)[::2]):
        with pytest.raises(InputError, match="out: expected a"):
            pool.step(slots, x, out=bad)  # type: ignore[arg-type]
    memory = np.zeros(20, np.float32)
    with pytest.raises(InputError, match="out: expected memory of its own, got an array that overlaps the input"):
        pool.step(slots, memory[:12].reshape(4, 3), out=memory[8:16].reshape(4, 2))
    assert [pool.snapshot(slot) for slot in slots] == before


# --- snapshots


def test_snapshots_of_slots_and_streams_are_one_kind(backend: Any) -> None:
    m = load(DATA, backend)
    pool, slots = filled(m, 3)
    pool.step(slots, draw(3, 3))
    stream = m.stream()
    stream.restore(pool.snapshot(1))
    assert stream.snapshot() == pool.snapshot(1)
    stream.run(draw(4, 3))
    pool.restore(2, stream.snapshot())
    x = draw(1, 3)
    np.testing.assert_array_equal(pool.step([2], x)[0], stream.step(x[0]))
    with pytest.raises(StreamError, match="the snapshot belongs to another model"):
        pool.restore(0, load(NUMPY).stream().snapshot())
    with pytest.raises(StreamError, match="the snapshot is corrupt"):
        pool.restore(0, stream.snapshot()[:-1])


# --- one caller at a time, and the end


def test_a_closed_pool_refuses_everything() -> None:
    with load().pool(3) as pool:
        pool.add()
        saved = pool.snapshot(0)
    pool.close()
    for call in (
        pool.add,
        lambda: pool.remove(0),
        lambda: pool.reset(0),
        lambda: pool.step([0], draw(1, 3)),
        lambda: pool.snapshot(0),
        lambda: pool.restore(0, saved),
    ):
        with pytest.raises(StreamError, match="the pool is closed"):
            call()


class Blocking:
    """An input whose conversion waits, so that a step is under way for as long as the test wants."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self.entered.set()
        assert self.leave.wait(20)
        return np.ones((1, 3), np.float32)


def test_a_second_thread_gets_an_error_not_a_torn_state(backend: Any) -> None:
    pool, _ = filled(load(DATA, backend), 2)
    x = Blocking()
    thread = threading.Thread(target=lambda: pool.step([0], x))
    thread.start()
    try:
        assert x.entered.wait(20)
        for call in (pool.add, lambda: pool.step([1], draw(1, 3)), lambda: pool.remove(0), pool.close):
            with pytest.raises(StreamError, match="the pool is busy in another thread; a pool serves one thread at a"):
                call()
    finally:
        x.leave.set()
        thread.join()
    assert pool.step([0, 1], draw(2, 3)).shape == (2, 2)


# --- models without a pool


@pytest.mark.parametrize("capacity", [0, -1, 2.0, True, "3", None])
def test_a_pool_of_no_size_is_refused(capacity: Any) -> None:
    with pytest.raises(StreamError, match="capacity: expected how many streams at most, from 1 on, got"):
        load().pool(capacity)


def test_a_model_of_windows_is_refused_with_the_way_out() -> None:
    spec = {"mode": "window", "window": {"length": 4}}
    m = load(recurrent_model(states=False, last=True, spec=spec))
    with pytest.raises(StreamError, match=r"recomputed over a window; give each series its own model\.stream\(\), or"):
        m.pool(3)


def test_a_file_that_says_nothing_must_be_told_the_mode() -> None:
    m = load(recurrent_model(states=False, with_spec=False))
    with pytest.raises(StreamError, match="the file does not say how the model was trained, so choose"):
        m.pool(3)
    pool = m.pool(3, mode="stream")
    x = draw(1, 3)
    np.testing.assert_array_equal(pool.step([pool.add()], x)[0], m.stream(mode="stream").step(x[0]))
    with pytest.raises(StreamError, match="mode: a pool carries states, so expected 'stream', got 'window'"):
        m.pool(3, mode="window")  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_an_answer_that_there_is_no_memory_for_leaves_every_state(
    monkeypatch: pytest.MonkeyPatch, backend: Any
) -> None:
    def none_left(outputs: Any, record: np.ndarray) -> None:
        raise MemoryError

    monkeypatch.setattr(edgeinfer.pool, "by_name", none_left)
    pool, slots = filled(load(two_outputs_model(), backend), 3, capacity=4)
    pool.step(slots, draw(3, 2), out=np.empty((3, 3), np.float32))
    before = [pool.snapshot(slot) for slot in slots]
    with pytest.raises(MemoryError):
        pool.step(slots, draw(3, 2))
    assert [pool.snapshot(slot) for slot in slots] == before


def test_the_lowest_free_slot_is_taken() -> None:
    pool, slots = filled(load(), 5, capacity=6)
    assert slots == [0, 1, 2, 3, 4]
    for slot in (3, 1):
        pool.remove(slot)
    assert [pool.add() for _ in range(3)] == [1, 3, 5]
    with pytest.raises(StreamError, match="the pool is full"):
        pool.add()
