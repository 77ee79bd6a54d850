"""The command in this process, as a process of its own, and a folder with models and data."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import models
import pytest
from cli_helpers import Command, Result, history

from edgeinfer.cli import main


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs ``edgeinfer ARGUMENTS`` in this process."""

    def run(*arguments: str | Path) -> Result:
        status = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Result(status, out, err)

    return run


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str | bytes], None]]:
    """Sets what the command finds on standard input."""
    opened: list[IO[str]] = []

    def set_input(data: str | bytes) -> None:
        path = tmp_path / "stdin"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        opened.append(path.open(encoding="utf-8"))
        monkeypatch.setattr(sys, "stdin", opened[-1])

    yield set_input
    for file in opened:
        file.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``edgeinfer ARGUMENTS`` as a process whose standard streams are pipes; ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def spawn(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeinfer", *map(str, arguments)],
            text=True,
            cwd=tmp_path,  # away from the clone, whose sources must not stand in for what is installed
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            **{**pipes, **options},
        )
        started.append(process)
        return process

    yield spawn
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None and not pipe.closed:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small models, a CSV of hourly values, and texts."""
    folder = tmp_path_factory.mktemp("files")
    for name, data in {
        "sum": models.sum_model(),
        "demand": models.demand_model(),
        "sentiment": models.sentiment_model(),
        "next_word": models.next_word_model(),
        "plain": models.plain_model(),
        "foreign": models.foreign_model(),
    }.items():
        (folder / f"{name}.onnx").write_bytes(data)
    (folder / "history.csv").write_text(history(30), encoding="utf-8")
    (folder / "reviews.txt").write_text("A good film\n\nawful xyzzy\n", encoding="utf-8")
    return folder
