"""Mutations that keep the form: of an ONNX file's fields, their lengths mended, and of a JSON text's values.

Bytes changed at random mostly break a length, and then nothing behind the reader is ever reached.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# The fields that hold messages, by the message they stand in (onnx.proto).
MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 14: "entry"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "tensor": {13: "entry"},
    "value": {2: "type"},
    "type": {1: "tensor type"},
    "tensor type": {2: "shape"},
    "shape": {1: "dim"},
}
OPERATORS = (
    *("LSTM", "GRU", "RNN", "MatMul", "Gemm", "Add", "Mul", "Gather", "Concat", "Slice", "Transpose", "Squeeze"),
    *("Unsqueeze", "Reshape", "Where", "Cast"),
)
NUMBERS = (0, 1, 2, 3, 5, 7, 8, 16, 17, 64, 127, 255, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, 1 << 63)
NUMBERS += tuple((1 << 64) - n for n in (1, 2, 3, 9, 1 << 31))
FLOATS = (0.0, -1.0, 0.5, 1e-45, 1e-30, 1e30, -3.4e38, float("inf"), float("nan"))

Mutate = Callable[[bytes, int], bytes]


class Part:
    """A field: its number and wire type, and as value an integer, bytes, or the parts of a message."""

    def __init__(self, number: int, wire: int, value: Any, kind: str) -> None:
        self.number, self.wire, self.value, self.kind = number, wire, value, kind

    def copy(self) -> Part:
        value = [part.copy() for part in self.value] if isinstance(self.value, list) else self.value
        return Part(self.number, self.wire, value, self.kind)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value & (1 << 64) - 1, at


def parse(data: bytes, kind: str = "model") -> list[Part]:
    """Raises IndexError or ValueError where the bytes are no message."""
    parts, at = [], 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == VARINT:
            value, at = _varint(data, at)
        else:
            size = {FIXED64: 8, FIXED32: 4}.get(wire)
            if wire == BYTES:
                size, at = _varint(data, at)
            if size is None or at + size > len(data):
                raise ValueError(wire)
            value, at = data[at : at + size], at + size
            inner = MESSAGES.get(kind, {}).get(number)
            if wire == BYTES and inner:
                value = parse(value, inner)
        parts.append(Part(number, wire, value, kind))
    return parts


def _encoded(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def write(parts: list[Part]) -> bytes:
    out = []
    for part in parts:
        out.append(_encoded(part.number << 3 | part.wire))
        if part.wire == VARINT:
            out.append(_encoded(part.value))
            continue
        content = write(part.value) if isinstance(part.value, list) else part.value
        if part.wire == BYTES:
            out.append(_encoded(len(content)))
        out.append(content)
    return b"".join(out)


def _all(parts: list[Part]) -> list[tuple[list[Part], int]]:
    found = []
    for i, part in enumerate(parts):
        found.append((parts, i))
        if isinstance(part.value, list):
            found += _all(part.value)
    return found


def onnx(data: bytes, most: int, seed: int, plain: Mutate) -> bytes:
    """One to four changes of the file's fields; of bytes that are no file, and one time in eight, whatever."""
    rng = random.Random(seed)
    try:
        parts = parse(data)
    except (IndexError, ValueError, RecursionError):
        return plain(data, most)
    if not parts or rng.random() < 0.125:
        return plain(data, most)
    for _ in range(rng.randint(1, 4)):
        places = _all(parts)
        if places:
            _change(*rng.choice(places), places, rng, plain)
    return write(parts)[:most]


