"""What may come of a file: a typed error that names a place, or answers that are right, in memory in proportion.

Right is what the reference backend says, node by node in NumPy. Two correct implementations differ by roundings, and a
hostile graph may make anything of a rounding: so where they differ, the reference runs again with every floating-point
tensor moved by as much as a rounding moves it, and what that changes is no finding.
"""

from __future__ import annotations

import ctypes
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import edgeinfer
from edgeinfer import EdgeInferError, InputError, Limits, Model, ModelLimitError, StreamError, UnsupportedOperatorError
from edgeinfer.graph.ops import Op, every_operator

from .builds import ROOT

# What loading may take beside twice the file: docs/security.md.
LOAD_SLACK_BYTES = 8 << 20
# What is computed must fit in the child beside everything else; a load has the limits that every user has.
SMALL = Limits(tensor_bytes=1 << 23)
MOST_ELEMENTS = 1 << 16
STEPS = 3
LONGEST_WINDOW = 1 << 12
# How often sizes are drawn until the model takes them.
DRAWS = 3
# Float32 against another order of the same sums, for answers near 1.
TOLERANCE = 2e-5
# As far as a rounding moves a number, and as far as the C core's activations are from NumPy's (tests/csrc).
RELATIVE, ABSOLUTE = 1e-6, 5e-7
# How often the reference runs on moved tensors, and how much more than it then moves may be a difference.
NOISY_RUNS, ROOM = 4, 20.0
_APPROXIMATED = {
    *("Sigmoid", "Tanh", "Softplus", "Softsign", "Exp", "Log", "Erf", "Gelu", "Elu", "Selu", "Celu", "Mish", "Softmax"),
    *("HardSigmoid", "HardSwish", "LogSoftmax", "LSTM", "GRU", "RNN", "Sqrt", "Pow", "Reciprocal"),
}
_PLACE = re.compile(
    r"at byte \d|in node |tensor \"|(in|out)put \"|initializer \"|attribute |metadata edgeinfer|state \"|opset"
    r"|the file|inputs and outputs, at most"
)
_NO_PLACE = ("the graph has no outputs", "no graph in it", "no opset_import for ai.onnx in it")


class FindingError(AssertionError):
    """A finding."""


def warm() -> None:
    """Import what is imported late, which is no file's share of memory."""
    every_operator()
    for name in ("sum", "next_word"):
        examine((ROOT / "edgeinfer" / "models" / f"{name}.onnx").read_bytes(), 0)


def examine(data: bytes, seed: int, nonfinite_weights: bool = False) -> str:
    """How the file ends: the name of the error that refuses it, or how far it ran. Raises FindingError."""
    options: dict[str, Any] = {"nan": "propagate", "nonfinite_weights": nonfinite_weights}
    try:
        with _memory_in_proportion(len(data)):
            edgeinfer.load(data, backend="native", **options)
    except EdgeInferError as error:
        _check_place(error)
        if "nonfinite_weights=True) lets it pass" in str(error):
            return f"nonfinite weights, else {examine(data, seed, True)}"
        return type(error).__name__
    except FindingError:
        raise
    except BaseException as error:
        raise FindingError(_told("load", error)) from None
    try:  # the reference has no states in 8 bits, which a file may ask for
        native = edgeinfer.load(data, backend="native", limits=SMALL, precision="exact", **options)
    except ModelLimitError:
        return "loads, too large to run"
    for name, ask in (("describe", native.describe), ("pipeline", lambda: edgeinfer.pipeline(data, backend="native"))):
        _typed(name, ask)

    def reference() -> Model:
        return edgeinfer.load(data, backend="reference", limits=SMALL, **options)

    rng = np.random.default_rng([seed, len(data)])
    whole = _whole_run(native, reference, rng)
    return f"loads, {whole}, {_stream(native, reference, rng)}"


def _check_place(error: EdgeInferError) -> None:
    text = str(error)
    if not _PLACE.search(text) and not any(known in text for known in _NO_PLACE):
        raise FindingError(f"an error that names no place: {type(error).__name__}: {text}")


def _told(what: str, error: BaseException) -> str:
    return f"{what}: {''.join(traceback.format_exception(error))[-1500:]}"


