"""What importing edgeinfer does, and what it offers."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgeinfer
from edgeinfer import errors

DEMAND = Path(edgeinfer.__file__).parent / "models" / "demand.onnx"
# Measured: 3.1 MB, of which the weights are 0.1.
MEMORY_KB = 6 * 1024
# Measured: 8.9 and 4.4 ms where numpy takes 50; with dataclasses, logging and OpenSSL it was 38 and 7.4.
IMPORT_SHARE = 0.45
LOAD_SHARE = 0.16

PROBE = """
import json, os, sys, threading, warnings
{first}
before = dict(os.environ)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import edgeinfer
    {then}
import logging
print(json.dumps({{
    "modules": sorted(sys.modules),
    "threads": threading.active_count(),
    "warnings": [str(w.message) for w in caught],
    "environment": dict(os.environ) == before,
    "handlers": [type(h).__name__ for h in logging.getLogger("edgeinfer").handlers],
    "root": len(logging.getLogger().handlers),
}}))
"""
HEAVY = {
    "tensorflow",
    "keras",
    "onnx",
    "onnxruntime",
    "tf2onnx",
    "sklearn",
    "google",
    "edgeinfer_train",
    "edgeinfer_export",
}


def probe(then: str = "pass", first: str = "pass") -> dict[str, object]:
    code = PROBE.format(then=then, first=first)
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr == ""
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_importing_loads_nothing_heavy_and_changes_nothing() -> None:
    found = probe()
    assert not HEAVY & {name.split(".")[0] for name in found["modules"]}  # type: ignore[attr-defined]
    assert found["threads"] == 1
    assert found["warnings"] == []
    assert found["environment"]
    assert found["handlers"] == []
    assert found["root"] == 0


def test_loading_and_running_a_model_loads_nothing_heavy(tmp_path) -> None:
    from graphs import recurrent_model

    path = tmp_path / "m.onnx"
    path.write_bytes(recurrent_model())
    found = probe(f"edgeinfer.load({str(path)!r}).stream().step([1.0, 2.0, 3.0])")
    assert not HEAVY & {name.split(".")[0] for name in found["modules"]}  # type: ignore[attr-defined]
    assert found["threads"] == 1


def test_a_warning_is_silent_unless_the_application_listens() -> None:
    without_core = "import sys; sys.modules['edgeinfer.kernels.native'] = None"
    load = f"edgeinfer.load({str(DEMAND)!r})"
    found = probe(load, first=without_core)  # the probe asserts that nothing went to stderr
    assert found["handlers"] == ["NullHandler"]
    listening = f"import logging; logging.basicConfig(stream=sys.stdout, format='%(message)s'); {load}; print()"
    code = f"import sys; {without_core}; import edgeinfer; {listening}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "the NumPy reference backend answers" in result.stdout


def test_importing_loads_little_besides_numpy() -> None:
    code = (
        "import sys, numpy; before = set(sys.modules); import edgeinfer; print(*sorted(set(sys.modules) - before))\n"
        f"edgeinfer.load({str(DEMAND)!r}).stream().step([0.0] * 24); print(*sorted(set(sys.modules) - before))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new, loaded = (line.split() for line in result.stdout.splitlines())
    others = [name for name in new if not name.startswith("edgeinfer")]
    # each of these costs 0.5 to 3 ms or some MB, and a program that steps through a model needs none
    late = {"base64", "dataclasses", "hashlib", "_hashlib", "logging", "pathlib", "random", "secrets", "urllib.parse"}
    assert not late & {*others, *loaded}
    assert not {name for name in new if name.startswith(("edgeinfer.cli", "edgeinfer.pipeline."))}
    assert len(others) <= 20, others


@pytest.mark.parametrize("first", ["edgeinfer.pipeline", "edgeinfer.pipeline.text", "edgeinfer.pipeline.forecaster"])
def test_pipeline_is_the_function_and_the_package_in_any_order(first: str) -> None:
    code = (
        f"import {first}, edgeinfer\n"
        f"assert type(edgeinfer.pipeline({str(DEMAND)!r})).__name__ == 'Forecaster'\n"
        "from edgeinfer.pipeline import Forecaster, Pipeline, pipeline\n"
        "assert pipeline is edgeinfer.pipeline and Forecaster in Pipeline.__args__\n"
        "import edgeinfer.pipeline.series\n"
        "assert callable(edgeinfer.pipeline)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_pipeline_has_the_names_it_lists_and_no_others() -> None:
    module = sys.modules["edgeinfer.pipeline"]
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=r"module 'edgeinfer.pipeline' has no attribute 'Nothing'"):
        _ = module.Nothing


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_loaded_model_takes_little_memory() -> None:
    def peak(code: str) -> int:
        code += "\nprint(next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')))"
        return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    peak("import edgeinfer")  # writes the bytecode, so that no later one compiles
    numpy = peak("import numpy")
    assert (
        peak(f"import numpy, edgeinfer; edgeinfer.load({str(DEMAND)!r}).stream().step([0.0] * 24)") - numpy < MEMORY_KB
    )


@pytest.mark.slow
def test_import_and_first_load_are_fast_beside_numpy(tmp_path: Path) -> None:
    """In shares of the import of numpy, which the same disk, CPU and noise slow down as well."""
    code = (
        "import time; a = time.perf_counter(); import numpy; b = time.perf_counter(); import edgeinfer\n"
        f"c = time.perf_counter(); edgeinfer.load({str(DEMAND)!r}); d = time.perf_counter()\n"
        "print((c - b) / (b - a), (d - c) / (b - a))"
    )
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    found = []
    for _ in range(10):
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        found.append([float(share) for share in result.stdout.split()])
    imported, loaded = np.median(found[1:], axis=0)
    assert imported < IMPORT_SHARE
    assert loaded < LOAD_SHARE


def test_all_is_what_is_there() -> None:
    public = {
        name
        for name, value in vars(edgeinfer).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }
    assert public | {"__version__"} == set(edgeinfer.__all__)
    assert list(edgeinfer.__all__) == sorted(edgeinfer.__all__)
    for name in edgeinfer.__all__:
        assert hasattr(edgeinfer, name)


def test_every_public_name_has_a_docstring() -> None:
    for name in set(edgeinfer.__all__) - {"__version__"}:
        thing = getattr(edgeinfer, name)
        assert inspect.getdoc(thing), name
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            for member, function in vars(thing).items():
                if not member.startswith("_") and callable(function):
                    assert inspect.getdoc(function), f"{name}.{member}"
                if isinstance(function, property):
                    assert function.__doc__, f"{name}.{member}"


def test_errors_form_the_tree_that_their_module_draws() -> None:
    tree = {name: getattr(errors, name) for name in errors.__all__}
    for name, cls in tree.items():
        assert issubclass(cls, errors.EdgeInferError)
        assert name in (errors.__doc__ or "")
    for name in ("ModelFormatError", "ModelLimitError", "UnsupportedOperatorError"):
        assert issubclass(tree[name], errors.ModelLoadError)
    assert issubclass(errors.InputError, ValueError)


def test_errors_carry_their_fields() -> None:
    assert errors.ModelFormatError("m", path="p", offset=3).args == ("p: m at byte 3",)
    error = errors.PipelineError("m", stage="series", field="value")
    assert (error.stage, error.field) == ("series", "value")
