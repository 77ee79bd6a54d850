from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import numpy as np

def core_names() -> tuple[str, ...]: ...
def core_lanes(name: str) -> int: ...
def core_has_vnni(name: str) -> bool: ...
def aligned_empty(size: int) -> np.ndarray: ...

class Program:
    nodes: tuple[str, ...]
    base_bytes: tuple[int, ...]
    macs: int
    def __init__(
        self,
        isa: str,
        records: np.ndarray,
        nodes: tuple[str, ...],
        weights: np.ndarray,
        constants: np.ndarray,
        base_bytes: tuple[int, ...],
        macs: int,
    ) -> None: ...
    def run(self, start: int, stop: int, buffers: tuple[np.ndarray | None, ...], times: int = 1) -> None: ...

class Turns:
    def __init__(self, busy_text: str) -> None: ...
    def __call__(self) -> AbstractContextManager[object]: ...

class OneCaller:
    def __init__(self, engine: Any, scalar: bool, finish: Callable[[np.ndarray], Any] | None) -> None: ...
    def step(self, x: Any, out: np.ndarray | None = None) -> Any: ...
    def _use(self, engine: Any) -> None: ...
    def _turn(self) -> AbstractContextManager[object]: ...

class Engine:
    def step(self, x: Any, out: np.ndarray | None, finish: Callable[[np.ndarray], Any] | None) -> Any: ...
    def run(self, x: Any, finish: Callable[[np.ndarray], Any] | None = None) -> Any: ...

class Stepper(Engine):
    def __init__(
        self,
        program: Program,
        convert: Callable[..., Any],
        x_dtype: np.dtype,
        x_shape: tuple[int, ...],
        y_shape: tuple[int, ...],
        state_bytes: int,
        reject_nonfinite: bool,
    ) -> None: ...
    def get_state(self) -> np.ndarray: ...
    def set_state(self, state: np.ndarray) -> None: ...

class Window(Engine):
    def __init__(
        self,
        program: Program,
        convert: Callable[..., Any],
        x_dtype: np.dtype,
        x_shape: tuple[int | None, ...],
        y_shape: tuple[int, ...],
        reject_nonfinite: bool,
        length: int,
        start: str,
        pad_value: float,
        x_base: int,
        states: tuple[int, ...],
        outputs: tuple[tuple[int, int, int], ...],
        short: Callable[[np.ndarray], np.ndarray],
    ) -> None: ...
    def items(self) -> np.ndarray: ...
    def set_items(self, items: np.ndarray) -> None: ...

class Call:
    def __init__(
        self,
        program: Program,
        x_dtype: np.dtype,
        x_shape: tuple[int, ...],
        reject_nonfinite: bool,
        x_base: int,
        states: tuple[int, ...],
        outputs: tuple[tuple[int, tuple[int, ...], np.dtype], ...],
        spares: tuple[int, ...],
    ) -> None: ...
    def __call__(self, x: Any) -> Any: ...

class Slots:
    def __init__(
        self,
        program: Program,
        convert: Any,
        x_shape: tuple[int, ...],
        y_shape: tuple[int, ...],
        state_bytes: int,
        reject_nonfinite: bool,
        used: np.ndarray,
        refuse: Callable[[np.ndarray, int], NoReturn],
    ) -> None: ...
    def step(
        self, slots: np.ndarray, x: Any, out: np.ndarray | None, finish: Callable[[np.ndarray], Any] | None
    ) -> Any: ...
    def get_state(self, slot: int) -> np.ndarray: ...
    def set_state(self, slot: int, state: np.ndarray) -> None: ...
