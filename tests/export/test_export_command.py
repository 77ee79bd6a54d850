"""The command: files in, a file out, one line per refusal, and its exit codes."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import onnx
import pytest
from edgeinfer_export import command

import edgeinfer
from edgeinfer import Limits, ModelLimitError

RECIPE = {"name": "rain", "task": None, "mode": "window", "window": {"length": 3, "start": "wait"}}


@pytest.fixture
def saved(layers: Any, sequential: Any, tmp_path: Path) -> Path:
    model = sequential((None, 2), layers.GRU(3, name="gru"), layers.Dense(1), name="rain")
    return save(model, tmp_path / "rain.keras")


def save(model: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        # Keras hands its variables to h5py, which asks NumPy for a copy in the old way.
        warnings.simplefilter("ignore", DeprecationWarning)
        model.save(path)
    return path


def run(*arguments: str | Path) -> int:
    return command.main([str(argument) for argument in arguments])


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def subprocess_run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeinfer_export", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )


def test_as_a_program_it_prints_json_alone_on_stdout_and_progress_alone_on_stderr(saved: Path) -> None:
    saved.with_suffix(".json").write_text(json.dumps(RECIPE))
    target = saved.with_suffix(".onnx")
    done = subprocess_run(saved, "-o", target, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["path"] == str(target) and report["bytes"] == target.stat().st_size
    assert (report["form"], report["mode"], report["window"]) == ("stream", "window", 3)
    assert report["nodes"] == {"Add": 1, "GRU": 1, "MatMul": 1, "Squeeze": 1, "Transpose": 1}
    assert 0 < report["differences"]["keras_native"] <= 1e-5
    assert all(line.startswith("export: ") for line in done.stderr.splitlines())
    assert onnx.load(target).graph.name == "rain"


def test_help_answers_without_tensorflow() -> None:
    program = "import sys, edgeinfer_export.command as c; c.main(['--help']); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: ") and done.stdout.endswith("False\n")


def test_the_runtime_does_not_import_export() -> None:
    program = "import sys, edgeinfer; print(any(name.startswith('edgeinfer_export') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_for_people_it_prints_the_nodes_and_three_differences(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(saved, "-o", saved.with_suffix(".onnx")) == 0
    out = capsys.readouterr().out
    assert "stream form, mode stream; 1 Add, 1 GRU, 1 MatMul, 1 Squeeze, 1 Transpose" in out
    assert all(name in out for name in ("keras - onnxruntime", "keras - native", "onnxruntime - native"))


def test_an_existing_file_is_replaced(saved: Path) -> None:
    target = saved.with_suffix(".onnx")
    target.write_bytes(b"old")
    assert run(saved, "-o", target) == 0
    onnx.checker.check_model(onnx.load(target))
    assert files(saved.parent) == {"rain.keras", "rain.onnx"}


def test_a_difference_above_atol_exits_1_and_keeps_the_old_file(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = saved.with_suffix(".onnx")
    target.write_bytes(b"old")
    assert run(saved, "-o", target, "--atol", "1e-12") == 1
    error = capsys.readouterr().err
    assert "differs from Keras by" in error and "keras - native" in error
    assert target.read_bytes() == b"old"


def test_an_interruption_leaves_nothing_behind(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeinfer_export import build

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "verify", interrupted)
    assert run(saved, "-o", saved.with_suffix(".onnx")) == 130
    assert capsys.readouterr().err.endswith("export: interrupted; nothing was written\n")
    assert files(saved.parent) == {"rain.keras"}


@pytest.mark.parametrize(
    ("command", "work", "arguments"),
    [
        ("inspect", "inspect_model", []),
        ("quantize", "quantize", ["--weights", "int8", "-o", "small.onnx"]),
        ("seq2seq", "to_onnx_seq2seq", ["-o", "s2s"]),
    ],
)
def test_every_command_that_is_interrupted_exits_130(
    command: str, work: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module(f"edgeinfer_export.{command}_command"), work, interrupted)
    assert run(command, "m.keras", *arguments) == 130
    assert capsys.readouterr().err.endswith(": interrupted; nothing was written\n")


@pytest.mark.parametrize("stage", ["importing TensorFlow", "converting"])
def test_ctrl_c_at_any_stage_exits_130_and_leaves_the_old_file(stage: str, saved: Path) -> None:
    target = saved.with_suffix(".onnx")
    target.write_bytes(b"old")
    command_line = [sys.executable, "-m", "edgeinfer_export", str(saved), "-o", str(target)]
    with subprocess.Popen(command_line, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if stage in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read().splitlines()
    assert process.returncode == 130
    assert rest[-1] == "export: interrupted; nothing was written"
    assert target.read_bytes() == b"old" and files(saved.parent) == {"rain.keras", "rain.onnx"}


def test_a_refused_layer_exits_3_by_name(
    layers: Any, sequential: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(sequential((None, 2), layers.GRU(3, activation="selu", name="gru")), tmp_path / "m.keras")
    assert run(tmp_path / "m.keras", "-o", tmp_path / "m.onnx") == 3
    assert 'export: layer "gru": activation "selu" has no ONNX recurrent form' in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["m.keras"],
        ["m.keras", "-o", "m.onnx", "--mode", "loop"],
        ["m.keras", "-o", "m.onnx", "--window", "0"],
        ["m.keras", "-o", "m.onnx", "--mode", "stream", "--window", "3"],
        ["m.keras", "-o", "m.onnx", "--opset", "9"],
        ["m.keras", "-o", "m.onnx", "--atol", "0"],
        ["seq2seq", "m.keras", "-o", "m.onnx", "--opset", "9"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_no_verify_is_said_on_stdout(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(saved, "-o", saved.with_suffix(".onnx"), "--no-verify") == 0
    assert capsys.readouterr().out.endswith("not verified\n")


def test_a_file_that_needs_a_limit_raised_is_verified_and_says_so(
    keras: Any, layers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 90_000
    words = [f"w{i}" for i in range(count)]
    inputs = keras.Input((1,), dtype="string")
    ids = layers.TextVectorization(vocabulary=words, output_sequence_length=4)(inputs)
    outputs = layers.Dense(1, activation="sigmoid")(layers.LSTM(3)(layers.Embedding(count + 2, 2)(ids)))
    save(keras.Model(inputs, outputs, name="words"), tmp_path / "words.keras")
    target = tmp_path / "words.onnx"
    assert run(tmp_path / "words.keras", "-o", target) == 0
    said = capsys.readouterr().out
    assert (
        "\nedgeinfer loads it with a limit raised: edgeinfer run --limit parsed_bytes=12582912, "
        "or load(…, limits=Limits(parsed_bytes=12582912))\n" in said
    )
    assert "keras - native" in said
    with pytest.raises(ModelLimitError):
        edgeinfer.load(target)
    assert edgeinfer.load(target, limits=Limits(parsed_bytes=12582912)).backend == "native"
    assert run("quantize", target, "-o", tmp_path / "small.onnx", "--weights", "int8") == 0
