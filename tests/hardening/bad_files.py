"""Files that break one rule each, with the error that `edgeinfer.load(path)` must give for each.

`python -m tests.hardening.bad_files` writes them into build/hardening/bad, and loads each in a process that may take
little memory beside what it has at its start.
"""

from __future__ import annotations

import argparse
import json
import mmap
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from graphs import build, node, recurrent_model, value, weights
from onnx import AttributeProto, ModelProto, TensorProto, helper

import edgeinfer

from .builds import BUILDS

MEMORY = 256 << 20
# What a file of at most 16 MB may take, on a machine that does other things as well.
SECONDS = 20
DEPTH = 1_000_000
F32, I64 = np.float32, np.int64


class Bad(NamedTuple):
    """``error`` and a part of its message. ``runs``: loading lets it pass, since only a run shows it."""

    name: str
    make: Callable[[], bytes]
    error: str
    message: str
    options: Mapping[str, Any]
    runs: bool


TABLE: list[Bad] = []


def bad(
    name: str, make: Callable[[], bytes] | bytes, error: str, message: str, runs: bool = False, **options: Any
) -> None:
    TABLE.append(Bad(name, (lambda: make) if isinstance(make, bytes) else make, error, message, options, runs))


FORMAT, LIMIT, UNSUPPORTED, INPUT = "ModelFormatError", "ModelLimitError", "UnsupportedOperatorError", "InputError"
X, Y = value("x", ["n", 2]), value("y", ["n", 2])


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, I64)


def one(
    op: str, inputs: Sequence[str] = ("x",), outputs: Sequence[str] = ("y",), constants: Any = (), **more: Any
) -> bytes:
    """x [n, 2] → one node → y."""
    return build([node(op, inputs, outputs, "n", **more)], [X], [value("y", None)], constants)


def tensor(**parts: Any) -> Callable[[], bytes]:
    """x + t, t with these fields of TensorProto."""
    given = {"name": "t", "data_type": TensorProto.FLOAT, **parts}
    return lambda: one("Add", ["x", "t"], constants=[TensorProto(**given)])


def changed(change: Callable[[ModelProto], object], data: bytes = b"") -> Callable[[], bytes]:
    """A sound LSTM file with a change to it."""

    def make() -> bytes:
        model = ModelProto.FromString(data or recurrent_model("LSTM", 3, 4, 2, spec={"name": "sound"}))
        change(model)
        return model.SerializeToString()

    return make


def cell(op: str = "LSTM", hidden: int = 4, features: int = 3, **more: Any) -> Callable[[], bytes]:
    """x [3, n, features] → one recurrent node; ``more``: attributes, or other inputs than W, R and B as arrays."""

    def make() -> bytes:
        given = dict(weights(op, features, hidden))
        given |= {key: item for key, item in more.items() if isinstance(item, np.ndarray)}
        names = ["x", "W", "R", "B", *(key if key in given else "" for key in ("sequence_lens", "initial_h"))]
        attributes = {"hidden_size": hidden, **{key: item for key, item in more.items() if key not in given}}
        x = value("x", [3, 1, features])
        return build([node(op, names, ["y"], "cell", **attributes)], [x], [value("y", None)], given)

    return make


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def nested(depth: int) -> bytes:
    """An If whose branch holds an If whose branch …, built from the inside without recursion or copies."""
    heads = []
    size = 0
    kind = varint(20 << 3) + varint(AttributeProto.GRAPH)
    name = field(1, b"then_branch")
    op = field(4, b"If")
    for _ in range(depth):
        # GraphProto.node → NodeProto.attribute → AttributeProto.g, each ahead of what it holds
        graph = varint(6 << 3 | 2) + varint(size)
        attribute = name + kind + graph
        attribute = varint(5 << 3 | 2) + varint(len(attribute) + size) + attribute
        inner = op + attribute
        heads.append(varint(1 << 3 | 2) + varint(len(inner) + size) + inner)
        size += len(heads[-1])
    graph = b"".join(reversed(heads))
    return varint(1 << 3) + b"\x08" + field(7, graph) + field(8, varint(2 << 3) + b"\x11")


def loop_bomb() -> bytes:
    """A Loop of 2**62 turns, each of which doubles what it carries."""
    body = helper.make_graph(
        [node("Concat", ["a", "a"], ["b"], axis=0), node("Identity", ["c"], ["d"])],
        "body",
        [value("i", [], I64), value("c", [], np.bool_), value("a", None)],
        [value("d", [], np.bool_), value("b", None)],
    )
    return build([node("Loop", ["m", "t", "x"], ["y"], "n", body=body)], [X], [value("y", None)],
                 {"m": np.array(1 << 62), "t": np.array(True)})  # fmt: skip


