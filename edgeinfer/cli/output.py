"""What the commands print: tables, numbers, small charts, and a standard output whose reader may leave."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = "_.-=+*#@"
_BAR = "█"
_ASCII_BAR = "#"
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def say(text: str = "", end: str = "\n") -> None:
    """Print a line at once. Characters that the terminal's encoding lacks are escaped.

    Once nobody reads any more, what follows is discarded: the exit status still says what the command found.
    """
    if sys.stdout is None:
        return
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = visible(text).encode(encoding, "backslashreplace").decode(encoding)
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    except OSError as error:
        discard_output()
        error.filename = "standard output"
        raise


def visible(text: str) -> str:
    """Control characters escaped, but for line ends: a text or a file must not steer the terminal."""
    return text.translate(_ESCAPED)


def discard_output() -> None:
    """Lead standard output nowhere, what is still buffered included, so that leaving does not fail."""
    if sys.stdout is None:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    finally:
        os.close(nowhere)


def say_json(data: Any, indent: int | None = 2) -> None:
    """Print one JSON object."""
    say(json_text(data, indent))


def json_text(data: Any, indent: int | None = None) -> str:
    """Data as JSON that standard output can show. NaN and infinities become null."""
    plain = _plain(data)
    text = json.dumps(plain, ensure_ascii=False, indent=indent)
    # What printing would escape, in a text or for an encoding, has to be escaped as JSON does it.
    return text if _can_show(visible(text)) and visible(text) == text else json.dumps(plain, indent=indent)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(numbers(value))
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(number(value))
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def number(value: Any) -> Any:
    """A NumPy scalar as a Python one; float32 by its shortest decimal form, which reads back the same."""
    if isinstance(value, np.float32):
        return float(str(value))
    return value.item() if isinstance(value, np.generic) else value


def numbers(array: np.ndarray) -> Any:
    """An array as nested lists, each element as ``number`` gives it."""
    if array.ndim == 0:
        return number(array[()])
    return [numbers(row) if isinstance(row, np.ndarray) else number(row) for row in array]


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Columns aligned under their headers: to the left where listed in ``left``, else to the right."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    shown = []
    for line in lines:
        cells = [cell.ljust(widths[i]) if i in left else cell.rjust(widths[i]) for i, cell in enumerate(line)]
        shown.append("  ".join(cells).rstrip())
    return "\n".join(shown)


def fields(pairs: Sequence[tuple[str, str]]) -> str:
    """``name  value`` lines, the values aligned."""
    width = max((len(name) for name, _ in pairs), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}".rstrip() for name, value in pairs)


def sparkline(values: Sequence[float] | np.ndarray) -> str:
    """One character per value, its height between the smallest and the largest."""
    blocks = _BLOCKS if _can_show(_BLOCKS) else _ASCII_BLOCKS
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return ""
    low, high = float(np.min(data)), float(np.max(data))
    if high == low:
        return blocks[3] * data.size
    levels = np.minimum(((data - low) / (high - low) * len(blocks)).astype(int), len(blocks) - 1)
    return "".join(blocks[level] for level in levels)


def bar(value: float, largest: float, width: int = 20) -> str:
    """A bar of up to ``width`` characters for a value between 0 and ``largest``."""
    length = 0 if largest <= 0 else round(width * min(max(value / largest, 0.0), 1.0))
    return (_BAR if _can_show(_BAR) else _ASCII_BAR) * length


def decimals(values: Sequence[float] | np.ndarray) -> int:
    """How many decimals to print so that about four digits of these values are seen."""
    largest = float(np.max(np.abs(np.asarray(values, dtype=np.float64)), initial=0.0))
    if largest == 0.0 or not np.isfinite(largest):
        return 1
    return int(min(max(3 - np.floor(np.log10(largest)), 0), 8))


def plural(count: int, noun: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _can_show(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def marks(forecast: float, actual: float, low: float, high: float, width: int = 40) -> str:
    """``o`` for the forecast and ``x`` for what came on a line from ``low`` to ``high``; ``*`` where they meet."""
    span = high - low if high > low else 1.0
    at = [round((value - low) / span * (width - 1)) for value in (forecast, actual)]
    line = ["."] * width
    line[at[0]], line[at[1]] = "o", "x"
    if at[0] == at[1]:
        line[at[0]] = "*"
    return "".join(line)
