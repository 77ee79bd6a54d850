"""The bytes of a saved stream, and how a file of them is written so that a crash never leaves half of one.

Layout, little-endian: magic ``EISN``, version u16, reserved u16, SHA-256 of the model file (32 bytes), length of
the header u32, header (JSON: kind, and name, dtype, shape of every array), the arrays' bytes in that order,
CRC-32 u32 of all that came before.
"""

from __future__ import annotations

import json
import math
import os
import stat
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from .errors import StreamError

MAGIC = b"EISN"
VERSION = 1
_HEAD = struct.Struct("<4sHH32sI")
_CRC = struct.Struct("<I")
_DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")


def encode(kind: str, model_sha256: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Snapshot bytes. ``kind`` says what was saved, ``model_sha256`` (hex) of which model."""
    entries = []
    chunks = []
    for name, array in arrays.items():
        entries.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape)})
        chunks.append(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
    header = json.dumps({"kind": kind, "arrays": entries}, separators=(",", ":")).encode()
    body = b"".join([_HEAD.pack(MAGIC, VERSION, 0, bytes.fromhex(model_sha256), len(header)), header, *chunks])
    return body + _CRC.pack(zlib.crc32(body))


def decode(data: bytes, kind: str, model_sha256: str) -> dict[str, np.ndarray]:
    """The arrays of a snapshot, by name.

    Raises StreamError where the bytes are not a snapshot, are damaged, are of another version, model or kind.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise StreamError(f"not a snapshot: expected bytes, got {type(data).__name__}")
    data = bytes(data)
    if data[:4] != MAGIC:
        raise StreamError(f"not a snapshot: expected it to begin with {MAGIC!r}, got {data[:4]!r}")
    if len(data) < _HEAD.size + _CRC.size:
        raise StreamError(f"the snapshot is corrupt: it ends after {len(data)} bytes")
    (crc,) = _CRC.unpack_from(data, len(data) - _CRC.size)
    if zlib.crc32(data[: -_CRC.size]) != crc:
        raise StreamError(f"the snapshot is corrupt: its checksum does not match its {len(data)} bytes")
    _, version, _, model, header_size = _HEAD.unpack_from(data)
    if version != VERSION:
        raise StreamError(f"the snapshot has version {version}, this release reads version {VERSION}")
    if model.hex() != model_sha256:
        raise StreamError(
            f"the snapshot belongs to another model: expected sha256 {model_sha256[:12]}…, got {model.hex()[:12]}…"
        )
    try:
        header = json.loads(data[_HEAD.size : _HEAD.size + header_size])
        entries = [(str(e["name"]), str(e["dtype"]), tuple(map(int, e["shape"]))) for e in header["arrays"]]
        found = str(header["kind"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise StreamError(f"the snapshot is corrupt: unreadable header ({error})") from None
    if found != kind:
        raise StreamError(f"the snapshot is of another kind: expected {kind}, got {found}")
    arrays = {}
    position = _HEAD.size + header_size
    end = len(data) - _CRC.size
    for name, dtype_name, shape in entries:
        if dtype_name not in _DTYPES or any(d < 0 for d in shape):
            raise StreamError(f"the snapshot is corrupt: {name} has dtype {dtype_name} and shape {list(shape)}")
        dtype = np.dtype(dtype_name).newbyteorder("<")
        size = math.prod(shape) * dtype.itemsize
        if size > end - position:
            raise StreamError(f"the snapshot is corrupt: {name} needs {size} bytes, {end - position} are left")
        flat = np.frombuffer(data, dtype=dtype, count=math.prod(shape), offset=position)
        try:
            arrays[name] = flat.reshape(shape).astype(dtype_name)
        except ValueError as error:
            raise StreamError(f"the snapshot is corrupt: {name}: {error}") from None
        position += size
    if position != end:
        raise StreamError(f"the snapshot is corrupt: {end - position} bytes are left over")
    return arrays


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace the file at ``path`` by ``data``: after a crash it holds the old bytes or the new, never a mix.

    A temporary file in the same folder is written, synced, renamed over ``path``, and the folder synced. A file that
    is replaced keeps its permissions; a link is followed. Raises OSError, and then ``path`` is as it was.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                if os.path.exists(target):
                    os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    except OSError as error:
        # The caller knows nothing of the temporary file; and a full disk names no file at all.
        error.filename, error.filename2 = os.fspath(path), None
        raise
    if os.name == "posix":
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
