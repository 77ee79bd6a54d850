"""``edgeinfer profile``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import models
import numpy as np
import onnx
import pytest
from cli_helpers import Command
from onnx import helper

import edgeinfer
from edgeinfer.backends import available
from edgeinfer.cli.profile import measure
from edgeinfer.plan import KERNEL_NAMES

needs_native = pytest.mark.skipif("native" not in available(), reason="no compiled core in this installation")
CORE_H = Path(__file__).parents[2] / "edgeinfer" / "kernels" / "csrc" / "core.h"


@needs_native
def test_a_step_is_shown_node_by_node(command: Command, files: Path) -> None:
    found = command("profile", files / "demand.onnx", "--seconds", "0.05", "--json").json
    assert (found["backend"], found["mode"], found["length"]) == ("native", "stream", None)
    assert [(n["node"], n["op"], n["kernels"]) for n in found["nodes"]] == [
        ("gru", "GRU", ["gru"]),
        ("y/matmul", "Dense", ["dense"]),
    ]
    about = edgeinfer.load(files / "demand.onnx").describe()
    assert sum(n["macs"] for n in found["nodes"]) == about["macs_per_step"]
    assert sum(n["share"] for n in found["nodes"]) == pytest.approx(1.0)
    assert sum(n["ns"] for n in found["nodes"]) == pytest.approx(found["sum_ns"])
    assert found["together_ns"] > 0 and found["step_ns"] > 0
    # weights W, R, B; x, the state before and after, Y (which Dense reads)
    floats = 15 * 3 + 15 * 5 + 30 + 3 + 5 + 5 + 5
    assert found["nodes"][0]["bytes"] == 4 * floats
    out = command("profile", files / "demand.onnx", "--seconds", "0.05").out
    assert "one step, the state carried" in out and "step() from Python" in out


def test_the_reference_shows_every_node_of_the_file(command: Command, files: Path) -> None:
    arguments = ("profile", files / "demand.onnx", "--backend", "reference", "--seconds", "0.05", "--json")
    found = command(*arguments).json
    expected = [(node["name"], node["op"]) for node in edgeinfer.load(files / "demand.onnx").describe()["nodes"]]
    assert [(n["node"], n["op"]) for n in found["nodes"]] == expected
    assert {kernel for n in found["nodes"] for kernel in n["kernels"]} == {"numpy"}


@pytest.mark.parametrize("backend", [b for b in available() if b != "onnxruntime"])
def test_a_window_model_is_profiled_over_its_window(command: Command, files: Path, backend: str) -> None:
    arguments = ("profile", files / "sentiment.onnx", "--backend", backend, "--seconds", "0.05")
    found = command(*arguments, "--json").json
    assert (found["mode"], found["length"]) == ("window", 6)
    recurrent = next(n for n in found["nodes"] if n["op"] == "RNN")
    assert recurrent["macs"] == 6 * 2
    # six rows of one float, the six tokens that ask for them, and the rows written; native looks them up in the RNN
    gathers = [n["bytes"] for n in found["nodes"] if n["op"] == "Gather"]
    assert gathers == ([] if backend == "native" else [6 * (4 + 4 + 4)])
    assert "one window of 6 inputs" in command(*arguments).out


def test_a_length_profiles_a_sequence_in_one_call(command: Command, files: Path) -> None:
    arguments = ("profile", files / "demand.onnx", "--length", "50", "--seconds", "0.05")
    found = command(*arguments, "--json").json
    assert (found["length"], found["step_ns"]) == (50, None)
    one = edgeinfer.load(files / "demand.onnx").describe()["macs_per_step"]
    assert sum(n["macs"] for n in found["nodes"]) == 50 * one
    out = command(*arguments).out
    assert "50 steps in one call" in out and "from Python" not in out


def test_a_file_that_does_not_say_how_is_profiled_as_told(command: Command, files: Path) -> None:
    refused = command("profile", files / "foreign.onnx")
    assert refused.status == 3 and "here: --mode stream, or --mode window --window N" in refused.err
    for more, length in (
        (("--mode", "stream"), None),
        (("--mode", "window", "--window", "3"), 3),
        (("--length", "4"), 4),
    ):
        arguments = ("profile", files / "foreign.onnx", *more, "--seconds", "0.02", "--json")
        assert command(*arguments).json["length"] == length


def test_wrong_usage_is_told(command: Command, files: Path) -> None:
    both = command("profile", files / "sum.onnx", "--length", "3", "--mode", "window")
    assert both.status == 2 and "it takes no --mode" in both.err
    assert command("profile", files / "sum.onnx", "--window", "3").status == 2
    assert command("profile", files / "sum.onnx", "--length", "0").status == 2
    assert command("profile", files / "sum.onnx", "--seconds", "0").status == 2


def test_onnxruntime_is_not_taken_apart(command: Command, files: Path) -> None:
    result = command("profile", files / "demand.onnx", "--backend", "onnxruntime")
    assert result.status == 3
    assert "backend onnxruntime runs a model as a whole, not node by node" in result.err
    window = command("profile", files / "sentiment.onnx", "--backend", "onnxruntime")
    assert window.status == 3 and "SessionOptions.enable_profiling" in window.err


@needs_native
def test_nodes_in_numpy_stand_between_those_of_the_core(command: Command, tmp_path: Path) -> None:
    model = onnx.load_from_string(models.plain_model())
    model.graph.node.append(helper.make_node("Selu", ["y"], ["z"], name="selu"))
    model.graph.output[0].name = "z"
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    found = command("profile", path, "--seconds", "0.05", "--json").json
    kernels = {n["node"]: n["kernels"] for n in found["nodes"]}
    assert (kernels["gru"], kernels["selu"]) == (["gru"], ["numpy"])


@needs_native
def test_a_node_of_several_pieces_is_one_row(command: Command, tmp_path: Path) -> None:
    model = onnx.load_from_string(models.plain_model())
    model.graph.node.append(helper.make_node("Concat", ["y", "y"], ["z"], name="twice", axis=-1))
    model.graph.output[0].name = "z"
    model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value = 4
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    nodes = command("profile", path, "--seconds", "0.05", "--json").json["nodes"]
    assert [n["kernels"] for n in nodes if n["node"] == "twice"] == [["copy"]]


@needs_native
def test_a_run_over_and_over_steps_on_as_a_stream_does() -> None:
    from edgeinfer.backends.native import NativeBackend, _program

    model = edgeinfer.load(models.demand_model(), backend="native")
    backend, x = model._backend, np.array([0.3, -0.2, 0.9], np.float32)
    assert isinstance(backend, NativeBackend)
    plan = backend._step_plan
    assert plan is not None
    sizes = plan.base_bytes[2:]
    memory = tuple(np.zeros(size, np.uint8) for size in sizes[:3])
    y = np.empty(3, np.float32)
    stream = model.stream()
    for times in (1, 2, 5):
        for buffer in memory:
            buffer[:] = 0
        _program(plan, backend.isa).run(0, len(plan.nodes), (*memory, x, y), times)
        stream.reset()
        for _ in range(times):
            expected = np.array(stream.step(x))
        assert np.array_equal(y, expected)


def test_nodes_are_measured_in_their_order() -> None:
    model = edgeinfer.load(models.demand_model(), backend="reference")
    parts = model.parts([0.1, 0.2, 0.3])
    seen: list[str] = []

    def noted(node: str, run: Callable[[int], None]) -> Callable[[int], None]:
        def call(times: int) -> None:
            seen.append(node)
            run(times)

        return call

    pieces = tuple(type(p)(p.node, p.op, p.kernel, p.macs, p.bytes, noted(p.node, p.run)) for p in parts.parts)
    times, together, step = measure(type(parts)(pieces, parts.run), None, 0.01)
    assert [entry.node for entry in times] == [p.node for p in pieces]
    assert together > 0 and step is None
    order = [node for i, node in enumerate(seen) if i == 0 or seen[i - 1] != node]
    assert order[: len(pieces)] == order[-len(pieces) :] == [p.node for p in pieces]


def test_every_kernel_of_the_core_has_a_name() -> None:
    numbers = re.findall(r"^\s*EI_OP_(\w+) = (\d+)", CORE_H.read_text("utf-8"), re.MULTILINE)
    assert {int(number): name.lower() for name, number in numbers} == KERNEL_NAMES
