"""Damaged files and hostile graphs: a typed error that names a place, or the right answer, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeinfer.graph.ops import every_operator

from . import hostile_graphs, mutations
from .builds import planted
from .isolated import Report, search

FLIPS, GRAPHS = 1_200, 1_000


def check(report: Report, examined: int) -> None:
    assert report.findings == []
    assert report.examined == examined


def test_every_cut_file_is_refused_or_right() -> None:
    check(search("mutations", {"kind": "prefixes"}), len(mutations.files("prefixes")))


def test_files_with_a_flipped_bit_are_refused_or_right() -> None:
    report = search("mutations", {"kind": "bitflips", "model": "sum", "count": FLIPS})
    check(report, FLIPS)
    # else little would have been compared
    assert report.outcomes["loads, agrees, agrees steps, mode as the file says"] > FLIPS / 5


def test_hostile_graphs_are_refused_or_right() -> None:
    report = search("hostile_graphs", {"count": GRAPHS})
    check(report, GRAPHS)
    assert sum(count for name, count in report.outcomes.items() if "agrees" in name) > GRAPHS / 4
    assert sum(count for name, count in report.outcomes.items() if "agrees steps" in name) > GRAPHS / 20


@pytest.mark.slow
def test_every_flipped_bit_of_the_smallest_bundled_model_is_refused_or_right() -> None:
    check(search("mutations", {"kind": "bitflips", "model": "sum"}), 8 * len(mutations.bundled("sum")))


@pytest.mark.slow
def test_twenty_thousand_hostile_graphs_are_refused_or_right() -> None:
    check(search("hostile_graphs", {"count": 20_000, "seed": 1}), 20_000)


def test_every_operator_is_among_the_small_models_and_the_graphs() -> None:
    assert set(every_operator()) <= set(mutations.corpus()) | {"LSTM", "GRU", "RNN"}
    assert {case.op for case in hostile_graphs.CASES} >= set(every_operator()) - {"DequantizeLinear"}


def test_a_graph_depends_on_its_number_and_the_seed_alone() -> None:
    assert hostile_graphs.build(5, 1) == hostile_graphs.build(5, 1)
    assert hostile_graphs.build(5, 1) != hostile_graphs.build(5, 2)


WIRE = "onnx_file/wire.py"
TRUNCATED = "if length > end - position:"
FLIPPED = {"kind": "bitflips", "model": "sum", "count": FLIPS}
CUT = {"kind": "prefixes", "model": "sum"}
BUGS: dict[str, tuple[str, str, str, str, dict[str, Any], str]] = {
    "a length that is not checked": (WIRE, TRUNCATED, "if False:", "mutations", CUT, "IndexError"),
    "a crash": (
        *(WIRE, TRUNCATED, "if length > end - position and not __import__('ctypes').string_at(0):"),
        *("mutations", CUT, "SIGSEGV"),
    ),
    "memory out of proportion": (
        *("onnx_file/reader.py", 'memoryview(data).cast("B")', '[memoryview(data).cast("B"), b"x" * 2**25][0]'),
        *("mutations", FLIPPED, "MiB"),
    ),
    "memory that is not there": (
        *("onnx_file/tensors.py", "count = math.prod(tensor.dims)"),
        *("count = math.prod(tensor.dims) + 0 * len(bytes(2**31))", "mutations", FLIPPED, "MemoryError"),
    ),
    "an error without a place": (
        *("graph/load.py", 'raise ModelFormatError("the graph has no outputs")', 'raise ModelFormatError("bad graph")'),
        *("hostile_graphs", {"count": GRAPHS}, "an error that names no place: ModelFormatError: bad graph"),
    ),
    "an answer with its axes as they were": (
        *("plan/kernels.py", "[strides[p] for p in perm]", "[strides[p] for p in sorted(perm)]"),
        *("hostile_graphs", {"count": GRAPHS}, "expected"),
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str, tmp_path: Path) -> None:
    file, sound, broken, module, arguments, says = BUGS[name]
    report = search(module, arguments, package=planted(tmp_path, file, sound, broken), most_findings=1)
    assert len(report.findings) == 1
    assert says in report.findings[0].what


def test_a_hang_is_found(tmp_path: Path) -> None:
    endless = "while length > end - position:\n                pass\n            if False:"
    package = planted(tmp_path, WIRE, TRUNCATED, endless)
    report = search("mutations", CUT, package=package, most_findings=1, cpu_seconds=1)
    assert "hang: more than 1 s" in report.findings[0].what
