"""The reader: right bytes become arrays, any other bytes a typed error with the place."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from graphs import build, node, one_node, recurrent_model, value
from onnx import ModelProto, TensorProto, helper, numpy_helper

import edgeinfer
from edgeinfer.errors import ModelFormatError, ModelLimitError, ModelLoadError
from edgeinfer.limits import DEFAULT
from edgeinfer.onnx_file import ExternalData, read_model, tensor_to_array
from edgeinfer.onnx_file import TensorProto as StoredTensor
from edgeinfer.onnx_file.wire import Span, fields, read_varint

SMALL = recurrent_model("RNN", features=1, hidden=2, outputs=1, spec={"task": "forecast"})


def as_array(tensor: StoredTensor) -> np.ndarray:
    return tensor_to_array(tensor, ExternalData(None, DEFAULT), DEFAULT)


def changed(**parts: object) -> bytes:
    """A file that adds one tensor to x, the tensor made with helper.make_tensor's or TensorProto's own fields."""
    tensor = TensorProto(name="t", **parts)  # type: ignore[arg-type]
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    return build([node("Identity", ["t"], ["y"])], [], [value("y", None, dtype)], [tensor])


def loaded(data: bytes) -> np.ndarray:
    (y,) = edgeinfer.load(data).run(None, {})
    return y


def test_every_prefix_of_a_model_is_refused_or_loads() -> None:
    refused = 0
    for length in range(len(SMALL)):
        try:
            edgeinfer.load(SMALL[:length])
        except ModelFormatError:
            refused += 1
        except edgeinfer.UnsupportedOperatorError:
            pytest.fail(f"a file cut at {length} is no operator's fault")
    # what a prefix may lose and still be a model is the metadata and the opset, which stand after the graph
    assert refused > 0.8 * len(SMALL)


def test_a_truncated_model_is_refused_with_the_offset() -> None:
    with pytest.raises(ModelFormatError, match=r"truncated: field 7 needs \d+ bytes, \d+ are left at byte \d+") as info:
        read_model(SMALL[:100])
    assert info.value.offset is not None


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.onnx", SMALL)
    return file.getvalue()


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [b"hello, world\n" * 20, b"{}", _png(), _zip(), b"\0" * 64, b"\xff" * 64, b"a,b\n1,2\n", b"\x08\x08"],
    ids=["text", "json", "png", "zip", "zeros", "ones", "csv", "only a version"],
)
def test_what_is_not_onnx_is_refused(data: bytes) -> None:
    with pytest.raises(ModelFormatError, match="not an ONNX model"):
        edgeinfer.load(data)


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ModelFormatError, match="not an ONNX model: the file is empty at byte 0"):
        edgeinfer.load(b"")


def test_the_error_names_the_file(tmp_path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(SMALL[:50])
    with pytest.raises(ModelFormatError, match=r"broken\.onnx: not an ONNX model: truncated") as info:
        edgeinfer.load(path)
    assert info.value.path == str(path)


def test_a_file_without_an_opset_is_refused() -> None:
    model = ModelProto.FromString(SMALL)
    del model.opset_import[:]
    with pytest.raises(ModelFormatError, match=r"no opset_import for ai\.onnx"):
        read_model(model.SerializeToString())


def test_a_file_without_a_graph_is_refused() -> None:
    model = ModelProto.FromString(SMALL)
    model.ClearField("graph")
    with pytest.raises(ModelFormatError, match="no graph in it"):
        read_model(model.SerializeToString())


def test_metadata_producer_and_versions_are_read() -> None:
    model = ModelProto.FromString(one_node("Relu", {"a": np.zeros(1, np.float32)}))
    model.producer_name, model.producer_version = "someone", "1.2"
    helper.set_model_props(model, {"a": "1", "ключ": "значение"})
    read = read_model(model.SerializeToString())
    assert read.metadata == {"a": "1", "ключ": "значение"}
    assert read.producer == "someone 1.2"
    assert read.ir_version == 8
    assert read.opsets == {"": 17}
    assert read.graph.name == "test"


def test_the_domain_ai_onnx_is_the_default_domain() -> None:
    model = ModelProto.FromString(one_node("Relu", {"a": np.zeros(1, np.float32)}))
    model.opset_import[0].domain = "ai.onnx"
    model.graph.node[0].domain = "ai.onnx"
    assert edgeinfer.load(model.SerializeToString())(np.array([-1.0])).tolist() == [0.0]


def test_model_local_functions_are_refused() -> None:
    model = ModelProto.FromString(SMALL)
    model.functions.add().name = "f"
    with pytest.raises(ModelFormatError, match="model-local functions are not supported"):
        read_model(model.SerializeToString())


def test_sparse_initializers_are_refused() -> None:
    model = ModelProto.FromString(SMALL)
    model.graph.sparse_initializer.add()
    with pytest.raises(ModelFormatError, match="sparse initializers are not supported"):
        read_model(model.SerializeToString())


def test_an_input_that_is_no_tensor_is_refused() -> None:
    model = ModelProto.FromString(SMALL)
    model.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [1]))
    with pytest.raises(ModelFormatError, match='"x": only tensors are supported'):
        read_model(model.SerializeToString())


# --- tensors


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int32", "int16", "int8"])
def test_raw_data_is_read(dtype: str) -> None:
    array = np.array([[1, -2], [3, 4]], dtype)
    y = loaded(build([node("Identity", ["t"], ["y"])], [], [value("y", None, array.dtype)], {"t": array}))
    np.testing.assert_array_equal(y, array)
    assert y.dtype == array.dtype


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "bool"])
def test_unsigned_raw_data_is_read(dtype: str) -> None:
    array = np.array([0, 1, 200 if dtype != "bool" else 1], dtype)
    np.testing.assert_array_equal(as_array(_stored(numpy_helper.from_array(array, "t"))), array)


def _stored(tensor: TensorProto):
    model = ModelProto.FromString(one_node("Relu", {"a": np.zeros(1, np.float32)}))
    model.graph.initializer.append(tensor)
    return read_model(model.SerializeToString()).graph.initializers[0]


@pytest.mark.parametrize(
    ("data_type", "field", "numbers"),
    [
        (TensorProto.FLOAT, "float_data", [1.5, -2.0]),
        (TensorProto.DOUBLE, "double_data", [1.5, -1e300]),
        (TensorProto.INT32, "int32_data", [1, -(2**31)]),
        (TensorProto.INT64, "int64_data", [-1, 2**62]),
        (TensorProto.INT8, "int32_data", [-128, 127]),
        (TensorProto.UINT8, "int32_data", [0, 255]),
        (TensorProto.INT16, "int32_data", [-5, 5]),
        (TensorProto.UINT16, "int32_data", [0, 65535]),
        (TensorProto.BOOL, "int32_data", [0, 1]),
        (TensorProto.UINT32, "uint64_data", [0, 2**32 - 1]),
        (TensorProto.UINT64, "uint64_data", [0, 2**64 - 1]),
    ],
)
def test_typed_data_is_read(data_type: int, field: str, numbers: list[float]) -> None:
    tensor = TensorProto(name="t", data_type=data_type, dims=[2], **{field: numbers})
    array = as_array(_stored(tensor))
    assert array.dtype == helper.tensor_dtype_to_np_dtype(data_type)
    assert array.tolist() == numbers
    assert not array.flags.writeable


def test_float16_stands_as_bits_in_int32_data() -> None:
    array = np.array([1.5, -2.0, 65504.0], np.float16)
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT16, dims=[3], int32_data=array.view(np.uint16).tolist())
    np.testing.assert_array_equal(loaded(changed(**_fields(tensor))), array)


def _fields(tensor: TensorProto) -> dict[str, object]:
    return {d.name: v for d, v in tensor.ListFields() if d.name != "name"}


def test_unpacked_repeated_numbers_are_read_as_packed_ones_are() -> None:
    packed = TensorProto(name="t", data_type=TensorProto.INT64, dims=[3], int64_data=[1, 2, 3]).SerializeToString()
    block = b"\x3a\x03\x01\x02\x03"
    assert block in packed
    unpacked = packed.replace(block, b"\x38\x01\x38\x02\x38\x03")
    model = ModelProto.FromString(one_node("Relu", {"a": np.zeros(1, np.float32)}))
    graph = model.graph.SerializeToString() + b"\x2a" + bytes([len(unpacked)]) + unpacked
    model.ClearField("graph")
    head = model.SerializeToString()
    size = len(graph)
    data = head + b"\x3a" + bytes([size & 0x7F | 0x80, size >> 7]) + graph
    assert as_array(read_model(data).graph.initializers[0]).tolist() == [1, 2, 3]


@pytest.mark.parametrize("size", [0, 1, 7, 9, 12])
def test_a_wrong_number_of_raw_bytes_is_refused(size: int) -> None:
    data = changed(data_type=TensorProto.FLOAT, dims=[2], raw_data=bytes(size))
    with pytest.raises(
        ModelFormatError, match=rf'tensor "t": expected 8 bytes for float32 \[2\], got {size} at byte \d+'
    ):
        edgeinfer.load(data)


def test_a_wrong_number_of_values_is_refused() -> None:
    data = changed(data_type=TensorProto.FLOAT, dims=[2, 2], float_data=[1.0, 2.0])
    with pytest.raises(ModelFormatError, match=r'tensor "t": expected 16 bytes for float32 \[2, 2\], got 8'):
        edgeinfer.load(data)


def test_a_wrong_number_of_integers_is_refused() -> None:
    data = changed(data_type=TensorProto.INT32, dims=[2, 2], int32_data=[1, 2])
    with pytest.raises(ModelFormatError, match=r'tensor "t": expected 4 values for \[2, 2\], got 2'):
        edgeinfer.load(data)


def test_values_in_the_list_of_another_type_are_refused() -> None:
    data = changed(data_type=TensorProto.FLOAT, dims=[2], double_data=[1.0])
    with pytest.raises(ModelFormatError, match='tensor "t": double_data in a tensor of type 1'):
        edgeinfer.load(data)


def test_a_value_that_its_type_does_not_hold_is_refused() -> None:
    data = changed(data_type=TensorProto.INT8, dims=[1], int32_data=[1000])
    with pytest.raises(ModelFormatError, match='tensor "t": a value does not fit int8'):
        edgeinfer.load(data)


def test_a_negative_dimension_is_refused() -> None:
    data = changed(data_type=TensorProto.FLOAT, dims=[-1], float_data=[1.0])
    with pytest.raises(ModelFormatError, match=r'tensor "t": negative dimension in \[-1\]'):
        edgeinfer.load(data)


@pytest.mark.parametrize("dims", [[0, 2**62, 2**62], [1] * 100])
def test_a_shape_that_no_array_has_is_refused(dims: list[int]) -> None:
    raw = b"" if 0 in dims else bytes(4)
    with pytest.raises(
        ModelLimitError, match=r'tensor "t?" at byte .*: (rank|dimension|tensor_bytes) is \d+, the limit is'
    ):
        edgeinfer.load(changed(data_type=TensorProto.FLOAT, dims=dims, raw_data=raw))


def test_strings_are_refused() -> None:
    model = ModelProto.FromString(SMALL)
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, [1], [b"a"]))
    with pytest.raises(ModelFormatError, match="strings are not supported"):
        edgeinfer.load(model.SerializeToString())


def test_an_element_type_without_a_numpy_dtype_is_refused() -> None:
    model = ModelProto.FromString(SMALL)
    tensor = TensorProto(name="t", data_type=TensorProto.BFLOAT16, dims=[1], raw_data=b"\0\0")
    model.graph.initializer.append(tensor)
    with pytest.raises(ModelFormatError, match='tensor "t": element type 16 is not supported'):
        edgeinfer.load(model.SerializeToString())


# --- attributes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": 0}, "attribute perm: type 0 is not supported"),
        ({"type": 9}, "attribute perm: tensors is not supported"),
        ({"type": 4}, "attribute perm has no value"),
        ({"ref_attr_name": "p"}, "attribute perm: references are not supported"),
    ],
)
def test_a_strange_attribute_is_refused(change: dict[str, object], message: str) -> None:
    model = ModelProto.FromString(one_node("Transpose", {"a": np.zeros((2, 3), np.float32)}, perm=[1, 0]))
    attribute = model.graph.node[0].attribute[0]
    for name, content in change.items():
        setattr(attribute, name, content)
    with pytest.raises(ModelFormatError, match=message):
        edgeinfer.load(model.SerializeToString())


def test_an_attribute_that_stands_twice_is_refused() -> None:
    model = ModelProto.FromString(one_node("Transpose", {"a": np.zeros((2, 3), np.float32)}, perm=[1, 0]))
    model.graph.node[0].attribute.append(model.graph.node[0].attribute[0])
    with pytest.raises(ModelFormatError, match="attribute perm stands twice"):
        edgeinfer.load(model.SerializeToString())


def test_a_node_without_an_operator_is_refused() -> None:
    model = ModelProto.FromString(SMALL)
    model.graph.node[0].op_type = ""
    with pytest.raises(ModelFormatError, match='node "before" has no op_type'):
        edgeinfer.load(model.SerializeToString())


@pytest.mark.parametrize(
    ("op", "name", "value_"),
    [
        ("Transpose", "perm", "text"),
        ("Transpose", "perm", 1),
        ("Transpose", "perm", [1.0, 0.0]),
        ("Transpose", "perm", ["a"]),
        ("Softmax", "axis", "text"),
        ("Softmax", "axis", 1.0),
        ("Concat", "axis", [1]),
        ("Cast", "to", [1]),
        ("Cast", "to", "FLOAT"),
        ("Elu", "alpha", 1),
        ("Shape", "end", 1.5),
        ("Gelu", "approximate", 3),
        ("ReduceMax", "axes", "text"),
        ("ReduceMax", "axes", [0.5]),
        ("ReduceMax", "keepdims", np.zeros(1)),
    ],
)
def test_an_attribute_of_another_type_is_refused_naming_it(op: str, name: str, value_: object) -> None:
    given = numpy_helper.from_array(value_) if isinstance(value_, np.ndarray) else value_
    opset = 20 if op == "Gelu" else 17
    data = one_node(op, {"a": np.zeros((2, 3), np.float32)}, opset=opset, **{name: given})
    with pytest.raises(ModelFormatError, match=rf'in node "n" \({op}\): attribute {name}: expected'):
        edgeinfer.load(data)


# --- the wire


def _field(data: bytes) -> object:
    (item,) = fields(Span(memoryview(data), 0, len(data)))
    return item


@pytest.mark.parametrize(
    ("data", "message", "offset"),
    [
        (b"\x80", "truncated: the data end within a varint", 0),
        (b"\x08" + b"\xff" * 11, "a varint is longer than ten bytes", 1),
        (b"\x00\x01", "not a protobuf field: number 0", 0),
        (b"\x08\x01\x0b\x00", "not a protobuf field: wire type 3", 2),
        (b"\x0a\x05abc", "truncated: field 1 needs 5 bytes, 3 are left", 0),
        (b"\x0d\x00\x00", "truncated: field 1 needs 4 bytes, 2 are left", 0),
        (b"\x09\x00\x00", "truncated: field 1 needs 8 bytes, 2 are left", 0),
    ],
)
def test_a_broken_wire_is_refused_with_its_offset(data: bytes, message: str, offset: int) -> None:
    with pytest.raises(ModelFormatError, match=f"{message} at byte {offset}") as info:
        list(fields(Span(memoryview(data), 0, len(data))))
    assert info.value.offset == offset


@pytest.mark.parametrize(
    ("method", "data", "message"),
    [
        ("integer", b"\x0a\x00", "field 1: expected a varint, got wire type 2"),
        ("integers", b"\x0d\x00\x00\x00\x00", "field 1: expected a length-delimited value, got wire type 5"),
        ("float32", b"\x08\x00", "field 1: expected a 32-bit float, got wire type 0"),
        ("floats", b"\x0a\x03abc", "field 1: expected packed 32-bit floats, got 3 bytes"),
        ("text", b"\x0a\x01\xff", "field 1: expected UTF-8 text"),
        ("message", b"\x08\x00", "field 1: expected a length-delimited value, got wire type 0"),
    ],
)
def test_a_field_of_another_type_is_refused(method: str, data: bytes, message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        getattr(_field(data), method)()


def test_a_varint_is_a_64_bit_number() -> None:
    ten = b"\xff" * 9 + b"\x01"
    assert read_varint(memoryview(ten), 0, 10) == (2**64 - 1, 10)
    assert _field(b"\x08" + ten).integer() == -1  # type: ignore[attr-defined]


def test_all_errors_of_loading_have_one_base() -> None:
    assert issubclass(ModelFormatError, ModelLoadError)
    assert issubclass(ModelLimitError, ModelLoadError)