def _typed(what: str, ask: Callable[[], Any]) -> tuple[Any, EdgeInferError | None]:
    """The answer, or the typed error that came instead."""
    try:
        return ask(), None
    except EdgeInferError as error:
        return None, error
    except BaseException as error:
        raise FindingError(_told(what, error)) from None


def _whole_run(native: Model, reference: Callable[[], Model], rng: np.random.Generator) -> str:
    outcome = "too large to feed"
    for _ in range(DRAWS):
        feeds = _feeds(native, rng)
        if feeds is not None:
            outcome = _compare("run", native, reference, lambda model: model.run(None, feeds))  # noqa: B023
        if outcome == "agrees":
            break
    return outcome


def _stream(native: Model, reference: Callable[[], Model], rng: np.random.Generator) -> str:
    """A stream in the file's own mode, else one that carries its state, else a window."""
    for options in ({}, {"mode": "stream"}, {"mode": "window", "window": 3}):
        stream, error = _typed("stream", lambda: native.stream(**options))  # noqa: B023 (called here)
        if stream is not None:
            break
        # the last: a weight that depends on the window's length
        if not isinstance(error, (StreamError, InputError, ModelLimitError, UnsupportedOperatorError)):
            raise FindingError(_told("stream", error or StreamError()))
    else:
        return "does not stream"
    window = native.spec.window if native.spec and not options else None
    if window is not None and window.length > LONGEST_WINDOW:
        return "a window too long for the reference"
    xs = _items(native, rng)
    if xs is None:
        return "too large to step"
    kind = next(iter(options.values()), "as the file says")

    def steps(model: Model) -> list[np.ndarray]:
        with model.stream(**options) as stream:
            stepped = [stream.step(x) for x in xs]
            snapshot = stream.snapshot()
            stream.reset()
            ran = stream.run(xs)
            stream.restore(snapshot)
            stepped.append(stream.step(xs[0]))
        return [np.asarray(y, np.float64) for y in _flat([*stepped, ran])]

    return f"{_compare('stream', native, reference, steps)} steps, mode {kind}"


def _flat(answers: list[Any]) -> Iterator[Any]:
    """Each output of each answer; None is what a window gives that waits."""
    for answer in answers:
        if isinstance(answer, Mapping):
            yield from answer.values()
        else:
            yield np.nan if answer is None else answer


def _compare(what: str, native: Model, reference: Callable[[], Model], ask: Callable[[Model], list[np.ndarray]]) -> str:
    """Ask both; FindingError where one refuses what the other answers, or where they answer otherwise."""
    got, refused = _typed(f"{what}, native", lambda: ask(native))
    wanted, refused_too = _typed(f"{what}, reference", lambda: ask(reference()))
    if refused is None and "sequence_lens: a length is outside" in str(refused_too):
        # where there is not one step, a masked cell gives nothing; the file's nodes ask for a length of 1 at least
        return "no steps to mask"
    if (refused is None) != (refused_too is None):
        raise FindingError(f"{what}: native said {refused or 'an answer'}, the reference {refused_too or 'an answer'}")
    if refused is not None:
        return f"{what} refused"
    if len(got) != len(wanted):
        raise FindingError(f"{what}: {len(got)} answers, expected {len(wanted)}")
    moved: list[list[np.ndarray]] | None = None
    for i, (y, want) in enumerate(zip(got, wanted, strict=True)):
        if y.shape != want.shape or y.dtype != want.dtype:
            raise FindingError(f"{what}: answer {i} is {y.dtype} {y.shape}, expected {want.dtype} {want.shape}")
        room = np.full(y.shape, TOLERANCE)
        if _differs(y, want, room).any():
            if moved is None:
                moved = [_noisy(run, reference, ask) for run in range(NOISY_RUNS)]
            for other in moved:
                room = np.maximum(room, _distance(other[i], want) if len(other) == len(got) else np.inf)
            differs = _differs(y, want, ROOM * room)
            if differs.any():
                at = tuple(int(n) for n in np.argwhere(differs)[0])
                raise FindingError(
                    f"{what}: answer {i} at {at}: got {y[at]!r}, expected {want[at]!r}, room {room[at]:.2g}"
                )
    return "agrees"


def _distance(y: np.ndarray, want: np.ndarray) -> np.ndarray:
    """How far apart, relative to what is larger than 1; infinite where one is not finite and they are not the same."""
    if y.shape != want.shape:
        return np.full(want.shape, np.inf)
    a, b = y.astype(np.float64), want.astype(np.float64)
    with np.errstate(all="ignore"):
        apart = np.abs(a - b) / np.maximum(1.0, np.abs(b))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isfinite(apart), apart, np.inf))


