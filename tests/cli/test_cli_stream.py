"""``edgeinfer run --stream``: a line in, an answer out at once, a state that outlives the process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import Command, history

import edgeinfer
from edgeinfer.cli.pipes import MAX_LINE
from edgeinfer.pipeline import Classifier, Forecaster, pipeline

Feed = Callable[[str | bytes], None]
Start = Callable[..., "subprocess.Popen[str]"]
DEMAND = ("--column", "load", "--time", "hour")
# How long a process may take to start or to end before the test gives up on it.
PATIENCE = 30.0


def series_rows(count: int) -> list[tuple[str, float]]:
    """Time and value of the first rows of the history."""
    cells = [line.split(",") for line in history(count).splitlines()[1:]]
    return [(row[1], float(row[-1])) for row in cells]


def forecaster(files: Path, name: str = "demand.onnx") -> Forecaster:
    app = pipeline(files / name)
    assert isinstance(app, Forecaster)
    return app


def ask(process: subprocess.Popen[str], line: str) -> str:
    """Send one line and wait for its answer: fails where it does not come before the next line is sent."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline().rstrip("\n")


def test_every_row_is_answered(command: Command, files: Path, feed: Feed) -> None:
    feed("5\n6\n7\n")
    result = command("run", files / "sum.onnx", "--stream")
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines() == ["waiting", "11.0", "13.0"]


def test_time_and_value_rows_equal_the_pipeline(command: Command, files: Path, feed: Feed) -> None:
    rows = series_rows(9)
    feed("".join(f"{moment},{value}\n" for moment, value in rows))
    lines = command("run", files / "demand.onnx", "--stream").out.splitlines()
    assert lines[:3] == ["waiting"] * 3
    tested = forecaster(files).backtest([value for _, value in rows], [moment for moment, _ in rows])
    assert [[float(cell) for cell in line.split(",")] for line in lines[3:]] == tested.tolist()


def test_a_header_line_says_where_the_columns_are(command: Command, files: Path, feed: Feed) -> None:
    feed(history(9))
    whole = command("run", files / "demand.onnx", "--stream", *DEMAND).out
    feed("".join(f"{moment},{value}\n" for moment, value in series_rows(9)))
    assert command("run", files / "demand.onnx", "--stream").out == whole
    assert len(whole.splitlines()) == 9


def test_objects_go_by_the_names_given(command: Command, files: Path, feed: Feed) -> None:
    rows = series_rows(6)
    feed("".join(json.dumps({"hour": t, "load": v, "else": None}) + "\n" for t, v in rows))
    named = command("run", files / "demand.onnx", "--stream", *DEMAND).out
    feed("".join(json.dumps({"time": t, "value": v}) + "\n" for t, v in rows))
    assert command("run", files / "demand.onnx", "--stream").out == named


def test_json_answers_have_stable_keys(command: Command, files: Path, feed: Feed) -> None:
    feed("".join(f"{moment},{value}\n" for moment, value in series_rows(4)))
    lines = command("run", files / "demand.onnx", "--stream", "--json").out.splitlines()
    answers = [json.loads(line) for line in lines]
    assert [list(answer) for answer in answers] == [["row", "time", "values", "times"]] * 4
    assert [answer["values"] is None for answer in answers] == [True, True, True, False]
    assert answers[3]["row"] == 4
    assert answers[3]["times"][0] == "2024-03-01T04:00:00"


def test_a_shorter_horizon_is_kept_in_a_stream(command: Command, files: Path, feed: Feed) -> None:
    feed("".join(f"{moment},{value}\n" for moment, value in series_rows(4)))
    out = command("run", files / "demand.onnx", "--stream", "--horizon", "2").out
    assert len(out.splitlines()[3].split(",")) == 2


def test_a_recursive_stream_goes_further(command: Command, files: Path, feed: Feed) -> None:
    feed("5\n6\n1\n")
    out = command("run", files / "sum.onnx", "--stream", "--horizon", "3").out
    assert out.splitlines() == ["waiting", "11.0,17.0,28.0", "7.0,8.0,15.0"]


def test_a_recursive_stream_that_outgrows_float32_names_the_step(command: Command, files: Path, feed: Feed) -> None:
    feed("5\n6\n")
    result = command("run", files / "sum.onnx", "--stream", "--horizon", "1000")
    assert result.status == 3
    assert "row 2: forecast: horizon: step " in result.err and "beyond the range of float32" in result.err


def test_an_answer_beyond_float32_is_null_in_json(command: Command, files: Path, feed: Feed) -> None:
    feed("3e38\n3e38\n")
    result = command("run", files / "sum.onnx", "--stream", "--json")
    assert '"values": [null]' in result.out.splitlines()[1]


