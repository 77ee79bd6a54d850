"""The messages of an ONNX file that the runtime reads, field by field as onnx.proto names them."""

from __future__ import annotations

from collections.abc import Mapping

from ..records import NamedTuple
from .wire import Span


class TensorProto(NamedTuple):
    """A tensor as stored: ``raw`` (little-endian bytes) or ``numbers`` hold its values, or another file does.

    ``external`` is then where, as keys and values; else None.
    """

    name: str
    data_type: int
    dims: tuple[int, ...]
    raw: Span | None
    numbers: tuple[float | int, ...]
    external: tuple[tuple[str, str], ...] | None
    offset: int


class Attribute(NamedTuple):
    """An attribute with the value that its type selects; a subgraph stays the Span of its bytes."""

    name: str
    value: int | float | bytes | TensorProto | tuple[int, ...] | tuple[float, ...] | tuple[bytes, ...] | Span
    offset: int


class NodeProto(NamedTuple):
    op_type: str
    name: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    offset: int


class ValueProto(NamedTuple):
    """A graph input or output; ``shape`` is None where the file gives none, a dim None or a name where dynamic."""

    name: str
    elem_type: int
    shape: tuple[int | str | None, ...] | None
    offset: int


class GraphProto(NamedTuple):
    name: str
    nodes: tuple[NodeProto, ...]
    initializers: tuple[TensorProto, ...]
    inputs: tuple[ValueProto, ...]
    outputs: tuple[ValueProto, ...]


class ModelProto(NamedTuple):
    """``parsed_bytes``: what was made of the file, as Limits.parsed_bytes counts it."""

    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    graph: GraphProto
    external: bool = False
    metadata: Mapping[str, str] = {}
    parsed_bytes: int = 0
