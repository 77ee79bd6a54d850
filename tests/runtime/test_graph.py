"""What a graph must be: refused by name where it is not, brought to one form where it is."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from graphs import ask_onnxruntime, build, draw, node, one_node, recurrent_model, value, weights
from onnx import ModelProto, helper

import edgeinfer
from edgeinfer.errors import ModelFormatError, ModelLimitError, UnsupportedOperatorError
from edgeinfer.graph.load import build_graph
from edgeinfer.graph.ops import every_operator
from edgeinfer.limits import Limits
from edgeinfer.onnx_file import read_model

X = np.zeros((2, 3), np.float32)


def load(data: bytes, backend: Any = "native") -> edgeinfer.Model:
    return edgeinfer.load(data, backend=backend)


def relu_chain(*edges: tuple[str, str], outputs: tuple[str, ...] = ("y",), inputs: tuple[str, ...] = ("x",)) -> bytes:
    """Relu nodes along the edges."""
    nodes = [node("Relu", [a], [b], f"{a}>{b}") for a, b in edges]
    return build(nodes, [value(x, [2]) for x in inputs], [value(y, None) for y in outputs])


def test_an_unknown_operator_is_refused_naming_the_node() -> None:
    with pytest.raises(
        UnsupportedOperatorError, match=r'in node "n" \(NonZero\): the operator is not implemented'
    ) as info:
        load(one_node("NonZero", {"a": X}))
    assert (info.value.op_type, info.value.node, info.value.attribute) == ("NonZero", "n", None)


def test_an_unknown_attribute_is_refused_naming_it() -> None:
    with pytest.raises(
        UnsupportedOperatorError, match=r'in node "n" \(Relu\): attribute slope is not implemented'
    ) as info:
        load(one_node("Relu", {"a": X}, slope=0.1))
    assert info.value.attribute == "slope"


def test_another_domain_is_refused_naming_it() -> None:
    model = ModelProto.FromString(one_node("Relu", {"a": X}))
    model.graph.node[0].domain = "com.microsoft"
    with pytest.raises(UnsupportedOperatorError, match=r"operators of the domain com.microsoft are not supported"):
        load(model.SerializeToString())


@pytest.mark.parametrize("opset", [0, 1, 10, 27, 99])
def test_an_opset_out_of_range_is_refused(opset: int) -> None:
    with pytest.raises(UnsupportedOperatorError, match=f"opset {opset} is not supported: expected 11 to 26"):
        load(one_node("Relu", {"a": X}, opset=opset))


@pytest.mark.parametrize("opset", [11, 13, 18, 26])
def test_an_opset_within_range_loads(opset: int) -> None:
    assert load(one_node("Relu", {"a": X}, opset=opset))(X).shape == (2, 3)


@pytest.mark.parametrize(
    ("op", "inputs", "wanted"),
    [
        ("Relu", ["a", "a"], "expected 1 inputs, got 2"),
        ("Relu", [], "expected 1 inputs, got 0"),
        ("Relu", [""], "expected 1 inputs, got 0"),
        ("Add", ["a"], "expected 2 inputs, got 1"),
        ("Gemm", ["a"], "expected 2 to 3 inputs, got 1"),
        ("Slice", ["a", "a"], "expected 3 to 5 inputs, got 2"),
        ("Unsqueeze", ["a"], "expected 2 inputs, got 1"),
        ("LSTM", ["a", "a", ""], "expected 3 to 8 inputs, got 2"),
        ("Sum", ["a", "", "a"], "expected 1 to 65536 inputs, got 2"),
        ("Concat", ["a", ""], "expected 1 to 65536 inputs, got 1"),
    ],
)
def test_a_wrong_number_of_inputs_is_refused(op: str, inputs: list[str], wanted: str) -> None:
    attributes = {"Concat": {"axis": 0}, "LSTM": {"hidden_size": 1}}.get(op, {})
    with pytest.raises(ModelFormatError, match=rf'in node "n" \({op}\): {wanted}'):
        load(one_node(op, {"a": X}, inputs=inputs, **attributes))


def test_too_many_outputs_are_refused() -> None:
    with pytest.raises(ModelFormatError, match=r'in node "n" \(Relu\): expected 1 to 1 outputs, got 2'):
        load(one_node("Relu", {"a": X}, outputs=2))


def test_a_missing_attribute_is_refused() -> None:
    with pytest.raises(ModelFormatError, match=r'in node "n" \(Concat\): attribute axis is missing'):
        load(one_node("Concat", {"a": X}))


def test_an_input_that_nothing_produces_is_refused() -> None:
    with pytest.raises(ModelFormatError, match=r'in node "ghost>y" \(Relu\): input "ghost" is not produced by any'):
        load(relu_chain(("ghost", "y")))


def test_an_output_that_nothing_produces_is_refused() -> None:
    with pytest.raises(ModelFormatError, match='graph output "z" is not produced by any node'):
        load(relu_chain(("x", "y"), outputs=("z",)))


def test_a_graph_without_outputs_is_refused() -> None:
    with pytest.raises(ModelFormatError, match="the graph has no outputs"):
        load(relu_chain(("x", "y"), outputs=()))


def test_a_cycle_is_refused_naming_a_node_of_it() -> None:
    with pytest.raises(ModelFormatError, match=r'in node "[ab]>[ab]" \(Relu\): the graph has a cycle through this'):
        load(relu_chain(("a", "b"), ("b", "a"), ("x", "y")))


def test_a_node_that_reads_itself_is_refused() -> None:
    with pytest.raises(ModelFormatError, match=r'in node "a>a" \(Relu\): the graph has a cycle through this node'):
        load(relu_chain(("a", "a"), ("x", "y")))


def test_a_name_produced_twice_is_refused() -> None:
    with pytest.raises(ModelFormatError, match=r'in node "x>y_2" \(Relu\): output "y": the name is defined twice'):
        load(relu_chain(("x", "y"), ("x", "y")))


def test_an_input_given_twice_is_refused() -> None:
    with pytest.raises(ModelFormatError, match='input "x": the name is defined twice'):
        load(relu_chain(("x", "y"), inputs=("x", "x")))


def test_an_output_given_twice_is_refused() -> None:
    with pytest.raises(ModelFormatError, match='output "y": the name is defined twice'):
        load(relu_chain(("x", "y"), outputs=("y", "y")))


def test_a_node_that_writes_an_input_is_refused() -> None:
    with pytest.raises(ModelFormatError, match='output "x": the name is defined twice'):
        load(relu_chain(("x", "x"), outputs=("x",)))


def test_an_initializer_given_twice_is_refused() -> None:
    model = ModelProto.FromString(one_node("Add", {"a": X, "b": X}, constant=["b"]))
    model.graph.initializer.append(model.graph.initializer[0])
    with pytest.raises(ModelFormatError, match='initializer "b": the name is defined twice'):
        load(model.SerializeToString())


def test_an_initializer_without_a_name_is_refused() -> None:
    model = ModelProto.FromString(one_node("Add", {"a": X, "b": X}, constant=["b"]))
    model.graph.initializer[0].name = ""
    with pytest.raises(ModelFormatError, match="initializer without a name"):
        load(model.SerializeToString())


def test_an_initializer_listed_as_an_input_is_a_default_that_is_not_asked_for() -> None:
    model = ModelProto.FromString(one_node("Add", {"a": X, "b": X + 1}, constant=["b"]))
    model.graph.input.append(value("b", [2, 3]))
    loaded = load(model.SerializeToString())
    assert [info.name for info in loaded.inputs] == ["a"]
    np.testing.assert_array_equal(loaded(X), X + 1)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_nodes_out_of_order_are_put_in_order(backend: str) -> None:
    data = relu_chain(("c", "y"), ("b", "c"), ("x", "a"), ("a", "b"))
    np.testing.assert_array_equal(load(data, backend)(np.array([-1, 2], np.float32)), [0, 2])


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_two_nodes_of_one_name_keep_their_own_constants(backend: str) -> None:
    nodes = [
        node("ReduceSum", ["x"], ["a"], "same", axes=[0], keepdims=0),
        node("ReduceSum", ["x"], ["b"], "same", axes=[1], keepdims=0),
    ]
    data = build(nodes, [value("x", [2, 3])], [value("a", [3]), value("b", [2])], opset=11)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    model = load(data, backend)
    a, b = model.run(None, {"x": x})
    np.testing.assert_array_equal(a, x.sum(0))
    np.testing.assert_array_equal(b, x.sum(1))
    assert [entry["name"] for entry in model.describe()["nodes"]] == ["same", "same_2"]


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_an_output_may_be_an_input_a_constant_or_a_view_of_another_output(backend: str) -> None:
    nodes = [
        node("Relu", ["x"], ["y"]),
        node("Reshape", ["y", "flat"], ["v"]),
        node("Identity", ["c"], ["i"]),
        node("Shape", ["x"], ["s"]),
    ]
    outputs = [value(n, None) for n in ("x", "y", "v", "c", "i")] + [value("s", None, np.int64)]
    constants = {"flat": np.array([-1], np.int64), "c": np.array([1, 2], np.float32)}
    x = np.array([[1, -2, 3]], np.float32)
    found = load(build(nodes, [value("x", [None, 3])], outputs, constants), backend).run(None, {"x": x})
    expected = [x, np.maximum(x, 0), np.maximum(x, 0).ravel(), constants["c"], constants["c"], np.array([1, 3])]
    for y, true in zip(found, expected, strict=True):
        np.testing.assert_array_equal(y, true)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_model_of_constants_needs_no_input(backend: str) -> None:
    data = build([node("Add", ["c", "c"], ["y"])], [], [value("y", [2])], {"c": np.array([1, 2], np.float32)})
    assert load(data, backend)({}).tolist() == [2, 4]


@pytest.mark.parametrize("kind", ["value", "value_float", "value_floats", "value_int", "value_ints"])
def test_constant_nodes_are_read(kind: str) -> None:
    content = {
        "value": helper.make_tensor("t", 1, [2], [1.0, 2.0]),
        "value_float": 1.5,
        "value_floats": [1.0, 2.0],
        "value_int": 3,
        "value_ints": [1, 2],
    }[kind]
    nodes = [helper.make_node("Constant", [], ["c"], **{kind: content}), node("Identity", ["c"], ["y"])]
    dtype = np.int64 if "int" in kind else np.float32
    data = build(nodes, [], [value("y", None, dtype)])
    np.testing.assert_array_equal(load(data).run(None, {})[0], ask_onnxruntime(data, {})[0])


def test_a_constant_node_of_text_is_refused() -> None:
    nodes = [helper.make_node("Constant", [], ["c"], value_string="a"), node("Identity", ["c"], ["y"])]
    with pytest.raises(UnsupportedOperatorError, match="attribute value_string is not implemented"):
        load(build(nodes, [], [value("y", None)]))


def test_a_constant_node_without_a_value_is_refused() -> None:
    with pytest.raises(ModelFormatError, match=r'in node "y" \(Constant\): expected one attribute and one output'):
        load(build([helper.make_node("Constant", [], ["y"])], [], [value("y", None)]))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (None, 'input "x" has no shape'),
        ([2, -3], r'input "x": negative dimension in \[2, -3\]'),
    ],
)
def test_an_input_of_no_usable_shape_is_refused(shape: list[int] | None, message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        load(build([node("Relu", ["x"], ["y"])], [value("x", shape)], [value("y", None)]))


def test_an_input_of_text_is_refused() -> None:
    given = helper.make_tensor_value_info("x", 8, [1])
    with pytest.raises(ModelFormatError, match='input "x": element type 8 is not supported'):
        load(build([node("Identity", ["x"], ["y"])], [given], [value("y", None)]))


def test_an_output_of_another_type_than_declared_is_refused() -> None:
    with pytest.raises(ModelFormatError, match='output "y0" is declared float32 and computed as int64'):
        load(one_node("Abs", {"a": np.zeros(3, np.int64)}))


# --- what operators refuse


def bad(op: str, message: str, *shapes: tuple[int, ...], **more: Any) -> Any:
    return pytest.param(op, message, shapes, more, id=f"{op}-{message[:30]}")


@pytest.mark.parametrize(
    ("op", "message", "shapes", "more"),
    [
        bad("Add", r"shapes \[2, 3\] and \[2\] do not broadcast", (2, 3), (2,)),
        bad("MatMul", r"shapes \[2, 3\] and \[2, 3\] do not multiply", (2, 3), (2, 3)),
        bad("MatMul", "a scalar input", (), (2,)),
        bad("Gemm", r"expected matrices, got shapes \[2\] and \[2, 3\]", (2,), (2, 3)),
        bad("Gemm", r"shapes \[2, 3\] and \[2, 3\] do not multiply", (2, 3), (2, 3)),
        bad("Gemm", r"C of shape \[7\] does not broadcast to \[2, 4\]", (2, 3), (3, 4), (7,)),
        bad("Softmax", "axis 2 is out of range for rank 2", (2, 3), axis=2),
        bad("Softmax", "axis -3 is out of range for rank 2", (2, 3), axis=-3),
        bad("Transpose", r"perm \[0, 0\] does not permute 2 axes", (2, 3), perm=[0, 0]),
        bad("Flatten", "axis 3 is out of range for rank 2", (2, 3), axis=3),
        bad("Concat", r"cannot join \[2, 3\] and \[3, 3\] along axis 1", (2, 3), (3, 3), axis=1),
        bad("Squeeze", r"cannot squeeze axis 0 of \[2, 3\]", (2, 3), axes=[0], opset=11),
        bad("Squeeze", r"axes \[0, -2\] repeat", (1, 3), axes=[0, -2], opset=11),
        bad("Unsqueeze", r"axes \[0, 0\] repeat", (2, 3), axes=[0, 0], opset=11),
        bad("Split", r"cannot split 3 into \[1, 1\]", (2, 3), axis=1, split=[1, 1], outputs=2, opset=11),
        bad("ReduceMax", "axes 2 is out of range for rank 2", (2, 3), axes=[2]),
        bad("Gather", "expected int32 or int64 indices, got float32", (2, 3), (1,)),
        bad("Where", "expected a bool condition, got float32", (1,), (1,), (1,)),
        bad("Reshape", "the shape must be constant", (2, 3), (2,)),
    ],
)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_node_that_does_not_fit_its_inputs_is_refused(
    op: str, message: str, shapes: tuple[tuple[int, ...], ...], more: dict[str, Any], backend: str
) -> None:
    arrays = {name: np.zeros(shape, np.float32) for name, shape in zip("abcd", shapes, strict=False)}
    with pytest.raises((ModelFormatError, UnsupportedOperatorError), match=rf'in node "n" \({op}\): {message}'):
        load(one_node(op, arrays, **more), backend)


@pytest.mark.parametrize(
    ("op", "arrays", "message"),
    [
        ("Add", (np.zeros(2, np.float32), np.zeros(2, np.float64)), "inputs of different types: float32, float64"),
        ("Exp", (np.zeros(2, np.int64),), "expected a float tensor, got int64"),
        ("Softmax", (np.zeros(2, np.int64),), "expected a float tensor, got int64"),
        ("Reshape", (X, np.array([4, 2])), r"cannot reshape \[2, 3\] to \[4, 2\]"),
        ("Reshape", (X, np.array([-1, -1])), r"\[-1, -1\] is not a shape"),
        ("Reshape", (X, np.array([2, 3, 0])), r"dimension 2 of \[2, 3, 0\] copies one that \[2, 3\] does not have"),
        ("Reshape", (X, np.array([[6]])), r"the shape: expected a list of integers, got int64 \[1, 1\]"),
        ("Reshape", (X, np.array([6.0], np.float32)), r"the shape: expected a list of integers, got float32 \[1\]"),
        ("Expand", (X, np.array([4, 3])), r"cannot expand \[2, 3\] to \[4, 3\]"),
        ("Expand", (X, np.array([-1, 3])), r"cannot expand \[2, 3\] to \[-1, 3\]"),
        ("Tile", (X, np.array([2])), r"repeats \[2\] for shape \[2, 3\]"),
        ("Tile", (X, np.array([2, -1])), r"repeats \[2, -1\] for shape \[2, 3\]"),
        ("Gather", (X, np.array([0, 2])), "indices from 0 to 2 are out of range for 2"),
        ("Gather", (X, np.array([-3])), "indices from -3 to -3 are out of range for 2"),
        ("Slice", (X, np.array([0]), np.array([1, 1])), "starts, ends, axes and steps have different lengths"),
        ("Slice", (X, *(np.array([v]) for v in (0, 1, 0, 0))), "a step of 0"),
        ("Slice", (X, *(np.array([v]) for v in (0, 1, 2, 1))), "axes 2 is out of range for rank 2"),
        ("ConstantOfShape", (np.array([-1]),), r"negative dimension in \[-1\]"),
        ("Range", tuple(np.array(v) for v in (0, 1, 0)), "delta is 0"),
        ("Range", tuple(np.array(v, np.float32) for v in (0, np.inf, 1)), "expected finite scalars as start, limit"),
        ("Range", (np.array([0, 1]), np.array(2), np.array(1)), "expected finite scalars as start, limit and delta"),
        ("Clip", (X, np.zeros(2, np.float32)), "expected float32 scalars as bounds"),
        ("Dropout", (X, np.array(0.5, np.float32), np.array(True)), "training_mode is not implemented"),
    ],
)
def test_a_node_that_does_not_fit_its_constants_is_refused(op: str, arrays: tuple[Any, ...], message: str) -> None:
    given = dict(zip("abcde", arrays, strict=False))
    constant = list(given)[1:] if op not in ("ConstantOfShape", "Range") else list(given)
    with pytest.raises((ModelFormatError, UnsupportedOperatorError), match=rf'in node "n" \({op}\): {message}'):
        load(one_node(op, given, constant=constant))


@pytest.mark.parametrize(
    ("op", "dtypes"),
    [
        *(("Not", (np.float32,)), ("And", (np.float32, np.float32)), ("Or", (np.int64, np.int64))),
        *(("Neg", (np.bool_,)), ("Abs", (np.bool_,)), ("Sign", (np.bool_,)), ("Relu", (np.bool_,))),
        *(("Add", (np.bool_, np.bool_)), ("Sub", (np.bool_, np.bool_)), ("Div", (np.bool_, np.bool_))),
        *(("Max", (np.bool_, np.bool_)), ("Pow", (np.bool_, np.bool_)), ("Less", (np.bool_, np.bool_))),
        *(("MatMul", (np.bool_, np.bool_)), ("ReduceSum", (np.bool_,))),
    ],
)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_type_that_the_operator_does_not_take_is_refused(op: str, dtypes: tuple[type, ...], backend: str) -> None:
    arrays = {name: np.zeros((2, 2), dtype) for name, dtype in zip("ab", dtypes, strict=False)}
    with pytest.raises(ModelFormatError, match=rf'in node "n" \({op}\): expected .* got'):
        load(one_node(op, arrays), backend)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin", "ReduceMean"])
def test_a_reduction_over_nothing_is_refused(op: str) -> None:
    with pytest.raises(ModelFormatError, match=rf'in node "n" \({op}\): nothing to reduce in \[2, 0\]'):
        load(one_node(op, {"a": np.zeros((2, 0), np.float32)}, axes=[1]))


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_an_empty_perm_turns_the_axes_round(backend: str) -> None:
    model = ModelProto.FromString(one_node("Transpose", {"a": X}))
    model.graph.node[0].attribute.add(name="perm", type=7)
    assert load(model.SerializeToString(), backend)(X).shape == (3, 2)


def test_a_tensor_that_no_machine_holds_is_refused() -> None:
    inputs = [value("a", [2**20, 1]), value("b", [2**20])]
    with pytest.raises(ModelLimitError, match=r'in node "n" \(Add\): tensor_bytes is \d+, the limit is') as info:
        load(build([node("Add", ["a", "b"], ["y"], "n")], inputs, [value("y", None)]))
    assert info.value.limit == "tensor_bytes"


def test_a_cast_to_a_type_without_an_array_is_refused() -> None:
    with pytest.raises(UnsupportedOperatorError, match="element type 8 is not implemented") as info:
        load(one_node("Cast", {"a": X}, to=8))
    assert info.value.attribute == "to"


def test_softmax_before_opset_13_over_more_than_the_last_axis_is_refused() -> None:
    with pytest.raises(UnsupportedOperatorError, match="before opset 13, only the last axis is implemented"):
        load(one_node("Softmax", {"a": np.zeros((2, 3, 4), np.float32)}, axis=1, opset=11))


def test_a_dropout_mask_is_refused() -> None:
    with pytest.raises(UnsupportedOperatorError, match="the mask output is not implemented"):
        load(one_node("Dropout", {"a": X}, outputs=2))


# --- recurrent nodes


def cell(op: str = "LSTM", change: dict[str, np.ndarray | None] | None = None, **attributes: Any) -> bytes:
    """A recurrent node on x [4, 2, 3] with 5 units; ``change`` replaces or adds inputs by ONNX's names."""
    given: dict[str, np.ndarray | None] = {"X": draw(4, 2, 3), **weights(op, 3, 5), **(change or {})}
    names = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
    arrays = {name: given[name] for name in names if given.get(name) is not None}
    inputs = [name if name in arrays else "" for name in names]
    while not inputs[-1]:
        inputs.pop()
    constant = [name for name in arrays if name != "X"]
    return one_node(op, arrays, inputs=inputs, constant=constant, **{"hidden_size": 5, **attributes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("op", "attribute", "content"),
    [
        ("LSTM", "layout", 1),
        ("GRU", "layout", 1),
        ("RNN", "clip", 1.0),
        ("LSTM", "input_forget", 1),
        ("GRU", "output_sequence", 1),
        ("LSTM", "linear_before_reset", 1),
        ("LSTM", "activations", ["Sigmoid", "Tanh", "Gelu"]),
    ],
)
def test_a_recurrent_attribute_that_is_not_implemented_is_named(op: str, attribute: str, content: Any) -> None:
    with pytest.raises(UnsupportedOperatorError, match=rf'in node "n" \({op}\): .*not') as info:
        load(cell(op, **{attribute: content}))
    assert (info.value.node, info.value.attribute) == ("n", attribute)


def test_a_recurrent_input_that_is_not_implemented_is_named() -> None:
    with pytest.raises(UnsupportedOperatorError, match=r'in node "n" \(LSTM\): the input P is not implemented') as info:
        load(cell(change={"P": np.zeros((1, 15), np.float32)}))
    assert info.value.attribute == "P"


@pytest.mark.parametrize(
    ("op", "name", "shape", "expected"),
    [
        ("LSTM", "W", (1, 20, 4), r"W: expected \[1, 20, 3\], got \[1, 20, 4\]"),
        ("LSTM", "W", (20, 3), r"W: expected \[1, 20, 3\], got \[20, 3\]"),
        ("GRU", "R", (1, 15, 4), r"R: expected \[1, 15, 5\], got \[1, 15, 4\]"),
        ("RNN", "B", (1, 5), r"B: expected \[1, 10\], got \[1, 5\]"),
        ("LSTM", "initial_h", (2, 2, 5), r"initial_h: expected \[1, 2, 5\], got \[2, 2, 5\]"),
        ("LSTM", "initial_c", (1, 3, 5), r"initial_c: expected \[1, 2, 5\], got \[1, 3, 5\]"),
        ("GRU", "X", (4, 2), r"X: expected \[time, batch, features\], got \[4, 2\]"),
    ],
)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_recurrent_input_of_a_wrong_shape_is_refused(
    op: str, name: str, shape: tuple[int, ...], expected: str, backend: str
) -> None:
    with pytest.raises(ModelFormatError, match=rf'in node "n" \({op}\): {expected}'):
        load(cell(op, {name: np.zeros(shape, np.float32)}), backend)


def test_recurrent_weights_of_another_type_are_refused() -> None:
    change = {name: array.astype(np.float64) for name, array in weights("GRU", 3, 5).items()}
    with pytest.raises(UnsupportedOperatorError, match="W: expected float32, got float64"):
        load(cell("GRU", change))


def test_recurrent_weights_that_are_computed_are_refused() -> None:
    arrays = {"X": draw(4, 2, 3), **weights("GRU", 3, 5)}
    with pytest.raises(UnsupportedOperatorError, match=r'in node "n" \(GRU\): R must be constant'):
        load(one_node("GRU", arrays, constant=["W", "B"], hidden_size=5))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"hidden_size": 0}, "hidden_size: expected at least 1, got 0"),
        ({"hidden_size": 4}, r"W: expected \[1, 16, 3\], got \[1, 20, 3\]"),
        ({"direction": "sideways"}, "direction: expected one of forward, reverse, bidirectional, got 'sideways'"),
        ({"activations": ["Tanh"]}, r"activations: expected 3 names, got \['Tanh'\]"),
        ({"direction": "bidirectional"}, r"W: expected \[2, 20, 3\], got \[1, 20, 3\]"),
    ],
)
def test_a_recurrent_attribute_that_makes_no_sense_is_refused(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFormatError, match=rf'in node "n" \(LSTM\): {message}'):
        load(cell(**attributes))


