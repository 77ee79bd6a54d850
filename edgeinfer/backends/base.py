"""The face of a backend, and what every backend does alike with inputs and states."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

import numpy as np

from ..caller import Finish
from ..errors import InputError, StreamError
from ..graph import Prepared, State, ValueInfo
from ..kernels.quiet import quietly
from ..records import NamedTuple
from ..spec import Window


class PoolEngine(Protocol):
    """The states of many streams, by slot. A step is all or nothing."""

    def step(self, slots: np.ndarray, x: Any, out: np.ndarray | None, finish: Finish | None) -> Any:
        """slots: int64 [n], nobody else's; x: [n, …], one item for each. Raises what ``refuse`` raises for a slot."""
        ...

    def get_state(self, slot: int) -> np.ndarray: ...

    def set_state(self, slot: int, state: np.ndarray) -> None: ...


class WindowEngine(Protocol):
    """One stream's window: its last inputs, and the answer over them. Several outputs come as one flat record."""

    def step(self, x: Any, out: np.ndarray | None, finish: Finish | None) -> Any: ...

    def run(self, x: Any, finish: Finish | None = None) -> Any: ...

    def items(self) -> np.ndarray:
        """The inputs that came, at most as many as the window is long."""
        ...

    def set_items(self, items: np.ndarray) -> None: ...


class Session(Protocol):
    """The whole graph for one choice of input shapes. Any number of threads may run it at once."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """feeds: a C-contiguous array for every graph input, of its dtype and this session's shapes."""
        ...

    def quick(self, name: str, outputs: Sequence[str], reject_nonfinite: bool) -> Callable[[Any], Any] | None:
        """A shorter way for input ``name`` alone, states at zero: array → ``outputs`` (an array, or a tuple).

        It gives None for what is not an array of exactly the input's form. None where there is no shorter way.
        """
        ...

    def window(
        self,
        convert: Converter,
        window: Window,
        times: Mapping[str, int],
        shape: tuple[int, ...],
        short: Callable[[np.ndarray], np.ndarray],
    ) -> WindowEngine | None:
        """A window on this session, whose input is as long as the window; states are zero.

        times: the outputs in the record, each with its time axis, -1 for none. shape: of the record. short: the record
        for a window that is not full. None where this backend has no way of its own.
        """
        ...


class Part(NamedTuple):
    """One piece of a run: ``run(times)`` does it over and over, on what the pieces before it left."""

    node: str
    op: str
    kernel: str
    macs: int
    bytes: int
    run: Callable[[int], None]


class Parts(NamedTuple):
    """The pieces of a run in their order, and ``run(times)``, which does all of them as the backend does."""

    parts: tuple[Part, ...]
    run: Callable[[int], None]


class StepEngine(Protocol):
    """One stream's step and state. Several outputs come as one flat record, in the model's order."""

    def step(self, x: Any, out: np.ndarray | None, finish: Finish | None) -> Any: ...

    def run(self, x: Any, finish: Finish | None = None) -> Any: ...

    def get_state(self) -> np.ndarray: ...

    def set_state(self, state: np.ndarray) -> None: ...


class Backend(Protocol):
    """One model on one backend."""

    @property
    def name(self) -> str: ...

    @property
    def isa(self) -> str | None: ...

    @property
    def arithmetic(self) -> str:
        """float32, or what is computed from smaller weights: float16, int8 exact, int8 fast."""
        ...

    @property
    def inputs(self) -> tuple[ValueInfo, ...]: ...

    @property
    def outputs(self) -> tuple[ValueInfo, ...]: ...

    def given(self, prepared: Prepared) -> Backend:
        """The same backend for a model with inputs turned into constants. Raises ModelLoadError where it cannot."""
        ...

    def session(self, shapes: Mapping[str, tuple[int, ...]]) -> Session: ...

    def stepper(self, convert: Converter, states: StateLayout, shape: tuple[int, ...]) -> StepEngine:
        """``shape`` is that of a step's record (record_shape)."""
        ...

    def slots(
        self,
        convert: Converter,
        states: StateLayout,
        shape: tuple[int, ...],
        used: np.ndarray,
        refuse: Callable[[np.ndarray, int], NoReturn],
    ) -> PoolEngine | None:
        """Many streams at once, or None where this backend has no way of its own for this model.

        used: uint8 [capacity], which slots are in use at any time; a slot is only ever given a state before it comes
        into use. refuse(slots, position) raises for a slot that is out of range, not in use, or came before.
        """
        ...

    def placement(self) -> dict[str, str]:
        """Which code runs each node: native, numpy or onnxruntime."""
        ...

    def step_parts(self, x: np.ndarray) -> Parts:
        """What a step consists of, its states at zero; x: one item, C-contiguous and of the model's dtype."""
        ...

    def parts(self, feeds: Mapping[str, np.ndarray]) -> Parts:
        """What a run over whole inputs consists of; feeds as Session.run takes them."""
        ...


