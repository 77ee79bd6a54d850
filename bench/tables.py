"""The page of results: a function of the JSON alone, so that the same results give the same page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgeinfer.cli.output import plural
from edgeinfer.cli.timing import ratio, show_ns

from .cases import TOLERANCE, Case
from .runner import reason

Result = dict[str, Any]

_MARKS = ("<!-- what `make bench` found -->", "<!-- end -->")
_SUMMARY = (
    "edgeinfer",
    "onnxruntime run",
    "onnxruntime io-binding",
    "litert fed back",
    "litert variables",
    "openvino",
    "torch",
    "tract",
    "numpy",
)

_INTRO = """\
# Benchmarks

<!-- written by `python -m bench`; do not edit -->

Every contender runs the same weights in a process of its own, on one core, one thread unless its row says otherwise.
One process runs at a time: in each round all take their turn, beginning with another one each time. Before anything is
timed, every contender's outputs are held against a float64 computation from the same zero state; one that is further
off than {tolerance} (relative to max(1, |y|); small weights {small}) is named below and not timed. Times are of calls
from Python, the state kept from call to call. Garbage collection rests.

**A time** is that of a loop without a clock in it, per call: the middle one of parts of half a millisecond, so that
what interrupts a few of them does not count, and of that the median over {rounds} rounds; beside it stands the largest
error. **A ratio** is how many times as long as edgeinfer the contender took in the same round, the median over the
rounds. **Quantiles** are of single calls, less what reading the clock takes.