def _change(owner: list[Part], i: int, places: list[tuple[list[Part], int]], rng: random.Random, plain: Mutate) -> None:
    part = owner[i]
    how = rng.randrange(12)
    alike = [o[k] for o, k in places if (o[k].kind, o[k].number, o[k].wire) == (part.kind, part.number, part.wire)]
    if how == 0:
        del owner[i]
    elif how == 1:
        owner.insert(rng.randrange(len(owner) + 1), part.copy())
    elif how == 2:
        other = rng.randrange(len(owner))
        owner[i], owner[other] = owner[other], owner[i]
    elif how <= 5:
        part.value = rng.choice(alike).copy().value
    elif isinstance(part.value, list):
        tensors = [p for p in alike if p.kind != "tensor"] if part.kind == "graph" and part.number == 5 else []
        if part.kind == "graph" and part.number == 5 and not tensors:
            _resize(part.value, rng)
        elif part.value:
            k = rng.randrange(len(part.value))
            _change(part.value, k, [(part.value, k)], rng, plain)
    elif part.wire == VARINT:
        part.value = rng.choice((*NUMBERS, part.value + 1, max(part.value - 1, 0))) & (1 << 64) - 1
    elif part.wire == FIXED32:
        part.value = _float(rng)
    elif part.kind == "node" and part.number == 4:
        part.value = rng.choice(OPERATORS).encode()
    elif part.kind == "tensor" and part.number == 9 and len(part.value) >= 4 and rng.random() < 0.7:
        at = rng.randrange(len(part.value) // 4) * 4
        part.value = part.value[:at] + _float(rng) + part.value[at + 4 :]
    elif part.kind in ("node", "value", "graph") and rng.random() < 0.8:
        names = [o[k].value for o, k in places if o[k].kind in ("node", "value") and isinstance(o[k].value, bytes)]
        part.value = rng.choice(names or [b""])
    else:
        part.value = plain(part.value, len(part.value) + 16)


def _float(rng: random.Random) -> bytes:
    return struct.pack("<f", rng.choice((*FLOATS, rng.uniform(-2, 2))))


def _resize(tensor: list[Part], rng: random.Random) -> None:
    """Another dimension, and as many bytes as that needs, so that the tensor stays one."""
    dims = [p for p in tensor if p.number == 1 and p.wire == VARINT]
    raw = [p for p in tensor if p.number == 9 and isinstance(p.value, bytes)]
    if not dims or not raw or not raw[0].value:
        return
    count = 1
    for dim in dims:
        count *= dim.value
    item = len(raw[0].value) // count if count else 4
    chosen = rng.choice(dims)
    chosen.value = max(0, chosen.value + rng.choice((-2, -1, 1, 2, chosen.value)))
    total = item
    for dim in dims:
        total *= dim.value
    if total <= 1 << 16:
        raw[0].value = (raw[0].value * (total // len(raw[0].value) + 1))[:total]


# --- JSON --------------------------------------------------------------------------------------------------------

NUMBERS_IN_JSON = (0, 1, -1, 2, 3, 24, 0.5, 1e300, -1e-300, 1e18, 1 << 63, 1 << 70)
VALUES: tuple[Any, ...] = (None, True, False, *NUMBERS_IN_JSON, "", "x", [], {})


def json_text(data: bytes, most: int, seed: int, plain: Mutate) -> bytes:
    """One to three values of the text behind the first byte changed, or whatever."""
    rng = random.Random(seed)
    try:
        tree = json.loads(data[1:])
    except (ValueError, RecursionError):
        return plain(data, most)
    if rng.random() < 0.1:
        return plain(data, most)
    for _ in range(rng.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        _values(tree, places)
        if not places:
            break
        holder, key = rng.choice(places)
        how = rng.randrange(6)
        if how == 0:
            del holder[key]
        elif how == 1:
            other, from_key = rng.choice(places)
            holder[key] = json.loads(json.dumps(other[from_key]))
        elif how == 2 and isinstance(holder, list):
            holder.insert(rng.randrange(len(holder) + 1), json.loads(json.dumps(holder[key])))
        elif how == 3 and isinstance(holder[key], str):
            text = plain(holder[key].encode("utf-8", "surrogatepass"), len(holder[key]) + 8)
            holder[key] = text.decode("utf-8", "replace")
        elif how == 4 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
            holder[key] += rng.choice((-1, 1, 7, -24, 0.5, 1 << 20))
        else:
            holder[key] = rng.choice(VALUES)
    first = bytes([rng.randrange(256)]) if rng.random() < 0.1 else data[:1]
    return first + json.dumps(tree).encode()[: most - 1]


def _values(tree: Any, places: list[tuple[Any, Any]]) -> None:
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        places.append((tree, key))
        _values(tree[key], places)


def anything(data: bytes, most: int, seed: int, plain: Mutate) -> bytes:
    return plain(data, most)


MUTATORS = {"reader": onnx, "loader": onnx, "snapshot": anything, "metadata": json_text}
