"""LSTM, GRU and RNN nodes on every instruction set: against ONNX Runtime, the float64 definition, and themselves."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from graphs import GATES, ask_onnxruntime, build, draw, node, recurrent_model, value, weights

import edgeinfer
from edgeinfer.graph.ops import REGISTRY
from edgeinfer.graph.ops.recurrent import GATES as KNOWN_GATES
from edgeinfer.kernels import native
from edgeinfer.kernels.twins.activations import RECURRENT
from edgeinfer.plan.instructions import STEPS_AHEAD

# Sums of up to 66 products in another order, fed back for 6 steps.
TOLERANCE = 5e-6
# Activations without a bound let states grow, and rounding with them: relative to max(1, |y|).
LOOSE_TOLERANCE = 2e-5

SIZES = (1, 7, 8, 9, 15, 16, 17, 31, 33)
# a sequence sums the x of so many steps together, then of the next ones
PAST_A_TURN = STEPS_AHEAD + 6
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
STATES = {"RNN": "h", "GRU": "h", "LSTM": "hc"}
SAMPLE = 160

Case = dict[str, Any]


def cases() -> list[Case]:
    """The product of everything that changes the code path."""
    found = []
    for op, hidden, direction, linear, bias, initial, (steps, batch) in itertools.product(
        GATES, SIZES, DIRECTIONS, (0, 1), (False, True), (False, True), itertools.product((1, 6), (1, 3))
    ):
        if linear and op != "GRU":
            continue
        found.append(
            {
                "op": op,
                "features": SIZES[7 * len(found) % len(SIZES)],  # each with each other dimension, not a product more
                "hidden": hidden,
                "direction": direction,
                "linear": linear,
                "bias": bias,
                "initial": initial,
                "steps": steps,
                "batch": batch,
            }
        )
    return found


def cell_file(case: Case, **attributes: Any) -> tuple[bytes, dict[str, np.ndarray]]:
    """One node, and what to feed it."""
    op, features, hidden = case["op"], case["features"], case["hidden"]
    directions = DIRECTIONS[case["direction"]]
    constants = weights(op, features, hidden, directions)
    feeds = {"X": draw(case["steps"], case["batch"], features)}
    inputs = ["X", "W", "R", "B" if case["bias"] else ""]
    if not case["bias"]:
        del constants["B"]
    if case["initial"]:
        for k in STATES[op]:
            feeds[f"initial_{k}"] = draw(directions, case["batch"], hidden, seed=ord(k))
        inputs += ["", *(f"initial_{k}" for k in STATES[op])]
    while not inputs[-1]:
        inputs.pop()
    outputs = ["Y", *(f"Y_{k}" for k in STATES[op])]
    if op == "GRU":
        attributes["linear_before_reset"] = case["linear"]
    nodes = [node(op, inputs, outputs, "cell", hidden_size=hidden, direction=case["direction"], **attributes)]
    given = [value("X", ["time", "batch", features])] + [
        value(name, [directions, "batch", hidden]) for name in feeds if name != "X"
    ]
    return build(nodes, given, [value(y, None) for y in outputs], constants), feeds


def check(case: Case) -> None:
    data, feeds = cell_file(case)
    expected = ask_onnxruntime(data, feeds)
    engines: list[dict[str, Any]] = [{"backend": "native", "isa": name} for name in native.core_names()]
    for engine in [*engines, {"backend": "reference"}]:
        model = edgeinfer.load(data, **engine)
        for y, true in zip(model.run(None, feeds), expected, strict=True):
            assert y.shape == true.shape
            np.testing.assert_allclose(y, true, rtol=0, atol=TOLERANCE, err_msg=f"{case} {engine}")


ALL = cases()


@pytest.mark.parametrize("index", np.random.default_rng(1).choice(len(ALL), SAMPLE, replace=False).tolist())
def test_a_cell_gives_what_onnx_runtime_gives(index: int) -> None:
    check(ALL[index])


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(ALL)))
def test_every_cell_gives_what_onnx_runtime_gives(index: int) -> None:
    check(ALL[index])


def _usual(op: str, direction: str = "forward", **more: Any) -> Case:
    usual = {"op": op, "features": 3, "hidden": 9, "direction": direction, "linear": 0, "bias": True, "initial": True}
    return {**usual, "steps": 6, "batch": 3, **more}


PARAMETERS = {"Affine": (0.7, 0.1), "ScaledTanh": (1.7, 0.6), "HardSigmoid": (0.3, 0.4)}
ALPHA = {"Elu": 0.4, "LeakyRelu": 0.05, "ThresholdedRelu": 0.3}
COUNTS = {"RNN": 1, "GRU": 2, "LSTM": 3}


def close(y: np.ndarray, true: np.ndarray, tolerance: float) -> None:
    scale = np.maximum(1, np.abs(true))
    np.testing.assert_allclose(y / scale, true / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("name", list(RECURRENT))
def test_every_activation_stands_in_every_place(name: str, op: str, position: int, isa: str) -> None:
    count = COUNTS[op]
    if position >= count:
        position %= count
    names = ["Sigmoid", "Tanh", "Tanh"][:count] if op != "RNN" else ["Tanh"]
    names[position] = name
    attributes: dict[str, Any] = {"activations": names}
    if name in PARAMETERS:
        attributes |= {"activation_alpha": [PARAMETERS[name][0]], "activation_beta": [PARAMETERS[name][1]]}
    elif name in ALPHA:
        attributes["activation_alpha"] = [ALPHA[name]]
    data, feeds = cell_file(_usual(op), **attributes)
    expected = ask_onnxruntime(data, feeds)
    for engine in ({"backend": "native", "isa": isa}, {"backend": "reference"}):
        for y, true in zip(edgeinfer.load(data, **engine).run(None, feeds), expected, strict=True):
            close(y, true, LOOSE_TOLERANCE)


@pytest.mark.parametrize("name", [name for name in RECURRENT if name not in ("ThresholdedRelu", "Elu")])
def test_an_activation_without_parameters_takes_its_default(name: str, isa: str) -> None:
    data, feeds = cell_file(_usual("RNN"), activations=[name])
    y = edgeinfer.load(data, backend="native", isa=isa).run(None, feeds)[0]
    expected = definition(data, feeds)[0]
    close(y, expected, LOOSE_TOLERANCE)


def test_activation_names_may_be_written_in_any_case() -> None:
    data, feeds = cell_file(_usual("GRU"), activations=["sigmoid", "TANH"])
    plain, _ = cell_file(_usual("GRU"))
    for y, true in zip(edgeinfer.load(data).run(None, feeds), edgeinfer.load(plain).run(None, feeds), strict=True):
        np.testing.assert_array_equal(y, true)


@pytest.mark.parametrize(
    ("activations", "alpha", "beta", "wanted"),
    [
        # only those that take a value consume one
        (["Sigmoid", "LeakyRelu", "HardSigmoid"], [0.3, 0.25], [0.4], [(0, 0), (0.3, 0), (0.25, 0.4)]),
        # a list as long as the names has one for each
        (["Sigmoid", "LeakyRelu", "HardSigmoid"], [9.0, 0.3, 0.25], [9.0, 9.0, 0.4], [(0, 0), (0.3, 0), (0.25, 0.4)]),
        (["HardSigmoid", "Tanh", "Tanh"], [0.25], [], [(0.25, 0.5), (0, 0), (0, 0)]),
        (["HardSigmoid", "Tanh", "Tanh"], [], [], [(0.2, 0.5), (0, 0), (0, 0)]),
    ],
)
def test_activation_parameters_are_consumed_in_order(
    activations: list[str], alpha: list[float], beta: list[float], wanted: list[tuple[float, float]], isa: str
) -> None:
    more: dict[str, Any] = {"activations": activations}
    if alpha:
        more["activation_alpha"] = alpha
    if beta:
        more["activation_beta"] = beta
    data, feeds = cell_file(_usual("LSTM"), **more)
    functions = [
        (lambda x, n=name, a=a, b=b: RECURRENT[n][0](x, a, b)) for name, (a, b) in zip(activations, wanted, strict=True)
    ]
    expected = lstm_by_hand(data, feeds, *functions)
    for engine in ({"backend": "native", "isa": isa}, {"backend": "reference"}):
        close(edgeinfer.load(data, **engine).run(["Y"], feeds)[0], expected, LOOSE_TOLERANCE)


def lstm_by_hand(data: bytes, feeds: dict[str, np.ndarray], f: Any, g: Any, h_act: Any) -> np.ndarray:
    """ONNX's equations, once more, in float64 and for one direction."""
    w = {k: v.astype(np.float64)[0] for k, v in weights("LSTM", 3, 9).items()}
    x, h, c = (feeds[k].astype(np.float64) for k in ("X", "initial_h", "initial_c"))
    h, c = h[0], c[0]
    ys = []
    for x_t in x:
        i, o, fo, n = np.split(x_t @ w["W"].T + h @ w["R"].T + w["B"][:36] + w["B"][36:], 4, axis=1)
        c = f(fo) * c + f(i) * g(n)
        h = f(o) * h_act(c)
        ys.append(h)
    return np.stack(ys)[:, None]


