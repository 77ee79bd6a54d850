"""A loaded model: immutable to its users, shared between threads, called on whole sequences."""

from __future__ import annotations

import copy
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NoReturn

import numpy as np

from .backends import Backend, Session, choose
from .backends.base import Converter, Parts, PoolEngine, StateLayout, WindowEngine, into_record, record_shape
from .digest import sha256_of
from .errors import InputError, ModelFormatError, ModelLoadError, StreamError
from .graph import Prepared, State, ValueInfo, give, macs, window_axis
from .limits import DEFAULT, Limits, Policy
from .onnx_file import can_read_safely, read_bytes, read_model
from .pool import PlainPool, Pool
from .spec import MAX_WINDOW, SPEC_KEY, Spec, Window, check_size, holds
from .stream import Outputs, PlainWindow, StepCore, Stream, WindowCore, last_row
from .wiring import check_wiring, refuse_without, wired

# Sequence plans kept for input shapes seen before.
_PLANS = 8

NonFinite = Literal["reject", "propagate"]
Precision = Literal["exact", "fast"]
BackendName = Literal["auto", "native", "onnxruntime", "reference"]


def load(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview,
    *,
    backend: BackendName = "auto",
    nan: NonFinite = "reject",
    isa: str | None = None,
    precision: Precision | None = None,
    sha256: str | None = None,
    limits: Limits = DEFAULT,
    external_data: bool = False,
    nonfinite_weights: bool = False,
    gate_table_bytes: int | None = None,
) -> Model:
    """Load an ONNX model from a path or from bytes.

    backend: ``"native"`` (the C core; fails here on what it does not implement), ``"onnxruntime"``,
    ``"reference"`` (NumPy), or ``"auto"``: native where possible, with a warning on the ``edgeinfer`` logger where not.
    nan: ``"reject"`` refuses NaN and infinities in inputs, ``"propagate"`` computes with them.
    isa: an instruction set of the C core to use instead of the fastest (or of the variable EDGEINFER_ISA).
    precision: for int8 weights: ``"exact"`` computes with float32 states, ``"fast"`` rounds the state of LSTM, GRU and
    RNN to 8 bits before it meets the weights. Left out, the file decides, which means exact unless it was made for
    fast. Only the native backend has fast; what a file asks of another backend, that computes exactly.
    sha256: the hexadecimal digest that the file must have.
    limits: upper bounds on sizes and counts in the file; Limits(nodes=…) raises one.
    external_data: read tensors that lie in other files, from beneath the model's folder only.
    nonfinite_weights: accept stored tensors with NaN or infinities.
    gate_table_bytes: memory for gate rows, which save the input half of a recurrent layer that reads an embedding, at
    four (LSTM), three (GRU) or one (RNN) floats per token and unit. Default: twice the size of the file, at most
    6 MiB. 0: none. The answers do not depend on it.

    Raises ModelFormatError for bytes that are not an ONNX model or not those of ``sha256``, UnsupportedOperatorError
    naming the node for what no backend implements, ModelLimitError naming the limit, ModelLoadError for a backend
    that is not installed, OSError where the file cannot be read.
    """
    if nan not in ("reject", "propagate"):
        raise ModelLoadError(f"nan: expected 'reject' or 'propagate', got {nan!r}")
    if precision not in (None, "exact", "fast"):
        raise ModelLoadError(f"precision: expected 'exact' or 'fast', got {precision!r}")
    path = folder = None
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        folder = os.path.dirname(os.path.abspath(path))
        data = read_bytes(path, limits)
    else:
        raise ModelLoadError(f"expected a path or bytes, got {type(source).__name__}")
    if gate_table_bytes is not None and gate_table_bytes < 0:
        raise ModelLoadError(f"gate_table_bytes: expected a number of bytes from 0 on, got {gate_table_bytes}")
    policy = Policy(limits, nonfinite_weights=nonfinite_weights, gate_table_bytes=gate_table_bytes)
    if external_data:
        policy = _with_external_data(policy, folder)
    try:
        found = sha256_of(data)
        if sha256 is not None and found != sha256.lower():
            raise ModelFormatError(f"expected sha256 {sha256}, got {found}")
        return Model(data, found, path, backend, nan == "reject", isa, policy, precision)
    except ModelFormatError as error:
        raise error if path is None else error.in_file(path) from None


