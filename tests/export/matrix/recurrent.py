"""Cases: the recurrent layers, their arguments, masks, wrappers and initial states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .case import (
    FEATURES,
    KINDS,
    LENGTH,
    UNITS,
    VOCABULARY,
    WEIGHT_SCALE,
    Case,
    cell,
    pairwise,
    product,
    recurrent,
    sequential,
    words,
)

ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear", "hard_sigmoid", "elu", "leaky_relu", "softsign", "softplus")
# Gates without bounds multiply the state at each step, and float32's rounding with it.
UNBOUNDED = ("relu", "linear", "elu", "leaky_relu", "softplus")
SMALL_SCALE = 0.15
MERGES = ("concat", "sum", "mul", "ave", None)
SOURCES = ("Masking", "Embedding", "by hand")
Row = dict[str, Any]


def recurrent_cases() -> Iterator[Case]:
    yield from _layers()
    yield from _arguments()
    yield from _masks()
    yield from _bidirectional()
    yield from _cells()
    yield from _initial_states()
    yield from _time_distributed()


def _length(row: Row) -> int | None:
    return LENGTH if row.get("T") == "fixed" else None


def _layers() -> Iterator[Case]:
    """Every kind with each way of answering: the full product."""
    axes = {
        "kind": list(KINDS),
        "T": ["fixed", "free"],
        "return_sequences": [False, True],
        "return_state": [False, True],
        "go_backwards": [False, True],
    }

    def build(row: Row) -> Any:
        def model(k: Any) -> Any:
            x = k.Input((_length(row), FEATURES))
            flags = {key: row[key] for key in ("return_sequences", "return_state", "go_backwards")}
            y = recurrent(k, row["kind"], name="cell", **flags)(x)
            y, *states = y if row["return_state"] else [y]
            return k.Model(x, [k.layers.Dense(2, name="head")(y), *states])

        return model

    for row in product(axes):
        yield Case("Recurrent layers", words(row), build(row))


def _arguments() -> Iterator[Case]:
    """Activations in all pairs, and every other argument with every other: pairwise."""
    axes = {
        "kind": list(KINDS),
        "activation": list(ACTIVATIONS),
        "recurrent_activation": list(ACTIVATIONS),
        "use_bias": [True, False],
        "implementation": [1, 2],
        "dropout": [0.0, 0.3],
        "recurrent_dropout": [0.0, 0.3],
        "unroll": [False, True],
        "stateful": [False, True],
        "return_sequences": [False, True],
        "unit_forget_bias": [True, False],
    }

    def build(row: Row) -> Any:
        def model(k: Any) -> Any:
            arguments = {key: value for key, value in row.items() if key not in ("kind", "implementation")}
            if row["kind"] != "LSTM":
                del arguments["unit_forget_bias"]
            if row["kind"] == "SimpleRNN":
                del arguments["recurrent_activation"]
            else:
                arguments["implementation"] = row["implementation"]
            shape = (2 if row["stateful"] else None, LENGTH if row["unroll"] else None, FEATURES)
            layer = recurrent(k, row["kind"], name="cell", **arguments)
            return k.Sequential([k.Input(batch_shape=shape), layer, k.layers.Dense(2)], name="model")

        return model

    def allowed(row: Row) -> bool:
        if row["kind"] == "SimpleRNN" and row["recurrent_activation"] != "sigmoid":
            return False
        return row["kind"] == "LSTM" or bool(row["unit_forget_bias"])

    for row in pairwise(axes, allowed):
        shown = dict(row)
        if row["kind"] == "SimpleRNN":
            del shown["recurrent_activation"]
        scale = SMALL_SCALE if row["recurrent_activation"] in UNBOUNDED else WEIGHT_SCALE
        yield Case("Arguments", words(_without_defaults(shown)), build(row), scale=scale)
    for kind in ("LSTM", "GRU", "SimpleRNN"):
        yield Case("Arguments", f"{kind} activation=LeakyReLU layer", _slope(kind, "LeakyReLU", negative_slope=0.05))
        yield Case("Arguments", f"{kind} activation=ELU layer", _slope(kind, "ELU", alpha=0.5))


def _without_defaults(row: Row) -> Row:
    shown = {key: value for key, value in row.items() if key not in ("use_bias", "unit_forget_bias", "implementation")}
    return {
        **shown,
        "no bias": not row["use_bias"],
        "no forget bias": not row["unit_forget_bias"],
        "implementation": 1 if row["implementation"] == 1 and row["kind"] != "SimpleRNN" else None,
        "dropout": row["dropout"] or None,
        "recurrent_dropout": row["recurrent_dropout"] or None,
    }


def _slope(kind: str, layer: str, **arguments: Any) -> Any:
    def model(k: Any) -> Any:
        activation = getattr(k.layers, layer)(**arguments)
        return sequential(k, recurrent(k, kind, activation=activation, return_sequences=True), k.layers.Dense(2))

    return model


def masked_input(k: Any, source: str, length: int | None = None, name: str = "x") -> tuple[list[Any], Any, Any]:
    """The model's inputs, what the first layer reads, and the mask to give it by hand or None."""
    if source == "Masking":
        x = k.Input((length, FEATURES), name=name)
        return [x], k.layers.Masking(0.0, name=f"{name}_mask")(x), None
    if source == "Embedding":
        x = k.Input((length,), dtype="int32", name=name)
        return [x], k.layers.Embedding(VOCABULARY, FEATURES, mask_zero=True, name=f"{name}_table")(x), None
    x = k.Input((length, FEATURES), name=name)
    if source != "by hand":
        return [x], x, None
    mask = k.Input((length,), dtype="bool", name=f"{name}_mask")
    return [x, mask], x, mask


