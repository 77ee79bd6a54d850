"""The bytes of a saved stream, and how a file of them is written so that a crash never leaves half of one.

Layout, little-endian: magic ``EISN``, version u16, reserved u16, SHA-256 of the model file (32 bytes), length of
the header u32, header (JSON: kind, and name, dtype, shape of every array), the arrays' bytes in that order,
CRC-32 u32 of all that came before.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import numpy as np

from .errors import StreamError

MAGIC = b"EISN"
VERSION = 1
_HEAD = struct.Struct("<4sHH32sI")
_CRC = struct.Struct("<I")
# What a file system says that cannot sync a folder.
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)
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
    is replaced keeps its permissions; a link is followed; what is no file, as /dev/stdout, is written to. Raises
    OSError, and then ``path`` is as it was; or it is new, where only syncing the folder failed.
    """
    write_together({path: data})


def write_together(files: Mapping[str | os.PathLike[str], bytes]) -> None:
    """As write_atomically, for files that belong together: nobody ever finds a new one beside an old one.

    All are written and synced before the first is replaced. Then the others are taken away until their turn comes:
    a crash in between leaves files too few, not two that do not fit.
    """
    written: list[tuple[str | os.PathLike[str], str, str]] = []
    try:
        for path, data in files.items():
            if _is_special(path):
                with _named(path), open(path, "wb") as special:
                    special.write(data)
                continue
            target = os.path.realpath(path)
            folder, name = os.path.split(target)
            written.append((path, target, os.path.join(folder, f".{name}.{os.urandom(4).hex()}.tmp")))
            with _named(path):
                if os.path.isdir(target):  # renaming would say so when it is too late
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                _write_new(*written[-1][1:], data)
        for path, target, _ in written[1:]:
            with _named(path), suppress(FileNotFoundError):
                os.unlink(target)
        for path, target, temporary in written:
            with _named(path):
                os.replace(temporary, target)
    except BaseException:
        for _, _, temporary in written:
            with suppress(OSError):  # it was not made; or nothing can be changed on this disk any more
                os.unlink(temporary)
        raise
    for path, target, _ in written:
        with _named(path):
            _sync_folder(os.path.dirname(target))


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Delete what write_atomically left beside ``path`` when it was killed. For whoever alone writes there."""
    folder, name = os.path.split(os.path.realpath(path))
    with suppress(OSError):  # a tidy folder is not worth a failure
        for found in os.listdir(folder):
            if found.startswith(f".{name}.") and found.endswith(".tmp") and len(found) == len(f".{name}.01234567.tmp"):
                os.unlink(os.path.join(folder, found))


@contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Gives an OSError the path that the caller knows: he knows nothing of the temporary file, and a full disk names
    no file at all."""
    try:
        yield
    except OSError as error:
        error.filename = os.fspath(path)
        del error.filename2  # set to None it would be shown
        raise


def _is_special(path: str | os.PathLike[str]) -> bool:
    """A device or a pipe: renaming a file over it would take it away from everybody."""
    try:
        mode = os.stat(path).st_mode
    except OSError:  # said when it is written
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _write_new(target: str, temporary: str, data: bytes) -> None:
    """``temporary``, on the disk, with the permissions of ``target``."""
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(handle, "wb") as file:
        if os.path.exists(target):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: str) -> None:
    if os.name != "posix":
        return
    try:
        directory = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one may write in a folder that one may not read
        return
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(directory)
