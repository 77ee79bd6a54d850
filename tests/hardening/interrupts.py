"""SIGINT in the middle of any call: KeyboardInterrupt, the state as before or as after, and usable again.

    python -m tests.hardening.interrupts points                   # where Python can take a signal, one after the other
    python -m tests.hardening.interrupts signals --count 10000    # real signals at random moments, one or two at once

A handler runs between two instructions of the interpreter: after a call has returned, where a function begins and where
a loop goes round. `points` raises at each of them in turn; `signals` has the kernel's timer send SIGINT. Whatever was
interrupted is then held against what the same call did without it.
"""

from __future__ import annotations

import argparse
import ctypes
import dis
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

import edgeinfer

from . import subjects

_CHECKED = ("CALL", "RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "POP_JUMP_BACKWARD")


class Case(NamedTuple):
    """make() gives a subject, act(subject) is interrupted, look(subject) tells its state, probe(subject) uses it on."""

    name: str
    make: Callable[[], Any]
    act: Callable[[Any], object]
    look: Callable[[Any], object]
    probe: Callable[[Any], object]


class FindingError(Exception):
    """What an interruption left behind that is neither what was before nor what would have been after."""


def draw(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def comparable(value: Any) -> object:
    """Arrays as their bytes, so that a tuple of them can be compared."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return tuple((key, comparable(item)) for key, item in value.items())
    return repr(value)


# --- what is interrupted


def cases() -> list[Case]:
    files = subjects.files()
    found = [*_load_cases(files["floats"])]
    for name in ("floats", "tokens", "two", "numpy", "window", "padded", "partial", "plain"):
        found += _stream_cases(name, edgeinfer.load(files[name]))
    found += _stream_cases("floats on the reference", edgeinfer.load(files["floats"], backend="reference"))
    for name in ("floats", "tokens", "numpy"):
        found += _pool_cases(name, edgeinfer.load(files[name]))
    forecaster = edgeinfer.pipeline(edgeinfer.load(files["forecast"]))
    found += _pipeline_cases("forecast", forecaster, _series, lambda s: s.step(130.0, "2024-01-01T08:00"))
    for name, words in (("classify", "a good film"), ("next", "deep learning film")):
        app = edgeinfer.pipeline(edgeinfer.load(files[name]))
        found += _pipeline_cases(name, app, _text, lambda s, words=words: s.step(words))
    return found


def _load_cases(data: bytes) -> Iterator[Case]:
    x = draw(2, 5, 3)

    def load(box: dict[str, Any]) -> None:
        box["model"] = edgeinfer.load(data)

    def use(box: dict[str, Any]) -> object:
        model = box.get("model") or edgeinfer.load(data)
        return comparable(model(x)), comparable(model.stream().step(x[0, 0]))

    yield Case("load", dict, load, lambda box: None, use)
    for backend in ("native", "reference"):
        # a model of its own: the first call of a shape makes a plan, that of one without a step packs its weights too
        whole = subjects.graphs.recurrent_model("LSTM", states=False, last=True, direction="reverse", with_spec=False)
        yield Case(
            f"the first call on {backend}",
            partial(edgeinfer.load, whole, backend=backend),
            lambda model: model(x),
            lambda model: None,
            lambda model: (comparable(model(x)), comparable(model(x[:, :3]))),
        )


def _stream_cases(name: str, model: edgeinfer.Model) -> Iterator[Case]:
    shape = tuple(d for d in model.inputs[0].shape[2:] if isinstance(d, int))
    integers = model.inputs[0].dtype.kind == "i"
    xs = np.arange(12, dtype=np.int32) % 7 if integers else draw(12, *shape)
    other = model.stream()
    other.run(xs[::-1])
    saved = other.snapshot()

    def make() -> edgeinfer.Stream:
        stream = model.stream()
        stream.run(xs[:5])
        return stream

    acts: dict[str, Callable[[edgeinfer.Stream], object]] = {
        "step": lambda s: s.step(xs[5]),
        "step of a list": lambda s: s.step(xs[5].tolist()),
        "run": lambda s: s.run(xs[5:9]),
        "reset": lambda s: s.reset(),
        "snapshot": lambda s: s.snapshot(),
        "restore": lambda s: s.restore(saved),
        "fork": lambda s: s.fork().step(xs[6]),
    }
    for act, call in acts.items():
        yield Case(
            f"{name}: {act}", make, call, lambda s: s.snapshot(), lambda s: (comparable(s.run(xs[9:])), s.snapshot())
        )
    yield Case(f"{name}: close", make, lambda s: s.close(), _whether_open, _close_again)


def _whether_open(stream: Any) -> object:
    try:
        return stream.snapshot()
    except edgeinfer.StreamError as error:
        return str(error)


def _close_again(stream: Any) -> object:
    stream.close()
    return _whether_open(stream)


def _pool_cases(name: str, model: edgeinfer.Model) -> Iterator[Case]:
    integers = model.inputs[0].dtype.kind == "i"
    xs = np.arange(6, dtype=np.int32) if integers else draw(6, 3)
    saved = model.stream().snapshot()

    def make() -> edgeinfer.Pool:
        pool = model.pool(6)
        for _ in range(4):
            pool.add()
        pool.step([0, 1, 2, 3], xs[:4])
        pool.remove(1)
        return pool

    def look(pool: edgeinfer.Pool) -> object:
        return tuple((slot, pool.snapshot(slot)) for slot in pool.slots)

    def probe(pool: edgeinfer.Pool) -> object:
        """A step of every slot, and then of all that it can hold."""
        first = comparable(pool.step(list(pool.slots), xs[: len(pool)]))
        added = set()
        while len(pool) < pool.capacity:
            added.add(pool.add())
        return first, len(added), comparable(pool.step(list(range(6)), xs))

    acts: dict[str, Callable[[edgeinfer.Pool], object]] = {
        "step": lambda p: p.step([3, 0], xs[:2]),
        "add": lambda p: p.add(),
        "remove": lambda p: p.remove(2),
        "reset": lambda p: p.reset(2),
        "restore": lambda p: p.restore(2, saved),
        "snapshot": lambda p: p.snapshot(2),
    }
    for act, call in acts.items():
        yield Case(f"pool of {name}: {act}", make, call, look, probe)


def _series(stream: Any) -> None:
    for i in range(8):
        stream.step(100.0 + i, f"2024-01-01T0{i}:00")


def _text(stream: Any) -> None:
    for words in ("i love good", "great film", "deep learning"):
        stream.step(words)


def _pipeline_cases(
    name: str, app: Any, warm_up: Callable[[Any], None], step: Callable[[Any], object]
) -> Iterator[Case]:
    def make() -> Any:
        stream = app.stream()
        warm_up(stream)
        return stream

    other = app.stream()
    warm_up(other)
    step(other)
    saved = other.snapshot()

    def begin_again(stream: Any) -> None:
        stream.reset()

    acts: dict[str, Callable[[Any], object]] = {
        "step": step,
        "snapshot": lambda s: s.snapshot(),
        "restore": lambda s: s.restore(saved),
        "reset": begin_again,
    }
    for act, call in acts.items():

        def probe(stream: Any) -> object:
            found = repr(_after(stream, step))
            return found, stream.snapshot()

        yield Case(f"{name}: {act}", make, call, lambda s: s.snapshot(), probe)


def _after(stream: Any, step: Callable[[Any], object]) -> object:
    """A step that may be refused because one at the same time was taken already; that tells them apart as well."""
    try:
        return step(stream)
    except edgeinfer.PipelineError as error:
        return str(error)


# --- what must be true


class Expected(NamedTuple):
    """What a case's state and further use are where its call was not made, and where it was."""

    before: tuple[object, object]
    after: tuple[object, object]

    @classmethod
    def of(cls, case: Case) -> Expected:
        untouched, done = case.make(), case.make()
        case.act(done)
        return cls(
            (case.look(untouched), case.probe(untouched)),
            (case.look(done), case.probe(done)),
        )

    def check(self, case: Case, subject: Any, where: str) -> None:
        try:
            found = case.look(subject), case.probe(subject)
        except Exception as error:
            raise FindingError(f"{case.name}, interrupted {where}: not usable again: {error!r}") from error
        if found not in (self.before, self.after):
            state = "the state" if found[0] not in (self.before[0], self.after[0]) else "what it then answers"
            raise FindingError(f"{case.name}, interrupted {where}: {state} is neither the old nor the new")


# --- every point


class AtPoint:
    """A trace function that raises KeyboardInterrupt where Python could take a signal for the nth time."""

    def __init__(self, nth: int | None) -> None:
        self.nth = nth
        self.count = 0
        self.where = ""

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename == __file__:
            return self  # the campaign's own functions, but not to be raised in
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        names, handlers = _looked_up(frame.f_code)
        last = -1

        def inside(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            if event == "opcode":
                # What is raised after a call belongs to the call. This raises one instruction later, which is another
                # place where a `with` or `try` ends in between.
                if names.get(last, "").startswith(_CHECKED) and handlers(last) == handlers(frame.f_lasti):
                    self._point(frame)
                last = frame.f_lasti
            return inside

        return inside

    def _point(self, frame: FrameType) -> None:
        if self.count == self.nth:
            self.count += 1
            self.where = f"at point {self.nth}, {frame.f_code.co_filename}:{frame.f_lineno}"
            raise KeyboardInterrupt
        self.count += 1


@cache
def _looked_up(code: CodeType) -> tuple[dict[int, str], Callable[[int], object]]:
    """The names of a function's instructions by their offset, and which handler an exception there goes to."""
    parse = getattr(dis, "_parse_exception_table", lambda code: ())  # before 3.11 that is no table
    table = parse(code)

    def handler(offset: int) -> object:
        return next((entry.target for entry in table if entry.start <= offset < entry.end), None)

    return {item.offset: item.opname for item in dis.get_instructions(code)}, handler


def at_points(case: Case, most: int = 400) -> int:
    """At every point, or at so many of them drawn at random. Raises FindingError; returns at how many."""
    expected, counting = Expected.of(case), AtPoint(None)
    _traced(case, case.make(), counting)
    points: Sequence[int] = range(counting.count)
    if counting.count > most:
        points = random.Random(case.name).sample(points, most)
    for nth in points:
        subject, at = case.make(), AtPoint(nth)
        _traced(case, subject, at)
        if at.where:  # what is kept from call to call makes a later one shorter
            expected.check(case, subject, at.where)
    return len(points)


def _traced(case: Case, subject: object, at: AtPoint) -> None:
    before = sys.gettrace()  # what measures coverage
    sys.settrace(at)
    try:
        case.act(subject)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)


# --- real signals


class _Sigevent(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("_rest", ctypes.c_char * 48),
    )


class Timer:
    """The kernel's own: SIGINT after some seconds."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._id = ctypes.c_void_p()
        event = _Sigevent(None, signal.SIGINT, 0, b"")
        if self._libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._id)):
            raise OSError(ctypes.get_errno(), "timer_create")

    def start(self, seconds: float) -> None:
        values = [0, 0, int(seconds), max(1, int(seconds % 1 * 1e9))]
        self._libc.timer_settime(self._id, 0, ctypes.byref((ctypes.c_long * 4)(*values)), None)


class Signals:
    """Interrupts calls at random moments by real signals; how many came while a call was under way."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._timer = Timer()
        self._left = 0
        self.sent = self.inside = 0
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._left > 0:
            self._left -= 1
            if self._left:
                self._timer.start(self._random.choice((1e-6, 1e-5, 1e-4)))
            raise KeyboardInterrupt

    def interrupt(self, act: Callable[[], object], seconds: float) -> None:
        """Call it, with one signal or two close together within a little more than the time that it takes."""
        many = self._random.choice((1, 1, 2))
        try:
            try:
                self._run(act, self._random.uniform(0, 1.1 * seconds), many)
            except KeyboardInterrupt:
                self._wait()
        except KeyboardInterrupt:
            pass
        self.sent += many

    def _run(self, act: Callable[[], object], delay: float, many: int) -> None:
        done = False
        try:
            self._left = many
            self._timer.start(delay)
            act()
            done = True
            self._wait()
        finally:
            self.inside += not done

    def _wait(self) -> None:
        while self._left:
            pass


def at_random(chosen: Sequence[Case], count: int, seed: int) -> tuple[int, int]:
    """Send so many signals; returns how many were sent, and how many calls they interrupted. Raises FindingError."""
    known: dict[str, tuple[Expected, float]] = {}
    for case in chosen:
        expected, subject = Expected.of(case), case.make()
        start = time.perf_counter()
        case.act(subject)
        known[case.name] = expected, time.perf_counter() - start
    before, trace = signal.getsignal(signal.SIGINT), sys.gettrace()
    sys.settrace(None)  # what measures coverage has a lock that a signal would leave taken
    signals = Signals(seed)
    try:
        turn = 0
        while signals.sent < count:
            case = chosen[turn % len(chosen)]
            subject, (expected, seconds) = case.make(), known[case.name]
            signals.interrupt(partial(case.act, subject), seconds)
            expected.check(case, subject, f"by signal {signals.sent} of seed {seed}")
            turn += 1
            if turn % 1000 == 0:
                print(f"{signals.sent} signals", file=sys.stderr, flush=True)
    finally:
        signal.signal(signal.SIGINT, before)
        sys.settrace(trace)
    return signals.sent, signals.inside


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hardening.interrupts", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("how", choices=("points", "signals", "both"), nargs="?", default="both")
    parser.add_argument("--count", type=int, default=10_000, help="signals to send (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the signals (default: %(default)s)")
    parser.add_argument("--only", default="", help="calls whose name begins with this")
    args = parser.parse_args()
    try:
        chosen = [case for case in cases() if case.name.startswith(args.only)]
        if args.how != "signals":
            total = 0
            for case in chosen:
                points = at_points(case)
                print(f"{points:6} points  {case.name}", file=sys.stderr, flush=True)
                total += points
            print(f"KeyboardInterrupt at {total} points of {len(chosen)} calls: the state old or new, usable again")
        if args.how != "points":
            sent, inside = at_random(chosen, args.count, args.seed)
            print(f"{sent} SIGINT, {inside} calls interrupted: the state old or new, usable again")
    except FindingError as finding:
        print(finding)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
