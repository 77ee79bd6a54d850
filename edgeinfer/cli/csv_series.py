"""A column of a CSV file as a series, with the times beside it."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import PipelineError

_SERIES_ROW = re.compile(r"series: row (\d+): ")


@dataclass(frozen=True, eq=False)
class CsvSeries:
    """Values float64 [N], the times as they stand in the file or None, and each one's row in the file."""

    path: str
    values: npt.NDArray[np.float64]
    times: tuple[str, ...] | None
    rows: tuple[int, ...]
    columns: tuple[str, ...]

    def locate(self, error: PipelineError) -> PipelineError:
        """An error about a row of the series as one about the row of the file."""
        found = _SERIES_ROW.match(str(error))
        if found is None:
            return PipelineError(f"{self.path}: {error}", stage=error.stage, field=error.field)
        row = self.rows[int(found[1]) - 1]
        text = str(error)[found.end() :]
        return PipelineError(f"{self.path}: row {row}: {text}", stage=error.stage, field=error.field)


def read_csv_series(path: str, column: str | None, time: str | None) -> CsvSeries:
    """The series in ``column`` of a UTF-8 CSV file with a header, and in ``time`` its times.

    Rows are counted as in the file, the header being row 1. Raises PipelineError naming row and column of a
    value that is no finite number, or a column that does not exist; OSError where the file cannot be read.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        try:
            header = next(reader, None)
            if not header:
                raise PipelineError(f"{path}: empty: expected a header and rows", stage="csv", field="header")
            lines = [(reader.line_num, cells) for cells in reader]
        except UnicodeDecodeError as error:
            raise PipelineError(f"{path}: not UTF-8 text: {error}", stage="csv", field="encoding") from None
        except csv.Error as error:
            raise PipelineError(f"{path}: row {reader.line_num}: {error}", stage="csv", field="row") from None
    while lines and not any(cell.strip() for cell in lines[-1][1]):
        lines.pop()
    value_at = find_column(path, header, column, "column")
    time_at = None if time is None else find_column(path, header, time, "time column")
    if not lines:
        raise PipelineError(f"{path}: no rows: there is only a header", stage="csv", field="rows")
    values = np.empty(len(lines), dtype=np.float64)
    times = []
    for i, (row, cells) in enumerate(lines):
        where = f"{path}: row {row}, column {header[value_at].strip()!r}"
        if len(cells) <= max(value_at, -1 if time_at is None else time_at):
            raise PipelineError(f"{where}: expected {len(header)} cells, got {len(cells)}", stage="csv", field="row")
        values[i] = parse_number(cells[value_at], where, "csv")
        if time_at is not None:
            times.append(cells[time_at].strip())
    rows = tuple(row for row, _ in lines)
    columns = tuple(cell.strip() for cell in header)
    return CsvSeries(path, values, None if time_at is None else tuple(times), rows, columns)


def find_column(where: str, header: Sequence[str], name: str | None, what: str) -> int:
    """The index of the column ``name``. Raises PipelineError naming the columns that exist."""
    names = [cell.strip() for cell in header]
    listed = ", ".join(names)
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        listed = f"{names[0]!r} alone, as commas separate the cells"
    if name is None:
        raise PipelineError(f"{where}: say which {what}; there are: {listed}", stage="csv", field=what)
    if names.count(name) > 1:
        raise PipelineError(f"{where}: {what} {name!r} is there twice", stage="csv", field=name)
    if name not in names:
        raise PipelineError(f"{where}: no {what} {name!r}; there are: {listed}", stage="csv", field=name)
    return names.index(name)


def parse_number(text: str, where: str, stage: str) -> float:
    """A finite number as it stands in a cell. Raises PipelineError beginning with ``where``."""
    text = text.strip()
    try:
        number = math.nan if "_" in text else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        got = repr(text) if text else "an empty cell"
        raise PipelineError(f"{where}: expected a finite number, got {got}", stage=stage, field="value")
    return number