# --- what runs


def test_fused_dense_layers_equal_the_plain_graph(isa: str) -> None:
    rng = np.random.default_rng(5)
    constants = {
        "A": rng.normal(size=(4, 19)).astype(np.float32),
        "a": rng.normal(size=19).astype(np.float32),
        "B": rng.normal(size=(3, 19)).astype(np.float32),
        "b": rng.normal(size=(1, 3)).astype(np.float32),
        "C": rng.normal(size=(3, 5)).astype(np.float32),
        "c": rng.normal(size=(2, 5)).astype(np.float32),
    }
    nodes = [
        node("MatMul", ["x", "A"], ["p"]),
        node("Add", ["a", "p"], ["q"]),
        node("Elu", ["q"], ["r"], alpha=0.5),
        node("Gemm", ["r", "B", "b"], ["s"], transB=1),
        node("LeakyRelu", ["s"], ["t"], alpha=0.2),
        node("MatMul", ["t", "C"], ["u"]),
        node("Add", ["u", "c"], ["v"]),  # not a bias: one row per batch
        node("Softplus", ["v"], ["w"]),
        node("Add", ["w", "v"], ["y"]),
    ]
    data = build(nodes, [value("x", [2, 4])], [value("y", [2, 5]), value("s", [2, 3])], constants)
    x = rng.normal(size=(2, 4)).astype(np.float32)
    found = edgeinfer.load(data, backend="native", isa=isa).run(None, {"x": x})
    for y, true in zip(found, ask_onnxruntime(data, {"x": x}), strict=True):
        np.testing.assert_allclose(y, true, rtol=0, atol=1e-5)


