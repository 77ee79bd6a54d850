"""ONNX messages out of protobuf fields. Field numbers are those of onnx/onnx.proto.

Subgraphs are not read: the operators that have them are not implemented. They are only searched for external data,
which a backend that takes the whole file would open.
"""

from __future__ import annotations

import os
import sys
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
_CHUNK_BYTES = 1 << 16
# What one of each takes in memory until a model is loaded: rounded up from what loading files of thousands of them
# took (tests/hardening/memory.py).
_NODE, _EDGE, _ATTRIBUTE, _TENSOR_VALUE, _DIM, _LISTED, _ENTRY, _SUBGRAPH = 1536, 512, 640, 1536, 128, 40, 384, 192
_CONTINUED = bytes(range(0x80, 0x100))


class Meter:
    """The limits, and how much has been made of the file so far."""

    __slots__ = ("_limits", "taken")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.taken = 0

    def check(self, name: str, value: int, what: str, offset: int) -> None:
        self._limits.check(name, value, what, offset)

    def take(self, size: int, what: str, offset: int) -> None:
        """Raises ModelLimitError where ``size`` bytes more are too many."""
        self.taken += size
        self._limits.check("parsed_bytes", self.taken, what, offset)


def read_bytes(path: str, limits: Limits) -> bytes:
    """The file, of which no more is read than is allowed, and no more memory taken than it has bytes.

    Raises ModelLimitError where it is too long, OSError where it cannot be read.
    """
    # unbuffered: without memory for a buffer's lock open would raise RuntimeError
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        limits.check("file_bytes", size, path)
        parts = [file.read(size)]
        total = len(parts[0])
        # a pipe has no size, and a file that is written to another one than it had
        while more := file.read(_CHUNK_BYTES):
            parts.append(more)
            total += len(more)
            limits.check("file_bytes", total, path)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_model(data: bytes | memoryview, limits: Limits = DEFAULT) -> ModelProto:
    """Parse an ONNX file.

    Raises ModelFormatError with the byte offset where the bytes are not a complete ONNX model, ModelLimitError where
    they hold more than ``limits`` allow.
    """
    view = memoryview(data).cast("B")
    limits.check("file_bytes", len(view), "the file")
    meter = Meter(limits)
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
                producer = _name(item, meter, "the producer")
            elif item.number == 3:
                version = _name(item, meter, "the producer's version")
            elif item.number == 7:
                graph = item.message()
            elif item.number == 8:
                domain, opset = _opset(item.message(), meter)
                opsets["" if domain == "ai.onnx" else domain] = opset
                meter.check("attributes", len(opsets), "opset_import", item.offset)
            elif item.number == 14:
                metadata_bytes += len(item.message())
                meter.check("metadata_bytes", metadata_bytes, "the metadata", item.offset)
                key, value = _entry(item.message())
                # as text, again as what is parsed from it, and while it is looked through; less the bytes of the file
                size = 3 * (sys.getsizeof(key) + sys.getsizeof(value)) - len(item.message())
                meter.take(_ENTRY + size, "the metadata", item.offset)
                metadata[key] = value
            elif item.number == 25:
                raise ModelFormatError("model-local functions are not supported; inline them", offset=item.offset)
        if graph is None:
            raise ModelFormatError("no graph in it")
        if "" not in opsets:
            raise ModelFormatError("no opset_import for ai.onnx in it; the file may be truncated")
    except ModelFormatError as error:
        raise ModelFormatError(f"not an ONNX model: {error.message}", offset=error.offset) from None
    read = _graph(graph, meter)
    external = _has_external_data(read, meter)
    return ModelProto(
        ir_version, f"{producer} {version}".strip(), opsets, read, external, metadata, parsed_bytes=meter.taken
    )


def _name(item: Field, meter: Meter, what: str) -> str:
    meter.check("name_bytes", len(item.message()), f"the name of {what}", item.offset)
    return item.text()


def _opset(span: Span, meter: Meter) -> tuple[str, int]:
    domain, version = "", 0
    for item in fields(span):
        if item.number == 1:
            domain = _name(item, meter, "a domain")
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


