"""``edgeinfer run`` on values, texts, CSV and npz files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_helpers import Command

import edgeinfer
from edgeinfer.pipeline import Forecaster, Generator, pipeline


def test_values_are_continued(command: Command, files: Path) -> None:
    result = command("run", files / "sum.onnx", "--values", "5,6")
    assert result.status == 0
    assert "11.00" in result.out
    assert result.err == ""


def test_values_as_json(command: Command, files: Path) -> None:
    answer = command("run", files / "sum.onnx", "--values", "5,6", "--horizon", "3", "--json").json
    assert list(answer) == ["model", "task", "backend", "isa", "rows", "horizon", "values", "times"]
    assert answer["values"] == [11.0, 17.0, 28.0]
    assert (answer["model"], answer["task"], answer["times"]) == ("sum", "forecast", None)


def test_a_series_may_begin_below_zero(command: Command, files: Path) -> None:
    assert command("run", files / "sum.onnx", "--values", "-5,6", "--json").json["values"] == [6.0]


def test_a_csv_is_forecast_with_times(command: Command, files: Path) -> None:
    result = command("run", files / "demand.onnx", "--csv", files / "history.csv", "--column", "load", "--time", "hour")
    assert result.status == 0
    assert "2024-03-02 06:00" in result.out and "2024-03-02 08:00" in result.out
    assert "30 rows read" in result.out


def test_a_csv_gives_what_the_pipeline_gives(command: Command, files: Path) -> None:
    arguments = ("--csv", files / "history.csv", "--column", "load", "--time", "hour", "--json")
    answer = command("run", files / "demand.onnx", *arguments, "--backend", "reference").json
    rows = [line.split(",") for line in (files / "history.csv").read_text().splitlines()[1:]]
    app = pipeline(files / "demand.onnx", backend="reference")
    assert isinstance(app, Forecaster)
    forecast = app([float(row[-1]) for row in rows], [row[1] for row in rows])
    assert answer["values"] == forecast.values.tolist()
    assert answer["times"] == ["2024-03-02T06:00:00", "2024-03-02T07:00:00", "2024-03-02T08:00:00"]


def test_a_byte_order_mark_and_windows_line_ends_are_read(command: Command, files: Path, tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbfload\r\n5\r\n6\r\n\r\n")
    answer = command("run", files / "sum.onnx", "--csv", path, "--column", "load", "--json").json
    assert answer["values"] == [11.0]


def test_a_text_is_labelled(command: Command, files: Path) -> None:
    result = command("run", files / "sentiment.onnx", "--text", "A good xyzzy film")
    assert result.status == 0
    assert "positive" in result.out
    assert "2 words not in the vocabulary, read as <unk>: a, xyzzy" in result.out


def test_a_text_as_json_reports_unknown_words(command: Command, files: Path) -> None:
    answer = command("run", files / "sentiment.onnx", "--text", "good xyzzy", "--json").json
    assert list(answer) == [
        "model", "task", "backend", "isa", "text", "label", "score", "scores", "unknown", "unknown_count"
    ]  # fmt: skip
    assert (answer["label"], answer["unknown"], answer["unknown_count"]) == ("positive", ["xyzzy"], 1)


def test_every_line_of_a_file_is_labelled(command: Command, files: Path) -> None:
    result = command("run", files / "sentiment.onnx", "--input", files / "reviews.txt")
    assert result.status == 0
    rows = [line.split()[:2] for line in result.out.splitlines()]
    assert ["1", "positive"] in rows and ["3", "negative"] in rows
    found = command("run", files / "sentiment.onnx", "--input", files / "reviews.txt", "--json").json["results"]
    assert [(entry["line"], entry["label"]) for entry in found] == [(1, "positive"), (3, "negative")]


def test_next_words_are_proposed(command: Command, files: Path) -> None:
    app = pipeline(files / "next_word.onnx", backend="reference")
    assert isinstance(app, Generator)
    expected = [word for word, _ in app("I love", top=3).candidates]
    answer = command("run", files / "next_word.onnx", "--text", "I love", "--top", "3", "--json").json
    assert [entry["word"] for entry in answer["candidates"]] == expected
    shown = command("run", files / "next_word.onnx", "--text", "I love", "--top", "3").out
    assert all(word in shown for word in expected)


def test_arrays_go_in_and_out_by_name(command: Command, files: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(2, 5, 2)).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x)
    result = command("run", files / "plain.onnx", "--npz", tmp_path / "in.npz", "--out", tmp_path / "out.npz", "--json")
    assert result.json["outputs"]["y"] == {"dtype": "float32", "shape": [2, 5, 2]}
    model = edgeinfer.load(files / "plain.onnx")
    with np.load(tmp_path / "out.npz") as written:
        assert sorted(written.files) == ["gru/final_h", "y"]
        assert np.array_equal(written["y"], model(x))
        assert written["gru/final_h"].shape == (1, 2, 4)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--values", "1,2", "--text", "x"),
        ("--npz", "in.npz"),
        ("--values", "1,2", "--state", "s"),
        ("--text", "x", "--column", "y"),
        ("--values", "1", "--horizon", "0"),
        ("--values", "1", "--horizon", "many"),
        ("--stream", "--window", "3"),
        ("--values", "1,2", "--backend", "tpu"),
        ("--values", "1,2", "--val", "3"),
    ],
)
def test_wrong_usage_ends_with_2(command: Command, files: Path, arguments: tuple[str, ...]) -> None:
    result = command("run", files / "sum.onnx", *arguments)
    assert result.status == 2
    assert "usage: edgeinfer run" in result.err
    assert result.out == ""
