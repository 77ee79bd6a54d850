"""What changes nothing is left out, and only that: ONNX Runtime answers the same before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeinfer_export.simplify import simplify
from onnx import TensorProto, helper, numpy_helper

X = np.random.default_rng(5).standard_normal((2, 3, 4)).astype(np.float32)


def node(op_type: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(op_type, inputs, [output], name=output, **attributes)


def model(*nodes: Any, outputs: int = 1, **constants: Any) -> Any:
    """x [B, T, 4] → y (and y1 …)."""
    names = ["y", *(f"y{i}" for i in range(1, outputs))]
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", "T", 4])],
        [helper.make_empty_tensor_value_info(name) for name in names],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()],
    )
    for value in graph.output:
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made)


def answers(proto: Any) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X})


KEPT_AND_LEFT: dict[str, tuple[Any, list[str]]] = {
    "identities": (
        lambda: model(node("Identity", ["x"], "a"), node("Relu", ["a"], "b"), node("Identity", ["b"], "y")),
        ["Relu"],
    ),
    "an identity from end to end stays": (lambda: model(node("Identity", ["x"], "y")), ["Identity"]),
    "two outputs of one value": (
        lambda: model(node("Relu", ["x"], "a"), node("Identity", ["a"], "y"), node("Identity", ["a"], "y1"), outputs=2),
        ["Relu", "Identity"],
    ),
    "a cast to the same type": (
        lambda: model(node("Cast", ["x"], "a", to=TensorProto.FLOAT), node("Relu", ["a"], "y")),
        ["Relu"],
    ),
    "a cast there and back stays": (
        lambda: model(node("Cast", ["x"], "a", to=TensorProto.INT32), node("Cast", ["a"], "y", to=TensorProto.FLOAT)),
        ["Cast", "Cast"],
    ),
    "transposes that cancel": (
        lambda: model(
            node("Transpose", ["x"], "a", perm=[1, 2, 0]),
            node("Transpose", ["a"], "b", perm=[2, 0, 1]),
            node("Relu", ["b"], "y"),
        ),
        ["Relu"],
    ),
    "transposes that do not": (
        lambda: model(
            node("Transpose", ["x"], "a", perm=[1, 2, 0]),
            node("Relu", ["a"], "y1"),
            node("Transpose", ["a"], "y", perm=[1, 0, 2]),
            outputs=2,
        ),
        ["Transpose", "Relu", "Transpose"],
    ),
    "squeeze of unsqueeze": (
        lambda: model(
            node("Unsqueeze", ["x", "axes"], "a"),
            node("Squeeze", ["a", "axes"], "b"),
            node("Relu", ["b"], "y"),
            axes=[1],
        ),
        ["Relu"],
    ),
    "squeeze of another axis stays": (
        lambda: model(
            node("Unsqueeze", ["x", "two"], "a"),
            node("Squeeze", ["a", "one"], "y"),
            one=[0],
            two=[0, 1],
        ),
        ["Unsqueeze", "Squeeze"],
    ),
    "reshape of reshape": (
        lambda: model(
            node("Reshape", ["x", "flat"], "a"),
            node("Reshape", ["a", "back"], "b"),
            node("Relu", ["b"], "y"),
            flat=[-1, 2],
            back=[-1, 3, 4],
        ),
        ["Reshape", "Relu"],
    ),
    "reshape that copies a size of the first stays": (
        lambda: model(
            node("Reshape", ["x", "first"], "a"),
            node("Reshape", ["a", "second"], "y"),
            first=[3, 2, 4],
            second=[0, -1],
        ),
        ["Reshape", "Reshape"],
    ),
    "reshape to its own shape": (
        lambda: model(node("Reshape", ["x", "same"], "a"), node("Relu", ["a"], "y"), same=[0, 0, 4]),
        ["Relu"],
    ),
    "reshape that only looks like its own shape stays": (
        lambda: model(node("Reshape", ["x", "other"], "a"), node("Relu", ["a"], "y"), other=[0, -1, 2]),
        ["Reshape", "Relu"],
    ),
    "what nothing reads": (
        lambda: model(node("Relu", ["x"], "y"), node("Exp", ["x"], "a"), node("Neg", ["a"], "b"), unused=[1]),
        ["Relu"],
    ),
    "one input joined": (lambda: model(node("Concat", ["x"], "a", axis=1), node("Relu", ["a"], "y")), ["Relu"]),
}


@pytest.mark.parametrize("case", KEPT_AND_LEFT)
def test_what_changes_nothing_is_left_out(case: str) -> None:
    build, left = KEPT_AND_LEFT[case]
    proto = build()
    before = answers(proto)
    simplify(proto)
    assert [item.op_type for item in proto.graph.node] == left
    onnx.checker.check_model(proto)
    for expected, found in zip(before, answers(proto), strict=True):
        np.testing.assert_array_equal(found, expected)
    read = {name for item in proto.graph.node for name in item.input}
    assert all(tensor.name in read for tensor in proto.graph.initializer)
