"""What a step on the C core costs besides the arithmetic: which forms of input and output it takes without a detour,
when an answer's array is used again, and what is allocated."""

from __future__ import annotations

import gc
import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from graphs import draw, recurrent_model, token_model, two_outputs_model

import edgeinfer
from edgeinfer import stream as stream_module
from edgeinfer.caller import Closed, OneCaller
from edgeinfer.errors import InputError, ModelLoadError, StreamError
from edgeinfer.kernels import native

ARRAYS = recurrent_model("LSTM", features=3, hidden=9, outputs=2)
SCALAR = recurrent_model("GRU", features=1, hidden=4, outputs=1)
RING = 3


def load(data: bytes = ARRAYS) -> edgeinfer.Model:
    return edgeinfer.load(data, backend="native")


# --- the method


def test_the_step_of_a_stream_is_the_compiled_one() -> None:
    assert issubclass(edgeinfer.Stream, native.OneCaller)
    assert type(load().stream().step).__name__ == "builtin_function_or_method"


def test_both_forms_of_the_step_say_the_same() -> None:
    assert inspect.getdoc(native.OneCaller.step) == inspect.getdoc(OneCaller.step)
    assert native.OneCaller.step.__text_signature__ == "($self, x, out=None)"


# --- the ring


def addresses(stream: edgeinfer.Stream, steps: int) -> list[int]:
    """Where the answers of some steps were, none of them kept."""
    return [stream.step(x).ctypes.data for x in draw(steps, 3)]


def test_three_arrays_take_turns_where_nobody_keeps_one() -> None:
    found = addresses(load().stream(), 12)
    assert found[:RING] * 4 == found
    assert len(set(found)) == RING


def test_an_answer_that_is_kept_never_changes() -> None:
    model = load()
    stream = model.stream()
    xs = draw(40, 3)
    kept = []
    for x in xs:
        y = stream.step(x)
        if len(kept) % 3 != 1:  # some are kept, some let go, so that both are met in every place of the ring
            kept.append((y, y.copy()))
        else:
            kept.append((y.copy(), y.copy()))
    for y, copy in kept:
        np.testing.assert_array_equal(y, copy)
    np.testing.assert_array_equal(np.stack([y for y, _ in kept]), model.stream().run(xs))


def resized(y: np.ndarray) -> object:
    y.resize(7, refcheck=False)
    return None


def retyped(y: np.ndarray) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer NumPy would rather have a view
        y.dtype = np.int32
    return None


def reshaped(y: np.ndarray) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer NumPy would rather have a view
        y.shape = (2, 1)
    return None


def restrided(y: np.ndarray) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer NumPy would rather have a view
        y.strides = (0,)
    return None


def read_only(y: np.ndarray) -> object:
    y.setflags(write=False)
    return None


def unaligned(y: np.ndarray) -> object:
    y.flags.aligned = False
    return None


# What a caller may do with an answer before it lets its own name for it go, and what it keeps of it.
USES: list[Callable[[np.ndarray], object]] = [
    lambda y: y,
    lambda y: y[:1],
    lambda y: y[:1][0:1],
    lambda y: y.reshape(2, 1),
    lambda y: y.view(np.uint8),
    lambda y: y.T,
    memoryview,
    lambda y: np.frombuffer(y, np.uint8),
    np.asarray,
    lambda y: iter(y),
    lambda y: y.ctypes,
    lambda y: (y,),
    weakref.ref,
    weakref.proxy,
    reshaped,
    restrided,
    retyped,
    resized,
    read_only,
    unaligned,
]
NAMES = [
    "keeps it", "a view", "a view of a view", "a reshape", "other bytes", "a transpose", "a memoryview", "a buffer",
    "as another name", "an iterator", "ctypes", "a tuple", "a weak reference", "a weak proxy", "a shape set in place",
    "strides set in place", "a dtype set in place", "a resize in place", "made read-only", "made unaligned",
]  # fmt: skip