def hidden_external() -> bytes:
    """A branch that has its weights in another file."""
    there = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    there.external_data.add(key="location", value="/etc/passwd")
    branch = helper.make_graph([], "branch", [], [value("t", [3])], [there])
    return build([node("If", ["c"], ["y"], "n", then_branch=branch, else_branch=branch)],
                 [value("c", [], np.bool_)], [value("y", [3])])  # fmt: skip


def spec(text: str) -> bytes:
    return build([node("Neg", ["x"], ["y"])], [X], [Y], metadata={"edgeinfer.spec": text})


# --- no model at all
bad("empty", b"", FORMAT, "not an ONNX model: the file is empty at byte 0")
bad("zeros", bytes(100), FORMAT, "not a protobuf field: number 0 at byte 0")
bad("executable", b"\x7fELF\x02\x01\x01" + bytes(60), FORMAT, "not an ONNX model")
bad("gzip", b"\x1f\x8b\x08\x00" + bytes(40), FORMAT, "not an ONNX model")
bad(
    "length of 2**63", b"\x3a" + b"\x80" * 8 + b"\x80\x01", FORMAT, "truncated: field 7 needs 9223372036854775808 bytes"
)
bad("endless varint", b"\x08" + b"\xff" * 64, FORMAT, "a varint is longer than ten bytes at byte 1")
bad("groups nested a million deep", b"\x0b" * DEPTH, FORMAT, "not a protobuf field: wire type 3 at byte 0")
bad("no graph", b"\x08\x08\x42\x02\x10\x11", FORMAT, "no graph in it")
bad("no opset", changed(lambda m: m.ClearField("opset_import")), FORMAT, "no opset_import for ai.onnx in it")
bad("opset 0", build([node("Neg", ["x"], ["y"])], [X], [Y], opset=0), UNSUPPORTED, "opset 0 is not supported")
bad("opset 2**40", build([node("Neg", ["x"], ["y"])], [X], [Y], opset=1 << 40), UNSUPPORTED, "opset 1099511627776")
bad("functions", changed(lambda m: m.functions.add(name="f")), FORMAT, "model-local functions are not supported")

# --- dimensions
bad("negative dimension", tensor(dims=[-1, 2], raw_data=bytes(8)), FORMAT, 'tensor "t": negative dimension in [-1, 2]')
bad(
    "dimension zero with data",
    tensor(dims=[0, 2], raw_data=bytes(8)),
    FORMAT,
    "expected 0 bytes for float32 [0, 2], got 8",
)
bad("huge dimension", tensor(dims=[1 << 40]), LIMIT, "dimension is 1099511627776, the limit is")
bad("product over 2**64", tensor(dims=[(1 << 31) - 1] * 3), LIMIT, "tensor_bytes is 39614081201791936601413124092")
bad("bytes that are 0 in 64 bits", tensor(dims=[1 << 30, 1 << 30, 4]), LIMIT, "tensor_bytes is 18446744073709551616")
bad("zero hides a product", tensor(dims=[0, *[(1 << 31) - 1] * 4]), LIMIT, "tensor_bytes is")
bad("100 dimensions", tensor(dims=[1] * 100, raw_data=bytes(4)), LIMIT, "rank is")
bad(
    "too little data",
    tensor(dims=[2], raw_data=bytes(7)),
    FORMAT,
    'tensor "t": expected 8 bytes for float32 [2], got 7',
)
bad(
    "too few numbers",
    tensor(dims=[3], float_data=[1.0]),
    FORMAT,
    'tensor "t": expected 12 bytes for float32 [3], got 4',
)
bad(
    "type 99", tensor(dims=[1], data_type=99, raw_data=bytes(4)), FORMAT, 'tensor "t": element type 99 is not supported'
)
bad("NaN among the weights", tensor(dims=[2], raw_data=np.array([0, np.nan], F32).tobytes()), FORMAT,
    'tensor "t": expected finite numbers, got nan at [1]')  # fmt: skip
bad("negative input", build([node("Neg", ["x"], ["y"])], [value("x", [-2, 2])], [Y]), FORMAT,
    'input "x": negative dimension in [-2, 2]')  # fmt: skip
