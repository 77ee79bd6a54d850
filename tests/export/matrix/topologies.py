"""Cases: whole models, their inputs, text, precision, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .case import FEATURES, KINDS, LENGTH, UNITS, VOCABULARY, Case, cell, recurrent, sequential

Build = Callable[[Any], Any]
WORDS = ["the", "cat", "sat", "on", "mat", "größe", "ÉTÉ"]


def model_cases() -> Iterator[Case]:
    yield from _models()
    yield from _inputs()
    yield from _mixed()
    yield from _text()
    yield from _refused()


def _models() -> Iterator[Case]:
    def case(name: str) -> Callable[[Build], Case]:
        return lambda build: Case("Models", name, build)

    for kinds in (("LSTM", "LSTM"), ("GRU", "SimpleRNN"), ("LSTM", "GRU", "SimpleRNN"), ("GRU", "GRU", "GRU")):

        def stack(k: Any, kinds: tuple[str, ...] = kinds) -> Any:
            cells = [recurrent(k, kind, UNITS + i, return_sequences=True) for i, kind in enumerate(kinds)]
            return sequential(k, *cells, k.layers.Dense(2, activation="softmax"))

        yield Case("Models", f"Sequential of {', '.join(kinds)}, Dense", stack)

    @case("two inputs, one of them still")
    def two_inputs(k: Any) -> Any:
        x, still = k.Input((None, FEATURES), name="x"), k.Input((2,), name="still")
        y = k.layers.Concatenate()([k.layers.LSTM(UNITS, name="cell")(x), still])
        return k.Model([x, still], k.layers.Dense(2, name="head")(y))

    yield two_inputs

    @case("two sequences of one length, two outputs")
    def two_sequences(k: Any) -> Any:
        a, b = k.Input((None, FEATURES), name="a"), k.Input((None, 2), name="b")
        y = k.layers.GRU(UNITS, return_sequences=True, name="cell")(k.layers.Concatenate()([a, b]))
        return k.Model([a, b], [k.layers.Dense(2, name="one")(y), k.layers.LSTM(UNITS, name="two")(y)])

    yield two_sequences

    @case("a dict of inputs and a dict of outputs")
    def by_name(k: Any) -> Any:
        inputs = {"ids": k.Input((None,), dtype="int32", name="ids"), "x": k.Input((None, FEATURES), name="x")}
        y = k.layers.Concatenate()([k.layers.Embedding(VOCABULARY, 2, name="table")(inputs["ids"]), inputs["x"]])
        y = k.layers.GRU(UNITS, name="cell")(y)
        return k.Model(
            inputs, {"class": k.layers.Dense(3, name="class")(y), "value": k.layers.Dense(1, name="value")(y)}
        )

    yield by_name

    @case("one layer called twice in a row")
    def shared(k: Any) -> Any:
        x = k.Input((None, FEATURES), name="x")
        layer = k.layers.GRU(FEATURES, return_sequences=True, name="shared")
        return k.Model(x, layer(layer(x)))

    yield shared

    @case("one encoder for two inputs (siamese)")
    def siamese(k: Any) -> Any:
        a, b = (k.Input((None, FEATURES), name=n) for n in "ab")
        encoder = k.layers.Bidirectional(k.layers.LSTM(UNITS), name="encoder")
        distance = k.layers.Subtract(name="distance")([encoder(a), encoder(b)])
        return k.Model([a, b], k.layers.Dense(1, activation="sigmoid", name="head")(distance))

    yield siamese

    @case("a Sequential in a Sequential in a Functional model")
    def nested(k: Any) -> Any:
        x = k.Input((None, FEATURES), name="x")
        inner = k.Sequential([k.layers.LSTM(UNITS, return_sequences=True), k.layers.Dense(3)], name="inner")
        outer = k.Sequential([inner, k.layers.GRU(UNITS, return_sequences=True)], name="outer")
        return k.Model(x, k.layers.Dense(2, name="head")(outer(x)))

    yield nested

    @case("a Functional model called twice")
    def model_twice(k: Any) -> Any:
        inside = k.Input((None, FEATURES), name="inside")
        block = k.Model(inside, k.layers.GRU(FEATURES, return_sequences=True, name="cell")(inside), name="block")
        x = k.Input((None, FEATURES), name="x")
        return k.Model(x, k.layers.Add(name="add")([block(block(x)), x]))

    yield model_twice

    @case("a nested model after Masking")
    def nested_mask(k: Any) -> Any:
        x = k.Input((None, FEATURES), name="x")
        inner = k.Sequential([k.layers.LSTM(UNITS, return_sequences=True), k.layers.LSTM(UNITS)], name="inner")
        return k.Model(x, inner(k.layers.Masking(0.0, name="mask")(x)))

    yield nested_mask

    @case("encoder and decoder of a translator")
    def translator(k: Any) -> Any:
        source, target = (k.Input((None,), dtype="int32", name=n) for n in ("source", "target"))
        read = k.layers.Embedding(VOCABULARY, 3, mask_zero=True, name="read")(source)
        _, *state = k.layers.LSTM(UNITS, return_state=True, name="encoder")(read)
        write = k.layers.Embedding(VOCABULARY, 3, mask_zero=True, name="write")(target)
        y = k.layers.LSTM(UNITS, return_sequences=True, name="decoder")(write, initial_state=state)
        return k.Model([source, target], k.layers.Dense(VOCABULARY, activation="softmax", name="head")(y))

    yield translator

    @case("a tagger: Embedding, Bidirectional, TimeDistributed")
    def tagger(k: Any) -> Any:
        stack = [
            k.layers.Embedding(VOCABULARY, 4, mask_zero=True),
            k.layers.Bidirectional(k.layers.LSTM(UNITS, return_sequences=True)),
            k.layers.TimeDistributed(k.layers.Dense(3, activation="softmax")),
        ]
        return sequential(k, *stack, shape=(None,), dtype="int32")

    yield tagger

    @case("a classifier: Embedding, SpatialDropout1D, Bidirectional, Dense")
    def classifier(k: Any) -> Any:
        stack = [
            k.layers.Embedding(VOCABULARY, 4),
            k.layers.SpatialDropout1D(0.2),
            k.layers.Bidirectional(k.layers.GRU(UNITS)),
            k.layers.Dense(1, activation="sigmoid"),
        ]
        return sequential(k, *stack, shape=(None,), dtype="int32")

    yield classifier

    @case("the input itself and a recurrent layer's states are outputs")
    def odd_outputs(k: Any) -> Any:
        x = k.Input((None, FEATURES), name="x")
        y, h, c = k.layers.LSTM(UNITS, return_sequences=True, return_state=True, name="cell")(x)
        return k.Model(x, [y, h, c, x])

    yield odd_outputs

    @case("stateful layers with a Dropout between")
    def stateful(k: Any) -> Any:
        first = k.layers.LSTM(UNITS, stateful=True, return_sequences=True, name="a")
        rest = [k.layers.Dropout(0.2), k.layers.GRU(UNITS, stateful=True, name="b"), k.layers.Dense(1)]
        return k.Sequential([k.Input(batch_shape=(1, None, FEATURES)), first, *rest], name="model")

    yield stateful

    @case("a fixed batch size")
    def batch(k: Any) -> Any:
        return k.Sequential([k.Input(batch_shape=(3, LENGTH, FEATURES)), k.layers.GRU(UNITS)], name="model")

    yield batch

    @case("no recurrent layer")
    def still(k: Any) -> Any:
        return sequential(k, k.layers.Conv1D(4, 3), k.layers.GlobalMaxPooling1D(), k.layers.Dense(2))

    yield still
    for kind in KINDS:

        def subclassed(k: Any, kind: str = kind) -> Any:
            class Net(k.Model):
                def __init__(self) -> None:
                    super().__init__(name="net")
                    self.table = k.layers.Embedding(VOCABULARY, 4, mask_zero=True, name="table")
                    self.cell = recurrent(k, kind, return_sequences=True, name="cell")
                    self.head = k.layers.Dense(2, name="head")

                def call(self, ids: Any) -> Any:
                    return self.head(self.cell(self.table(ids)))

            model = Net()
            model(k.ops.zeros((2, LENGTH), dtype="int32"))
            return model

        yield Case("Models", f"subclassed with a {kind}", subclassed, signature=(("int32", (None, None)),))


def _inputs() -> Iterator[Case]:
    for dtype in ("float32", "float64", "int32", "int64", "bool"):
        for kind in ("LSTM", "GRU"):
            yield Case(
                "Inputs",
                f"{dtype} values into {kind}",
                lambda k, dtype=dtype, kind=kind: sequential(k, recurrent(k, kind), k.layers.Dense(2), dtype=dtype),
            )
    for dtype in ("int32", "int64", "float32"):

        def tokens(k: Any, dtype: str = dtype) -> Any:
            stack = [k.layers.Embedding(VOCABULARY, 3), k.layers.LSTM(UNITS), k.layers.Dense(2)]
            return sequential(k, *stack, shape=(None,), dtype=dtype)

        yield Case("Inputs", f"{dtype} tokens", tokens)


def _mixed() -> Iterator[Case]:
    for kind in KINDS:
        for sequences in (False, True):
            yield Case(
                "Precision",
                f"mixed_float16 {kind}{' return_sequences' if sequences else ''}",
                lambda k, kind=kind, sequences=sequences: sequential(
                    k, recurrent(k, kind, return_sequences=sequences), k.layers.Dense(2)
                ),
                policy="mixed_float16",
            )

    def both(k: Any) -> Any:
        stack = [k.layers.Embedding(VOCABULARY, 4, mask_zero=True), k.layers.Bidirectional(k.layers.GRU(UNITS))]
        return sequential(k, *stack, k.layers.Dense(2, dtype="float32"), shape=(None,), dtype="int32")

    yield Case("Precision", "mixed_float16 Embedding mask_zero, Bidirectional GRU", both, policy="mixed_float16")

    def convolved(k: Any) -> Any:
        stack = [k.layers.Conv1D(4, 3, padding="causal"), k.layers.LayerNormalization(), k.layers.LSTM(UNITS)]
        return sequential(k, *stack, k.layers.Dense(2))

    yield Case("Precision", "mixed_float16 Conv1D, LayerNormalization, LSTM", convolved, policy="mixed_float16")
    for policy in ("float16", "float64"):
        yield Case(
            "Precision",
            f"policy {policy}: LSTM, GRU",
            lambda k: sequential(k, k.layers.LSTM(UNITS, return_sequences=True), k.layers.GRU(UNITS)),
            policy=policy,
        )


def _text() -> Iterator[Case]:
    def vectorized(**arguments: Any) -> Build:
        def model(k: Any) -> Any:
            layer = k.layers.TextVectorization(vocabulary=WORDS, name="text", **arguments)
            stack = [layer, k.layers.Embedding(len(WORDS) + 2, 4, mask_zero=True), k.layers.LSTM(UNITS)]
            return sequential(k, *stack, k.layers.Dense(2), shape=(1,), dtype="string")

        return model

    for name, arguments in {
        "TextVectorization": {},
        "TextVectorization output_sequence_length": {"output_sequence_length": 5},
        "TextVectorization standardize=lower": {"standardize": "lower"},
        "TextVectorization standardize=strip_punctuation": {"standardize": "strip_punctuation"},
        "TextVectorization standardize=None": {"standardize": None},
        "TextVectorization split=character": {"split": "character"},
    }.items():
        yield Case("Text", name, vectorized(**arguments))

    def looked_up(k: Any) -> Any:
        layer = k.layers.StringLookup(vocabulary=WORDS, mask_token="", name="lookup")
        stack = [layer, k.layers.Embedding(len(WORDS) + 2, 4, mask_zero=True), k.layers.GRU(UNITS)]
        return sequential(k, *stack, shape=(LENGTH,), dtype="string")

    yield Case("Text", "StringLookup", looked_up)

    def numbers(k: Any) -> Any:
        layer = k.layers.IntegerLookup(vocabulary=[3, 5, 7, 42], name="lookup")
        return sequential(k, layer, k.layers.Embedding(5, 4), k.layers.GRU(UNITS), shape=(None,), dtype="int64")

    yield Case("Text", "IntegerLookup", numbers)


def _refused() -> Iterator[Case]:
    def case(name: str, message: str, build: Build) -> Case:
        return Case("Refused by name", name, build, refused=message)

    yield case(
        "ConvLSTM1D",
        'layer "bad": ConvLSTM1D has no ONNX operator',
        lambda k: sequential(k, k.layers.ConvLSTM1D(2, 2, name="bad"), shape=(None, 5, 1)),
    )
    yield case(
        "ConvLSTM2D",
        'layer "bad": ConvLSTM2D has no ONNX operator',
        lambda k: sequential(k, k.layers.ConvLSTM2D(2, 2, name="bad"), shape=(None, 5, 5, 1)),
    )
    for activation in ("gelu", "silu", "softmax", "selu", "exponential"):
        yield case(
            f"GRU activation={activation}",
            f'layer "bad": activation "{activation}" has no ONNX recurrent form',
            lambda k, activation=activation: sequential(k, k.layers.GRU(UNITS, activation=activation, name="bad")),
        )
    yield case(
        "stateful and go_backwards",
        'stateful=True carries state between calls, but the model cannot stream: layer "bad" (GRU) reads the sequence',
        lambda k: k.Sequential(
            [
                k.Input(batch_shape=(1, None, FEATURES)),
                k.layers.GRU(UNITS, stateful=True, go_backwards=True, name="bad"),
            ]
        ),
    )
    for dtype in ("uint8", "int16", "float16"):
        yield case(
            f"{dtype} tokens",
            f'input "input_layer" is {dtype}: expected one of float32, float64, int32, int64, bool',
            lambda k, dtype=dtype: sequential(
                k, k.layers.Embedding(VOCABULARY, 3), k.layers.LSTM(UNITS), shape=(None,), dtype=dtype
            ),
        )
    yield case(
        "LSTM recurrent_activation=softmax",
        'layer "bad": recurrent_activation "softmax" has no ONNX recurrent form',
        lambda k: sequential(k, k.layers.LSTM(UNITS, recurrent_activation="softmax", name="bad")),
    )
    yield case(
        "RNN of a user's cell",
        'layer "bad": cell MinimalCell has no ONNX operator',
        lambda k: sequential(k, k.layers.RNN(_minimal_cell(k), name="bad")),
    )
    yield case(
        "StackedRNNCells with a user's cell",
        'layer "bad": cell MinimalCell has no ONNX operator',
        lambda k: sequential(k, k.layers.RNN([cell(k, "LSTM"), _minimal_cell(k)], name="bad")),
    )


def _minimal_cell(k: Any) -> Any:
    class MinimalCell(k.layers.Layer):
        state_size = output_size = UNITS

        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(shape=(shape[-1], UNITS), name="kernel")

        def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
            h = k.ops.tanh(k.ops.matmul(inputs, self.kernel) + states[0])
            return h, [h]

    return MinimalCell(name="cell")
