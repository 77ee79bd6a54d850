"""The command as a whole: help, version, exit statuses, added commands, logs, a reader that leaves."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import Command

import edgeinfer
from edgeinfer import cli
from edgeinfer.cli import output

ROOT = Path(__file__).parents[2]


def test_alone_it_prints_its_help_and_ends_with_2(command: Command) -> None:
    result = command()
    assert result.status == 2
    assert "usage: edgeinfer" in result.out and "edgeinfer demo" in result.out


def test_the_version_is_the_packages(command: Command) -> None:
    result = command("--version")
    assert (result.status, result.out) == (0, f"edgeinfer {edgeinfer.__version__}\n")


@pytest.mark.parametrize("name", ["run", "info", "verify", "bench", "profile", "demo"])
def test_every_command_teaches_with_an_example(command: Command, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = command(name, "--help")
    assert result.status == 0
    assert f"  edgeinfer {name}" in result.out.partition("example")[2]
    assert "--json" in result.out and "--log-level" in result.out
    assert max(len(line) for line in result.out.splitlines()) <= 80


def test_an_unknown_command_is_wrong_usage(command: Command) -> None:
    result = command("predict")
    assert result.status == 2 and "invalid choice: 'predict'" in result.err


@pytest.mark.parametrize("name", ["export", "train"])
def test_a_command_that_is_not_installed_says_how_to_get_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: ())
    result = command(name, "model.keras")
    assert result.status == 3
    assert result.err == (
        f"edgeinfer: error: {name} is not part of this installation: pip install 'edgeinfer[{name}]'\n"
    )


def entry(monkeypatch: pytest.MonkeyPatch, function: Callable[[list[str]], int]) -> None:
    """Install ``function`` as what the entry point of any name loads."""

    class Entry:
        def load(self) -> Callable[[list[str]], int]:
            return function

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: (Entry(),))


def test_an_added_command_gets_its_arguments_and_gives_the_status(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def added(arguments: list[str]) -> int:
        seen.extend(arguments)
        return 1

    entry(monkeypatch, added)
    assert command("export", "model.keras", "-o", "model.onnx", "--help").status == 1
    assert seen == ["model.keras", "-o", "model.onnx", "--help"]


def test_a_missing_extra_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def added(arguments: list[str]) -> int:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    entry(monkeypatch, added)
    result = command("train", "sum")
    assert result.status == 3
    assert result.err == (
        "edgeinfer: error: train needs tensorflow, which is not installed: pip install 'edgeinfer[train]'\n"
    )


def test_errors_of_an_added_command_are_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def added(arguments: list[str]) -> int:
        raise edgeinfer.InputError("first\nsecond")

    entry(monkeypatch, added)
    result = command("export")
    assert (result.status, result.err) == (3, "edgeinfer: error: first second\n")


def test_an_interrupt_ends_quietly_with_130(command: Command, monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgeinfer.cli.info.open_model", interrupted)
    result = command("info", files / "sum.onnx")
    assert (result.status, result.out, result.err) == (130, "", "")


def test_an_interrupt_during_the_import_ends_quietly_with_130(tmp_path: Path) -> None:
    """A module of numpy's name stands for the import, most of which is numpy's."""
    (tmp_path / "numpy.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    script = "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script += "from edgeinfer_command import main\nsys.exit(main())\n"
    found = os.pathsep.join([str(tmp_path), str(ROOT)])
    result = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": found}, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


def test_logs_go_to_stderr_at_the_level_asked_for(
    command: Command, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["edgeinfer.backends.choose"], "_has_native", lambda: False)
    assert "edgeinfer: warning: the C core is not installed" in command("info", files / "sum.onnx").err
    assert command("info", files / "sum.onnx", "--log-level", "error").err == ""


@pytest.mark.parametrize("arguments", [("info",), ("info", "--json"), ("verify",)])
def test_a_reader_that_leaves_is_no_error(files: Path, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "edgeinfer", arguments[0], str(files / "sum.onnx"), *arguments[1:]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=files)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr as err:
        assert err.read() == ""
    assert process.wait() == 0


def test_a_full_disk_is_one_line(files: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "edgeinfer", "info", str(files / "sum.onnx")]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=files, check=False)
    assert done.returncode == 3
    assert done.stderr == "edgeinfer: error: standard output: No space left on device\n"


def test_closed_standard_streams_are_no_error(files: Path) -> None:
    (files / "rows").write_text("5\n6\n")
    stream = f"run {files / 'sum.onnx'} --stream"
    for arguments in (f"info {files / 'sum.onnx'} <&-", f"{stream} <&-", f"{stream} <rows"):
        command = f"{sys.executable} -m edgeinfer {arguments} >&-"
        done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, cwd=files, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_characters_that_a_terminal_lacks_are_escaped(files: Path) -> None:
    command = [sys.executable, "-m", "edgeinfer", "run", str(files / "sentiment.onnx"), "--text", "naïve good 日本"]
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, capture_output=True, env=environment, cwd=files, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\\u65e5\\u672c" in done.stdout


def test_an_error_is_never_printed_among_the_answers(files: Path) -> None:
    command = f"{sys.executable} -m edgeinfer run {files / 'sum.onnx'} --values x 2>&-"
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, cwd=files, check=False)
    assert (done.returncode, done.stdout) == (3, "")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_json_stays_json_in_an_encoding_that_lacks_characters(files: Path, stream: bool) -> None:
    text = ["--stream"] if stream else ["--text", "naïve 日本 😀"]
    command = [sys.executable, "-m", "edgeinfer", "run", str(files / "sentiment.onnx"), *text, "--json"]
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)}
    feed = "naïve 日本 😀\n".encode()
    done = subprocess.run(command, input=feed, capture_output=True, env=environment, cwd=files, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["unknown"] == ["naïve", "日本", "😀"]


def test_control_characters_do_not_reach_the_terminal(command: Command, files: Path) -> None:
    text = "good \x1b[31mfilm\x07"
    shown = command("run", files / "sentiment.onnx", "--text", text).out
    assert "\x1b" not in shown and r"\x1b" in shown and r"\x07" in shown
    assert command("run", files / "sentiment.onnx", "--text", text, "--json").json["text"] == text
    assert "\x1b" not in command("info", "\x1b[31m").err


def test_importing_the_command_loads_no_training_stack(files: Path) -> None:
    code = (
        "import sys, edgeinfer.cli; heavy = {'tensorflow', 'keras', 'onnx', 'onnxruntime', 'edgeinfer_export'};"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=files, check=False).returncode == 0


@pytest.mark.parametrize(
    ("values", "shown"),
    [([0, 1, 2, 3], "▁▃▆█"), ([5, 5], "▄▄"), ([], ""), ([-1, 1], "▁█")],
)
def test_a_sparkline_spans_its_values(values: list[float], shown: str) -> None:
    assert output.sparkline(values) == shown


def test_marks_show_forecast_and_actual() -> None:
    assert output.marks(0, 10, 0, 10, width=5) == "o...x"
    assert output.marks(5, 5, 0, 10, width=5) == "..*.."
    assert output.marks(5, 5, 5, 5, width=3) == "*.."


def test_a_table_aligns_its_columns() -> None:
    assert output.table(("name", "value"), [("a", "1.0"), ("longer", "10.0")]) == (
        "name    value\na         1.0\nlonger   10.0"
    )


def test_values_after_the_option_may_be_negative() -> None:
    assert cli._join_values(["run", "--values", "-1,2", "--json"]) == ["run", "--values=-1,2", "--json"]
    assert cli._join_values(["run", "--values", "-.5"]) == ["run", "--values=-.5"]
    assert cli._join_values(["run", "--values", "-inf,1"]) == ["run", "--values=-inf,1"]
    assert cli._join_values(["run", "--values", "--json"]) == ["run", "--values", "--json"]