@pytest.mark.parametrize("use", USES, ids=NAMES)
def test_an_array_that_could_be_told_from_a_new_one_is_not_used_again(use: Callable[[np.ndarray], object]) -> None:
    model = load()
    stream = model.stream()
    xs = draw(3 * RING, 3)
    expected = model.stream().run(xs)
    kept = []
    seen: dict[int, int] = {}
    for x, true in zip(xs, expected, strict=True):
        y = stream.step(x)
        assert (y.shape, y.strides, y.dtype, y.flags.writeable, y.flags.aligned) == ((2,), (4,), np.float32, True, True)
        assert y.flags.owndata
        assert y.base is None
        np.testing.assert_array_equal(y, true)
        assert weakref.getweakrefcount(y) == 0
        seen[id(y)] = seen.get(id(y), 0) + 1
        kept.append(use(y))
        del y
    del kept
    # let go of, the places that were filled anew take turns again
    assert len(set(addresses(stream, 3 * RING)[RING:])) == RING


def test_a_weak_reference_dies_with_what_it_points_to() -> None:
    stream = load().stream()
    y = stream.step(draw(3))
    ref = weakref.ref(y)
    del y
    for x in draw(RING, 3):
        stream.step(x)
    assert ref() is None


def test_an_answer_outlives_its_stream() -> None:
    stream = load().stream()
    y = stream.step(draw(3))
    before = y.copy()
    stream.close()
    del stream
    gc.collect()
    np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize("data", [ARRAYS, SCALAR, two_outputs_model()], ids=["array", "float", "two outputs"])
def test_what_is_let_go_of_is_gone_without_the_collector(data: bytes) -> None:
    model = edgeinfer.load(data, backend="native")
    stream, window, pool = model.stream(), model.stream(mode="window", window=3), model.pool(3)
    refs = [weakref.ref(thing) for thing in (stream, window, pool)]
    gc.collect()
    gc.disable()
    try:
        del stream, window, pool
        assert [ref() for ref in refs] == [None] * 3
    finally:
        gc.enable()


def test_two_streams_have_rings_of_their_own() -> None:
    model = load()
    one, two = model.stream(), model.stream()
    assert not set(addresses(one, RING)) & set(addresses(two, RING))


# --- forms of input


FORMS: list[Callable[[np.ndarray], Any]] = [
    lambda x: x,
    lambda x: x.astype(np.float64),
    lambda x: x.tolist(),
    lambda x: tuple(x.tolist()),
    lambda x: np.repeat(x, 2)[::2],
    lambda x: x.astype(">f4"),
    lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32),
    lambda x: np.ma.array(x),
    lambda x: [*x.tolist()[:2], x[2]],
]
FORM_NAMES = ["float32", "float64", "list", "tuple", "strided", "big-endian", "unaligned", "masked", "mixed list"]


@pytest.mark.parametrize("form", FORMS, ids=FORM_NAMES)
def test_every_form_of_the_same_numbers_gives_the_same_bits(form: Callable[[np.ndarray], Any], isa: str) -> None:
    model = edgeinfer.load(ARRAYS, backend="native", isa=isa)
    xs = draw(5, 3)
    stream = model.stream()
    np.testing.assert_array_equal(np.stack([stream.step(form(x)) for x in xs]), model.stream().run(xs))


@pytest.mark.parametrize("x", [0, 3, -2, 2**53, 2**53 + 1, 2**62 + 1, -(2**63), 2**63, 0.1, 1e-45, -0.0, 3e38])
def test_a_bare_number_is_rounded_as_numpy_rounds_it(x: float) -> None:
    model = load(SCALAR)
    expected = model.stream().step(np.asarray([x]).astype(np.float32))
    assert model.stream().step(x) == expected
    assert model.stream().step([x]) == expected


