"""The benchmark: real runs of what is installed here, and what becomes of those that are wrong, missing or dead."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bench import footprint, models, tables
from bench.cases import TOLERANCE, Case, all_cases
from bench.command import main
from bench.contenders import CONTENDERS
from bench.runner import Options, Process, WorkerDiedError, run_cases

ROOT = Path(__file__).parents[2]
# float32 beside float64 over 100 steps of a tanh network, the worst conditioned of them.
FLOAT32 = 2e-6
CASES = ("lstm-1-16", "gru-1-16", "rnn-1-16", "lstm-8-64x2", "window-24", "sentiment", "pool-64")
STEPS = ("edgeinfer", "edgeinfer fresh", "edgeinfer out=", "onnxruntime run", "onnxruntime io-binding", "numpy")
POOLS = ("edgeinfer pool", "edgeinfer streams", "onnxruntime run", "onnxruntime io-binding", "numpy")
SEQUENCES = ("edgeinfer sequence", "onnxruntime run", "onnxruntime io-binding", "numpy")


def case(name: str) -> Case:
    return next(c for c in all_cases() if c.name == name)


def options(folder: Path, **changes: Any) -> Options:
    given = {"python": sys.executable, "core": None, "rounds": 2, "seconds": 0.002, "limit": 100}
    return Options(folder=folder, **{**given, **changes})


def arguments(folder: Path, cases: Sequence[str], contenders: Sequence[str], *more: str) -> list[str]:
    given = ["--quick", "--seconds", "0.002", "--no-footprint", "--folder", str(folder)]
    given += ["--out", str(folder / "results.json"), "--write", str(folder / "page.md")]
    for name in cases:
        given += ["--case", name]
    for name in contenders:
        given += ["--contender", name]
    return [*given, *more]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few small cases by what this installation has."""
    path = tmp_path_factory.mktemp("bench")
    assert main(arguments(path, CASES, ("edgeinfer", "onnxruntime", "numpy"))) == 0
    return path


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    data = json.loads((folder / "results.json").read_text("utf-8"))
    return {"data": data, **{r["case"]["name"]: r["entries"] for r in data["results"]}}


@pytest.mark.parametrize("name", CASES)
def test_contenders_agree_with_float64_and_are_timed(results: dict[str, Any], name: str) -> None:
    entries = results[name]
    for contender in {"step": STEPS, "sequence": SEQUENCES, "pool": POOLS}[case(name).kind]:
        entry = entries[contender]
        assert entry["status"] == "ok", (contender, entry)
        assert entry["error"] <= FLOAT32
        assert len(entry["loops"]) == 3 and all(ns > 0 for ns in entry["loops"])
        timing = entry["timing"]
        quantiles = [timing[q] for q in ("min_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns")]
        assert quantiles == sorted(quantiles)


def test_small_weights_are_timed_beside_float32(tmp_path: Path) -> None:
    names = [
        "edgeinfer",
        "edgeinfer int8 exact",
        "edgeinfer int8 fast",
        "edgeinfer float16",
        "onnxruntime run",
        "onnxruntime quantize_dynamic",
    ]
    small = case("small-1-32")
    models.prepare([small], tmp_path, lambda _: None)
    names += ["onnxruntime DequantizeLinear", "onnxruntime quantize_dynamic"]
    (result,) = run_cases([small], names, options(tmp_path), lambda _: None)
    entries = result["entries"]
    assert {name: entry["status"] for name, entry in entries.items()} == dict.fromkeys(entries, "ok")
    errors = {name: entry["error"] for name, entry in entries.items()}
    assert errors["edgeinfer"] <= FLOAT32 < errors["edgeinfer float16"] < errors["edgeinfer int8 exact"]
    # the same file in the same arithmetic
    assert errors["edgeinfer int8 exact"] == pytest.approx(errors["onnxruntime DequantizeLinear"], abs=FLOAT32)
    assert errors["onnxruntime quantize_dynamic"] <= TOLERANCE["small"]


def test_the_results_say_where_and_with_what(results: dict[str, Any]) -> None:
    about = results["data"]["environment"]
    assert all(about[key] for key in ("commit", "date", "cpu", "python", "compiler", "system"))
    assert results["data"]["libraries"]["edgeinfer"]["isa"] in ("generic", "avx2", "avx512", "neon")
    assert "bench --quick" in results["data"]["command"]


