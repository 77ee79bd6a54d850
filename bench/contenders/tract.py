"""tract: its default plan, states fed back as tensors of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..cases import Case
from .contender import Contender, Job


def _open(case: Case, folder: Path) -> Job:
    import tract

    model = tract.onnx().load(folder / f"{case.model}.onnx")
    shape = (1, case.length) if case.tokens else (case.length, case.streams, case.features)
    state = (1, case.streams, case.hidden)
    names = [model.input_name(i) for i in range(model.input_count())]
    x_at = names.index("x")
    for i in range(len(names)):
        sizes, kind = (shape, "i32" if case.tokens else "f32") if i == x_at else (state, "f32")
        model.set_input_fact(i, ",".join(map(str, sizes)) + f",{kind}")
    for i in range(model.output_count()):
        model.set_output_fact(i, None)
    states = [tract.Tensor.from_numpy(np.zeros(state, np.float32)) for _ in names[1:]]
    runnable = model.into_model().into_runnable()
    # a spawned state would carry a sequence's end over to the next
    run = runnable.run if case.kind == "sequence" else runnable.spawn_state().run

    def step(x: np.ndarray) -> np.ndarray:
        nonlocal states
        y, *states = run([x, *states])
        return y.to_numpy()

    def whole(x: np.ndarray) -> np.ndarray:
        return run([x, *states])[0].to_numpy()

    def inputs(xs: np.ndarray) -> list[Any]:
        return [np.ascontiguousarray(x.reshape(shape)) for x in xs]

    return Job(
        whole if case.kind == "sequence" else step,
        inputs,
        lambda y: y.reshape(case.streams, 1)[slice(None) if case.kind == "pool" else 0],
    )


CONTENDERS = (Contender("tract", "tract", "state.run(), states fed back", lambda case: case.kind != "small", _open),)
