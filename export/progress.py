"""How the commands speak: exit codes, and progress on stderr."""

from __future__ import annotations

import sys

from edgeinfer.errors import EdgeInferError

from .errors import DriftError, VerificationError

# Wrong usage exits 2, as argparse does; 130 is what a shell gives for SIGINT.
OK, FAILED, BAD_MODEL, INTERRUPTED = 0, 1, 3, 130


def report_progress(line: str, command: str = "export") -> None:
    """Print one line about what comes next."""
    print(f"{command}: {line}", file=sys.stderr, flush=True)


# What ends a command without its result.
ENDINGS = (EdgeInferError, OSError, KeyboardInterrupt)


def ended(command: str, error: BaseException) -> int:
    """Say on stderr what of ``ENDINGS`` ended a command; its exit code."""
    if isinstance(error, KeyboardInterrupt):
        print(f"{command}: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    print(f"{command}: {error}", file=sys.stderr)
    return FAILED if isinstance(error, VerificationError | DriftError) else BAD_MODEL
