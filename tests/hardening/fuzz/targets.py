"""What is done with a fuzzer's bytes. A target returns, or raises: anything but EdgeInferError is a finding.

No atheris here, so that a finding can be looked at without it: `loader(open(file, "rb").read())`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache

import numpy as np

import edgeinfer
from edgeinfer.errors import EdgeInferError, InputError
from edgeinfer.kernels import native
from edgeinfer.limits import Limits
from edgeinfer.model import Model
from edgeinfer.onnx_file import ExternalData, read_model, tensor_to_array
from edgeinfer.spec import SPEC_KEY, Spec, check_size

# What a mutated file may ask for: enough for its seeds, little enough for thousands of runs a second.
LIMITS = Limits(tensor_bytes=1 << 22, dimension=1 << 18)
ELEMENTS = 1 << 12  # of an input that is fed
LENGTH = 64  # of a window that is stepped
STEPS = 4
CORES = native.core_names()

# Two backends sum in different orders: a few roundings of numbers near 1. Beyond that, so many times what the same
# model gives when an input moves by NUDGE, or on a core that rounds otherwise.
TOLERANCE = 2e-5
NUDGE = 1e-6
AMPLIFIED = 1e3


class FindingError(AssertionError):
    """What no exception of ours would tell: two answers that differ, a state that moved."""


def reader(data: bytes) -> None:
    """The bytes as a file: read, and each tensor of it."""
    with suppress(EdgeInferError):
        model = read_model(data, LIMITS)
        for tensor in model.graph.initializers:
            with suppress(EdgeInferError):
                tensor_to_array(tensor, ExternalData(None, LIMITS), LIMITS)


def loader(data: bytes) -> None:
    """The bytes as a model on the C core: called, stepped and pooled, and held against the reference."""
    try:
        model = edgeinfer.load(data, backend="native", precision="exact", limits=LIMITS)
    except EdgeInferError:
        return
    reference = edgeinfer.load(data, backend="reference", limits=LIMITS)
    feeds = feeds_of(model)
    if feeds is not None:
        compare(data, "run", lambda m, nudge: m.run(None, feeds_of(m, nudge)), model, reference)
    window = None if model.spec is None or model.spec.mode != "window" else model.spec.window
    if len(model.inputs) == 1 and (window is None or window.length <= LENGTH):
        step_model(data, model, reference)


def feeds_of(model: Model, nudge: float = 0.0) -> dict[str, np.ndarray] | None:
    """An array for every input; None where one is too large. A dimension of one name has one size."""
    named: dict[str | None, int] = {}
    shapes = {}
    for info in model.inputs:
        shape = tuple(d if isinstance(d, int) else named.setdefault(d, len(named) % 3 + 1) for d in info.shape)
        if np.prod([max(d, 1) for d in shape], dtype=np.float64) > ELEMENTS or min(shape, default=1) < 0:
            return None
        shapes[info.name] = shape, info.dtype
    return {name: values(*found, nudge) for name, found in shapes.items()}


def values(shape: Sequence[int], dtype: np.dtype, nudge: float = 0.0) -> np.ndarray:
    drawn = np.random.default_rng(len(shape)).normal(0.0, 0.7, shape)
    if dtype.kind == "f":
        return np.asarray(drawn + nudge, dtype)
    return np.asarray(np.abs(np.rint(3 * drawn)) if dtype.kind in "iu" else drawn > 0, dtype)


def step_model(data: bytes, model: Model, reference: Model) -> None:
    """Steps one by one, in one call, and as a row of a pool: the same bits. And what the reference steps to."""
    shape = model.inputs[0].shape[2:]
    if not all(isinstance(d, int) for d in shape) or np.prod(shape, dtype=np.float64) > ELEMENTS:
        return
    try:
        stream = model.stream(scalar=False)
    except EdgeInferError:
        return
    xs = values((STEPS, *shape), model.inputs[0].dtype)  # type: ignore[arg-type]
    try:
        found = stream.run(xs)
    except EdgeInferError as error:
        with suppress(type(error)):
            reference.stream(scalar=False).run(xs)
            raise FindingError(f"the C core refuses steps that the reference takes: {error}") from None
        return
    single = model.stream(scalar=False)
    for x, *rows in zip(xs, *arrays(found), strict=True):
        for y, row in zip(arrays(single.step(x)), rows, strict=False):
            same_bits("a step differs from its run", y, row)
    if single.snapshot() != stream.snapshot() and not any(has_nan(y) for y in arrays(found)):
        raise FindingError("steps end in another state than their run")
    with suppress(EdgeInferError):
        pool = model.pool(3)
        slots = [pool.add() for _ in range(3)]
        for step, x in enumerate(xs):
            for y, row in zip(arrays(pool.step(slots, np.stack([x] * 3))), arrays(found), strict=True):
                same_bits("a pool's row differs from a stream", y, np.stack([row[step]] * 3))

    def stepped(m: Model, nudge: float) -> list[np.ndarray]:
        return arrays(m.stream(scalar=False).run(values(xs.shape, xs.dtype, nudge)))

    compare(data, "steps", stepped, model, reference)


def arrays(found: object) -> list[np.ndarray]:
    """One output or several, as a list; a window that is not full yet has none."""
    if found is None:
        return []
    return list(found.values()) if isinstance(found, dict) else [np.asarray(found)]


def has_nan(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def same_bits(what: str, a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        raise FindingError(f"{what}: {a!r}, {b!r}")


Ask = Callable[[Model, float], list[np.ndarray]]


def compare(data: bytes, what: str, ask: Ask, model: Model, reference: Model) -> None:
    """The two must give the same, or both refuse. Where they differ, rounding must explain it."""
    try:
        found = ask(model, 0.0)
    except EdgeInferError as error:
        with suppress(EdgeInferError):
            ask(reference, 0.0)
            raise FindingError(f"{what}: the C core refuses what the reference takes: {error}") from None
        return
    expected = ask(reference, 0.0)
    for a, b in zip(found, expected, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise FindingError(f"{what}: {a.dtype} {a.shape}, the reference gives {b.dtype} {b.shape}")
    if all(close(a, b, 0.0) for a, b in zip(found, expected, strict=True)):
        return
    nudged = [ask(reference, NUDGE), ask(reference, -NUDGE)]
    cores = [edgeinfer.load(data, backend="native", precision="exact", limits=LIMITS, isa=isa) for isa in CORES]
    rounded = [ask(core, 0.0) for core in cores]
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if not all(np.isfinite(y[i]).all() for y in (found, expected, *nudged, *rounded)):
            continue  # past the range of float32 the order of a sum decides what overflows
        noise = max(*(apart(y[i], b) for y in nudged), *(apart(y[i], a) for y in rounded))
        if not close(a, b, noise):
            raise FindingError(f"{what}: the C core gives {a!r}, the reference {b!r}; rounding moves it by {noise}")


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float64) - b).max(initial=0))


def close(a: np.ndarray, b: np.ndarray, noise: float) -> bool:
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b)) or noise > 0
    return bool(np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE + AMPLIFIED * noise, equal_nan=True))


# --- snapshots ---------------------------------------------------------------------------------------------------

_CRC = struct.Struct("<I")


@cache
def snapshot_models() -> tuple[Model, ...]:
    """A state of one tensor, of two, none of float32 alone, and windows."""
    from . import seeds

    return tuple(edgeinfer.load(data, backend="native") for data in seeds.stateful_files())


def snapshot(data: bytes) -> None:
    """The bytes as a snapshot, its checksum mended where the first byte is odd: taken whole, or refused whole."""
    which, body = data[:1] or b"\0", data[1:]
    model = snapshot_models()[(which[0] >> 1) % len(snapshot_models())]
    if which[0] % 2 and len(body) > _CRC.size:
        body = body[: -_CRC.size] + _CRC.pack(zlib.crc32(body[: -_CRC.size]))
    stream = model.stream(scalar=False)
    x = values((2, *(int(d) for d in model.inputs[0].shape[2:] if isinstance(d, int))), model.inputs[0].dtype)
    stream.run(x)
    before = stream.snapshot()
    try:
        stream.restore(body)
    except EdgeInferError:
        if stream.snapshot() != before:
            raise FindingError("a snapshot that is refused changed the state") from None
        return
    taken = stream.snapshot()
    twin = model.stream(scalar=False)
    twin.restore(taken)
    if twin.snapshot() != taken:
        raise FindingError("a state does not come back from its own snapshot")
    try:
        ys = stream.run(x)
    except InputError:  # a window may hold tokens that the table lacks
        if stream.snapshot() != taken:
            raise FindingError("an input that is refused changed the state") from None
        return
    for y, other in zip(arrays(ys), arrays(twin.run(x)), strict=True):
        same_bits("two streams of one state differ", y, other)


# --- metadata ----------------------------------------------------------------------------------------------------


@cache
def bare_files() -> tuple[bytes, ...]:
    """A model of each task, without its metadata."""
    from . import seeds

    return tuple(seeds.task_files())


def metadata(data: bytes) -> None:
    """The first byte chooses a model, the others are its metadata: read, written, read again, and the task run."""
    text = data[1:].decode("utf-8", "replace")
    try:
        check_size(text, LIMITS, 0)  # as load does
        spec = Spec.from_json(text)
    except EdgeInferError:
        return
    goldens = [golden for each in spec.goldens for golden in (each.inputs, each.outputs)]
    with suppress(EdgeInferError):
        for golden in goldens:
            dict(golden)
        if Spec.from_json(spec.to_json()).to_json() != spec.to_json():
            raise FindingError("metadata do not come back as they were written")
    bare = bare_files()[data[0] % len(bare_files())]
    if spec.window is not None and spec.window.length > LENGTH:
        return
    try:
        app = edgeinfer.pipeline(with_metadata(bare, text), backend="native")
    except EdgeInferError:
        return
    use(app)


def with_metadata(data: bytes, text: str) -> bytes:
    """A file with one more entry of metadata_props: protobuf's fields may stand in any order."""
    entry = _field(1, SPEC_KEY.encode()) + _field(2, text.encode())
    return data + _field(14, entry)