def _with_external_data(policy: Policy, folder: str | None) -> Policy:
    if folder is None:
        return policy._replace(why_not="a model given as bytes has no folder to read it from")
    if not can_read_safely():
        return policy._replace(why_not="this system cannot open it without following links")
    return policy._replace(external_folder=folder)


class Model:
    """A model ready to run. Made by load(); everything that changes is in the Streams it gives."""

    def __init__(
        self,
        data: bytes,
        sha256: str,
        path: str | None,
        backend: str,
        reject_nonfinite: bool,
        isa: str | None,
        policy: Policy,
        precision: str | None,
    ) -> None:
        proto = read_model(data, policy.limits)
        self.path = path
        self.sha256 = sha256
        self.metadata: Mapping[str, str] = dict(proto.metadata)
        text = self.metadata.get(SPEC_KEY)
        self.spec: Spec | None = None
        if text is not None:
            proto = proto._replace(parsed_bytes=check_size(text, policy.limits, proto.parsed_bytes))
            self.spec = Spec.from_json(text)
        pairs = [(p.input, p.output) for p in self.spec.states] if self.spec else []
        self._backend: Backend
        self._prepared: Prepared | None
        fast = precision == "fast" or (precision is None and self.spec is not None and self.spec.activations == "int8")
        self._backend, self._prepared = choose(backend, data, proto, pairs, isa, policy, fast)
        if precision == "fast" and self._backend.name != "native":
            raise ModelLoadError(f"precision fast: only the native backend has it, {self._backend.name} answers")
        self._reject = reject_nonfinite
        self._file = {"bytes": len(data), "opset": proto.opsets[""], "producer": proto.producer}
        state_inputs = self._prepared.state_inputs if self._prepared else dict(pairs)
        self._encoder = self.spec.encoder if self.spec else None
        if self._encoder is not None:
            check_wiring(self._encoder, self._backend.inputs, state_inputs)
        self._stream_sha256 = sha256
        #: States that start from something else than the file says, by given().
        self._start: dict[str, np.ndarray] = {}
        state_outputs = set(state_inputs.values())
        self._state_inputs = frozenset(state_inputs)
        #: What the model takes and gives, states left out.
        self.inputs: tuple[ValueInfo, ...] = tuple(i for i in self._backend.inputs if i.name not in state_inputs)
        self.outputs: tuple[ValueInfo, ...] = tuple(i for i in self._backend.outputs if i.name not in state_outputs)
        self._converters = {i.name: Converter(i, i.shape, reject_nonfinite) for i in self._backend.inputs}
        self._quick: dict[tuple[int, ...], Callable[[Any], Any] | None] = {}
        self._sessions: OrderedDict[tuple[tuple[int, ...], ...], Session] = OrderedDict()
        self._locks = {os.getpid(): _new_lock()}

    @property
    def backend(self) -> str:
        """Which backend answers: native, onnxruntime or reference."""
        return self._backend.name

    @property
    def isa(self) -> str | None:
        """The instruction set of the C core, None on other backends."""
        return self._backend.isa

    @property
    def arithmetic(self) -> str:
        """What the backend computes from: float32, float16 (weights), int8 exact or int8 fast (load's precision)."""
        return self._backend.arithmetic

    @property
    def states(self) -> tuple[State, ...]:
        """What a stream carries from step to step; empty for a model that cannot stream."""
        if self._prepared is not None:
            found = self._prepared.step.states if self._prepared.step else ()
        else:
            found = self._backend.states()  # type: ignore[attr-defined]
        return tuple(self._started(state) for state in found) if self._start else found

    def _started(self, state: State) -> State:
        start = self._start.get(state.input)
        if start is None:
            return state
        if start.shape != state.shape:
            raise StreamError(
                f'state "{state.input}": a stream starts from {list(state.shape)}, given() had {list(start.shape)}'
            )
        return state._replace(initial=start)

    def given(self, inputs: Any) -> Model:
        """The same model with some of its inputs fixed: a decoder with what its encoder said.

        inputs: a dict of arrays by name, with their batch axis. One that is a state is what every call and stream
        starts from; any other becomes a constant, and what depends on it alone is computed now, once. A decoder takes
        its encoder's outputs under their own names, what it has no use for left out: ``decoder.given(encoder(x))``.
        A snapshot of a stream fits streams of a model with the same constants only.

        Raises InputError for an unknown name or an array that does not fit, ModelLoadError where the constants make a
        model that cannot run, and on backend onnxruntime for a constant.
        """
        found = wired(self._encoder, inputs)
        self._refuse_unknown(found)
        arrays = {name: self._converters[name].checked(value) for name, value in found.items()}
        start = {name: array for name, array in arrays.items() if name in self._state_inputs}
        constants = {name: array for name, array in arrays.items() if name not in start}
        twin = copy.copy(self)
        twin._start = {**self._start, **start}
        twin._quick, twin._sessions = {}, OrderedDict()
        if not constants:
            return twin
        if self._prepared is None:
            raise ModelLoadError("backend onnxruntime: an input cannot become a constant; load the model on native")
        twin._locks = {os.getpid(): _new_lock()}
        twin._prepared = give(self._prepared, constants)
        twin._backend = self._backend.given(twin._prepared)
        twin.inputs = tuple(info for info in self.inputs if info.name not in constants)
        twin._converters = {name: c for name, c in self._converters.items() if name not in constants}
        parts = [self._stream_sha256.encode()]
        for name in sorted(constants):
            parts += [name.encode(), str(constants[name].shape).encode(), constants[name].tobytes()]
        twin._stream_sha256 = sha256_of(b"\0".join(parts))
        return twin

    def __call__(self, x: Any) -> Any:
        """Run whole sequences from a zero state.

        x: an array for a model with one input, a dict of arrays by name for several; float32 [batch, time, features]
        or integer [batch, time], as model.inputs says. Returns an array for one output, a dict by name for several.
        Raises InputError.
        """
        if type(x) is np.ndarray:
            quick = self._quick.get(x.shape)
            if quick is not None:
                y = quick(x)
                if y is not None:
                    return y if len(self.outputs) == 1 else {i.name: a for i, a in zip(self.outputs, y, strict=True)}
        arrays = self._arrays(x if isinstance(x, Mapping) else self._single(x))
        session = self._session(arrays)
        found = session.run(arrays)
        if (
            type(x) is np.ndarray
            and x.shape not in self._quick
            and not self._start
            and arrays[self.inputs[0].name].shape == x.shape
        ):
            self._remember(x.shape, session)
        if len(self.outputs) == 1:
            return found[self.outputs[0].name]
        return {info.name: found[info.name] for info in self.outputs}

    def run(self, output_names: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[np.ndarray]:
        """Run as ONNX Runtime's InferenceSession.run does: names (None for all, states too) and feeds → list.

        State inputs that are not fed start at zero. Raises InputError.
        """
        known = [info.name for info in self._backend.outputs]
        wanted = known if output_names is None else list(output_names)
        for name in wanted:
            if name not in known:
                raise InputError(f'output "{name}": expected one of {known}', name=name, expected=known, got=name)
        found = self._run(feeds)
        return [found[name] for name in wanted]

    def stream(
        self, mode: Literal["stream", "window"] | None = None, window: int | None = None, scalar: bool = True
    ) -> Stream:
        """A new stream: its own state, one time step at a time.

        mode: ``"stream"`` carries the recurrent state; ``"window"`` recomputes the last ``window`` inputs from a zero
        state at every step. Left out, the file decides. scalar: an output of one element comes as a float.
        Raises StreamError where the file does not say how it was trained, or where the model cannot do it.
        """
        chosen = mode or self._default_mode()
        if chosen == "stream":
            if window is not None:
                raise StreamError("window goes with mode='window' only")
            return Stream(self._step_core(), self._stream_sha256, scalar)
        if chosen == "window":
            return Stream(self._window_core(window), self._stream_sha256, scalar)
        raise StreamError(f"mode: expected 'stream' or 'window', got {mode!r}")

    def parts(self, xs: Any, whole: bool = False) -> Parts:
        """What one step on ``xs`` (as Stream.step takes it) consists of, from zero states: `edgeinfer profile`.

        whole: a run over xs [T, …] instead. Raises InputError and StreamError as steps and windows do, and
        ModelLoadError on a backend that cannot be taken apart.
        """
        if not whole:
            self._step_parts()  # raises where there is no step
            item = self._prepared.step.input_shape if self._prepared and self._prepared.step else (None,)
            return self._backend.step_parts(Converter(self.inputs[0], item, self._reject).checked(xs))
        info, axis = self._windowed()
        features = tuple(d for i, d in enumerate(info.shape) if i not in (0, 1, axis))
        items = Converter(info, features, self._reject).checked(xs, many=True)
        feeds = self._arrays({info.name: items[None] if axis else items[:, None]})
        with self._lock():
            return self._backend.parts(feeds)

    def pool(self, capacity: int, mode: Literal["stream"] | None = None) -> Pool:
        """Room for ``capacity`` streams of this model, each with its own state, stepped together in one call.

        mode: ``"stream"`` for a file that does not say that it was trained to carry its state. Raises StreamError where
        the model cannot, or is recomputed over a window.
        """
        if not isinstance(capacity, int) or isinstance(capacity, bool) or capacity < 1:
            raise StreamError(f"capacity: expected how many streams at most, from 1 on, got {capacity!r}")
        if mode not in (None, "stream"):
            raise StreamError(f"mode: a pool carries states, so expected 'stream', got {mode!r}")
        if (mode or self._default_mode()) == "window":
            raise StreamError(
                "a pool carries states from step to step, and the file says that the model is recomputed over a "
                "window; give each series its own model.stream(), or call the model on a batch of windows"
            )
        convert, layout, outputs, record = self._step_parts()

        def make(used: np.ndarray, refuse: Callable[[np.ndarray, int], NoReturn]) -> PoolEngine:
            engine = self._backend.slots(convert, layout, record, used, refuse)
            if engine is not None:
                return engine
            return PlainPool(self._backend.stepper(convert, layout, record), convert, record, used, refuse)

        return Pool(make, layout, outputs, self._stream_sha256, capacity)

    def describe(self) -> dict[str, Any]:
        """What `edgeinfer info` shows, ready for JSON."""
        prepared = self._prepared
        step = prepared.step if prepared else None
        with self._lock():
            placement = self._placement()
        nodes = prepared.graph.nodes if prepared else ()
        spec = self.spec
        summary = spec.summary() if spec else None
        return {
            "path": self.path,
            "sha256": self.sha256,
            "file_bytes": self._file["bytes"],
            "opset": self._file["opset"],
            "producer": self._file["producer"],
            "backend": self.backend,
            "isa": self.isa,
            "arithmetic": self.arithmetic,
            "inputs": [_shown(info) for info in self.inputs],
            "outputs": [_shown(info) for info in self.outputs],
            "states": [
                {
                    "input": s.input,
                    "output": s.output,
                    "dtype": s.initial.dtype.name,
                    "shape": list(s.shape),
                    "in_file": s.in_file,
                }
                for s in self.states
            ],
            "mode": spec.mode if spec else None,
            "window": summary.get("window") if summary else None,
            "streams": prepared.streamability.streams if prepared else bool(self.states),
            "streams_not_because": (prepared.streamability.reason or None) if prepared else None,
            "nodes": [
                {"name": node.name, "op": node.op_type, "runs": placement.get(node.name, self.backend)}
                for node in nodes
            ],
            "parameters": prepared.parameters if prepared else None,
            "macs_per_step": macs(step.bound) if step else None,
            "state_bytes": sum(s.initial.nbytes for s in self.states),
            "bit_stable": all(placement.get(node.name, "").startswith("native") for node in nodes) if nodes else False,
            "metadata": {key: value for key, value in self.metadata.items() if key != SPEC_KEY},
            "spec": summary,
        }

    def _placement(self) -> dict[str, str]:
        try:
            return self._backend.placement()
        except ModelFormatError:
            return {}  # it does not bind with 1 for every dynamic dimension; nothing can be said before shapes come

    def _default_mode(self) -> str:
        if self.spec is not None and self.spec.mode is not None:
            return self.spec.mode
        if any(state.in_file for state in self.states):
            return "stream"
        if len(self.inputs) != 1:
            raise StreamError(f"a stream steps over one input, the model has {[i.name for i in self.inputs]}")
        if self._prepared is not None and not self._prepared.streamability.streams:
            raise StreamError(
                f"the model cannot stream: {self._prepared.streamability.reason}; "
                "model.stream(mode='window', window=N) recomputes the last N inputs at every step"
            )
        raise StreamError(
            "the file does not say how the model was trained, so choose: model.stream(mode='stream') carries the state "
            "from step to step, right for a model trained to carry it; model.stream(mode='window', window=N) "
            "recomputes the last N inputs at every step, right for a model trained on windows of N"
        )

    def _step_core(self) -> StepCore:
        convert, layout, outputs, record = self._step_parts()
        return StepCore(lambda: self._backend.stepper(convert, layout, record), layout, outputs)

    def _step_parts(self) -> tuple[Converter, StateLayout, Outputs, tuple[int, ...]]:
        """How a step's input is read, its states laid out, its outputs named, and the shape of their record."""
        prepared = self._prepared
        if self._encoder is not None:
            refuse_without(self._encoder, self.inputs)
        if prepared is not None and prepared.step is None:
            raise StreamError(f"the model cannot stream: {prepared.streamability.reason}")
        if len(self.inputs) != 1:
            raise StreamError(f"a stream steps over one input, the model has {[i.name for i in self.inputs]}")
        if not self.outputs:
            raise StreamError("the model has no output besides its states")
        for info in self.outputs:
            if info.dtype != np.float32:
                raise StreamError(f'a stream gives float32, output "{info.name}" is {info.dtype.name}')
        if prepared is not None and prepared.step is not None:
            item, shapes = prepared.step.input_shape, prepared.step.output_shapes
        else:
            item = tuple(d if isinstance(d, int) else 1 for d in self.inputs[0].shape[2:])
            # all that is known of a step: what the file declares fixed, less the batch
            shapes = tuple(tuple(d for d in info.shape[1:] if isinstance(d, int)) for info in self.outputs)
        names = tuple(info.name for info in self.outputs)
        convert = Converter(self.inputs[0], item, self._reject)
        return convert, StateLayout(self.states), tuple(zip(names, shapes, strict=True)), record_shape(shapes)

    def _windowed(self) -> tuple[ValueInfo, int]:
        """The input that a window goes over, and its time axis. Raises StreamError where there is none."""
        if len(self.inputs) != 1:
            raise StreamError(f"a window goes over one input, the model has {[i.name for i in self.inputs]}")
        if not self.outputs:
            raise StreamError("the model has no output besides its states")
        (info,) = self.inputs
        axis = 1
        if self._prepared:
            found = self._prepared.streamability
            axis = found.time_axis if found.streams else window_axis(self._prepared.graph, info)
        if len(info.shape) <= axis:
            raise StreamError(f'input "{info.name}" {list(info.shape)} has no time axis to take a window of')
        return info, axis

    def _window_core(self, length: int | None) -> WindowCore:
        spec_window = self.spec.window if self.spec else None
        info, axis = self._windowed()
        fixed = info.shape[axis]
        if length is None:
            length = spec_window.length if spec_window else fixed if isinstance(fixed, int) else None
        if not isinstance(length, int) or isinstance(length, bool) or not 1 <= length <= MAX_WINDOW:
            raise StreamError(
                f"window: expected how many inputs the model looks at, from 1 to {MAX_WINDOW}, got {length!r}"
            )
        if isinstance(fixed, int) and fixed != length:
            raise StreamError(f'window: input "{info.name}" takes exactly {fixed} time steps, got {length}')
        window = spec_window._replace(length=length) if spec_window else Window(length)
        item = tuple(d for i, d in enumerate(info.shape) if i not in (0, 1, axis))
        converter = Converter(info, item, self._reject)
        if window.start == "pad" and not holds(converter.dtype, window.pad_value):
            raise StreamError(
                f'window: pad_value: expected a number of {converter.dtype}, as input "{info.name}" takes, '
                f"got {window.pad_value}"
            )
        if any(d is None for d in converter.shape):
            raise StreamError(f'input "{info.name}" {list(info.shape)} has dynamic features; a window needs fixed ones')
        times = self._output_times(info, axis)

        def rows(found: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            return [last_row(found[name], time, name) for name, time in times.items()]

        size = length * math.prod(d or 0 for d in converter.shape) * converter.dtype.itemsize
        limits = self._prepared.graph.limits if self._prepared else DEFAULT
        limits.check("tensor_bytes", size, f'a window of {length} over input "{info.name}"')
        full = np.zeros((length, *(d or 0 for d in converter.shape)), converter.dtype)
        shapes = [row.shape for row in rows(self._window_runner(info.name, axis)(full))]
        record = record_shape(shapes)
        feeds = self._arrays({info.name: full[None] if axis else full[:, None]})

        def make() -> WindowEngine:
            run = self._window_runner(info.name, axis)

            def answer(items: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
                found = rows(run(items))
                for name, row, shape in zip(times, found, shapes, strict=True):
                    if row.shape != shape:
                        raise StreamError(
                            f'output "{name}": a window of {len(items)} inputs gives a row of {list(row.shape)}, '
                            f"one of {length} gives {list(shape)}: it cannot be partial"
                        )
                return into_record(found, out, record)

            # a window of the core's own starts from zero
            quick = None if self._start else self._session(feeds).window(converter, window, times, record, answer)
            return PlainWindow(answer, converter, window, record) if quick is None else quick

        return WindowCore(make, length, tuple(zip(times, shapes, strict=True)))

    def _output_times(self, info: ValueInfo, axis: int) -> dict[str, int]:
        """Where each output has its time axis, -1 for none."""
        if self._prepared and self._prepared.streamability.streams:
            times = self._prepared.streamability.output_times
            return {o.name: times[o.name] for o in self.outputs}
        name = info.shape[axis]
        if axis == 0 and isinstance(name, int):
            return {o.name: 0 if len(o.shape) > 2 and o.shape[0] == name else -1 for o in self.outputs}
        return {o.name: o.shape.index(name) if isinstance(name, str) and name in o.shape else -1 for o in self.outputs}

    def _single(self, x: Any) -> dict[str, Any]:
        if len(self.inputs) != 1:
            names = [info.name for info in self.inputs]
            raise InputError(
                f"expected a dict of arrays for the inputs {names}, got {type(x).__name__}", expected=names, got=x
            )
        return {self.inputs[0].name: x}

    def _run(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        arrays = self._arrays(feeds)
        return self._session(arrays).run(arrays)

    def _session(self, arrays: Mapping[str, np.ndarray]) -> Session:
        """The session for these arrays' shapes, bound now or kept from before."""
        key = tuple(arrays[info.name].shape for info in self._backend.inputs)
        with self._lock():
            session = self._sessions.get(key)
            if session is None:
                session = self._bind({name: array.shape for name, array in arrays.items()})
                self._sessions[key] = session
                if len(self._sessions) > _PLANS:
                    self._sessions.popitem(last=False)
            else:
                self._sessions.move_to_end(key)
        return session

    def _lock(self) -> threading.RLock:
        """Held while plans are made, which share a backend's weights.

        A forked child has one of its own: no thread of its parent is there to give that of the parent back. The same
        thread may come again, by a signal's handler or the garbage collector.
        """
        found = self._locks.get(os.getpid())
        return self._locks.setdefault(os.getpid(), _new_lock()) if found is None else found

    def _remember(self, shape: tuple[int, ...], session: Session) -> None:
        """The session's quick way, for the next array of this shape."""
        if len(self._quick) >= _PLANS:
            self._quick.clear()
        names = [info.name for info in self.outputs]
        self._quick[shape] = session.quick(self.inputs[0].name, names, self._reject)

    def _window_runner(self, name: str, axis: int) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """A function that runs the model over a window [steps, …] as a batch of 1, every state at zero.

        It keeps what depends on the number of steps, since a window that is full has the same every time.
        """
        session: Session | None = None
        feeds: dict[str, np.ndarray] = {}

        def run(items: np.ndarray) -> dict[str, np.ndarray]:
            nonlocal session, feeds
            x = items[None] if axis else items[:, None]
            if session is None or feeds[name].shape != x.shape:
                feeds = self._arrays({name: x})
                session = self._session(feeds)
            feeds[name] = x
            return session.run(feeds)

        return run

    def _bind(self, shapes: Mapping[str, tuple[int, ...]]) -> Session:
        try:
            return self._backend.session(shapes)
        except ModelFormatError as error:
            raise InputError(
                f"inputs of shapes { ({n: list(s) for n, s in shapes.items()}) } do not fit the model: {error.message}"
            ) from None

    def _refuse_unknown(self, feeds: Mapping[str, Any]) -> None:
        for name in feeds:
            if name not in self._converters:
                names = list(self._converters)
                raise InputError(f'input "{name}": expected one of {names}', name=name, expected=names, got=name)

    def _arrays(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """A checked array for every input; states that are not fed are zero."""
        self._refuse_unknown(feeds)
        arrays: dict[str, np.ndarray] = {}
        dims: dict[str, int] = {}
        for info in self._backend.inputs:
            if info.name in feeds:
                array = self._converters[info.name].checked(feeds[info.name])
                arrays[info.name] = array
                for symbol, size in zip(info.shape, array.shape, strict=True):
                    if isinstance(symbol, str) and dims.setdefault(symbol, size) != size:
                        raise InputError(
                            f'input "{info.name}": expected {symbol} = {dims[symbol]} as in the other inputs, '
                            f"got {size}",
                            name=info.name,
                            expected=dims[symbol],
                            got=size,
                        )
            elif info.name not in self._state_inputs:
                raise InputError(f'input "{info.name}" is missing', name=info.name)
        first = arrays[self.inputs[0].name].shape if self.inputs else ()
        streams = self._prepared.streamability if self._prepared else None
        time_first = streams is not None and streams.streams and streams.time_axis == 0
        batch = first[1 if time_first else 0] if first else 1
        for info in self._backend.inputs:
            if info.name not in arrays:
                shape = [d if isinstance(d, int) else dims.get(d or "", batch) for d in info.shape]
                start = self._start.get(info.name)
                arrays[info.name] = np.zeros(shape, info.dtype) if start is None else start
        return arrays


def _new_lock() -> threading.RLock:
    try:
        return threading.RLock()
    except RuntimeError:  # all that it says
        raise MemoryError("no memory for a lock") from None


def _shown(info: ValueInfo) -> dict[str, Any]:
    return {"name": info.name, "dtype": info.dtype.name, "shape": list(info.shape)}