def definition(data: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The twin in float64."""
    prepared = edgeinfer.load(data, backend="reference")._prepared
    assert prepared is not None
    (cell,) = prepared.graph.nodes
    wide = {**prepared.graph.constants, **feeds}
    ins = [None if not name else wide[name].astype(np.float64) for name in cell.inputs]
    return list(REGISTRY[cell.op_type].twin(cell.attributes, *ins))


@pytest.mark.parametrize("direction", list(DIRECTIONS))
@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("hidden", [1, 8, 17, 33])
def test_a_cell_gives_what_its_definition_gives_in_float64(op: str, direction: str, hidden: int, isa: str) -> None:
    for linear in (0, 1) if op == "GRU" else (0,):
        data, feeds = cell_file(_usual(op, direction, hidden=hidden, linear=linear))
        for y, true in zip(
            edgeinfer.load(data, backend="native", isa=isa).run(None, feeds), definition(data, feeds), strict=True
        ):
            assert y.dtype == np.float32
            np.testing.assert_allclose(y, true, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("direction", list(DIRECTIONS))
@pytest.mark.parametrize("op", list(GATES))
def test_no_steps_leave_the_state_as_it_was(op: str, direction: str, initial: bool, isa: str) -> None:
    data, feeds = cell_file(_usual(op, direction, steps=0, initial=initial))
    for engine in ({"backend": "native", "isa": isa}, {"backend": "reference"}):
        y, *finals = edgeinfer.load(data, **engine).run(None, feeds)
        assert y.shape == (0, DIRECTIONS[direction], 3, 9)
        for k, final in zip(STATES[op], finals, strict=True):
            expected = feeds.get(f"initial_{k}", np.zeros((DIRECTIONS[direction], 3, 9), np.float32))
            np.testing.assert_array_equal(final, expected)


@pytest.mark.parametrize("op", list(GATES))
def test_an_empty_batch_gives_empty_answers(op: str, isa: str) -> None:
    data, feeds = cell_file(_usual(op, batch=0))
    for y in edgeinfer.load(data, backend="native", isa=isa).run(None, feeds):
        assert y.size == 0


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("wanted", [["Y"], ["Y_h"]])
def test_an_output_that_is_not_wanted_changes_nothing(op: str, wanted: list[str], isa: str) -> None:
    case = _usual(op, "bidirectional")
    data, feeds = cell_file(case)
    model = edgeinfer.load(data, backend="native", isa=isa)
    constants = weights(op, 3, 9, 2)
    names = ["Y", "Y_h", *(["Y_c"] if op == "LSTM" else [])]
    outputs = [name if name in wanted else "" for name in names]
    while not outputs[-1]:
        outputs.pop()
    inputs = ["X", "W", "R", "B", "", *(f"initial_{k}" for k in STATES[op])]
    alone = build(
        [node(op, inputs, outputs, hidden_size=9, direction="bidirectional")],
        [value("X", [None, None, 3]), *(value(f"initial_{k}", [2, None, 9]) for k in STATES[op])],
        [value(wanted[0], None)],
        constants,
    )
    y = edgeinfer.load(alone, backend="native", isa=isa).run(None, feeds)[0]
    np.testing.assert_array_equal(y, model.run(wanted, feeds)[0])


@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize("op", list(GATES))
def test_steps_the_sequence_and_one_call_are_bit_for_bit_equal(op: str, hidden: int, isa: str) -> None:
    for linear in (0, 1) if op == "GRU" else (0,):
        more = {"linear_before_reset": linear} if op == "GRU" else {}
        data = recurrent_model(op, 3, hidden, 5, **more)
        model = edgeinfer.load(data, backend="native", isa=isa)
        xs = draw(PAST_A_TURN, 3, seed=hidden)
        whole = model(xs[None])[0]
        stream, twin = model.stream(), model.stream()
        np.testing.assert_array_equal(stream.run(xs), whole)
        np.testing.assert_array_equal(np.stack([twin.step(x) for x in xs]), whole)
        assert stream.snapshot() == twin.snapshot()
        mixed = model.stream()
        parts = [mixed.run(xs[:4]), mixed.step(xs[4])[None], mixed.run(xs[5:5]), mixed.run(xs[5:])]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("op", list(GATES))
def test_a_row_of_a_batch_is_bit_for_bit_the_row_alone(op: str, isa: str) -> None:
    model = edgeinfer.load(recurrent_model(op, 3, 17, 9), backend="native", isa=isa)
    x = draw(7, 5, 3)
    whole = model(x)
    for row, alone in zip(whole, x, strict=True):
        np.testing.assert_array_equal(model(alone[None])[0], row)


@pytest.mark.parametrize("op", list(GATES))
def test_a_sequence_cut_anywhere_goes_on_where_it_was(op: str, isa: str) -> None:
    model = edgeinfer.load(recurrent_model(op, 3, 17, 2), backend="native", isa=isa)
    x = draw(2, PAST_A_TURN, 3)
    whole, *finals = model.run(None, {"x": x})
    names = [state.input for state in model.states]
    for cut in (0, 1, 4, STEPS_AHEAD - 1, PAST_A_TURN):
        first, *states = model.run(None, {"x": x[:, :cut]})
        second, *ends = model.run(None, {"x": x[:, cut:], **dict(zip(names, states, strict=True))})
        np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)
        for end, final in zip(ends, finals, strict=True):
            np.testing.assert_array_equal(end, final)


@pytest.mark.parametrize("op", list(GATES))
def test_the_last_row_of_a_stream_is_the_answer_of_a_model_that_gives_its_end(op: str, isa: str) -> None:
    model = edgeinfer.load(recurrent_model(op, last=True), backend="native", isa=isa)
    xs = draw(8, 3)
    assert model(xs[None]).shape == (1, 2)
    ys = model.stream().run(xs)
    assert ys.shape == (8, 2)
    np.testing.assert_array_equal(ys[-1], model(xs[None])[0])


def test_stacked_cells_stream_as_they_run(isa: str) -> None:
    constants = {f"{k}{i}": a for i in (0, 1) for k, a in weights("GRU", (3, 8)[i], 8, seed=i).items()}
    constants["axis"] = np.array([1], np.int64)
    nodes = [
        node("GRU", ["x", "W0", "R0", "B0"], ["Y0"], hidden_size=8),
        node("Squeeze", ["Y0", "axis"], ["s0"]),
        node("GRU", ["s0", "W1", "R1", "B1"], ["Y1"], hidden_size=8, linear_before_reset=1),
        node("Squeeze", ["Y1", "axis"], ["y"]),
    ]
    data = build(nodes, [value("x", ["time", 1, 3])], [value("y", ["time", 1, 8])], constants)
    model = edgeinfer.load(data, backend="native", isa=isa)
    xs = draw(6, 3)
    ys = model.stream(mode="stream").run(xs)
    np.testing.assert_array_equal(ys, model(xs[:, None])[:, 0])
    np.testing.assert_allclose(ys, ask_onnxruntime(data, {"x": xs[:, None]})[0][:, 0], rtol=0, atol=TOLERANCE)


def test_the_instruction_sets_agree_with_each_other() -> None:
    data = recurrent_model("LSTM", 3, 33, 5)
    xs = draw(20, 3)
    answers = [edgeinfer.load(data, backend="native", isa=name).stream().run(xs) for name in native.core_names()]
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], rtol=0, atol=TOLERANCE)


def test_every_recurrent_operator_of_the_registry_is_covered_here() -> None:
    assert set(KNOWN_GATES) == set(GATES)
