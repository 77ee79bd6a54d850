"""Which files are read: .keras in safe mode and .h5 of Keras 2 and 3; all else is refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeinfer_export import ExportError, command, to_onnx
from edgeinfer_export.load import find_custom_objects

import edgeinfer

KERAS2 = Path(__file__).parent / "keras2"
# float32 rounding in another order of summation, over a few steps
ROUNDING = 1e-6

MODULE = """
import keras

class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x

def halved(x):
    return 0.5 * x
"""


def save(model: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        # Keras hands its variables to h5py, which asks NumPy for a copy in the old way.
        warnings.simplefilter("ignore", DeprecationWarning)
        model.save(path)
    return path


def run(*arguments: str | Path) -> int:
    return command.main([str(argument) for argument in arguments])


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("none.keras", None, "none.keras: no such file"),
        ("text.keras", b"hello", "not a .keras or .h5 file: expected a zip archive or HDF5, it begins with b'hell'"),
        ("empty.keras", b"", "empty.keras: the file is empty"),
        ("half.keras", b"PK\x03\x04" + bytes(40), "not a whole .keras file (cut short, perhaps): File is not a zip"),
        ("half.h5", b"\x89HDF\r\n\x1a\n" + bytes(40), "half.h5: not a whole HDF5 file (cut short, perhaps)"),
        ("model.bin", b"PK\x03\x04" + bytes(40), "a zip archive, as .keras files are: if it is a Keras model, name"),
        ("model.keras", b"\x89HDF\r\n\x1a\n", "HDF5, as .h5 files are: if it is a Keras model, name it so (*.h5)"),
        ("saved_model.pb", b"\x08\x01", "a SavedModel holds no Keras layers any more: save the model as .keras"),
        ("m.weights.h5", b"\x89HDF\r\n\x1a\n", "weights alone do not say which layers they belong to"),
        ("model.ckpt", b"weights", "weights alone do not say which layers they belong to"),
        ("model.onnx", b"\x08\x08", "model.onnx: an ONNX file already; expected a Keras model (.keras or .h5)"),
        ("model.tflite", b"TFL3", "model.tflite: a LiteRT file, which holds no Keras layers; expected a Keras model"),
    ],
)
def test_a_file_that_is_no_keras_model_exits_3_with_one_line(
    keras: Any, name: str, content: bytes | None, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = sorted(tmp_path.iterdir())
    assert run(tmp_path / name, "-o", tmp_path / "out.onnx") == 3
    assert text in last_error(capsys)
    assert sorted(tmp_path.iterdir()) == before


def test_a_saved_model_folder_is_refused_with_the_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "-o", tmp_path / "m.onnx") == 3
    assert "a SavedModel holds no Keras layers any more: save the model as .keras" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"readme.txt": "hello"}, "a zip archive, but no Keras model: it has no config.json"),
        ({"config.json": "{}", "metadata.json": "{}"}, "it holds no weights (model.weights.h5)"),
        (
            {"config.json": "{", "metadata.json": "{}", "model.weights.h5": "-"},
            "its configuration is not JSON",
        ),
        (
            {"config.json": "{}", "metadata.json": '{"keras_version": "99.1.0"}', "model.weights.h5": "-"},
            "Keras 99.1.0 wrote it, so upgrade Keras, or save the model with this version",
        ),
    ],
)
def test_a_zip_archive_that_is_no_keras_file_is_refused(
    keras: Any, entries: dict[str, str], text: str, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(ExportError) as raised:
        to_onnx(tmp_path / "m.keras", tmp_path / "m.onnx")
    assert text in str(raised.value)


def test_a_file_cut_short_at_any_place_is_refused(layers: Any, sequential: Any, tmp_path: Path) -> None:
    whole = save(sequential((None, 2), layers.GRU(3)), tmp_path / "m.keras").read_bytes()
    for share in (0.05, 0.5, 0.95):
        (tmp_path / "cut.keras").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ExportError, match=r"not a whole \.keras file"):
            to_onnx(tmp_path / "cut.keras", tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["whole.h5", "native.keras"])
def test_a_file_of_keras_2_answers_as_keras_2_did(keras: Any, name: str, tmp_path: Path) -> None:
    """Its hard_sigmoid is another function than Keras 3's, and time_major is no argument any more."""
    exported = to_onnx(KERAS2 / name, tmp_path / "m.onnx")
    assert exported.form == "stream" and exported.nodes["LSTM"] == exported.nodes["GRU"] == 1
    answers = np.load(KERAS2 / "answers.npz")
    np.testing.assert_allclose(edgeinfer.load(tmp_path / "m.onnx")(answers["x"]), answers["y"], rtol=0, atol=ROUNDING)


