"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeinfer.cli.common import positive_int
from edgeinfer.snapshot import write_atomically

from . import environment, footprint, models, tables
from .cases import KINDS, Case, all_cases
from .contenders import CONTENDERS
from .runner import ROOT, Options, log, run_cases

_FOLDER = ROOT / "build" / "bench"
_ROOFLINE = ROOT / "build" / "roofline.json"
_EXAMPLES = """\
examples:
  python -m bench --quick                            a minute, to see that it works
  python -m bench --case 'lstm-8-*' --contender edgeinfer --contender onnxruntime
  python -m bench --kind pool --kind small           some kinds only
  python -m bench --write docs/benchmarks.md --readme README.md    what make bench does
  python -m bench --from build/bench/results.json    the tables again, nothing is run

Every contender is a process of its own, kept on one core, and only one runs at a
time: in each round all take their turn, beginning with another one each time. A
contender whose outputs differ from a float64 computation is named and not timed;
one that is not installed is skipped. Ratios are taken within a round; tables show
the median over the rounds. Progress goes to standard error, results to --out.

exit status: 0 all that is here was timed, 1 a contender disagreed, failed or died
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.list:
        print(_listed())
        return 0
    if args.source is not None:
        _show(json.loads(args.source.read_text("utf-8")), args.write, args.readme)
        return 0
    cases = [case for case in all_cases() if case.kind in args.kind or not args.kind]
    cases = [case for case in cases if not args.case or any(fnmatch.fnmatch(case.name, p) for p in args.case)]
    names = [name for name in CONTENDERS if not args.contender or any(part in name for part in args.contender)]
    names = [name for name in names if any(CONTENDERS[name].takes(case) for case in cases)]
    if not cases or not names:
        parser.error("no case, or no contender, has such a name; --list shows them")
    options = Options(
        folder=args.folder.resolve(),
        python=args.python,
        core=_core(args.core),
        rounds=args.rounds or (3 if args.quick else 9),
        seconds=args.seconds or (0.02 if args.quick else 0.2),
        limit=100 if args.quick else models.CHECKED_STEPS,
    )
    # a terminated run ends its workers and leaves no half of a file, as an interrupted one
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(args, cases, names, options, shlex.join(["python", "-m", "bench", *arguments]))
    except KeyboardInterrupt:
        log("stopped; nothing was written")
        return 130


def _run(args: argparse.Namespace, cases: list[Case], names: list[str], options: Options, command: str) -> int:
    started = time.monotonic()
    models.prepare(cases, options.folder, log)
    if args.prepare:
        return 0
    libraries = footprint.about_libraries(names, options)
    here = {CONTENDERS[name].module for name, about in libraries.items() if "missing" not in about}
    for name, about in libraries.items():
        if "missing" in about:
            log(f"skipped: {name.split()[0]}, which is not installed ({about['missing']})")
    names = [name for name in names if CONTENDERS[name].module in here]
    data: dict[str, Any] = {
        "command": command,
        "environment": environment.describe(options.core),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "checked": options.limit,
        "libraries": libraries,
        "contenders": {name: CONTENDERS[name].about for name in names},
        "results": run_cases(cases, names, options, log),
        "footprint": None if args.no_footprint else footprint.measure(names, options, log),
        "roofline": json.loads(_ROOFLINE.read_text("utf-8")) if _ROOFLINE.exists() else None,
    }
    data["minutes"] = round((time.monotonic() - started) / 60, 1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out, (json.dumps(data, indent=1) + "\n").encode())
    _show(data, args.write, args.readme)
    log(f"{args.out}: {data['minutes']} minutes")
    bad = [e for result in data["results"] for e in result["entries"].values() if e["status"] not in ("ok", "missing")]
    return 1 if bad else 0


def _show(data: dict[str, Any], target: Path | None, readme: Path | None) -> None:
    text = tables.document(data)
    if readme is not None:
        write_atomically(readme, tables.with_summary(readme.read_text("utf-8"), data).encode())
    if target is None:
        print(text, end="")
    else:
        write_atomically(target, text.encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Time edgeinfer beside other runtimes, on the same models, after checking their answers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what runs (all, unless said)")
    what.add_argument("--kind", action="append", choices=KINDS, default=[], help="cases of this kind")
    what.add_argument("--case", action="append", default=[], metavar="PATTERN", help="cases by name, * for anything")
    what.add_argument("--contender", action="append", default=[], metavar="PART", help="names with this in them")
    what.add_argument("--list", action="store_true", help="show cases and contenders")
    what.add_argument("--no-footprint", action="store_true", help="leave out import, load, memory and size")
    how = parser.add_argument_group("how")
    how.add_argument("--quick", action="store_true", help="short rounds, three of them, 100 steps checked")
    how.add_argument("--rounds", type=positive_int, metavar="N", help="rounds of each case (default: 9)")
    how.add_argument("--seconds", type=_duration, metavar="S", help="length of a contender's turn (default: 0.2)")
    how.add_argument("--core", type=int, metavar="N", help="the core that all stay on (default: the last one)")
    how.add_argument("--python", default=sys.executable, metavar="PATH", help="the interpreter of the contenders")
    files = parser.add_argument_group("files")
    files.add_argument("--folder", type=Path, default=_FOLDER, help="for models and logs (default: build/bench)")
    files.add_argument("--prepare", action="store_true", help="write the models, and run nothing")
    files.add_argument("--out", type=Path, default=_FOLDER / "results.json", metavar="JSON", help="the results")
    files.add_argument("--from", type=Path, dest="source", metavar="JSON", help="make the tables from these results")
    files.add_argument("--write", type=Path, metavar="PAGE", help="where the tables go (default: standard output)")
    files.add_argument("--readme", type=Path, metavar="PAGE", help="a page to put the table of LSTM steps into")
    return parser


def _core(wanted: int | None) -> int | None:
    """The core to stay on; the last one has the fewest interrupts as a rule. None where the system cannot."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    if wanted is not None and wanted not in allowed:
        raise SystemExit(f"python -m bench: --core: expected one of {allowed}, got {wanted}")
    return allowed[-1] if wanted is None else wanted


def _listed() -> str:
    lines = ["cases"]
    lines += [f"  {case.name:16}{case.kind:10}{case.title}" for case in all_cases()]
    lines += ["", "contenders"]
    lines += [f"  {name:32}{contender.about}" for name, contender in CONTENDERS.items()]
    return "\n".join(lines)


def _duration(text: str) -> float:
    value = float(text)
    if not 0 < value <= 60:
        raise ValueError(text)
    return value


_duration.__name__ = "number of seconds"  # argparse names the types in its messages
