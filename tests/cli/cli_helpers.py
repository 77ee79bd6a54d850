"""What the tests of the commands share: results, and a CSV file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Result:
    """What a command left."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        assert self.status in (0, 1), self.err
        return json.loads(self.out)


Command = Callable[..., Result]


def history(rows: int) -> str:
    """A CSV with a column before, between and after the ones that matter."""
    rng = np.random.default_rng(5)
    lines = ["station,hour,note,load"]
    for row in range(rows):
        value = 100 + 15 * np.sin(row / 3) + rng.normal(0, 4)
        lines.append(f'A,2024-03-{1 + row // 24:02d} {row % 24:02d}:00,"ok, {row}",{value:.3f}')
    return "\n".join(lines) + "\n"