def test_what_no_output_needs_does_not_run() -> None:
    nodes = [node("Relu", ["x"], ["y"]), node("Gather", ["x", "far"], ["dead"], "dead", axis=0)]
    data = build(nodes, [value("x", [2]), value("far", [1], np.int64)], [value("y", [2])])
    y = load(data).run(None, {"x": np.array([-1, 1]), "far": np.array([99])})[0]
    np.testing.assert_array_equal(y, [0, 1])


def test_an_if_is_refused_naming_it() -> None:
    branch = helper.make_graph([node("Identity", ["x"], ["z"])], "b", [], [value("z", None)])
    nodes = [node("If", ["c"], ["y"], "choice", then_branch=branch, else_branch=branch)]
    data = build(nodes, [value("x", [1]), value("c", [], np.bool_)], [value("y", None)])
    with pytest.raises(UnsupportedOperatorError, match=r'in node "choice" \(If\): the operator is not implemented'):
        load(data)


def test_a_subgraph_as_an_attribute_of_a_known_operator_is_refused() -> None:
    branch = helper.make_graph([node("Identity", ["x"], ["z"])], "b", [], [value("z", None)])
    with pytest.raises(ModelFormatError, match="attribute axis: expected int"):
        load(one_node("Softmax", {"a": X}, axis=branch))


