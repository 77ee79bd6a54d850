"""edgeinfer, native core: step(), whole sequences, pools, and small weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..cases import Case
from .contender import Contender, Job, MissingError


def _load(path: Path, **options: Any) -> Any:
    import edgeinfer

    if not path.exists():
        raise MissingError(f"no {path.name}")
    return edgeinfer.load(path, backend="native", **options)


def _step(case: Case, folder: Path, keep: bool = False, suffix: str = "", **options: Any) -> Job:
    stream = _load(folder / f"{case.model}{suffix}.onnx", **options).stream(scalar=False)
    return Job(stream.step, list, np.array, keep)


def _out(case: Case, folder: Path) -> Job:
    step, y = _load(folder / f"{case.model}.onnx").stream(scalar=False).step, np.zeros(1, np.float32)
    return Job(lambda x: step(x, y), list, np.array)


def _whole(case: Case, folder: Path) -> Job:
    model = _load(folder / f"{case.model}.onnx")
    batch_axis = 0 if case.tokens else 1
    return Job(model, lambda xs: [np.expand_dims(x, batch_axis) for x in xs], lambda y: y[0])


def _window(case: Case, folder: Path) -> Job:
    stream = _load(folder / f"{case.model}.onnx").stream(mode="window", window=case.length, scalar=False)
    return Job(stream.step, lambda xs: list(xs.reshape(-1, case.features)), np.array, every=case.length)


def _pool(case: Case, folder: Path) -> Job:
    pool = _load(folder / f"{case.model}.onnx").pool(case.streams)
    slots = np.array([pool.add() for _ in range(case.streams)])
    return Job(partial(pool.step, slots), list, np.array)


def _streams(case: Case, folder: Path) -> Job:
    model = _load(folder / f"{case.model}.onnx")
    steps = [model.stream(scalar=False).step for _ in range(case.streams)]

    def call(xs: np.ndarray) -> list[np.ndarray]:
        return [step(x) for step, x in zip(steps, xs, strict=True)]

    return Job(call, list, np.array)


def _kind(*kinds: str) -> Any:
    return lambda case: case.kind in kinds


_SMALL: dict[str, tuple[str, dict[str, Any], str]] = {
    "edgeinfer int8 exact": (".int8", {}, "step(), int8 weights, float32 arithmetic"),
    "edgeinfer int8 fast": (".int8", {"precision": "fast"}, "step(), int8 weights and 8-bit h"),
    "edgeinfer float16": (".float16", {}, "step(), float16 weights, float32 arithmetic"),
}

CONTENDERS = (
    Contender(
        "edgeinfer",
        "edgeinfer",
        "step(), the output dropped before the next",
        _kind("step", "small"),
        _step,
        load=_load,
    ),
    Contender(
        "edgeinfer fresh", "edgeinfer", "step(), the last 256 outputs kept", _kind("step"), partial(_step, keep=True)
    ),
    Contender("edgeinfer out=", "edgeinfer", "step(x, y), the output written to y", _kind("step"), _out),
    Contender("edgeinfer sequence", "edgeinfer", "model(x)", _kind("sequence"), _whole),
    Contender(
        "edgeinfer window step",
        "edgeinfer",
        "step() of a window stream: the window is kept, and recomputed",
        lambda case: case.kind == "sequence" and not case.tokens,
        _window,
    ),
    Contender("edgeinfer pool", "edgeinfer", "pool.step(slots, X)", _kind("pool"), _pool),
    Contender("edgeinfer streams", "edgeinfer", "a loop over as many streams", _kind("pool"), _streams),
    *(
        Contender(name, "edgeinfer", about, _kind("small"), partial(_step, suffix=suffix, **options))
        for name, (suffix, options, about) in _SMALL.items()
    ),
)
