"""``python -m export inspect MODEL.keras``: what becomes of a model, before any file is made."""

from __future__ import annotations

import argparse
import json

from .arguments import add_model_arguments, check_model_arguments
from .inspect import Inspection, Row, inspect_model
from .load import find_custom_objects
from .progress import BAD_MODEL, ENDINGS, OK, ended, report_progress

_STREAMS = {True: "yes", False: "no", None: "?"}
_HEAD = ("layer", "output", "becomes", "streams", "parameters", "MACs")


def main(prog: str, given: list[str]) -> int:
    """Run the command: 0 it can be exported, 2 wrong usage, 3 bad model or refused, 130 SIGINT."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Say, layer by layer, what becomes of a Keras model, whether it streams, and what is refused.",
    )
    add_model_arguments(parser)
    try:
        arguments = parser.parse_args(given)
        wanted = check_model_arguments(parser, arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        found = inspect_model(
            arguments.model,
            wanted,
            spec=arguments.spec,
            custom_objects=find_custom_objects(arguments.custom_objects),
            progress=report_progress,
        )
    except ENDINGS as error:
        return ended("export", error)
    if arguments.json:
        print(json.dumps({"path": str(arguments.model), **found.to_dict()}))
    else:
        print(as_text(found))
    return BAD_MODEL if found.refusals else OK


def as_text(found: Inspection) -> str:
    """The table and the verdict."""
    rows = [_HEAD, *(_cells(row) for row in found.rows)]
    if found.macs is None:
        rows = [row[:-1] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    numbers = ("parameters", "MACs")
    lines = [
        "  ".join(
            cell.rjust(width) if _HEAD[i] in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", *_verdict(found)])


def _cells(row: Row) -> tuple[str, ...]:
    name = f"{'  ' * row.depth}{row.name} ({row.kind})"
    becomes = "refused" if row.refused else row.becomes
    macs = "" if row.macs is None else f"{row.macs:,}"
    return name, row.shape, becomes, _STREAMS[row.streams], f"{row.parameters:,}", macs


def _verdict(found: Inspection) -> list[str]:
    total = f"{found.parameters:,} parameters"
    if found.refusals:
        count = len(found.refusals)
        return [total, f"refused, for {count} reason{'s' if count > 1 else ''}:", *(f"  {e}" for e in found.refusals)]
    per = "a step" if found.form == "stream" else f"{found.steps} step{'s' if found.steps > 1 else ''}"
    lines = [f"{total}, {found.macs:,} multiply-accumulates for {per}"]
    window = f" of {found.window}, recomputed at every step" if found.window is not None else ""
    lines.append(f"{found.form} form, mode {found.mode or 'not set'}{window}")
    if found.states:
        lines.append(f"states: {', '.join(found.states)}")
    if found.stops:
        lines.append(f"cannot stream: {found.stops}")
    return lines
