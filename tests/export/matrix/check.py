"""One model against its exported file: Keras, ONNX Runtime and edgeinfer native on the same inputs."""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from .feeds import OWN_LENGTHS, Ends, arrays, ends_of, masked, variants

# The bar of the export command itself, relative to max(1, |y|).
ATOL = 1e-5
# Keras under mixed_float16 against float32: eleven bits of mantissa through a few layers.
HALF_ATOL = 5e-3
CONTROL_FLOW = ("Loop", "Scan", "If")
# Names that only TensorFlow and tf2onnx give.
UNREADABLE = re.compile(r"StatefulPartitionedCall|__\d+")
STEPS = 5

Arrays = list[np.ndarray]
Oracle = Callable[[Sequence[np.ndarray]], Arrays]


@dataclass
class Result:
    """What became of one model.

    status: ``equal``; ``refused`` (an ExportError with ``layer``, ``argument`` and ``why``); ``wrong`` (``why``: which
    difference, or which node); ``failed`` (any other exception, in export or in the runtime); ``broken`` (Keras
    itself cannot run it). Differences are the largest relative to max(1, |y|); those of steps are of stream form.
    """

    status: str
    form: str | None = None
    stops: str | None = None
    onnxruntime: float | None = None
    native: float | None = None
    step_onnxruntime: float | None = None
    step_native: float | None = None
    own: float | None = None
    inputs: int = 0
    nodes: dict[str, int] = field(default_factory=dict)
    control_flow: int = 0
    error: str | None = None
    layer: str | None = None
    argument: str | None = None
    why: str | None = None
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Without what is empty."""
        return {key: value for key, value in asdict(self).items() if value not in (None, {}) and value != ""}


class _WrongError(Exception):
    """The file does not do what the model does."""


def check(
    model: Any,
    seed: int,
    reference: Any = None,
    signature: Sequence[tuple[str, tuple[int | None, ...]]] = (),
    **options: Any,
) -> Result:
    """Export ``model`` in every form it has and compare each with Keras.

    reference: the model that gives the expected values, where it is not the model itself; then the model's own
    answers are compared at HALF_ATOL. options: arguments of to_onnx.
    """
    import keras
    from edgeinfer_export import ExportError, VerificationError, to_onnx

    if signature:
        options["input_signature"] = [keras.InputSpec(shape=shape, dtype=dtype) for dtype, shape in signature]
    started = time.perf_counter()
    result = Result("equal")
    try:
        ends = ends_of(model, signature)
        oracle = keras_oracle(model if reference is None else reference)
        feeds = list(_answered(oracle, variants(ends, seed)))
        if not feeds:
            raise ValueError("Keras runs it on no input")
    except Exception as error:
        return Result("broken", error=type(error).__name__, why=_line(error), seconds=_since(started))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            exported = to_onnx(model, path, **options)
            result.form, result.stops = exported.form, exported.stops
            read = _reader(exported.spec.preprocessing)
            feeds = [(name, [read(array) for array in feed], expected) for name, feed, expected in feeds]
            _compare_file(path, result, feeds)
            if reference is not None:
                result.own = _compare_own(model, feeds)
            if exported.form == "stream" and "string" not in ends.dtypes:
                _compare_steps(path, result, ends, oracle, seed, read)
            if exported.form == "stream":
                to_onnx(model, path, **{**options, "form": "sequence", "mode": None, "verify": False})
                _compare_file(path, result, feeds)
            _judge(result)
        except VerificationError as error:
            result = Result("wrong", error="VerificationError", why=_line(error))
        except ExportError as error:
            result = Result(
                "refused", error="ExportError", layer=error.layer, argument=error.argument, why=_line(error)
            )
        except _WrongError as error:
            result.status, result.why = "wrong", str(error)
        except Exception as error:
            result.status, result.error, result.why = "failed", type(error).__name__, _line(error)
    result.seconds = _since(started)
    return result


def keras_oracle(model: Any) -> Oracle:
    """Keras on one array per input, from a zero state: one array per output."""
    import keras

    stateful = [layer for layer in model._flatten_layers() if getattr(layer, "stateful", False)]

    def run(given: Sequence[np.ndarray]) -> Arrays:
        for layer in stateful:
            layer.reset_state()
        tensors = [keras.ops.convert_to_tensor(a) if a.dtype != object else _strings(a) for a in given]
        packed: Any = tensors[0]
        if getattr(model, "inputs", None) and not isinstance(model, keras.Sequential):
            packed = keras.tree.pack_sequence_as(model.input, tensors)
        return [np.asarray(value) for value in keras.tree.flatten(model(packed, training=False))]

    return run


def _strings(array: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.constant(array.tolist())


def _answered(oracle: Oracle, given: Iterator[tuple[str, Arrays]]) -> Iterator[tuple[str, Arrays, Arrays]]:
    """Each input with Keras' answer; too short ones, which Keras refuses or has no answer for, are left out."""
    for name, feed in given:
        try:
            answer = oracle(feed)
        except Exception:
            continue
        if all(array.size for array in answer):
            yield name, feed, answer


