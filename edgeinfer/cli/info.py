"""``edgeinfer info``: what is in a model file, and what runs it here."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import available
from ..model import Model
from .answers import backend_of, name_of
from .common import add_backend, add_limit, add_model, add_parser, open_model
from .output import fields, plural, say, say_json, table

_LISTED = 6
_LONGEST = 200
_TEXT = """
example:
  edgeinfer info demand.onnx
  edgeinfer info demand.onnx --json

Shows inputs, outputs and states, the mode (state carried, or a window
recomputed), every operator and what runs it, parameters, multiply-accumulates
and bytes of state per step, and the metadata in the file.
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "info", "show what is in a model file and what runs it here", _TEXT)
    add_model(parser)
    add_backend(parser)
    add_limit(parser)
    parser.set_defaults(function=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    model = open_model(args)
    about = model.describe()
    if args.json:
        say_json(about)
        return 0
    say(f"{name_of(model)}: {args.model}")
    say()
    say(fields(_summary(model, about)))
    for title in ("inputs", "outputs"):
        say()
        say(table((title, "type", "shape"), [_tensor_row(entry) for entry in about[title]], left=(0, 1, 2)))
    if about["states"] and about["mode"] != "window":
        say()
        rows = [(f"{s['input']} → {s['output']}", _shape(s["shape"])) for s in about["states"]]
        say(table(("states", "shape"), rows, left=(0, 1)))
    nodes = [(node["name"], node["op"], node["runs"]) for node in about["nodes"]]
    say()
    say(table(("operators", "type", "runs on"), nodes, left=(0, 1, 2)))
    metadata = _metadata(model)
    if metadata:
        say()
        say(fields(metadata))
    return 0


def _summary(model: Model, about: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("task", _task(model)), ("mode", _mode(about)), ("backend", _backend(model))]
    if about["parameters"] is not None:
        rows.append(("parameters", f"{about['parameters']:,}"))
    macs, state = about["macs_per_step"], f"{about['state_bytes']:,}"
    if about["mode"] == "window":
        length = about["window"]["length"]
        if macs is not None:
            rows.append(("MACs per step", f"{macs * length:,}, {macs:,} for each input of the window"))
        rows.append(("state bytes", f"{state}, zero at the start of every window"))
    else:
        if macs is not None:
            rows.append(("MACs per step", f"{macs:,}"))
        rows.append(("state bytes", state))
    rows.append(("file bytes", f"{about['file_bytes']:,}"))
    stable = "yes: a step equals the same step inside a sequence"
    rows.append(("bit-stable", stable if about["bit_stable"] else "no: a step and a sequence may differ by 1e-6"))
    rows += [("opset", str(about["opset"])), ("producer", str(about["producer"]) or "not named")]
    return rows


def _task(model: Model) -> str:
    if model.spec is None or model.spec.task is None:
        return "none named: plain arrays in, plain arrays out"
    after = model.spec.postprocessing
    if model.spec.task == "forecast":
        further = ", further by feeding forecasts back" if after.get("recursive") else ""
        horizon = after.get("horizon")
        steps = plural(horizon, "step") if isinstance(horizon, int) else "? steps"
        return f"forecast, {steps} ahead{further}"
    if model.spec.task == "classify":
        return "classify: " + ", ".join(str(label) for label in after.get("labels", ()))
    return model.spec.task


def _mode(about: Mapping[str, Any]) -> str:
    mode, window = about["mode"], about["window"]
    if mode == "window":
        start = {"pad": "padding stands for what is missing", "partial": "it takes what there is", "wait": "no answer"}
        return (
            f"window: a step looks at the last {window['length']} inputs from a zero state; "
            f"before there are so many: {start[window['start']]}"
        )
    if mode == "stream":
        return "stream: the state is carried from step to step"
    return "not said by the file: model.stream(mode=...) or --mode decides"


def _backend(model: Model) -> str:
    if model.backend != "reference":
        return backend_of(model)
    return "reference (NumPy)" + ("" if "native" in available() else ", since no compiled core is installed")


def _tensor_row(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return entry["name"], entry["dtype"], _shape(entry["shape"])


def _shape(shape: Sequence[Any]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def _metadata(model: Model) -> list[tuple[str, str]]:
    spec = model.spec
    if spec is None:
        return []
    rows = []
    series = spec.preprocessing.get("series")
    rows += [("reads", line) for line in _tokens(spec.preprocessing)]
    several = spec.preprocessing.get("inputs")
    for name, one in several.items() if isinstance(several, Mapping) else ():
        rows += [(f"{name} reads", line) for line in _tokens(one)]
    if isinstance(series, Mapping):
        rows.append(("reads", f"a series, {plural(len(series.get('features', ())), 'feature')} per row"))
    if spec.goldens:
        names = ", ".join(golden.name for golden in spec.goldens)
        rows.append(("goldens", f"{plural(len(spec.goldens), 'case')}: {names}"))
    for key, value in spec.provenance.items():
        rows.extend(_flat(key, value))
    return rows


def _tokens(described: Any) -> list[str]:
    """What is read as token ids."""
    lines = []
    for kind, entries in (("text", "words"), ("integers", "integers")):
        data = described.get(kind) if isinstance(described, Mapping) else None
        vocabulary = data.get("vocabulary") if isinstance(data, Mapping) else None
        if isinstance(vocabulary, list):
            lines.append(f"{kind}, a vocabulary of {len(vocabulary):,} {entries}")
    return lines


def _flat(key: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [row for inner, item in value.items() for row in _flat(f"{key}.{inner}", item)]
    if isinstance(value, float):
        return [(key, f"{value:.6g}")]
    if isinstance(value, list):
        value = ", ".join(map(str, value[:_LISTED])) + (", …" if len(value) > _LISTED else "")
    text = str(value)
    return [(key, text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")]
