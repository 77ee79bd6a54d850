"""``edgeinfer info``, ``verify`` and ``bench``."""

from __future__ import annotations

import sys
from pathlib import Path

import models
import numpy as np
import onnx
import pytest
from cli_helpers import Command
from onnx import numpy_helper

import edgeinfer
from edgeinfer.backends import available
from edgeinfer.cli.bench import fill
from edgeinfer.cli.samples import random_feeds, random_steps
from edgeinfer.cli.verify import TOLERANCE, largest_difference

GOLDEN_INPUTS = {"x": np.array([[0, 0, 7, 11, 2, 3], [0, 0, 0, 0, 0, 0]], np.int32)}


def with_goldens(path: Path, shift: float = 0.0) -> Path:
    """A sentiment model whose goldens were computed by the reference backend, or are off by ``shift``."""
    y = np.asarray(edgeinfer.load(models.sentiment_model(), backend="reference")(GOLDEN_INPUTS["x"]))
    golden = models.golden("words", GOLDEN_INPUTS, {"y": (y + np.float32(shift)).astype(np.float32)})
    path.write_bytes(models.sentiment_model(goldens=[golden]))
    return path


def test_info_shows_what_is_in_a_file(command: Command, files: Path) -> None:
    result = command("info", files / "demand.onnx", "--backend", "reference")
    assert result.status == 0
    for shown in (
        "forecast, 3 steps ahead",
        "stream: the state is carried from step to step",
        "float32  [batch, time, 3]",
        "gru/initial_h",
        "GRU",
        "reference (NumPy)",
        "reads",
        "3 features per row",
    ):
        assert shown in result.out, shown


def test_info_says_which_instruction_set_answers(command: Command, files: Path) -> None:
    if "native" not in available():
        pytest.skip("no compiled core in this installation")
    model = edgeinfer.load(files / "sum.onnx", backend="native")
    assert f"native ({model.isa})" in command("info", files / "sum.onnx").out


def test_info_says_that_no_compiled_core_is_installed(
    command: Command, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["edgeinfer.backends.choose"], "_has_native", lambda: False)
    out = command("info", files / "sum.onnx", "--log-level", "error").out
    assert "reference (NumPy), since no compiled core is installed" in out


def test_info_of_a_window_model_says_what_a_step_does(command: Command, files: Path) -> None:
    assert "the last 6 inputs from a zero state" in command("info", files / "sentiment.onnx").out


def test_info_as_json_is_what_describe_gives(command: Command, files: Path) -> None:
    about = command("info", files / "plain.onnx", "--json").json
    assert about == edgeinfer.load(files / "plain.onnx").describe()


def test_info_of_a_file_without_metadata(command: Command, files: Path) -> None:
    out = command("info", files / "foreign.onnx").out
    assert "none named" in out and "not said by the file" in out


def test_verify_compares_every_backend_with_the_goldens(command: Command, tmp_path: Path) -> None:
    path = with_goldens(tmp_path / "m.onnx")
    found = command("verify", path, "--json")
    assert found.status == 0
    assert (found.json["against"], found.json["passed"]) == ("goldens", True)
    assert found.json["answers"] == 1 + len(found.json["backends"])
    assert set(found.json["cases"][0]["differences"]) == set(found.json["backends"]) <= set(available())
    assert found.json["largest_difference"] <= TOLERANCE
    shown = command("verify", path)
    assert shown.status == 0 and "passed" in shown.out and "words" in shown.out


def test_verify_fails_where_an_answer_is_off(command: Command, tmp_path: Path) -> None:
    path = with_goldens(tmp_path / "m.onnx", shift=1e-3)
    result = command("verify", path)
    assert result.status == 1
    assert "FAILED: a difference of 1.0e-03 is above the tolerance of 1e-05" in result.out
    assert command("verify", path, "--json").json["passed"] is False


def test_verify_finds_one_flipped_weight(command: Command, tmp_path: Path) -> None:
    path = with_goldens(tmp_path / "m.onnx")
    model = onnx.load(path)
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "rnn/R")
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    onnx.save(model, path)
    assert command("verify", path).status == 1


@pytest.mark.parametrize("outputs", [{}, {"y": np.zeros((0, 1), np.float32)}], ids=["none", "empty"])
def test_verify_does_not_pass_on_goldens_that_hold_no_answer(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outputs: dict[str, np.ndarray]
) -> None:
    monkeypatch.setattr("edgeinfer.cli.verify.available", lambda: ("reference",))
    path = tmp_path / "m.onnx"
    path.write_bytes(models.sum_model(goldens=[models.golden("hollow", {"x": np.zeros((1, 2, 1))}, outputs)]))
    result = command("verify", path)
    assert result.status == 1 and "nothing to compare" in result.out


