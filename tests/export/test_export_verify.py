"""Verification fails where the three do not agree, or where fewer than three answered; then nothing is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeinfer_export import ExportError, VerificationError, to_onnx
from edgeinfer_export.differences import difference

import edgeinfer
from edgeinfer.errors import ModelLoadError


@pytest.fixture
def model(layers: Any, sequential: Any) -> Any:
    return sequential((None, 2), layers.GRU(4, return_sequences=True), layers.Dense(1))


def test_the_three_differences_are_measured_and_small(model: Any, tmp_path: Path) -> None:
    found = to_onnx(model, tmp_path / "m.onnx").differences
    assert found is not None
    assert 0 < found.largest <= 1e-5
    lines = found.table().splitlines()
    assert [line.rsplit(maxsplit=1)[0] for line in lines] == [
        "keras - onnxruntime", "keras - native", "onnxruntime - native",
    ]  # fmt: skip


def test_one_wrong_weight_fails_and_writes_nothing(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeinfer_export.layers import recurrent

    right = recurrent.cell_weights

    def wrong(op_type: str, cell: Any) -> Any:
        weights = right(op_type, cell)
        weights.r[1, 2] += 0.01
        return weights

    monkeypatch.setattr(recurrent, "cell_weights", wrong)
    with pytest.raises(VerificationError, match=r"differs from Keras by .*, expected at most 1e-05") as raised:
        to_onnx(model, tmp_path / "m.onnx")
    found = raised.value.differences
    assert found is not None
    assert found.keras_native > 1e-5 and found.keras_onnxruntime > 1e-5
    assert found.onnxruntime_native <= 1e-5
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_state_output_fails(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeinfer_export import verify

    class Forgetful(verify._Native):
        def __call__(self, feeds: Any) -> Any:
            return {name: value * (0 if "final" in name else 1) for name, value in super().__call__(feeds).items()}

    monkeypatch.setattr(verify, "_Native", Forgetful)
    with pytest.raises(VerificationError, match="differs from Keras"):
        to_onnx(model, tmp_path / "m.onnx")


def test_without_the_native_backend_verification_fails(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise ModelLoadError("the native core is not built")

    monkeypatch.setattr(edgeinfer, "load", load)
    with pytest.raises(VerificationError, match=r"native backend does not run .* the native core is not built"):
        to_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_another_backend_in_its_place_fails(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = edgeinfer.load
    monkeypatch.setattr(edgeinfer, "load", lambda data, **options: right(data, backend="reference"))
    with pytest.raises(VerificationError, match="expected the native backend to answer, reference did"):
        to_onnx(model, tmp_path / "m.onnx")


def test_without_onnx_runtime_verification_fails(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(VerificationError, match="ONNX Runtime is not installed"):
        to_onnx(model, tmp_path / "m.onnx")


def test_a_model_whose_own_answers_overflow_is_told_so(layers: Any, sequential: Any, tmp_path: Path) -> None:
    model = sequential((None, 2), layers.SimpleRNN(4, activation="relu"))
    model.set_weights([1e30 * abs(weight) for weight in model.get_weights()])
    with pytest.raises(VerificationError, match='Keras itself answers NaN or infinity at output "y"'):
        to_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_no_verification_writes_the_file_and_says_so(model: Any, tmp_path: Path) -> None:
    result = to_onnx(model, tmp_path / "m.onnx", verify=False)
    assert result.differences is None
    assert (tmp_path / "m.onnx").stat().st_size == result.bytes


def test_the_difference_is_relative_above_one_and_infinite_for_another_shape() -> None:
    assert difference(np.array([100.0]), np.array([101.0])) == pytest.approx(0.01)
    assert difference(np.array([0.5]), np.array([0.25])) == pytest.approx(0.25)
    assert difference(np.zeros((2, 1)), np.zeros(2)) == np.inf
    assert difference(np.array([np.nan]), np.array([np.nan])) == np.inf
    assert difference(np.zeros((0, 3)), np.zeros((0, 3))) == 0.0


def test_a_model_that_needs_several_steps_is_compared_on_as_many(layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = [layers.Conv1D(4, 5, strides=2), layers.MaxPooling1D(3), layers.GRU(3)]
    exported = to_onnx(sequential((None, 2), *stack), tmp_path / "m.onnx")
    # 3 windows of 5 with a step of 2 need 9 steps; 13 is the next length that is tried.
    assert {golden.inputs["x"].shape[1] for golden in exported.spec.goldens} == {13}
    assert exported.differences is not None and exported.differences.cases > 1


@pytest.mark.slow
def test_a_convolution_is_compared_on_enough_steps_where_onednn_answers_fewer(tmp_path: Path) -> None:
    """A program that imported Keras itself has oneDNN on; its depthwise kernels answer one step too few."""
    program = f"""
import keras, edgeinfer_export
model = keras.Sequential([keras.Input((None, 3), name="x"), keras.layers.DepthwiseConv1D(4), keras.layers.LSTM(4)])
assert model(keras.ops.zeros((2, 3, 3))).shape == (2, 4), "oneDNN is off, and this shows nothing"
exported = edgeinfer_export.to_onnx(model, {str(tmp_path / "m.onnx")!r})
print(min(golden.inputs["x"].shape[1] for golden in exported.spec.goldens))
"""
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr


def test_an_unrolled_layer_of_which_keras_zeroes_other_steps_than_the_masked_ones_is_refused(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    x, mask = keras.Input((6, 3), name="x"), keras.Input((6,), dtype="bool", name="mask")
    both = layers.Bidirectional(layers.LSTM(4, return_sequences=True, unroll=True, name="cell"))
    with pytest.raises(ExportError, match="Keras zeroes other steps than the masked ones") as raised:
        to_onnx(shuffled(keras.Model([x, mask], both(x, mask=mask))), tmp_path / "m.onnx")
    assert (raised.value.layer, raised.value.argument) == ("backward_cell", "unroll")
    assert not list(tmp_path.iterdir())
    rolled = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
    to_onnx(shuffled(keras.Model([x, mask], rolled(x, mask=mask))), tmp_path / "m.onnx")


def test_a_mean_over_kept_steps_is_verified_with_steps_kept(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    x, mask = keras.Input((None, 3), name="x"), keras.Input((None,), dtype="bool", name="mask")
    y = layers.GlobalAveragePooling1D()(layers.GRU(4, return_sequences=True)(x, mask=mask))
    found = to_onnx(shuffled(keras.Model([x, mask], y)), tmp_path / "m.onnx").differences
    assert found is not None
    assert 0 < found.largest <= 1e-5


def test_a_masked_layer_of_which_only_the_state_is_read_is_exported(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    x = keras.Input((None, 3), name="x")
    _, state = layers.GRU(4, return_sequences=True, return_state=True)(layers.Masking(0.0)(x))
    found = to_onnx(shuffled(keras.Model(x, state)), tmp_path / "m.onnx").differences
    assert found is not None
    assert 0 < found.largest <= 1e-5
