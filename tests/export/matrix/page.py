"""docs/keras-support.md from the committed results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .cases import all_cases

_HEAD = """\
# What of Keras is exported

Written by `make support`; do not edit. {total} Keras models with random weights, each exported and compared with Keras
on the same inputs: several batch sizes and lengths; masks that pad in front, behind, leave holes, or leave nothing; in
stream form also one time step at a time with the state carried over. A model counts as equal where ONNX Runtime and
edgeinfer's native backend both answer within 1e-5 of Keras, relative to max(1, |y|), in every form that it has, and
no Loop, Scan or If stands in the file.

| | models |
| --- | --- |
{totals}

The last column of each table says what `model.export("model.onnx", format="onnx")`, Keras' own way, makes of the same
model: *fine*; *loops*: right, but with Loop, Scan or If inside (how many); *wrong*: another shape or other values;
*fails*: no file, or none that ONNX Runtime loads.

{date}, on {versions}. The models are built in `tests/export/matrix`; run them again with
`make support` (about {minutes} minutes on one core; `python -m tests.export.matrix plain` for the last column), one of
them with `python -m tests.export.matrix export --only 'Masks: LSTM Masking'`.

## In groups

{columns}
{groups}
"""
_GROUP = """
## {group}

<details><summary>{summary}</summary>

| model | form | ONNX Runtime | native | step by step | nodes | plain `model.export` |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

</details>
"""
_REFUSED = """
## Refused by name

| model | what export says | plain `model.export` |
| --- | --- | --- |
{rows}
"""
_COLUMNS = (
    "group", "models", "equal", "stream form", "largest difference: ONNX Runtime", "native", "step by step",
    "Loop, Scan, If", "plain: fine", "loops", "wrong", "fails",
)  # fmt: skip
_VERDICTS = ("fine", "loops", "wrong", "fails")
_WORDS = {
    "equal": "exported, equal to Keras",
    "refused": "refused by name, with the way out",
    "wrong": "exported, but not equal",
    "failed": "not exported",
    "broken": "not run by Keras itself",
}


def write_page(path: Path, export: Mapping[str, Any], plain: Mapping[str, Any]) -> None:
    """Write the page anew."""
    path.write_text(page(export, plain), "utf-8")


def page(export: Mapping[str, Any], plain: Mapping[str, Any]) -> str:
    """The page's text; the same for the same results."""
    found = {name: export["cases"][name] for name in all_cases() if name in export["cases"]}
    flow = sum(result.get("control_flow", 0) for result in found.values())
    counts = Counter(result["status"] for result in found.values())
    totals = [f"| {words} | {counts[status]} |" for status, words in _WORDS.items() if counts[status]]
    totals.append(f"| with a Loop, Scan or If | {flow} |")
    others = Counter(plain["cases"][name]["verdict"] for name in found if name in plain["cases"])
    totals += [f"| plain `model.export`: {verdict} | {others[verdict]} |" for verdict in _VERDICTS]
    groups: dict[str, list[str]] = {}
    for name in found:
        groups.setdefault(all_cases()[name].group, []).append(name)
    text = _HEAD.format(
        total=len(found),
        totals="\n".join(totals),
        date=export["date"],
        versions=", ".join(f"{name} {version}" for name, version in export["versions"].items()),
        minutes=export["minutes"],
        columns=f"| {' | '.join(_COLUMNS)} |\n|{' --- |' * len(_COLUMNS)}",
        groups="\n".join(_summary_row(group, names, found, plain["cases"]) for group, names in groups.items()),
    )
    refused = [name for name, result in found.items() if result["status"] == "refused"]
    for group, names in groups.items():
        rows = [_row(name, found[name], plain["cases"].get(name)) for name in names if name not in refused]
        if rows:
            summary = f"{len(rows)} models"
            text += _GROUP.format(group=group, summary=summary, rows="\n".join(rows))
    rows = [f"| {_name(name)} | {_cell(found[name]['why'])} | {_plain(plain['cases'].get(name))} |" for name in refused]
    return text + (_REFUSED.format(rows="\n".join(rows)) if rows else "")


def _summary_row(group: str, names: Sequence[str], found: Mapping[str, Any], plain: Mapping[str, Any]) -> str:
    results = [found[name] for name in names]
    counts = Counter(result["status"] for result in results)
    forms = Counter(result.get("form") for result in results)
    others = Counter(plain[name]["verdict"] for name in names if name in plain)
    steps = [value for r in results for value in (r.get("step_onnxruntime"), r.get("step_native")) if value is not None]
    cells = [
        f"[{group}](#{group.lower().replace(',', '').replace('.', '').replace(' ', '-')})",
        len(names),
        counts["equal"],
        forms["stream"],
        _number(max((r["onnxruntime"] for r in results if "onnxruntime" in r), default=None)),
        _number(max((r["native"] for r in results if "native" in r), default=None)),
        _number(max(steps, default=None)),
        sum(r.get("control_flow", 0) for r in results),
        *(others[verdict] for verdict in _VERDICTS),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _row(name: str, result: Mapping[str, Any], plain: Mapping[str, Any] | None) -> str:
    if result["status"] != "equal":
        cells = [_name(name), f"**{result['status']}**: {_cell(result.get('why', ''))}", "", "", "", ""]
    else:
        steps = [result[key] for key in ("step_onnxruntime", "step_native") if key in result]
        cells = [
            _name(name),
            result["form"],
            _number(result["onnxruntime"]),
            _number(result["native"]),
            _number(max(steps, default=None)),
            _nodes(result["nodes"]),
        ]
    return f"| {' | '.join([*map(str, cells), _plain(plain)])} |"


def _nodes(nodes: Mapping[str, int]) -> str:
    """How many, and which of them are recurrent."""
    recurrent = ", ".join(f"{count} {kind}" for kind, count in nodes.items() if kind in ("LSTM", "GRU", "RNN"))
    return f"{sum(nodes.values())}{f' ({recurrent})' if recurrent else ''}"


def _plain(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    if found["verdict"] == "loops":
        return "loops: " + ", ".join(f"{count} {kind}" for kind, count in found["control_flow"].items())
    why = found.get("why", "")
    return found["verdict"] + (f": {_cell(why[:110])}" if why else "")


def _name(name: str) -> str:
    return _cell(name.partition(": ")[2])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _number(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:.1e}".replace("e-0", "e-")
