"""Precision fast: int8 weights and a state in 8 bits, on every instruction set, and what refuses it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from graphs import GATES, draw, node, recurrent_model, value
from graphs import build as build_file
from small_files import DIRECTIONS, cell_feeds, int8_rows, small_cell

import edgeinfer
from edgeinfer.backends import native as backend
from edgeinfer.graph import prepare
from edgeinfer.graph.ops import REGISTRY
from edgeinfer.kernels import native
from edgeinfer.kernels.twins.recurrent import in_8_bits
from edgeinfer.onnx_file import read_model

# One step from the same state: float32 sums of x, and whole sums of h that are exact.
TOLERANCE = 3e-6
# Rounding h to 255 steps moves each of up to 33 products by 1/254 of a weight below 1/√33, and c carries it on.
FAST_ERROR = 0.02
SIZES = (1, 7, 8, 9, 15, 16, 17, 31, 33, 50, 64)
CELLS = [(op, linear) for op in GATES for linear in ((0, 1) if op == "GRU" else (0,))]
ALWAYS: dict[str, Any] = {"backend": "native"}


@pytest.fixture(params=[True, False], ids=["vnni", "without_vnni"])
def vnni(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With the extension where this CPU has it, and without."""
    if not request.param:
        monkeypatch.setattr(backend, "core_has_vnni", lambda isa: False)
    elif not any(native.core_has_vnni(isa) for isa in native.core_names()):
        pytest.skip("this CPU has no AVX-512 VNNI")
    found: bool = request.param
    return found


def answers(data: bytes, feeds: Any, **engine: Any) -> list[np.ndarray]:
    return edgeinfer.load(data, **ALWAYS, **engine).run(None, feeds)


