"""One line of a stream as what a step takes: CSV cells or JSON."""

from __future__ import annotations

import csv
import json
import math
from typing import Any

import numpy as np

from ..errors import InputError, PipelineError
from ..graph import ValueInfo
from ..model import Model
from .csv_series import find_column, parse_number


class SeriesRows:
    """Lines of a series: ``value``, ``time,value``, or a JSON object.

    With column names given, the first line may be a header that says where they stand.
    """

    def __init__(self, column: str | None, time: str | None) -> None:
        self._column = column
        self._time = time
        self._header: list[str] | None = None
        self._first = True

    def parse(self, line: str) -> tuple[float, str | None] | None:
        """The value and its time; None where the line is a header."""
        first, self._first = self._first, False
        if line.lstrip().startswith("{"):
            return self._from_object(line)
        cells = split_cells(line)
        if first and self._is_header(cells):
            self._header = cells
            if self._column is not None:
                find_column("the header", cells, self._column, "column")
            if self._time is not None:
                find_column("the header", cells, self._time, "time column")
            return None
        if self._header is not None:
            if len(cells) != len(self._header):
                raise PipelineError(f"expected {len(self._header)} cells, got {len(cells)}", stage="csv")
            value = cells[self._header.index(self._column or "")]
            time = None if self._time is None else cells[self._header.index(self._time)]
        elif len(cells) <= 2:
            value, time = cells[-1], cells[0] if len(cells) == 2 else None
        else:
            raise PipelineError(f"expected value or time,value, got {len(cells)} cells", stage="csv")
        where = "value" if self._column is None else f"column {self._column!r}"
        try:
            return parse_number(value, where, "csv"), time
        except PipelineError as error:
            if not first or self._column is not None:
                raise
            raise PipelineError(f"{error}; a header needs --column", stage="csv", field="value") from None

    def _is_header(self, cells: list[str]) -> bool:
        if self._column is None:
            return False
        if self._column in cells:
            return True
        return len(cells) > 2 or not _is_number(cells[-1])

    def _from_object(self, line: str) -> tuple[float, str | None]:
        data = parse_json(line)
        column, time = self._column or "value", self._time or "time"
        for name in (column,) if self._time is None else (column, time):
            if name not in data:
                there = ", ".join(data)
                raise PipelineError(f"no field {name!r}; there are: {there}", stage="json", field=name)
        moment = data.get(time)
        if moment is not None and not isinstance(moment, str):
            message = f"field {time!r}: expected a string, got {moment!r}"
            raise PipelineError(message, stage="json", field=time)
        return check_number(data[column], f"field {column!r}"), moment


def parse_text(line: str) -> str:
    """The text of a line: itself, or the field ``text`` of a JSON object."""
    if not line.lstrip().startswith("{"):
        return line
    data = parse_json(line)
    text = data.get("text")
    if not isinstance(text, str):
        raise PipelineError(f"field 'text': expected a string, got {text!r}", stage="json", field="text")
    return text


def parse_step(line: str, model: Model) -> np.ndarray | dict[str, np.ndarray]:
    """The inputs of one time step of a model.

    Cells or a JSON list for a model with one input; an object of numbers or lists by name for any.
    """
    start = line.lstrip()[:1]
    if start == "{":
        data = parse_json(line)
        names = [value.name for value in model.inputs]
        if sorted(data) != sorted(names):
            message = f"expected the inputs {', '.join(names)}, got {', '.join(data)}"
            raise InputError(message, expected=names, got=list(data))
        arrays = {value.name: _step_array(data[value.name], value) for value in model.inputs}
        return arrays if len(arrays) != 1 else arrays[names[0]]
    if len(model.inputs) != 1:
        listed = ", ".join(value.name for value in model.inputs)
        raise InputError(f"the model has several inputs: expected a JSON object with {listed}")
    if start == "[":
        return _step_array(parse_json(line, list), model.inputs[0])
    cells = [parse_number(cell, f"value {i}", "csv") for i, cell in enumerate(split_cells(line), 1)]
    return _step_array(cells, model.inputs[0])


def _step_array(data: Any, value: ValueInfo) -> np.ndarray:
    single = len(value.shape) <= 2
    listed = data if isinstance(data, list) else [data]
    items = [check_number(item, f"input {value.name!r}") for item in listed]
    if single and len(items) != 1:
        raise InputError(f"input {value.name!r}: expected one number, got {len(items)}", name=value.name)
    width = 1 if single else value.shape[-1]
    if isinstance(width, int) and len(items) != width:
        raise InputError(
            f"input {value.name!r}: expected {width} numbers, got {len(items)}",
            name=value.name,
            expected=width,
            got=len(items),
        )
    if np.issubdtype(value.dtype, np.integer):
        limits = np.iinfo(value.dtype)
        for item in items:
            if item != int(item) or not limits.min <= item <= limits.max:
                raise InputError(f"input {value.name!r}: expected {value.dtype} values, got {item:g}")
    with np.errstate(over="ignore"):
        array = np.array(items).astype(value.dtype)
    return array.reshape(()) if single else array


def split_cells(line: str) -> list[str]:
    """The cells of a line of CSV, stripped."""
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error as error:
        raise PipelineError(f"not a row of CSV: {error}", stage="csv") from None
    return [cell.strip() for cell in rows[0]] if rows else []


def parse_json(line: str, kind: type = dict) -> Any:
    """A JSON object, or a list where ``kind`` says so."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PipelineError(f"not JSON: {error}", stage="json") from None
    if not isinstance(data, kind):
        raise PipelineError(f"expected a JSON {kind.__name__}, got {line!r}", stage="json")
    return data


def check_number(value: Any, where: str) -> float:
    """A finite number out of JSON."""
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, (int, float)) else float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise PipelineError(f"{where}: expected a finite number, got {value!r}", stage="json", field=where)
    return number


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
