"""A stream: one state, advanced one time step at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np

from .backends import OneCaller, StepEngine
from .backends.base import Converter, StateLayout, WindowEngine, check_out
from .caller import Closed, Engine, Finish
from .errors import StreamError
from .spec import Window

Outputs = tuple[tuple[str, tuple[int, ...]], ...]


class Core(Protocol):
    """What a stream does per step: carry a state, or recompute a window."""

    kind: str
    outputs: Outputs

    @property
    def engine(self) -> Engine: ...

    def run(self, xs: Any, finish: Finish | None) -> Any: ...

    def reset(self) -> None: ...

    def save(self) -> dict[str, np.ndarray]: ...

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None: ...

    def fork(self) -> Core: ...

    def take_over(self, other: Any) -> None:
        """The state of another core over the same model."""
        ...


class Stream(OneCaller):
    """Made by Model.stream(). For one thread at a time: a second one gets StreamError, never a torn state."""

    __slots__ = ("__weakref__", "_as_float", "_core", "_named", "_sha256")
    _busy_text = "the stream is busy in another thread; give each thread its own model.stream()"

    def __init__(self, core: Core, model_sha256: str, scalar: bool) -> None:
        outputs = core.outputs
        one_element = len(outputs) == 1 and math.prod(outputs[0][1]) == 1
        # not a method of self: a stream that is let go of is gone at once, not when the collector comes by
        self._named = None if len(outputs) == 1 else partial(by_name, outputs)
        super().__init__(core.engine, scalar and one_element, self._named)
        self._core = core
        self._sha256 = model_sha256
        self._as_float = scalar

    def run(self, xs: Any) -> Any:
        """T steps in one call, state carried on: xs [T, features] (or [T] tokens) → [T, outputs].

        Rows before a window that waits is full are NaN. With several outputs, a dict of such arrays.
        All or nothing: where an input does not fit (InputError), the state is as it was.
        """
        with self._turn():
            return self._core.run(xs, self._named)

    def reset(self) -> None:
        """Back to the state that a new stream has."""
        with self._turn():
            self._core.reset()

    def snapshot(self) -> bytes:
        """The state as bytes, for restore() of any stream of the same model and mode."""
        from .snapshot import encode

        with self._turn():
            return encode(self._core.kind, self._sha256, self._core.save())

    def restore(self, data: bytes) -> None:
        """Take over a snapshot. Raises StreamError for another model's, another mode's or a damaged one."""
        from .snapshot import decode

        with self._turn():
            self._core.restore(decode(data, self._core.kind, self._sha256))

    def fork(self) -> Stream:
        """A second stream with a copy of this one's state."""
        with self._turn():
            return Stream(self._core.fork(), self._sha256, self._as_float)

    def _take_over(self, other: Stream) -> None:
        """The state of another stream of the same model and mode, which goes on with its own."""
        with self._turn(), other._turn():
            self._core.take_over(other._core)

    def close(self) -> None:
        """Let the state go; every later call raises StreamError. Closing twice is fine."""
        closed: Any = Closed("the stream is closed")
        with self._turn():
            self._core = closed
            self._use(closed)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def by_name(outputs: Outputs, record: np.ndarray) -> dict[str, np.ndarray]:
    """[…, total] → one array per output."""
    found = {}
    start = 0
    for name, shape in outputs:
        size = math.prod(shape)
        found[name] = record[..., start : start + size].reshape((*record.shape[:-1], *shape))
        start += size
    return found


