"""``edgeinfer profile``: where the time of a step goes, node by node."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.base import Part, Parts
from .answers import backend_of, name_of
from .bench import fill
from .common import (
    add_backend,
    add_limit,
    add_mode,
    add_model,
    add_parser,
    check_mode,
    open_model,
    open_stream,
    positive_int,
    seconds,
)
from .output import fields, plural, say, say_json, table
from .samples import random_steps
from .timing import ROUND_SECONDS, Stopwatch, show_ns, undisturbed

_PREPARED = 64
_TURN_NS = 200_000
_TEXT = """
example:
  edgeinfer profile demand.onnx
  edgeinfer profile sentiment.onnx --backend reference
  edgeinfer profile demand.onnx --length 96

Every node of one step (for a window model: of one window; with --length, of a
sequence of so many steps) is run over and over on what the node before it
left, in rounds that go through all nodes. Below stand the sum, all nodes in one
call, and the step from Python. Nodes that only name the same bytes anew take no
time and are not listed; what was fused is one node. MACs are
multiply-accumulates; bytes are those of inputs, weights and outputs.
"""


@dataclass(frozen=True)
class NodeTime:
    """One node: its kernels and nanoseconds per run."""

    node: str
    op: str
    kernels: tuple[str, ...]
    ns: float
    macs: int
    bytes: int


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "profile", "show where the time of a step goes", _TEXT)
    add_model(parser)
    parser.add_argument("--length", type=positive_int, metavar="T", help="profile a sequence of T steps in one call")
    parser.add_argument("--seconds", type=seconds, default=1.0, metavar="S", help="how long to run (default: 1)")
    add_mode(parser)
    add_backend(parser)
    add_limit(parser)
    parser.set_defaults(function=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    check_mode(args)
    if args.length is not None and args.mode is not None:
        args.parser.error("--length is of a sequence from zero states, whatever the mode; it takes no --mode")
    model = open_model(args)
    about = model.describe()
    length = args.length
    mode = args.mode or about["mode"]
    if length is not None:
        steps = random_steps(model, length)
        watch, parts, what = None, model.parts(np.asarray(steps), whole=True), plural(length, "step") + " in one call"
    else:
        stream = open_stream(args, model)
        steps = random_steps(model, _PREPARED)
        if mode == "window":
            length = args.window or about["window"]["length"]
            items = [steps[i % len(steps)] for i in range(length)]
            parts, what = model.parts(np.asarray(items), whole=True), f"one window of {plural(length, 'input')}"
        else:
            parts, what = model.parts(steps[0]), "one step, the state carried"
        fill(stream, steps[0])
        watch = Stopwatch(stream.step, steps, ROUND_SECONDS)
    times, together, step = measure(parts, watch, args.seconds)
    total = sum(entry.ns for entry in times)
    if args.json:
        say_json(
            {
                "model": name_of(model),
                "backend": model.backend,
                "isa": model.isa,
                "mode": mode,
                "length": length,
                "nodes": [{**vars(entry), "share": entry.ns / total} for entry in times],
                "sum_ns": total,
                "together_ns": together,
                "step_ns": step,
            }
        )
        return 0
    say(f"{name_of(model)} on {backend_of(model)}: {what}")
    say()
    say(_table(times, total))
    say()
    below = [("sum of the nodes", show_ns(total)), ("all in one call", show_ns(together))]
    if step is not None:
        below.append(("step() from Python", show_ns(step)))
    say(fields(below))
    return 0


def measure(parts: Parts, watch: Stopwatch | None, seconds: float) -> tuple[list[NodeTime], float, float | None]:
    """Nanoseconds of each node, of all together, and of the watch's call; medians over rounds that take turns."""
    with undisturbed():
        pieces: tuple[Part | Parts, ...] = (*parts.parts, parts)
        turns = [_turn(piece) for piece in pieces]
        rounds: list[list[float]] = []
        end = time.perf_counter() + seconds
        while not rounds or time.perf_counter() < end:
            # in order: a piece may write over what an earlier one reads
            rounds.append([_timed(part, turn) for part, turn in zip(pieces, turns, strict=True)])
            if watch is not None:
                watch.round()
    *each, together = np.median(np.array(rounds), axis=0).tolist()
    step = None if watch is None else float(np.median(watch.loops))
    return _by_node(parts.parts, each), together, step


def _turn(part: Part | Parts) -> int:
    """How many runs take about _TURN_NS."""
    part.run(1)
    times = 1
    while (spent := _timed(part, times) * times) < _TURN_NS / 4:
        times *= 4
    return max(round(times * _TURN_NS / spent), 1)


def _timed(part: Part | Parts, times: int) -> float:
    """Nanoseconds per run."""
    part.run(1)
    before = time.perf_counter_ns()
    part.run(times)
    return (time.perf_counter_ns() - before) / times


def _by_node(parts: Sequence[Part], times: Sequence[float]) -> list[NodeTime]:
    """A node of several pieces is one entry."""
    found: dict[str, NodeTime] = {}
    for part, ns in zip(parts, times, strict=True):
        before = found.get(part.node)
        kernels: tuple[str, ...] = (part.kernel,)
        if before is not None:
            kernels, ns = tuple(dict.fromkeys((*before.kernels, part.kernel))), before.ns + ns
        found[part.node] = NodeTime(part.node, part.op, kernels, ns, part.macs, part.bytes)
    return list(found.values())


def _table(times: Sequence[NodeTime], total: float) -> str:
    rows: list[Sequence[Any]] = [
        (
            entry.node,
            entry.op,
            ", ".join(entry.kernels),
            show_ns(entry.ns),
            f"{100 * entry.ns / total:.1f} %",
            f"{entry.macs:,}",
            f"{entry.bytes:,}",
        )
        for entry in times
    ]
    return table(("node", "op", "kernel", "time", "share", "MACs", "bytes"), rows, left=(0, 1, 2))
