"""The models of the cases from one seed, as ONNX files and as plain weights, with inputs and float64 answers.

Every file is the leanest graph that computes the model (time-major, no Transpose, Dense on the last hidden state):
what a rival would have to do beyond the arithmetic is not in it.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .cases import Case

Weights = dict[str, np.ndarray]

SEED = 20251122
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
CHECKED_STEPS = 1000
CHECKED_SEQUENCES = 64
CHECKED_POOL_STEPS = 20
_OPSET, _IR = 17, 8


def prepare(cases: list[Case], folder: Path, say: Callable[[str], None]) -> None:
    """Write what the cases need to ``folder``: NAME.onnx, NAME.npz (weights), CASE.case.npz (inputs and answers)."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        say(f"preparing {case.name}")
        weights = sentiment_weights() if case.tokens else draw_weights(case)
        _write(folder / f"{case.model}.npz", _npz(weights))
        _write(folder / f"{case.model}.onnx", _bundled() if case.tokens else onnx_file(case, weights))
        xs = draw_inputs(case, weights)
        _write(folder / f"{case.name}.case.npz", _npz({"xs": xs, "ys": answers(case, weights, xs)}))
        if case.kind == "small":
            _write_small(case, folder, say)


def draw_weights(case: Case) -> Weights:
    """Keras' default initialisers in ONNX's layout: W{i} [G*H, F], R{i} [G*H, H], B{i} [2*G*H], kernel [H, 1], bias."""
    rng = np.random.default_rng([SEED, case.features, case.hidden, case.layers, GATES[case.cell]])
    gates, hidden = GATES[case.cell], case.hidden
    weights = {}
    for layer in range(case.layers):
        features = case.features if layer == 0 else hidden
        weights[f"W{layer}"] = _glorot(rng, gates * hidden, features)
        q, _ = np.linalg.qr(rng.standard_normal((gates * hidden, hidden)))
        weights[f"R{layer}"] = q.astype(np.float32)
        bias = np.zeros((2 * gates, hidden), np.float32)
        if case.cell == "lstm":
            bias[2] = 1.0  # unit_forget_bias
        weights[f"B{layer}"] = bias.reshape(-1)
    weights["kernel"] = _glorot(rng, hidden, 1)
    weights["bias"] = np.zeros(1, np.float32)
    return weights


def sentiment_weights() -> Weights:
    """Those of the bundled model: as draw_weights, and table [V, F]."""
    import onnx
    from onnx import numpy_helper

    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(_bundled()).graph.initializer}
    names = {"table": "embedding/embeddings", "kernel": "positive/kernel", "bias": "positive/bias"}
    weights = {key: stored[name] for key, name in names.items()}
    return {**weights, **{f"{part}0": stored[f"lstm/{part}"][0] for part in "WRB"}}