def test_a_longer_horizon_is_refused_before_the_first_row(command: Command, files: Path, feed: Feed) -> None:
    feed("")
    result = command("run", files / "demand.onnx", "--stream", "--horizon", "4")
    assert result.status == 3 and "expected at most 3" in result.err


def test_words_are_labelled_as_they_come(command: Command, files: Path, feed: Feed) -> None:
    feed('a good\nfilm\n\n{"text": "but awful, awful awful"}\n')
    lines = command("run", files / "sentiment.onnx", "--stream").out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["positive", "positive", "negative"]
    app = pipeline(files / "sentiment.onnx")
    assert isinstance(app, Classifier)
    assert lines[1] == f"positive\t{app('a good film').score:.6g}"


def test_next_words_come_as_they_are_typed(command: Command, files: Path, feed: Feed) -> None:
    feed("i\nlove\n")
    found = command("run", files / "next_word.onnx", "--stream", "--top", "2", "--json").out
    last = json.loads(found.splitlines()[1])
    whole = command("run", files / "next_word.onnx", "--text", "i love", "--top", "2", "--json").json
    assert last["candidates"] == whole["candidates"]


@pytest.mark.parametrize("form", ["{0},{1}", "[{0}, {1}]", '{{"x": [{0}, {1}]}}'])
def test_a_model_without_a_task_takes_and_gives_numbers(command: Command, files: Path, feed: Feed, form: str) -> None:
    x = np.random.default_rng(2).normal(size=(5, 2)).astype(np.float32)
    feed("".join(form.format(*map(float, row)) + "\n" for row in x))
    lines = command("run", files / "plain.onnx", "--stream").out.splitlines()
    expected = edgeinfer.load(files / "plain.onnx").stream().run(x)
    assert np.array_equal(np.array([line.split(",") for line in lines], np.float32), expected)
    feed("0.5,1\n")
    answer = json.loads(command("run", files / "plain.onnx", "--stream", "--json").out)
    assert list(answer) == ["row", "outputs"] and len(answer["outputs"]["y"]) == 2


def test_a_file_that_does_not_say_how_it_steps_asks_for_the_mode(command: Command, files: Path, feed: Feed) -> None:
    feed("1,2\n3,4\n")
    result = command("run", files / "foreign.onnx", "--stream")
    assert result.status == 3 and "--mode" in result.err
    result = command("run", files / "foreign.onnx", "--stream", "--mode", "window", "--window", "2")
    assert result.status == 0 and len(result.out.splitlines()) == 2
    assert command("run", files / "foreign.onnx", "--stream", "--mode", "stream").status == 0


