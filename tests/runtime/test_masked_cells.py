"""Masked recurrent nodes: joined to one node where the subgraph is export's, and only there; as Keras means them."""

from __future__ import annotations

import importlib
import itertools
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from graphs import ask_onnxruntime
from masked_files import PADDING, Constants, Masked, keras_says, masked_feeds, masked_file, masks
from onnx import ModelProto, NodeProto, helper

import edgeinfer
from edgeinfer.errors import InputError
from edgeinfer.plan.instructions import STEPS_AHEAD

# Sums of a few products in another order, fed back for up to 40 steps.
TOLERANCE = 1e-5
CELLS = [("LSTM", 0), ("GRU", 0), ("GRU", 1), ("RNN", 0)]
PAST_A_TURN = STEPS_AHEAD + 6


def layers() -> Iterator[Masked]:
    """Every form of subgraph, the cells by turns."""
    cells = itertools.cycle(CELLS)
    for walk, sequences, zero_output, initial, source in itertools.product(
        ("forward", "backwards", "both"), (True, False), (False, True), (False, True), ("input", "masking", "ids")
    ):
        if walk == "both" and zero_output and not sequences:
            continue  # each direction ends with another step, which no single mask tells
        op, linear = next(cells)
        more = {"sequences": sequences, "zero_output": zero_output, "initial": initial, "source": source}
        merges = ("concat", "sum", "ave", "mul") if walk == "both" and sequences and source == "input" else ("concat",)
        for merge in merges:
            yield Masked(op, linear, walk=walk, merge=merge, opset=13 if merge == "ave" else 18, **more)
        if walk == "forward" and not initial:
            yield Masked(op, linear, form="stream", **more)


def runs_as(model: edgeinfer.Model) -> dict[str, str]:
    return {node["name"]: node["runs"] for node in model.describe()["nodes"]}


def without_joining(data: bytes, monkeypatch: pytest.MonkeyPatch, **engine: str) -> edgeinfer.Model:
    """The same file as the plain nodes that stand in it."""
    with monkeypatch.context() as patched:
        patched.setattr(importlib.import_module("edgeinfer.graph.masked"), "join_masked_cells", lambda graph: graph)
        return edgeinfer.load(data, **engine)


@pytest.mark.parametrize("case", list(layers()), ids=lambda case: "-".join(str(v) for v in case))
def test_a_masked_layer_is_one_cell_and_answers_as_keras_does(case: Masked, monkeypatch: pytest.MonkeyPatch) -> None:
    data = masked_file(case)
    models = [edgeinfer.load(data, backend="native"), edgeinfer.load(data, backend="reference")]
    plain = without_joining(data, monkeypatch, backend="native")
    assert runs_as(models[0])["L"] == "native, masked cell"
    assert runs_as(plain)["L"] == "native"
    for kind, mask in masks(4, 7).items():
        feeds = masked_feeds(case, mask)
        expected = keras_says(case, feeds, mask)
        got = models[0].run(None, feeds)
        for answers in (got, models[1].run(None, feeds), ask_onnxruntime(data, feeds)):
            for y, true in zip(answers, expected, strict=True):
                np.testing.assert_allclose(y, true, rtol=0, atol=TOLERANCE, err_msg=kind)
        for y, other in zip(got, plain.run(None, feeds), strict=True):
            np.testing.assert_array_equal(y, other, err_msg=kind)