def onnx_file(case: Case, weights: Weights) -> bytes:
    """x [time, batch, F] and a state in and out per layer → y [batch, 1], from the last layer's last hidden state."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def info(name: str, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    nodes, inputs, outputs, states = [], [info("x", "time", "batch", case.features)], [], []
    constants = {"kernel": weights["kernel"], "bias": weights["bias"], "first": np.array([0]), "second": np.array([1])}
    value = "x"
    parts = ("h", "c") if case.cell == "lstm" else ("h",)
    for layer in range(case.layers):
        for part in "WRB":
            constants[f"{part}{layer}"] = weights[f"{part}{layer}"][None]
        before = [f"{part}{layer}_in" for part in parts]
        after = [f"{part}{layer}_out" for part in parts]
        last = layer == case.layers - 1
        extra: dict[str, Any] = {"linear_before_reset": 1} if case.cell == "gru" else {}
        nodes.append(
            helper.make_node(
                case.cell.upper(),
                [value, f"W{layer}", f"R{layer}", f"B{layer}", "", *before],
                ["" if last else f"Y{layer}", *after],
                name=f"{case.cell}{layer}",
                hidden_size=case.hidden,
                **extra,
            )
        )
        if not last:
            nodes.append(helper.make_node("Squeeze", [f"Y{layer}", "second"], [f"s{layer}"], name=f"squeeze{layer}"))
            value = f"s{layer}"
        inputs += [info(name, 1, "batch", case.hidden) for name in before]
        outputs += [info(name, 1, "batch", case.hidden) for name in after]
        states += [{"input": a, "output": b} for a, b in zip(before, after, strict=True)]
    nodes.append(helper.make_node("Squeeze", [f"h{case.layers - 1}_out", "first"], ["last"], name="squeeze"))
    nodes.append(helper.make_node("Gemm", ["last", "kernel", "bias"], ["y"], name="dense"))
    if case.layers == 1:
        del constants["second"]
    stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, case.model, inputs, [info("y", "batch", 1), *outputs], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    spec = {"schema_version": 1, "name": case.model, "mode": "stream", "states": states}
    helper.set_model_props(model, {"edgeinfer.spec": json.dumps(spec)})
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def draw_inputs(case: Case, weights: Weights) -> np.ndarray:
    """N(0, 1): steps [T, F], sequences [N, length, F] (tokens [N, length] int32), pools [T, streams, F]."""
    rng = np.random.default_rng([SEED, 1, case.features, case.hidden])
    if case.tokens:
        tokens = rng.integers(1, len(weights["table"]), (CHECKED_SEQUENCES, case.length))
        return tokens.astype(np.int32)
    shape = {
        "step": (CHECKED_STEPS, case.features),
        "small": (CHECKED_STEPS, case.features),
        "sequence": (CHECKED_SEQUENCES, case.length, case.features),
        "pool": (CHECKED_POOL_STEPS, case.streams, case.features),
    }[case.kind]
    return rng.standard_normal(shape).astype(np.float32)


def answers(case: Case, weights: Weights, xs: np.ndarray) -> np.ndarray:
    """What float64 says, from the formulas of the ONNX operators: [T, 1], [N, 1] or [T, streams, 1]."""
    exact = {name: array.astype(np.float64) for name, array in weights.items()}
    if case.tokens:
        ys = _run(case, exact, exact["table"][xs].swapaxes(0, 1))[-1]
        return np.asarray(_sigmoid(ys))
    if case.kind == "sequence":
        return _run(case, exact, xs.swapaxes(0, 1).astype(np.float64))[-1]
    if case.kind == "pool":
        return _run(case, exact, xs.astype(np.float64))
    return _run(case, exact, xs[:, None].astype(np.float64))[:, 0]


def _run(case: Case, weights: Weights, xs: np.ndarray) -> np.ndarray:
    """xs [T, batch, F] → [T, batch, 1]."""
    for layer in range(case.layers):
        xs = _CELLS[case.cell](xs, weights[f"W{layer}"], weights[f"R{layer}"], weights[f"B{layer}"])
    return np.asarray(xs @ weights["kernel"] + weights["bias"])


def _lstm(xs: np.ndarray, w: np.ndarray, r: np.ndarray, b: np.ndarray) -> np.ndarray:
    h = c = np.zeros((xs.shape[1], r.shape[1]))
    bias = b.reshape(2, -1).sum(axis=0)
    out = []
    for x in xs:
        i, o, f, g = np.split(x @ w.T + h @ r.T + bias, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.stack(out)


def _gru(xs: np.ndarray, w: np.ndarray, r: np.ndarray, b: np.ndarray) -> np.ndarray:
    h = np.zeros((xs.shape[1], r.shape[1]))
    wb, rb = b.reshape(2, -1)
    out = []
    for x in xs:
        wz, wr, wh = np.split(x @ w.T + wb, 3, axis=1)
        rz, rr, rh = np.split(h @ r.T + rb, 3, axis=1)
        z = _sigmoid(wz + rz)
        h = (1 - z) * np.tanh(wh + _sigmoid(wr + rr) * rh) + z * h
        out.append(h)
    return np.stack(out)


def _rnn(xs: np.ndarray, w: np.ndarray, r: np.ndarray, b: np.ndarray) -> np.ndarray:
    h = np.zeros((xs.shape[1], r.shape[1]))
    bias = b.reshape(2, -1).sum(axis=0)
    out = []
    for x in xs:
        h = np.tanh(x @ w.T + h @ r.T + bias)
        out.append(h)
    return np.stack(out)


_CELLS = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def _glorot(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    limit = np.sqrt(6 / (rows + columns))
    return rng.uniform(-limit, limit, (rows, columns)).astype(np.float32)


def _bundled() -> bytes:
    return (resources.files("edgeinfer.models") / "sentiment.onnx").read_bytes()


def _npz(arrays: Weights) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes every keyword for allow_pickle
    return file.getvalue()


def _write(path: Path, data: bytes) -> None:
    """Leave a file that is so already: what was converted from it stays newer."""
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)


def _write_small(case: Case, folder: Path, say: Callable[[str], None]) -> None:
    """The same model with int8 and float16 weights as our export stores them, and as ONNX Runtime's own tool does."""
    import onnx
    from edgeinfer_export.quantize import store_small

    source = folder / f"{case.model}.onnx"
    for weights in ("int8", "float16"):
        proto = onnx.load(source)
        store_small(proto, weights)  # what the command does besides is to measure the drift over 100,000 steps
        _write(folder / f"{case.model}.{weights}.onnx", proto.SerializeToString())
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        say(f"no {case.model}.dynamic.onnx: {error}")
        return
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises a pre-processing that changes nothing for one node
    try:
        quantize_dynamic(source, folder / f"{case.model}.dynamic.onnx", weight_type=QuantType.QInt8)
    finally:
        root.setLevel(level)