bad(
    "huge input",
    build([node("Neg", ["x"], ["y"])], [value("x", [1 << 30, 1 << 30])], [Y]),
    LIMIT,
    'input "x": tensor_bytes is',
)
bad("external data", tensor(dims=[1], data_location=TensorProto.EXTERNAL), LIMIT, "its data is in another file")
bad("external data in a branch", hidden_external, UNSUPPORTED, 'in node "n" (If)', backend="native")

# --- bombs
bad(
    "ConstantOfShape bomb",
    one("ConstantOfShape", ["s"], constants={"s": ints(1 << 20, 1 << 20)}),
    LIMIT,
    "tensor_bytes is",
)
bad("Expand bomb", one("Expand", ["x", "s"], constants={"s": ints(1 << 30, 1 << 20, 2)}), LIMIT, "tensor_bytes is")
bad("Tile bomb", one("Tile", ["x", "s"], constants={"s": ints(1 << 62, 1)}), LIMIT, "tensor_bytes is")
bad("Range bomb", one("Range", ["a", "b", "d"], constants={"a": np.array(0), "b": np.array(1 << 60), "d": np.array(1)}),
    LIMIT, "tensor_bytes is")  # fmt: skip
bad("Pad bomb", one("Pad", ["x", "p"], constants={"p": ints(0, 0, 0, 1 << 40)}), LIMIT, "tensor_bytes is")
one_hot = {"i": np.zeros(1024, I64), "k": np.array(1 << 30), "v": np.zeros(2, F32)}
bad("OneHot bomb", one("OneHot", ["i", "k", "v"], constants=one_hot), LIMIT, "tensor_bytes is")
bad("Loop bomb", loop_bomb, UNSUPPORTED, 'in node "n" (Loop): the operator is not implemented', backend="native")
kernel = {"w": np.ones((1, 1, 2), F32)}
far = node("Conv", ["x", "w"], ["y"], "n", pads=[2**31 - 1] * 2, strides=[2**31 - 1])
far_file = build([far], [value("x", [1, 1, 1])], [value("y", None)], kernel)
bad("Conv windows bomb", far_file, LIMIT, "while it runs: tensor_bytes is")
bad("a million branches deep", lambda: nested(DEPTH), LIMIT, "parsed_bytes is")

# --- graph
two = [node("Neg", ["b"], ["a"], "n1"), node("Add", ["a", "x"], ["b"], "n2"), node("Neg", ["b"], ["y"], "n3")]
bad("cycle", build(two, [X], [Y]), FORMAT, "the graph has a cycle through this node")
bad("node that reads itself", one("Add", ["x", "y"]), FORMAT, "the graph has a cycle through this node")
bad("output written twice", build([node("Neg", ["x"], ["y"], "a"), node("Abs", ["x"], ["y"], "b")], [X], [Y]), FORMAT,
    'in node "b" (Abs): output "y": the name is defined twice')  # fmt: skip
bad("initializer twice", one("Neg", constants=[helper.make_tensor("t", 1, [1], [0.0])] * 2), FORMAT,
    'initializer "t": the name is defined twice')  # fmt: skip
bad("input twice", build([node("Neg", ["x"], ["y"])], [X, X], [Y]), FORMAT, 'input "x": the name is defined twice')
bad(
    "graph output twice",
    build([node("Neg", ["x"], ["y"])], [X], [Y, Y]),
    FORMAT,
    'output "y": the name is defined twice',
)
bad(
    "node writes the input",
    build([node("Neg", ["x"], ["x"], "n")], [X], [X]),
    FORMAT,
    'output "x": the name is defined twice',
)
bad("input from nowhere", one("Add", ["x", "nowhere"]), FORMAT, 'in node "n" (Add): input "nowhere" is not produced')
bad("output from nowhere", build([node("Neg", ["x"], ["z"])], [X], [Y]), FORMAT, 'graph output "y" is not produced')
bad("no outputs", build([node("Neg", ["x"], ["y"])], [X], []), FORMAT, "the graph has no outputs")
bad(
    "input without a shape",
    build([node("Neg", ["x"], ["y"])], [value("x", None)], [Y]),
    FORMAT,
    'input "x" has no shape',
)
bad("output of another type", build([node("Neg", ["x"], ["y"])], [X], [value("y", ["n", 2], I64)]), FORMAT,
    'output "y" is declared int64 and computed as float32')  # fmt: skip
