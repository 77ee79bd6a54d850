"""ONNX Runtime: run() with the states fed back, and io-binding, where two sets of buffers take turns as the state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..cases import Case
from .contender import Contender, Job, MissingError


def _session(path: Path, threads: int | None, spinning: bool) -> Any:
    import onnxruntime

    if not path.exists():
        raise MissingError(f"no {path.name}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = options.inter_op_num_threads = threads
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _load(path: Path) -> Any:
    return _session(path, 1, True)


def _inputs(case: Case) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Each in the shape that the file takes: time-major, but for the bundled model."""
    if case.tokens:
        return lambda xs: list(xs[:, None])
    if case.kind == "sequence":
        return lambda xs: list(xs[:, :, None])
    if case.kind == "pool":
        return lambda xs: list(xs[:, None])
    return lambda xs: list(xs[:, None, None])


def _states(session: Any, streams: int) -> tuple[str, str, list[str], list[str], list[np.ndarray]]:
    """Names of x, y, the states before and after, and zeros for them."""
    x, *before = session.get_inputs()
    y, *after = session.get_outputs()
    zeros = [np.zeros((1, streams, item.shape[2]), np.float32) for item in before]
    return x.name, y.name, [i.name for i in before], [i.name for i in after], zeros


def _run(case: Case, folder: Path, suffix: str = "", threads: int | None = 1, spinning: bool = True) -> Job:
    session = _session(folder / f"{case.model}{suffix}.onnx", threads, spinning)
    x_name, y_name, before, after, zeros = _states(session, case.streams)
    run = session.run
    feeds = dict(zip(before, zeros, strict=True))
    if case.kind == "sequence":

        def whole(x: np.ndarray) -> np.ndarray:
            feeds[x_name] = x
            return run([y_name], feeds)[0]

        return Job(whole, _inputs(case), lambda y: y[0])
    names = [y_name, *after]

    def step(x: np.ndarray) -> np.ndarray:
        feeds[x_name] = x
        y, *states = run(names, feeds)
        feeds.update(zip(before, states, strict=True))
        return y

    return Job(step, _inputs(case), _answer(case))


def _io_binding(case: Case, folder: Path) -> Job:
    session = _session(folder / f"{case.model}.onnx", 1, True)
    x_name, y_name, before, after, zeros = _states(session, case.streams)
    shape, dtype = _input_form(case)
    x_buffer: np.ndarray = np.zeros(shape, dtype)
    y_buffer = np.zeros((case.streams, 1), np.float32)
    banks = zeros, [state.copy() for state in zeros]

    def bind(now: int) -> Any:
        binding = session.io_binding()
        pairs = [(x_name, x_buffer), *zip(before, banks[now], strict=True)]
        for name, array in pairs:
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        pairs = [(y_name, y_buffer)]
        if case.kind != "sequence":
            pairs += zip(after, banks[1 - now], strict=True)
        for name, array in pairs:
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return binding

    run = session.run_with_iobinding
    if case.kind == "sequence":
        only = bind(0)

        def whole(x: np.ndarray) -> np.ndarray:
            x_buffer[...] = x
            run(only)
            return y_buffer

        return Job(whole, _inputs(case), lambda y: y[0].copy(), holds=banks)
    now, then = bind(0), bind(1)

    def step(x: np.ndarray) -> np.ndarray:
        nonlocal now, then
        x_buffer[...] = x
        run(now)
        now, then = then, now
        return y_buffer

    return Job(step, _inputs(case), lambda y: _answer(case)(y).copy(), holds=banks)


def _input_form(case: Case) -> tuple[tuple[int, ...], type]:
    if case.tokens:
        return (1, case.length), np.int32
    return (case.length, case.streams, case.features), np.float32


def _answer(case: Case) -> Callable[[np.ndarray], np.ndarray]:
    return (lambda y: y) if case.kind == "pool" else (lambda y: y[0])


def _small(case: Case) -> bool:
    return case.kind == "small"


def _float32(case: Case) -> bool:
    return case.kind != "small"


CONTENDERS = (
    Contender("onnxruntime run", "onnxruntime", "session.run(), 1 thread", lambda case: True, _run, load=_load),
    Contender("onnxruntime io-binding", "onnxruntime", "run_with_iobinding(), 1 thread", _float32, _io_binding),
    Contender(
        "onnxruntime default",
        "onnxruntime",
        "session.run(), its own number of threads, all cores",
        _float32,
        partial(_run, threads=None),
        pinned=False,
    ),
    Contender(
        "onnxruntime no spinning",
        "onnxruntime",
        "the same, spinning off",
        _float32,
        partial(_run, threads=None, spinning=False),
        pinned=False,
    ),
    Contender(
        "onnxruntime DequantizeLinear",
        "onnxruntime",
        "run() on our int8 file",
        _small,
        partial(_run, suffix=".int8"),
    ),
    Contender(
        "onnxruntime quantize_dynamic",
        "onnxruntime",
        "run() on what its own quantize_dynamic wrote",
        _small,
        partial(_run, suffix=".dynamic"),
    ),
)
