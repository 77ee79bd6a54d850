"""Calls of the whole API in any order, with right and wrong arguments, the NumPy reference as the oracle.

    python -m tests.hardening.api --count 100000           # calls, under AddressSanitizer and UBSan
    python -m tests.hardening.api --count 2000 --plain     # on the package as it stands
    python -m tests.hardening.api --seed 17                # one of the runs again

A Hypothesis state machine opens models, streams and pools on the native backend, and the same ones on the reference.
Each call must give what the reference gives, or the same kind of error and then leave the state as it was. It prints
the number of calls; on a finding Hypothesis' example, or the sanitizer's report, with the seed.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

import edgeinfer

# Float32 against the same sums in another order; no value here is larger than a few units.
TOLERANCE = 2e-5
# Of a run with one seed; the first example of each is the simplest there is.
EXAMPLES, STEPS = 20, 50
NAMES = ("floats", "number", "tokens", "two", "numpy", "window", "padded", "partial", "plain")
_FAIL = RuntimeError("the caller's own")


class Both:
    """One object of the API on both backends."""

    def __init__(self, native: Any, reference: Any) -> None:
        self.native, self.reference = native, reference


class Reenters:
    """An input that calls the stream or pool that reads it."""

    def __init__(self, array: np.ndarray, call: Callable[[], object]) -> None:
        self._array, self._call = array, call

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        try:
            self._call()
        except edgeinfer.StreamError:
            return self._array
        raise AssertionError("a call from within a call was let in")


class Fails:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise _FAIL


class Changes:
    """An input that is not the same when it is asked again, and that spoils another array as it is read."""

    def __init__(self, array: np.ndarray, other: np.ndarray | None = None) -> None:
        self._array, self._other = array, other

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        found = self._array
        if found.dtype.kind == "f":
            self._array = np.where(np.isfinite(found), np.float32(np.nan), np.float32(0))
        if self._other is not None:
            self._other[...] = -(2**40)
        return found


class _Array(np.ndarray):
    pass


def _apart(x: np.ndarray) -> np.ndarray:
    wide = np.zeros((*x.shape, 3), x.dtype)
    wide[..., 1] = x
    return wide[..., 1]


def _off_by_one(x: np.ndarray) -> np.ndarray:
    """The same numbers where no number of their type should begin."""
    raw = np.zeros(x.nbytes + 1, np.uint8)
    moved = raw[1:].view(x.dtype).reshape(x.shape)
    moved[...] = x
    return moved


def _read_only(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


def _spoiled(x: np.ndarray, value: float) -> np.ndarray:
    if x.dtype.kind == "f" and x.size:
        x.reshape(-1)[x.size // 2] = value
    return x


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "as it is": lambda x: x,
    "list": lambda x: x.tolist(),
    "tuple": lambda x: tuple(x.tolist()) if x.ndim else x.item(),
    "float64": lambda x: x.astype(np.float64),
    "float16": lambda x: x.astype(np.float16).astype(x.dtype),
    "int64": lambda x: x.astype(np.int64),
    "uint8": lambda x: np.abs(x).astype(np.uint8),
    "scalar": lambda x: x.dtype.type(x.reshape(-1)[0]) if x.size else x,
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "apart": _apart,
    "unaligned": _off_by_one,
    "backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1] if x.ndim else x,
    "Fortran": np.asfortranarray,
    "read only": _read_only,
    "subclass": lambda x: x.view(_Array),
    "asks": lambda x: Changes(x),
    "memoryview": lambda x: memoryview(x),
    "broadcast": lambda x: np.broadcast_to(x.reshape(-1)[:1], x.shape) if x.size and x.ndim else x,
    "nan": lambda x: _spoiled(x, np.nan),
    "infinity": lambda x: _spoiled(x, -np.inf),
    "nan in a list": lambda x: _spoiled(x, np.nan).tolist(),
    "beyond float32": lambda x: _spoiled(x.astype(np.float64), 1e300).tolist(),
    "asks and is nan": lambda x: Changes(_spoiled(x, np.nan)),
    "one more axis": lambda x: x[None],
    "one axis less": lambda x: x.reshape(-1) if x.ndim != 1 else x[0] if x.size else None,
    "one more": lambda x: np.concatenate([x.reshape(-1), x.reshape(-1)[:1]]) if x.size else x,
    "empty": lambda x: x.reshape(-1)[:0],
    "token too high": lambda x: x + 7 if x.dtype.kind == "i" else x.astype(complex),
    "token too low": lambda x: x - 14 if x.dtype.kind == "i" else x.astype(bool),
    "huge number": lambda x: 10**30,
    "text": lambda x: "text",
    "texts": lambda x: ["a"] * max(1, x.size),
    "nothing": lambda x: None,
    "ragged": lambda x: [[1.0], [1.0, 2.0]],
    "object": lambda x: object(),
    "fails": lambda x: Fails(),
    "objects": lambda x: x.astype(object),
}


def attempt(call: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return call(), None
    except Exception as error:
        return None, error


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, Mapping):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(map(same, found, expected))
    if expected is None or found is None:
        return found is expected
    if type(found) is not type(expected) or np.shape(found) != np.shape(expected):
        return False
    return np.allclose(found, expected, rtol=0, atol=TOLERANCE, equal_nan=True)


class Api(RuleBasedStateMachine):
    folder: Path
    names: Sequence[str] = NAMES
    calls = 0

    # --- what the rules share

    def both(self, make: Callable[[str], Any]) -> Any:
        """Run a call on native and on reference: (value, value) where both give one; None where both refuse alike."""
        Api.calls += 1
        found, error = attempt(lambda: make("native"))
        expected, expected_error = attempt(lambda: make("reference"))
        if (error is None) != (expected_error is None) or type(error) is not type(expected_error):
            raise AssertionError(f"native: {error or found!r}, reference: {expected_error or expected!r}")
        if error is None:
            return found, expected
        if error is not _FAIL and not isinstance(error, edgeinfer.EdgeInferError):
            raise AssertionError("an error that is none of ours") from error
        return None

    def compare(self, make: Callable[[str], Any]) -> Any:
        """The same, and the values must be the same."""
        found = self.both(make)
        assert found is None or same(*found), f"native: {found[0]!r}, reference: {found[1]!r}"
        return found

    def on_stream(self, at: int, call: Callable[[Any, str], Any]) -> None:
        """A call on one of the streams; where it is refused the state must be as it was."""
        stream = self.streams[at % len(self.streams)]
        before = self.state(stream.native)
        if self.compare(lambda backend: call(getattr(stream, backend), backend)) is None:
            assert self.state(stream.native) == before, "a call that was refused has changed the state"

    def state(self, stream: Any) -> bytes:
        Api.calls += 1
        found: bytes = stream.snapshot()
        return found

    def draw(self, seed: int, *steps: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        shape = (*steps, *self.item)
        if self.dtype.kind == "i":
            return rng.integers(-7, 7, shape).astype(self.dtype)
        return rng.normal(size=shape).astype(np.float32)

    # --- models

    @initialize(at=st.integers(0, 99))
    def load(self, at: int) -> None:
        self.data = (self.folder / f"{self.names[at % len(self.names)]}.onnx").read_bytes()
        loaded = [edgeinfer.load(self.data, backend=backend) for backend in ("native", "reference")]
        assert loaded[0].backend == "native"
        self.base = Both(*loaded)
        self.model = self.base
        info = loaded[0].inputs[0]
        self.item = tuple(d for d in info.shape[2:] if isinstance(d, int))
        self.dtype = info.dtype
        self.carries = bool(loaded[0].states) and loaded[0].describe()["mode"] == "stream"
        self.streams: list[Both] = []
        self.pools: list[Both] = []
        self.saved: list[Both] = []
        self.open(scalar=True)

    @rule(cut=st.integers(0, 10_000))
    def load_what_is_cut_short(self, cut: int) -> None:
        self.both(lambda backend: edgeinfer.load(self.data[: cut % len(self.data)], backend=backend))

    @rule(batch=st.integers(0, 3), steps=st.integers(0, 6), form=st.sampled_from(list(FORMS)), seed=st.integers(0, 999))
    def call_the_model(self, batch: int, steps: int, form: str, seed: int) -> None:
        self.compare(lambda backend: getattr(self.model, backend)(FORMS[form](self.draw(seed, batch, steps))))

    @rule(feeds=st.sampled_from(["right", "unknown", "none", "no dict"]), seed=st.integers(0, 999))
    def run_the_model(self, feeds: str, seed: int) -> None:
        name = self.base.native.inputs[0].name
        x = self.draw(seed, 1, 3)
        given: Any = {"right": {name: x}, "unknown": {name: x, "?": x}, "none": {}, "no dict": {"x": x, name: "x"}}[
            feeds
        ]
        self.compare(lambda backend: getattr(self.model, backend).run(None, dict(given)))

    @rule(seed=st.integers(0, 999), kind=st.sampled_from(["right", "wide", "nan"]))
    def give(self, seed: int, kind: str) -> None:
        """States to start from."""
        states = self.base.native.states
        if not states or not states[0].in_file:
            return
        rng = np.random.default_rng(seed)
        arrays = {}
        for state in states:
            shape = (*state.shape[:-1], state.shape[-1] + (kind == "wide"))
            arrays[state.input] = np.tanh(rng.normal(size=shape)).astype(np.float32)
        if kind == "nan":
            arrays[states[0].input][...] = np.nan
        found = self.both(lambda backend: getattr(self.base, backend).given(arrays))
        if found is not None:
            self.model = Both(*found)

    @rule()
    def describe(self) -> None:
        Api.calls += 1
        self.model.native.describe()

    # --- streams

    @precondition(lambda self: len(self.streams) < 6)
    @rule(scalar=st.booleans())
    def open(self, scalar: bool) -> None:
        found = self.both(lambda backend: getattr(self.model, backend).stream(scalar=scalar))
        assert found is not None
        self.streams.append(Both(*found))

    @rule(mode=st.sampled_from(["window", "stream", "fast"]), window=st.sampled_from([None, 0, 1, 5, -1, True, 2.0]))
    def open_another_way(self, mode: Any, window: Any) -> None:
        found = self.both(lambda backend: getattr(self.model, backend).stream(mode=mode, window=window))
        if found is not None:
            stream = Both(*found)
            xs = self.draw(window or 0, 4)
            self.compare(lambda backend: getattr(stream, backend).run(xs))

    @rule(at=st.integers(0, 99), form=st.sampled_from(list(FORMS)), seed=st.integers(0, 999), again=st.integers(1, 8))
    def step(self, at: int, form: str, seed: int, again: int) -> None:
        for i in range(again):
            self.on_stream(at, lambda stream, _, i=i: stream.step(FORMS[form](self.draw(seed + i))))

    @rule(at=st.integers(0, 99), kind=st.sampled_from(list("abcdefghij")), seed=st.integers(0, 999))
    def step_to_out(self, at: int, kind: str, seed: int) -> None:
        """out= that fits, and those that do not."""
        records = {}

        def call(stream: Any, backend: str) -> Any:
            size = sum(int(np.prod(shape)) for _, shape in stream._core.outputs)
            shape = stream._core.outputs[0][1] if len(stream._core.outputs) == 1 else (size,)
            x, out = self.draw(seed), np.full(shape, 7, np.float32)
            memory = np.zeros(max(size, x.size) + 2, np.float32)
            if kind == "a" and self.dtype.kind == "f":
                x = memory[: x.size].reshape(x.shape)
            wrong: dict[str, Any] = {
                "a": memory[1 : 1 + size].reshape(shape),
                "b": _read_only(out.copy()),
                "c": out.astype(np.float64),
                "d": _apart(out),
                "e": np.zeros((*shape, 1), np.float32),
                "f": [0.0] * size,
                "g": out.astype(out.dtype.newbyteorder()),
                "h": _off_by_one(out),
            }
            target = wrong.get(kind, out)
            y = stream.step(x, out=target)
            assert y is None or y is target
            records[backend] = np.array(target)
            return None if y is None else np.array(y)

        self.on_stream(at, call)

    @rule(at=st.integers(0, 99), steps=st.integers(0, 7), form=st.sampled_from(list(FORMS)), seed=st.integers(0, 999))
    def run_stream(self, at: int, steps: int, form: str, seed: int) -> None:
        self.on_stream(at, lambda stream, _: stream.run(FORMS[form](self.draw(seed, steps))))

    @rule(at=st.integers(0, 99), steps=st.integers(1, 7), bad=st.integers(0, 6), seed=st.integers(0, 999))
    def run_with_one_bad_row(self, at: int, steps: int, bad: int, seed: int) -> None:
        xs = self.draw(seed, steps)
        xs[bad % steps] = np.nan if self.dtype.kind == "f" else 1000
        self.on_stream(at, lambda stream, _: stream.run(xs))

    @rule(at=st.integers(0, 99))
    def reset(self, at: int) -> None:
        self.on_stream(at, lambda stream, _: stream.reset())

    @rule(
        at=st.integers(0, 99),
        method=st.sampled_from(["step", "reset", "close", "snapshot", "fork"]),
        seed=st.integers(0, 9),
    )
    def step_and_come_again(self, at: int, method: str, seed: int) -> None:
        def call(stream: Any, _: str) -> Any:
            x = self.draw(seed)
            again = (lambda: stream.step(x)) if method == "step" else getattr(stream, method)
            return stream.step(Reenters(x, again))

        self.on_stream(at, call)

    @rule(at=st.integers(0, 99), seed=st.integers(0, 999))
    def step_in_another_thread(self, at: int, seed: int) -> None:
        def call(stream: Any, _: str) -> Any:
            found: list[Any] = []
            thread = threading.Thread(target=lambda: found.append(stream.step(self.draw(seed))))
            thread.start()
            thread.join()
            return found[0]

        self.on_stream(at, call)

    @precondition(lambda self: len(self.streams) < 6)
    @rule(at=st.integers(0, 99))
    def fork(self, at: int) -> None:
        stream = self.streams[at % len(self.streams)]
        found = self.both(lambda backend: getattr(stream, backend).fork())
        assert found is not None and found[0].snapshot() == stream.native.snapshot()
        self.streams.append(Both(*found))

    @precondition(lambda self: len(self.streams) > 1)
    @rule(at=st.integers(0, 99), how=st.sampled_from(["close", "with", "drop", "in a cycle"]))
    def close(self, at: int, how: str) -> None:
        stream = self.streams.pop(at % len(self.streams))
        if how == "drop":
            return
        if how == "in a cycle":
            cycle: list[Any] = [stream.native, stream]
            cycle.append(cycle)
            return
        for one in (stream.native, stream.reference):
            if how == "with":
                with one:
                    pass
            one.close()
            one.close()
        x, saved = self.draw(1), b"EISN"
        for call in (
            lambda one: one.step(x),
            lambda one: one.run([x]),
            lambda one: one.reset(),
            lambda one: one.snapshot(),
            lambda one: one.restore(saved),
            lambda one: one.fork(),
        ):
            assert self.both(lambda backend, call=call: call(getattr(stream, backend))) is None

    @rule(generation=st.sampled_from([0, 0, 0, 1, 2]))
    def collect(self, generation: int) -> None:
        gc.collect(generation)

    # --- snapshots

    @rule(at=st.integers(0, 99))
    def snapshot(self, at: int) -> None:
        stream = self.streams[at % len(self.streams)]
        found = self.both(lambda backend: getattr(stream, backend).snapshot())
        assert found is not None
        self.saved = [*self.saved[-5:], Both(*found)]

    @precondition(lambda self: self.saved)
    @rule(at=st.integers(0, 99), which=st.integers(0, 99), crossed=st.booleans())
    def restore(self, at: int, which: int, crossed: bool) -> None:
        """One of the model's own, each backend's on the other one too."""
        saved = self.saved[which % len(self.saved)]
        other = {"native": "reference", "reference": "native"} if crossed else {}
        self.on_stream(at, lambda stream, backend: stream.restore(getattr(saved, other.get(backend, backend))))

    @precondition(lambda self: self.saved)
    @rule(
        at=st.integers(0, 99),
        position=st.integers(0, 9999),
        value=st.integers(1, 255),
        how=st.sampled_from(["byte", "cut", "more", "text"]),
    )
    def restore_what_is_damaged(self, at: int, position: int, value: int, how: str) -> None:
        data = bytearray(self.saved[-1].native)
        position %= len(data)
        if how == "byte":
            data[position] ^= value
        damaged: Any = {"cut": data[:position], "more": data + b"\0", "text": "EISN"}.get(how, data)
        stream = self.streams[at % len(self.streams)]
        before = stream.native.snapshot()
        assert self.both(lambda backend: getattr(stream, backend).restore(damaged)) is None
        assert stream.native.snapshot() == before

    # --- pools

    @precondition(lambda self: len(self.pools) < 2)
    @rule(capacity=st.sampled_from([1, 3, 40, 0, -1, 2.0, None]))
    def open_pool(self, capacity: Any) -> None:
        found = self.both(lambda backend: getattr(self.model, backend).pool(capacity))
        if found is not None:
            self.pools.append(Both(*found))

    def pool_states(self, pool: Any) -> list[tuple[int, bytes]]:
        return [(slot, pool.snapshot(slot)) for slot in pool.slots]

    def on_pool(self, at: int, call: Callable[[Any], Any]) -> None:
        pool = self.pools[at % len(self.pools)]
        before = self.pool_states(pool.native)
        if self.compare(lambda backend: call(getattr(pool, backend))) is None:
            assert self.pool_states(pool.native) == before, "a call that was refused has changed a pool"
        assert pool.native.slots == pool.reference.slots

    @precondition(lambda self: self.pools)
    @rule(at=st.integers(0, 99), many=st.integers(1, 20))
    def add(self, at: int, many: int) -> None:
        for _ in range(many):
            self.on_pool(at, lambda pool: pool.add())

    @precondition(lambda self: self.pools)
    @rule(at=st.integers(0, 99), slot=st.one_of(st.integers(-2, 41), st.sampled_from([None, 1.0, True, 2**70, "0"])))
    def remove(self, at: int, slot: Any) -> None:
        self.on_pool(at, lambda pool: pool.remove(slot))

    @precondition(lambda self: self.pools)
    @rule(at=st.integers(0, 99), slot=st.integers(-1, 5), how=st.sampled_from(["reset", "restore", "snapshot"]))
    def one_slot(self, at: int, slot: int, how: str) -> None:
        if how == "reset" or (how == "restore" and not self.saved):
            self.on_pool(at, lambda pool: pool.reset(slot))
        elif how == "restore":
            self.on_pool(at, lambda pool: pool.restore(slot, self.saved[-1].native))
        else:
            self.on_pool(at, lambda pool: len(pool.snapshot(slot)) > 0)

    @precondition(lambda self: self.pools)
    @rule(
        at=st.integers(0, 99),
        form=st.sampled_from(list(FORMS)),
        slots=st.sampled_from(["all", "some", "backwards", "none", "twice", "free", "beyond", "wrong", "spoiled"]),
        out=st.sampled_from(["", "", "fits", "overlaps", "wrong"]),
        seed=st.integers(0, 999),
    )
    def step_pool(self, at: int, form: str, slots: str, out: str, seed: int) -> None:
        def call(pool: Any) -> Any:
            used = list(pool.slots)
            which: Any = {
                "some": used[::2],
                "backwards": used[::-1],
                "none": [],
                "twice": used + used[:1],
                "free": [*used, next((i for i in range(pool.capacity) if i not in used), 0)],
                "beyond": [*used, pool.capacity],
                "wrong": [0.5] * len(used),
            }.get(slots, used)
            x = self.draw(seed, len(which))
            given = FORMS[form](x)
            if slots == "spoiled":
                which = np.array(used, np.int64)
                given = Changes(x, which)
            if not out:
                return pool.step(which, given)
            width = sum(int(np.prod(shape)) for _, shape in pool._outputs)
            target = np.zeros((len(which), width + (out == "wrong")), np.float32)
            if out == "overlaps" and x.dtype == np.float32 and x.size:
                memory = np.zeros(x.size + target.size, np.float32)
                target = memory[: target.size].reshape(target.shape)
                given = memory[target.size // 2 :][: x.size].reshape(x.shape)
                if target.size // 2 == target.size:
                    return None
            found = pool.step(which, given, out=target)
            assert found is target
            return np.array(found)

        self.on_pool(at, call)

    @precondition(lambda self: self.pools)
    @rule(at=st.integers(0, 99), seed=st.integers(0, 9))
    def step_pool_and_come_again(self, at: int, seed: int) -> None:
        def call(pool: Any) -> Any:
            x = self.draw(seed, len(pool))
            return pool.step(list(pool.slots), Reenters(x, lambda: pool.remove(0)))

        self.on_pool(at, call)

    @precondition(lambda self: self.pools)
    @rule(at=st.integers(0, 99))
    def close_pool(self, at: int) -> None:
        pool = self.pools.pop(at % len(self.pools))
        for one in (pool.native, pool.reference):
            one.close()
            one.close()
        for call in (
            lambda one: one.add(),
            lambda one: one.remove(0),
            lambda one: one.step([0], self.draw(1, 1)),
            lambda one: one.snapshot(0),
        ):
            assert self.both(lambda backend, call=call: call(getattr(pool, backend))) is None


# --- running it


def run(folder: Path, count: int, seed: int, names: Sequence[str] = NAMES, first: bool = False) -> tuple[int, int]:
    """Make at least so many calls, in this process: how many they were, and the seed after the last."""
    Api.folder, Api.names, Api.calls = folder, names, 0
    while Api.calls < count:
        chosen = settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            database=None,
            deadline=None,
            phases=(Phase.generate,) if first else (Phase.generate, Phase.shrink),
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        )
        try:
            run_state_machine_as_test(hypothesis.seed(seed)(Api), settings=chosen)
        except BaseException:
            print(f"seed {seed}, after {Api.calls} calls", file=sys.stderr)
            raise
        seed += 1
        print(f"{Api.calls} calls, seed {seed}", file=sys.stderr, flush=True)
    return Api.calls, seed


def in_a_process(environment: Mapping[str, str], arguments: Sequence[str]) -> Iterator[str]:
    """The campaign in a process of its own; its lines as they come. Raises CalledProcessError on a finding."""
    command = [sys.executable, "-m", "tests.hardening.api", "--here", *arguments]
    with subprocess.Popen(
        command, cwd=tempfile.gettempdir(), env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            yield line
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, "".join(lines))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hardening.api", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--count", type=int, default=100_000, help="calls to make (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="without sanitizers")
    parser.add_argument("--first", action="store_true", help="show the first example found, not a simple one")
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--here", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        calls, seed = run(args.here, args.count, args.seed, args.models, args.first)
        print(f"{calls} calls, seeds {args.seed} to {seed - 1}, edgeinfer from {Path(edgeinfer.__file__).parent}")
        return 0
    from . import builds, subjects

    arguments = ["--count", str(args.count), "--seed", str(args.seed), "--models", *args.models]
    arguments += ["--first"] * args.first
    package = Path(edgeinfer.__file__).parents[1]
    environment = builds.plain(package) if args.plain else builds.environment("asan", builds.sanitized("asan"))
    with tempfile.TemporaryDirectory() as folder:
        subjects.write(Path(folder))
        try:
            for line in in_a_process(environment, [folder, *arguments]):
                print(line, end="", flush=True)
        except subprocess.CalledProcessError as error:
            print(f"found: exit status {error.returncode}; python -m tests.hardening.api --seed {args.seed}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
