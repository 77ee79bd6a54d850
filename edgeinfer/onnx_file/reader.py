"""ONNX messages out of protobuf fields. Field numbers are those of onnx/onnx.proto.

Subgraphs are not read: the operators that have them are not implemented. They are only searched for external data,
which a backend that takes the whole file would open.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import ModelFormatError
from ..limits import DEFAULT, Limits
from .messages import Attribute, GraphProto, ModelProto, NodeProto, TensorProto, ValueProto
from .wire import BYTES, Field, Span, fields

_FLOAT, _INT, _STRING, _TENSOR, _GRAPH = 1, 2, 3, 4, 5
_FLOATS, _INTS, _STRINGS = 6, 7, 8
_TYPE_NAMES = {9: "tensors", 10: "graphs", 11: "sparse_tensor", 12: "sparse_tensors", 13: "type", 14: "types"}
# TensorProto.DataType of the tensors whose float_data and double_data are what raw_data would be.
_FLOAT32, _FLOAT64 = 1, 11
_EXTERNAL = 1
_VARINT_BYTES = 10


def read_model(data: bytes | memoryview, limits: Limits = DEFAULT) -> ModelProto:
    """Parse an ONNX file.

    Raises ModelFormatError with the byte offset where the bytes are not a complete ONNX model, ModelLimitError where
    they hold more than ``limits`` allow.
    """
    view = memoryview(data).cast("B")
    limits.check("file_bytes", len(view), "the file")
    ir_version, producer, version = 0, "", ""
    opsets: dict[str, int] = {}
    metadata: dict[str, str] = {}
    metadata_bytes = 0
    graph: Span | None = None
    if not len(view):
        raise ModelFormatError("not an ONNX model: the file is empty", offset=0)
    try:
        for item in fields(Span(view, 0, len(view))):
            if item.number == 1:
                ir_version = item.integer()
            elif item.number == 2:
                producer = _name(item, limits, "the producer")
            elif item.number == 3:
                version = _name(item, limits, "the producer's version")
            elif item.number == 7:
                graph = item.message()
            elif item.number == 8:
                domain, opset = _opset(item.message(), limits)
                opsets["" if domain == "ai.onnx" else domain] = opset
                limits.check("attributes", len(opsets), "opset_import", item.offset)
            elif item.number == 14:
                metadata_bytes += len(item.message())
                limits.check("metadata_bytes", metadata_bytes, "the metadata", item.offset)
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
    read = _graph(graph, limits)
    return ModelProto(
        ir_version, f"{producer} {version}".strip(), opsets, read, _has_external_data(read, limits), metadata
    )


def _name(item: Field, limits: Limits, what: str) -> str:
    limits.check("name_bytes", len(item.message()), f"the name of {what}", item.offset)
    return item.text()


def _opset(span: Span, limits: Limits) -> tuple[str, int]:
    domain, version = "", 0
    for item in fields(span):
        if item.number == 1:
            domain = _name(item, limits, "a domain")
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


def _graph(span: Span, limits: Limits) -> GraphProto:
    name = ""
    nodes, initializers, inputs, outputs = [], [], [], []
    edges = 0
    for item in fields(span):
        if item.number == 1:
            nodes.append(_node(item, limits))
            edges += len(nodes[-1].inputs) + len(nodes[-1].outputs)
            limits.check("nodes", len(nodes), "the graph", item.offset)
            limits.check("edges", edges, "the graph", item.offset)
        elif item.number == 2:
            name = _name(item, limits, "the graph")
        elif item.number == 5:
            initializers.append(_tensor(item, limits))
            limits.check("tensors", len(initializers), "the graph's initializers", item.offset)
        elif item.number == 11:
            inputs.append(_value(item, limits))
            limits.check("tensors", len(inputs), "the graph's inputs", item.offset)
        elif item.number == 12:
            outputs.append(_value(item, limits))
            limits.check("tensors", len(outputs), "the graph's outputs", item.offset)
        elif item.number == 15:
            raise ModelFormatError("sparse initializers are not supported", offset=item.offset)
    return GraphProto(name, tuple(nodes), tuple(initializers), tuple(inputs), tuple(outputs))


def _node(field: Field, limits: Limits) -> NodeProto:
    op_type = name = domain = ""
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: dict[str, Attribute] = {}
    for item in fields(field.message()):
        if item.number in (1, 2):
            (inputs if item.number == 1 else outputs).append(_name(item, limits, "a node's input or output"))
            limits.check("edges", len(inputs) + len(outputs), "a node", field.offset)
        elif item.number == 3:
            name = _name(item, limits, "a node")
        elif item.number == 4:
            op_type = _name(item, limits, "an operator")
        elif item.number == 5:
            attribute = _attribute(item, limits)
            if attribute.name in attributes:
                raise ModelFormatError(f"attribute {attribute.name} stands twice", offset=item.offset)
            attributes[attribute.name] = attribute
            limits.check("attributes", len(attributes), f'node "{name}"', field.offset)
        elif item.number == 7:
            domain = _name(item, limits, "a domain")
    if not op_type:
        raise ModelFormatError(f'node "{name}" has no op_type', offset=field.offset)
    if domain == "ai.onnx":
        domain = ""
    return NodeProto(op_type, name, domain, tuple(inputs), tuple(outputs), attributes, field.offset)


def _attribute(field: Field, limits: Limits) -> Attribute:
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
            name = _name(item, limits, "an attribute")
        elif item.number == 2:
            real = item.float32()
        elif item.number == 3:
            number = item.integer()
        elif item.number == 4:
            limits.check("name_bytes", len(item.message()), f"attribute {name}", item.offset)
            string = item.bytes()
        elif item.number == 5:
            tensor = _tensor(item, limits)
        elif item.number == 6:
            graph = item.message()
        elif item.number == 7:
            floats += _listed(item, limits, name).floats()
        elif item.number == 8:
            ints += _listed(item, limits, name).integers()
        elif item.number == 9:
            limits.check("name_bytes", len(item.message()), f"attribute {name}", item.offset)
            strings.append(item.bytes())
        elif item.number == 20:
            kind = item.integer()
        elif item.number == 21:
            raise ModelFormatError(f"attribute {name}: references are not supported", offset=item.offset)
        limits.check("listed_values", max(len(floats), len(ints), len(strings)), f"attribute {name}", field.offset)
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


def _listed(item: Field, limits: Limits, what: str) -> Field:
    """The field, once it is known that its packed numbers are not too many to be made a list."""
    if item.wire_type == BYTES:
        limits.check("listed_values", len(item.span) // _VARINT_BYTES, what, item.offset)
    return item


def _tensor(field: Field, limits: Limits) -> TensorProto:
    name = ""
    data_type = location = 0
    dims: list[int] = []
    # what holds the values, and of which type they must be; None for any
    raw: Span | None = None
    raw_type: int | None = None
    numbers: list[float | int] = []
    external: list[tuple[str, str]] = []
    for item in fields(field.message()):
        if item.number == 1:
            if item.wire_type == BYTES:
                limits.check("rank", len(item.span) // _VARINT_BYTES, f'tensor "{name}"', item.offset)
            dims += item.integers()
            limits.check("rank", len(dims), f'tensor "{name}"', item.offset)
        elif item.number == 2:
            data_type = item.integer()
        elif item.number in (4, 10) and item.wire_type == BYTES and raw is None and not numbers:
            # float_data and double_data, packed: the same bytes as raw_data
            raw, raw_type = item.message(), _FLOAT32 if item.number == 4 else _FLOAT64
        elif item.number == 4:
            numbers += _listed(item, limits, f'tensor "{name}"').floats()
        elif item.number in (5, 7, 11):
            numbers += _listed(item, limits, f'tensor "{name}"').integers()
        elif item.number == 6:
            raise ModelFormatError(f"tensor {name}: strings are not supported", offset=item.offset)
        elif item.number == 8:
            name = _name(item, limits, "a tensor")
        elif item.number in (9, 10):
            raw, raw_type = item.message(), None if item.number == 9 else _FLOAT64
        elif item.number == 13:
            external.append(_entry(item.message()))
            limits.check("attributes", len(external), f'tensor "{name}": external_data', item.offset)
        elif item.number == 14:
            location = item.integer()
        limits.check("listed_values", len(numbers), f'tensor "{name}"', field.offset)
    if raw_type is not None and raw_type != data_type:
        listed = "float_data" if raw_type == _FLOAT32 else "double_data"
        raise ModelFormatError(f'tensor "{name}": {listed} in a tensor of type {data_type}', offset=field.offset)
    where = tuple(external) if location == _EXTERNAL else None
    return TensorProto(name, data_type, tuple(dims), raw, tuple(numbers), where, field.offset)


def _value(field: Field, limits: Limits) -> ValueProto:
    name = ""
    type_span: Span | None = None
    for item in fields(field.message()):
        if item.number == 1:
            name = _name(item, limits, "an input or output")
        elif item.number == 2:
            type_span = item.message()
    elem_type = 0
    shape: tuple[int | str | None, ...] | None = None
    if type_span is not None:
        for item in fields(type_span):
            if item.number != 1:
                raise ModelFormatError(f'"{name}": only tensors are supported', offset=item.offset)
            elem_type, shape = _tensor_type(item.message(), name, limits)
    return ValueProto(name, elem_type, shape, field.offset)


def _tensor_type(span: Span, name: str, limits: Limits) -> tuple[int, tuple[int | str | None, ...] | None]:
    elem_type = 0
    shape: list[int | str | None] | None = None
    for item in fields(span):
        if item.number == 1:
            elem_type = item.integer()
        elif item.number == 2:
            shape = []
            for dim in fields(item.message()):
                if dim.number == 1:
                    shape.append(_dim(dim.message(), limits))
                    limits.check("rank", len(shape), f'"{name}"', dim.offset)
    return elem_type, None if shape is None else tuple(shape)


def _dim(span: Span, limits: Limits) -> int | str | None:
    value: int | str | None = None
    for item in fields(span):
        if item.number == 1:
            value = item.integer()
            limits.check("dimension", value, "a dimension", item.offset)
        elif item.number == 2:
            value = _name(item, limits, "a dimension") or None
    return value


def _has_external_data(graph: GraphProto, limits: Limits) -> bool:
    """Whether any tensor, in subgraphs too, has its data in another file."""
    tensors = list(graph.initializers)
    waiting: list[Span] = []
    for node in graph.nodes:
        for attribute in node.attributes.values():
            if isinstance(attribute.value, TensorProto):
                tensors.append(attribute.value)
            elif isinstance(attribute.value, Span):
                waiting.append(attribute.value)
    if any(tensor.external is not None for tensor in tensors):
        return True
    while waiting:
        for is_graph, span in _parts_of_subgraph(waiting.pop()):
            if is_graph:
                waiting.append(span)
            elif any(item.number == 14 and item.value == _EXTERNAL for item in fields(span)):
                return True
    return False


def _parts_of_subgraph(graph: Span) -> Iterator[tuple[bool, Span]]:
    """The subgraphs (True) and tensors (False) that stand directly in a graph that is not read."""
    for item in fields(graph):
        if item.number == 5:
            yield False, item.message()
        elif item.number == 1:
            for part in fields(item.message()):
                if part.number != 5:
                    continue
                for value in fields(part.message()):
                    if value.number in (5, 10):
                        yield False, value.message()
                    elif value.number in (6, 11):
                        yield True, value.message()
