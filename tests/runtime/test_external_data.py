"""External data: off unless asked for, and then from beneath the model's folder only. No other file is opened."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from graphs import build, node, value
from onnx import ModelProto, TensorProto, helper

import edgeinfer
from edgeinfer import Limits, ModelFormatError, ModelLimitError

WEIGHTS = np.array([1.5, -2.0, 4.0], np.float32)
_opened: list[str] | None = None


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _opened is not None and event == "open":
        _opened.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else str(arguments[0]))


sys.addaudithook(_audit)


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """What is opened while the test runs."""
    global _opened
    _opened = []
    yield _opened
    _opened = None


def model(entries: dict[str, str], subgraph: bool = False) -> bytes:
    """y = x + t, where t lies in another file, or an If whose branch has such a tensor."""
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, text in entries.items():
        tensor.external_data.add(key=key, value=text)
    if subgraph:
        branch = helper.make_graph(
            [], "branch", [], [helper.make_tensor_value_info("t", TensorProto.FLOAT, [3])], [tensor]
        )
        nodes = [node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
        return build(nodes, [value("c", [], np.bool_)], [value("y", [3])])
    proto = ModelProto.FromString(
        build([node("Add", ["x", "t"], ["y"])], [value("x", [3])], [value("y", [3])], {"t": WEIGHTS})
    )
    del proto.graph.initializer[:]
    proto.graph.initializer.append(tensor)
    return proto.SerializeToString()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """model/ with its weights, beside files that it must not reach."""
    (tmp_path / "secret.bin").write_bytes(WEIGHTS.tobytes())
    home = tmp_path / "model"
    (home / "deep").mkdir(parents=True)
    (home / "weights.bin").write_bytes(b"head" + WEIGHTS.tobytes() + b"tail")
    (home / "deep" / "weights.bin").write_bytes(WEIGHTS.tobytes())
    (home / "link.bin").symlink_to(tmp_path / "secret.bin")
    (home / "inner_link.bin").symlink_to("weights.bin")
    (home / "up").symlink_to("..")
    os.link(tmp_path / "secret.bin", home / "hardlink.bin")
    os.mkfifo(home / "fifo.bin")
    (home / "device.bin").symlink_to("/dev/zero")
    return home


def write(folder: Path, **entries: str) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model(entries))
    return path


@pytest.mark.parametrize("location", ["weights.bin", "deep/weights.bin"])
def test_data_beneath_the_folder_are_read_when_asked_for(folder: Path, location: str) -> None:
    offset = "4" if location == "weights.bin" else "0"
    path = write(folder, location=location, offset=offset, length="12")
    y = edgeinfer.load(path, external_data=True, backend="native")(np.zeros(3))
    np.testing.assert_array_equal(y, WEIGHTS)


def test_external_data_are_refused_unless_asked_for(folder: Path, opened: list[str]) -> None:
    path = write(folder, location="weights.bin", offset="4")
    message = r"""tensor "t": its data is in another file, 'weights.bin'; load\(…, external_data=True\) reads it"""
    with pytest.raises(ModelLimitError, match=message):
        edgeinfer.load(path)
    assert [name for name in opened if name.endswith(".bin")] == []


def test_a_model_given_as_bytes_has_no_folder() -> None:
    with pytest.raises(ModelLimitError, match="a model given as bytes has no folder to read it from"):
        edgeinfer.load(model({"location": "weights.bin"}), external_data=True)


ESCAPES = [
    *("../secret.bin", "../model/weights.bin", "deep/../../secret.bin", "./weights.bin", "deep/./weights.bin"),
    *(
        "/etc/passwd",
        "//etc/passwd",
        "/dev/zero",
        "up/secret.bin",
        "up/model/weights.bin",
        "link.bin",
        "inner_link.bin",
    ),
    *("hardlink.bin", "fifo.bin", "device.bin", "deep", "deep/", "", ".", "..", "...", "deep//weights.bin"),
    *("weights.bin/", "weights.bin/x", "..\\secret.bin", "C:\\secret.bin", "C:weights.bin", "file:///etc/passwd"),
    *("weights.bin\0.txt", "~/secret.bin", "$HOME/x", "a" * 300, "missing.bin"),
]


@pytest.mark.parametrize("location", ESCAPES)
def test_no_path_leads_out_of_the_folder(folder: Path, opened: list[str], location: str) -> None:
    path = write(folder, location=location)
    with pytest.raises(ModelFormatError, match='tensor "t": external data: ') as info:
        edgeinfer.load(path, external_data=True)
    assert info.value.path == str(path)
    # each part is opened by its bare name, relative to the folder before it and without following links
    attempts = [name for name in opened if name not in (str(path), str(folder)) and not name.endswith(".py")]
    assert all("/" not in name and name != ".." for name in attempts)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "-1"}, "offset: expected a number, got '-1'"),
        ({"offset": "9" * 30}, "offset: expected a number, got"),
        ({"offset": "0x4"}, "offset: expected a number, got '0x4'"),
        ({"offset": "9"}, "expected bytes 9 to 21, 'weights.bin' has 20"),
        ({"offset": "9223372036854775807"}, "expected bytes 9223372036854775807 to"),
        ({"length": "11"}, "expected a length of 12, got 11"),
        ({"length": "9223372036854775807"}, "expected a length of 12, got 9223372036854775807"),
    ],
)
def test_an_offset_or_length_outside_the_file_is_refused(folder: Path, entries: dict[str, str], message: str) -> None:
    path = write(folder, location="weights.bin", **entries)
    with pytest.raises(ModelFormatError, match=f'tensor "t": external data: {message}'):
        edgeinfer.load(path, external_data=True)


def test_all_external_data_together_have_a_limit(folder: Path) -> None:
    path = write(folder, location="weights.bin", offset="4")
    size = path.stat().st_size
    with pytest.raises(ModelLimitError, match="external data: file_bytes is 12, the limit is 11"):
        # the model's own file is read under the same limit, so it is checked as bytes of a longer one
        _read_with(path, Limits(file_bytes=11), size)


def _read_with(path: Path, limits: Limits, size: int) -> None:
    from edgeinfer.onnx_file import ExternalData, read_model, tensor_to_array

    (tensor,) = read_model(path.read_bytes(), Limits(file_bytes=size)).graph.initializers
    tensor_to_array(tensor, ExternalData(str(path.parent), limits), limits)


@pytest.mark.parametrize("subgraph", [False, True])
@pytest.mark.parametrize("backend", ["onnxruntime", "auto"])
def test_onnx_runtime_is_given_no_file_that_leads_to_others(backend: str, subgraph: bool, opened: list[str]) -> None:
    data = model({"location": "/etc/passwd"}, subgraph)
    with pytest.raises(ModelLimitError, match=r"external data is not read|its data is in another file"):
        edgeinfer.load(data, backend=backend)  # type: ignore[arg-type]
    assert "/etc/passwd" not in opened
