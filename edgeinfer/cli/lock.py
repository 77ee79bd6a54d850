"""One process at a time on a file that it keeps to itself."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from ..errors import StreamError


@contextmanager
def only_one(target: Path, path: str) -> Iterator[None]:
    """Hold ``target``, which the user calls ``path``. Raises StreamError where another process holds it.

    What is locked is a file beside it, since the file itself is replaced whenever it is saved. The system lets go of
    the lock when the process ends, however it ends; a lock file that is left over holds nobody up.
    """
    beside = target.with_name(f".{target.name}.lock")
    try:
        handle = _locked(beside)
    except BlockingIOError:
        raise StreamError(
            f"{path}: another process keeps its state in this file; end it first, or give each a file of its own"
        ) from None
    except OSError as error:
        error.filename = path
        raise
    try:
        yield
    finally:
        for let_go in (beside.unlink, partial(os.close, handle)):
            with suppress(OSError):  # the state is saved; a lock file that stays holds nobody up
                let_go()


def _locked(beside: Path) -> int:
    while True:
        handle = os.open(beside, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it before may have removed the file after it was opened here and before it was locked.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(beside)):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