bad("no operator", one("Relu").replace(b"Relu", b"\0\0\0\0"), UNSUPPORTED, "the operator is not implemented")
bad("unknown operator", one("Nonsense"), UNSUPPORTED, 'in node "n" (Nonsense): the operator is not implemented')
bad(
    "unknown domain",
    one("Neg", domain="com.nobody"),
    UNSUPPORTED,
    "operators of the domain com.nobody are not supported",
)
bad("name of 10,000", one("Neg", ["x" * 10_000]), LIMIT, "name_bytes is 10000, the limit is 1024")
bad("name that is no text", one("Neg", ["qqqq"]).replace(b"qqqq", b"\xff\xfe\xff\xfe"), FORMAT, "expected UTF-8 text")
bad("65 attributes", one("Neg", **{f"a{i}": 1 for i in range(65)}), LIMIT, "attributes is 65, the limit is 64")

# --- arity and attributes
bad("LSTM with two inputs", one("LSTM", ["x", "x"], hidden_size=1), FORMAT, "expected 3 to 8 inputs, got 2")
bad("Add with three inputs", one("Add", ["x", "x", "x"]), FORMAT, 'in node "n" (Add): expected 2 inputs, got 3')
bad("Neg without its input", one("Neg", [""]), FORMAT, 'in node "n" (Neg): expected 1 inputs, got 0')
bad("Relu with two outputs", one("Relu", outputs=["y", "z"]), FORMAT, "expected 1 to 1 outputs, got 2")
bad("attribute twice", changed(lambda m: m.graph.node[1].attribute.append(m.graph.node[1].attribute[0])), FORMAT,
    "attribute hidden_size stands twice")  # fmt: skip
bad("perm out of range", one("Transpose", perm=[0, 2]), FORMAT, 'in node "n" (Transpose)')
bad("axis of -2**63", one("Softmax", axis=-(1 << 63)), FORMAT, "axis -9223372036854775808 is out of range")
bad(
    "step of 0",
    one("Slice", ["x", "i", "j", "i", "i"], constants={"i": ints(0), "j": ints(1)}),
    FORMAT,
    'in node "n" (Slice)',
)
bad("two unknown sizes", one("Reshape", ["x", "s"], constants={"s": ints(-1, -1)}), FORMAT, 'in node "n" (Reshape)')
bad("size of -2", one("Reshape", ["x", "s"], constants={"s": ints(-2)}), FORMAT, 'in node "n" (Reshape)')
still = node("Conv", ["x", "w"], ["y"], "n", strides=[0])
still_file = build([still], [value("x", [1, 1, 4])], [value("y", None)], kernel)
bad("stride of 0", still_file, FORMAT, "strides: expected numbers from 1 to 2147483647, got [0]")
outside = {"t": np.ones(3, F32), "i": ints(3)}
bad(
    *("constant index outside its table", one("Gather", ["t", "i"], constants=outside), FORMAT),
    "indices from 3 to 3 are out of range for 3",
)

# --- recurrent nodes
bad("hidden_size above R", cell(hidden_size=5), FORMAT, 'in node "cell" (LSTM): W: expected [1, 20, 3], got [1, 16, 3]')
bad("hidden_size below R", cell(hidden_size=2), FORMAT, "W: expected [1, 8, 3], got [1, 16, 3]")
bad("R of another size", cell(R=np.zeros((1, 16, 5), F32)), FORMAT, "R: expected [1, 16, 4], got [1, 16, 5]")
bad("W for other features", cell(W=np.zeros((1, 16, 9), F32)), FORMAT, "W: expected [1, 16, 3], got [1, 16, 9]")
bad("B too short", cell(B=np.zeros((1, 16), F32)), FORMAT, "B: expected [1, 32], got [1, 16]")
bad("hidden_size 0", cell(hidden_size=0), FORMAT, "hidden_size: expected at least 1, got 0")
bad("hidden_size -4", cell(hidden_size=-4), FORMAT, "hidden_size: expected at least 1, got -4")
bad("hidden_size 2**62", cell(hidden_size=1 << 62), FORMAT, "W: expected [1, 18446744073709551616, 3], got [1, 16, 3]")
bad("hidden_size 1.5", cell(hidden_size=1.5), FORMAT, "attribute hidden_size: expected")
bad("no hidden_size", one("LSTM", ["x", "x", "x"]), FORMAT, "attribute hidden_size")
bad(
    "GRU with an LSTM's weights",
    cell("GRU", W=np.zeros((1, 16, 3), F32)),
    FORMAT,
    "W: expected [1, 12, 3], got [1, 16, 3]",
)
bad(
    "two directions in one's weights", cell(direction="bidirectional"), FORMAT, "W: expected [2, 16, 3], got [1, 16, 3]"
)
bad(
    "no such direction",
    cell(direction="sideways"),
    FORMAT,
    "direction: expected one of forward, reverse, bidirectional",
)
bad(
    "two activations", cell(activations=["Tanh", "Tanh"]), FORMAT, "activations: expected 3 names, got ['Tanh', 'Tanh']"
)
bad("initial state of another size", cell(initial_h=np.zeros((1, 1, 9), F32)), FORMAT, "initial_h: expected [1, 1, 4]")
bad(
    "sequence_lens for two", cell(sequence_lens=np.array([1, 1], np.int32)), FORMAT, "sequence_lens: expected int32 [1]"
)
bad("sequence_lens in int64", cell(sequence_lens=ints(1)), FORMAT, "sequence_lens: expected int32 [1], got int64 [1]")
for length in (4, -1, (1 << 31) - 1, -(1 << 31)):
    bad(f"sequence_lens {length}", cell(sequence_lens=np.array([length], np.int32)), INPUT,
        'in node "cell": sequence_lens: a length is outside 0 to the number of steps', runs=True)  # fmt: skip

