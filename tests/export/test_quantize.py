"""quantize: float32 ONNX files in, standard ONNX with small weights out, and what is said about the drift."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import edgeinfer_export
import models
import numpy as np
import onnx
import pytest
from edgeinfer_export import DriftError, ExportError, command, drift, quantize
from edgeinfer_export.quantize import quantize_rows
from onnx import numpy_helper

import edgeinfer
from edgeinfer.cli import main

BUNDLED = Path(edgeinfer.__file__).parent / "models"
# Rounding to the nearest of 255 steps is off by half a step at most, in float32 arithmetic.
HALF_STEP = 0.5001
# ONNX Runtime and native on the same weights: float32 sums in another order.
TOLERANCE = 1e-5


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A GRU of four units with its state as input and output, without goldens."""
    path = tmp_path / "plain.onnx"
    path.write_bytes(models.plain_model())
    return path


def run(*arguments: str | Path) -> int:
    return command.main(["quantize", *map(str, arguments)])


def tensors(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_are_rounded_to_the_nearest_of_255_steps_symmetrically(axis: int) -> None:
    array = np.random.default_rng(3).normal(0, 2, (5, 40)).astype(np.float32)
    array[2] = array[:, 7] = 0
    values, scale = quantize_rows(array, axis)
    assert values.dtype == np.int8 and values.min() >= -127 and scale.shape == (array.shape[axis],)
    shaped = np.expand_dims(scale, 1 - axis)
    assert np.abs(values * shaped - array).max() <= (HALF_STEP * shaped).max()
    assert np.abs(values).max(axis=1 - axis)[scale != 1].tolist() == [127] * int((scale != 1).sum())
    assert (values[2] == 0).all()


@pytest.mark.parametrize("weights", ["int8", "float16"])
@pytest.mark.parametrize("name", ["sum", "next_word", "sentiment", "demand"])
def test_a_bundled_model_keeps_its_metadata_and_passes_verify(
    name: str, weights: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "small.onnx"
    done = quantize(BUNDLED / f"{name}.onnx", target, weights=weights)
    onnx.checker.check_model(onnx.load(target), full_check=True)
    before, after = (edgeinfer.load(path, backend="native").spec for path in (BUNDLED / f"{name}.onnx", target))
    assert before is not None and after is not None and after.weights == weights
    for field in ("name", "task", "mode", "window", "states", "preprocessing", "postprocessing"):
        assert getattr(before, field) == getattr(after, field)
    for was, now in zip(before.goldens, after.goldens, strict=True):
        for key, array in was.outputs.items():
            np.testing.assert_array_equal(array, now.outputs[key])
    assert done.drift.onnxruntime is not None and done.drift.onnxruntime <= TOLERANCE
    assert done.tolerance == after.tolerance and done.drift.goldens <= done.tolerance
    assert main(["verify", str(target), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tolerance"] == done.tolerance
    assert found["largest_difference"] <= done.tolerance and found["largest_between_backends"] <= TOLERANCE


@pytest.mark.parametrize("name", ["sum", "next_word", "sentiment", "demand"])
def test_a_file_for_8_bit_states_says_so_and_each_source_of_error_has_its_row(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "fast.onnx"
    status = run(BUNDLED / f"{name}.onnx", "-o", target, "--weights", "int8", "--activations", "int8", "--json")
    printed = capsys.readouterr()
    if name == "sum":  # its RNN has the activation Relu
        assert status == 3 and "its state is not bounded by 1 with the activations Relu" in printed.err
        assert not target.exists()
        return
    report = json.loads(printed.out)
    rows = report["drift"]["rows"]
    assert list(rows) == ["int8 weights", "int8 weights and states", "float32, sums in another order"]
    assert rows["int8 weights"][-1] > 100 * rows["float32, sums in another order"][-1] > 0
    model = edgeinfer.load(target, backend="native")
    assert model.spec is not None and (model.spec.activations, model.arithmetic) == ("int8", "int8 fast")
    assert main(["verify", str(target), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["backends"]["native fast"]["arithmetic"] == "int8 fast"
    assert found["backends"]["native"]["arithmetic"] == "int8 exact"
    assert found["largest_between_backends"] <= TOLERANCE
    assert main(["info", str(target)]) == 0
    assert ", int8 fast)" in capsys.readouterr().out
    assert main(["bench", str(target), "--seconds", "0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["arithmetic"] == "int8 fast"


def test_one_flipped_bit_of_a_small_weight_fails_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "small.onnx"
    quantize(BUNDLED / "sum.onnx", target, weights="int8")
    proto = onnx.load(target)
    (tensor,) = (tensor for tensor in proto.graph.initializer if tensor.name == "rnn/R/int8")
    raw = bytearray(tensor.raw_data)
    raw[int(np.argmax(np.abs(np.frombuffer(tensor.raw_data, np.int8))))] ^= 0x80
    tensor.raw_data = bytes(raw)
    target.write_bytes(proto.SerializeToString())
    assert main(["verify", str(target)]) == 1
    assert "above the tolerance of" in capsys.readouterr().out


def test_what_is_stored_small_and_what_stays_float32(tmp_path: Path) -> None:
    done = quantize(BUNDLED / "demand.onnx", tmp_path / "small.onnx", weights="int8")
    assert done.stored == ("gru/W", "gru/R", "ahead/kernel") and done.left == {}
    stored = tensors(done.path)
    assert {name: stored[name].dtype.name for name in ("gru/W/int8", "gru/W/scale", "gru/B")} == {
        "gru/W/int8": "int8",
        "gru/W/scale": "float32",
        "gru/B": "float32",
    }
    assert stored["gru/R/scale"].shape == (3 * 64,) and stored["ahead/kernel/scale"].shape == (24,)
    tiny = quantize(BUNDLED / "sentiment.onnx", tmp_path / "s.onnx", weights="int8")
    assert tiny.left == {"positive/kernel": "64 weights, fewer than 1024"}
    assert tiny.bytes < 0.3 * tiny.bytes_before


def test_two_directions_have_their_rows_flattened_behind_a_reshape(tmp_path: Path) -> None:
    source, target = tmp_path / "two.onnx", tmp_path / "small.onnx"
    rng = np.random.default_rng(4)
    net = models._Net()
    net.input("x", onnx.TensorProto.FLOAT, ["time", "batch", 3])
    for name, shape in {"W": (2, 20, 3), "R": (2, 20, 5), "B": (2, 40)}.items():
        net.constant(name, rng.normal(0, 0.5, shape).astype(np.float32))
    net.node("LSTM", ["x", "W", "R", "B"], ["y"], name="two", hidden_size=5, direction="bidirectional")
    net.output("y", ["time", 2, "batch", 5])
    source.write_bytes(net.file({}, {"spec": None}))
    done = quantize(source, target, weights="int8")
    assert tensors(target)["R/int8"].shape == (40, 5)
    assert [node.op_type for node in onnx.load(target).graph.node].count("Reshape") == 2
    assert done.drift.columns == ("whole sequences",)
    assert done.drift.onnxruntime is not None and done.drift.onnxruntime <= TOLERANCE


def test_a_foreign_file_without_metadata_is_measured_on_random_inputs(tmp_path: Path) -> None:
    source, target, lines = tmp_path / "foreign.onnx", tmp_path / "small.onnx", []
    source.write_bytes(models.foreign_model())
    done = quantize(source, target, weights="float16", progress=lines.append)
    assert "the file holds no goldens; comparing on random inputs" in lines
    spec = edgeinfer.load(target).spec
    assert spec is not None and (spec.weights, spec.mode, spec.tolerance) == ("float16", None, done.tolerance)


def test_drift_is_reported_after_10_1000_and_100000_steps_and_is_reproducible(plain: Path, tmp_path: Path) -> None:
    first, second = (quantize(plain, tmp_path / "small.onnx", weights="int8").drift for _ in range(2))
    assert first.columns == ("10 steps", "1,000 steps", "100,000 steps")
    assert first.rows == second.rows
    assert set(first.rows) == {"int8 weights", "float32, sums in another order"}
    for row in first.rows.values():
        assert 0 < row[0] <= row[1] <= row[2] < 0.1


def test_a_window_is_measured_over_windows_and_nothing_builds_up(tmp_path: Path) -> None:
    found = quantize(BUNDLED / "sum.onnx", tmp_path / "small.onnx", weights="float16").drift
    assert found.columns == ("10 windows", "1,000 windows")


def test_a_drift_above_max_error_exits_1_and_writes_nothing(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "small.onnx"
    target.write_bytes(b"old")
    assert run(plain, "-o", target, "--weights", "int8", "--max-error", "1e-6") == 1
    error = capsys.readouterr().err
    assert "answers move by up to" in error and "expected at most 1e-06; nothing was written" in error
    assert "100,000 steps" in error and target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.onnx", "small.onnx"]
    with pytest.raises(DriftError) as caught:
        quantize(plain, target, weights="int8", max_error=1e-6)
    assert caught.value.drift.largest > 1e-6


def test_max_error_becomes_the_tolerance_of_the_file(plain: Path, tmp_path: Path) -> None:
    assert quantize(plain, tmp_path / "small.onnx", weights="int8", max_error=0.25).tolerance == 0.25


def test_the_command_prints_the_drift_the_sizes_and_the_speed(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "small.onnx"
    assert run(plain, "-o", target, "--weights", "int8") == 0
    printed = capsys.readouterr()
    for text in ("gru/W, gru/R", "100,000 steps", "int8 weights", "bytes (", "times as", "verify allows"):
        assert text in printed.out
    assert "quantize: 100,000 of 100,000 steps" in printed.err
    assert run(plain, "-o", target, "--weights", "int8", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["bytes"], report["weights"]) == (target.stat().st_size, "int8")
    assert report["drift"]["largest"] >= report["drift"]["goldens"] > 0


def test_neither_the_command_nor_its_module_imports_tensorflow(plain: Path, tmp_path: Path) -> None:
    program = (
        "import sys, edgeinfer_export.command as c\n"
        f"status = c.main(['quantize', {str(plain)!r}, '--weights', 'int8', '-o', {str(tmp_path / 'o.onnx')!r}])\n"
        "print(status, [m for m in ('tensorflow', 'keras', 'tf2onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("0 []\n"), done.stdout + done.stderr


def test_without_the_onnx_package_the_command_says_what_to_install(plain: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['onnx'] = None\n"
        "import edgeinfer_export.command as c\n"
        f"sys.exit(c.main(['quantize', {str(plain)!r}, '--weights', 'int8', '-o', {str(tmp_path / 'o.onnx')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.endswith("quantize: onnx is not installed: pip install 'edgeinfer[onnx]'\n")


def test_an_interruption_leaves_nothing_behind(
    plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(drift, "_drift", interrupted)
    assert run(plain, "-o", plain.with_name("small.onnx"), "--weights", "int8") == 130
    assert capsys.readouterr().err.endswith("quantize: interrupted; nothing was written\n")
    assert [path.name for path in plain.parent.iterdir()] == ["plain.onnx"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--weights", "int4"),
        ("--weights", "int8", "--max-error", "0"),
        ("--weights", "float16", "--activations", "int8"),
        ("--weights", "int8", "--max-error", "nan"),
    ],
)
def test_wrong_usage_exits_2(
    arguments: tuple[str, ...], plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(plain, "-o", tmp_path / "small.onnx", *arguments) == 2
    assert "usage: " in capsys.readouterr().err and not (tmp_path / "small.onnx").exists()


def changed(path: Path, change: Any) -> Path:
    proto = onnx.load(path)
    change(proto)
    target = path.with_name("changed.onnx")
    target.write_bytes(proto.SerializeToString())
    return target


def with_large_weight(proto: Any) -> None:
    (tensor,) = (tensor for tensor in proto.graph.initializer if tensor.name == "gru/W")
    array = numpy_helper.to_array(tensor).copy()
    array[0, 0, 0] = 1e5
    tensor.CopyFrom(numpy_helper.from_array(array, "gru/W"))


def with_opset_11(proto: Any) -> None:
    proto.opset_import[0].version = 11
    for node in proto.graph.node:
        if node.op_type == "Squeeze":
            node.attribute.append(onnx.helper.make_attribute("axes", [1]))
            del node.input[1:]


@pytest.mark.parametrize(
    ("change", "weights", "message"),
    [
        (with_large_weight, "float16", 'weight "gru/W": float16 holds at most 65504, got 100000; use int8'),
        (with_opset_11, "int8", "opset 11: int8 with a scale per row needs opset 13 or later"),
    ],
)
def test_a_file_that_cannot_be_stored_small_is_refused_by_name(
    change: Any, weights: Any, message: str, plain: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError) as caught:
        quantize(changed(plain, change), tmp_path / "small.onnx", weights=weights)
    assert message in str(caught.value) and not (tmp_path / "small.onnx").exists()


def test_a_file_that_is_small_already_is_refused(plain: Path, tmp_path: Path) -> None:
    quantize(plain, tmp_path / "small.onnx", weights="int8")
    with pytest.raises(ExportError) as caught:
        quantize(tmp_path / "small.onnx", tmp_path / "smaller.onnx", weights="float16")
    assert "there is nothing to store in float16: gru/W: it is not a constant (GRU gru)" in str(caught.value)


def test_arguments_are_checked_by_name(plain: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.onnx"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"weights": "int4"}, "weights: expected int8 or float16, got 'int4'"),
        ({"weights": "int8", "activations": "int4"}, "activations: expected int8, got 'int4'"),
        (
            {"weights": "float16", "activations": "int8"},
            "activations int8 goes with weights int8, got weights float16",
        ),
        ({"weights": "int8", "max_error": -1.0}, "max_error: expected a finite number above 0, got -1.0"),
    ]
    for arguments, message in cases:
        with pytest.raises(ExportError) as caught:
            quantize(plain, target, **arguments)
        assert str(caught.value) == message
    with pytest.raises(ExportError, match="the model itself"):
        quantize(plain, plain, weights="int8")


def test_a_broken_file_exits_3_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    assert run(path, "-o", tmp_path / "o.onnx", "--weights", "int8") == 3
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert run(tmp_path / "none.onnx", "-o", tmp_path / "o.onnx", "--weights", "int8") == 3


def test_the_function_is_public() -> None:
    assert edgeinfer_export.quantize is quantize and "quantize" in edgeinfer_export.__all__