def difference(expected: np.ndarray, got: np.ndarray) -> float:
    """max |got - expected| / max(1, |expected|); infinite where shapes, kinds or what is finite differ."""
    expected, got = np.asarray(expected), np.asarray(got)
    if expected.shape != got.shape or (expected.dtype.kind == "f") != (got.dtype.kind == "f"):
        return float("inf")
    a, b = expected.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    a, b = a[finite], b[finite]
    return float(np.max(np.abs(a - b) / np.maximum(1, np.abs(a)), initial=0.0))


def _compare_file(path: Path, result: Result, feeds: Sequence[tuple[str, Arrays, Arrays]]) -> None:
    graph = onnx.load(path).graph
    counts = Counter(node.op_type for node in all_nodes(graph))
    result.nodes = result.nodes or dict(sorted(counts.items()))
    result.control_flow += sum(counts[kind] for kind in CONTROL_FLOW)
    unreadable = [name for name in all_names(graph) if UNREADABLE.search(name)]
    if unreadable:
        raise _WrongError(f"a name that nobody can read: {unreadable[0]}")
    ort, native = OnnxRuntime(path), Native(path)
    for name, feed, expected in feeds:
        if result.form == "stream" and name == OWN_LENGTHS:
            continue  # what streams takes one step of every input at a time
        for runner, key in ((ort, "onnxruntime"), (native, "native")):
            _note(result, key, expected, runner(feed)[: len(expected)], f"{result.form} form, {name}")
        result.inputs += 1


def _note(result: Result, key: str, expected: Arrays, got: Arrays, where: str) -> None:
    found = max((difference(a, b) for a, b in zip(expected, got, strict=True)), default=0.0)
    setattr(result, key, max(getattr(result, key) or 0.0, found))
    if found > ATOL and result.why is None:
        shapes = f", {[list(a.shape) for a in expected]} and {[list(a.shape) for a in got]}" if found > 1e9 else ""
        result.why = f"{key} differs from Keras by {found:.1e} ({where}{shapes})"


