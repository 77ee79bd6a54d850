"""ONNX messages out of protobuf fields. Field numbers are those of onnx/onnx.proto."""

from __future__ import annotations

from ..errors import ModelFormatError
from .messages import Attribute, GraphProto, ModelProto, NodeProto, TensorProto, ValueProto
from .wire import Field, Span, fields

_FLOAT, _INT, _STRING, _TENSOR, _GRAPH = 1, 2, 3, 4, 5
_FLOATS, _INTS, _STRINGS = 6, 7, 8
_TYPE_NAMES = {9: "tensors", 10: "graphs", 11: "sparse_tensor", 12: "sparse_tensors", 13: "type", 14: "types"}


def read_model(data: bytes | memoryview) -> ModelProto:
    """Parse an ONNX file.

    Raises ModelFormatError with the byte offset where the bytes are not a complete ONNX model.
    """
    view = memoryview(data).cast("B")
    ir_version, producer, version = 0, "", ""
    opsets: dict[str, int] = {}
    metadata: dict[str, str] = {}
    graph: Span | None = None
    if not len(view):
        raise ModelFormatError("not an ONNX model: the file is empty", offset=0)
    try:
        for item in fields(Span(view, 0, len(view))):
            if item.number == 1:
                ir_version = item.integer()
            elif item.number == 2:
                producer = item.text()
            elif item.number == 3:
                version = item.text()
            elif item.number == 7:
                graph = item.message()
            elif item.number == 8:
                domain, opset = _opset(item.message())
                opsets["" if domain == "ai.onnx" else domain] = opset
            elif item.number == 14:
                key, value = _entry(item.message())
                metadata[key] = value
            elif item.number == 25:
                raise ModelFormatError("model-local functions are not supported; inline them", offset=item.offset)
        if graph is None:
            raise ModelFormatError("no graph in it")
        if "" not in opsets:
            raise ModelFormatError("no opset_import for ai.onnx in it; the file may be truncated")
    except ModelFormatError as error:
        raise ModelFormatError(f"not an ONNX model: {error.message}", offset=error.offset) from None
    return ModelProto(ir_version, f"{producer} {version}".strip(), opsets, _graph(graph), metadata)


def _opset(span: Span) -> tuple[str, int]:
    domain, version = "", 0
    for item in fields(span):
        if item.number == 1:
            domain = item.text()
        elif item.number == 2:
            version = item.integer()
    return domain, version


def _entry(span: Span) -> tuple[str, str]:
    key = value = ""
    for item in fields(span):
        if item.number == 1:
            key = item.text()
        elif item.number == 2:
            value = item.text()
    return key, value


def _graph(span: Span) -> GraphProto:
    name = ""
    nodes, initializers, inputs, outputs = [], [], [], []
    for item in fields(span):
        if item.number == 1:
            nodes.append(_node(item))
        elif item.number == 2:
            name = item.text()
        elif item.number == 5:
            initializers.append(_tensor(item))
        elif item.number == 11:
            inputs.append(_value(item))
        elif item.number == 12:
            outputs.append(_value(item))
        elif item.number == 15:
            raise ModelFormatError("sparse initializers are not supported", offset=item.offset)
    return GraphProto(name, tuple(nodes), tuple(initializers), tuple(inputs), tuple(outputs))


def _node(field: Field) -> NodeProto:
    op_type = name = domain = ""
    inputs, outputs = [], []
    attributes: dict[str, Attribute] = {}
    for item in fields(field.message()):
        if item.number == 1:
            inputs.append(item.text())
        elif item.number == 2:
            outputs.append(item.text())
        elif item.number == 3:
            name = item.text()
        elif item.number == 4:
            op_type = item.text()
        elif item.number == 5:
            attribute = _attribute(item)
            if attribute.name in attributes:
                raise ModelFormatError(f"attribute {attribute.name} stands twice", offset=item.offset)
            attributes[attribute.name] = attribute
        elif item.number == 7:
            domain = item.text()
    if not op_type:
        raise ModelFormatError(f'node "{name}" has no op_type', offset=field.offset)
    if domain == "ai.onnx":
        domain = ""
    return NodeProto(op_type, name, domain, tuple(inputs), tuple(outputs), attributes, field.offset)