def test_every_operator_has_a_twin_and_a_time_rule() -> None:
    for op in every_operator().values():
        assert callable(op.twin)
        assert callable(op.time)
        assert callable(op.infer)


def test_more_inputs_and_outputs_than_the_core_has_bases_for_are_refused() -> None:
    names = [f"x{i}" for i in range(60)]
    data = build([node("Sum", names, ["y"])], [value(n, [1]) for n in names], [value("y", [1])])
    with pytest.raises(ModelLimitError, match="61 inputs and outputs, at most 56"):
        load(data)
    feeds = {name: np.ones(1, np.float32) for name in names}
    assert load(data, "reference").run(None, feeds)[0].tolist() == [60]


def test_a_bound_of_one_element_gives_a_scalar_no_axis() -> None:
    nodes = [node("Clip", ["x", "low", "high"], ["y"])]
    bounds = {"low": np.array([-1], np.float32), "high": np.array([2], np.float32)}
    data = build(nodes, [value("x", [])], [value("y", None)], bounds)
    for backend in ("native", "reference"):
        (y,) = load(data, backend).run(None, {"x": np.float32(3)})
        assert (y.shape, float(y)) == ((), 2.0)


def test_metadata_that_names_no_state_of_the_graph_is_refused() -> None:
    for pair, what in (({"input": "no", "output": "l/final_h"}, "input"), ({"input": "x", "output": "no"}, "output")):
        with pytest.raises(ModelFormatError, match=f'metadata edgeinfer.spec: states: the graph has no {what} "no"'):
            load(recurrent_model(spec={"states": [pair]}))


