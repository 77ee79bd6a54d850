"""An ONNX file with float32 weights → the same model with int8 or float16 weights, as standard ONNX.

Needs the ``onnx`` package and edgeinfer's compiled core; never TensorFlow. The file may be ours or another tool's.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

import edgeinfer
from edgeinfer.errors import EdgeInferError
from edgeinfer.snapshot import write_atomically
from edgeinfer.spec import SCHEMA_VERSION, SPEC_KEY, Spec

from .drift import Drift, measure
from .errors import DriftError, ExportError
from .finish import check
from .limits import RAISED
from .plan import check_target

Weights = Literal["int8", "float16"]
Activations = Literal["int8"]

# Below this many weights the nodes that widen a matrix take more of the file than the weights give back. W and R of
# a recurrent node are always stored small: a node computes from both in one form.
_MIN_MATRIX = 1024
_RECURRENT = ("GRU", "LSTM", "RNN")
# The first opset whose DequantizeLinear takes a scale per row.
_PER_ROW_OPSET = 13
_LARGEST_FLOAT16 = 65504.0
# Goldens are compared on other machines too, whose float32 sums round otherwise.
_TOLERANCE_FACTOR = 2.0


@dataclass(frozen=True)
class Quantized:
    """What was written.

    ``stored`` names the weights now stored small, ``left`` those that stay float32, with the reason. ``bytes_before``
    and ``bytes`` are the files' sizes, ``tolerance`` what the file says about its distance from the goldens.
    """

    path: Path
    weights: Weights
    activations: Activations | None
    stored: tuple[str, ...]
    left: Mapping[str, str]
    bytes_before: int
    bytes: int
    tolerance: float
    drift: Drift


def quantize(
    model: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    weights: Weights,
    activations: Activations | None = None,
    max_error: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Quantized:
    """Write an ONNX file again with small weights, and measure how far its answers drift from the float32 file's.

    ``weights``: ``"int8"``, symmetric, one scale for each output unit and gate, behind DequantizeLinear; or
    ``"float16"`` behind Cast. W and R of LSTM, GRU and RNN, and the matrices of Dense and Embedding layers of at least
    1,024 weights; biases stay float32.

    ``activations="int8"`` has edgeinfer run the file with the state of LSTM, GRU and RNN in 8 bits as well (load's
    precision "fast"); other tools do not know of it. Metadata and goldens are kept. ``progress`` is called with a line
    before each part of the work.

    Raises ExportError where there is nothing to store smaller, or where the result does not run; DriftError where an
    answer moves by more than ``max_error`` relative to max(1, |y|). In both cases nothing is written.
    """
    import onnx

    say = progress or (lambda line: None)
    if weights not in ("int8", "float16"):
        raise ExportError(f"weights: expected int8 or float16, got {weights!r}", argument="weights")
    if activations not in (None, "int8"):
        raise ExportError(f"activations: expected int8, got {activations!r}", argument="activations")
    if activations == "int8" and weights != "int8":
        raise ExportError(f"activations int8 goes with weights int8, got weights {weights}", argument="activations")
    if max_error is not None and not 0 < max_error < math.inf:
        raise ExportError(f"max_error: expected a finite number above 0, got {max_error}", argument="max_error")
    source, target = Path(model), Path(path)
    check_target(target, source)
    say(f"reading {source}")
    before = source.read_bytes()
    edgeinfer.load(before, backend="native", limits=RAISED)  # what is wrong with the file is said in its own words
    proto = onnx.load_from_string(before)
    stored, left = store_small(proto, weights)
    if not stored:
        reasons = "; ".join(f"{name}: {why}" for name, why in left.items()) or "it has no float32 weights of its own"
        raise ExportError(f"{source}: there is nothing to store in {weights}: {reasons}")
    asked = {} if activations is None else {"activations": activations}
    _describe(proto, hashlib.sha256(before).hexdigest(), weights=weights, **asked)
    check(proto)
    drift = _measure(before, proto, say)
    if max_error is not None and not drift.largest <= max_error:
        raise DriftError(
            f"answers move by up to {drift.largest:.1e} relative to max(1, |y|), expected at most {max_error:g}; "
            "nothing was written\n" + drift.table(),
            drift,
        )
    tolerance = max_error if max_error is not None else _rounded_up(_TOLERANCE_FACTOR * max(drift.goldens, 1e-6))
    _describe(proto, tolerance=tolerance)
    data = proto.SerializeToString()
    write_atomically(target, data)
    return Quantized(target, weights, activations, stored, left, len(before), len(data), tolerance, drift)


def store_small(proto: Any, weights: Weights) -> tuple[tuple[str, ...], dict[str, str]]:
    """Replace float32 weights of a ModelProto by small ones and the nodes that widen them.

    Returns the names of those replaced, and of those left with the reason. Raises ExportError for values that do not
    fit.
    """
    from onnx import numpy_helper

    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if weights == "int8" and opset < _PER_ROW_OPSET:
        raise ExportError(
            f"opset {opset}: int8 with a scale per row needs opset {_PER_ROW_OPSET} or later; "
            "onnx.version_converter.convert_version(model, 17) raises it"
        )
    graph = proto.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    wanted, left = _find_weights(graph, tensors)
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    nodes: list[Any] = []
    for name, axis in wanted.items():
        array = numpy_helper.to_array(tensors[name])
        if not np.isfinite(array).all():
            raise ExportError(f'weight "{name}": expected finite numbers; it holds NaN or infinity')
        _remove(graph, name)
        if weights == "float16":
            nodes += _float16_nodes(graph, name, array)
        else:
            nodes += _int8_nodes(graph, name, array, axis, apart=array.ndim == 2 and name not in tables)
    kept = [type(node).FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend([*nodes, *kept])
    return tuple(wanted), left


def _find_weights(graph: Any, tensors: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, str]]:
    """The weights to store small → the axis along which each index has its own scale; and those left, with why."""
    from onnx import TensorProto

    wanted: dict[str, int] = {}
    left: dict[str, str] = {}
    others = {value.name for value in graph.output}
    for node in graph.node:
        axes = _weight_inputs(node)
        for index, name in enumerate(node.input):
            if not name:
                continue
            axis = axes.get(index)
            if axis is None:
                others.add(name)
            elif name not in tensors:
                left[name] = f"it is not a constant ({node.op_type} {node.name})"
            elif tensors[name].data_type != TensorProto.FLOAT:
                left[name] = "it is not float32"
            elif wanted.setdefault(name, axis) != axis:
                left[name] = "two nodes read it along different axes"
    for name in wanted:
        size = math.prod(tensors[name].dims)
        if name in others:
            left[name] = "it is read as something else than a weight, too"
        elif len(tensors[name].dims) == 2 and size < _MIN_MATRIX:
            left[name] = f"{size} weights, fewer than {_MIN_MATRIX}"
    return {name: axis for name, axis in wanted.items() if name not in left}, left


def _weight_inputs(node: Any) -> dict[int, int]:
    """The inputs of a node that are weights → the axis of their output units (tokens, for an embedding)."""
    if node.domain not in ("", "ai.onnx"):
        return {}
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type in _RECURRENT:
        return {1: 1, 2: 1}
    if node.op_type == "MatMul":
        return {1: 1}
    if node.op_type == "Gemm":
        return {1: 0 if attributes.get("transB") else 1}
    if node.op_type == "Gather" and attributes.get("axis", 0) == 0:
        return {0: 0}
    return {}


def _int8_nodes(graph: Any, name: str, array: np.ndarray, axis: int, apart: bool) -> list[Any]:
    """Store the weight in int8; the nodes that give it back under its name.

    A recurrent weight [directions, gates * hidden, K] of two directions has its rows flattened, since a scale stands
    along one axis only, and a Reshape behind. ``apart`` puts a Reshape between a matrix and its product: without it
    ONNX Runtime joins the two to a MatMulNBits that rounds the other factor to 8 bits as well.
    """
    from onnx import helper

    shape = array.shape
    if array.ndim == 3 and shape[0] > 1:
        array, axis, apart = array.reshape(-1, shape[-1]), 0, True
    values, scale = quantize_rows(array, axis)
    stored, scales = _add(graph, f"{name}/int8", values), _add(graph, f"{name}/scale", scale)
    widened = _free(graph, f"{name}/rows") if apart else name
    node = helper.make_node("DequantizeLinear", [stored, scales], [widened], f"{name}/dequantize", axis=axis)
    if not apart:
        return [node]
    target = _add(graph, f"{name}/shape", np.array(shape, np.int64))
    return [node, helper.make_node("Reshape", [widened, target], [name], f"{name}/reshape")]


def _float16_nodes(graph: Any, name: str, array: np.ndarray) -> list[Any]:
    from onnx import TensorProto, helper

    largest = float(np.abs(array).max(initial=0.0))
    if largest > _LARGEST_FLOAT16:
        raise ExportError(f'weight "{name}": float16 holds at most {_LARGEST_FLOAT16:g}, got {largest:g}; use int8')
    stored = _add(graph, f"{name}/float16", array.astype(np.float16))
    return [helper.make_node("Cast", [stored], [name], f"{name}/cast", to=TensorProto.FLOAT)]


def quantize_rows(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 → int8 in [-127, 127] of the same shape, and a float32 scale for each index of ``axis``.

    Symmetric: scale = max |w| / 127. Rows of zeros have the scale 1.
    """
    wide = np.moveaxis(array.astype(np.float64), axis, 0)
    flat = wide.reshape(len(wide), -1)
    scale = (np.abs(flat).max(axis=1, initial=0.0) / 127.0).astype(np.float32)
    scale[scale == 0] = 1.0
    values = np.clip(np.rint(flat / scale.astype(np.float64)[:, None]), -127, 127).astype(np.int8)
    return np.ascontiguousarray(np.moveaxis(values.reshape(wide.shape), 0, axis)), scale


