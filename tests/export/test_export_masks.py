"""Masks in any pattern, against Keras in ONNX Runtime and in edgeinfer native, whole, in chunks and in steps."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeinfer_export import ExportError, VerificationError, to_onnx
from edgeinfer_export.samples import PATTERNS, Input, masked_feeds, random_feeds

import edgeinfer

# The bar of the export command itself, relative to max(1, |y|).
ATOL = 1e-5
FEATURES, UNITS, VOCABULARY, LENGTH = 3, 4, 7, 9
MASK_VALUE = 0.5
SEED = 5
QUICK = 4

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "SimpleRNN": ("SimpleRNN", {}),
    "GRU": ("GRU", {"reset_after": True}),
    "GRU_reset_before": ("GRU", {"reset_after": False}),
    "LSTM": ("LSTM", {}),
}
SOURCES = ("masking_zero", "masking", "embedding", "by_hand")
MERGES = ("concat", "sum", "ave", "mul", None)


class Masked:
    """Builds models with a mask from one of SOURCES in front."""

    def __init__(self, keras: Any, layers: Any, shuffled: Callable[[Any], Any]) -> None:
        self.keras = keras
        self.layers = layers
        self._shuffled = shuffled

    def recurrent(self, kind: str, units: int = UNITS, **arguments: Any) -> Any:
        name, fixed = KINDS[kind]
        return getattr(self.layers, name)(units, **fixed, **arguments)

    def model(self, source: str, call: Callable[..., Any]) -> Any:
        """``call(x, **mask)`` behind the source of the mask; mask is empty where x carries it."""
        keras, layers = self.keras, self.layers
        if source == "embedding":
            x = keras.Input((None,), dtype="int32", name="x")
            return self._done([x], call(layers.Embedding(VOCABULARY, FEATURES, mask_zero=True)(x)))
        x = keras.Input((None, FEATURES), name="x")
        if source == "by_hand":
            mask = keras.Input((None,), dtype="bool", name="mask")
            return self._done([x, mask], call(x, mask=mask))
        return self._done([x], call(layers.Masking(0.0 if source == "masking_zero" else MASK_VALUE)(x)))

    def _done(self, inputs: list[Any], outputs: Any) -> Any:
        return self._shuffled(self.keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs))


@pytest.fixture
def masked(keras: Any, layers: Any, shuffled: Any) -> Masked:
    return Masked(keras, layers, shuffled)


def exported(model: Any, path: Path, form: str, **options: Any) -> Any:
    """Export with verification, which masks steps in every pattern; returns what to_onnx does."""
    result = to_onnx(model, path, **options)
    assert result.form == form, result.stops
    assert result.differences is not None and result.differences.largest <= ATOL
    assert result.differences.masked >= 2
    assert not {"If", "Loop", "Scan"} & set(result.nodes)
    return result


def cells() -> Iterator[tuple[str, str, dict[str, bool]]]:
    names = ("return_sequences", "zero_output_for_mask", "go_backwards")
    for kind, source, *flags in itertools.product(KINDS, SOURCES, *[(False, True)] * 3):
        yield kind, source, dict(zip(names, flags, strict=True))


def halves() -> Iterator[tuple[str, str, str | None, bool, bool]]:
    yield from itertools.product(KINDS, SOURCES, MERGES, (False, True), (False, True))


def quick(cases: Iterator[Any]) -> list[Any]:
    """All of them, those beyond a seeded few only in the full tier."""
    found = list(cases)
    chosen = set(random.Random(SEED).sample(range(len(found)), QUICK))
    return [
        pytest.param(case, marks=() if i in chosen else pytest.mark.slow, id="-".join(map(_text, case)))
        for i, case in enumerate(found)
    ]


def _text(value: Any) -> str:
    return "-".join(name for name, flag in value.items() if flag) if isinstance(value, dict) else str(value)


@pytest.mark.parametrize("case", quick(cells()))
def test_a_masked_layer_is_exact(case: tuple[str, str, dict[str, bool]], masked: Masked, tmp_path: Path) -> None:
    kind, source, arguments = case
    layer = masked.recurrent(kind, return_state=True, **arguments)
    model = masked.model(source, lambda x, **mask: layer(x, **mask))
    exported(model, tmp_path / "m.onnx", "sequence" if arguments["go_backwards"] else "stream")


@pytest.mark.parametrize("case", quick(halves()))
def test_a_masked_bidirectional_layer_is_exact(
    case: tuple[str, str, str | None, bool, bool], masked: Masked, tmp_path: Path
) -> None:
    kind, source, merge, sequences, own = case
    arguments: dict[str, Any] = {"return_sequences": sequences, "return_state": True}
    backward = masked.recurrent("LSTM", activation="relu", go_backwards=True, **arguments) if own else None
    layer = masked.layers.Bidirectional(masked.recurrent(kind, **arguments), merge_mode=merge, backward_layer=backward)
    model = masked.model(source, lambda x, **mask: layer(x, **mask))
    exported(model, tmp_path / "m.onnx", "sequence")


@pytest.mark.parametrize("opset", [13, 18])
def test_a_masked_stack_is_exact_at_the_oldest_and_the_newest_opset(opset: int, masked: Masked, tmp_path: Path) -> None:
    layers = masked.layers

    def call(x: Any) -> Any:
        x = layers.Dropout(0.2)(layers.Dense(FEATURES, activation="tanh")(x))
        x = layers.Bidirectional(masked.recurrent("GRU", return_sequences=True), merge_mode="mul")(x)
        x = masked.recurrent("LSTM", return_sequences=True, go_backwards=True)(x)
        return layers.Dense(2)(masked.recurrent("SimpleRNN")(x))

    exported(masked.model("masking", call), tmp_path / "m.onnx", "sequence", opset=opset)


def test_initial_states_stay_where_every_step_is_masked(masked: Masked, tmp_path: Path) -> None:
    def call(x: Any) -> Any:
        _, *states = masked.layers.Bidirectional(masked.recurrent("LSTM", return_state=True))(x)
        half = masked.recurrent("LSTM", return_state=True, return_sequences=True)
        y, *states = masked.layers.Bidirectional(half)(x, initial_state=states)
        last, h, c = masked.recurrent("LSTM", return_state=True, go_backwards=True)(y, initial_state=states[:2])
        return [y, last, h, c]

    exported(masked.model("embedding", call), tmp_path / "m.onnx", "sequence")


# Keras says so of a nested model whose last layer gives no mask.
@pytest.mark.filterwarnings("ignore:Layer 'inner':UserWarning")
def test_layers_between_keep_the_mask(masked: Masked, tmp_path: Path) -> None:
    keras, layers = masked.keras, masked.layers
    x, z = keras.Input((None, FEATURES), name="x"), keras.Input((None, FEATURES), name="z")
    a, b = layers.Masking(0.0)(x), layers.Masking(MASK_VALUE)(z)
    joined = layers.Concatenate()(
        [layers.Add()([a, b]), layers.Dense(2)(z), layers.TimeDistributed(layers.Dense(2))(a)]
    )
    inner = keras.Sequential(
        [keras.Input((None, 7)), layers.Dense(3), layers.GRU(3, return_sequences=True), layers.LSTM(2)], name="inner"
    )
    model = masked._done([x, z], inner(layers.LSTM(7, return_sequences=True)(joined)))
    exported(model, tmp_path / "m.onnx", "stream")


def test_stacks_of_cells_and_a_shared_layer_take_masks(masked: Masked, tmp_path: Path) -> None:
    layers = masked.layers
    shared = layers.GRU(FEATURES, return_sequences=True, name="shared")

    def call(x: Any) -> Any:
        x = layers.RNN([layers.LSTMCell(3), layers.GRUCell(FEATURES)], return_sequences=True)(shared(shared(x)))
        return layers.RNN([layers.SimpleRNNCell(3), layers.LSTMCell(2)])(x)

    exported(masked.model("masking_zero", call), tmp_path / "m.onnx", "stream")


def test_masks_go_through_a_subclassed_model(masked: Masked, tmp_path: Path) -> None:
    keras, layers = masked.keras, masked.layers

    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.masking = layers.Masking(MASK_VALUE)
            self.first, self.last = layers.LSTM(3, return_sequences=True), layers.GRU(2)

        def call(self, x: Any) -> Any:
            return self.last(self.first(self.masking(x)))

    model = Own()
    model(np.zeros((1, 4, FEATURES), np.float32))
    exported(masked._shuffled(model), tmp_path / "m.onnx", "stream")


def test_masking_integers_gives_integers(masked: Masked, tmp_path: Path) -> None:
    keras, layers = masked.keras, masked.layers
    x = keras.Input((None, FEATURES), dtype="int32", name="x")
    y = layers.Masking(2)(x)
    exported(masked._done([x], [y, layers.GRU(2)(y)]), tmp_path / "m.onnx", "stream")
    assert edgeinfer.load(tmp_path / "m.onnx", backend="native").outputs[0].dtype == np.int32


@pytest.mark.parametrize("kind", ["pooling", "attention", "multi_head"])
def test_layers_that_are_not_recurrent_use_the_mask_as_keras_does(kind: str, masked: Masked, tmp_path: Path) -> None:
    layers = masked.layers

    def call(x: Any) -> Any:
        x = masked.recurrent("GRU", return_sequences=True)(x)
        if kind == "pooling":
            return layers.GlobalAveragePooling1D()(x)
        if kind == "attention":
            return masked.recurrent("GRU")(layers.AdditiveAttention()([layers.Attention()([x, x]), x]))
        return layers.MultiHeadAttention(2, 3)(x, x)

    exported(masked.model("embedding", call), tmp_path / "m.onnx", "sequence")


def test_a_mask_computed_by_hand_or_constant_is_exact(masked: Masked, tmp_path: Path) -> None:
    keras, layers = masked.keras, masked.layers
    x, lengths = keras.Input((None, FEATURES), name="x"), keras.Input((None,), dtype="int32", name="kept")
    y = layers.LSTM(3, return_sequences=True)(x, mask=keras.ops.not_equal(lengths, 0))
    exported(masked._done([x, lengths], layers.GRU(3)(y, mask=lengths)), tmp_path / "m.onnx", "stream")
    x = keras.Input((4, FEATURES), name="x")
    model = masked._done([x], layers.LSTM(3)(x, mask=np.array([[True, False, True, False]])))
    result = to_onnx(model, tmp_path / "m.onnx")
    assert result.differences is not None and result.differences.largest <= ATOL
    assert result.stops is not None and "has a mask that does not come from the same time steps" in result.stops


@pytest.mark.parametrize("source", ["masking", "embedding"])
@pytest.mark.parametrize("zero", [False, True])
def test_a_stream_steps_over_masked_steps_as_keras_does(
    source: str, zero: bool, masked: Masked, tmp_path: Path
) -> None:
    layer = masked.recurrent("LSTM", return_sequences=True, zero_output_for_mask=zero)
    model = masked.model(source, lambda x: masked.layers.Dense(2)(layer(x)))
    exported(model, tmp_path / "m.onnx", "stream")
    runtime = edgeinfer.load(tmp_path / "m.onnx", backend="native")
    shape, tokens = ((1, None), VOCABULARY) if source == "embedding" else ((1, None, FEATURES), None)
    dtype = np.dtype(np.int32 if source == "embedding" else np.float32)
    item = Input("x", dtype, shape, tokens, True, 0.0 if source == "embedding" else MASK_VALUE)
    for pattern in PATTERNS:
        feeds = random_feeds([item], 1, LENGTH, np.random.default_rng(SEED))
        (x,) = masked_feeds(feeds, [item], [pattern], SEED)["x"]
        expected = np.asarray(model(x[None], training=False))[0]
        stream = runtime.stream()
        steps = np.stack([stream.step(step) for step in x])
        np.testing.assert_allclose(steps, expected, rtol=ATOL, atol=ATOL)
        np.testing.assert_array_equal(steps, runtime(x[None])[0])


def test_the_subgraph_of_a_masked_layer_is_written_as_the_runtime_knows_it(masked: Masked, tmp_path: Path) -> None:
    layer = masked.recurrent("LSTM", return_sequences=True, name="lstm")
    second = masked.recurrent("GRU", name="gru")
    result = exported(masked.model("embedding", lambda x: second(layer(x))), tmp_path / "m.onnx", "stream")
    nodes = {node.name: node for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert list(nodes["lstm"].input[4:]) == ["lstm/mask/sequence_lens", "lstm/initial_h", "lstm/initial_c"]
    assert nodes["gru"].input[4] == "lstm/mask/sequence_lens"
    assert [name for name in nodes if name.startswith("gru/mask")] == []
    assert list(nodes["lstm/final_c"].input) == ["lstm/mask/is_empty_2d", "lstm/initial_c", "lstm/Y_c"]
    assert list(nodes["lstm/filled"].input) == ["lstm/initial_h", "lstm/Squeeze"]
    assert [(pair.input, pair.output) for pair in result.spec.states] == [
        (f"{name}/initial_{kind}", f"{name}/final_{kind}")
        for name, kinds in (("lstm", "hc"), ("gru", "h"))
        for kind in kinds
    ]
    placed = {
        node["name"]: node["runs"] for node in edgeinfer.load(tmp_path / "m.onnx", backend="native").describe()["nodes"]
    }
    assert (placed["lstm"], placed["gru"]) == ("native, masked cell", "native, masked cell")


def test_a_file_that_forgets_the_mask_is_not_written(
    masked: Masked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeinfer_export.layers.stacked.as_mask", lambda *arguments: None)
    model = masked.model("masking_zero", lambda x: masked.recurrent("GRU")(x))
    with pytest.raises(VerificationError, match="the exported graph differs from Keras") as raised:
        to_onnx(model, tmp_path / "m.onnx")
    assert "masked steps" in str(raised.value)
    assert not (tmp_path / "m.onnx").exists()


def test_a_mask_of_another_rank_is_refused_by_name(masked: Masked, tmp_path: Path) -> None:
    keras, layers = masked.keras, masked.layers
    x, mask = keras.Input((None, 3), name="x"), keras.Input((None, 3), dtype="bool", name="mask")
    model = keras.Model([x, mask], layers.LSTM(3, name="odd")(x, mask=mask))
    with pytest.raises(ExportError, match=r'^layer "odd": expected a mask \[batch, time\], got rank 3') as raised:
        to_onnx(model, tmp_path / "m.onnx")
    assert (raised.value.layer, raised.value.argument) == ("odd", "mask")


def test_goldens_hold_masked_steps(masked: Masked, tmp_path: Path) -> None:
    model = masked.model("embedding", lambda x: masked.recurrent("GRU")(x))
    goldens = {golden.name: golden for golden in to_onnx(model, tmp_path / "m.onnx").spec.goldens}
    assert set(goldens) == {"random", "batch", "masked"}
    ids = goldens["masked"].inputs["x"]
    assert ids.shape[0] == len(PATTERNS) and (ids[PATTERNS.index("all")] == 0).all()


def test_feeds_mask_the_steps_that_a_pattern_says() -> None:
    items = [
        Input("x", np.dtype(np.float32), (None, None, 2), None, True, MASK_VALUE),
        Input("ids", np.dtype(np.int32), (None, None), VOCABULARY, True, 0.0),
        Input("mask", np.dtype(bool), (None, None), None, True, 0.0),
        Input("free", np.dtype(np.float32), (None, 2), None, False),
    ]
    rows = ["none", *PATTERNS]
    feeds = random_feeds(items, len(rows), LENGTH, np.random.default_rng(SEED))
    result = masked_feeds(feeds, items, rows, SEED)
    assert result["free"] is feeds["free"]
    steps = {"x": (result["x"] == MASK_VALUE).all(-1), "ids": result["ids"] == 0, "mask": ~result["mask"]}
    for found in steps.values():
        by_row = dict(zip(rows, found, strict=True))
        assert not by_row["none"].any() and by_row["all"].all()
        for pattern in ("front", "end", "holes"):
            assert 0 < by_row[pattern].sum() < LENGTH
        assert by_row["front"][0] and not by_row["front"][-1]
        assert by_row["end"][-1] and not by_row["end"][0]