def _reader(preprocessing: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """What the file takes for an array that the model takes: the ids of text, as the metadata say; else itself."""
    from edgeinfer.pipeline.integers import IntegerEncoder
    from edgeinfer.pipeline.text import TextEncoder

    encoder: Any = None
    if "text" in preprocessing:
        encoder = TextEncoder.from_dict(preprocessing["text"])
    elif "integers" in preprocessing:
        encoder = IntegerEncoder.from_dict(preprocessing["integers"])
    if encoder is None:
        return lambda array: array

    def ids(array: np.ndarray) -> np.ndarray:
        rows = [encoder.ids(row[0] if row.dtype == object and row.size == 1 else row.tolist()) for row in array]
        batch = np.zeros((len(rows), max(row.size for row in rows)), np.int64)
        for row, found in zip(batch, rows, strict=True):
            row[: found.size] = found
        return batch

    return ids


def _compare_own(model: Any, feeds: Sequence[tuple[str, Arrays, Arrays]]) -> float:
    oracle = keras_oracle(model)
    return max(
        difference(a.astype(np.float32), b)
        for _, feed, expected in feeds
        for a, b in zip(oracle(feed), expected, strict=True)
    )


def _compare_steps(
    path: Path, result: Result, ends: Ends, oracle: Oracle, seed: int, read: Callable[[np.ndarray], np.ndarray]
) -> None:
    """The stream form one time step at a time, the state carried over, against Keras on what has come so far."""
    import edgeinfer

    generator = np.random.default_rng(seed + 1)
    graph = onnx.load(path).graph
    ort, native = OnnxRuntime(path), Native(path)
    timed_in = [_has_time(graph.input[i]) for i in range(len(ends.shapes))]
    length = next((s[1] for s, timed in zip(ends.shapes, timed_in, strict=True) if timed and s[1] is not None), STEPS)
    batch = ends.batch or 2
    feed = arrays(ends, batch, length, generator)
    if ends.masked:
        feed = masked(ends, feed, ("holes", "pre"), generator)
    whole = oracle(feed)
    timed_out = [_has_time(graph.output[i]) for i in range(len(whole))]
    fixed = any(s[1] is not None for s, timed in zip(ends.shapes, timed_in, strict=True) if timed)

    def expected_at(t: int) -> list[np.ndarray | None]:
        """Per output what Keras gives for step t, None where it cannot be asked."""
        last = t == length - 1
        so_far = (
            whole
            if last or fixed
            else oracle([a[:, : t + 1] if timed else a for a, timed in zip(feed, timed_in, strict=True)])
        )
        return [
            whole[i][:, t : t + 1] if timed else so_far[i] if last or not fixed else None
            for i, timed in enumerate(timed_out)
        ]

    expected = [expected_at(t) for t in range(length)]
    feed = [read(array) for array in feed]
    for runner, key in ((ort, "step_onnxruntime"), (native, "step_native")):
        states = runner.zero_states(batch)
        for t in range(length):
            now = [a[:, t : t + 1] if timed else a for a, timed in zip(feed, timed_in, strict=True)]
            answers = runner(now, states)
            states = answers[len(whole) :]
            pairs = [(a, b) for a, b in zip(expected[t], answers, strict=False) if a is not None]
            _note(result, key, [a for a, _ in pairs], [b for _, b in pairs], f"step {t}")
    if len(feed) > 1:
        return
    model = edgeinfer.load(path, backend="native")
    for row in range(batch):
        stream = model.stream(mode="stream", scalar=False)
        for t in range(length):
            got = stream.step(feed[0][row, t])
            values = list(got.values()) if isinstance(got, Mapping) else [got]
            wanted = [
                None if a is None else a[row, 0] if timed else a[row]
                for a, timed in zip(expected[t], timed_out, strict=True)
            ]
            pairs = [(a, b) for a, b in zip(wanted, values, strict=True) if a is not None]
            _note(
                result, "step_native", [a for a, _ in pairs], [b.reshape(a.shape) for a, b in pairs], f"stream.step {t}"
            )


def _has_time(value: Any) -> bool:
    dims = value.type.tensor_type.shape.dim
    return len(dims) > 1 and dims[1].dim_param == "time"


def _judge(result: Result) -> None:
    if result.control_flow:
        result.why = result.why or f"{result.control_flow} of {', '.join(CONTROL_FLOW)}"
    if result.own is not None and result.own > HALF_ATOL:
        result.why = result.why or f"Keras under its own policy differs by {result.own:.1e}"
    if result.why:
        raise _WrongError(result.why)


class OnnxRuntime:
    """A file in ONNX Runtime: one array per input in, all outputs out; states start at zero."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
        self._inputs = self._session.get_inputs()

    def zero_states(self, batch: int) -> Arrays:
        """One array per state input."""
        return [np.zeros([1, batch, i.shape[2]], np.float32) for i in self._inputs if "/initial_" in i.name]

    def __call__(self, feed: Sequence[np.ndarray], states: Sequence[np.ndarray] | None = None) -> Arrays:
        if states is None:
            states = self.zero_states(len(feed[0]))
        given = [*feed, *states]
        return list(self._session.run(None, {i.name: a for i, a in zip(self._inputs, given, strict=True)}))


class Native:
    """The same in edgeinfer's native backend."""

    def __init__(self, path: Path) -> None:
        import edgeinfer

        self._model = edgeinfer.load(path, backend="native")
        if self._model.backend != "native":
            raise _WrongError(f"expected native to answer, {self._model.backend} did")
        graph = onnx.load(path).graph
        self._inputs = [value.name for value in graph.input]
        self._outputs = [value.name for value in graph.output]
        self._units = [
            value.type.tensor_type.shape.dim[2].dim_value for value in graph.input if "/initial_" in value.name
        ]

    def zero_states(self, batch: int) -> Arrays:
        """One array per state input."""
        return [np.zeros([1, batch, units], np.float32) for units in self._units]

    def __call__(self, feed: Sequence[np.ndarray], states: Sequence[np.ndarray] | None = None) -> Arrays:
        if states is None:
            states = self.zero_states(len(feed[0]))
        given = [*feed, *states]
        return self._model.run(self._outputs, dict(zip(self._inputs, given, strict=True)))


def all_nodes(graph: Any) -> Iterator[Any]:
    """Every node, those inside Loops and Ifs too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from all_nodes(attribute.g)


def all_names(graph: Any) -> Iterator[str]:
    """Every name of a node or value."""
    for node in graph.node:
        yield node.name
        yield from node.output
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name


def _line(error: Exception) -> str:
    """What an error says, in one line of at most 300 characters."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:3])[:300] if lines else type(error).__name__


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 2)
