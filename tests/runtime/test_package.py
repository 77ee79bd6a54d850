"""What importing edgeinfer does, and what it offers."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import edgeinfer
from edgeinfer import errors

PROBE = """
import json, os, sys, threading, warnings
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


def probe(then: str = "pass") -> dict[str, object]:
    code = PROBE.format(then=then)
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
    assert found["handlers"] == ["NullHandler"]
    assert found["root"] == 0


def test_loading_and_running_a_model_loads_nothing_heavy(tmp_path) -> None:
    from graphs import recurrent_model

    path = tmp_path / "m.onnx"
    path.write_bytes(recurrent_model())
    found = probe(f"edgeinfer.load({str(path)!r}).stream().step([1.0, 2.0, 3.0])")
    assert not HEAVY & {name.split(".")[0] for name in found["modules"]}  # type: ignore[attr-defined]
    assert found["threads"] == 1


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