# --- metadata
bad("metadata that is no JSON", spec("{"), FORMAT, "metadata edgeinfer.spec: not JSON")
bad(
    "metadata a million deep",
    spec("[" * DEPTH),
    LIMIT,
    "metadata edgeinfer.spec: metadata_depth is 1000000, the limit is 32",
)
bad("metadata of another version", spec('{"schema_version": 2}'), FORMAT, "schema_version: expected 1, got 2")
bad(
    "number of 5,000 digits",
    spec('{"schema_version": 1, "a": ' + "9" * 5000 + "}"),
    FORMAT,
    "metadata edgeinfer.spec: not JSON",
)
bad(
    "window of 0",
    spec('{"schema_version": 1, "window": {"length": 0}}'),
    FORMAT,
    "window.length: expected an integer of at least 1",
)
bad("window of 2**40", spec('{"schema_version": 1, "window": {"length": 1099511627776}}'), FORMAT, "at most 1048576")
bad("state that is not there", spec('{"schema_version": 1, "states": [{"input": "a", "output": "b"}]}'), FORMAT, '"a"')
bad("golden without a tensor", spec('{"schema_version": 1, "goldens": [{"inputs": {"x": 1}, "outputs": {}}]}'), FORMAT,
    "goldens[0].inputs.x: expected an object, got 1")  # fmt: skip


def write(folder: Path, one: Bad) -> Path:
    path = folder / f"{''.join(c if c.isalnum() else '_' for c in one.name)}.onnx"
    path.write_bytes(one.make())
    return path


def load(path: Path, one: Bad) -> dict[str, Any]:
    """What came of it: the error's class, text and path, and how long it took."""
    began = time.process_time()
    found: dict[str, Any] = {"name": one.name, "error": None, "message": "it loads"}
    try:
        model = edgeinfer.load(path, **one.options)
        if one.runs:
            found["message"] = "it loads and runs"
            model.run(None, {info.name: np.zeros([d or 1 for d in info.shape], info.dtype) for info in model.inputs})
    except Exception as error:
        found |= {"error": type(error).__name__, "message": str(error), "path": getattr(error, "path", None)}
    return {**found, "seconds": time.process_time() - began}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hardening.bad_files", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=BUILDS / "bad", help="where they are written")
    parser.add_argument("--json", action="store_true", help="one line per file, for programs")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    paths = [write(options.folder, one) for one in TABLE]
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * mmap.PAGESIZE + MEMORY, resource.RLIM_INFINITY))
    wrong = 0
    for path, one in zip(paths, TABLE, strict=True):
        found = load(path, one)
        fine = found["error"] == one.error and one.message in found["message"] and found["seconds"] < SECONDS
        wrong += not fine
        if options.json:
            print(json.dumps(found), flush=True)
        else:
            print(f"{'ok   ' if fine else 'WRONG'} {one.name}: {found['error']}: {found['message'][:200]}", flush=True)
    if not options.json:
        print(f"{len(TABLE)} bad files, {wrong} without the error they should give")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