@pytest.mark.parametrize(
    ("model", "options", "lines", "message"),
    [
        ("sum", (), ["5", "x"], "row 2: value: expected a finite number, got 'x'"),
        ("sum", (), ["5", "nan"], "row 2: value: expected a finite number, got 'nan'"),
        ("sum", (), ["5", "1,2,3"], "row 2: expected value or time,value, got 3 cells"),
        ("sum", (), ["5", '{"v": 1}'], "row 2: no field 'value'; there are: v"),
        ("sum", (), ["5", '{"value": "6"}'], "row 2: field 'value': expected a finite number, got '6'"),
        ("sum", (), ["5", '{"value": 6'], "row 2: not JSON"),
        ("sum", (), ["5", '{"value": NaN}'], "row 2: field 'value': expected a finite number, got nan"),
        ("sum", (), ["value", "5"], "row 1: value: expected a finite number, got 'value'; a header needs --column"),
        ("sum", ("--column", "load"), ["time,power"], "row 1: the header: no column 'load'; there are: time, power"),
        ("demand", (), ["5"], "row 1: times: expected the time of every row"),
        ("demand", (), ["2024-03-01 00:00,5", "2024-03-01 02:00,5"], "row 2: expected a time 3600 s after"),
        ("demand", (), ["noon,5"], "row 1: expected a time such as"),
        ("demand", DEMAND, ["hour,load", "2024-03-01 00:00"], "row 2: expected 2 cells, got 1"),
        ("plain", (), ["1,2", "1"], "row 2: input 'x': expected 2 numbers, got 1"),
        ("plain", (), ["1,2", '{"z": [1, 2]}'], "row 2: expected the inputs x, got z"),
        ("plain", (), ["1,2", "[1, null]"], "row 2: input 'x': expected a finite number, got None"),
        ("sentiment", (), ['{"words": "good"}'], "row 1: field 'text': expected a string, got None"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named(
    command: Command,
    files: Path,
    feed: Feed,
    model: str,
    options: tuple[str, ...],
    lines: list[str],
    message: str,
) -> None:
    feed("\n".join(lines) + "\n")
    result = command("run", files / f"{model}.onnx", "--stream", *options)
    assert result.status == 3
    assert result.err.startswith("edgeinfer: error: " + message)
    assert result.err.count("\n") == 1


def test_a_line_that_is_not_text_is_named(command: Command, files: Path, feed: Feed) -> None:
    feed(b"5\n\xff\xfe\n")
    result = command("run", files / "sum.onnx", "--stream")
    assert result.status == 3 and "row 2: not UTF-8 text" in result.err


def test_a_line_without_end_is_refused_before_it_fills_memory(command: Command, files: Path, feed: Feed) -> None:
    feed("5\n" + "1" * (MAX_LINE + 100_000))
    result = command("run", files / "sum.onnx", "--stream")
    assert result.status == 3 and f"row 2: expected a line of at most {MAX_LINE} bytes" in result.err


def test_a_state_file_continues_where_the_last_run_ended(
    command: Command, files: Path, feed: Feed, tmp_path: Path
) -> None:
    rows = [f"{moment},{value}\n" for moment, value in series_rows(12)]
    feed("".join(rows))
    whole = command("run", files / "demand.onnx", "--stream").out
    parts = []
    for part in (rows[:2], rows[2:7], [], rows[7:]):
        feed("".join(part))
        result = command("run", files / "demand.onnx", "--stream", "--state", tmp_path / "state")
        assert result.status == 0
        parts.append(result.out)
    assert "".join(parts) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state", "stdin"]


@pytest.mark.parametrize(
    ("model", "lines"),
    [("sum", "5\n6\n7\n8\n"), ("plain", "1,2\n3,4\n5,6\n7,8\n"), ("sentiment", "good\nfilm\nbad\nawful\n")],
)
def test_every_kind_of_stream_keeps_its_state(
    command: Command, files: Path, feed: Feed, tmp_path: Path, model: str, lines: str
) -> None:
    feed(lines)
    whole = command("run", files / f"{model}.onnx", "--stream").out
    parts = []
    for line in lines.splitlines():
        feed(line)
        parts.append(command("run", files / f"{model}.onnx", "--stream", "--state", tmp_path / "state").out)
    assert "".join(parts) == whole


def test_a_bad_row_saves_the_state_of_the_last_good_one(
    command: Command, files: Path, feed: Feed, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    feed("5\n6\nbad\n9\n")
    assert command("run", files / "sum.onnx", "--stream", "--state", state).status == 3
    feed("7\n")
    assert command("run", files / "sum.onnx", "--stream", "--state", state).out == "13.0\n"


@pytest.mark.parametrize("damage", ["model", "corrupt", "foreign", "empty"])
def test_a_state_that_does_not_fit_is_refused_and_left_as_it_was(
    command: Command, files: Path, feed: Feed, tmp_path: Path, damage: str
) -> None:
    state = tmp_path / "state"
    feed("1,2\n")
    command("run", files / "plain.onnx", "--stream", "--state", state)
    if damage == "corrupt":
        data = bytearray(state.read_bytes())
        data[-9] ^= 1
        state.write_bytes(data)
    elif damage == "foreign":
        state.write_text("what is this?")
    elif damage == "empty":
        state.write_bytes(b"")
    before = state.read_bytes()
    feed("1,2\n")
    model = "sum.onnx" if damage == "model" else "plain.onnx"
    result = command("run", files / model, "--stream", "--state", state)
    assert result.status == 3
    assert result.err.startswith(f"edgeinfer: error: {state}: ")
    assert result.out == ""
    assert state.read_bytes() == before


def test_a_state_cut_off_in_its_head_is_called_corrupt(
    command: Command, files: Path, feed: Feed, tmp_path: Path
) -> None:
    (tmp_path / "state").write_bytes(b"EISN\x01\x00")
    feed("5\n")
    result = command("run", files / "sum.onnx", "--stream", "--state", tmp_path / "state")
    assert result.status == 3 and "the snapshot is corrupt: it ends after 6 bytes" in result.err


def test_a_state_that_cannot_be_written_is_known_at_once(
    command: Command, files: Path, feed: Feed, tmp_path: Path
) -> None:
    feed("5\n6\n")
    result = command("run", files / "sum.onnx", "--stream", "--state", tmp_path / "gone" / "state")
    assert (result.status, result.out) == (3, "")
    assert result.err == f"edgeinfer: error: {tmp_path / 'gone' / 'state'}: No such file or directory\n"


def test_a_state_that_is_a_link_to_itself_is_one_line(
    command: Command, files: Path, feed: Feed, tmp_path: Path
) -> None:
    (tmp_path / "state").symlink_to("state")
    feed("5\n")
    result = command("run", files / "sum.onnx", "--stream", "--state", tmp_path / "state")
    assert (result.status, result.out) == (3, "") and "symbolic links" in result.err


def test_each_answer_comes_before_the_next_row_is_sent(files: Path, start: Start) -> None:
    process = start("run", files / "sum.onnx", "--stream")
    assert [ask(process, str(value)) for value in (5, 6, 7)] == ["waiting", "11.0", "13.0"]
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_saves_the_state(
    files: Path, start: Start, tmp_path: Path, signum: signal.Signals, status: int
) -> None:
    state = tmp_path / "state"
    process = start("run", files / "sum.onnx", "--stream", "--state", state)
    assert ask(process, "5") == "waiting"
    assert ask(process, "6") == "11.0"
    process.send_signal(signum)
    assert process.wait(PATIENCE) == status
    assert process.stderr is not None and process.stderr.read() == ""
    again = start("run", files / "sum.onnx", "--stream", "--state", state)
    assert ask(again, "7") == "13.0"


def test_a_signal_ends_a_stream_whose_reader_sleeps(files: Path, start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    source = tmp_path / "rows"
    source.write_text("5\n6\n" + "1\n" * 200_000)
    with source.open() as rows:
        process = start("run", files / "sum.onnx", "--stream", "--state", state, stdin=rows)
        assert process.stdout is not None and process.stdout.readline() == "waiting\n"
        time.sleep(1.0)  # the pipe fills, and the process waits for its reader
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    stream = forecaster(files, "sum.onnx").stream()
    stream.restore(state.read_bytes())
    assert 3 < stream.count < 200_002


def test_a_signal_without_state_ends_the_process_as_usual(files: Path, start: Start) -> None:
    process = start("run", files / "sum.onnx", "--stream")
    ask(process, "5")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == -signal.SIGTERM
    process = start("run", files / "sum.onnx", "--stream")
    ask(process, "5")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert process.stderr is not None and process.stderr.read() == ""


def test_a_reader_that_leaves_is_no_error_and_the_state_is_saved(files: Path, start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = start("run", files / "sum.onnx", "--stream", "--state", state)
    ask(process, "5")
    assert process.stdout is not None and process.stdin is not None and process.stderr is not None
    process.stdout.close()
    process.stdin.write("6\n")
    process.stdin.flush()
    assert process.wait(PATIENCE) == 0
    assert process.stderr.read() == ""
    stream = forecaster(files, "sum.onnx").stream()
    stream.restore(state.read_bytes())
    assert stream.count == 2


def test_a_second_process_on_a_state_file_is_refused_and_the_first_goes_on(
    files: Path, start: Start, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    (tmp_path / "link").symlink_to("state")
    first = start("run", files / "sum.onnx", "--stream", "--state", state)
    assert ask(first, "5") == "waiting"
    for name in (state, tmp_path / "link"):
        second = start("run", files / "sum.onnx", "--stream", "--state", name)
        out, err = second.communicate("1\n2\n", PATIENCE)
        assert (second.returncode, out) == (3, "")
        assert err == (
            f"edgeinfer: error: {name}: another process keeps its state in this file; "
            "end it first, or give each a file of its own\n"
        )
    assert ask(first, "6") == "11.0"
    first.send_signal(signal.SIGKILL)
    first.wait(PATIENCE)
    assert (tmp_path / ".state.lock").exists()
    (tmp_path / ".state.0a1b2c3d.tmp").write_bytes(b"half of a")
    (tmp_path / ".state.d.tmp").write_bytes(b"of somebody else")
    third = start("run", files / "sum.onnx", "--stream", "--state", state)
    assert third.communicate("5\n6\n", PATIENCE) == ("waiting\n11.0\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".state.d.tmp", "link", "state"]


def test_a_state_file_is_held_by_one_of_many_that_start_at_once(files: Path, start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    processes = [start("run", files / "sum.onnx", "--stream", "--state", state) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("5\n")
        process.stdin.flush()
    answers = [process.stdout.readline() for process in processes if process.stdout is not None]
    assert sorted(answers) == ["", "", "", "waiting\n"]
    for process in processes:
        process.communicate(timeout=PATIENCE)
    assert sorted(process.returncode for process in processes) == [0, 3, 3, 3]


def test_a_signal_at_the_start_is_answered_as_one_later(files: Path, start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = start("run", files / "sum.onnx", "--stream", "--state", state)
    while not (tmp_path / ".state.lock").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    forecaster(files, "sum.onnx").stream().restore(state.read_bytes())
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_killed_process_leaves_a_whole_state_file(files: Path, start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = start("run", files / "sum.onnx", "--stream", "--state", state)
    ask(process, "5")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)
    forecaster(files, "sum.onnx").stream().restore(state.read_bytes())
