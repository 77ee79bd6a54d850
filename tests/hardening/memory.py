"""What loading takes: no more resident memory than twice the file and 8 MiB, whatever the file is made of.

Large weights of every kind that the core computes from, and files with as many nodes, attributes, names, numbers and
metadata as the limits let pass, or more. Weights that are stored in 8 or 16 bits where no kernel reads them so are
widened when a file is loaded; docs/security.md says what that takes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from graphs import build, node, recurrent_model, token_model, value, weights
from onnx import helper
from small_files import small_cell

import edgeinfer
from edgeinfer import EdgeInferError
from edgeinfer.limits import FOLDED_BYTES

from .answers import LOAD_SLACK_BYTES, peak, reset_peak, trim_memory, warm
from .builds import ROOT
from .mutations import corpus

WIDE = np.float32(0.01)


class Taken(NamedTuple):
    """``ended``: "loads", or the error that refused it."""

    name: str
    file_bytes: int
    taken: int
    ended: str

    @property
    def allowed(self) -> int:
        return 2 * self.file_bytes + LOAD_SLACK_BYTES


def large() -> dict[str, Callable[[], bytes]]:
    """Files of more than 8 MB, nearly all of it weights."""

    def matrix(*nodes: Any, rows: int = 1500, columns: int = 1500) -> bytes:
        constants = {"w": np.full((rows, columns), WIDE)}
        return build(nodes, [value("x", ["n", rows])], [value("y", None)], constants)

    def cell(op: str, direction: str, hidden: int) -> bytes:
        directions = 2 if direction == "bidirectional" else 1
        made = node(op, ["x", "W", "R", "B"], ["y"], "l", hidden_size=hidden, direction=direction)
        given = weights(op, 8, hidden, directions)
        return build([made], [value("x", ["time", "batch", 8])], [value("y", None)], given)

    def table() -> bytes:
        constants = {"w": np.full((10_000, 256), WIDE)}
        return build(
            [node("Gather", ["w", "x"], ["y"])], [value("x", ["n", "t"], np.int64)], [value("y", None)], constants
        )

    def kernel() -> bytes:
        constants = {"w": np.full((1000, 800, 3), WIDE)}
        return build([node("Conv", ["x", "w"], ["y"])], [value("x", ["n", 800, 9])], [value("y", None)], constants)

    def folded(op: str, *more: str, **attributes: Any) -> bytes:
        """As much as may be computed from next to nothing."""
        constants = {"s": np.array([FOLDED_BYTES // 8 - 8]), "i": np.array(0)}
        made = [node("ConstantOfShape", ["s"], ["w"]), node(op, ["w", *more], ["v"], **attributes)]
        ends = [value("y", None), value("v", None)]
        return build([*made, node("Neg", ["x"], ["y"])], [value("x", ["n"])], ends, constants, opset=20)

    transposed = node("Transpose", ["w"], ["v"], perm=[1, 0])
    return {
        "LSTM that streams": lambda: recurrent_model("LSTM", 8, 800, 4),
        "GRU that streams": lambda: recurrent_model("GRU", 8, 900, 4),
        "GRU, linear_before_reset": lambda: recurrent_model("GRU", 8, 900, 4, linear_before_reset=1),
        "RNN that streams": lambda: recurrent_model("RNN", 8, 1600, 4),
        "wide input": lambda: recurrent_model("LSTM", 20_000, 31, 4),
        "wide output": lambda: recurrent_model("GRU", 4, 64, 40_000),
        "bidirectional LSTM": lambda: cell("LSTM", "bidirectional", 600),
        "reverse GRU": lambda: cell("GRU", "reverse", 900),
        "tokens": lambda: token_model(30_000, 32, 64),
        "tokens as gate rows": lambda: token_model(5000, 128, 64),
        "tokens, almost": lambda: token_model(5000, 128, 64, provenance={"listed": [0] * 50_000}),
        "int8 LSTM": lambda: small_cell("int8", "LSTM", 1600, features=8),
        "float16 GRU": lambda: small_cell("float16", "GRU", 1300, features=8),
        "MatMul": lambda: matrix(node("MatMul", ["x", "w"], ["y"])),
        "Gemm, transposed": lambda: matrix(node("Gemm", ["x", "w"], ["y"], transB=1)),
        "MatMul, transposed by a node": lambda: matrix(transposed, node("MatMul", ["x", "v"], ["y"])),
        "Gather": table,
        "Conv": kernel,
        **{f"folded {op}": partial(folded, op) for op in ("Erf", "Gelu", "Mish", "ReduceLogSumExp", "Softmax")},
        "folded LayerNormalization": lambda: folded("LayerNormalization", "w"),
        "folded CumSum": lambda: folded("CumSum", "i"),
        "bundled": lambda: (ROOT / "edgeinfer" / "models" / "sentiment.onnx").read_bytes(),
    }


def many() -> dict[str, Callable[[int], bytes]]:
    """Files of ``count`` things, each as cheap in the file as it can be."""
    x, y = value("x", ["n", 2]), value("y", None)
    one = {"W": np.ones((1, 1, 1), np.float32), "R": np.ones((1, 1, 1), np.float32), "i": np.array([1])}

    def chain(count: int, op: str, *more: str, constants: Mapping[str, np.ndarray] = one, **attributes: Any) -> bytes:
        names = ["x", *(f"v{i}" for i in range(count - 1)), "y"]
        nodes = [node(op, [a, *more], [b], **attributes) for a, b in itertools.pairwise(names)]
        return build(nodes, [value("x", ["n", "t", 2])], [y], constants)

    def cells(count: int) -> bytes:
        nodes = [node("RNN", ["x", "W", "R"], ["", f"h{i}"], hidden_size=1) for i in range(count)]
        nodes.append(node("Sum", [f"h{i}" for i in range(count)], ["y"]))
        return build(nodes, [value("x", ["t", "n", 1])], [y], one)

    def spec(text: str) -> bytes:
        return build([node("Neg", ["x"], ["y"])], [x], [y], metadata={"edgeinfer.spec": text})

    def listed(text: str) -> Callable[[int], bytes]:
        return lambda count: spec('{"schema_version": 1, "provenance": {"a": [' + ",".join([text] * count) + "]}}")

    def attributes(count: int) -> bytes:
        nodes = [node("Neg", ["x"], [f"v{i}"], **{f"{j}": 1 for j in range(64)}) for i in range(count // 64)]
        return build(nodes, [x], [value("v0", None)])

    def numbers(count: int) -> bytes:
        tensor = helper.make_tensor("t", 7, [count], [1000] * count)
        return build(
            [node("Add", ["x", "t"], ["y"])], [value("x", [count], np.int64)], [value("y", None, np.int64)], [tensor]
        )

    def branches(count: int) -> bytes:
        empty = helper.make_graph([], "", [], [])
        return build([node("If", ["x"], ["y"], graphs=[empty] * count)], [x], [y])

    return {
        "nodes": lambda count: chain(count, "Neg"),
        "nodes that transpose": lambda count: chain(count, "Transpose", perm=[1, 0, 2]),
        "products": lambda count: chain(count, "MatMul", "w", constants={"w": np.eye(2, dtype=np.float32)}),
        "recurrent nodes": cells,
        "nodes that are folded": lambda count: build(
            [*(node("Neg", ["i"], [f"v{i}"]) for i in range(count)), node("Neg", ["x"], ["y"])], [x], [y], one
        ),
        "names": lambda count: chain(count, "Neg", name="n" * 1000),
        "inputs of one node": lambda count: build([node("Sum", ["x"] * count, ["y"])], [x], [y]),
        "inputs": lambda count: build(
            [node("Neg", ["x"], ["y"])], [x, *(value(f"{i}", [1]) for i in range(count))], [y]
        ),
        "tensors": lambda count: build(
            [node("Neg", ["x"], ["y"])], [x], [y], {f"{i}": np.zeros(1, np.int8) for i in range(count)}
        ),
        "attributes": attributes,
        "numbers of one tensor": numbers,
        "branches": branches,
        "metadata entries": lambda count: build(
            [node("Neg", ["x"], ["y"])], [x], [y], metadata={f"{i}": "" for i in range(count)}
        ),
        "lists in the metadata": listed("[]"),
        "objects in the metadata": listed('{"a":1}'),
        "numbers in the metadata": listed("12345"),
        "words in the metadata": listed('"word"'),
        "wide text in the metadata": lambda count: spec(
            '{"schema_version": 1, "name": "\U0001f600' + "a" * count + '"}'
        ),
    }


def measure(name: str, data: bytes, folder: Path) -> Taken:
    """Load it as a user does, from its file."""
    path = folder / "model.onnx"
    path.write_bytes(data)
    size = len(data)
    del data
    trim_memory()
    before = reset_peak()
    ended = "loads"
    try:
        edgeinfer.load(path, backend="native")
    except EdgeInferError as error:
        ended = type(error).__name__
    return Taken(name, size, peak() - before, ended)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hardening.memory", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one line per file, for programs")
    options = parser.parse_args()
    warm()
    found: list[Taken] = []
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Callable[[], bytes]] = {**corpus(), **large()}
        for name, make in many().items():
            for count in (1000, 10_000, 100_000):
                files[f"{count} {name}"] = lambda make=make, count=count: make(count)  # type: ignore[misc]
        for name, make in files.items():
            taken = measure(name, make(), Path(folder))
            found.append(taken)
            if options.json:
                print(json.dumps({**taken._asdict(), "allowed": taken.allowed}), flush=True)
            elif name not in corpus() or taken.taken > taken.allowed:
                mib = (taken.file_bytes / 2**20, taken.taken / 2**20, taken.allowed / 2**20)
                print(f"{name}: {mib[0]:.1f} MiB, took {mib[1]:.1f} of {mib[2]:.1f}, {taken.ended}", flush=True)
    wrong = [taken for taken in found if taken.taken > taken.allowed]
    if not options.json:
        print(f"memory: {len(found)} files, {len(wrong)} took more than twice the file and 8 MiB")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
