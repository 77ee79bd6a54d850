"""ONNX files for the runtime's tests: a graph written node by node, and the recurrent models that most tests need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edgeinfer.spec import SPEC_KEY

SEED = 11
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
Shape = Sequence[int | str | None]
Arrays = Mapping[str, np.ndarray]

# Float32 against another implementation of the same sum: a few roundings of numbers near 1.
TOLERANCE = 1e-5


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], name: str = "", **attributes: Any) -> NodeProto:
    return helper.make_node(op, list(inputs), list(outputs), name=name, **attributes)


def value(name: str, shape: Shape | None, dtype: type | np.dtype = np.float32) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def build(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: Arrays | Sequence[TensorProto] = (),
    *,
    opset: int = 17,
    spec: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """The file's bytes, unchecked, so that malformed graphs can be written too."""
    if isinstance(constants, Mapping):
        constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(list(nodes), "test", list(inputs), list(outputs), list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model.producer_name = "tests"
    props = dict(metadata or {})
    if spec is not None:
        props[SPEC_KEY] = json.dumps({"schema_version": 1, **spec})
    helper.set_model_props(model, props)
    data: bytes = model.SerializeToString()
    return data


def one_node(
    op: str,
    arrays: Arrays,
    *,
    opset: int = 17,
    constant: Sequence[str] = (),
    dynamic: bool = False,
    outputs: int = 1,
    inputs: Sequence[str] | None = None,
    out_dtype: type | np.dtype | tuple[type, ...] = np.float32,
    **attributes: Any,
) -> bytes:
    """A file of one node ``op``; the named inputs are initializers, the others graph inputs.

    ``out_dtype`` is one for all outputs, or one for each.
    """
    names = list(arrays) if inputs is None else list(inputs)
    given = [
        value(name, [None] * array.ndim if dynamic else array.shape, array.dtype)
        for name, array in arrays.items()
        if name not in constant
    ]
    ys = [f"y{i}" for i in range(outputs)]
    dtypes = out_dtype if isinstance(out_dtype, tuple) else (out_dtype,) * outputs
    return build(
        [node(op, names, ys, name="n", **attributes)],
        given,
        [value(y, None, dtype) for y, dtype in zip(ys, dtypes, strict=True)],
        {name: arrays[name] for name in constant},
        opset=opset,
    )


def draw(*shape: int, seed: int = SEED, scale: float = 0.5) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(0.0, scale, shape).astype(np.float32)


def weights(op: str, features: int, hidden: int, directions: int = 1, seed: int = SEED) -> dict[str, np.ndarray]:
    """W, R and B of a recurrent node."""
    rows = GATES[op] * hidden
    return {
        "W": draw(directions, rows, features, seed=seed),
        "R": draw(directions, rows, hidden, seed=seed + 1, scale=1.0 / np.sqrt(hidden)),
        "B": draw(directions, 2 * rows, seed=seed + 2),
    }


def recurrent_model(
    op: str = "GRU",
    features: int = 3,
    hidden: int = 5,
    outputs: int = 2,
    *,
    states: bool = True,
    last: bool = False,
    head: Sequence[str] = (),
    softmax: bool = False,
    initial: float | None = None,
    spec: Mapping[str, Any] | None = None,
    with_spec: bool = True,
    batch: str | None = "batch",
    time: str | None = "time",
    **attributes: Any,
) -> bytes:
    """x [batch, time, features] → recurrent → dense → y [batch, time, outputs], as export writes it.

    states: the state is an input and an output. last: only the last step, y [batch, outputs]. head: unary operators
    after the dense layer. initial: a constant initial state instead of zero.
    """
    constants: dict[str, np.ndarray] = dict(weights(op, features, hidden))
    constants |= {"K": draw(hidden, outputs, seed=3), "b": draw(outputs, seed=4), "axis": np.array([1], np.int64)}
    inputs = [value("x", [batch, time, features])]
    result = [value("y", [batch, outputs] if last else [batch, time, outputs])]
    recurrent_inputs = ["xt", "W", "R", "B"]
    recurrent_outputs = ["Y", "h1"]
    kinds = "hc" if op == "LSTM" else "h"
    pairs = []
    if states:
        recurrent_inputs += ["", *(f"l/initial_{k}" for k in kinds)]
        recurrent_outputs = ["Y", *(f"l/final_{k}" for k in kinds)]
        for k in kinds:
            inputs.append(value(f"l/initial_{k}", [1, batch, hidden]))
            result.append(value(f"l/final_{k}", [1, batch, hidden]))
            pairs.append({"input": f"l/initial_{k}", "output": f"l/final_{k}"})
    elif initial is not None:
        constants["start"] = np.full((1, 1, hidden), initial, np.float32)
        recurrent_inputs += ["", *("start" for _ in kinds)]
    final_h = recurrent_outputs[1]
    nodes = [
        node("Transpose", ["x"], ["xt"], "before", perm=[1, 0, 2]),
        node(op, recurrent_inputs, recurrent_outputs, "l", hidden_size=hidden, **attributes),
    ]
    if last:
        constants["axis"] = np.array([0], np.int64)
        nodes.append(node("Squeeze", [final_h, "axis"], ["s"], "squeeze"))
    else:
        nodes.append(node("Squeeze", ["Y", "axis"], ["st"], "squeeze"))
        nodes.append(node("Transpose", ["st"], ["s"], "after", perm=[1, 0, 2]))
    ops = [*head, *(["Softmax"] if softmax else [])]
    names = ["y0", *(f"y{i + 1}" for i in range(len(ops)))]
    names[-1] = "y"
    nodes += [node("MatMul", ["s", "K"], ["p"], "matmul"), node("Add", ["p", "b"], [names[0]], "add")]
    for i, name in enumerate(ops):
        nodes.append(node(name, [names[i]], [names[i + 1]], f"{name.lower()}{i}"))
    full = None
    if with_spec:
        full = {"name": "test", "mode": "stream", "states": pairs, **(spec or {})}
    return build(nodes, inputs, result, constants, opset=20 if "Gelu" in ops else 17, spec=full)


def token_model(words: int = 7, width: int = 3, hidden: int = 4, dtype: type = np.int32, **spec: Any) -> bytes:
    """x [batch, time] tokens → Gather → LSTM, state in and out → softmax, y [batch, time, words]."""
    constants = {
        "table": draw(words, width),
        **weights("LSTM", width, hidden),
        "K": draw(hidden, words, seed=3),
        "axis": np.array([1], np.int64),
    }
    nodes = [
        node("Gather", ["table", "x"], ["e"], "embedding"),
        node("Transpose", ["e"], ["et"], "before", perm=[1, 0, 2]),
        node("LSTM", ["et", "W", "R", "B", "", "h0", "c0"], ["Y", "h1", "c1"], "l", hidden_size=hidden),
        node("Squeeze", ["Y", "axis"], ["st"], "squeeze"),
        node("Transpose", ["st"], ["s"], "after", perm=[1, 0, 2]),
        node("MatMul", ["s", "K"], ["p"], "matmul"),
        node("Softmax", ["p"], ["y"], "softmax", axis=-1),
    ]
    state = [1, "batch", hidden]
    pairs = [{"input": "h0", "output": "h1"}, {"input": "c0", "output": "c1"}]
    return build(
        nodes,
        [value("x", ["batch", "time"], dtype), value("h0", state), value("c0", state)],
        [value("y", ["batch", "time", words]), value("h1", state), value("c1", state)],
        constants,
        spec={"name": "tokens", "mode": "stream", "states": pairs, **spec},
    )


def two_outputs_model(features: int = 2, hidden: int = 3) -> bytes:
    """A GRU whose sequence leaves by two heads: y [batch, time, 2] and gate [batch, time, 1]."""
    constants = {
        **weights("GRU", features, hidden),
        "K": draw(hidden, 2),
        "L": draw(hidden, 1),
        "axis": np.array([1], np.int64),
    }
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("GRU", ["xt", "W", "R", "B", "", "h0"], ["Y", "h1"], "gru", hidden_size=hidden),
        node("Squeeze", ["Y", "axis"], ["st"]),
        node("Transpose", ["st"], ["s"], perm=[1, 0, 2]),
        node("MatMul", ["s", "K"], ["y"]),
        node("MatMul", ["s", "L"], ["g"]),
        node("Sigmoid", ["g"], ["gate"]),
    ]
    return build(
        nodes,
        [value("x", ["batch", "time", features]), value("h0", [1, "batch", hidden])],
        [value("y", ["batch", "time", 2]), value("gate", ["batch", "time", 1]), value("h1", [1, "batch", hidden])],
        constants,
        spec={"mode": "stream", "states": [{"input": "h0", "output": "h1"}]},
    )


def ask_onnxruntime(data: bytes, feeds: Arrays) -> list[np.ndarray]:
    """What ONNX Runtime says."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [np.asarray(y) for y in session.run(None, dict(feeds))]
