"""LiteRT with XNNPACK, one thread, from the conversions that bench/tflite.py writes.

Of the conversions tried (a Keras layer, unrolled; x·W and h·R apart; gates apart; one product of [x, h] and all gates)
the last was the fastest at every size, with the states in one tensor that is fed back, or in resource variables that
stay inside. set_tensor and get_tensor were faster than tensor() views, signature runners and CompiledModel.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..cases import Case
from .contender import Contender, Job, MissingError


def _interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    if not path.exists():
        raise MissingError(f"no {path.name}: python -m bench.tflite, with TensorFlow installed, writes it")
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _fed(case: Case, folder: Path) -> Job:
    interpreter = _interpreter(folder / f"{_name(case)}.fed.tflite")
    shapes = {tuple(item["shape"][1:]): item["index"] for item in interpreter.get_input_details()}
    x_index = shapes.pop((case.features,))
    (state_index,) = shapes.values()
    outputs = {tuple(item["shape"][1:]): item["index"] for item in interpreter.get_output_details()}
    y_index = outputs.pop((1,))
    (after_index,) = outputs.values()
    set_tensor, invoke, get_tensor = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor
    state = np.zeros_like(get_tensor(after_index))

    def step(x: np.ndarray) -> np.ndarray:
        nonlocal state
        set_tensor(x_index, x)
        set_tensor(state_index, state)
        invoke()
        state = get_tensor(after_index)
        return get_tensor(y_index)

    return _job(case, step)


def _inside(case: Case, folder: Path, kind: str) -> Job:
    """One input and one output: states in variables, or a whole sequence."""
    interpreter = _interpreter(folder / f"{_name(case)}.{kind}.tflite")
    (x_item,), (y_item,) = interpreter.get_input_details(), interpreter.get_output_details()
    x_index, y_index = x_item["index"], y_item["index"]
    set_tensor, invoke, get_tensor = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor

    def call(x: np.ndarray) -> np.ndarray:
        set_tensor(x_index, x)
        invoke()
        return get_tensor(y_index)

    return _job(case, call)


def _job(case: Case, call: Any) -> Job:
    if case.kind == "pool":
        return Job(call)
    return Job(call, lambda xs: list(xs[:, None]), lambda y: y[0])


def _name(case: Case) -> str:
    return case.name if case.kind == "pool" else case.model


def _steps(case: Case) -> bool:
    return case.kind in ("step", "pool")


CONTENDERS = (
    Contender("litert fed back", "ai_edge_litert.interpreter", "invoke(), the state an output fed back", _steps, _fed),
    Contender(
        "litert variables",
        "ai_edge_litert.interpreter",
        "invoke(), the state in resource variables",
        _steps,
        partial(_inside, kind="variables"),
    ),
    Contender(
        "litert sequence",
        "ai_edge_litert.interpreter",
        "invoke(), x·W of all steps at once, then the steps unrolled",
        lambda case: case.kind == "sequence",
        partial(_inside, kind="sequence"),
    ),
)