@pytest.mark.parametrize("x", [[True], [None], ["1"], [[1.0]], [1.0, 2.0], [], [np.nan], [float("inf")], [10**400]])
def test_a_list_of_what_does_not_fit_is_refused_as_ever(x: Any) -> None:
    stream = load(SCALAR).stream()
    before = stream.snapshot()
    with pytest.raises(InputError, match='input "x": expected'):
        stream.step(x)
    assert stream.snapshot() == before


def test_a_float64_that_does_not_fit_float32_is_refused() -> None:
    stream = load().stream()
    with pytest.raises(InputError, match=r'input "x": expected finite numbers, got inf at \[1\]'):
        stream.step(np.array([0.0, 1e300, 0.0]))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("form", [int, np.int32, np.int64, np.int8, np.uint64])
def test_a_token_of_any_integer_type_gives_the_same_bits(dtype: type, form: type) -> None:
    model = load(token_model(dtype=dtype))
    stream = model.stream()
    found = np.stack([stream.step(form(t)) for t in (3, 0, 6)])
    np.testing.assert_array_equal(found, model.stream().run([3, 0, 6]))


# --- one caller at a time, compiled and plain


class Doubler:
    """An engine that waits where it is told to."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()

    def step(self, x: Any, out: np.ndarray | None, finish: Any) -> Any:
        if x == "wait":
            self.entered.set()
            assert self.leave.wait(20)
        if x == "none":
            return None
        if x == "fail":
            raise InputError("refused")
        y = np.full(1, 2.0, np.float32)
        if out is None:
            return y if finish is None else finish(y)
        out[...] = y
        return out


@pytest.fixture(params=[OneCaller, native.OneCaller], ids=["plain", "compiled"])
def one_caller(request: pytest.FixtureRequest) -> Any:
    class Named(request.param):  # type: ignore[misc,name-defined]
        _busy_text = "it is busy"

    return Named


def test_a_step_gives_what_the_engine_gives_in_the_form_asked_for(one_caller: Any) -> None:
    out = np.empty(1, np.float32)
    assert one_caller(Doubler(), True, None).step(0) == 2.0
    assert type(one_caller(Doubler(), True, None).step(0)) is float
    assert one_caller(Doubler(), False, None).step(0).shape == (1,)
    assert one_caller(Doubler(), False, lambda y: {"y": y}).step(0)["y"] == 2.0
    for scalar, finish in ((True, None), (False, lambda y: {"y": y})):
        assert one_caller(Doubler(), scalar, finish).step(0, out=out) is out
        assert one_caller(Doubler(), scalar, finish).step("none") is None


def test_one_that_is_busy_refuses_and_is_free_again_after_a_failure(one_caller: Any) -> None:
    engine = Doubler()
    one = one_caller(engine, True, None)
    thread = threading.Thread(target=lambda: one.step("wait"))
    thread.start()
    assert engine.entered.wait(20)

    def enter() -> None:
        with one._turn():
            pass

    for call in (lambda: one.step(0), enter):
        with pytest.raises(StreamError, match="it is busy"):
            call()
    engine.leave.set()
    thread.join()
    with pytest.raises(InputError, match="refused"):
        one.step("fail")
    assert one.step(0) == 2.0
    with one._turn(), pytest.raises(StreamError, match="it is busy"):
        one.step(0)
    assert one.step(0) == 2.0
    with pytest.raises(KeyError), one._turn():
        raise KeyError
    assert one.step(0) == 2.0


def test_one_that_is_closed_stays_closed(one_caller: Any) -> None:
    one = one_caller(Doubler(), True, None)
    step = one.step
    one._use(Closed("it is closed"))
    for call in (lambda: one.step(0), lambda: step(0)):
        with pytest.raises(StreamError, match="it is closed"):
            call()


def test_a_stream_behaves_alike_on_the_plain_form() -> None:
    """Every test of streams runs on the compiled form; these on the other, which installations without a core use."""
    plain = plain_stream()
    model = edgeinfer.load(ARRAYS, backend="reference")
    xs = draw(5, 3)
    stream = plain.Stream(model._step_core(), model.sha256, True)
    assert isinstance(stream, OneCaller)
    np.testing.assert_array_equal(np.stack([stream.step(x) for x in xs]), model.stream().run(xs))
    twin = stream.fork()
    assert twin.snapshot() == stream.snapshot()
    stream.close()
    stream.close()
    with pytest.raises(StreamError, match="the stream is closed"):
        stream.step(xs[0])
    one = edgeinfer.load(SCALAR, backend="reference")
    assert type(plain.Stream(one._step_core(), one.sha256, True).step(1.0)) is float
    assert plain.Stream(one._step_core(), one.sha256, False).step(1.0).shape == (1,)


def plain_stream() -> ModuleType:
    """stream.py as it is where the core is not installed."""
    spec = importlib.util.spec_from_file_location("edgeinfer.plain_stream", stream_module.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    backends = sys.modules["edgeinfer.backends"]
    compiled = backends.OneCaller
    backends.OneCaller = OneCaller  # type: ignore[misc]
    try:
        spec.loader.exec_module(module)
    finally:
        backends.OneCaller = compiled  # type: ignore[misc]
    return module


# --- free-threaded Python


def test_a_free_threaded_python_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    with pytest.raises(
        ModelLoadError, match=r"backend native: the C core needs the GIL, .* free-threaded .* PYTHON_GIL=1"
    ):
        edgeinfer.load(ARRAYS, backend="native")
    assert edgeinfer.load(ARRAYS).backend == "reference"
    assert [r.getMessage() for r in caplog.records] == [
        "the C core needs the GIL (PYTHON_GIL=1); the NumPy reference backend answers, which is slow"
    ]


def test_the_compiled_module_does_not_claim_to_do_without_the_gil() -> None:
    source = (Path(edgeinfer.__file__).parent / "kernels" / "native.pyx").read_text()
    assert "freethreading_compatible" not in source


# --- memory

COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
static long calls;
long allocations(void) { return calls; }
static void *(*next_malloc)(size_t), *(*next_realloc)(void *, size_t);
void *malloc(size_t n)
{
    if (!next_malloc) *(void **)&next_malloc = dlsym(RTLD_NEXT, "malloc");
    calls++;
    return next_malloc(n);
}
void *realloc(void *p, size_t n)
{
    if (!next_realloc) *(void **)&next_realloc = dlsym(RTLD_NEXT, "realloc");
    calls++;
    return next_realloc(p, n);
}
"""
PROBE = """
import ctypes, itertools, sys
import numpy as np
import edgeinfer
counter = ctypes.PyDLL(sys.argv[1])
model = edgeinfer.load(sys.argv[2], backend="native")
stream = model.stream()
step = stream.step
x = np.full(3, 0.5, np.float32)
out = np.empty(2, np.float32)
def count(steps, form):
    before = counter.allocations()
    for _ in itertools.repeat(None, steps):  # range would make integers
        form()
    return counter.allocations() - before
def into(): step(x, out=out)
def ring(): step(x)
def new(): np.empty(2, np.float32).copy()
for form in (into, ring, new): count(100, form)
print(*(count(1100, form) - count(100, form) for form in (into, ring, new)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts calls of malloc by LD_PRELOAD")
def test_a_step_calls_no_allocator(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None
    source, library, model = tmp_path / "counter.c", tmp_path / "counter.so", tmp_path / "m.onnx"
    source.write_text(COUNTER)
    model.write_bytes(ARRAYS)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", str(source), "-o", str(library), "-ldl"], check=True)
    # PYTHONMALLOC=malloc: every object that Python makes is a call of malloc too
    result = subprocess.run(
        [sys.executable, "-c", PROBE, str(library), str(model)],
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    into, ring, new = map(int, result.stdout.split())
    assert into == 0
    assert ring == 0
    assert new >= 1000  # the counter counts
