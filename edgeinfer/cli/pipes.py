"""Lines in, lines out, and the signals that end it: what ``run --stream`` reads from and answers to.

Python runs a signal's handler only between bytecodes, so a signal that comes just before a read blocks would
wait for the next line. Here the handler's wake-up descriptor is watched together with the pipe.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from ..errors import InputError

MAX_LINE = 1 << 20
_READ = 1 << 16
_GRACE = 0.1  # seconds in which a reader may still take the last answer once a signal has come
_WRITE = select.PIPE_BUF  # what a pipe that is ready takes without blocking


class Stopped(Exception):  # noqa: N818 - no error: the end that was asked for
    """A signal asked to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Pipes:
    """Standard input line by line and standard output at once, both given up when a watched signal comes."""

    def __init__(self, watch: tuple[signal.Signals, ...]) -> None:
        self._watch = watch if threading.current_thread() is threading.main_thread() else ()
        self._handlers: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}
        self._received: int | None = None
        self._buffer = bytearray()
        self._ended = False

    def __enter__(self) -> Pipes:
        self._wake, self._wake_write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._wake_write, False)
        self._wakeup_before = signal.set_wakeup_fd(self._wake_write) if self._watch else -1
        for signum in self._watch:
            self._handlers[signum] = signal.signal(signum, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        if self._watch:
            signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._wake)
        os.close(self._wake_write)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self._received = signum

    def read_line(self) -> str | None:
        """The next line without its end, or None at the end of the input.

        Raises Stopped, and InputError on a line that is not UTF-8 or longer than MAX_LINE bytes.
        """
        while True:
            if self._received is not None:
                raise Stopped(self._received)
            end = self._buffer.find(b"\n")
            if end >= 0 or (self._ended and self._buffer):
                line = bytes(self._buffer if end < 0 else self._buffer[:end])
                del self._buffer[: len(line) + 1]
                return _decode(line)
            if self._ended or sys.stdin is None:
                return None
            if len(self._buffer) > MAX_LINE:
                raise InputError(f"expected a line of at most {MAX_LINE} bytes", expected=MAX_LINE)
            source = sys.stdin.fileno()
            if source in select.select([source, self._wake], [], [])[0]:
                chunk = os.read(source, _READ)
                self._ended = not chunk
                self._buffer += chunk
            self._drain()

    def write_line(self, text: str) -> None:
        """Write a line at once. Raises BrokenPipeError where nobody reads, Stopped where a signal comes first."""
        if sys.stdout is None:
            raise BrokenPipeError
        encoding = sys.stdout.encoding or "utf-8"
        data = memoryview((text + "\n").encode(encoding, "backslashreplace"))
        sys.stdout.flush()
        target = sys.stdout.fileno()
        while data:
            received = self._received
            wake, patience = ([self._wake], None) if received is None else ([], _GRACE)
            if select.select(wake, [target], [], patience)[1]:
                try:
                    data = data[os.write(target, data[:_WRITE]) :]
                except OSError as error:
                    error.filename = "standard output"
                    raise
            elif received is not None:
                raise Stopped(received)
            self._drain()

    def _drain(self) -> None:
        try:
            while os.read(self._wake, _READ):
                pass
        except BlockingIOError:
            pass


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8").removeprefix("\ufeff").rstrip("\r")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: {error}") from None