def test_the_page_is_a_function_of_the_results(
    folder: Path, results: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    page = (folder / "page.md").read_text("utf-8")
    assert main(["--from", str(folder / "results.json")]) == 0
    assert capsys.readouterr().out == page == tables.document(results["data"])
    assert "LSTM(8, 64)" in page and "sentiment model, 100 tokens" in page and "| edgeinfer | 1.00 |" in page


def test_the_readme_gets_the_table_between_its_marks(folder: Path, results: dict[str, Any]) -> None:
    page = folder / "README.md"
    page.write_text("# A\n\n<!-- what `make bench` found -->\nold\n<!-- end -->\n\nrest\n", "utf-8")
    given = ["--from", str(folder / "results.json"), "--readme", str(page), "--write", str(folder / "again.md")]
    for _ in range(2):  # again over its own table
        assert main(given) == 0
        text = page.read_text("utf-8")
        assert text.startswith("# A\n\n<!-- what `make bench` found -->\n| input, hidden | 1,16 |\n")
        assert text.endswith("<!-- end -->\n\nrest\n") and "old" not in text and text.count("| edgeinfer |") == 1
    assert results["data"]["environment"]["commit"] in text and "8,64 x2" not in text
    assert (folder / "again.md").read_bytes() == (folder / "page.md").read_bytes()


def test_a_page_without_the_marks_is_refused(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("# A\n", "utf-8")
    with pytest.raises(SystemExit, match="--readme: expected the marks"):
        main(["--from", str(folder / "results.json"), "--readme", str(page)])
    assert page.read_text("utf-8") == "# A\n"


def test_every_table_of_times_has_its_context_above(results: dict[str, Any]) -> None:
    lines = tables.document(results["data"]).splitlines()
    headers = [i for i, line in enumerate(lines) if line.startswith("| --- | ---:")]
    assert len(headers) > len(CASES)
    commit = results["data"]["environment"]["commit"]
    assert all(lines[i - 3].startswith(f"<sub>{commit} · ") for i in headers)


def test_who_disagrees_is_named_and_not_timed(folder: Path, tmp_path: Path) -> None:
    models.prepare([case("lstm-1-16")], tmp_path, lambda _: None)
    path = tmp_path / "lstm-1-16.onnx"
    model = onnx.load(path)
    (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == "R0")
    turned = numpy_helper.to_array(weights).copy()
    turned[0, 3] *= -1
    weights.CopyFrom(numpy_helper.from_array(turned, weights.name))
    onnx.save(model, path)
    said: list[str] = []
    (result,) = run_cases(
        [case("lstm-1-16")], ["edgeinfer", "onnxruntime run", "numpy"], options(tmp_path), said.append
    )
    statuses = {name: entry["status"] for name, entry in result["entries"].items()}
    # NumPy reads the weights, the others the file that was changed
    assert statuses == {"edgeinfer": "wrong", "onnxruntime run": "wrong", "numpy": "ok"}
    wrong = result["entries"]["edgeinfer"]
    assert wrong["error"] > TOLERANCE["step"] and not {"loops", "timing"} & set(wrong)
    assert "edgeinfer: its outputs differ from float64 by" in said[0]
    data = json.loads((folder / "results.json").read_text("utf-8")) | {"results": [result]}
    page = tables.document(data)
    assert "- lstm-1-16, edgeinfer: its outputs differ from float64 by" in page
    assert "| edgeinfer |" not in page.split("## One step")[1].split("## Not timed")[0]


def test_what_is_not_installed_is_skipped_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent = [name for name in ("tract", "openvino", "torch") if importlib.util.find_spec(name) is None]
    if not absent:
        pytest.skip("everything is installed here")
    assert main(arguments(tmp_path, ["rnn-1-16"], [absent[0], "numpy"])) == 0
    assert f"skipped: {absent[0]}, which is not installed" in capsys.readouterr().err
    assert f"Not installed, and so skipped: {absent[0]}." in (tmp_path / "page.md").read_text("utf-8")


def test_a_model_that_nobody_converted_is_missing_not_wrong(tmp_path: Path) -> None:
    models.prepare([case("small-1-32")], tmp_path, lambda _: None)
    (tmp_path / "lstm-1-32.dynamic.onnx").unlink()
    names = ["onnxruntime quantize_dynamic"]
    (result,) = run_cases([case("small-1-32")], names, options(tmp_path), lambda _: None)
    assert result["entries"][names[0]] == {"status": "missing", "why": "no lstm-1-32.dynamic.onnx"}


def test_a_killed_process_is_told_apart_from_a_slow_one(tmp_path: Path) -> None:
    process = Process("numpy", sys.executable, "-", tmp_path / "log")
    try:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(WorkerDiedError, match=r"its process was ended by signal 9 \(SIGKILL\)"):
            process.ask("round")
    finally:
        process.end()


def test_who_dies_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    models.prepare([case("rnn-1-16")], tmp_path, lambda _: None)
    # an interpreter that ends edgeinfer's process as the system does when memory is short
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$3" = edgeinfer ] && kill -9 $$\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    chosen = options(tmp_path, python=str(python))
    (result,) = run_cases([case("rnn-1-16")], ["edgeinfer", "numpy"], chosen, lambda _: None)
    assert result["entries"]["edgeinfer"] == {
        "status": "died",
        "why": "its process was ended by signal 9 (SIGKILL)",
    }
    assert result["entries"]["numpy"]["status"] == "ok"


def test_a_process_that_ends_says_where_its_words_are(tmp_path: Path) -> None:
    process = Process("no such contender", sys.executable, "-", tmp_path / "log")
    try:
        with pytest.raises(WorkerDiedError, match=f"its process ended with status 1, see {tmp_path / 'log'}"):
            process.ask("round")
    finally:
        process.end()
    assert "no such contender" in (tmp_path / "log").read_text()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_an_interrupt_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "bench", *arguments(tmp_path, ["lstm-1-*"], ["edgeinfer", "numpy"])]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "BENCH_TEST": mark}
    ) as run:
        assert run.stderr is not None
        while not run.stderr.readline().startswith("[1/"):
            assert run.poll() is None
        assert len(marked(mark)) > 1
        run.send_signal(signal.SIGINT)
        words = run.stderr.read()
    assert run.returncode == 130 and words.endswith("stopped; nothing was written\n")
    assert not (tmp_path / "results.json").exists() and not (tmp_path / "page.md").exists()
    deadline = time.monotonic() + 5
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marked(mark) == []