def _differs(y: np.ndarray, want: np.ndarray, room: np.ndarray) -> np.ndarray:
    return _distance(y, want) > room


def _noisy(run: int, reference: Callable[[], Model], ask: Callable[[Model], list[np.ndarray]]) -> list[np.ndarray]:
    """What the reference says with every tensor moved a little; nothing where it refuses then."""
    with moved_by_roundings(run):
        answers, _ = _typed("noisy reference", lambda: ask(reference()))
    return answers or []


@contextmanager
def moved_by_roundings(seed: int) -> Iterator[None]:
    """While it lasts, what the twins read and give is moved by a rounding's size.

    A sum of products in another order is the exact sum of products that are each moved a little, so inputs are moved
    as well as outputs.
    """
    registry = every_operator()
    sound = dict(registry)
    rng = np.random.default_rng(seed)

    def moved(array: Any, absolute: float) -> Any:
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            return array
        with np.errstate(all="ignore"):
            shift = array * (RELATIVE * rng.uniform(-1, 1, array.shape)) + absolute * rng.uniform(-1, 1, array.shape)
            return np.asarray(array + shift, array.dtype)

    def noisy(name: str, op: Op) -> Op:
        absolute = ABSOLUTE if name in _APPROXIMATED else 0.0

        def twin(attributes: Mapping[str, Any], *ins: Any) -> Any:
            outs = op.twin(attributes, *(moved(array, 0.0) for array in ins))
            return [moved(array, absolute) for array in outs]

        return op._replace(twin=twin)

    try:
        registry.update({name: noisy(name, op) for name, op in sound.items()})
        yield
    finally:
        registry.update(sound)


def _sizes(model: Model, rng: np.random.Generator) -> Callable[[int | str | None], int]:
    """A size for each dimension that the file leaves open; a name has the same everywhere."""
    named: dict[str, int] = {}

    def size(dim: int | str | None) -> int:
        if isinstance(dim, int):
            return dim
        drawn = int(rng.choice([1, 2, 3, 0], p=[0.4, 0.3, 0.25, 0.05]))
        return drawn if dim is None else named.setdefault(dim, drawn)

    return size


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        return rng.integers(0 if dtype.kind == "u" or rng.random() < 0.9 else -3, 4, shape).astype(dtype)
    return rng.normal(0.0, 1.0, shape).astype(dtype)


def _feeds(model: Model, rng: np.random.Generator) -> dict[str, np.ndarray] | None:
    size = _sizes(model, rng)
    shapes = {info.name: tuple(size(dim) for dim in info.shape) for info in model.inputs}
    if any(np.prod([max(d, 1) for d in shape], dtype=float) > MOST_ELEMENTS for shape in shapes.values()):
        return None
    return {info.name: _draw(rng, shapes[info.name], info.dtype) for info in model.inputs}


def _items(model: Model, rng: np.random.Generator) -> list[np.ndarray] | None:
    """What a stream steps over: the input less its batch and time axes, which stand first."""
    (info,) = model.inputs
    prepared = model._prepared
    if prepared is not None and prepared.step is not None:
        shape = prepared.step.input_shape
    else:
        shape = tuple(d if isinstance(d, int) else 1 for d in info.shape[2:])
    if np.prod([max(d, 1) for d in shape], dtype=float) > MOST_ELEMENTS:
        return None
    return [_draw(rng, shape, info.dtype) for _ in range(STEPS)]


@contextmanager
def _memory_in_proportion(size: int) -> Iterator[None]:
    """FindingError where resident memory rises by more than twice the file and LOAD_SLACK_BYTES while it lasts."""
    trim_memory()
    before = reset_peak()
    yield
    taken = peak() - before
    if taken > 2 * size + LOAD_SLACK_BYTES:
        raise FindingError(f"loading {size} bytes took {taken / 2**20:.1f} MiB")


def trim_memory() -> None:
    """Give back what the allocator keeps, so that a load's own shows."""
    ctypes.CDLL(None).malloc_trim(0)


def reset_peak() -> int:
    """Let the peak of resident memory begin anew; returns what is resident now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The most memory that was resident since the last reset, in bytes."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) << 10