def test_a_functional_model_of_keras_2_answers_as_keras_2_did(keras: Any, tmp_path: Path) -> None:
    exported = to_onnx(KERAS2 / "tokens.h5", tmp_path / "m.onnx")
    assert (exported.form, exported.spec.mode) == ("sequence", "window")
    answers = np.load(KERAS2 / "answers.npz")
    found = edgeinfer.load(tmp_path / "m.onnx")(answers["words"])
    np.testing.assert_allclose(found, answers["labels"], rtol=0, atol=ROUNDING)


def test_weights_of_keras_2_alone_are_refused(keras: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no model_config in it; weights alone do not say which layers"):
        to_onnx(KERAS2 / "weights.h5", tmp_path / "m.onnx")


def test_time_major_of_keras_2_is_refused_by_name(keras: Any, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(KERAS2 / "native.keras") as old,
        zipfile.ZipFile(tmp_path / "m.keras", "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'"time_major": false', b'"time_major": true'))
    with pytest.raises(
        ExportError, match=r'layer "(lstm|gru)": time_major=True is not in Keras 3; transpose the input'
    ):
        to_onnx(tmp_path / "m.keras", tmp_path / "m.onnx")


def test_an_h5_file_of_keras_3_is_read(layers: Any, sequential: Any, tmp_path: Path) -> None:
    model = sequential((None, 2), layers.LSTM(3), layers.Dense(1))
    exported = to_onnx(save(model, tmp_path / "m.h5"), tmp_path / "m.onnx")
    assert exported.nodes["LSTM"] == 1 and exported.spec.name == "m"


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_with_bytecode_is_refused_with_two_ways_out(
    suffix: str, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    model = sequential((None, 2), layers.Lambda(lambda x: 2.0 * x, name="doubled"), layers.GRU(3))
    save(model, tmp_path / f"m{suffix}")
    with pytest.raises(ExportError) as raised:
        to_onnx(tmp_path / f"m{suffix}", tmp_path / "m.onnx")
    text = str(raised.value)
    assert text.startswith('layer "doubled": Lambda holds Python bytecode, which safe mode does not run from a file')
    assert "edgeinfer_export.to_onnx(model, path)" in text and "--custom-objects module:name" in text
    assert (raised.value.layer, raised.value.argument) == ("doubled", "function")
    assert to_onnx(model, tmp_path / "m.onnx").form == "stream"


def test_several_lambdas_are_all_named(layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = [layers.Lambda(lambda x: 2.0 * x, name="one"), layers.Lambda(lambda x: x + 1.0, name="two")]
    save(sequential((None, 2), *stack, layers.GRU(3)), tmp_path / "m.keras")
    with pytest.raises(ExportError, match=r'layer "one": Lambda holds Python bytecode \(also in two\)'):
        to_onnx(tmp_path / "m.keras", tmp_path / "m.onnx")


@pytest.fixture
def own(keras: Any, layers: Any, shuffled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved model with a layer and a function of my_layers.py, which lies beside it."""
    (tmp_path / "my_layers.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    objects = find_custom_objects(["my_layers:Doubled", "my_layers:halved"])
    stack = [objects["Doubled"](name="doubled"), layers.GRU(3), layers.Dense(2, activation=objects["halved"])]
    model = shuffled(keras.Sequential([keras.Input((6, 2)), *stack]))
    return save(model, tmp_path / "own.keras")


def test_classes_and_functions_of_the_models_own_are_found_by_module_and_name(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--custom-objects", "my_layers:Doubled", "--custom-objects", "my_layers:halved"]
    assert run(own, "-o", "own.onnx", *given, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["form"], report["mode"], report["window"]) == ("stream", "window", 6)


def test_without_them_they_are_named_with_the_way_out(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(own, "-o", "own.onnx") == 3
    error = last_error(capsys)
    assert "own.keras: the model has classes or functions of its own: Doubled, halved; name where each is" in error
    assert "(--custom-objects module:Doubled), or export it live" in error


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("my_layers", "custom object 'my_layers': expected module:name, as in my_layers:Attention"),
        ("no_such_module:A", "custom object 'no_such_module:A': module no_such_module cannot be imported"),
        ("json:Attention", "custom object 'json:Attention': module json has no Attention"),
    ],
)
def test_a_custom_object_that_is_not_there_is_refused(place: str, text: str) -> None:
    with pytest.raises(ExportError) as raised:
        find_custom_objects([place])
    assert str(raised.value).startswith(text) and raised.value.argument == "custom_objects"


def test_inspect_of_an_h5_file_prints_json_alone_on_stdout_and_progress_alone_on_stderr() -> None:
    command_line = [sys.executable, "-m", "edgeinfer_export", "inspect", str(KERAS2 / "whole.h5"), "--json"]
    done = subprocess.run(command_line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["form"] == "stream"
    assert all(line.startswith("export: ") for line in done.stderr.splitlines()), done.stderr