def test_an_output_that_is_the_next_state_of_two_inputs_is_refused() -> None:
    pairs = [{"input": "l/initial_h", "output": "l/final_c"}]  # as l/initial_c's output is, by the operator
    with pytest.raises(
        ModelFormatError,
        match="states: expected each output to be one input's next state, "
        '"l/final_c" is that of "l/initial_h" and of "l/initial_c"',
    ):
        load(recurrent_model("LSTM", spec={"states": pairs}))


def test_a_state_whose_output_has_another_shape_is_refused() -> None:
    data = recurrent_model(spec={"states": [{"input": "l/initial_h", "output": "y"}]})
    with pytest.raises(ModelFormatError, match=r'state input "l/initial_h" is float32 \[1, 1, 5\], its output "y" is'):
        load(data)


def test_thousands_of_nodes_of_one_name_are_numbered_in_no_time() -> None:
    count = 20_000
    nodes = [node("Relu", [f"v{i}"], [f"v{i + 1}"], "same") for i in range(count)]
    data = build(nodes, [value("v0", [1])], [value(f"v{count}", [1])])
    began = time.process_time()
    proto = read_model(data, Limits(parsed_bytes=1 << 30))
    names = [made.name for made in build_graph(proto).nodes]
    assert time.process_time() - began < 10  # one look per name and node took longer than that
    assert names[:3] == ["same", "same_2", "same_3"]
    assert len(set(names)) == count