def _attribute(field: Field) -> Attribute:
    name = ""
    kind = 0
    number: int = 0
    real: float = 0.0
    string: bytes = b""
    tensor: TensorProto | None = None
    graph: Span | None = None
    floats: list[float] = []
    ints: list[int] = []
    strings: list[bytes] = []
    for item in fields(field.message()):
        if item.number == 1:
            name = item.text()
        elif item.number == 2:
            real = item.float32()
        elif item.number == 3:
            number = item.integer()
        elif item.number == 4:
            string = item.bytes()
        elif item.number == 5:
            tensor = _tensor(item)
        elif item.number == 6:
            graph = item.message()
        elif item.number == 7:
            floats += item.floats()
        elif item.number == 8:
            ints += item.integers()
        elif item.number == 9:
            strings.append(item.bytes())
        elif item.number == 20:
            kind = item.integer()
        elif item.number == 21:
            raise ModelFormatError(f"attribute {name}: references are not supported", offset=item.offset)
    value: object
    if kind == _FLOAT:
        value = real
    elif kind == _INT:
        value = number
    elif kind == _STRING:
        value = string
    elif kind == _TENSOR:
        value = tensor
    elif kind == _GRAPH:
        value = graph
    elif kind == _FLOATS:
        value = tuple(floats)
    elif kind == _INTS:
        value = tuple(ints)
    elif kind == _STRINGS:
        value = tuple(strings)
    else:
        shown = _TYPE_NAMES.get(kind, f"type {kind}")
        raise ModelFormatError(f"attribute {name}: {shown} is not supported", offset=field.offset)
    if value is None:
        raise ModelFormatError(f"attribute {name} has no value", offset=field.offset)
    return Attribute(name, value, field.offset)


def _tensor(field: Field) -> TensorProto:
    name = ""
    data_type = location = 0
    dims: list[int] = []
    raw: Span | None = None
    numbers: list[float | int] = []
    for item in fields(field.message()):
        if item.number == 1:
            dims += item.integers()
        elif item.number == 2:
            data_type = item.integer()
        elif item.number == 4:
            numbers += item.floats()
        elif item.number in (5, 7, 11):
            numbers += item.integers()
        elif item.number == 6:
            raise ModelFormatError(f"tensor {name}: strings are not supported", offset=item.offset)
        elif item.number == 8:
            name = item.text()
        elif item.number == 9:
            raw = item.message()
        elif item.number == 10:
            # double_data: eight bytes each, as raw_data of the same type has them
            raw = item.message()
        elif item.number == 14:
            location = item.integer()
    return TensorProto(name, data_type, tuple(dims), raw, tuple(numbers), location == 1, field.offset)


def _value(field: Field) -> ValueProto:
    name = ""
    type_span: Span | None = None
    for item in fields(field.message()):
        if item.number == 1:
            name = item.text()
        elif item.number == 2:
            type_span = item.message()
    elem_type = 0
    shape: tuple[int | str | None, ...] | None = None
    if type_span is not None:
        for item in fields(type_span):
            if item.number != 1:
                raise ModelFormatError(f'"{name}": only tensors are supported', offset=item.offset)
            elem_type, shape = _tensor_type(item.message())
    return ValueProto(name, elem_type, shape, field.offset)


def _tensor_type(span: Span) -> tuple[int, tuple[int | str | None, ...] | None]:
    elem_type = 0
    shape: tuple[int | str | None, ...] | None = None
    for item in fields(span):
        if item.number == 1:
            elem_type = item.integer()
        elif item.number == 2:
            shape = tuple(_dim(dim.message()) for dim in fields(item.message()) if dim.number == 1)
    return elem_type, shape


def _dim(span: Span) -> int | str | None:
    value: int | str | None = None
    for item in fields(span):
        if item.number == 1:
            value = item.integer()
        elif item.number == 2:
            value = item.text() or None
    return value
