"""The documents say what is so: their snippets run, their commands print what stands below them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeinfer.graph.ops import every_operator
from edgeinfer.plan.kernels import KERNELS

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "edgeinfer" / "models"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def sessions() -> list[tuple[str, str, str]]:
    """(document, command, expected output) of every console block."""
    found = []
    for document in DOCUMENTS:
        for block in blocks(document, "console"):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                found.append((document.name, command, output))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the bundled models and samples in it."""
    for file in MODELS.iterdir():
        if file.is_file() and file.suffix != ".py":
            shutil.copy(file, tmp_path)
    return tmp_path


def matches(expected: str, got: str) -> bool:
    """Whether the output is the expected one; … stands for anything."""
    pattern = ".*".join(re.escape(piece) for piece in expected.strip().split("…"))
    return re.fullmatch(pattern, got.strip(), re.DOTALL) is not None


@pytest.mark.parametrize(("document", "command", "expected"), sessions())
def test_a_command_in_the_documents_prints_what_stands_below_it(
    document: str, command: str, expected: str, folder: Path
) -> None:
    edgeinfer_command = f"{shlex.quote(sys.executable)} -m edgeinfer"
    script = re.sub(r"\bedgeinfer (?=\w)", f"{edgeinfer_command} ", command)
    result = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, env={**os.environ}
    )
    assert matches(expected, result.stdout + result.stderr), result.stdout + result.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_python_snippets_run(
    document: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    for snippet in blocks(document, "python"):
        exec(compile(snippet, str(document), "exec"), {})
    if document.name == "README.md":
        assert capsys.readouterr().out.strip() == "positive"


def test_the_readme_opens_with_the_two_commands_and_a_short_snippet() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert text.index("make demo") < text.index("make test") < text.index("```python")
    lines = [line for line in blocks(ROOT / "README.md", "python")[0].splitlines() if line.strip()]
    assert len(lines) <= 10


def test_the_readmes_figures_stand_in_the_page_that_the_benchmark_writes() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text("utf-8").split("### LSTM")[1]
    readme = (ROOT / "README.md").read_text("utf-8")
    block = readme.partition("<!-- what `make bench` found -->")[2].partition("<!-- end -->")[0]
    rows = dict(re.findall(r"^\| ([a-z][\w -]*) \| (.*) \|$", block, re.MULTILINE))
    assert {"edgeinfer", "onnxruntime run", "litert fed back"} <= set(rows)
    for name, cells in rows.items():
        shown = re.search(rf"^\| {re.escape(name)} \| (.*) \|$", page, re.MULTILINE)
        assert shown is not None, name
        times = [cell.partition(" (")[0] for cell in shown.group(1).split(" | ")]
        assert cells.split(" | ") == times[: cells.count("|") + 1]  # the page has the stacked layers in a column more


def test_every_operator_is_documented_where_it_runs() -> None:
    rows = re.findall(r"^\| (\w+) \| (\w+) \|", (ROOT / "docs" / "operators.md").read_text("utf-8"), re.MULTILINE)
    documented = {name: place for name, place in rows if name != "operator"}
    products = {"MatMul", "Gemm"}
    expected = {
        name: "view" if op.view else "C" if name in KERNELS or name in products else "NumPy"
        for name, op in every_operator().items()
    }
    assert documented == expected


def test_relative_links_lead_somewhere() -> None:
    for document in [*DOCUMENTS, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