def test_a_bias_of_another_type_is_refused_however_it_is_fused() -> None:
    constants = {"w": draw(3, 5), "b": np.arange(5, dtype=np.int32)}
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "b"], ["y"], "n")]
    data = build(nodes, [value("x", ["n", "m"])], [value("y", None)], constants)
    message = r'in node "n" \(Add\): inputs of different types: float32, int32'
    with pytest.raises(edgeinfer.InputError, match=message):
        load(data)(X)
    nodes = [node("Gemm", ["x", "w", "b"], ["y"], "n")]
    data = build(nodes, [value("x", ["n", "m"])], [value("y", None)], constants)
    with pytest.raises(edgeinfer.InputError, match=r'in node "n" \(Gemm\)'):
        load(data)(X)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_bias_that_is_a_column_gives_each_row_its_own(backend: Any) -> None:
    w, bias = draw(3, 2), np.array([[10.0], [20.0]], np.float32)
    data = build([node("Gemm", ["x", "w", "b"], ["y"])], [value("x", [2, 3])], [value("y", None)], {"w": w, "b": bias})
    x = draw(2, 3, seed=5)
    np.testing.assert_allclose(load(data, backend)(x), x @ w + bias, atol=1e-6)
    np.testing.assert_allclose(ask_onnxruntime(data, {"x": x})[0], x @ w + bias, atol=1e-6)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("known", [True, False])
def test_a_gemm_of_more_than_matrices_is_refused_however_it_is_fused(backend: Any, known: bool) -> None:
    shape = [2, 2, 3] if known else ["a", "b", "c"]
    data = build([node("Gemm", ["x", "w"], ["y"], "n")], [value("x", shape)], [value("y", None)], {"w": draw(3, 4)})
    message = r"(shapes|expected matrices, got shapes) \[2, 2, 3\] and \[3, 4\]"
    with pytest.raises(edgeinfer.EdgeInferError, match=message):
        load(data, backend)(draw(2, 2, 3))
