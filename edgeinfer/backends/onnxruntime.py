"""ONNX Runtime for the whole model. The only file that imports it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from ..caller import Finish
from ..errors import InputError, ModelFormatError, ModelLoadError, StreamError
from ..graph import Prepared, State, ValueInfo
from .base import Converter, Parts, StateLayout, check_out, into_record

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}
_SILENT = 4  # its own log; what goes wrong comes as an exception


class OnnxRuntimeBackend:
    """One model on ONNX Runtime, one thread, CPU."""

    name = "onnxruntime"
    isa = None
    arithmetic = "float32"  # small weights are widened

    def __init__(self, data: bytes, state_pairs: Sequence[tuple[str, str]]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        # int8 weights before a product would make it round the other factor to 8 bits too
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except MemoryError:
            raise
        except Exception as error:
            raise ModelFormatError(f"ONNX Runtime refuses the model: {error}") from None
        self.inputs = tuple(_info(item) for item in self._session.get_inputs())
        self.outputs = tuple(_info(item) for item in self._session.get_outputs())
        self._pairs = tuple(state_pairs)
        for pair in self._pairs:
            for name, known, what in zip(pair, (self.inputs, self.outputs), ("input", "output"), strict=True):
                if name not in {info.name for info in known}:
                    raise ModelFormatError(f'metadata edgeinfer.spec: states: the graph has no {what} "{name}"')

    def given(self, prepared: Prepared) -> OnnxRuntimeBackend:
        raise ModelLoadError("backend onnxruntime: an input cannot become a constant; load the model on native")

    def session(self, shapes: Mapping[str, tuple[int, ...]]) -> OnnxRuntimeBackend:
        """The same session takes every shape."""
        return self

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [info.name for info in self.outputs]
        for name, array in feeds.items():
            if not array.size:  # ONNX Runtime ends the process on an empty sequence
                raise InputError(
                    f'input "{name}": ONNX Runtime takes no empty arrays, got {list(array.shape)}', name=name
                )
        try:
            return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        except MemoryError:
            raise
        except Exception as error:
            raise InputError(f"ONNX Runtime refuses the input: {error}") from None

    def quick(self, name: str, outputs: Sequence[str], reject_nonfinite: bool) -> None:
        return None

    def window(self, *_: object) -> None:
        return None

    def states(self) -> tuple[State, ...]:
        """The states that the metadata pairs, for a batch of 1 from zero."""
        by_name = {info.name: info for info in self.inputs}
        found = []
        for source, target in self._pairs:
            shape = tuple(d if isinstance(d, int) else 1 for d in by_name[source].shape)
            found.append(State(source, target, np.zeros(shape, by_name[source].dtype), in_file=True))
        return tuple(found)

    def stepper(self, convert: Converter, states: StateLayout, shape: tuple[int, ...]) -> OnnxRuntimeStepper:
        if not all(state.in_file for state in states.states):
            raise StreamError(
                "ONNX Runtime can stream only what the file gives as state inputs and outputs, "
                "and this file has none for some of its recurrent nodes; "
                'use backend="native", or export it in stream form'
            )
        return OnnxRuntimeStepper(self, convert, states, shape)

    def slots(self, *_: object) -> None:
        return None

    def placement(self) -> dict[str, str]:
        return {}

    def step_parts(self, x: np.ndarray) -> Parts:
        raise _not_in_parts()

    def parts(self, feeds: Mapping[str, np.ndarray]) -> Parts:
        raise _not_in_parts()


class OnnxRuntimeStepper:
    """One run per step: the state tensors go in and come out."""

    def __init__(
        self, backend: OnnxRuntimeBackend, convert: Converter, states: StateLayout, shape: tuple[int, ...]
    ) -> None:
        self._backend = backend
        self._convert = convert
        self._layout = states
        self._states = {state.input: state.initial for state in states.states}
        kept = {state.output for state in states.states}
        self._outputs = [info.name for info in backend.outputs if info.name not in kept]
        self._shape = shape

    def step(self, x: Any, out: np.ndarray | None, finish: Finish | None) -> Any:
        check_out(out, self._shape, x)
        y, states = self._advance(self._convert.checked(x), self._states, out)
        answer = y if finish is None else finish(y)
        self._states = states
        return answer

    def run(self, x: Any, finish: Finish | None = None) -> Any:
        xs = self._convert.checked(x, many=True)
        states = self._states
        ys = np.empty((len(xs), *self._shape), np.float32)
        for step, item in enumerate(xs):
            ys[step], states = self._advance(item, states, None)
        answer = ys if finish is None else finish(ys)
        self._states = states
        return answer

    def _advance(
        self, x: np.ndarray, states: Mapping[str, np.ndarray], out: np.ndarray | None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        found = self._backend.run({self._convert.name: x[None, None], **states})
        after = {state.input: found[state.output] for state in self._layout.states}
        outputs = [found[name] for name in self._outputs]
        if sum(y.size for y in outputs) != math.prod(self._shape):
            shapes = [list(y.shape) for y in outputs]
            raise StreamError(f"a step gives outputs of shapes {shapes}, the file declares {list(self._shape)}")
        return into_record(outputs, out, self._shape), after

    def get_state(self) -> np.ndarray:
        return self._layout.pack(self._states)

    def set_state(self, state: np.ndarray) -> None:
        self._states = {name: view.copy() for name, view in self._layout.views(state).items()}


def _not_in_parts() -> ModelLoadError:
    return ModelLoadError(
        "backend onnxruntime runs a model as a whole, not node by node; ONNX Runtime has a profiler of its own "
        "(SessionOptions.enable_profiling)"
    )


def _info(item: Any) -> ValueInfo:
    if item.type not in _DTYPES:
        raise ModelFormatError(f'"{item.name}": {item.type} is not supported')
    shape = tuple(d if isinstance(d, (int, str)) else None for d in item.shape)
    return ValueInfo(item.name, np.dtype(_DTYPES[item.type]), shape)