def _masks() -> Iterator[Case]:
    axes = {
        "kind": list(KINDS),
        "source": list(SOURCES),
        "return_sequences": [False, True],
        "go_backwards": [False, True],
    }
    for row in product(axes):
        yield Case("Masks", words(row), _masked(row))
    more = {
        "kind": list(KINDS),
        "source": list(SOURCES),
        "depth": [1, 2, 3],
        "return_sequences": [False, True],
        "return_state": [False, True],
        "zero_output_for_mask": [False, True],
        "initial_state": [False, True],
        "unroll": [False, True],
        "stateful": [False, True],
        "go_backwards": [False, True],
        "head": ["Dense", "TimeDistributed", "GlobalAveragePooling1D", None],
    }

    def allowed(row: Row) -> bool:
        if row["head"] in ("TimeDistributed", "GlobalAveragePooling1D") and not row["return_sequences"]:
            return False
        if row["head"] == "GlobalAveragePooling1D" and row["stateful"]:
            return False  # a mean over the sequence has no state to carry
        if row["unroll"] and row["go_backwards"] and row["zero_output_for_mask"]:
            return False  # refused by name: Keras zeroes other steps than the masked ones
        # A state that is carried backwards is refused by name.
        return not (row["stateful"] and (row["initial_state"] or row["go_backwards"]))

    for row in pairwise(more, allowed):
        yield Case("Masks, more arguments", words(row), _masked(row))


def _masked(row: Row) -> Any:
    def model(k: Any) -> Any:
        length = LENGTH if row.get("unroll") else None
        inputs, x, mask = masked_input(k, row["source"], length)
        if row.get("stateful"):
            inputs, x, mask = _with_batch(k, row, length)
        depth = row.get("depth", 1)
        states: list[Any] = []
        for i in range(depth):
            last = i == depth - 1
            flags = {
                "return_sequences": row["return_sequences"] if last else True,
                "return_state": bool(row.get("return_state")) and last,
                "zero_output_for_mask": bool(row.get("zero_output_for_mask")),
                "go_backwards": row["go_backwards"] and last,
                "unroll": bool(row.get("unroll")),
                "stateful": bool(row.get("stateful")),
            }
            layer = recurrent(k, row["kind"], name=f"cell_{i}", **flags)
            arguments: dict[str, Any] = {} if mask is None else {"mask": mask}
            if row.get("initial_state") and i == 0:
                given = [k.Input((UNITS,), name=f"state_{j}") for j in range(2 if row["kind"] == "LSTM" else 1)]
                inputs = [*inputs, *given]
                arguments["initial_state"] = given if len(given) > 1 else given[0]
            x = layer(x, **arguments)
            if flags["return_state"]:
                x, *states = x
        head = row.get("head", "Dense")
        if head == "Dense":
            x = k.layers.Dense(2, name="head")(x)
        elif head == "TimeDistributed":
            x = k.layers.TimeDistributed(k.layers.Dense(2), name="head")(x)
        elif head:
            x = getattr(k.layers, head)(name="head")(x)
        return k.Model(inputs, [x, *states])

    return model


