"""Protobuf's wire format over a memoryview: fields, varints, packed numbers, each checked against its bounds.

Source: https://protobuf.dev/programming-guides/encoding/. Groups (wire types 3 and 4) occur nowhere in ONNX and are
refused. Offsets in errors count from the start of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ..errors import ModelFormatError
from ..records import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MASK64 = (1 << 64) - 1


class Span(NamedTuple):
    """A stretch of the file: one message, string or block of packed numbers."""

    data: memoryview
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def view(self) -> memoryview:
        return self.data[self.start : self.end]


class Field(NamedTuple):
    """One field of a message. ``value`` is the raw integer, or 0 where ``span`` holds the content."""

    number: int
    wire_type: int
    value: int
    span: Span
    offset: int

    def integer(self) -> int:
        """A varint read as int64."""
        if self.wire_type != VARINT:
            raise self._mismatch("a varint")
        return signed64(self.value)

    def float32(self) -> float:
        if self.wire_type != FIXED32:
            raise self._mismatch("a 32-bit float")
        return float(struct.unpack("<f", self.value.to_bytes(4, "little"))[0])

    def message(self) -> Span:
        if self.wire_type != BYTES:
            raise self._mismatch("a length-delimited value")
        return self.span

    def bytes(self) -> bytes:
        return bytes(self.message().view)

    def text(self) -> str:
        try:
            return str(self.message().view, "utf-8")
        except UnicodeDecodeError:
            raise ModelFormatError(f"field {self.number}: expected UTF-8 text", offset=self.offset) from None

    def integers(self) -> list[int]:
        """A repeated int64 or int32, packed or not."""
        if self.wire_type == VARINT:
            return [signed64(self.value)]
        values = []
        position, end = self.message().start, self.span.end
        while position < end:
            value, position = read_varint(self.span.data, position, end)
            values.append(signed64(value))
        return values

    def floats(self) -> list[float]:
        """A repeated float, packed or not."""
        if self.wire_type == FIXED32:
            return [self.float32()]
        span = self.message()
        if len(span) % 4:
            raise ModelFormatError(
                f"field {self.number}: expected packed 32-bit floats, got {len(span)} bytes", offset=self.offset
            )
        return list(struct.unpack(f"<{len(span) // 4}f", span.view))

    def _mismatch(self, expected: str) -> ModelFormatError:
        return ModelFormatError(
            f"field {self.number}: expected {expected}, got wire type {self.wire_type}", offset=self.offset
        )


def fields(span: Span) -> Iterator[Field]:
    """The fields of the message in ``span``, in file order."""
    data, position, end = span.data, span.start, span.end
    while position < end:
        offset = position
        tag, position = read_varint(data, position, end)
        number, wire_type = tag >> 3, tag & 7
        value = 0
        content = span
        if number == 0:
            raise ModelFormatError("not a protobuf field: number 0", offset=offset)
        if wire_type == VARINT:
            value, position = read_varint(data, position, end)
        elif wire_type == BYTES:
            length, position = read_varint(data, position, end)
            if length > end - position:
                raise ModelFormatError(
                    f"truncated: field {number} needs {length} bytes, {end - position} are left", offset=offset
                )
            content = Span(data, position, position + length)
            position += length
        elif wire_type in (FIXED32, FIXED64):
            size = 4 if wire_type == FIXED32 else 8
            if size > end - position:
                raise ModelFormatError(
                    f"truncated: field {number} needs {size} bytes, {end - position} are left", offset=offset
                )
            value = int.from_bytes(data[position : position + size], "little")
            position += size
        else:
            raise ModelFormatError(f"not a protobuf field: wire type {wire_type}", offset=offset)
        yield Field(number, wire_type, value, content, offset)


def read_varint(data: memoryview, position: int, end: int) -> tuple[int, int]:
    """The unsigned 64-bit varint at ``position`` and the position after it."""
    value = shift = 0
    start = position
    while position < end:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK64, position
        shift += 7
        if shift >= 70:
            raise ModelFormatError("a varint is longer than ten bytes", offset=start)
    raise ModelFormatError("truncated: the data end within a varint", offset=start)


def signed64(value: int) -> int:
    """A two's complement 64-bit number as Python's int."""
    return value - (1 << 64) if value >> 63 else value