def _remove(graph: Any, name: str) -> None:
    """Remove the tensor of that name, wherever it stands: initializer, its listing as an input, Constant node."""
    for field in (graph.initializer, graph.input):
        for item in [item for item in field if item.name == name]:
            field.remove(item)
    for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] == name]:
        graph.node.remove(node)


def _add(graph: Any, wanted: str, array: np.ndarray) -> str:
    from onnx import numpy_helper

    name = _free(graph, wanted)
    graph.initializer.append(numpy_helper.from_array(array, name))
    return name


def _free(graph: Any, wanted: str) -> str:
    taken = {item.name for field in (graph.initializer, graph.input, graph.output) for item in field}
    taken.update(name for node in graph.node for name in (*node.input, *node.output))
    name, i = wanted, 1
    while name in taken:
        name, i = f"{wanted}_{i}", i + 1
    return name


def _describe(proto: Any, float32_sha256: str | None = None, **keys: Any) -> None:
    """Set keys of the metadata, which is made where the file has none."""
    # a tensor that is no input any more needs a version that allows it
    proto.ir_version = max(proto.ir_version, 4)
    entry = next((item for item in proto.metadata_props if item.key == SPEC_KEY), None)
    if entry is None:
        entry = proto.metadata_props.add()
        entry.key, entry.value = SPEC_KEY, Spec().to_json()
    data = {"schema_version": SCHEMA_VERSION, **json.loads(entry.value), **keys}
    if float32_sha256 is not None:
        data["provenance"] = {**data.get("provenance", {}), "float32_sha256": float32_sha256}
    entry.value = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _measure(before: bytes, proto: Any, say: Callable[[str], None]) -> Drift:
    try:
        return measure(before, proto.SerializeToString(), say)
    except EdgeInferError as error:
        raise ExportError(f"the file with small weights does not run, so nothing was written: {error}") from error


def _rounded_up(value: float) -> float:
    """To one significant digit."""
    unit = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.ceil(value / unit) * unit:.0e}")