def _with_batch(k: Any, row: Row, length: int | None) -> tuple[list[Any], Any, Any]:
    """As masked_input, with a fixed batch, which stateful layers need."""
    if row["source"] == "Embedding":
        x = k.Input(batch_shape=(2, length), dtype="int32", name="x")
        return [x], k.layers.Embedding(VOCABULARY, FEATURES, mask_zero=True, name="x_table")(x), None
    x = k.Input(batch_shape=(2, length, FEATURES), name="x")
    if row["source"] == "Masking":
        return [x], k.layers.Masking(0.0, name="x_mask")(x), None
    mask = k.Input(batch_shape=(2, length), dtype="bool", name="x_mask")
    return [x, mask], x, mask


def _bidirectional() -> Iterator[Case]:
    axes = {"kind": list(KINDS), "merge_mode": list(MERGES), "return_sequences": [False, True]}
    for row in product(axes):
        yield Case("Bidirectional", words({**row, "merge_mode": str(row["merge_mode"])}), _both_ways(row))
    more = {
        "kind": list(KINDS),
        "merge_mode": list(MERGES),
        "return_sequences": [False, True],
        "return_state": [False, True],
        "source": ["none", *SOURCES],
        "backward": ["none", "other weights", "other activation", "other kind"],
        "initial_state": [False, True],
        "go_backwards": [False, True],
        "zero_output_for_mask": [False, True],
        "depth": [1, 2],
        "T": ["free", "fixed"],
    }

    def allowed(row: Row) -> bool:
        if row["go_backwards"] and row["backward"] == "none":
            return False  # Keras turns the copy it makes the same way, and refuses the two
        # A second layer reads one tensor.
        return row["depth"] == 1 or row["merge_mode"] is not None

    for row in pairwise(more, allowed):
        shown = {**row, "merge_mode": str(row["merge_mode"])}
        yield Case("Bidirectional, more arguments", words(shown), _both_ways(row))


def _both_ways(row: Row) -> Any:
    def layer(k: Any, i: int, last: bool) -> Any:
        sequences = row["return_sequences"] if last else True
        shared = {
            "return_sequences": sequences,
            "return_state": bool(row.get("return_state")) and last,
            "zero_output_for_mask": bool(row.get("zero_output_for_mask")),
        }
        backwards = bool(row.get("go_backwards"))
        forward = recurrent(k, row["kind"], go_backwards=backwards, **shared)
        own = row.get("backward", "none")
        backward = None
        if own != "none":
            # One of as many states: a SimpleRNN and a GRU have one, a LSTM two.
            other = "SimpleRNN" if row["kind"].startswith("GRU") else "GRU"
            kind = other if own == "other kind" and row["kind"] != "LSTM" else row["kind"]
            activation = {"activation": "relu"} if own == "other activation" else {}
            backward = recurrent(k, kind, go_backwards=not backwards, **shared, **activation)
        return k.layers.Bidirectional(forward, merge_mode=row["merge_mode"], backward_layer=backward, name=f"both_{i}")

    def model(k: Any) -> Any:
        inputs, x, mask = masked_input(k, row.get("source", "none"), _length(row))
        depth = row.get("depth", 1)
        for i in range(depth):
            arguments: dict[str, Any] = {} if mask is None else {"mask": mask}
            if row.get("initial_state") and i == 0:
                count = 4 if row["kind"] == "LSTM" else 2
                given = [k.Input((UNITS,), name=f"state_{j}") for j in range(count)]
                inputs = [*inputs, *given]
                arguments["initial_state"] = given
            x = layer(k, i, i == depth - 1)(x, **arguments)
        results = list(x) if isinstance(x, (list, tuple)) else [x]
        return k.Model(inputs, [k.layers.Dense(2, name="head")(results[0]), *results[1:]])

    return model