class Converter:
    """Turns what a caller passes for one input into the array that the model takes, or says why it cannot.

    ``shape`` is that of one item: one time step, or the whole input with None where any length will do.
    """

    def __init__(self, info: ValueInfo, shape: Sequence[int | str | None], reject_nonfinite: bool) -> None:
        self.name = info.name
        self.dtype = info.dtype
        self.shape = tuple(d if isinstance(d, int) else None for d in shape)
        self.reject_nonfinite = reject_nonfinite and info.dtype.kind == "f"

    def __call__(self, x: Any, many: bool = False) -> np.ndarray:
        """The input as a C-contiguous array of the model's dtype; with ``many``, one more axis in front.

        Raises InputError.
        """
        try:
            array = np.asarray(x)
        except ValueError:
            raise self._wrong("an array", "rows of different lengths") from None
        shape = (None, *self.shape) if many else self.shape
        # one feature may come as a bare number, and a series of it as a flat list
        if self.shape == (1,) and array.ndim == len(shape) - 1:
            array = array[..., None]
        if len(array.shape) != len(shape) or any(
            want is not None and want != got for want, got in zip(shape, array.shape, strict=True)
        ):
            raise self._wrong(f"shape {self._shown(many)}", f"shape {list(array.shape)}")
        return np.ascontiguousarray(self._cast(array)).reshape(array.shape)

    def rows(self, x: Any, count: int) -> np.ndarray:
        """As ``checked`` with ``many``, for exactly so many items."""
        array = self.checked(x, many=True)
        if len(array) != count:
            item = ", ".join(str(d) for d in (count, *self.shape))
            raise self._wrong(f"shape [{item}]", f"shape {list(array.shape)}")
        return array

    def checked(self, x: Any, many: bool = False) -> np.ndarray:
        """As calling it, with NaN and infinities refused where they are to be."""
        array = self(x, many)
        if self.reject_nonfinite and not np.isfinite(array).all():
            self.refuse(array, many)
        return array

    def refuse(self, array: np.ndarray, many: bool = False) -> None:
        """Raise the InputError for an array that holds NaN or an infinity."""
        positions = np.argwhere(~np.isfinite(array)).tolist()
        got = float(array[tuple(positions[0])]) if positions else math.nan  # none is left: another thread wrote to it
        at = f" at {positions[0]}" if positions and positions[0] else ""
        raise InputError(
            f'input "{self.name}": expected finite numbers, got {got}{at} '
            '(load the model with nan="propagate" to let it through)',
            name=self.name,
            expected="finite",
            got=got,
        )

    def _cast(self, array: np.ndarray) -> np.ndarray:
        if array.dtype == self.dtype:
            return array
        kind, wanted = array.dtype.kind, self.dtype.kind
        if not array.size and kind == "f":
            return array.astype(self.dtype)  # an empty list has no type of its own
        if (wanted == "f" and kind in "fiu") or (wanted == "b" and kind == "b"):
            return quietly(array.astype, self.dtype)
        if wanted in "iu" and kind in "iu":
            cast = array.astype(self.dtype)
            if not np.array_equal(cast, array):
                raise self._wrong(f"numbers that fit {self.dtype.name}", f"{array.min()} to {array.max()}")
            return cast
        what = "text" if kind in "US" else array.dtype.name
        raise self._wrong(self.dtype.name, what)

    def _shown(self, many: bool) -> str:
        dims = ["any" if d is None else str(d) for d in self.shape]
        return "[" + ", ".join(["steps", *dims] if many else dims) + "]"

    def _wrong(self, expected: str, got: str) -> InputError:
        return InputError(
            f'input "{self.name}": expected {expected}, got {got}', name=self.name, expected=expected, got=got
        )


class StateLayout:
    """How the states of a stream stand one after the other in its bytes, each on a boundary of 64."""

    def __init__(self, states: Sequence[State]) -> None:
        self.states = tuple(states)
        self.offsets = []
        total = 0
        for state in states:
            self.offsets.append(total)
            total += -(-state.initial.nbytes // 64) * 64
        self.nbytes = total

    def views(self, raw: np.ndarray) -> dict[str, np.ndarray]:
        """The states by their input's name, as views of ``raw`` (uint8 [nbytes])."""
        found = {}
        for state, offset in zip(self.states, self.offsets, strict=True):
            piece = raw[offset : offset + state.initial.nbytes]
            found[state.input] = piece.view(state.initial.dtype).reshape(state.shape)
        return found

    def pack(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The bytes of the given states. Raises StreamError where they are not this model's."""
        raw = np.zeros(self.nbytes, np.uint8)
        if set(arrays) != {state.input for state in self.states}:
            raise StreamError(f"expected the states {[s.input for s in self.states]}, got {list(arrays)}")
        for name, view in self.views(raw).items():
            array = arrays[name]
            if array.shape != view.shape or array.dtype != view.dtype:
                raise StreamError(
                    f'state "{name}": expected {view.dtype} {list(view.shape)}, got {array.dtype} {list(array.shape)}'
                )
            view[...] = array
        return raw

    def initial(self) -> np.ndarray:
        """The bytes that a stream starts from."""
        return self.pack({state.input: state.initial for state in self.states})


def record_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of one step's output: that of the only one, or flat, all one after the other."""
    if len(shapes) == 1:
        return tuple(shapes[0])
    return (sum(math.prod(shape) for shape in shapes),)


def check_out(out: Any, shape: tuple[int, ...], x: Any) -> None:
    """Raise InputError unless a step's record can be written to ``out``, memory that ``x`` has no part in.

    As the seam checks it for the C core; None is fine.
    """
    if out is None:
        return
    if not isinstance(out, np.ndarray):
        raise InputError(f"out: expected a NumPy array, got {type(out).__name__}", name="out")
    if out.dtype != np.float32 or out.shape != shape or not out.flags.carray:
        raise InputError(
            f"out: expected a writable C-contiguous float32 array of shape {list(shape)}, "
            f"got {out.dtype} {list(out.shape)}",
            name="out",
            expected=shape,
            got=out.shape,
        )
    if isinstance(x, np.ndarray) and np.may_share_memory(out, x):
        raise InputError("out: expected memory of its own, got an array that overlaps the input", name="out")


def into_record(outputs: Sequence[np.ndarray], out: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """The outputs of a step as one record, written to ``out`` where given, which check_out has seen."""
    record = np.concatenate([np.asarray(y, np.float32).reshape(-1) for y in outputs]).reshape(shape)
    if out is None:
        return record
    out[...] = record
    return out
