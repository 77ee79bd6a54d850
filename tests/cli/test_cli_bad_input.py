"""Whatever is wrong with a model or its input: one clear line on stderr, exit status 3, no traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import Command, history
from models import sentiment_model, sum_model

CSV_OPTIONS = ("--column", "load", "--time", "hour")


def refused(command: Command, *arguments: str | Path) -> str:
    """The message of a command that must be refused."""
    result = command(*arguments)
    assert result.status == 3, result.out
    assert result.err.startswith("edgeinfer: error: ")
    assert result.err.count("\n") == 1
    assert result.out == ""
    return result.err.removeprefix("edgeinfer: error: ").strip()


@pytest.fixture
def csv(command: Command, files: Path, tmp_path: Path) -> Callable[..., str]:
    """The message for a CSV file of this content."""

    def run(content: str | bytes, *options: str, model: str = "demand.onnx") -> str:
        path = tmp_path / "bad.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        message = refused(command, "run", files / model, "--csv", path, *(options or CSV_OPTIONS))
        return message.replace(str(path), "bad.csv").replace(str(files), "")

    return run


def test_a_missing_column_is_named_with_those_that_exist(csv: Callable[..., str]) -> None:
    message = csv(history(9), "--column", "power", "--time", "hour")
    assert message == "bad.csv: no column 'power'; there are: station, hour, note, load"


def test_a_missing_time_column_is_named(csv: Callable[..., str]) -> None:
    message = csv(history(9), "--column", "load", "--time", "when")
    assert message == "bad.csv: no time column 'when'; there are: station, hour, note, load"


def test_a_model_that_reads_the_calendar_asks_for_the_time_column(csv: Callable[..., str]) -> None:
    assert csv(history(9), "--column", "load") == (
        "/demand.onnx reads the calendar: name the time column of bad.csv with --time; "
        "there are: station, hour, note, load"
    )


def test_a_csv_without_column_lists_the_columns(csv: Callable[..., str]) -> None:
    assert csv(history(9), "--time", "hour") == "bad.csv: say which column; there are: station, hour, note, load"


@pytest.mark.parametrize(
    ("cell", "shown"),
    [("NaN", "'NaN'"), ("", "an empty cell"), ("many", "'many'"), ("inf", "'inf'"), ("1_0", "'1_0'")],
)
def test_a_cell_that_is_no_number_is_named_by_row_and_column(csv: Callable[..., str], cell: str, shown: str) -> None:
    lines = history(9).splitlines()
    lines[4] = lines[4].rpartition(",")[0] + "," + cell
    message = csv("\n".join(lines))
    assert message == f"bad.csv: row 5, column 'load': expected a finite number, got {shown}"


def test_a_blank_line_between_rows_is_named(csv: Callable[..., str]) -> None:
    assert "row 3" in csv("y\n1\n\n2\n", "--column", "y", model="sum.onnx")


def test_a_short_row_is_named(csv: Callable[..., str]) -> None:
    message = csv("a,y\n1,2\n3\n", "--column", "y", model="sum.onnx")
    assert message == "bad.csv: row 3, column 'y': expected 2 cells, got 1"


def test_a_column_that_is_there_twice_is_refused(csv: Callable[..., str]) -> None:
    assert csv("y,y\n1,2\n", "--column", "y", model="sum.onnx") == "bad.csv: column 'y' is there twice"


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_csv_with_other_separators_is_told_apart_from_a_missing_column(csv: Callable[..., str], mark: str) -> None:
    header = f"hour{mark}load"
    message = csv(f"{header}\n2024-03-01 00:00{mark}5\n")
    assert f"no column 'load'; there are: {header!r} alone, as commas separate the cells" in message


def test_an_empty_csv_is_refused(csv: Callable[..., str]) -> None:
    assert csv("") == "bad.csv: empty: expected a header and rows"


def test_a_csv_with_a_header_alone_is_refused(csv: Callable[..., str]) -> None:
    assert csv("hour,load\n") == "bad.csv: no rows: there is only a header"


def test_a_csv_that_is_not_text_is_refused(csv: Callable[..., str]) -> None:
    assert "not UTF-8 text" in csv(b"hour,load\n\xff\xfe,1\n")


def test_a_gap_in_time_is_named_by_the_row_of_the_file(csv: Callable[..., str]) -> None:
    lines = history(9).splitlines()
    del lines[5]
    message = csv("\n".join(lines))
    assert message == ("bad.csv: row 6: expected a time 3600 s after 2024-03-01 03:00:00, got 2024-03-01 05:00:00")


def test_a_time_that_is_none_is_named_by_the_row_of_the_file(csv: Callable[..., str]) -> None:
    message = csv(history(9).replace("2024-03-01 02:00", "2 o'clock"))
    assert message.startswith("bad.csv: row 4: expected a time such as")


def test_a_series_that_is_too_short_is_refused(csv: Callable[..., str]) -> None:
    assert "series too short: expected at least 4 rows, got 2" in csv(history(2))


def test_a_longer_horizon_than_the_files_is_refused(csv: Callable[..., str]) -> None:
    message = csv(history(9), *CSV_OPTIONS, "--horizon", "24")
    assert "expected at most 3" in message and "got 24" in message


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ("5,x", "--values: number 2: expected a finite number, got 'x'"),
        ("5,nan", "--values: number 2: expected a finite number, got 'nan'"),
        ("5,,6", "--values: number 2: expected a finite number, got an empty cell"),
        ("", "series: empty"),
        ("5", "expected at least 2 rows, got 1"),
    ],
)
def test_values_that_are_no_series_are_refused(command: Command, files: Path, values: str, shown: str) -> None:
    assert shown in refused(command, "run", files / "sum.onnx", "--values", values)


@pytest.mark.parametrize("model", ["sentiment.onnx", "next_word.onnx"])
@pytest.mark.parametrize("option", ["--values", "--csv"])
def test_a_text_model_given_numbers_is_refused(command: Command, files: Path, model: str, option: str) -> None:
    data = "5,6" if option == "--values" else files / "history.csv"
    message = refused(command, "run", files / model, option, data)
    assert f"expected --text or --input, got {option}" in message


@pytest.mark.parametrize("horizon", ["1000000", "99999999999999999999"])
def test_a_horizon_that_outgrows_float32_is_refused(command: Command, files: Path, horizon: str) -> None:
    message = refused(command, "run", files / "sum.onnx", "--values", "5,6", "--horizon", horizon)
    assert "--values: forecast: horizon: " in message


def test_a_forecast_model_given_text_is_refused(command: Command, files: Path) -> None:
    message = refused(command, "run", files / "sum.onnx", "--text", "five six")
    assert message.endswith("sum.onnx forecasts a series: expected --values or --csv, got --text")


def test_a_model_that_reads_the_calendar_is_not_given_bare_values(command: Command, files: Path) -> None:
    message = refused(command, "run", files / "demand.onnx", "--values", "1,2,3,4,5")
    assert message.endswith("demand.onnx reads the calendar: expected --csv and --time, got --values")


@pytest.mark.parametrize(
    ("model", "data", "option", "message"),
    [
        ("sum", ("--values", "5,6"), ("--top", "3"), "sum.onnx: --top is for a model of next words"),
        ("sentiment", ("--stream",), ("--column", "load"), "sentiment.onnx: --column is for a series"),
        ("next_word", ("--stream",), ("--horizon", "3"), "next_word.onnx: --horizon is for a forecast"),
        ("plain", ("--stream",), ("--time", "hour"), "plain.onnx: --time is for a series"),
    ],
)
def test_an_option_that_means_nothing_to_the_task_is_refused(
    command: Command, files: Path, model: str, data: tuple[str, ...], option: tuple[str, ...], message: str
) -> None:
    assert refused(command, "run", files / f"{model}.onnx", *data, *option).endswith(message)


def test_a_model_without_a_task_says_what_runs_it(command: Command, files: Path) -> None:
    message = refused(command, "run", files / "foreign.onnx", "--values", "5,6")
    assert "names no task" in message and "--npz" in message


@pytest.mark.parametrize("text", ["", "?!"])
def test_a_text_without_words_is_refused(command: Command, files: Path, text: str) -> None:
    assert "expected at least one word" in refused(command, "run", files / "sentiment.onnx", "--text", text)


def test_a_line_without_words_is_named(command: Command, files: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("good\n...\n")
    message = refused(command, "run", files / "sentiment.onnx", "--input", tmp_path / "texts")
    assert "texts: line 2: classify: text: expected at least one word, got '...'" in message


def test_a_file_of_no_texts_is_refused(command: Command, files: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("\n \n")
    assert "expected a text per line" in refused(
        command, "run", files / "sentiment.onnx", "--input", tmp_path / "texts"
    )


@pytest.mark.parametrize("arguments", [("info",), ("verify",), ("bench",), ("profile",), ("run", "--values", "1,2")])
def test_a_missing_model_file_is_named(command: Command, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    message = refused(command, arguments[0], tmp_path / "gone.onnx", *arguments[1:])
    assert "gone.onnx" in message and "No such file" in message


def test_a_folder_is_no_model(command: Command, tmp_path: Path) -> None:
    assert str(tmp_path) in refused(command, "info", tmp_path)


@pytest.mark.parametrize("option", ["--csv", "--input", "--npz"])
def test_a_missing_data_file_is_named(command: Command, files: Path, option: str) -> None:
    model = {"--csv": "sum.onnx", "--input": "sentiment.onnx", "--npz": "plain.onnx"}[option]
    rest = {"--csv": ("--column", "y"), "--input": (), "--npz": ("--out", "never.npz")}[option]
    message = refused(command, "run", files / model, option, files / "gone", *rest)
    assert message == f"{files / 'gone'}: No such file or directory"


@pytest.mark.parametrize("content", [b"", b"junk \x00", b"PK\x03\x04 not a model", b"hello world, this is text\n" * 20])
def test_a_file_that_is_not_onnx_is_refused(command: Command, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    for arguments in (("info",), ("verify",), ("run", "--values", "1,2")):
        assert "bad.onnx" in refused(command, arguments[0], path, *arguments[1:])


def test_a_truncated_model_is_refused(command: Command, tmp_path: Path) -> None:
    data = sum_model()
    path = tmp_path / "cut.onnx"
    for size in range(1, len(data), 37):
        path.write_bytes(data[:size])
        result = command("run", path, "--values", "5,6")
        assert result.status == 3
        assert result.err.startswith("edgeinfer: error: ")
        assert result.err.count("\n") == 1


def test_metadata_that_is_wrong_is_named(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(sentiment_model(postprocessing={"labels": "positive"}))
    assert f"{path}: classify: labels: expected a list" in refused(command, "run", path, "--text", "good")


@pytest.mark.parametrize(
    ("arrays", "shown"),
    [
        ({"x": np.zeros((1, 3, 3), np.float32)}, "x"),
        ({"x": np.zeros((1, 3, 2), np.complex64)}, "x"),
        ({"z": np.zeros((1, 3, 2), np.float32)}, "z"),
        ({"x": np.full((1, 3, 2), np.nan, np.float32)}, "x"),
    ],
    ids=["shape", "type", "name", "nan"],
)
def test_arrays_that_do_not_fit_are_refused(
    command: Command, files: Path, tmp_path: Path, arrays: dict[str, np.ndarray], shown: str
) -> None:
    np.savez(tmp_path / "in.npz", **arrays)
    out = tmp_path / "out.npz"
    message = refused(command, "run", files / "plain.onnx", "--npz", tmp_path / "in.npz", "--out", out)
    assert f"'{shown}'" in message or f'"{shown}"' in message or f" {shown}" in message
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"junk \x00", b"x,y\n1,2\n", b"PK\x03\x04broken", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_npz_is_refused(command: Command, files: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.npz").write_bytes(content)
    message = refused(command, "run", files / "plain.onnx", "--npz", tmp_path / "in.npz", "--out", tmp_path / "o.npz")
    assert "not an .npz file" in message
    assert "pickle" not in message  # NumPy's own words recommend to load what is unsafe


def test_empty_arrays_are_refused_where_onnxruntime_would_end_the_process(
    command: Command, files: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    np.savez(tmp_path / "in.npz", x=np.zeros((1, 0, 2), np.float32))
    arguments = ("--npz", tmp_path / "in.npz", "--out", tmp_path / "o.npz", "--backend", "onnxruntime")
    message = refused(command, "run", files / "plain.onnx", *arguments)
    assert message == 'input "x": ONNX Runtime takes no empty arrays, got [1, 0, 2]'


def test_pickled_objects_are_never_loaded(command: Command, files: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.array([{"a": 1}], dtype=object))
    message = refused(command, "run", files / "plain.onnx", "--npz", tmp_path / "in.npz", "--out", tmp_path / "o.npz")
    assert "not an .npz file of plain arrays" in message


def test_a_member_that_cannot_be_unpacked_is_refused(command: Command, files: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.zeros((1, 1, 2), np.float32))
    data = bytearray((tmp_path / "in.npz").read_bytes())
    data[data.index(b"PK\x01\x02") + 10] = 99  # a compression that nobody knows
    (tmp_path / "in.npz").write_bytes(data)
    message = refused(command, "run", files / "plain.onnx", "--npz", tmp_path / "in.npz", "--out", tmp_path / "o.npz")
    assert "in.npz: not an .npz file of plain arrays" in message


def test_a_full_disk_under_the_output_is_named(command: Command, files: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.zeros((1, 1, 2), np.float32))
    message = refused(command, "run", files / "plain.onnx", "--npz", tmp_path / "in.npz", "--out", "/dev/full")
    assert "/dev/full: No space left on device" in message


def test_an_empty_file_name_is_one_clear_line(command: Command) -> None:
    assert refused(command, "info", "") == "'': No such file or directory"


def test_an_output_folder_that_is_missing_is_named(command: Command, files: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.zeros((1, 1, 2), np.float32))
    out = tmp_path / "gone" / "out.npz"
    message = refused(command, "run", files / "plain.onnx", "--npz", tmp_path / "in.npz", "--out", out)
    assert "gone" in message and "No such file" in message


def test_a_limit_that_a_file_passes_is_named_with_the_option_that_raises_it(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "many.onnx"
    path.write_bytes(sum_model(provenance={"a": [0] * 100_000}))
    for name in ("info", "verify", "bench", "profile", "run"):
        message = refused(command, name, path, *(("--values", "1") if name == "run" else ()))
        assert message.endswith(
            "the limit is 6291456; load(…, limits=Limits(parsed_bytes=12582912)) raises it; "
            "here: --limit parsed_bytes=12582912"
        )
    for name in ("info", "verify"):
        assert command(name, path, "--limit", "parsed_bytes=12582912").status == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("nods=5", "'nods=5': expected NAME=N with one of file_bytes, metadata_bytes, "),
        ("nodes", "'nodes': expected nodes= and a positive integer"),
        ("nodes=0", "'nodes=0': expected nodes= and a positive integer"),
    ],
)
def test_a_limit_that_is_none_is_a_usage_error(command: Command, files: Path, given: str, expected: str) -> None:
    result = command("info", files / "sum.onnx", "--limit", given)
    assert result.status == 2
    assert f"argument --limit: {expected}" in result.err
