"""Damaged files: every prefix of every small model, every single bit flipped of the smallest ones that are bundled.

Each has to be refused with a typed error that names a place, or to load and be right (tests/hardening/answers.py), in
a child process with little memory.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
from bisect import bisect_right
from collections.abc import Callable, Sequence

import models
from graphs import recurrent_model, token_model, two_outputs_model
from masked_files import Masked, masked_file
from op_cases_off_path import CASES
from small_files import small_cell

from .builds import ROOT
from .isolated import arguments_of, command

KINDS = ("prefixes", "bitflips")
BUNDLED = ("sum", "next_word", "demand")


def corpus() -> dict[str, Callable[[], bytes]]:
    """The small models: one of every kind that the runtime's tests know, and each operator alone."""
    found: dict[str, Callable[[], bytes]] = {
        "sum": lambda: bundled("sum"),
        "window": models.sum_model,
        "stream": models.demand_model,
        "tokens": token_model,
        "two outputs": two_outputs_model,
        "masked": lambda: masked_file(Masked(form="stream", hidden=2)),
        "classifier": models.sentiment_model,
        "foreign": models.foreign_model,
        "int8": lambda: small_cell("int8", "LSTM", 3),
        "float16": lambda: small_cell("float16", "GRU", 3, linear=1),
    }
    for op in ("LSTM", "GRU", "RNN"):
        found[op] = lambda op=op: recurrent_model(op, 1, 2, 1)  # type: ignore[misc]
        found[f"{op}, last"] = lambda op=op: recurrent_model(op, 1, 2, 1, states=False, last=True)  # type: ignore[misc]
    for op, cases in itertools.groupby(sorted(CASES, key=lambda case: case.op), lambda case: case.op):
        smallest = min((case.file() for case in cases), key=len)
        found.setdefault(op, lambda smallest=smallest: smallest)  # type: ignore[misc]
    return found


def bundled(name: str) -> bytes:
    return (ROOT / "edgeinfer" / "models" / f"{name}.onnx").read_bytes()


class Mutations:
    """What is done to each source, ``places(size)`` of it each; a sample where ``count`` is given."""

    def __init__(
        self,
        sources: dict[str, bytes],
        kind: str,
        count: int | None,
        seed: int,
    ) -> None:
        self._names = list(sources)
        self._sources = list(sources.values())
        self._kind = kind
        self._ends = list(itertools.accumulate(self._places(data) for data in self._sources))
        total = self._ends[-1]
        self._chosen: Sequence[int] = range(total)
        if count is not None and count < total:
            self._chosen = random.Random(seed).sample(range(total), count)

    def _places(self, data: bytes) -> int:
        return len(data) if self._kind == "prefixes" else 8 * len(data)

    def _at(self, number: int) -> tuple[int, int]:
        chosen = self._chosen[number]
        source = bisect_right(self._ends, chosen)
        return source, chosen - (self._ends[source - 1] if source else 0)

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, number: int) -> bytes:
        source, place = self._at(number)
        data = self._sources[source]
        if self._kind == "prefixes":
            return data[:place]
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        return bytes(changed)

    def label(self, number: int) -> str:
        source, place = self._at(number)
        if self._kind == "prefixes":
            return f"{self._names[source]} cut at {place}"
        return f"{self._names[source]} with bit {place % 8} of byte {place // 8} flipped"


def files(kind: str, model: str = "", count: int | None = None, seed: int = 0) -> Mutations:
    """What ``search`` examines."""
    if kind == "prefixes":
        known = corpus()
        return Mutations({name: known[name]() for name in ([model] if model else known)}, kind, count, seed)
    return Mutations({name: bundled(name) for name in ([model] if model else BUNDLED)}, kind, count, seed)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hardening.mutations", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=KINDS, help="(default: both)")
    parser.add_argument("--model", default="", help="of this one alone; prefixes: of those of the tests, bitflips: "
                        f"of {', '.join(BUNDLED)}")  # fmt: skip
    arguments_of(parser, "so many, drawn (default: all)")
    options = parser.parse_args()
    status = 0
    for kind in [options.kind] if options.kind else KINDS:
        arguments = {"kind": kind, "model": options.model, "count": options.count, "seed": options.seed}
        status |= command("mutations", arguments, options)
    return status


if __name__ == "__main__":
    sys.exit(main())