@pytest.mark.parametrize("kind", ["", "int8", "float16"])
@pytest.mark.parametrize(("op", "linear"), CELLS)
def test_a_masked_cell_has_the_bits_of_its_nodes_with_every_kind_of_weights(
    op: str, linear: int, kind: str, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for walk, hidden in zip(("forward", "backwards", "both"), (33, 17, 8), strict=True):
        case = Masked(op, linear, walk=walk, hidden=hidden, kind=kind, initial=True)
        data = masked_file(case)
        model = edgeinfer.load(data, backend="native", isa=isa)
        plain = without_joining(data, monkeypatch, backend="native", isa=isa)
        assert runs_as(model)["L"] == "native, masked cell"
        for mask in masks(3, PAST_A_TURN).values():
            feeds = masked_feeds(case, mask)
            for y, other in zip(model.run(None, feeds), plain.run(None, feeds), strict=True):
                np.testing.assert_array_equal(y, other)


def streams() -> Iterator[Masked]:
    cells = itertools.cycle(CELLS)
    for source, sequences, zero_output, kind, form in itertools.product(
        ("masking", "ids"), (True, False), (False, True), ("", "int8"), ("stream", "sequence")
    ):
        op, linear = next(cells)
        more = {"source": source, "kind": kind, "hidden": 9, "finals": form == "stream"}
        yield Masked(op, linear, form, "forward", sequences, zero_output, **more)


@pytest.mark.parametrize("case", list(streams()), ids=lambda case: "-".join(str(v) for v in case))
def test_a_masked_cell_steps_in_the_core_as_it_runs_over_sequences_bit_for_bit(case: Masked, isa: str) -> None:
    model = edgeinfer.load(masked_file(case), backend="native", isa=isa)
    assert model.describe()["bit_stable"]
    name = "ids" if case.source == "ids" else "x"
    one = masked_feeds(case, np.ones((1, 1), np.bool_))[name][0, 0]
    assert "numpy" not in {part.kernel for part in model.parts(one).parts}
    reference = edgeinfer.load(masked_file(case), backend="reference")
    for kind, mask in masks(1, PAST_A_TURN).items():
        items = masked_feeds(case, mask)[name][0]
        whole = model(items[None])
        stream, twin = model.stream(mode="stream"), model.stream(mode="stream")
        steps = np.stack([np.asarray(stream.step(item)) for item in items])
        np.testing.assert_array_equal(twin.run(items), steps)
        assert stream.snapshot() == twin.snapshot()
        np.testing.assert_array_equal(steps if case.sequences else steps[-1:], whole[0] if case.sequences else whole)
        plain = reference.stream(mode="stream").run(items)
        np.testing.assert_allclose(steps, plain, rtol=0, atol=2e-2 if case.kind == "int8" else TOLERANCE, err_msg=kind)


@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize(("op", "linear"), CELLS)
def test_a_masked_step_leaves_the_state_and_answers_what_was_last(op: str, linear: int, zero_output: bool) -> None:
    case = Masked(op, linear, "stream", zero_output=zero_output, source="ids")
    stream = edgeinfer.load(masked_file(case), backend="native").stream()
    np.testing.assert_array_equal(stream.step(0), np.zeros(5, np.float32))
    first = np.array(stream.step(3))
    assert first.any()
    before = stream.snapshot()
    np.testing.assert_array_equal(stream.step(0), np.zeros_like(first) if zero_output else first)
    np.testing.assert_array_equal(edgeinfer.load(masked_file(case)).stream().restore(before) or first, first)
    twin = stream.fork()
    np.testing.assert_array_equal(stream.step(2), twin.step(2))


def test_a_masked_step_allocates_nothing() -> None:
    model = edgeinfer.load(masked_file(Masked(form="stream", source="masking")), backend="native")
    stream, out = model.stream(), np.empty(5, np.float32)
    items = [np.full(3, 0.5, np.float32), np.full(3, PADDING, np.float32)]
    for item in items:
        stream.step(item, out=out)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(200):
        for item in items:
            stream.step(item, out=out)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 200  # the loop's own number


@pytest.mark.parametrize("source", ["ids", "masking"])
@pytest.mark.parametrize(("op", "linear"), CELLS)
def test_rows_of_a_pool_have_the_bits_of_streams_of_their_own(op: str, linear: int, source: str, isa: str) -> None:
    case = Masked(op, linear, "stream", source=source, hidden=20)
    model = edgeinfer.load(masked_file(case), backend="native", isa=isa)
    rows, steps = 23, 6
    mask = masks(rows, steps)["holes"]
    xs = masked_feeds(case, mask)["ids" if source == "ids" else "x"]
    pool = model.pool(rows)
    slots = [pool.add() for _ in range(rows)]
    own = [model.stream() for _ in range(rows)]
    for t in range(steps):
        answers = pool.step(slots, xs[:, t])
        np.testing.assert_array_equal(answers, np.stack([s.step(x) for s, x in zip(own, xs[:, t], strict=True)]))
    for slot, stream in zip(slots, own, strict=True):
        assert pool.snapshot(slot) == stream.snapshot()


@pytest.mark.parametrize("source", ["ids", "masking"])
def test_a_window_that_is_padded_with_what_the_mask_leaves_out_answers_over_what_is_there(source: str) -> None:
    case = Masked("GRU", 1, sequences=False, source=source, finals=False)
    model = edgeinfer.load(masked_file(case), backend="native")
    items = masked_feeds(case, np.ones((1, 6), np.bool_))["ids" if source == "ids" else "x"][0]
    stream = model.stream(mode="window", window=4)
    for t, item in enumerate(items):
        seen = items[max(0, t - 3) : t + 1]
        y = stream.step(item)
        if len(seen) == 4:
            np.testing.assert_array_equal(y, model(seen[None])[0])


def test_an_embedding_with_a_mask_becomes_gate_rows() -> None:
    case = Masked(source="ids")
    data = masked_file(case)
    tables, plain = (edgeinfer.load(data, backend="native", gate_table_bytes=size) for size in (1 << 20, 0))
    assert runs_as(tables)["E"] == "native, as gate rows"
    assert runs_as(plain)["E"] == "native"
    for mask in masks(4, 7).values():
        feeds = masked_feeds(case, mask)
        for y, other in zip(tables.run(None, feeds), plain.run(None, feeds), strict=True):
            np.testing.assert_array_equal(y, other)
    ids = np.array([[1, 6]], np.int32)
    for model in (tables, plain):
        with pytest.raises(InputError, match=r'in node "E" \(Gather\): an index is outside the table'):
            model(ids)


def test_what_a_masked_cell_took_in_is_said_of_every_node() -> None:
    model = edgeinfer.load(masked_file(Masked(form="stream", source="masking")), backend="native")
    runs = runs_as(model)
    taken = {name for name, how in runs.items() if how == "native, in a masked cell"}
    assert {"L/mask/order", "L/kept_first", "L/in_place", "L/filled", "L/final_h", "L/Transpose"} <= taken
    assert {runs[name] for name in ("M/Equal", "M/mask", "L/Squeeze", "L/Transpose_out")} == {"native"}


# --- what only looks like a masked cell ------------------------------------------------------------------------------

Nodes = dict[str, NodeProto]
Change = Callable[[Nodes, Constants], None]


def attribute(name: str, key: str, content: object) -> Change:
    def change(nodes: Nodes, constants: Constants) -> None:
        kept = [a for a in nodes[name].attribute if a.name != key]
        del nodes[name].attribute[:]
        nodes[name].attribute.extend([*kept, helper.make_attribute(key, content)])

    return change


def read(name: str, position: int, tensor: str) -> Change:
    def change(nodes: Nodes, constants: Constants) -> None:
        nodes[name].input[position] = tensor

    return change


def swap(name: str, a: int, b: int) -> Change:
    def change(nodes: Nodes, constants: Constants) -> None:
        given = nodes[name].input
        given[a], given[b] = given[b], given[a]

    return change


def constant(name: str, content: object) -> Change:
    def change(nodes: Nodes, constants: Constants) -> None:
        constants[name] = np.array(content, constants[name].dtype)

    return change


def become(name: str, op: str) -> Change:
    def change(nodes: Nodes, constants: Constants) -> None:
        nodes[name].op_type = op

    return change


def own_integer(name: str, position: int, content: object) -> Change:
    """Another constant for this one reader."""

    def change(nodes: Nodes, constants: Constants) -> None:
        constants[f"own/{name}"] = np.array(content, np.int64)
        nodes[name].input[position] = f"own/{name}"

    return change


def pad_with(content: float) -> Change:
    def change(nodes: Nodes, constants: Constants) -> None:
        constants["pad value"] = np.array(content, np.float32)
        nodes["L/filled"].input.append("pad value")

    return change


SEQUENCE, STREAM = Masked(), Masked(form="stream")
ENDS, BOTH = Masked(sequences=False, zero_output=True), Masked(walk="both")
ZEROS, GIVEN = Masked(zero_output=True), Masked(initial=True)
NEAR_MISSES: dict[str, tuple[Masked, Change]] = {
    "masked steps rank before kept ones": (SEQUENCE, constant("largest", 3)),
    "masked steps rank first": (SEQUENCE, constant("largest", -1)),
    "the order is that of the masked steps": (SEQUENCE, swap("L/mask/key", 1, 2)),
    "the largest come first": (SEQUENCE, attribute("L/mask/order", "largest", 1)),
    "the ranks are the places": (SEQUENCE, read("L/mask/order_3d", 0, "L/mask/kept:0")),
    "a step does not count itself": (SEQUENCE, attribute("L/mask/seen", "exclusive", 1)),
    "it counts along the batch": (SEQUENCE, own_integer("L/mask/seen", 1, 0)),
    "two steps at least": (SEQUENCE, own_integer("L/mask/at_least_one", 1, 2)),
    "one step at most": (SEQUENCE, become("L/mask/at_least_one", "Min")),
    "what is empty has one step": (SEQUENCE, own_integer("L/mask/is_empty", 1, 1)),
    "what is empty has kept steps": (SEQUENCE, swap("L/final_h", 1, 2)),
    "the cell of what is empty has kept steps": (SEQUENCE, swap("L/final_c", 1, 2)),
    "x in its own order": (SEQUENCE, read("L/Transpose", 0, "x")),
    "places that are those of the order": (SEQUENCE, read("L/mask/place_3d", 0, "order")),
    "places that count twice": (ZEROS, read("L/mask/place", 0, "L/mask/seen:0")),
    "something else than zeros before the first step": (SEQUENCE, pad_with(0.5)),
    "zeros behind the last step": (SEQUENCE, constant("pads", [0, 0, 0, 1, 0, 0])),
    "two rows of zeros before the first step": (SEQUENCE, constant("pads", [2, 0, 0, 0, 0, 0])),
    "the edge before the first step": (SEQUENCE, attribute("L/filled", "mode", "edge")),
    "the cell before the first step": (STREAM, read("L/filled", 0, "L/initial_c")),
    "the initial state behind the last step": (STREAM, swap("L/filled", 0, 1)),
    "the initial state where nothing is kept": (STREAM, read("L/mask/place_3d", 0, "L/mask/kept:0")),
    "the answers' own order": (SEQUENCE, attribute("L", "direction", "reverse")),
    "both directions, numbered from the end": (BOTH, attribute("L/mask/seen", "reverse", 1)),
    "both directions, the answer before it": (BOTH, read("L/mask/place_3d", 0, "L/mask/seen:0")),
    "both directions, a row for each": (BOTH, constant("flat", [0, -1, 5])),
    "the state where the last step is masked": (ENDS, swap("L/last", 1, 2)),
    "the last step but one": (ENDS, own_integer("L/mask/last", 1, [-2])),
    "another state where nothing is kept": (GIVEN, read("L/final_h", 1, "L/initial_c")),
}
# Joined all the same, since no joined cell takes part in what is different.
JOINED_ALL_THE_SAME = {"another state where nothing is kept"}


@pytest.mark.parametrize("name", list(NEAR_MISSES))
def test_what_only_looks_like_a_masked_cell_runs_as_the_nodes_it_is(name: str) -> None:
    case, change = NEAR_MISSES[name]
    data = masked_file(case, change)
    model, reference = (edgeinfer.load(data, backend=backend) for backend in ("native", "reference"))
    assert (runs_as(model)["L"] == "native, masked cell") == (name in JOINED_ALL_THE_SAME)
    differs = False
    for mask in masks(4, 7).values():
        feeds = masked_feeds(case, mask)
        try:
            expected = ask_onnxruntime(data, feeds)
        except Exception:  # an index or a length that the change puts out of range
            for wrong in (model, reference):
                with pytest.raises(InputError):
                    wrong.run(None, feeds)
            differs = True
            continue
        for backend in (model, reference):
            for y, true in zip(backend.run(None, feeds), expected, strict=True):
                np.testing.assert_allclose(y, true, rtol=0, atol=TOLERANCE)
        meant = keras_says(case, feeds, mask)
        differs |= any(
            y.shape != true.shape or np.abs(y - true).max() > TOLERANCE for y, true in zip(expected, meant, strict=True)
        )
    assert differs, "the change does not show in any answer"


def test_an_order_that_is_not_said_to_be_sorted_is_no_order() -> None:
    data = masked_file(SEQUENCE, attribute("L/mask/order", "sorted", 0))
    assert runs_as(edgeinfer.load(data, backend="native"))["L"] == "native"


@pytest.mark.parametrize("output", ["Y", "Y_h", "Y_c", "L/Squeeze:0", "L/filled:0", "L/Transpose_out:0"])
def test_a_cell_whose_inside_is_read_elsewhere_stays_as_it_is(output: str) -> None:
    def change(nodes: Nodes, constants: Constants) -> None:
        # a second reader besides the subgraph
        nodes["L/in_place"].output[0] = "y0"

    data = masked_file(SEQUENCE, change)
    proto = ModelProto.FromString(data)
    proto.graph.node.append(helper.make_node("ReduceMax", [output], ["most"], "most", keepdims=0))
    proto.graph.node.append(helper.make_node("Max", ["y0", "most"], ["y"], "both"))
    data = proto.SerializeToString()
    model = edgeinfer.load(data, backend="native")
    assert runs_as(model)["L"] == "native"
    for mask in masks(4, 7).values():
        feeds = masked_feeds(SEQUENCE, mask)
        for y, true in zip(model.run(None, feeds), ask_onnxruntime(data, feeds), strict=True):
            np.testing.assert_allclose(y, true, rtol=0, atol=TOLERANCE)


def test_a_mask_of_other_rows_than_the_sequence_has_is_no_mask_of_it() -> None:
    """The lengths of one mask, the order of another."""

    def change(nodes: Nodes, constants: Constants) -> None:
        constants["other"] = np.array([[True, False, True, True, False, True, True]] * 4)
        nodes["L/mask/count"].input[0] = "other count"

    data = masked_file(SEQUENCE, change)
    proto = ModelProto.FromString(data)
    at = next(i for i, node in enumerate(proto.graph.node) if node.name == "L/mask/count")
    proto.graph.node.insert(at, helper.make_node("Cast", ["other"], ["other count"], "other count", to=7))
    model = edgeinfer.load(proto.SerializeToString(), backend="native")
    assert runs_as(model)["L"] == "native"
    for mask in masks(4, 7).values():
        feeds = masked_feeds(SEQUENCE, mask)
        for y, true in zip(model.run(None, feeds), ask_onnxruntime(proto.SerializeToString(), feeds), strict=True):
            np.testing.assert_allclose(y, true, rtol=0, atol=TOLERANCE)


def test_a_mask_that_is_shorter_than_the_sequence_gives_what_its_nodes_give() -> None:
    proto = ModelProto.FromString(masked_file(SEQUENCE))
    proto.graph.input[1].type.tensor_type.shape.dim[1].dim_param = "another time"
    data = proto.SerializeToString()
    assert runs_as(edgeinfer.load(data, backend="native"))["L"] == "native, masked cell"
    feeds = masked_feeds(SEQUENCE, masks(4, 7)["holes"])
    feeds["mask"] = feeds["mask"][:, :5]
    expected = ask_onnxruntime(data, feeds)
    for backend in ("native", "reference"):
        for y, true in zip(edgeinfer.load(data, backend=backend).run(None, feeds), expected, strict=True):
            np.testing.assert_allclose(y, true, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (Masked(walk="backwards", source="ids"), "it looks ahead, since it runs backwards in time"),
        (Masked(walk="both", source="ids"), "it looks ahead, since it runs backwards in time"),
        (
            Masked(initial=True, source="ids"),
            "it gives 0 before the first step that its mask keeps, not its initial state",
        ),
    ],
)
def test_a_masked_cell_that_cannot_stream_says_why(case: Masked, reason: str) -> None:
    model = edgeinfer.load(masked_file(case), backend="native")
    assert model.describe()["streams_not_because"] == f'in node "L" ({case.op}): {reason}'


def test_a_mask_that_does_not_come_step_by_step_does_not_stream() -> None:
    def change(nodes: Nodes, constants: Constants) -> None:
        constants["fixed"] = np.ones((1, 1), np.bool_)
        nodes["M/mask"].op_type = "And"
        nodes["M/mask"].input[:] = ["fixed", "fixed"]

    model = edgeinfer.load(masked_file(Masked(source="masking"), change), backend="native")
    assert not model.describe()["streams"]


@pytest.mark.parametrize("form", ["stream", "sequence"])
def test_a_mask_whose_nodes_break_the_rules_is_refused_though_no_node_of_it_runs(form: str) -> None:
    def change(nodes: Nodes, constants: Constants) -> None:
        constants["axes"] = np.array([[1]], np.int64)
        nodes["L/mask/count"].input[1] = "axes"

    data = masked_file(Masked(form=form), change)
    feeds = {"x": np.ones((1, 2, 3), np.float32), "mask": np.ones((1, 2), np.bool_)}
    with pytest.raises(edgeinfer.EdgeInferError, match=r'in node "L/mask/count" \(ReduceSum\): axes: expected'):
        edgeinfer.load(data, backend="native").run(None, feeds)