`make bench` makes this page again, on your machine: it installs the contenders into `.venv-bench` and takes about
{minutes} of timing. `python -m bench --help` teaches the rest, `--quick` takes a minute.
"""

_SECTIONS = (
    (
        "One step",
        "step",
        ("edgeinfer",),
        "A recurrent layer and Dense(1), (input, hidden): the columns; `x2` are two layers.",
    ),
    (
        "One step with small weights",
        "small",
        ("edgeinfer int8 fast", "edgeinfer"),
        "LSTM → Dense(1). The error is that of the answer beside float64 with the float32 weights.",
    ),
    (
        "Whole sequences",
        "sequence",
        ("edgeinfer sequence",),
        "From a zero state, one call. window-24: LSTM(8, 64) over 24 steps.",
    ),
    (
        "Many streams",
        "pool",
        ("edgeinfer pool", "edgeinfer streams"),
        "One step of 1,000 independent streams of one model, one call.",
    ),
)


def document(data: dict[str, Any]) -> str:
    """The page as Markdown."""
    blocks = [
        _INTRO.format(
            tolerance=f"{TOLERANCE['step']:g}",
            small=f"{TOLERANCE['small']:g}",
            rounds=data["rounds"],
            minutes=plural(max(round(data["minutes"]), 1), "minute"),
        ),
        "## Where, and with what\n\n" + _environment(data),
        "## The contenders\n\n" + _contenders(data),
    ]
    for title, kind, bases, about in _SECTIONS:
        results = [result for result in data["results"] if result["case"]["kind"] == kind]
        base = next((name for name in bases if any(_timed(result, name) for result in results)), None)
        if results:
            blocks.append(f"## {title}\n\n{about}\n\n" + _section(data, results, base))
    if data["footprint"]:
        blocks.append("## Before the first answer\n\n" + _footprint(data))
    if data["roofline"]:
        blocks.append("## Floors\n\n" + _roofline(data))
    left_out = _left_out(data)
    if left_out:
        blocks.append("## Not timed\n\n" + left_out)
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def summary(data: dict[str, Any]) -> str:
    """The table of the README: one step of every LSTM, the times alone, of who is kept on one core."""
    results = [r for r in data["results"] if r["case"]["kind"] == "step" and r["case"]["cell"] == "lstm"]
    results = [result for result in results if result["case"]["layers"] == 1]
    if not results or not any(_timed(result, "edgeinfer") for result in results):
        raise SystemExit("python -m bench: --readme: the results have no step of edgeinfer's")
    shown = [name for name in _SUMMARY if any(_timed(result, name) for result in results)]
    rows = [(name, *(_loop_time(result["entries"][name]) for result in results)) for name in shown]
    about = data["environment"]
    where = f"{about['cpu']}, one core, one thread, commit {about['commit']}"
    command = "`make bench` makes this table and [docs/benchmarks.md](docs/benchmarks.md), which has the errors too"
    return f"{_table(('input, hidden', *map(_heading, results)), rows, right=True)}\n\n{where}; {command}.\n"


def with_summary(readme: str, data: dict[str, Any]) -> str:
    """The README with the summary between its two marks."""
    before, mark, rest = readme.partition(_MARKS[0])
    _, end, after = rest.partition(_MARKS[1])
    if not mark or not end:
        raise SystemExit(f"python -m bench: --readme: expected the marks {_MARKS[0]} and {_MARKS[1]}")
    return f"{before}{mark}\n{summary(data)}{end}{after}"


def _environment(data: dict[str, Any]) -> str:
    about = data["environment"]
    isa = _isa(data)
    rows = [
        ("commit", about["commit"]),
        ("date", about["date"]),
        ("CPU", f"{about['cpu']}, {about['cores']} cores" + (f"; the core runs {isa}" if isa else "")),
        ("core", "not pinned" if about["core"] is None else f"number {about['core']}"),
        ("system", f"{about['system']}, Python {about['python']}"),
        ("compiler of the C core", about["compiler"]),
        ("command", f"`{data['command']}`"),
        ("rounds", f"{data['rounds']} of {data['seconds']:g} s, outputs of {data['checked']:,} steps compared"),
    ]
    return _table(("", ""), rows)


def _contenders(data: dict[str, Any]) -> str:
    rows = []
    for name, about in data["contenders"].items():
        found = data["libraries"].get(_library(data, name), {})
        rows.append((name, found.get("version", ""), about))
    absent = [name.split()[0] for name, about in data["libraries"].items() if "missing" in about]
    text = _table(("contender", "version", "what a call does"), rows)
    return text + (f"\n\nNot installed, and so skipped: {', '.join(absent)}." if absent else "")


def _library(data: dict[str, Any], contender: str) -> str:
    """The contender that stands for the same library."""
    return next((name for name in data["libraries"] if name.split()[0] == contender.split()[0]), "")


def _isa(data: dict[str, Any]) -> str | None:
    found: str | None = data["libraries"].get("edgeinfer", {}).get("isa")
    return found


def _context(data: dict[str, Any]) -> str:
    """What stands above every table."""
    about = data["environment"]
    versions = [
        f"{name.split()[0]} {found['version']}" + (f" ({found['isa']})" if found.get("isa") else "")
        for name, found in data["libraries"].items()
        if "missing" not in found
    ]
    pinned = "not pinned" if about["core"] is None else f"core {about['core']}, 1 thread"
    parts = [about["commit"], about["cpu"], pinned, *versions, about["compiler"], f"`{data['command']}`"]
    return f"<sub>{' · '.join(parts)}</sub>\n\n"


def _section(data: dict[str, Any], results: Sequence[Result], base: str | None) -> str:
    groups: dict[str, list[Result]] = {}
    for result in results:
        case = result["case"]
        groups.setdefault(case["cell"] if case["kind"] == "step" else case["kind"], []).append(result)
    blocks = []
    for cell, group in groups.items():
        title = f"### {cell.upper()}\n\n" if len(groups) > 1 else ""
        blocks.append(title + _context(data) + _matrix(group, lambda r, n: _time(r["entries"][n])))
        if base is not None:
            blocks.append(
                f"As many times as long as `{base}`:\n\n"
                + _context(data)
                + _matrix(group, lambda r, n: _ratio(r, n, base))
            )
        blocks += [_quantiles(data, result) for result in group]
    return "\n\n".join(blocks)


def _matrix(results: Sequence[Result], cell: Callable[[Result, str], str]) -> str:
    """Contenders down, cases across."""
    names = list(dict.fromkeys(name for result in results for name in result["entries"]))
    rows = [
        (name, *(cell(result, name) if name in result["entries"] else "" for result in results))
        for name in names
        if any(_timed(result, name) for result in results)
    ]
    return _table(("", *(_heading(result) for result in results)), rows, right=True)


def _timed(result: Result, name: str) -> bool:
    return bool(result["entries"].get(name, {}).get("status") == "ok")


def _heading(result: Result) -> str:
    case = Case(**result["case"])
    if case.kind in ("step", "small"):
        return f"{case.features},{case.hidden}" + (f" x{case.layers}" if case.layers > 1 else "")
    return case.title if case.tokens else case.name


def _time(entry: dict[str, Any]) -> str:
    return f"{_loop_time(entry)} ({entry['error']:.0e})" if entry["status"] == "ok" else "–"


def _loop_time(entry: dict[str, Any]) -> str:
    return show_ns(_median(entry["loops"])) if entry["status"] == "ok" else "–"


def _ratio(result: Result, name: str, base: str) -> str:
    if not _timed(result, name) or not _timed(result, base):
        return "–"
    return f"{ratio(result['entries'][base]['loops'], result['entries'][name]['loops']):.2f}"


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _quantiles(data: dict[str, Any], result: Result) -> str:
    rows = []
    for name, entry in result["entries"].items():
        if entry["status"] == "ok":
            t = entry["timing"]
            quantiles = [show_ns(t[f"{q}_ns"]) for q in ("min", "p50", "p90", "p99", "p999")]
            rows.append((name, *quantiles, show_ns(_median(entry["loops"])), f"{entry['error']:.1e}"))
    headers = ("", "min", "p50", "p90", "p99", "p99.9", "in a loop", "error")
    title = Case(**result["case"]).title
    shown = _context(data) + _table(headers, rows, right=True)
    return f"<details><summary>{title}: quantiles of single calls</summary>\n\n{shown}\n\n</details>"


def _footprint(data: dict[str, Any]) -> str:
    found = data["footprint"]
    rows = [
        (name.split()[0], f"{f['import_ms']:.1f} ms", f"{f['first_ms']:.1f} ms", _mb(f["resident"]), _size(data, name))
        for name, f in found["libraries"].items()
    ]
    headers = ("", "import", "open LSTM(8, 64), first answer", "resident after it", "installed")
    blocks = [
        "Each in fresh processes, over what numpy alone takes. Installed: the files of the package and all it requires "
        "but numpy; edgeinfer's without its bundled models.",
        _context(data) + _table(headers, rows, right=True),
    ]
    loads = [
        (model, name.split()[0], f"{f['load_ms']:.1f} ms", _mb(f["resident"]))
        for model, by_name in found["bundled"].items()
        for name, f in by_name.items()
    ]
    if loads:
        blocks.append("The bundled models: load, and memory held after it, what importing the library took included.")
        blocks.append(_context(data) + _table(("model", "", "load", "resident"), loads, right=True))
    return "\n\n".join(blocks)


def _size(data: dict[str, Any], name: str) -> str:
    return _mb(data["libraries"][name]["installed"])


def _mb(count: float) -> str:
    return f"{count / 1e6:.1f} MB"


def _roofline(data: dict[str, Any]) -> str:
    found = data["roofline"]
    blocks = [f"floor = {found['formula']}, measured by `make roofline`; the step is the C core's own, without Python."]
    for isa in found["isas"]:
        reads = ", ".join(f"{level} {rate:.0f}" for level, rate in isa["bytes_per_ns"].items())
        context = (
            f"<sub>{data['environment']['commit']} · {found['cpu']} · core {found['core']}, 1 thread · "
            f"{found['compiler']} {found['flags']} · `build/roofline --json`</sub>\n\n"
        )
        headers = ("", "input, hidden", "KiB", "level", "MACs", "bytes", "chain", "floor", "step", "step / floor")
        rows = [
            (
                step["cell"],
                f"{step['input']},{step['hidden']}",
                f"{step['bytes'] / 1024:.1f}",
                step["level"],
                *(show_ns(step[f"{part}_ns"]) for part in ("macs", "bytes", "chain", "floor", "step")),
                f"{step['step_over_floor']:.2f}",
            )
            for step in isa["steps"]
        ]
        rates = f"{isa['isa']}: {isa['macs_per_ns']:.0f} MACs/ns; reads {reads} bytes/ns"
        blocks.append(f"{rates}\n\n{context}{_table(headers, rows, right=True)}")
    return "\n\n".join(blocks)


def _left_out(data: dict[str, Any]) -> str:
    lines = []
    for result in data["results"]:
        for name, entry in result["entries"].items():
            if entry["status"] != "ok":
                lines.append(f"- {result['case']['name']}, {name}: {reason(entry)}")
    return "\n".join(lines)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: bool = False) -> str:
    rule = ["---", *(["---:" if right else "---"] * (len(headers) - 1))]
    lines = [f"| {' | '.join(row)} |" for row in (headers, rule, *rows)]
    return "\n".join(lines)
