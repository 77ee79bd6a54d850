"""How the commands speak: exit codes, and progress on stderr."""

from __future__ import annotations

import sys

# Wrong usage exits 2, as argparse does; 130 is what a shell gives for SIGINT.
OK, FAILED, BAD_MODEL, INTERRUPTED = 0, 1, 3, 130


def report_progress(line: str, command: str = "export") -> None:
    """Print one line about what comes next."""
    print(f"{command}: {line}", file=sys.stderr, flush=True)