def marked(mark: str) -> list[str]:
    """Processes with the mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_what_a_library_costs_before_its_first_answer(tmp_path: Path) -> None:
    models.prepare([case(footprint.CASE)], tmp_path, lambda _: None)
    names = ["edgeinfer", "onnxruntime run", "numpy"]
    chosen = options(tmp_path, rounds=1)
    found = footprint.measure(names, chosen, lambda _: None)
    assert set(found["libraries"]) == set(names)
    assert found["libraries"]["onnxruntime run"]["import_ms"] > found["libraries"]["numpy"]["import_ms"]
    resident = {name: about["resident"] for name, about in found["libraries"].items()}
    assert 0 < resident["edgeinfer"] < resident["onnxruntime run"]
    assert set(found["bundled"]) == set(footprint.BUNDLED)
    assert all(set(by_name) == {"edgeinfer", "onnxruntime run"} for by_name in found["bundled"].values())
    sizes = {name: about["installed"] for name, about in footprint.about_libraries(names, chosen).items()}
    assert sizes["numpy"] == 0 < sizes["edgeinfer"] < sizes["onnxruntime run"]


def test_the_models_are_the_same_every_time(tmp_path: Path) -> None:
    chosen = [case("gru-1-16")]
    models.prepare(chosen, tmp_path, lambda _: None)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    models.prepare(chosen, tmp_path, lambda _: None)
    # left alone where they are so already: a conversion stays newer than what it was made of
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


def test_small_models_keep_their_answers_apart_by_case() -> None:
    names = [c.name for c in all_cases()]
    assert len(set(names)) == len(names)
    assert case("small-8-64").model == case("pool-64").model == case("lstm-8-64").model
    assert case("window-24").model == "window-24"


def test_answers_come_from_the_formulas_of_the_operators() -> None:
    small = Case("lstm-1-1", "step", "lstm", 1, 1)
    one = np.ones((4, 1), np.float32)
    weights = {"W0": one, "R0": 0 * one, "B0": np.zeros(8, np.float32), "kernel": one[:1], "bias": one[0]}
    y = models.answers(small, weights, np.ones((1, 1), np.float32))
    sigmoid = 1 / (1 + np.exp(-1.0))
    assert y[0, 0] == pytest.approx(sigmoid * np.tanh(sigmoid * np.tanh(1.0)) + 1, abs=1e-15)


def test_names_that_nobody_has_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--case", "lstm-9-9"])
    assert "no case, or no contender, has such a name; --list shows them" in capsys.readouterr().err


def test_the_list_names_every_case_and_contender(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(c.name in out for c in all_cases()) and all(name in out for name in CONTENDERS)


def test_the_conversions_for_litert_answer_as_float64_does(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="converts the models")
    chosen = [case(name) for name in ("gru-1-16", "rnn-1-16", "lstm-8-64x2", "window-24")]
    models.prepare(chosen, tmp_path, lambda _: None)
    command = [sys.executable, "-m", "bench.tflite", str(tmp_path)]
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        converted = [line for line in done.stderr.splitlines() if line.startswith("converting")]
        assert len(converted) in (7, 0)
    assert not converted  # the second time, nothing was older than its weights
    # the interpreter that TensorFlow has, in a process of its own, since it warns of leaving
    script = (
        "import sys, types, tensorflow as tf\n"
        "sys.modules['ai_edge_litert'] = types.ModuleType('ai_edge_litert')\n"
        "sys.modules['ai_edge_litert.interpreter'] = tf.lite\n"
        "import numpy as np, pathlib\n"
        "from bench.cases import all_cases\n"
        "from bench.contenders import CONTENDERS\n"
        "from bench.worker import largest_error\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for contender in CONTENDERS.values():\n"
        "    for case in all_cases():\n"
        "        if contender.name.startswith('litert') and contender.takes(case) and case.name in sys.argv[2:]:\n"
        "            stored = np.load(folder / f'{case.name}.case.npz')\n"
        "            job = contender.open(case, folder)\n"
        "            print(case.name, largest_error(job, stored['xs'][:100], stored['ys'][:100])[0])\n"
    )
    given = [sys.executable, "-c", script, str(tmp_path), *(c.name for c in chosen)]
    done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True)
    errors = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert len(errors) == 7 and max(errors) <= FLOAT32, done.stdout + done.stderr


def test_the_converter_says_how_it_is_called() -> None:
    done = subprocess.run([sys.executable, "-m", "bench.tflite"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "python -m bench.tflite FOLDER" in done.stderr
