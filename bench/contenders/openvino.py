"""OpenVINO: float32 forced, latency hint, one thread, static shapes, input memory shared, the states made its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..cases import Case
from .contender import Contender, Job


def _open(case: Case, folder: Path) -> Job:
    import openvino
    import openvino.properties as props
    from openvino.properties import hint

    core = openvino.Core()
    model = core.read_model(folder / f"{case.model}.onnx")
    shape = (1, case.length) if case.tokens else (case.length, case.streams, case.features)
    x, *states = model.inputs
    pairs = dict(zip((s.any_name for s in states), (s.any_name for s in model.outputs[1:]), strict=True))
    shapes = {s.any_name: [1, case.streams, s.partial_shape[2].get_length()] for s in states}
    model.reshape({x.any_name: list(shape), **shapes})
    if case.kind != "sequence":
        from openvino._offline_transformations import apply_make_stateful_transformation

        apply_make_stateful_transformation(model, pairs)
    compiled = core.compile_model(
        model,
        "CPU",
        {
            hint.inference_precision(): openvino.Type.f32,
            hint.performance_mode(): hint.PerformanceMode.LATENCY,
            props.inference_num_threads(): 1,
        },
    )
    request = compiled.create_infer_request()
    buffer = np.zeros(shape, np.int32 if case.tokens else np.float32)
    request.set_tensor(compiled.input(0), openvino.Tensor(buffer, shared_memory=True))
    for name, zeros in shapes.items() if case.kind == "sequence" else ():
        request.set_tensor(name, openvino.Tensor(np.zeros(zeros, np.float32)))
    output = request.get_tensor(compiled.output(0))
    infer = request.infer

    def call(x: np.ndarray) -> np.ndarray:
        buffer[...] = x
        infer()
        return output.data

    def inputs(xs: np.ndarray) -> list[np.ndarray]:
        return [x.reshape(shape) for x in xs]

    return Job(call, inputs, lambda y: y.reshape(case.streams, 1)[slice(None) if case.kind == "pool" else 0].copy())


CONTENDERS = (
    Contender("openvino", "openvino", "infer(), states inside, 1 thread", lambda case: case.kind != "small", _open),
)
