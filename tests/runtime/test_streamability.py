"""Which models stream, which do not and why, and that those which do answer as on the whole sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import SEED, build, draw, node, recurrent_model, token_model, value, weights

import edgeinfer
from edgeinfer.errors import StreamError

TOLERANCE = 1e-6
B, T = "batch", "time"


def model_of(
    *nodes: Any,
    x: Any = (B, T, 3),
    y: Any = None,
    dtype: type = np.float32,
    inputs: Any = (),
    opset: int = 17,
    **constants: np.ndarray,
) -> edgeinfer.Model:
    data = build(nodes, [value("x", x, dtype), *inputs], [value("y", y)], constants, opset=opset)
    return edgeinfer.load(data, backend="native")


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def cell(**attributes: Any) -> list[Any]:
    """x → GRU with 4 units, Y as g."""
    return [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("GRU", ["xt", "W", "R", "B"], ["g", "h"], "gru", hidden_size=4, **attributes),
    ]


W = weights("GRU", 3, 4)
W2 = weights("GRU", 3, 4, 2)
BACK = [node("Squeeze", ["g", "one"], ["s"]), node("Transpose", ["s"], ["y"], perm=[1, 0, 2])]


def refuses(reason: str, *nodes: Any, label: str, **more: Any) -> Any:
    return pytest.param(reason, nodes, more, id=label)


@pytest.mark.parametrize(
    ("reason", "nodes", "more"),
    [
        refuses(
            r'in node "gru" \(GRU\): it looks ahead, since it runs backwards in time',
            *cell(direction="reverse"),
            *BACK,
            **W,
            one=ints(1),
            label="reverse",
        ),
        refuses(
            r'in node "gru" \(GRU\): it looks ahead',
            *cell(direction="bidirectional"),
            node("Transpose", ["g"], ["y"], perm=[2, 0, 1, 3]),
            **W2,
            label="bidirectional",
        ),
        refuses(
            r'in node "n" \(Softmax\): it normalizes over the time axis',
            node("Softmax", ["x"], ["y"], "n", axis=1),
            label="attention over time",
        ),
        refuses(
            r'in node "n" \(Softmax\): it normalizes over the time axis',
            node("MatMul", ["x", "v"], ["s"]),
            node("Softmax", ["s"], ["y"], "n", axis=1),
            v=draw(3),
            label="scores by a vector",
        ),
        refuses(
            r'in node "n" \(ReduceMax\): it reduces over the time axis',
            node("ReduceMax", ["x"], ["y"], "n", axes=[1]),
            label="global pooling",
        ),
        refuses(
            r'in node "n" \(ReduceMean\): it reduces over the time axis',
            node("ReduceMean", ["x"], ["y"], "n", axes=[-2], keepdims=0),
            label="mean over time",
        ),
        refuses(
            r'in node "n" \(Slice\): it cuts the time axis',
            node("Slice", ["x", "a", "b", "axes"], ["y"], "n"),
            a=ints(1),
            b=ints(2**31 - 1),
            axes=ints(1),
            label="cut",
        ),
        refuses(
            r'in node "n" \(Slice\): it cuts the time axis',
            node("Slice", ["x", "a", "b", "axes", "steps"], ["y"], "n"),
            a=ints(-1),
            b=ints(-(2**31)),
            axes=ints(1),
            steps=ints(-1),
            label="turned round",
        ),
        refuses(
            r'in node "n" \(Gather\): it picks single steps',
            node("Gather", ["x", "i"], ["y"], "n", axis=1),
            i=ints(0),
            label="first step",
        ),
        refuses(
            r'in node "n" \(Gather\): it looks steps up by a computed index',
            node("Cast", ["x"], ["i"], to=7),
            node("Gather", ["x", "i"], ["y"], "n", axis=0),
            label="computed index",
        ),
        refuses(
            r'in node "n" \(Concat\): it joins steps along the time axis',
            node("Concat", ["x", "x"], ["y"], "n", axis=1),
            label="concat",
        ),
        refuses(
            r'in node "n" \(Split\): it works along the time axis',
            node("Split", ["x"], ["y", "z"], "n", axis=1),
            label="split",
        ),
        refuses(
            r'in node "n" \(Tile\): it repeats the sequence',
            node("Tile", ["x", "r"], ["y"], "n"),
            r=ints(1, 2, 1),
            label="tile",
        ),
        refuses(
            r'in node "n" \(Add\): its input "p" depends on the number of time steps',
            node("Shape", ["x"], ["s"], start=1, end=2),
            node("Squeeze", ["s", "zero"], ["t"]),
            node("Range", ["first", "t", "step"], ["r"]),
            node("Cast", ["r"], ["f"], to=1),
            node("Unsqueeze", ["f", "one"], ["p"]),
            node("Add", ["x", "p"], ["y"], "n"),
            zero=ints(0),
            one=ints(1),
            first=np.array(0),
            step=np.array(1),
            label="positions",
        ),
        refuses(
            r'in node "n" \(Div\): its input "t" depends on the number of time steps',
            node("Shape", ["x"], ["s"], start=1, end=2),
            node("Cast", ["s"], ["t"], to=1),
            node("Div", ["x", "t"], ["y"], "n"),
            label="divided by length",
        ),
        refuses(
            r'in node "n" \(MatMul\): both factors change with time',
            node("Transpose", ["x"], ["xt"], perm=[0, 2, 1]),
            node("MatMul", ["x", "xt"], ["y"], "n"),
            label="self attention",
        ),
        refuses(
            r'with another number of time steps, in node "n" \(MatMul\): shapes .* do not multiply',
            node("Transpose", ["x"], ["xt"], perm=[0, 2, 1]),
            node("MatMul", ["xt", "w"], ["y"], "n"),
            w=draw(10, 2),
            label="dense over time",
        ),
        refuses(
            r'in node "n" \(Reshape\): it mixes the time axis with others',
            node("Reshape", ["x", "s"], ["y"], "n"),
            s=ints(0, -1),
            label="flattened",
        ),
        refuses(
            r'in node "n" \(Add\): it combines the present step with the whole sequence',
            node("Gather", ["x", "i"], ["last"], axis=1),
            node("Add", ["x", "last"], ["y"], "n"),
            i=np.array(-1),
            x=(B, T, 3),
            label="last against all",
        ),
        refuses(
            r'in node "gru" \(GRU\): its initial state is computed from the input',
            node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
            node("GRU", ["xt", "W", "R", "B"], ["g", "h"], "first", hidden_size=4),
            node("GRU", ["xt", "W", "R", "B", "", "h"], ["y"], "gru", hidden_size=4),
            **W,
            label="encoder decoder",
        ),
        refuses(
            r'in node "gru" \(GRU\): it runs over another axis than the time axis',
            node("GRU", ["x", "W", "R", "B"], ["y"], "gru", hidden_size=4),
            **W,
            x=(1, T, 3),
            label="over the batch",
        ),
        refuses(
            "has its time axis or its batch fixed", node("Relu", ["x"], ["y"]), x=(B, 10, 3), label="fixed time axis"
        ),
        refuses("has its time axis or its batch fixed", node("Relu", ["x"], ["y"]), x=(4, T, 3), label="fixed batch"),
        refuses(r'input "x" \[None\] has no time axis', node("Relu", ["x"], ["y"]), x=(None,), label="one axis"),
        refuses(
            "it has 2 inputs besides states, and a stream steps over one",
            node("Add", ["x", "z"], ["y"]),
            inputs=[value("z", [B, T, 3])],
            label="two inputs",
        ),
        refuses(
            "with another number of time steps",
            node("Add", ["x", "c"], ["y"], "n"),
            c=draw(1, 5, 3),
            label="a constant of five steps",
        ),
    ],
)
def test_a_model_that_cannot_stream_says_why(reason: str, nodes: tuple[Any, ...], more: dict[str, Any]) -> None:
    model = model_of(*nodes, **more)
    assert not model.describe()["streams"]
    with pytest.raises(StreamError, match=rf"the model cannot stream: .*{reason}"):
        model.stream(mode="stream")
    assert model.states == ()


def streams(*nodes: Any, label: str, **more: Any) -> Any:
    return pytest.param(nodes, more, id=label)


@pytest.mark.parametrize(
    ("nodes", "more"),
    [
        streams(node("Relu", ["x"], ["y"]), label="pointwise"),
        streams(node("Softmax", ["x"], ["y"], axis=-1), label="softmax over features"),
        streams(node("ReduceMean", ["x"], ["y"], axes=[2]), label="mean over features"),
        streams(node("ReduceSum", ["x", "a"], ["y"], keepdims=0), a=ints(-1), label="sum over features"),
        streams(node("Split", ["x"], ["a", "y"], axis=2, split=[1, 2]), opset=11, label="split features"),
        streams(node("Concat", ["x", "x"], ["y"], axis=-1), label="concat features"),
        streams(node("Tile", ["x", "r"], ["y"]), r=ints(1, 1, 2), label="tile features"),
        streams(node("Slice", ["x", "a", "b"], ["y"]), a=ints(0, 0, 1), b=ints(9, 2**31, 3), label="slice features"),
        streams(node("MatMul", ["x", "v"], ["y"]), v=draw(3), label="product with a vector"),
        streams(
            node("MatMul", ["x", "m"], ["p"]), node("Add", ["p", "b"], ["y"]), m=draw(3, 2), b=draw(2), label="dense"
        ),
        streams(node("Add", ["x", "c"], ["y"]), c=draw(1, 1, 3), label="constant of one step"),
        streams(
            node("Reshape", ["x", "flat"], ["f"]),
            node("Gemm", ["f", "m"], ["p"]),
            node("Shape", ["x"], ["s"], start=0, end=2),
            node("Concat", ["s", "two"], ["t"], axis=0),
            node("Reshape", ["p", "t"], ["y"]),
            flat=ints(-1, 3),
            m=draw(3, 2),
            two=ints(2),
            label="time distributed",
        ),
        streams(node("Identity", ["x"], ["y"]), label="identity"),
        streams(
            node("Unsqueeze", ["x", "a"], ["u"]),
            node("Squeeze", ["u", "a"], ["s"]),
            node("Expand", ["s", "e"], ["y"]),
            a=ints(0),
            e=ints(1, 1, 1),
            label="unsqueeze and squeeze",
        ),
        streams(node("Where", ["c", "x", "z"], ["y"]), c=np.array([True, False, True]), z=draw(1), label="where"),
        streams(*cell(), *BACK, **W, one=ints(1), label="recurrent"),
    ],
)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_causal_model_streams_what_it_gives_on_the_whole_sequence(
    nodes: tuple[Any, ...], more: dict[str, Any], backend: Any
) -> None:
    opset = more.get("opset", 17)
    constants = {k: v for k, v in more.items() if k != "opset"}
    data = build(nodes, [value("x", [B, T, 3])], [value("y", None)], constants, opset=opset)
    model = edgeinfer.load(data, backend=backend)
    xs = draw(6, 3)
    whole = model(xs[None])[0]
    stream = model.stream(mode="stream")
    found = stream.run(xs)
    assert found.shape == whole.shape
    if backend == "native":
        np.testing.assert_array_equal(found, whole)
    np.testing.assert_allclose(found, whole, rtol=0, atol=TOLERANCE)
    stream.reset()
    np.testing.assert_array_equal(np.stack([np.asarray(stream.step(x)) for x in xs]).reshape(found.shape), found)


@pytest.mark.parametrize("index", [np.array(-1), ints(-1)])
def test_picking_the_last_step_streams(index: np.ndarray) -> None:
    tail = [] if index.ndim == 0 else [node("Squeeze", ["l", "one"], ["y"])]
    picked = node("Gather", ["s2", "i"], ["y" if index.ndim == 0 else "l"], axis=1)
    nodes = [*cell(), BACK[0], node("Transpose", ["s"], ["s2"], perm=[1, 0, 2]), picked, *tail]
    model = model_of(*nodes, **W, one=ints(1), i=index, y=[B, 4])
    xs = draw(5, 3)
    ys = model.stream(mode="stream").run(xs)
    assert ys.shape == (5, 4)
    for length in (1, 3, 5):
        np.testing.assert_array_equal(ys[length - 1], model(xs[None, :length])[0])


@pytest.mark.parametrize("start", [-1, [2**31, -1]])
def test_cutting_the_last_step_off_streams(start: int | list[int]) -> None:
    """As h[:, -1] is written: a slice of one step, then the axis squeezed."""
    backwards = isinstance(start, list)
    first, steps = (start[0], ints(-1)) if isinstance(start, list) else (start, ints(1))
    end = -2 if backwards else 2**31
    cut = node("Slice", ["s2", "first", "end", "one", "steps"], ["l"])
    nodes = [*cell(), BACK[0], node("Transpose", ["s"], ["s2"], perm=[1, 0, 2]), cut]
    nodes.append(node("Squeeze", ["l", "one"], ["y"]))
    model = model_of(*nodes, **W, one=ints(1), first=ints(first), end=ints(end), steps=steps, y=[B, 4])
    xs = draw(5, 3)
    ys = model.stream(mode="stream").run(xs)
    for length in (1, 3, 5):
        np.testing.assert_array_equal(ys[length - 1], model(xs[None, :length])[0])


def test_a_time_major_model_streams() -> None:
    nodes = [
        node("GRU", ["x", "W", "R", "B", "", "h0"], ["g", "h1"], "gru", hidden_size=4),
        node("Squeeze", ["g", "one"], ["y"]),
    ]
    state = [1, B, 4]
    data = build(
        nodes,
        [value("x", [T, B, 3]), value("h0", state)],
        [value("y", [T, B, 4]), value("h1", state)],
        {**W, "one": ints(1)},
    )
    model = edgeinfer.load(data, backend="native")
    xs = draw(5, 3)
    np.testing.assert_array_equal(model.stream().run(xs), model(xs[:, None])[:, 0])
    assert model(draw(5, 2, 3)).shape == (5, 2, 4)


def test_a_time_major_model_with_nameless_dimensions_takes_absent_states_as_zero() -> None:
    nodes = [
        node("GRU", ["x", "W", "R", "B", "", "h0"], ["g", "h1"], "gru", hidden_size=4),
        node("Squeeze", ["g", "one"], ["y"]),
    ]
    data = build(
        nodes,
        [value("x", [None, None, 3]), value("h0", [1, None, 4])],
        [value("y", [None, None, 4]), value("h1", [1, None, 4])],
        {**W, "one": ints(1)},
    )
    model = edgeinfer.load(data, backend="native")
    x = draw(5, 2, 3)
    zero = np.zeros((1, 2, 4), np.float32)
    np.testing.assert_array_equal(model(x), model({"x": x, "h0": zero}))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_cell_over_the_rows_of_each_step_has_no_state_to_carry(direction: str, backend: Any) -> None:
    both = 2 if direction == "bidirectional" else 1
    inner = weights("GRU", 3, 4, both)
    outer = weights("GRU", 4 * both, 2)
    nodes = [
        node("Reshape", ["x", "rows"], ["r"]),
        node("Transpose", ["r"], ["rt"], perm=[1, 0, 2]),
        node("GRU", ["rt", "W", "R", "B"], ["", "i"], "inner", hidden_size=4, direction=direction),
        node("Transpose", ["i"], ["it"], perm=[1, 0, 2]),
        node("Shape", ["x"], ["shape"], start=0, end=2),
        node("Concat", ["shape", "width"], ["steps"], axis=0),
        node("Reshape", ["it", "steps"], ["u"]),
        node("Transpose", ["u"], ["ut"], perm=[1, 0, 2]),
        node("GRU", ["ut", "W2", "R2", "B2"], ["g"], "outer", hidden_size=2),
        *BACK,
    ]
    constants = {**inner, **{f"{name}2": array for name, array in outer.items()}}
    constants.update(rows=ints(-1, 5, 3), width=ints(4 * both), one=ints(1))
    data = build(nodes, [value("x", [B, T, 5, 3])], [value("y", None)], constants)
    model = edgeinfer.load(data, backend=backend)
    xs = draw(6, 5, 3)
    whole = model(xs[None])[0]
    stream = model.stream(mode="stream")
    found = np.stack([stream.step(x) for x in xs])
    np.testing.assert_allclose(found, whole, rtol=0, atol=TOLERANCE)
    if backend == "native":
        np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_final_states_that_are_plain_outputs_stay_outputs_of_the_stream(backend: Any) -> None:
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("LSTM", ["xt", "W", "R", "B"], ["g", "h", "c"], "lstm", hidden_size=4),
        node("Squeeze", ["g", "one"], ["s"]),
        node("Transpose", ["s"], ["y"], perm=[1, 0, 2]),
    ]
    outputs = [value("y", [B, T, 4]), value("h", [1, B, 4]), value("c", [1, B, 4])]
    constants = {**weights("LSTM", 3, 4), "one": ints(1)}
    model = edgeinfer.load(build(nodes, [value("x", [B, T, 3])], outputs, constants), backend=backend)
    xs = draw(5, 3)
    found = model.stream(mode="stream").run(xs)
    whole = model(xs[None])
    assert set(found) == {"y", "h", "c"}
    np.testing.assert_allclose(found["y"], whole["y"][0], rtol=0, atol=TOLERANCE)
    for name in "hc":
        np.testing.assert_allclose(found[name][-1].ravel(), whole[name].ravel(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_state_that_is_changed_on_its_way_to_the_node_is_carried_as_the_file_says(backend: Any) -> None:
    nodes = [
        *cell()[:1],
        node("Mul", ["s0", "half"], ["h0"]),
        node("GRU", ["xt", "W", "R", "B", "", "h0"], ["g", "h1"], "gru", hidden_size=4),
        *BACK,
    ]
    pairs = [{"input": "s0", "output": "h1"}]
    data = build(
        nodes,
        [value("x", [B, T, 3]), value("s0", [1, B, 4])],
        [value("y", [B, T, 4]), value("h1", [1, B, 4])],
        {**W, "one": ints(1), "half": np.array(0.5, np.float32)},
        spec={"mode": "stream", "states": pairs},
    )
    model = edgeinfer.load(data, backend=backend)
    stream = model.stream()
    state = np.zeros((1, 1, 4), np.float32)
    for x in draw(4, 3):
        y, state = model.run(["y", "h1"], {"x": x[None, None], "s0": state})
        np.testing.assert_allclose(stream.step(x), y[0, 0], rtol=0, atol=TOLERANCE)


def test_a_state_input_shared_by_two_cells_does_not_stream() -> None:
    nodes = [
        *cell()[:1],
        node("GRU", ["xt", "W", "R", "B", "", "h0"], ["a"], "one", hidden_size=4),
        node("GRU", ["xt", "W", "R", "", "", "h0"], ["b"], "two", hidden_size=4),
        node("Add", ["a", "b"], ["g"]),
        *BACK,
    ]
    model = model_of(*nodes, **W, one=ints(1), inputs=[value("h0", [1, B, 4])])
    with pytest.raises(StreamError, match='state input "h0" starts 2 states, and a stream carries each alone'):
        model.stream(mode="stream")


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_implicit_states_stream_as_explicit_ones(op: str, backend: Any) -> None:
    explicit = edgeinfer.load(recurrent_model(op), backend=backend)
    implicit = edgeinfer.load(recurrent_model(op, states=False), backend=backend)
    assert [s.in_file for s in explicit.states] == [True] * (2 if op == "LSTM" else 1)
    assert [s.in_file for s in implicit.states] == [False] * (2 if op == "LSTM" else 1)
    xs = draw(7, 3)
    one, two = explicit.stream(), implicit.stream()
    tolerance = 0 if backend == "native" else TOLERANCE
    np.testing.assert_allclose(one.run(xs), two.run(xs), rtol=0, atol=tolerance)
    np.testing.assert_allclose(one.step(xs[0]), two.step(xs[0]), rtol=0, atol=tolerance)


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_a_constant_initial_state_is_what_a_stream_starts_from(op: str, isa: str) -> None:
    model = edgeinfer.load(recurrent_model(op, states=False, initial=0.7), backend="native", isa=isa)
    assert all((state.initial == np.float32(0.7)).all() for state in model.states)
    xs = draw(6, 3)
    whole = model(xs[None])[0]
    stream = model.stream()
    np.testing.assert_array_equal(stream.run(xs), whole)
    stream.reset()
    np.testing.assert_array_equal(stream.run(xs), whole)
    other = edgeinfer.load(recurrent_model(op, states=False), backend="native", isa=isa)
    assert np.abs(other(xs[None])[0] - whole).max() > 1e-3


def test_a_state_input_without_an_output_is_carried_all_the_same() -> None:
    nodes = [*cell()[:1], node("GRU", ["xt", "W", "R", "B", "", "h0"], ["g"], "gru", hidden_size=4), *BACK]
    model = model_of(*nodes, **W, one=ints(1), inputs=[value("h0", [1, B, 4])])
    assert [info.name for info in model.inputs] == ["x"]
    xs = draw(6, 3)
    np.testing.assert_array_equal(model.stream(mode="stream").run(xs), model(xs[None])[0])


def test_tokens_stream(isa: str) -> None:
    model = edgeinfer.load(token_model(), backend="native", isa=isa)
    ids = np.random.default_rng(SEED).integers(0, 7, 9)
    np.testing.assert_array_equal(model.stream().run(ids), model(ids[None])[0])


def test_an_output_without_a_batch_axis_does_not_stream() -> None:
    nodes = [node("Relu", ["x"], ["y"]), node("Identity", ["c"], ["z"])]
    data = build(nodes, [value("x", [B, T, 3])], [value("y", [B, T, 3]), value("z", [2])], {"c": draw(2)})
    with pytest.raises(StreamError, match='the model cannot stream: output "z" has no batch axis'):
        edgeinfer.load(data, backend="native").stream(mode="stream")


@pytest.mark.parametrize("mode", ["stream", "window"])
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_outputs_of_one_number_and_of_several_stream_together(backend: Any, mode: Any) -> None:
    nodes = [node("MatMul", ["x", "v"], ["y"]), node("Selu", ["x"], ["z"])]
    data = build(nodes, [value("x", [B, T, 3])], [value("y", [B, T]), value("z", [B, T, 3])], {"v": draw(3)})
    model = edgeinfer.load(data, backend=backend)
    xs = draw(4, 3)
    window = 1 if mode == "window" else None
    found = model.stream(mode=mode, window=window).run(xs)
    whole = model(xs[None])
    assert {name: y.shape for name, y in found.items()} == {"y": (4,), "z": (4, 3)}
    step = model.stream(mode=mode, window=window).step(xs[0])
    assert {name: y.shape for name, y in step.items()} == {"y": (), "z": (3,)}
    for name in "yz":
        np.testing.assert_allclose(found[name], whole[name][0], rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(step[name], whole[name][0, 0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("backend", ["native", "reference", "onnxruntime"])
def test_tokens_stream_through_numpy_nodes(backend: Any) -> None:
    nodes = [node("Gather", ["t", "x"], ["e"]), node("Selu", ["e"], ["y"])]
    data = build(nodes, [value("x", [B, T], np.int64)], [value("y", [B, T, 3])], {"t": draw(7, 3)})
    model = edgeinfer.load(data, backend=backend)
    stream = model.stream(mode="stream")
    np.testing.assert_allclose(stream.run([1, 6, 0]), model([[1, 6, 0]])[0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(stream.step(5), model([[5]])[0, 0], rtol=0, atol=TOLERANCE)


def test_an_output_of_integers_does_not_stream() -> None:
    data = build([node("Cast", ["x"], ["y"], to=7)], [value("x", [B, T, 3])], [value("y", [B, T, 3], np.int64)])
    with pytest.raises(StreamError, match='a stream gives float32, output "y" is int64'):
        edgeinfer.load(data, backend="native").stream(mode="stream")


def test_a_model_whose_outputs_are_all_states_does_not_stream() -> None:
    nodes = [*cell()[:1], node("GRU", ["xt", "W", "R", "B", "", "h0"], ["", "h1"], "gru", hidden_size=4)]
    data = build(nodes, [value("x", [B, T, 3]), value("h0", [1, B, 4])], [value("h1", [1, B, 4])], W)
    model = edgeinfer.load(data, backend="native")
    for mode, window in (("stream", None), ("window", 3)):
        with pytest.raises(StreamError, match="the model has no output besides its states"):
            model.stream(mode=mode, window=window)  # type: ignore[arg-type]
    assert model.run(["h1"], {"x": draw(1, 2, 3)})[0].shape == (1, 1, 4)