def _graph(span: Span, meter: Meter) -> GraphProto:
    name = ""
    nodes, initializers, inputs, outputs = [], [], [], []
    edges = 0
    for item in fields(span):
        if item.number == 1:
            nodes.append(_node(item, meter))
            edges += len(nodes[-1].inputs) + len(nodes[-1].outputs)
            meter.check("nodes", len(nodes), "the graph", item.offset)
            meter.check("edges", edges, "the graph", item.offset)
        elif item.number == 2:
            name = _name(item, meter, "the graph")
        elif item.number == 5:
            initializers.append(_tensor(item, meter))
            meter.check("tensors", len(initializers), "the graph's initializers", item.offset)
        elif item.number == 11:
            inputs.append(_value(item, meter))
            meter.check("tensors", len(inputs), "the graph's inputs", item.offset)
        elif item.number == 12:
            outputs.append(_value(item, meter))
            meter.check("tensors", len(outputs), "the graph's outputs", item.offset)
        elif item.number == 15:
            raise ModelFormatError("sparse initializers are not supported", offset=item.offset)
    return GraphProto(name, tuple(nodes), tuple(initializers), tuple(inputs), tuple(outputs))


def _node(field: Field, meter: Meter) -> NodeProto:
    meter.take(_NODE, "a node", field.offset)
    op_type = name = domain = ""
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: dict[str, Attribute] = {}
    for item in fields(field.message()):
        if item.number in (1, 2):
            meter.take(_EDGE, "a node's input or output", item.offset)
            (inputs if item.number == 1 else outputs).append(_name(item, meter, "a node's input or output"))
            meter.check("edges", len(inputs) + len(outputs), "a node", field.offset)
        elif item.number == 3:
            name = _name(item, meter, "a node")
        elif item.number == 4:
            op_type = _name(item, meter, "an operator")
        elif item.number == 5:
            attribute = _attribute(item, meter)
            if attribute.name in attributes:
                raise ModelFormatError(f"attribute {attribute.name} stands twice", offset=item.offset)
            attributes[attribute.name] = attribute
            meter.check("attributes", len(attributes), f'node "{name}"', field.offset)
        elif item.number == 7:
            domain = _name(item, meter, "a domain")
    if not op_type:
        raise ModelFormatError(f'node "{name}" has no op_type', offset=field.offset)
    if domain == "ai.onnx":
        domain = ""
    return NodeProto(op_type, name, domain, tuple(inputs), tuple(outputs), attributes, field.offset)


def _attribute(field: Field, meter: Meter) -> Attribute:
    meter.take(_ATTRIBUTE, "an attribute", field.offset)
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
            name = _name(item, meter, "an attribute")
        elif item.number == 2:
            real = item.float32()
        elif item.number == 3:
            number = item.integer()
        elif item.number == 4:
            meter.check("name_bytes", len(item.message()), f"attribute {name}", item.offset)
            string = item.bytes()
        elif item.number == 5:
            tensor = _tensor(item, meter)
        elif item.number == 6:
            graph = item.message()
        elif item.number == 7:
            floats += _listed_floats(item, meter, name).floats()
        elif item.number == 8:
            ints += _listed(item, meter, name).integers()
        elif item.number == 9:
            meter.check("name_bytes", len(item.message()), f"attribute {name}", item.offset)
            meter.take(_DIM, f"attribute {name}", item.offset)
            strings.append(item.bytes())
        elif item.number == 20:
            kind = item.integer()
        elif item.number == 21:
            raise ModelFormatError(f"attribute {name}: references are not supported", offset=item.offset)
        meter.check("listed_values", max(len(floats), len(ints), len(strings)), f"attribute {name}", field.offset)
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


