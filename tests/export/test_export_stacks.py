"""RNN(cell), RNN([cells]) and StackedRNNCells: one node per cell, each with its own state, against Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeinfer_export import ExportError, to_onnx

FEATURES = 3
RECURRENT = ("GRU", "LSTM", "RNN")
# float32 rounding: ONNX Runtime sums in another order than TensorFlow.
ROUNDING = 1e-6


@pytest.fixture
def cells(layers: Any) -> Callable[[], list[Any]]:
    """A new LSTM, GRU and SimpleRNN cell of 4, 3 and 5 units at each call."""
    return lambda: [layers.LSTMCell(4), layers.GRUCell(3), layers.SimpleRNNCell(5)]


def recurrent_nodes(path: Path) -> list[Any]:
    return [node for node in onnx.load(path).graph.node if node.op_type in RECURRENT]


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("backwards", [True, False])
def test_every_cell_of_a_stack_is_a_node_with_its_own_state(
    sequences: bool, backwards: bool, cells: Any, layers: Any, sequential: Any, tmp_path: Path
) -> None:
    stack = layers.RNN(cells(), return_sequences=sequences, go_backwards=backwards, name="stack")
    result = to_onnx(sequential((None, FEATURES), stack, layers.Dense(2)), tmp_path / "m.onnx")
    nodes = recurrent_nodes(tmp_path / "m.onnx")
    assert [(node.op_type, node.name) for node in nodes] == [
        ("LSTM", "stack/cell_0"),
        ("GRU", "stack/cell_1"),
        ("RNN", "stack/cell_2"),
    ]
    if backwards:
        assert result.stops == 'layer "stack" (RNN) reads the sequence backwards'
        # Between the cells the sequence is not turned round.
        assert result.nodes.get("Slice", 0) == sequences
    else:
        assert [pair.input for pair in result.spec.states] == [
            "stack/cell_0/initial_h", "stack/cell_0/initial_c", "stack/cell_1/initial_h", "stack/cell_2/initial_h",
        ]  # fmt: skip


def test_cells_in_every_form_that_keras_takes(cells: Any, layers: Any, sequential: Any, tmp_path: Path) -> None:
    expected = {
        "one": (layers.LSTMCell(4), ["r"]),
        "list of one": ([layers.GRUCell(4, reset_after=False)], ["r/cell_0"]),
        "stacked": (layers.StackedRNNCells(cells()), ["r/cell_0", "r/cell_1", "r/cell_2"]),
        "nested": (
            [layers.LSTMCell(3), layers.StackedRNNCells([layers.GRUCell(4)])],
            ["r/cell_0", "r/cell_1/cell_0"],
        ),
    }
    for cell, names in expected.values():
        model = sequential((None, FEATURES), layers.RNN(cell, name="r"), layers.Dense(2))
        assert to_onnx(model, tmp_path / "m.onnx").form == "stream"
        assert [node.name for node in recurrent_nodes(tmp_path / "m.onnx")] == names


@pytest.mark.parametrize("argument", ["unroll", "stateful"])
def test_an_unrolled_or_stateful_stack_streams_with_free_batch_and_time(
    argument: str, cells: Any, keras: Any, layers: Any, shuffled: Any, ends: Any, tmp_path: Path
) -> None:
    stack = layers.RNN(cells(), return_sequences=True, **{argument: True})
    model = shuffled(keras.Sequential([keras.Input(batch_shape=(2, 4, FEATURES)), stack, layers.Dense(2)]))
    result = to_onnx(model, tmp_path / "m.onnx")
    assert (result.form, len(result.spec.states)) == ("stream", 4)
    assert ends(tmp_path / "m.onnx")[0]["x"] == ["batch", "time", FEATURES]


def test_returned_states_have_the_order_of_keras(
    cells: Any, keras: Any, layers: Any, shuffled: Any, ends: Any, tmp_path: Path
) -> None:
    x = keras.Input((None, FEATURES))
    y, *states = layers.RNN(cells(), return_sequences=True, return_state=True)(x)
    flat = keras.tree.flatten(states)
    to_onnx(shuffled(keras.Model(x, [y, *flat])), tmp_path / "m.onnx")
    assert [shape[-1] for shape in ends(tmp_path / "m.onnx")[1].values()][:5] == [5, 4, 4, 3, 5]
    # One of several states alone: the others are left out of the graph's outputs.
    to_onnx(shuffled(keras.Model(x, flat[2])), tmp_path / "m.onnx")


@pytest.mark.parametrize("nested", [True, False])
def test_initial_states_come_from_inputs(nested: bool, keras: Any, layers: Any, shuffled: Any, tmp_path: Path) -> None:
    x, *states = [keras.Input((None, FEATURES)), *(keras.Input((units,)) for units in (4, 4, 3))]
    h, c, gru = states
    stack = layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)])
    y = stack(x, initial_state=[[h, c], [gru] if nested else gru])
    result = to_onnx(shuffled(keras.Model([x, *states], y)), tmp_path / "m.onnx")
    assert result.form == "sequence"


def test_an_encoders_states_start_a_decoder_of_the_same_cells(
    cells: Any, keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    encoder, decoder = keras.Input((None, 2), name="encoder"), keras.Input((None, FEATURES), name="decoder")
    _, *states = layers.RNN(cells(), return_state=True, name="read")(encoder)
    y = layers.RNN(cells(), return_sequences=True, name="write")(decoder, initial_state=states)
    result = to_onnx(shuffled(keras.Model([encoder, decoder], layers.Dense(2)(y))), tmp_path / "m.onnx")
    assert len(recurrent_nodes(tmp_path / "m.onnx")) == 6
    assert result.stops == 'layer "write" (RNN) takes its initial state from another layer'


def test_a_constant_initial_state_stops_the_stream(keras: Any, layers: Any, shuffled: Any, tmp_path: Path) -> None:
    x = keras.Input(batch_shape=(1, None, FEATURES))
    y = layers.GRU(4, name="begun")(x, initial_state=np.ones((1, 4), np.float32))
    result = to_onnx(shuffled(keras.Model(x, y)), tmp_path / "m.onnx", verify=False)
    assert result.stops == 'layer "begun" (GRU) has an initial state of its own'


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [True, False])
def test_both_directions_of_a_stack_have_a_node_per_cell(
    merge: str | None, sequences: bool, keras: Any, cells: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    x = keras.Input((None, FEATURES))
    both = layers.Bidirectional(layers.RNN(cells(), return_sequences=sequences), merge_mode=merge, name="both")
    to_onnx(shuffled(keras.Model(x, both(x))), tmp_path / "m.onnx")
    names = {node.name for node in recurrent_nodes(tmp_path / "m.onnx")}
    assert names == {f"both/{side}/cell_{i}" for side in ("forward", "backward") for i in range(3)}


def test_both_directions_of_a_stack_return_and_take_states(
    keras: Any, cells: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    x = keras.Input((None, FEATURES))
    first = layers.Bidirectional(layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], return_state=True))
    second = layers.Bidirectional(layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], return_sequences=True))
    y, *states = first(x)
    to_onnx(shuffled(keras.Model(x, [y, second(x, initial_state=list(states))])), tmp_path / "m.onnx")
    assert len(recurrent_nodes(tmp_path / "m.onnx")) == 8


def test_halves_of_other_cells_and_widths_are_joined(
    keras: Any, layers: Any, shuffled: Any, ends: Any, tmp_path: Path
) -> None:
    x = keras.Input((None, FEATURES))
    backward = layers.GRU(2, return_sequences=True, go_backwards=True)
    for merge in ("concat", None):
        both = layers.Bidirectional(layers.LSTM(4, return_sequences=True), merge, backward_layer=backward)
        to_onnx(shuffled(keras.Model(x, both(x))), tmp_path / "m.onnx")
        widths = [shape[-1] for shape in ends(tmp_path / "m.onnx")[1].values()]
        assert widths == ([6] if merge else [4, 2])


@pytest.mark.parametrize("sequences", [True, False])
def test_halves_that_are_turned_round_are_exact(
    sequences: bool, keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    x = keras.Input((None, FEATURES))
    forward = layers.GRU(4, return_sequences=sequences, go_backwards=True)
    both = layers.Bidirectional(forward, "sum", backward_layer=layers.LSTM(4, return_sequences=sequences))
    to_onnx(shuffled(keras.Model(x, both(x))), tmp_path / "m.onnx")


def test_states_of_a_shared_stack_are_carried_apart(
    cells: Any, keras: Any, layers: Any, shuffled: Any, ort: Any, tmp_path: Path
) -> None:
    x = keras.Input((None, FEATURES))
    shared = layers.RNN([layers.GRUCell(FEATURES), layers.LSTMCell(FEATURES)], return_sequences=True, name="shared")
    model = shuffled(keras.Model(x, shared(shared(x))))
    result = to_onnx(model, tmp_path / "m.onnx")
    assert [pair.input for pair in result.spec.states] == [
        f"shared/{place}" for place in (
            "cell_0/call_0/initial_h", "cell_1/call_0/initial_h", "cell_1/call_0/initial_c",
            "cell_0/call_1/initial_h", "cell_1/call_1/initial_h", "cell_1/call_1/initial_c",
        )
    ]  # fmt: skip
    generator = np.random.default_rng(3)
    x = generator.standard_normal((1, 5, FEATURES)).astype(np.float32)
    run = ort(tmp_path / "m.onnx")
    state = {pair.input: np.zeros((1, 1, FEATURES), np.float32) for pair in result.spec.states}
    steps = []
    for t in range(5):
        answer = run({"x": x[:, t : t + 1], **state})
        state = {pair.input: answer[pair.output] for pair in result.spec.states}
        steps.append(answer["y"][:, 0])
    np.testing.assert_allclose(np.stack(steps, 1), np.asarray(model(x)), rtol=0, atol=ROUNDING)


def test_a_cell_of_the_user_inside_a_stack_is_refused(keras: Any, layers: Any, sequential: Any, tmp_path: Path) -> None:
    class Leaky(keras.layers.GRUCell):  # type: ignore[name-defined, misc]
        pass

    stack = layers.RNN([layers.LSTMCell(3), Leaky(3)], name="own")
    with pytest.raises(ExportError, match=r'layer "own": cell Leaky has no ONNX operator; use SimpleRNNCell, GRUCell'):
        to_onnx(sequential((None, FEATURES), stack), tmp_path / "m.onnx")


def test_an_activation_inside_a_stack_is_refused(layers: Any, sequential: Any, tmp_path: Path) -> None:
    stack = layers.RNN([layers.LSTMCell(3), layers.GRUCell(3, recurrent_activation="gelu")], name="own")
    with pytest.raises(ExportError, match='layer "own": recurrent_activation "gelu" has no ONNX recurrent form'):
        to_onnx(sequential((None, FEATURES), stack), tmp_path / "m.onnx")


def test_what_is_no_recurrent_layer_is_refused_inside_bidirectional(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    @keras.saving.register_keras_serializable("edgeinfer_tests")
    class Turned(keras.layers.Layer):  # type: ignore[name-defined, misc]
        def __init__(self, go_backwards: bool = False, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.go_backwards, self.stateful, self.return_sequences, self.return_state = (
                go_backwards,
                False,
                True,
                False,
            )

        def call(self, x: Any, initial_state: Any = None) -> Any:
            return x

        def compute_output_shape(self, shape: Any, initial_state_shape: Any = None) -> Any:
            return shape

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "go_backwards": self.go_backwards}

    x = keras.Input((None, FEATURES))
    model = keras.Model(x, layers.Bidirectional(Turned(name="turned"))(x))
    with pytest.raises(ExportError, match='layer "forward_turned": Turned has no cell that ONNX knows; use a'):
        to_onnx(model, tmp_path / "m.onnx")
