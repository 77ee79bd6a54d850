"""What the fuzzers start from: the tests' small models, their snapshots and their metadata, written at each run."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..builds import BUILDS, ROOT

FOLDER = BUILDS / "fuzzing"
MODELS = FOLDER / "models"  # what the targets themselves load
LARGEST = 20_000
TASKS = ("sum", "demand", "sentiment", "topics", "next_word", "plain")
STATEFUL = ("plain", "lstm", "tokens", "two outputs", "sum", "sentiment")
PER_OPERATOR = 2


def write() -> None:
    """All seeds, each target's in a folder of its own under FOLDER."""
    for name, data in (*tasks(), *stateful()):
        _put(MODELS / f"{name}.onnx", data)
    for i, data in enumerate(onnx_files()):
        if len(data) <= LARGEST:
            _put(FOLDER / "reader" / "seeds" / str(i), data)
            _put(FOLDER / "loader" / "seeds" / str(i), data)
    for i, data in enumerate(snapshots()):
        _put(FOLDER / "snapshot" / "seeds" / str(i), data)
    for i, data in enumerate(metadata()):
        _put(FOLDER / "metadata" / "seeds" / str(i), data)


def stateful_files() -> list[bytes]:
    """What write() left of stateful()."""
    return [(MODELS / f"{name}.onnx").read_bytes() for name in STATEFUL]


def task_files() -> list[bytes]:
    """What write() left of the models of TASKS, without metadata."""
    return [(MODELS / f"{name} bare.onnx").read_bytes() for name in TASKS]


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _import_tests() -> None:
    for folder in (ROOT / "tests", ROOT / "tests" / "runtime"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def tasks() -> Iterator[tuple[str, bytes]]:
    _import_tests()
    import models

    for name in TASKS:
        make = getattr(models, f"{name}_model")
        yield name, make()
        yield f"{name} bare", make(spec=None)


def stateful() -> Iterator[tuple[str, bytes]]:
    _import_tests()
    import graphs

    yield "lstm", graphs.recurrent_model("LSTM")
    yield "tokens", graphs.token_model()
    yield "two outputs", graphs.two_outputs_model()


def onnx_files() -> Iterator[bytes]:
    """Every operator, every recurrent operator with its kinds of weights and masks, whole models, the bundled ones."""
    _import_tests()
    import graphs
    import masked_files
    import op_cases
    import op_cases_off_path
    import small_files

    assert op_cases_off_path.CASES is op_cases.CASES
    for _, cases in itertools.groupby(sorted(op_cases.CASES, key=lambda case: case.op), lambda case: case.op):
        for i, case in enumerate(itertools.islice(cases, PER_OPERATOR)):
            yield case.file(dynamic=i % 2 == 1)
    for op in graphs.GATES:
        yield graphs.recurrent_model(op)
        yield graphs.recurrent_model(op, states=False, last=True, with_spec=False)
        for kind in small_files.KINDS:
            yield small_files.small_cell(kind, op, 5)
            yield small_files.small_cell(kind, op, 9, direction="bidirectional")
        for form in ("sequence", "stream"):
            yield masked_files.masked_file(masked_files.Masked(op, form=form))
            yield masked_files.masked_file(masked_files.Masked(op, form=form, source="ids", sequences=False))
    yield graphs.token_model()
    yield graphs.two_outputs_model()
    for _, data in tasks():
        yield data
    for path in sorted((ROOT / "edgeinfer" / "models").glob("*.onnx")):
        yield path.read_bytes()


def snapshots() -> Iterator[bytes]:
    """The first byte chooses the model; odd mends the checksum."""
    import edgeinfer

    from .targets import values

    for i, data in enumerate(stateful_files()):
        model = edgeinfer.load(data)
        stream = model.stream()
        item = [int(d) for d in model.inputs[0].shape[2:] if isinstance(d, int)]
        for steps in (0, 3):
            stream.run(values((steps, *item), np.dtype(model.inputs[0].dtype)))
            for mended in (0, 1):
                yield bytes([2 * i + mended]) + stream.snapshot()


def metadata() -> Iterator[bytes]:
    import edgeinfer

    files = [(MODELS / f"{name}.onnx").read_bytes() for name in TASKS]
    for i, data in enumerate(files):
        yield bytes([i]) + edgeinfer.load(data).metadata["edgeinfer.spec"].encode()
    for i, name in enumerate(("sum", "demand", "next_word")):
        spec = json.loads(edgeinfer.load(ROOT / "edgeinfer" / "models" / f"{name}.onnx").metadata["edgeinfer.spec"])
        text = spec.get("preprocessing", {}).get("text")
        if text:
            text["vocabulary"] = text["vocabulary"][:12]
        spec["goldens"] = spec["goldens"][:1]
        yield bytes([(0, 1, 4)[i]]) + json.dumps(spec).encode()