def test_a_golden_that_does_not_fit_the_model_is_named(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    wrong = models.golden("skewed", {"z": np.zeros((1, 2, 1))}, {"y": np.zeros((1, 1))})
    path.write_bytes(models.sum_model(goldens=[wrong]))
    result = command("verify", path)
    assert result.status == 3
    assert result.err.startswith(f"edgeinfer: error: {path}: case 'skewed': input \"z\"")


def test_info_shortens_what_would_fill_the_screen(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(models.sum_model(provenance={"recipe": "a" * 10_000}))
    assert "a" * 150 in command("info", path).out
    assert "a" * 250 not in command("info", path).out
    assert command("info", path, "--json").json["spec"]["provenance"]["recipe"] == "a" * 10_000


def test_a_window_that_waits_is_full_before_its_steps_are_timed() -> None:
    stream = edgeinfer.load(models.sum_model(window={"length": 600, "start": "wait"})).stream()
    fill(stream, 1.0)
    assert stream.step(1.0) is not None


def test_verify_without_goldens_compares_backends(command: Command, files: Path) -> None:
    found = command("verify", files / "demand.onnx", "--json")
    assert found.json["answers"] == len(found.json["backends"])
    assert found.status == (0 if len(found.json["backends"]) > 1 else 1)


def test_verify_fails_with_nothing_to_compare(
    command: Command, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeinfer.cli.verify.available", lambda: ("reference",))
    result = command("verify", files / "sum.onnx")
    assert result.status == 1
    assert "nothing to compare" in result.out and "native took no part: not installed" in result.out
    assert command("verify", with_goldens(tmp_path / "m.onnx")).status == 0


def test_differences_are_relative_and_never_hidden() -> None:
    one = np.array([100.0, 0.5])
    assert largest_difference({"y": one}, {"y": one + 0.1}) == pytest.approx(0.1)
    assert largest_difference({"y": np.array([100.0])}, {"y": np.array([101.0])}) == pytest.approx(0.01)
    for other in (np.array([100.0, np.nan]), np.array([100.0, np.inf]), np.array([100.0]), None):
        got = {} if other is None else {"y": other}
        assert largest_difference({"y": one}, got) == np.inf
    nothing = np.array([np.nan])
    assert largest_difference({"y": nothing}, {"y": nothing.copy()}) == 0.0


def test_bench_times_steps(command: Command, files: Path) -> None:
    found = command("bench", files / "demand.onnx", "--seconds", "0.1", "--json").json
    (result,) = found["results"]
    quantiles = [result[name] for name in ("min_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns")]
    assert quantiles == sorted(quantiles) and quantiles[0] >= 0
    assert result["steps_per_second"] > 0 and result["steps"] > 0
    assert sum(b["count"] for b in result["histogram"]) * 2 == result["steps"]
    assert (found["mode"], found["window"]) == ("stream", None)


def test_bench_against_another_backend_checks_outputs_first(command: Command, files: Path) -> None:
    arguments = ("--seconds", "0.1", "--backend", "reference", "--against", "native")
    if "native" not in available():
        pytest.skip("no compiled core in this installation")
    found = command("bench", files / "demand.onnx", *arguments, "--json").json
    assert [result["backend"] for result in found["results"]] == ["reference", "native"]
    assert found["equal"] is True and found["largest_difference"] <= TOLERANCE
    assert 0 < found["ratio"] < 1  # the C core took less time than NumPy
    assert "times as slow as native" in command("bench", files / "demand.onnx", *arguments).out


def test_bench_refuses_to_time_different_answers(
    command: Command, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = edgeinfer.load(models.demand_model(name="other"), backend="reference")
    monkeypatch.setattr("edgeinfer.cli.bench._compare", lambda *_: 0.5)
    monkeypatch.setattr("edgeinfer.cli.bench.load_model", lambda *_, **__: other)
    monkeypatch.setattr(type(other), "backend", property(lambda self: "reference" if self is other else "native"))
    result = command("bench", files / "demand.onnx", "--against", "reference", "--seconds", "0.1")
    assert result.status == 1
    assert "FAILED: outputs differ by 5.0e-01" in result.out


def test_bench_against_itself_is_refused(command: Command, files: Path) -> None:
    result = command("bench", files / "sum.onnx", "--backend", "reference", "--against", "reference")
    assert result.status == 3 and "expected another backend" in result.err


def test_bench_of_a_window_model_says_that_it_recomputes(command: Command, files: Path) -> None:
    out = command("bench", files / "sentiment.onnx", "--seconds", "0.1").out
    assert "recomputes the whole window of 6 inputs" in out


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_bench_wants_a_duration(command: Command, files: Path, seconds: str) -> None:
    assert command("bench", files / "sum.onnx", "--seconds", seconds).status == 2


def test_random_inputs_are_the_same_every_time_and_fit_the_model() -> None:
    for data in (models.sentiment_model(), models.plain_model(), models.sum_model()):
        model = edgeinfer.load(data, backend="reference")
        one, other = random_feeds(model), random_feeds(model)
        assert all(np.array_equal(one[name], other[name]) for name in one)
        model.run(None, one)
        stream = model.stream()
        for step in random_steps(model, 8):
            stream.step(step)
