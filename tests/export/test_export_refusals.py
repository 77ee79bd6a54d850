"""What cannot be exported exactly is refused by layer and argument, with the way out, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeinfer_export import ExportError, to_onnx

Build = Callable[[Any], list[Any]]

REFUSED: dict[str, tuple[Build, str, str | None, str]] = {
    "gelu": (
        lambda layers: [layers.GRU(3, activation="gelu", name="bad")],
        "bad",
        "activation",
        'layer "bad": activation "gelu" has no ONNX recurrent form; use one of celu, elu, hard_sigmoid',
    ),
    "softmax gate": (
        lambda layers: [layers.LSTM(3, recurrent_activation="softmax", name="bad")],
        "bad",
        "recurrent_activation",
        'recurrent_activation "softmax" has no ONNX recurrent form',
    ),
    "inside Bidirectional": (
        lambda layers: [layers.Bidirectional(layers.LSTM(3, activation="selu", name="bad"))],
        "forward_bad",
        "activation",
        'activation "selu" has no ONNX recurrent form',
    ),
}


def test_a_name_that_tensorflow_cannot_trace_is_refused(
    layers: Any, keras: Any, sequential: Any, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match='layer "my layer": TensorFlow cannot trace a layer of that name') as raised:
        to_onnx(sequential((None, 3), layers.GRU(3, name="my layer")), tmp_path / "m.onnx")
    assert (raised.value.layer, raised.value.argument) == ("my layer", "name")
    x = keras.Input((None, 3))
    with pytest.raises(ExportError, match='TensorFlow cannot trace a model named "my model"; name it with letters'):
        to_onnx(keras.Model(x, layers.GRU(3)(x), name="my model"), tmp_path / "m.onnx")


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_an_input_of_a_type_that_the_runtime_does_not_take_is_refused(
    dtype: str, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    model = sequential((None,), layers.Embedding(9, 4), layers.LSTM(3), dtype=dtype)
    with pytest.raises(ExportError, match=f'input ".*" is {dtype}: expected one of float32, float64, int32'):
        to_onnx(model, tmp_path / "m.onnx")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(
    bad: float, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    model = sequential((None, 3), layers.GRU(3), layers.Dense(2, name="last"))
    model.layers[-1].bias.assign([0.0, bad])
    with pytest.raises(ExportError, match='layer "last": its weight "bias" holds NaN or infinity'):
        to_onnx(model, tmp_path / "m.onnx")


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_by_name_with_the_way_out(case: str, layers: Any, sequential: Any, tmp_path: Path) -> None:
    build, layer, argument, text = REFUSED[case]
    with pytest.raises(ExportError) as raised:
        to_onnx(sequential((None, 3), *build(layers)), tmp_path / "m.onnx")
    assert (raised.value.layer, raised.value.argument) == (layer, argument)
    assert str(raised.value).startswith(f'layer "{layer}": ') and text in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_layer_that_fails_is_told_in_one_line(keras: Any, layers: Any, sequential: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    class Failing(keras.layers.Layer):  # type: ignore[name-defined, misc]
        ready = True

        def call(self, x: Any) -> Any:
            if not self.ready and tf.executing_eagerly():
                raise ValueError("out of order")
            return x

    failing = Failing()
    model = sequential((None, 3), failing, layers.GRU(3))
    failing.ready = False
    with pytest.raises(ExportError, match=r"Keras cannot run .* x \[3, 3, 3\]: .* Failing.call\(\)\. out of order"):
        to_onnx(model, tmp_path / "m.onnx")


def test_python_code_in_the_graph_is_refused(keras: Any, layers: Any, sequential: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    class Python(keras.layers.Layer):  # type: ignore[name-defined, misc]
        def call(self, x: Any) -> Any:
            return tf.ensure_shape(tf.numpy_function(lambda a: a, [x], tf.float32), x.shape)

    with pytest.raises(ExportError, match='layer "python": operation PyFunc has no ONNX form'):
        to_onnx(sequential((None, 3), layers.GRU(3), Python(name="python")), tmp_path / "m.onnx")


def test_a_convolutional_lstm_is_refused(layers: Any, sequential: Any, tmp_path: Path) -> None:
    model = sequential((None, 4, 4, 1), layers.ConvLSTM2D(2, 3, name="conv"))
    with pytest.raises(
        ExportError,
        match=r'layer "conv": ConvLSTM2D has no ONNX .* in TimeDistributed before a LSTM',
    ):
        to_onnx(model, tmp_path / "m.onnx")


def test_a_convolutional_lstm_inside_bidirectional_is_refused(layers: Any, sequential: Any, tmp_path: Path) -> None:
    model = sequential((None, 4, 1), layers.Bidirectional(layers.ConvLSTM1D(2, 3, name="conv")))
    with pytest.raises(ExportError, match='layer "forward_conv": ConvLSTM1D has no ONNX operator'):
        to_onnx(model, tmp_path / "m.onnx")


def test_a_cell_of_the_user_is_refused(keras: Any, layers: Any, sequential: Any, tmp_path: Path) -> None:
    class Leaky(keras.layers.GRUCell):  # type: ignore[name-defined, misc]
        pass

    model = sequential((None, 3), layers.RNN(Leaky(3), name="own"))
    with pytest.raises(ExportError, match='layer "own": cell Leaky has no ONNX operator'):
        to_onnx(model, tmp_path / "m.onnx")


def test_a_function_of_the_user_is_not_taken_for_the_one_of_keras(
    keras: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    def tanh(x: Any) -> Any:
        return keras.ops.tanh(2.0 * x)

    with pytest.raises(ExportError, match='activation "tanh" has no ONNX recurrent form'):
        to_onnx(sequential((None, 3), layers.GRU(3, activation=tanh)), tmp_path / "m.onnx")


def test_a_loop_in_a_layer_of_the_user_is_refused_by_the_layers_name(
    keras: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    import tensorflow as tf

    class Running(keras.layers.Layer):  # type: ignore[name-defined, misc]
        def call(self, x: Any) -> Any:
            start = (tf.constant(0), tf.zeros_like(x[:, 0]))
            return tf.while_loop(lambda i, _: i < tf.shape(x)[1], lambda i, total: (i + 1, total + x[:, i]), start)[1]

    model = sequential((None, 3), layers.GRU(3, return_sequences=True), Running(name="running"))
    with pytest.raises(ExportError, match=r'layer "running": it becomes an ONNX Loop .at running/while') as raised:
        to_onnx(model, tmp_path / "m.onnx")
    assert raised.value.layer == "running"


def test_an_operation_without_onnx_form_is_refused_by_the_layers_name(
    keras: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    import tensorflow as tf

    class Factorial(keras.layers.Layer):  # type: ignore[name-defined, misc]
        def call(self, x: Any) -> Any:
            return tf.math.lgamma(x)

    model = sequential((None, 3), layers.GRU(3), Factorial(name="factorial"))
    with pytest.raises(ExportError, match='layer "factorial": operation Lgamma has no ONNX form'):
        to_onnx(model, tmp_path / "m.onnx")


def test_a_model_without_input_shape_is_refused(keras: Any, layers: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no input shape yet; add keras.Input\(\.\.\.\) as its first layer"):
        to_onnx(keras.Sequential([layers.GRU(3)]), tmp_path / "m.onnx")


def test_what_is_no_model_is_refused(keras: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"expected a Keras model, got builtins.dict"):
        to_onnx({}, tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("stack", "reason"),
    [
        (
            lambda layers: [layers.Bidirectional(layers.GRU(3), name="stop")],
            r"\(Bidirectional\) reads the sequence backwards",
        ),
        (
            lambda layers: [layers.Conv1D(4, 3, name="stop"), layers.GRU(3)],
            r"\(Conv1D\) does not work one time step at a time",
        ),
        (
            lambda layers: [layers.GRU(3, return_sequences=True), layers.GlobalAveragePooling1D(name="stop")],
            r"\(GlobalAveragePooling1D\) does not work one time step",
        ),
        (
            lambda layers: [layers.GRU(3), layers.RepeatVector(4), layers.GRU(3, name="stop")],
            r"\(GRU\) runs over a time axis that is not the input's",
        ),
    ],
)
def test_form_stream_names_the_layer_that_stops_it(
    stack: Build, reason: str, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    model = sequential((None, 3), *stack(layers))
    with pytest.raises(ExportError, match=f'form stream is not possible: layer "stop" {reason}'):
        to_onnx(model, tmp_path / "m.onnx", form="stream")
    with pytest.raises(ExportError, match=f'mode stream is not possible: layer "stop" {reason}'):
        to_onnx(model, tmp_path / "m.onnx", mode="stream")


def test_a_stateful_layer_in_a_model_that_cannot_stream_is_refused_unless_form_sequence_is_asked(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    first = keras.Input(batch_shape=(2, 4, 3))
    model = shuffled(keras.Sequential([first, layers.Bidirectional(layers.GRU(3, stateful=True))]))
    with pytest.raises(ExportError, match=r"stateful=True carries state .* form sequence exports it") as raised:
        to_onnx(model, tmp_path / "m.onnx")
    assert raised.value.argument == "stateful"
    assert to_onnx(model, tmp_path / "m.onnx", form="sequence").spec.states == ()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"form": "loop"}, "form: expected stream or sequence, got 'loop'"),
        ({"mode": "batch"}, "mode: expected stream or window, got 'batch'"),
        ({"mode": "stream", "window": 3}, "window: expected a length of at least 1, with mode window, got 3"),
        ({"opset": 9}, "opset: expected at least 13, got 9"),
    ],
)
def test_an_argument_out_of_range_is_refused(options: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=text):
        to_onnx("m.keras", tmp_path / "m.onnx", **options)


def test_an_opset_newer_than_tf2onnx_knows_is_refused(layers: Any, sequential: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"opset: expected 13 to \d+, the newest of tf2onnx \S+, got 99") as raised:
        to_onnx(sequential((None, 3), layers.GRU(2)), tmp_path / "m.onnx", opset=99)
    assert raised.value.argument == "opset"


def test_the_model_itself_and_a_folder_are_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(b"model")
    with pytest.raises(ExportError, match="the model itself; give the ONNX file another name"):
        to_onnx(path, path)
    with pytest.raises(ExportError, match="expected the path of a file to write, got a folder"):
        to_onnx(path, tmp_path)
    assert path.read_bytes() == b"model"


def test_an_output_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"no such folder: {tmp_path}/none"):
        to_onnx("m.keras", tmp_path / "none" / "m.onnx")