def _listed(item: Field, meter: Meter, what: str) -> Field:
    """The field, once it is known that its packed numbers are not too many to be made a list."""
    count = 1
    if item.wire_type == BYTES:
        meter.check("listed_values", len(item.span) // _VARINT_BYTES, what, item.offset)
        count = len(item.bytes().translate(None, _CONTINUED))  # each varint ends in the one byte that has no high bit
        meter.check("listed_values", count, what, item.offset)
    meter.take(_LISTED * count, what, item.offset)
    return item


def _listed_floats(item: Field, meter: Meter, what: str) -> Field:
    """The same for floats, which have four bytes each."""
    count = len(item.span) // 4 if item.wire_type == BYTES else 1
    meter.check("listed_values", count, what, item.offset)
    meter.take(_LISTED * count, what, item.offset)
    return item


def _tensor(field: Field, meter: Meter) -> TensorProto:
    meter.take(_TENSOR_VALUE, "a tensor", field.offset)
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
                meter.check("rank", len(item.span) // _VARINT_BYTES, f'tensor "{name}"', item.offset)
            dims += item.integers()
            meter.check("rank", len(dims), f'tensor "{name}"', item.offset)
        elif item.number == 2:
            data_type = item.integer()
        elif item.number in (4, 10) and item.wire_type == BYTES and raw is None and not numbers:
            # float_data and double_data, packed: the same bytes as raw_data
            raw, raw_type = item.message(), _FLOAT32 if item.number == 4 else _FLOAT64
        elif item.number == 4:
            numbers += _listed_floats(item, meter, f'tensor "{name}"').floats()
        elif item.number in (5, 7, 11):
            numbers += _listed(item, meter, f'tensor "{name}"').integers()
        elif item.number == 6:
            raise ModelFormatError(f"tensor {name}: strings are not supported", offset=item.offset)
        elif item.number == 8:
            name = _name(item, meter, "a tensor")
        elif item.number in (9, 10):
            raw, raw_type = item.message(), None if item.number == 9 else _FLOAT64
        elif item.number == 13:
            external.append(_entry(item.message()))
            meter.take(_ENTRY, f'tensor "{name}": external_data', item.offset)
            meter.check("attributes", len(external), f'tensor "{name}": external_data', item.offset)
        elif item.number == 14:
            location = item.integer()
        meter.check("listed_values", len(numbers), f'tensor "{name}"', field.offset)
    if raw_type is not None and raw_type != data_type:
        listed = "float_data" if raw_type == _FLOAT32 else "double_data"
        raise ModelFormatError(f'tensor "{name}": {listed} in a tensor of type {data_type}', offset=field.offset)
    where = tuple(external) if location == _EXTERNAL else None
    return TensorProto(name, data_type, tuple(dims), raw, tuple(numbers), where, field.offset)


def _value(field: Field, meter: Meter) -> ValueProto:
    meter.take(_TENSOR_VALUE, "an input or output", field.offset)
    name = ""
    type_span: Span | None = None
    for item in fields(field.message()):
        if item.number == 1:
            name = _name(item, meter, "an input or output")
        elif item.number == 2:
            type_span = item.message()
    elem_type = 0
    shape: tuple[int | str | None, ...] | None = None
    if type_span is not None:
        for item in fields(type_span):
            if item.number != 1:
                raise ModelFormatError(f'"{name}": only tensors are supported', offset=item.offset)
            elem_type, shape = _tensor_type(item.message(), name, meter)
    return ValueProto(name, elem_type, shape, field.offset)


def _tensor_type(span: Span, name: str, meter: Meter) -> tuple[int, tuple[int | str | None, ...] | None]:
    elem_type = 0
    shape: list[int | str | None] | None = None
    for item in fields(span):
        if item.number == 1:
            elem_type = item.integer()
        elif item.number == 2:
            shape = []
            for dim in fields(item.message()):
                if dim.number == 1:
                    meter.take(_DIM, f'"{name}"', dim.offset)
                    shape.append(_dim(dim.message(), meter))
                    meter.check("rank", len(shape), f'"{name}"', dim.offset)
    return elem_type, None if shape is None else tuple(shape)


def _dim(span: Span, meter: Meter) -> int | str | None:
    value: int | str | None = None
    for item in fields(span):
        if item.number == 1:
            value = item.integer()
            meter.check("dimension", value, "a dimension", item.offset)
        elif item.number == 2:
            value = _name(item, meter, "a dimension") or None
    return value


def _has_external_data(graph: GraphProto, meter: Meter) -> bool:
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
                meter.take(_SUBGRAPH, "a subgraph", span.start)
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