def _field(number: int, content: bytes) -> bytes:
    length, rest = b"", len(content)
    while rest > 0x7F:
        length, rest = length + bytes([rest & 0x7F | 0x80]), rest >> 7
    return bytes([number << 3 | 2]) + length + bytes([rest]) + content


def use(app: edgeinfer.pipeline) -> None:  # type: ignore[valid-type]
    """What its users do with a pipeline, on data that fit many."""
    from edgeinfer.pipeline import Forecaster

    if isinstance(app, Forecaster):
        start = datetime(2026, 3, 1)
        series = [float(i % 7) for i in range(48)]
        times = [start + timedelta(hours=i) for i in range(len(series))]
        for given in (None, times):
            with suppress(EdgeInferError):
                app(series, given)
            with suppress(EdgeInferError):
                app.backtest(series[:16], given and given[:16])
            with suppress(EdgeInferError):
                stream = app.stream()
                for i, value in enumerate(series[:24]):
                    stream.step(value, given and given[i])
                stream.restore(stream.snapshot())
        return
    for text in ("good film<br />", "I love deep learning!", "", "\u0130 \U0001f600"):
        with suppress(EdgeInferError):
            app(text)
        with suppress(EdgeInferError):
            app.stream().step(text)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "reader": reader,
    "loader": loader,
    "snapshot": snapshot,
    "metadata": metadata,
}
