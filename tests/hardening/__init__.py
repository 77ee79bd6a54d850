"""Bytes, calls and moments that nobody plans for; docs/security.md says what each program here has shown."""

import sys
from pathlib import Path

# Where the models are that the runtime's other tests run on.
sys.path[:0] = [str(folder) for folder in (Path(__file__).parents[1], Path(__file__).parents[1] / "runtime")]