def twin(data: bytes, feeds: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """One node in float64 on the widened weights, h rounded to 8 bits before it meets R."""
    graph = prepare(read_model(data)).graph
    (cell,) = graph.nodes
    arrays = {**graph.constants, **feeds}
    ins = [arrays[name].astype(np.float64) if name else None for name in cell.inputs]
    return REGISTRY[cell.op_type].twin(cell.attributes, *ins, rounded=in_8_bits)


@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize(("op", "linear"), CELLS)
def test_a_step_equals_its_twin(op: str, linear: int, hidden: int, isa: str, vnni: bool) -> None:
    for direction, batch in itertools.product(DIRECTIONS, (1, 3)):
        data = small_cell("int8", op, hidden, direction=direction, linear=linear, features=5)
        feeds = cell_feeds(op, hidden, directions=DIRECTIONS[direction], steps=1, batch=batch, features=5)
        for y, true in zip(answers(data, feeds, isa=isa, precision="fast"), twin(data, dict(feeds)), strict=True):
            np.testing.assert_allclose(y, true, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("direction", list(DIRECTIONS))
@pytest.mark.parametrize(("op", "linear"), CELLS)
@pytest.mark.parametrize("kind", ["int8 exact", "int8 fast", "float16"])
def test_a_step_a_sequence_and_a_batch_row_have_the_same_bits(
    kind: str, op: str, linear: int, direction: str, isa: str
) -> None:
    precision = "fast" if kind == "int8 fast" else "exact"
    for hidden in (7, 16, 33, 64):
        data = small_cell(kind.split()[0], op, hidden, direction=direction, linear=linear)
        feeds = dict(cell_feeds(op, hidden, directions=DIRECTIONS[direction], steps=5))
        model = edgeinfer.load(data, **ALWAYS, isa=isa, precision=precision)
        assert model.arithmetic == kind
        whole = model.run(None, feeds)
        for row in range(3):
            alone = model.run(None, {name: array[:, row : row + 1] for name, array in feeds.items()})
            for y, part in zip(whole, alone, strict=True):
                np.testing.assert_array_equal(y[..., row : row + 1, :], part)
        if direction == "bidirectional":
            continue
        states = {name: array for name, array in feeds.items() if name != "X"}
        for step in range(5) if direction == "forward" else range(4, -1, -1):
            y, *after = model.run(None, {"X": feeds["X"][step : step + 1], **states})
            np.testing.assert_array_equal(y[0], whole[0][step])
            states = dict(zip(states, after, strict=True))


@pytest.mark.parametrize(("op", "linear"), CELLS)
def test_all_instruction_sets_with_fma_give_the_same_bits(
    op: str, linear: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_fma = [name for name in native.core_names() if name != "generic"]
    for hidden in (9, 16, 50, 64, 130):
        data, feeds = small_cell("int8", op, hidden, linear=linear), cell_feeds(op, hidden)
        found = [answers(data, feeds, isa=name, precision="fast") for name in with_fma]
        with monkeypatch.context() as patch:
            patch.setattr(backend, "core_has_vnni", lambda isa: False)
            found += [answers(data, feeds, isa=name, precision="fast") for name in with_fma]
        for other in found[1:]:
            for y, first in zip(other, found[0], strict=True):
                np.testing.assert_array_equal(y, first)


def test_whole_sums_have_the_same_bits_on_every_instruction_set_generic_too(vnni: bool) -> None:
    """Without x and bias, and with Softsign, nothing is left that FMA rounds otherwise. Extreme weights and states."""
    hidden = 67
    signs = np.where(np.arange(hidden * hidden).reshape(1, hidden, hidden) % 3 == 0, -1.0, 1.0)
    values, scale = int8_rows((signs * 0.8).astype(np.float32), 1)
    assert np.abs(values).min() == 127
    constants = {"W": np.zeros((1, hidden, 1), np.int8), "Ws": np.ones(hidden, np.float32), "R": values, "Rs": scale}
    nodes = [
        node("DequantizeLinear", ["W", "Ws"], ["w"], "w", axis=1),
        node("DequantizeLinear", ["R", "Rs"], ["r"], "r", axis=1),
        node("RNN", ["x", "w", "r", "", "", "h"], ["y"], "cell", hidden_size=hidden, activations=["Softsign"]),
    ]
    ins = [value("x", ["time", 1, 1]), value("h", [1, 1, hidden])]
    data = build_file(nodes, ins, [value("y", None)], constants)
    for h in (np.ones((1, 1, hidden)), -np.ones((1, 1, hidden)), np.tanh(draw(1, 1, hidden))):
        feeds = {"x": np.zeros((4, 1, 1), np.float32), "h": h.astype(np.float32)}
        found = [answers(data, feeds, isa=name, precision="fast")[0] for name in native.core_names()]
        assert all(np.array_equal(found[0], y) for y in found[1:])
        exact = answers(data, feeds)[0]
        assert 0 < np.abs(found[0] - exact).max() < FAST_ERROR or np.abs(h).min() == 1


@pytest.mark.parametrize(("op", "linear"), CELLS)
def test_fast_stays_close_to_exact_over_a_thousand_steps(op: str, linear: int, isa: str) -> None:
    data = small_cell("int8", op, 33, linear=linear)
    feeds = cell_feeds(op, 33, steps=1000, batch=1)
    pairs = zip(answers(data, feeds, isa=isa, precision="fast"), answers(data, feeds, isa=isa), strict=True)
    for name, (fast, exact) in zip(("Y", "h", "c"), pairs, strict=False):
        assert np.isfinite(fast).all(), name
        if name != "c":
            assert 0 < np.abs(fast - exact).max() < 2 * FAST_ERROR


@pytest.mark.parametrize(("op", "linear"), CELLS)
def test_nan_in_the_state_spreads_to_every_unit_as_in_float32(op: str, linear: int, isa: str, vnni: bool) -> None:
    data = small_cell("int8", op, 17, linear=linear)
    feeds = dict(cell_feeds(op, 17, steps=2, batch=1))
    feeds["initial_h"] = feeds["initial_h"].copy()
    feeds["initial_h"][0, 0, 16] = np.nan
    model = edgeinfer.load(data, **ALWAYS, isa=isa, precision="fast", nan="propagate")
    assert all(np.isnan(y).all() for y in model.run(None, feeds))
    later = dict(cell_feeds(op, 17, steps=3, batch=1))
    later["X"] = later["X"].copy()
    later["X"][1, 0, 0] = np.nan
    y = model.run(None, later)[0]
    assert np.isfinite(y[0]).all() and np.isnan(y[1:]).all()


def test_a_state_beyond_1_is_limited_where_it_meets_the_weights(isa: str) -> None:
    data = small_cell("int8", "RNN", 9)
    feeds = dict(cell_feeds("RNN", 9, steps=1))
    limited = {**feeds, "initial_h": np.sign(feeds["initial_h"])}
    beyond = {**feeds, "initial_h": 5 * np.sign(feeds["initial_h"])}
    for y, same in zip(*(answers(data, f, isa=isa, precision="fast") for f in (beyond, limited)), strict=True):
        np.testing.assert_array_equal(y, same)


def test_a_stream_steps_through_a_fast_model_with_the_bits_of_a_sequence(isa: str) -> None:
    data = small_cell("int8", "LSTM", 20, spec={"mode": "stream", "states": STATE_PAIRS})
    model = edgeinfer.load(data, **ALWAYS, isa=isa, precision="fast")
    xs = draw(7, 3)
    stream, other = model.stream(), model.stream()
    steps = np.stack([stream.step(x) for x in xs])
    np.testing.assert_array_equal(steps, other.run(xs))
    np.testing.assert_array_equal(steps, model.run(["Y"], {"X": xs[:, None]})[0][:, 0])


STATE_PAIRS = [{"input": f"initial_{k}", "output": f"Y_{k}"} for k in "hc"]


def test_the_file_decides_and_load_overrides_it() -> None:
    asking = small_cell("int8", "GRU", 9, spec={"weights": "int8", "activations": "int8"})
    silent = small_cell("int8", "GRU", 9)
    cases = [(asking, None, "fast"), (asking, "exact", "exact"), (silent, None, "exact"), (silent, "fast", "fast")]
    for data, precision, expected in cases:
        model = edgeinfer.load(data, **ALWAYS, precision=precision)  # type: ignore[arg-type]
        assert model.arithmetic == f"int8 {expected}" == model.describe()["arithmetic"]


@pytest.mark.parametrize("other", ["reference", "onnxruntime"])
def test_other_backends_compute_exactly_what_a_file_asks_to_be_fast(other: Any) -> None:
    data = small_cell("int8", "GRU", 9, spec={"weights": "int8", "activations": "int8"})
    feeds = cell_feeds("GRU", 9)
    model = edgeinfer.load(data, backend=other)
    assert model.arithmetic == "float32"
    for y, exact in zip(model.run(None, feeds), answers(data, feeds, precision="exact"), strict=True):
        np.testing.assert_allclose(y, exact, atol=1e-5)
    with pytest.raises(edgeinfer.ModelLoadError, match=f"precision fast: only the native backend has it, {other}"):
        edgeinfer.load(data, backend=other, precision="fast")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"op": "RNN", "activations": ["Relu"]}, "not bounded by 1 with the activations Relu"),
    ({"op": "LSTM", "activations": ["Sigmoid", "Tanh", "Relu"]}, "the activations Sigmoid, Tanh, Relu"),
    ({"op": "LSTM", "activations": ["Relu", "Tanh", "Tanh"]}, "the activations Relu, Tanh"),
    ({"op": "GRU", "activations": ["Tanh", "Tanh"]}, "the activations Tanh"),
    ({"op": "GRU", "activations": ["Sigmoid", "Elu"], "activation_alpha": [1.0]}, "the activations Sigmoid, Elu"),
    (
        {"op": "RNN", "activations": ["ScaledTanh"], "activation_alpha": [1.5], "activation_beta": [1.0]},
        "the activations ScaledTanh",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_a_state_without_a_bound_is_refused_by_name_with_the_way_out(arguments: dict[str, Any], message: str) -> None:
    data = small_cell("int8", hidden=5, **arguments)
    with pytest.raises(edgeinfer.ModelLoadError) as caught:
        edgeinfer.load(data, **ALWAYS, precision="fast")
    text = str(caught.value)
    assert text.startswith(f'precision fast: in node "cell" ({arguments["op"]}): its state is not bounded')
    assert message in text and text.endswith("; load it with precision='exact'")
    assert edgeinfer.load(data, **ALWAYS, precision="exact").arithmetic == "int8 exact"


@pytest.mark.parametrize(
    "arguments",
    [
        {"op": "RNN", "activations": ["ScaledTanh"], "activation_alpha": [0.9], "activation_beta": [1.0]},
        {"op": "LSTM", "activations": ["HardSigmoid", "Relu", "Softsign"]},
        {"op": "GRU", "activations": ["HardSigmoid", "Softsign"]},
    ],
)
def test_other_bounded_activations_are_fast_too(arguments: dict[str, Any], isa: str) -> None:
    data = small_cell("int8", hidden=20, **arguments)
    feeds = cell_feeds(arguments["op"], 20, steps=1)
    for y, true in zip(answers(data, feeds, isa=isa, precision="fast"), twin(data, dict(feeds)), strict=True):
        np.testing.assert_allclose(y, true, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("data", [recurrent_model("LSTM"), small_cell("float16", "LSTM", 5)])
def test_a_file_without_int8_weights_is_refused(data: bytes) -> None:
    with pytest.raises(edgeinfer.ModelLoadError) as caught:
        edgeinfer.load(data, **ALWAYS, precision="fast")
    assert str(caught.value) == (
        "precision fast: the file has no recurrent node with int8 weights; "
        "edgeinfer export quantize --weights int8 --activations int8 makes one, precision='exact' runs this one"
    )


def test_an_asymmetric_minus_128_is_refused() -> None:
    import onnx
    from onnx import numpy_helper

    proto = onnx.load_from_string(small_cell("int8", "RNN", 3))
    (tensor,) = (t for t in proto.graph.initializer if t.name == "R/q")
    tensor.CopyFrom(numpy_helper.from_array(np.full((1, 3, 3), -128, np.int8), "R/q"))
    data = proto.SerializeToString()
    with pytest.raises(edgeinfer.ModelLoadError, match=r"R holds -128, and 8 bits are symmetric here, \[-127, 127\]"):
        edgeinfer.load(data, **ALWAYS, precision="fast")
    feeds = cell_feeds("RNN", 3)
    np.testing.assert_allclose(
        answers(data, feeds)[0], edgeinfer.load(data, backend="reference").run(None, feeds)[0], atol=1e-5
    )


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(edgeinfer.ModelLoadError) as caught:
        edgeinfer.load(recurrent_model("LSTM"), precision="half")  # type: ignore[arg-type]
    assert str(caught.value) == "precision: expected 'exact' or 'fast', got 'half'"


@pytest.mark.parametrize(
    ("kind", "precision", "share"), [("float16", None, 0.55), ("int8", "exact", 0.3), ("int8", "fast", 0.3)]
)
def test_the_packed_weights_are_as_small_as_the_stored_ones(kind: str, precision: Any, share: float, isa: str) -> None:
    def packed(data: bytes, **engine: Any) -> int:
        model = edgeinfer.load(data, **ALWAYS, isa=isa, **engine)
        model.run(None, cell_feeds("LSTM", 128, features=16))
        blob = model._backend._weights.blob  # type: ignore[attr-defined]
        return int(blob.nbytes)

    small = packed(small_cell(kind, "LSTM", 128, features=16), precision=precision)
    assert small < share * packed(small_cell("", "LSTM", 128, features=16, kinds=("float32", "float32")))