def _cells() -> Iterator[Case]:
    def one(row: Row) -> Any:
        def model(k: Any) -> Any:
            inputs, x, mask = masked_input(k, row["source"])
            flags = {key: row[key] for key in ("return_sequences", "return_state", "go_backwards")}
            cells = [cell(k, kind, UNITS + i) for i, kind in enumerate(row["cells"])]
            wrapped = {
                "cell": lambda: cells[0],
                "list": lambda: cells,
                "StackedRNNCells": lambda: k.layers.StackedRNNCells(cells, name="stack"),
            }[row["as"]]()
            y = k.layers.RNN(wrapped, name="cell", **flags)(x, **({} if mask is None else {"mask": mask}))
            y, *states = y if row["return_state"] else [y]
            return k.Model(inputs, [k.layers.Dense(2, name="head")(y), *k.tree.flatten(states)])

        return model

    axes = {
        "as": ["cell", "list", "StackedRNNCells"],
        "cells": [
            *((kind,) for kind in KINDS),
            ("LSTM", "LSTM"),
            ("GRU", "SimpleRNN"),
            ("LSTM", "GRU reset before"),
            ("SimpleRNN", "SimpleRNN"),
            ("GRU", "LSTM", "SimpleRNN"),
            ("LSTM", "LSTM", "LSTM"),
        ],
        "source": ["none", *SOURCES],
        "return_sequences": [False, True],
        "return_state": [False, True],
        "go_backwards": [False, True],
    }

    def allowed(row: Row) -> bool:
        if row["as"] == "cell":
            return len(row["cells"]) == 1
        # Keras itself fails on a mask before a stack of one cell.
        return row["source"] == "none" or len(row["cells"]) > 1

    for row in pairwise(axes, allowed):
        name = words({"as": f"RNN({row['as']} of {', '.join(row['cells'])})", **{k: row[k] for k in list(row)[2:]}})
        yield Case("Cells", name.removeprefix("as="), one(row))
    for kind in KINDS:

        def wrapped(k: Any, kind: str = kind) -> Any:
            layer = k.layers.Bidirectional(k.layers.RNN([cell(k, kind), cell(k, "GRU")], return_sequences=True))
            return sequential(k, layer, k.layers.Dense(2))

        yield Case("Cells", f"Bidirectional RNN([{kind}, GRU])", wrapped)


def _initial_states() -> Iterator[Case]:
    axes = {
        "kind": list(KINDS),
        "initial": ["Dense", "encoder", "input", "zeros", "Bidirectional encoder"],
        "return_sequences": [False, True],
        "source": ["none", "Masking", "Embedding"],
        "go_backwards": [False, True],
    }

    def build(row: Row) -> Any:
        def model(k: Any) -> Any:
            count = 2 if row["kind"] == "LSTM" else 1
            inputs, x, _ = masked_input(k, row["source"])
            if row["initial"] == "input":
                states = [k.Input((UNITS,), name=f"state_{i}") for i in range(count)]
                inputs = [*inputs, *states]
            elif row["initial"] == "Dense":
                context = k.Input((2,), name="context")
                states = [k.layers.Dense(UNITS, activation="tanh", name=f"start_{i}")(context) for i in range(count)]
                inputs = [*inputs, context]
            elif row["initial"] == "zeros":
                states = [k.layers.Lambda(_zeros, output_shape=(UNITS,), name=f"zeros_{i}")(x) for i in range(count)]
            else:
                other, read, _ = masked_input(k, row["source"], name="encoder_x")
                inputs = [*inputs, *other]
                encoder = recurrent(k, row["kind"], return_state=True, name="encoder")
                if row["initial"] == "Bidirectional encoder":
                    ends = k.layers.Bidirectional(encoder, name="both")(read)[1:]
                    states = [
                        k.layers.Dense(UNITS, name=f"start_{i}")(k.layers.Concatenate()([ends[i], ends[i + count]]))
                        for i in range(count)
                    ]
                else:
                    states = encoder(read)[1:]
            flags = {key: row[key] for key in ("return_sequences", "go_backwards")}
            layer = recurrent(k, row["kind"], name="cell", **flags)
            y = layer(x, initial_state=states if count > 1 else states[0])
            return k.Model(inputs, k.layers.Dense(2, name="head")(y))

        return model

    for row in pairwise(axes):
        yield Case("Initial states", words(row), build(row))


