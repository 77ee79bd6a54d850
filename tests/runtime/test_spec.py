"""The metadata: read, written, and refused naming the key."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from graphs import recurrent_model

import edgeinfer
from edgeinfer.errors import ModelFormatError
from edgeinfer.spec import Golden, Spec, StatePair, Window, decode_tensor, encode_tensor

FULL = Spec(
    name="demand",
    task="forecast",
    mode="window",
    window=Window(24, "pad", -1.0, "right"),
    states=(StatePair("h0", "h1"),),
    preprocessing={"series": {"features": []}},
    postprocessing={"horizon": 24},
    goldens=(Golden("g", {"x": np.array([[1.5, -2.0]], np.float32)}, {"y": np.array(3, np.int64)}),),
    provenance={"recipe": "demand", "имя": "ü"},
)


def text(**change: Any) -> str:
    return json.dumps({"schema_version": 1, **change})


def test_a_spec_goes_there_and_back() -> None:
    again = Spec.from_json(FULL.to_json())
    assert again.to_json() == FULL.to_json()
    assert again.window == FULL.window
    assert again.states == FULL.states
    np.testing.assert_array_equal(again.goldens[0].inputs["x"], FULL.goldens[0].inputs["x"])
    assert "ü" in FULL.to_json()


def test_an_empty_spec_has_defaults() -> None:
    spec = Spec.from_json(text())
    assert (spec.name, spec.task, spec.mode, spec.window, spec.states) == ("", None, None, None, ())
    assert Spec.from_json(spec.to_json()) == spec


def test_a_window_has_defaults() -> None:
    assert Spec.from_json(text(mode="window", window={"length": 3})).window == Window(3, "wait", 0.0, "left")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_a_tensor_goes_there_and_back(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.ones(shape, dtype)
    found = decode_tensor(encode_tensor(array), "t")
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)


TENSOR = {"dtype": "float32", "shape": [1], "data": "AAAAAA=="}


def golden(**change: Any) -> dict[str, Any]:
    return {"goldens": [{"name": "g", "inputs": {"x": {**TENSOR, **change}}, "outputs": {}}]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (text(**golden(shape=[2])), r"goldens\[0\].inputs.x.data: expected 8 bytes for float32 \[2\], got '4 bytes'"),
        (text(**golden(shape=[1] * 100)), r"goldens\[0\].inputs.x.shape: expected the shape of an array"),
        (text(**golden(shape=[0, 2**62, 2**62], data="")), r"goldens\[0\].inputs.x.shape: expected the shape of an a"),
        (text(**golden(data="!")), r"goldens\[0\].inputs.x.data: not base64"),
        (text(**golden(data="é")), r"goldens\[0\].inputs.x.data: not base64"),
    ],
)
def test_a_golden_is_read_when_asked_for_and_refused_then(data: str, message: str) -> None:
    (golden,) = Spec.from_json(data).goldens
    assert list(golden.inputs) == ["x"]
    with pytest.raises(ModelFormatError, match=f"metadata edgeinfer.spec: {message}"):
        _ = golden.inputs["x"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "not JSON"),
        ("1" * 5000, "not JSON: a number of 5000 digits"),
        ("[]", r"edgeinfer.spec: expected an object, got \[\]"),
        ("{}", "schema_version: expected 1, got None"),
        (json.dumps({"schema_version": 2}), "schema_version: expected 1, got 2"),
        (text(name=3), "name: expected a string, got 3"),
        (text(task="dance"), "task: expected one of forecast, classify, next_token, got 'dance'"),
        (text(task=[]), r"task: expected one of forecast, classify, next_token, got \[\]"),
        (text(mode="batch"), "mode: expected one of stream, window, got 'batch'"),
        (text(mode="window"), "window: expected an object with a length, since mode is window, got None"),
        (text(window=4), "window: expected an object, got 4"),
        (text(window={}), "window.length: expected an integer of at least 1 and at most 1048576, got None"),
        (text(window={"length": 0}), "window.length: expected an integer of at least 1 and at most 1048576, got 0"),
        (
            text(window={"length": True}),
            "window.length: expected an integer of at least 1 and at most 1048576, got True",
        ),
        (text(window={"length": 2**20 + 1}), "window.length: expected an integer .* at most 1048576, got 1048577"),
        (text(window={"length": 2.0}), "window.length: expected an integer of at least 1 and at most 1048576, got 2.0"),
        (text(window={"length": 2, "start": "later"}), "window.start: expected one of pad, partial, wait"),
        (text(window={"length": 2, "pad_side": "top"}), "window.pad_side: expected one of left, right, got 'top'"),
        (
            text(window={"length": 2, "pad_value": "0"}),
            "window.pad_value: expected a finite number of float32, got '0'",
        ),
        (
            text(window={"length": 2, "pad_value": True}),
            "window.pad_value: expected a finite number of float32, got True",
        ),
        (
            text(window={"length": 2, "pad_value": float("nan")}),
            "window.pad_value: expected a finite number of float32, got nan",
        ),
        (
            text(window={"length": 2, "pad_value": 1e39}),
            "window.pad_value: expected a finite number of float32, got 1e.39",
        ),
        (text(window={"length": 2, "pad_value": 10**400}), "not JSON: a number of 401 digits"),
        (text(tolerance=10**400), "not JSON: a number of 401 digits"),
        (
            text(window={"length": 10**30}),
            r"window.length: expected an integer of at least 1 and at most \d+, got 1e\+30",
        ),
        (text(states={}), "states: expected a list, got {}"),
        (text(states=[3]), r"states\[0\]: expected an object, got 3"),
        (text(states=[{"input": "a"}]), r"states\[0\].output: expected a string, got None"),
        (text(preprocessing=[]), r"preprocessing: expected an object, got \[\]"),
        (text(postprocessing="x"), "postprocessing: expected an object, got 'x'"),
        (text(provenance=1), "provenance: expected an object, got 1"),
        (text(goldens=3), "goldens: expected a list, got 3"),
        (text(goldens=[{"inputs": 3}]), r"goldens\[0\].inputs: expected an object, got 3"),
        (text(goldens=[{"inputs": {}}]), r"goldens\[0\].outputs: expected an object, got None"),
        (text(**golden(dtype="object")), r"goldens\[0\].inputs.x.dtype: expected one of float32"),
        (text(**golden(shape=[-1])), r"goldens\[0\].inputs.x.shape: expected an integer of at least 0, got -1"),
        (text(**golden(data=None)), r"goldens\[0\].inputs.x.data: expected a string, got None"),
        (text(name=["x" * 500]), r"name: expected a string, got \['x+\.\.\."),
    ],
)
def test_metadata_that_is_not_what_the_schema_says_is_refused_naming_the_key(data: str, message: str) -> None:
    with pytest.raises(ModelFormatError, match=f"metadata edgeinfer.spec: {message}"):
        Spec.from_json(data)


def test_a_file_with_broken_metadata_is_refused_naming_the_key() -> None:
    with pytest.raises(ModelFormatError, match=r"metadata edgeinfer.spec: mode: expected one of stream, window"):
        edgeinfer.load(recurrent_model(spec={"mode": "jump"}))
