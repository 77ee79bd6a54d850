"""What is done while the allocator fails: every operation of the API, on models of every kind that a step can have."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import edgeinfer
from edgeinfer.errors import StreamError

ROOT = Path(__file__).resolve().parents[2]
BEFORE, STEPS = 3, 9  # steps taken before, and in one run: a window of 4 is moved back to its start on the way
CAPACITY = 5


class Scene(NamedTuple):
    """act: what is made to fail. look: its answer, or what it stands for, to be compared. state: what must be as it was
    where act failed.
    """

    act: Callable[[], Any]
    look: Callable[[Any], Any]
    state: Callable[[], Any] = tuple


class Case(NamedTuple):
    """prepare: a scene of its own for every attempt."""

    name: str
    prepare: Callable[[], Scene]


def write_files(folder: Path) -> None:
    """The models: float32, int8 and float16 weights, one and two outputs, tokens, NumPy nodes between those of the
    core, masks, windows of each kind, constants from an encoder; and one that has no step.
    """
    sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "runtime")]
    from graphs import recurrent_model, token_model, two_outputs_model
    from masked_files import Masked, masked_file
    from small_files import small_cell
    from test_given import decoder

    window: dict[str, Any] = {"states": False, "last": True}
    length = {"length": 4}
    files = {
        "arrays": recurrent_model("GRU"),
        "number": recurrent_model("LSTM", features=1, outputs=1),
        "tokens": token_model(),
        "two": two_outputs_model(),
        "mixed": recurrent_model("LSTM", outputs=1, head=["Selu"]),
        "int8": small_cell("int8", "GRU", 5),
        "float16": small_cell("float16", "LSTM", 5),
        "masked": masked_file(Masked(form="stream", source="masking")),
        "decoder": decoder(),
        "whole": small_cell("float16", "LSTM", 5, direction="bidirectional"),
    }
    for start in ("wait", "partial", "pad"):
        spec = {"mode": "window", "window": {**length, "start": start}}
        files[start] = recurrent_model("LSTM", outputs=1, spec=spec, **window)
    spec = {"mode": "window", "window": {**length, "start": "pad", "pad_value": 0.5, "pad_side": "right"}}
    files["right"] = recurrent_model("RNN", spec=spec, **window)
    for name, data in files.items():
        (folder / f"{name}.onnx").write_bytes(data)


def cases(folder: Path, pattern: str) -> Iterator[Case]:
    """Those whose names, file/backend/operation, match the pattern."""
    file = pattern.partition("/")[0]
    for path in sorted(folder.glob(f"{file}.onnx")):
        for backend in ("native", "reference"):
            for case in _of_file(path, backend):
                name = f"{path.stem}/{backend}/{case.name}"
                if fnmatch.fnmatch(name, pattern):
                    yield Case(name, case.prepare)


def flat(answer: Any) -> Any:
    """An answer as something that can be compared bit for bit, with nothing of its memory."""
    if isinstance(answer, np.ndarray):
        return answer.dtype.name, answer.shape, answer.tobytes()
    if isinstance(answer, dict):
        return {name: flat(value) for name, value in answer.items()}
    if isinstance(answer, (list, tuple)):
        return [flat(value) for value in answer]
    return answer


def _of_file(path: Path, backend: Any) -> Iterator[Case]:
    data = path.read_bytes()
    model = edgeinfer.load(data, backend=backend)
    given = _given(model) if path.stem == "decoder" else {}
    feeds = _sequences(model)
    x = feeds if len(feeds) > 1 else next(iter(feeds.values()))

    def load() -> edgeinfer.Model:
        return edgeinfer.load(data, backend=backend)

    def answers(m: edgeinfer.Model) -> Any:
        return flat(m(x))

    yield Case("load", lambda: Scene(load, answers))
    yield Case("load, a path", lambda: Scene(lambda: edgeinfer.load(path, backend=backend), answers))
    yield Case("first call", lambda: _call(load(), x, 0))
    yield Case("call", lambda: _call(model, x, 1))
    yield Case("quick call", lambda: _call(load(), x, 2))
    yield Case("run by name", lambda: Scene(lambda: model.run(None, feeds), flat))
    if given:
        yield Case("given", lambda: Scene(lambda: model.given(given), lambda m: flat(m.stream().step(_step(m)))))
    stepping = model.given(given) if given else model
    window = model.spec is not None and model.spec.mode == "window"
    if window or stepping.describe()["streams"]:
        yield from _of_stream(stepping)
        if not window:
            yield from _of_pool(stepping)


def _call(model: edgeinfer.Model, x: Any, times: int) -> Scene:
    for _ in range(times):
        model(x)
    return Scene(lambda: model(x), flat)


def _of_stream(model: edgeinfer.Model) -> Iterator[Case]:
    mode: Any = model.spec.mode if model.spec and model.spec.mode else "stream"
    xs = _steps(model, STEPS)
    x = xs[BEFORE]

    def ready(before: int = BEFORE) -> edgeinfer.Stream:
        stream = model.stream(mode=mode)
        for step in xs[:before]:
            stream.step(step)
        return stream

    saved = ready(BEFORE + 1).snapshot()

    def scene(
        act: Callable[[edgeinfer.Stream], Any], look: Callable[[Any], Any] = flat, before: int = BEFORE, held: int = 0
    ) -> Scene:
        stream = ready(before)
        answers = [stream.step(step) for step in xs[:held]]
        return Scene(lambda: act(stream), look, lambda: _state(stream, answers))

    def case(name: str, *arguments: Any) -> Case:
        return Case(name, lambda: scene(*arguments))

    record = model.stream(mode=mode, scalar=False).run(xs[:1])
    size = sum(y.size for y in record.values()) if isinstance(record, dict) else 0
    out = np.empty(size if size else record.shape[1:], np.float32)

    yield Case("stream", lambda: Scene(lambda: model.stream(mode=mode), lambda stream: flat(stream.run(xs))))
    for name, form in {"array": x, "wide array": x.astype(np.float64), "list": x.tolist()}.items():
        if name != "wide array" or x.dtype.kind == "f":
            yield case(f"step, {name}", lambda stream, form=form: stream.step(form))
    if x.size == 1:
        yield case("step, scalar", lambda stream: stream.step(x.reshape(-1)[0]))
    # as many answers are held as a stream keeps arrays to use again
    yield case("step, new", lambda stream: stream.step(x), flat, BEFORE, 3)
    yield case("step, out", lambda stream: stream.step(x, out=out))
    yield case("step, late", lambda stream: stream.step(x), flat, STEPS - 1)
    yield case("run", lambda stream: stream.run(xs))
    yield case("run, list", lambda stream: stream.run(xs.tolist()))
    yield case("reset", lambda stream: stream.reset())
    yield case("snapshot", lambda stream: stream.snapshot())
    yield case("restore", lambda stream: stream.restore(saved))
    yield case("fork", lambda stream: stream.fork(), lambda twin: flat(twin.run(xs)))
    yield case("close", lambda stream: stream.close())


def _of_pool(model: edgeinfer.Model) -> Iterator[Case]:
    xs = _steps(model, CAPACITY)
    which = [2, 0]

    def ready() -> edgeinfer.Pool:
        pool = model.pool(CAPACITY, mode="stream")
        for slot in (pool.add(), pool.add(), pool.add()):
            pool.step([slot], xs[slot : slot + 1])
        return pool

    first = ready()
    saved = first.snapshot(1)
    record = first.step(which, xs[:2])
    out = np.empty((2, sum(y[0].size for y in record.values())), np.float32) if isinstance(record, dict) else record

    def case(name: str, act: Callable[[edgeinfer.Pool], Any]) -> Case:
        def prepare() -> Scene:
            pool = ready()
            return Scene(lambda: act(pool), lambda answer: (flat(answer), _room(pool)), lambda: _slots(pool))

        return Case(f"pool, {name}", prepare)

    yield Case("pool", lambda: Scene(lambda: model.pool(CAPACITY, mode="stream"), _room))
    yield case("add", lambda pool: pool.add())
    yield case("step", lambda pool: pool.step(which, xs[:2]))
    yield case("step, out", lambda pool: pool.step(np.array(which), xs[:2], out=out))
    yield case("reset", lambda pool: pool.reset(1))
    yield case("snapshot", lambda pool: pool.snapshot(1))
    yield case("restore", lambda pool: pool.restore(0, saved))
    yield case("remove", lambda pool: pool.remove(1))
    yield case("close", lambda pool: pool.close())


def _state(stream: edgeinfer.Stream, held: list[Any]) -> Any:
    try:
        return stream.snapshot(), flat(held)
    except StreamError as error:
        return str(error)  # closed


def _slots(pool: edgeinfer.Pool) -> Any:
    try:
        return pool.slots, [pool.snapshot(slot) for slot in pool.slots], pool.capacity
    except StreamError as error:
        return str(error)


def _room(pool: edgeinfer.Pool) -> Any:
    """The slots that can still be taken into use: none may be lost."""
    try:
        return [pool.add() for _ in range(pool.capacity - len(pool))]
    except StreamError as error:
        return str(error)


def _given(model: edgeinfer.Model) -> dict[str, np.ndarray]:
    """What an encoder says: the states, and one constant."""
    shapes = {"last_h": (1, 1, 6), "last_c": (1, 1, 6), "sequence": (1, 5, 6)}
    draw = np.random.default_rng(3).standard_normal
    return {name: draw(shape).astype(np.float32) for name, shape in shapes.items()}


def _sequences(model: edgeinfer.Model) -> dict[str, np.ndarray]:
    """An array for every input besides states: a batch of 1, 4 of every other dynamic dimension."""
    found = {}
    for info in model.inputs:
        shape = tuple(d if isinstance(d, int) else 1 if d == "batch" else 4 for d in info.shape)
        found[info.name] = _numbers(shape, info.dtype)
    return found


def _steps(model: edgeinfer.Model, count: int) -> np.ndarray:
    """Inputs of steps, one after the other."""
    (info,) = model.inputs
    features = [d for d in info.shape[2:] if isinstance(d, int)]
    return _numbers((count, *features), info.dtype)


def _step(model: edgeinfer.Model) -> np.ndarray:
    return _steps(model, 1)[0]


def _numbers(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind in "iu":
        return np.random.default_rng(4).integers(0, 5, shape).astype(dtype)
    return np.random.default_rng(4).uniform(-1, 1, shape).astype(dtype)
