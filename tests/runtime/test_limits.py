"""Files that are larger than allowed are refused before memory is taken for them, each limit by its name."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import build, node, recurrent_model, value
from onnx import ModelProto, TensorProto, helper

import edgeinfer
from edgeinfer import Limits, ModelFormatError, ModelLimitError

ROOT = Path(__file__).parents[2]
DATA = recurrent_model("LSTM", features=3, hidden=4, outputs=2, spec={"name": "small"})
# Beside twice the file: what an interpreter takes when it parses and plans anything at all.
LOAD_SLACK_BYTES = 8 << 20


def chain(count: int) -> bytes:
    nodes = [node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    return build(nodes, [value("v0", ["batch", 2])], [value(f"v{count}", ["batch", 2])])


def with_attribute(**more: Any) -> bytes:
    model = ModelProto.FromString(DATA)
    model.graph.node[0].attribute.extend(helper.make_attribute(name, item) for name, item in more.items())
    return model.SerializeToString()


def with_initializer(tensor: TensorProto) -> bytes:
    model = ModelProto.FromString(DATA)
    model.graph.initializer.append(tensor)
    return model.SerializeToString()


LISTED = helper.make_tensor("t", TensorProto.INT32, [2**17 + 1], [0] * (2**17 + 1))
CASES: list[tuple[str, Limits, bytes]] = [
    ("file_bytes", Limits(file_bytes=len(DATA) - 1), DATA),
    ("metadata_bytes", Limits(metadata_bytes=10), DATA),
    ("metadata_depth", Limits(), recurrent_model("RNN", 1, 2, 1, spec={"provenance": {"a": [[[[0]]] * 9] * 2}})),
    ("name_bytes", Limits(), build([node("Neg", ["x"], ["y"], "n" * 1025)], [value("x", [1])], [value("y", [1])])),
    ("nodes", Limits(nodes=9), chain(10)),
    ("edges", Limits(edges=19), chain(10)),
    ("tensors", Limits(tensors=2), DATA),
    ("attributes", Limits(), with_attribute(**{f"a{i}": 1 for i in range(65)})),
    ("listed_values", Limits(), with_attribute(many=[1] * (2**17 + 1))),
    ("listed_values", Limits(), with_initializer(LISTED)),
    ("rank", Limits(), build([node("Neg", ["x"], ["y"])], [value("x", [1] * 17)], [value("y", None)])),
    ("dimension", Limits(), build([node("Neg", ["x"], ["y"])], [value("x", [2**31])], [value("y", None)])),
    ("tensor_bytes", Limits(tensor_bytes=100), DATA),
    ("parsed_bytes", Limits(), chain(3000)),
    ("parsed_bytes", Limits(), recurrent_model("RNN", 1, 2, 1, spec={"provenance": {"a": [0] * 100_000}})),
]  # fmt: skip


@pytest.mark.parametrize(("name", "limits", "data"), CASES, ids=[name for name, _, _ in CASES])
def test_what_is_above_a_limit_is_refused_by_its_name(name: str, limits: Limits, data: bytes) -> None:
    if name == "metadata_depth":
        limits = Limits(metadata_depth=4)
    with pytest.raises(
        ModelLimitError, match=rf"{name} is \d+, the limit is \d+; load\(…, limits=Limits\({name}="
    ) as info:
        edgeinfer.load(data, limits=limits)
    assert info.value.limit == name


def test_every_limit_has_a_case() -> None:
    assert set(Limits._fields) == {name for name, _, _ in CASES}


def test_a_raised_limit_lets_the_file_pass() -> None:
    data = chain(10)
    with pytest.raises(ModelLimitError):
        edgeinfer.load(data, limits=Limits(nodes=9))
    assert edgeinfer.load(data, limits=Limits(nodes=10)).describe()["nodes"]


def test_the_value_that_an_error_names_leads_to_one_that_is_enough() -> None:
    limits, tries = Limits(nodes=9), 0
    while True:
        try:
            assert len(edgeinfer.load(chain(3000), limits=limits).describe()["nodes"]) == 3000
        except ModelLimitError as error:
            assert error.limit in ("nodes", "parsed_bytes") and error.raised is not None
            limits = limits._replace(**{error.limit: error.raised})
            tries += 1
        else:
            break
    assert 2 < tries < 16


def test_a_file_on_disk_that_is_too_long_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "long.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelLimitError, match=f"file_bytes is {1 << 40}, the limit is 1000000"):
        edgeinfer.load(path, limits=Limits(file_bytes=1_000_000))


def test_the_digest_that_was_asked_for_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(DATA)
    digest = edgeinfer.load(path).sha256
    assert edgeinfer.load(path, sha256=digest.upper()).sha256 == digest
    with pytest.raises(ModelFormatError, match=f"expected sha256 {'0' * 64}, got {digest}"):
        edgeinfer.load(path, sha256="0" * 64)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_unless_allowed(bad: float) -> None:
    model = ModelProto.FromString(DATA)
    weights = next(t for t in model.graph.initializer if len(t.dims) == 3)
    array = np.frombuffer(weights.raw_data, np.float32).copy()
    array[-1] = bad
    weights.raw_data = array.tobytes()
    data = model.SerializeToString()
    position = ", ".join(str(d - 1) for d in weights.dims)
    with pytest.raises(
        ModelFormatError, match=rf'tensor "{weights.name}": expected finite numbers, got .* at \[{position}\]'
    ):
        edgeinfer.load(data)
    assert edgeinfer.load(data, nonfinite_weights=True, backend="native").backend == "native"


def test_an_infinite_scalar_is_a_bound_and_no_weight() -> None:
    constants = {"low": np.array(0, np.float32), "high": np.array(np.inf, np.float32)}
    data = build([node("Clip", ["x", "low", "high"], ["y"])], [value("x", ["n", 2])], [value("y", ["n", 2])], constants)
    np.testing.assert_array_equal(edgeinfer.load(data)([[-1.0, 5.0]]), [[0, 5]])


def test_loading_takes_no_more_than_twice_the_file_and_eight_megabytes() -> None:
    path = ROOT / "edgeinfer" / "models" / "sentiment.onnx"
    script = (
        "import resource, sys, edgeinfer\n"
        "edgeinfer.load(sys.argv[1], backend='native')\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "model = edgeinfer.load(sys.argv[2], backend='native')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    small = ROOT / "edgeinfer" / "models" / "sum.onnx"
    result = subprocess.run([sys.executable, "-c", script, small, path], capture_output=True, text=True, check=True)
    taken = int(result.stdout) * 1024
    assert taken <= 2 * path.stat().st_size + LOAD_SLACK_BYTES


@pytest.mark.parametrize(
    "data",
    [
        build(
            [node("ConstantOfShape", ["s"], ["big"]), node("Add", ["x", "big"], ["y"])],
            [value("x", ["n", 1])],
            [value("y", None)],
            {"s": np.array([2**20, 2**10], np.int64)},
        ),
        build(
            [node("Expand", ["x", "s"], ["y"])],
            [value("x", [1, 1])],
            [value("y", None)],
            {"s": np.array([2**30, 2**30], np.int64)},
        ),
        build(
            [node("Tile", ["x", "r"], ["y"])],
            [value("x", [1, 2])],
            [value("y", None)],
            {"r": np.array([2**30, 2**3], np.int64)},
        ),
        build(
            [node("Range", ["a", "b", "d"], ["y"])],
            [],
            [value("y", None)],
            {"a": np.array(0, np.int64), "b": np.array(2**40, np.int64), "d": np.array(1, np.int64)},
        ),
    ],
    ids=["ConstantOfShape", "Expand", "Tile", "Range"],
)
def test_a_small_file_that_asks_for_much_memory_is_refused_before_it_is_taken(data: bytes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), hard))
    try:
        with pytest.raises(ModelLimitError, match=r"in node|tensor_bytes"):
            edgeinfer.load(data)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
