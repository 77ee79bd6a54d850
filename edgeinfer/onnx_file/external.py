"""Tensors outside the model's file: off unless asked for, and then read from beneath the model's folder only.

Every part of the path is opened relative to the folder before it, links are not followed, and what is not a regular
file with one name is refused, so no file can be reached that does not lie in that folder itself. It is refused before
it is opened, since opening a pipe or a device is felt on its other side, and once more when it is open.
"""

from __future__ import annotations

import os
import stat

from ..errors import ModelFormatError, ModelLimitError
from ..limits import Limits
from .messages import TensorProto

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


class ExternalData:
    """Reads external tensors of one model. ``folder`` is None where they are not to be read.

    why: what to say then.
    """

    def __init__(self, folder: str | None, limits: Limits, why: str = "") -> None:
        self._folder = folder
        self._limits = limits
        self._why = why
        self._total = 0

    def read(self, tensor: TensorProto, expected: int) -> bytes:
        """The ``expected`` bytes of a tensor.

        Raises ModelLimitError where external data is off, ModelFormatError for a location that is not a plain file
        beneath the folder, and for an offset or length outside of it.
        """
        what = f'tensor "{tensor.name}"'
        assert tensor.external is not None
        entries = dict(tensor.external)
        location = entries.get("location", "")
        if self._folder is None:
            raise ModelLimitError(f"{what}: its data is in another file, {location!r}; {self._why}")
        parts = _parts(location)
        if parts is None:
            raise ModelFormatError(
                f"{what}: external data: expected a path beneath the model's folder, got {location!r}",
                offset=tensor.offset,
            )
        start = _number(entries.get("offset", "0"), "offset", what, tensor.offset)
        length = _number(entries.get("length", str(expected)), "length", what, tensor.offset)
        if length != expected:
            raise ModelFormatError(
                f"{what}: external data: expected a length of {expected}, got {length}", offset=tensor.offset
            )
        self._total += length
        self._limits.check("file_bytes", self._total, f"{what}: external data")
        return self._read(parts, start, length, what, location)

    def _read(self, parts: list[str], start: int, length: int, what: str, location: str) -> bytes:
        assert self._folder is not None
        handles = []
        try:
            handles.append(os.open(self._folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)))
            for part in parts[:-1]:
                handles.append(os.open(part, _FLAGS | getattr(os, "O_DIRECTORY", 0), dir_fd=handles[-1]))
            _check_plain(os.stat(parts[-1], dir_fd=handles[-1], follow_symlinks=False), what, location)
            handles.append(os.open(parts[-1], _FLAGS, dir_fd=handles[-1]))
            status = os.fstat(handles[-1])
            _check_plain(status, what, location)
            if start + length > status.st_size:
                raise ModelFormatError(
                    f"{what}: external data: expected bytes {start} to {start + length}, "
                    f"{location!r} has {status.st_size}"
                )
            data = os.pread(handles[-1], length, start)
            if len(data) != length:
                raise ModelFormatError(f"{what}: external data: {location!r} ended while it was read")
            return data
        except OSError as error:
            raise ModelFormatError(f"{what}: external data: cannot open {location!r}: {error.strerror}") from None
        finally:
            for handle in handles:
                os.close(handle)


def can_read_safely() -> bool:
    """Whether this system can open a file relative to a folder without following links."""
    relative = {os.open, os.stat} <= os.supports_dir_fd
    return relative and hasattr(os, "O_NOFOLLOW") and hasattr(os, "pread")


def _check_plain(status: os.stat_result, what: str, location: str) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise ModelFormatError(f"{what}: external data: {location!r} is not a plain file with one name")


def _parts(location: str) -> list[str] | None:
    """The path's parts, or None where it could lead out of the folder."""
    parts = location.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(c in location for c in "\\\0:"):
        return None
    return parts


def _number(text: str, name: str, what: str, offset: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ModelFormatError(f"{what}: external data: {name}: expected a number, got {text!r}", offset=offset)
    return int(text)
