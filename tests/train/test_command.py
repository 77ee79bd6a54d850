from __future__ import annotations

from pathlib import Path

import pytest
from edgeinfer_train import command

RECIPES = ["sum", "next_word", "sentiment", "demand"]


def test_without_a_name_the_recipes_are_listed_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == command.OK
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == RECIPES


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["addition"], "invalid choice: 'addition'"),
        (["sum", "--epochs", "0"], "--epochs: expected at least 1, got 0"),
        (["sum", "--seed", "-1"], "--seed: expected a number from 0"),
        (["sum", "--cell", "gru"], "--cell: only the recipe demand has it"),
        (["next_word", "--data", "x.csv"], "--data: only these recipes read data: sentiment, demand"),
        (["--score", "x.onnx"], "--score: expected the name of the recipe"),
        (["sum", "--out", "/dev/null/x"], "--out: expected a folder to save to"),
        (["sum", "--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_why(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(argv) == command.USAGE
    assert message in capsys.readouterr().err


def test_help_is_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == command.OK
    assert "--quick" in capsys.readouterr().out


def test_an_interruption_saves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def train(self, options: object) -> object:
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "_recipe", lambda name: Interrupted())
    monkeypatch.setattr(command, "load_keras", lambda: None)
    assert command.main(["sum", "--out", str(tmp_path)]) == command.INTERRUPTED
    assert capsys.readouterr().err == "train: interrupted; nothing was saved\n"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise ImportError("No module named 'keras'")

    monkeypatch.setattr(command, "load_keras", missing)
    assert command.main(["sum", "--out", str(tmp_path)]) == command.BAD_INPUT
    assert "No module named 'keras'; install" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