def _zeros(x: Any) -> Any:
    import tensorflow as tf

    return tf.zeros([tf.shape(x)[0], UNITS])


def _time_distributed() -> Iterator[Case]:
    def inner(k: Any, what: str) -> tuple[Any, tuple[int, ...]]:
        """What is distributed, and the shape of one step."""
        layers = k.layers
        return {
            "Dense": lambda: (layers.Dense(3, activation="relu"), (4,)),
            "Conv1D": lambda: (layers.Conv1D(3, 2, padding="same"), (5, 2)),
            "LSTM": lambda: (layers.LSTM(3), (5, 2)),
            "GRU sequences": lambda: (layers.GRU(3, return_sequences=True), (5, 2)),
            "Bidirectional": lambda: (layers.Bidirectional(layers.LSTM(3)), (5, 2)),
            "Flatten": lambda: (layers.Flatten(), (5, 2)),
            "MaxPooling1D": lambda: (layers.MaxPooling1D(2), (5, 2)),
            "GlobalAveragePooling1D": lambda: (layers.GlobalAveragePooling1D(), (5, 2)),
            "BatchNormalization": lambda: (layers.BatchNormalization(), (4,)),
            "LayerNormalization": lambda: (layers.LayerNormalization(), (4,)),
            "Dropout": lambda: (layers.Dropout(0.3), (4,)),
            "Reshape": lambda: (layers.Reshape((2, 5)), (5, 2)),
            "Conv2D": lambda: (layers.Conv2D(2, 2), (4, 4, 1)),
            "model": lambda: (k.Sequential([layers.Input((5, 2)), layers.Conv1D(3, 2), layers.Flatten()]), (5, 2)),
            "Embedding": lambda: (layers.Embedding(VOCABULARY, 3), ()),
            "TimeDistributed Dense": lambda: (layers.TimeDistributed(layers.Dense(3)), (5, 2)),
        }[what]()

    whats = [
        "Dense", "Conv1D", "LSTM", "GRU sequences", "Bidirectional", "Flatten", "MaxPooling1D",
        "GlobalAveragePooling1D", "BatchNormalization", "LayerNormalization", "Dropout", "Reshape", "Conv2D", "model",
        "Embedding", "TimeDistributed Dense",
    ]  # fmt: skip

    def build(what: str, length: int | None, masked: bool) -> Any:
        def model(k: Any) -> Any:
            layer, shape = inner(k, what)
            dtype = "int32" if what == "Embedding" else "float32"
            x = k.Input((length, *(shape or (4,))), dtype=dtype)
            y = k.layers.Masking(0.0)(x) if masked else x
            y = k.layers.TimeDistributed(layer, name="each")(y)
            if len(y.shape) > 3:
                y = k.layers.TimeDistributed(k.layers.Flatten(), name="flat")(y)
            return k.Model(x, k.layers.GRU(UNITS, return_sequences=True, name="cell")(y))

        return model

    for what in whats:
        for length in (None, LENGTH):
            name = words({"what": what, "T": "fixed" if length else "free"})
            yield Case("TimeDistributed", name, build(what, length, False))
    for what in ("Dense", "BatchNormalization", "LayerNormalization"):
        yield Case("TimeDistributed", f"{what} after Masking", build(what, None, True))