class StepCore:
    """Carries the recurrent state. ``make`` gives a new engine over the same model."""

    kind = "stream"

    def __init__(self, make: Callable[[], StepEngine], layout: StateLayout, outputs: Outputs) -> None:
        self.outputs = outputs
        self._make = make
        self.engine = make()
        self._layout = layout
        self.run = self.engine.run
        self.reset()

    def reset(self) -> None:
        self.engine.set_state(self._layout.initial())

    def save(self) -> dict[str, np.ndarray]:
        return {name: view.copy() for name, view in self._layout.views(self.engine.get_state()).items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.engine.set_state(self._layout.pack(arrays))

    def fork(self) -> StepCore:
        twin = StepCore(self._make, self._layout, self.outputs)
        twin.take_over(self)
        return twin

    def take_over(self, other: StepCore) -> None:
        self.engine.set_state(other.engine.get_state())


class WindowCore:
    """Recomputes the model over its last inputs. ``make`` gives a new engine, with no inputs yet."""

    kind = "window"

    def __init__(self, make: Callable[[], WindowEngine], length: int, outputs: Outputs) -> None:
        self.outputs = outputs
        self._make = make
        self._length = length
        self.engine = make()
        self.run = self.engine.run

    def reset(self) -> None:
        self.engine.set_items(self.engine.items()[:0])

    def save(self) -> dict[str, np.ndarray]:
        return {"window": self.engine.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        items, present = arrays.get("window"), self.engine.items()
        if (
            items is None
            or items.dtype != present.dtype
            or items.shape[1:] != present.shape[1:]
            or len(items) > self._length
        ):
            raise StreamError(f"expected a window of at most {self._length} inputs, got {list(arrays)}")
        self.engine.set_items(items)

    def fork(self) -> WindowCore:
        twin = WindowCore(self._make, self._length, self.outputs)
        twin.take_over(self)
        return twin

    def take_over(self, other: WindowCore) -> None:
        self.engine.set_items(other.engine.items())


class PlainWindow:
    """A window on any backend. answer: from a window [steps, …] to the record of its last step, written to out."""

    def __init__(
        self,
        answer: Callable[[np.ndarray, np.ndarray | None], np.ndarray],
        convert: Converter,
        window: Window,
        shape: tuple[int, ...],
    ) -> None:
        self._answer_to = answer
        self._convert = convert
        self._window = window
        self._shape = shape
        self._items = np.empty((0, *(d or 0 for d in convert.shape)), convert.dtype)

    def step(self, x: Any, out: np.ndarray | None, finish: Finish | None) -> Any:
        check_out(out, self._shape, x)
        items = self._with(self._items, self._convert.checked(x))
        y = self._answer(items, out)
        answer = y if y is None or finish is None else finish(y)
        self._items = items
        return answer

    def run(self, xs: Any, finish: Finish | None = None) -> Any:
        items = self._items
        ys = np.full((len(checked := self._convert.checked(xs, many=True)), *self._shape), np.nan, np.float32)
        for step, x in enumerate(checked):
            items = self._with(items, x)
            y = self._answer(items, None)
            if y is not None:
                ys[step] = y
        answer = ys if finish is None else finish(ys)
        self._items = items
        return answer

    def items(self) -> np.ndarray:
        return self._items

    def set_items(self, items: np.ndarray) -> None:
        self._items = items

    def _with(self, items: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.concatenate([items, x[None]])[-self._window.length :]

    def _answer(self, items: np.ndarray, out: np.ndarray | None) -> np.ndarray | None:
        missing = self._window.length - len(items)
        if missing and self._window.start == "wait":
            return None
        if missing and self._window.start == "pad":
            padding = np.full((missing, *items.shape[1:]), self._window.pad_value, items.dtype)
            items = np.concatenate([padding, items] if self._window.pad_side == "left" else [items, padding])
        return self._answer_to(items, out)


def last_row(y: np.ndarray, time: int, name: str) -> np.ndarray:
    """The last row in time of an output with a batch of 1; the output itself where it has no time axis.

    Raises StreamError where the output has no such row.
    """
    shape = y.shape if time < 0 else (*y.shape[:time], *y.shape[time + 1 :])
    # the batch is the first axis that is left, whichever of the two came first
    if shape[:1] != (1,) or (time >= 0 and not y.shape[time]):
        raise StreamError(f'output "{name}": a window needs its row for a batch of 1, the model gives {list(y.shape)}')
    return y[0] if time < 0 else y[(slice(None),) * time + (-1,)][0]
