"""Models made at random: layers, arguments, topologies, masks and inputs, all by one seed."""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from .case import VOCABULARY, shuffle

# The reasons for which a random model may be refused; anything else is a finding.
MAY_REFUSE = (
    r"has no ONNX recurrent form",
    r"ConvLSTM\dD has no ONNX operator",
    # Keras' unrolled code is at odds with its own masks.
    r"unroll=True with go_backwards and zero_output_for_mask",
)
ATTEMPTS = 50
LARGEST = 100.0
_ACTIVATIONS = (
    "tanh",
    "tanh",
    "relu",
    "sigmoid",
    "linear",
    "hard_sigmoid",
    "elu",
    "leaky_relu",
    "softsign",
    "softplus",
)
_GATES = ("sigmoid", "sigmoid", "hard_sigmoid", "tanh", "softsign")
_POINTWISE = (*_ACTIVATIONS, "gelu", "silu", "softmax", "selu", "hard_silu", "exponential", "mish", "relu6")
_MERGES = ("concat", "sum", "mul", "ave")


class _Maker:
    """Grows one model. ``text`` says what was made, line by line."""

    def __init__(self, seed: int) -> None:
        import keras

        self.k = keras
        self.chance = random.Random(seed)
        self.text: list[str] = []
        self.inputs: list[Any] = []
        self.sequences: list[Any] = []
        self.vectors: list[Any] = []
        self.outputs: list[Any] = []
        self.fixed = self.chance.random() < 0.3
        self.length = self.chance.choice([3, 4, 6, 7]) if self.fixed else None

    # -- small choices

    def flip(self, share: float = 0.5) -> bool:
        return self.chance.random() < share

    def units(self) -> int:
        return self.chance.choice([1, 2, 3, 4, 5, 8])

    def make(self, kind: str, *args: Any, **kwargs: Any) -> Any:
        """A layer of keras.layers, noted in the text."""
        layer = getattr(self.k.layers, kind)(*args, **kwargs)
        layer.made_as = f"{kind}({', '.join([*map(_show, args), *(f'{key}={_show(v)}' for key, v in kwargs.items())])})"
        return layer

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        given = [*map(_names, args), *(f"{key}={_names(value)}" for key, value in kwargs.items())]
        self.text.append(f"{_names(result)} = {getattr(layer, 'made_as', layer.name)}({', '.join(given)})")
        return result

    # -- the model

    def model(self) -> Any:
        self.begin()
        for _ in range(self.chance.randint(1, 5)):
            self.grow()
        if not any(isinstance(node, self.k.layers.RNN) for node in self._layers()) and self.flip(0.9):
            self.recurrent(self.chance.choice(self.sequences))
        ends = [(self.vectors or self.sequences)[-1]]
        if self.flip(0.3):
            ends.append(self.chance.choice(self.sequences))
        ends = [self._head(end) for end in ends]
        every = [*ends, *self.outputs]
        unique = list({id(tensor): tensor for tensor in every}.values())
        return self.k.Model(self._used(unique), unique if len(unique) > 1 else unique[0], name="model")

    def _head(self, tensor: Any) -> Any:
        if self.flip(0.3) and not any(tensor is given for given in self.inputs):
            return tensor
        return self.call(
            self.make("Dense", self.units(), activation=self.chance.choice([None, "softmax", "sigmoid"])), tensor
        )

    def _layers(self) -> list[Any]:
        tensors = [*self.sequences, *self.vectors]
        return [tensor._keras_history.operation for tensor in tensors]

    def _used(self, outputs: list[Any]) -> list[Any]:
        """The inputs that an output depends on."""
        seen, found, todo = set(), set(), list(outputs)
        while todo:
            tensor = todo.pop()
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            history = tensor._keras_history
            node = history.operation._inbound_nodes[history.node_index]
            if node.is_input:
                found.add(id(tensor))
            todo += node.arguments.keras_tensors
        return [tensor for tensor in self.inputs if id(tensor) in found]

    def begin(self) -> None:
        for i in range(self.chance.choice([1, 1, 1, 2])):
            if self.flip(0.4):
                dtype = self.chance.choice(["int32", "int32", "int64", "float32"])
                x = self.input((self.length,), dtype, f"ids_{i}")
                y = self.call(self.make("Embedding", VOCABULARY, self.units(), mask_zero=self.flip()), x)
            else:
                dtype = "float32" if self.flip(0.85) else self.chance.choice(["float64", "int32"])
                y = self.input((self.length, self.chance.choice([1, 2, 3, 5])), dtype, f"x_{i}")
                if dtype != "int32" and self.flip(0.35):
                    y = self.call(self.make("Masking", 0.0), y)
            self.sequences.append(y)
        if self.flip(0.15):
            self.vectors.append(self.input((self.chance.choice([2, 4]),), "float32", "still"))

    def input(self, shape: tuple[int | None, ...], dtype: str, name: str) -> Any:
        tensor = self.k.Input(shape, dtype=dtype, name=name)
        self.text.append(f"{name} = Input({shape}, dtype={dtype!r})")
        self.inputs.append(tensor)
        return tensor

    def grow(self) -> None:
        """One more layer or block on the latest tensors."""
        x = self.sequences[-1] if self.flip(0.8) else self.chance.choice(self.sequences)
        steps: list[tuple[int, Callable[[Any], None]]] = [
            (8, self.recurrent), (4, self.bidirectional), (4, self.cells), (5, self.pointwise), (3, self.convolution),
            (2, self.merge), (2, self.attention), (2, self.distributed), (1, self.nested), (1, self.twice),
            (1, self.function), (1, self.shape), (1, self.repeat), (2, self.to_vector), (1, self.vector),
        ]  # fmt: skip
        self.chance.choices([step for _, step in steps], [weight for weight, _ in steps])[0](x)

    # -- recurrent

    def arguments(self, kind: str) -> dict[str, Any]:
        chosen: dict[str, Any] = {}
        if self.flip(0.4):
            chosen["activation"] = self.chance.choice(_ACTIVATIONS) if self.flip(0.97) else "gelu"
        if kind != "SimpleRNN" and self.flip(0.3):
            chosen["recurrent_activation"] = self.chance.choice(_GATES)
        if self.flip(0.2):
            chosen["use_bias"] = False
        if kind == "GRU" and self.flip(0.4):
            chosen["reset_after"] = False
        if kind == "LSTM" and self.flip(0.1):
            chosen["unit_forget_bias"] = False
        for key in ("dropout", "recurrent_dropout"):
            if self.flip(0.1):
                chosen[key] = 0.3
        return chosen

    def flags(self) -> dict[str, Any]:
        chosen: dict[str, Any] = {"return_sequences": self.flip(0.7)}
        for key, share in (("go_backwards", 0.15), ("return_state", 0.2), ("zero_output_for_mask", 0.2)):
            if self.flip(share):
                chosen[key] = True
        if self.fixed and self.flip(0.3):
            chosen["unroll"] = True
        return chosen

    def kind(self) -> str:
        return self.chance.choice(["SimpleRNN", "LSTM", "LSTM", "GRU", "GRU"])

    def recurrent(self, x: Any) -> None:
        kind, units = self.kind(), self.units()
        layer = self.make(kind, units, **self.arguments(kind), **self.flags())
        self.keep(self.call(layer, x, **self.initial([units] * (2 if kind == "LSTM" else 1))), layer)

    def initial(self, units: list[int]) -> dict[str, Any]:
        """Initial states from a vector, or an input of their own."""
        if not self.flip(0.2):
            return {}
        states = []
        for size in units:
            if self.vectors and self.flip(0.7):
                states.append(self.call(self.make("Dense", size), self.vectors[-1]))
            else:
                states.append(self.input((size,), "float32", f"state_{len(self.inputs)}"))
        return {"initial_state": states if len(states) > 1 else states[0]}

    def bidirectional(self, x: Any) -> None:
        kind, units, arguments = self.kind(), self.units(), self.arguments("")
        flags = {key: value for key, value in self.flags().items() if key != "go_backwards"}
        forward = self.make(kind, units, **arguments, **flags)
        own = {}
        if self.flip(0.2):
            backward = self.make(kind, units, **self.arguments(kind), **flags, go_backwards=True)
            own = {"backward_layer": backward}
        merge = self.chance.choice(_MERGES) if self.flip(0.9) else None
        layer = self.make("Bidirectional", forward, merge_mode=merge, **own)
        layer.return_sequences = flags["return_sequences"]
        found = self.call(layer, x, **self.initial([units] * (4 if kind == "LSTM" else 2)))
        if merge is None:
            self.add(found[1], flags["return_sequences"])
            found = [found[0], *found[2:]] if flags.get("return_state") else found[0]
        self.keep(found, layer)

    def cells(self, x: Any) -> None:
        kinds = [self.kind() for _ in range(self.chance.choice([1, 1, 2, 3]))]
        units = [self.units() for _ in kinds]
        cells = [
            self.make(f"{kind}Cell", size, **self.arguments(kind)) for kind, size in zip(kinds, units, strict=True)
        ]
        cell = cells[0] if len(cells) == 1 else cells
        flags = {key: value for key, value in self.flags().items() if key != "return_state"}
        layer = self.make("RNN", cell, **flags)
        self.keep(self.call(layer, x), layer)

    def keep(self, found: Any, layer: Any) -> None:
        """Take over what a recurrent layer gave: its output, and states."""
        output, *states = found if isinstance(found, (list, tuple)) else [found]
        self.add(output, layer.return_sequences)
        for state in states:
            if self.flip(0.5):
                self.outputs.append(state)
            self.vectors.insert(0, state)

    def add(self, tensor: Any, sequence: bool) -> None:
        (self.sequences if sequence else self.vectors).append(tensor)

    # -- around

    def pointwise(self, x: Any) -> None:
        kind = self.chance.choice([
            "Dense", "Dense", "Activation", "Dropout", "SpatialDropout1D", "GaussianNoise", "BatchNormalization",
            "LayerNormalization", "Rescaling", "UnitNormalization", "LeakyReLU", "ReLU", "ELU", "Softmax", "PReLU",
            "RMSNormalization",
        ])  # fmt: skip
        args: dict[str, tuple[Any, ...]] = {
            "Dense": (self.units(),), "Activation": (self.chance.choice(_POINTWISE),), "Dropout": (0.3,),
            "SpatialDropout1D": (0.3,), "GaussianNoise": (0.3,), "Rescaling": (0.5, -0.1), "LeakyReLU": (0.1,),
        }  # fmt: skip
        kwargs: dict[str, Any] = {"shared_axes": [1]} if kind == "PReLU" else {}
        if kind == "Dense":
            kwargs = {"activation": self.chance.choice([None, *_POINTWISE]), "use_bias": self.flip(0.8)}
        self.sequences.append(self.call(self.make(kind, *args.get(kind, ()), **kwargs), x))

    def convolution(self, x: Any) -> None:
        kind = self.chance.choice(
            ["Conv1D", "Conv1D", "SeparableConv1D", "DepthwiseConv1D", "MaxPooling1D", "AveragePooling1D"]
        )
        padding = self.chance.choice(["same", "causal", "valid"] if kind == "Conv1D" else ["same", "valid"])
        if kind.endswith("Pooling1D"):
            layer = self.make(kind, 2, strides=self.chance.choice([1, 2]), padding=padding)
        else:
            kwargs: dict[str, Any] = {"padding": padding, "activation": self.chance.choice([None, "relu", "tanh"])}
            kwargs["strides" if self.flip(0.3) else "dilation_rate"] = self.chance.choice([1, 2])
            sizes = [self.chance.choice([1, 2, 3])]
            layer = self.make(kind, *([] if kind == "DepthwiseConv1D" else [self.units()]), *sizes, **kwargs)
        self.sequences.append(self.call(layer, x))

    def merge(self, x: Any) -> None:
        kind = self.chance.choice(["Add", "Concatenate", "Multiply", "Average", "Maximum", "Subtract"])
        width = x.shape[-1]
        layer = self.make(self.chance.choice(["GRU", "LSTM"]), width, return_sequences=True)
        other = self.call(layer, x) if self.flip() else self.call(self.make("Dense", width), x)
        self.sequences.append(self.call(self.make(kind), [x, other]))

    def attention(self, x: Any) -> None:
        kind = self.chance.choice(["Attention", "AdditiveAttention", "MultiHeadAttention"])
        causal = {"use_causal_mask": True} if self.flip(0.2) else {}
        if kind == "MultiHeadAttention":
            y = self.call(self.make(kind, self.chance.choice([1, 2]), 2), x, x, **causal)
        else:
            y = self.call(self.make(kind, use_scale=self.flip()), [x, x], **causal)
        self.sequences.append(y)

    def distributed(self, x: Any) -> None:
        inner = self.chance.choice([
            lambda: self.make("Dense", self.units(), activation="relu"), lambda: self.make("BatchNormalization"),
            lambda: self.make("LayerNormalization"), lambda: self.make("Dropout", 0.2),
        ])()  # fmt: skip
        self.sequences.append(self.call(self.make("TimeDistributed", inner), x))

    def nested(self, x: Any) -> None:
        kind = self.kind()
        stack = [
            self.make(kind, self.units(), return_sequences=True),
            self.make("Dense", self.units(), activation="tanh"),
        ]
        model = self.k.Sequential([self.k.Input((None, x.shape[-1])), *stack])
        model.made_as = f"Sequential([{', '.join(layer.made_as for layer in stack)}])"
        self.sequences.append(self.call(model, x))

    def twice(self, x: Any) -> None:
        kind = self.kind()
        layer = self.make(kind, x.shape[-1], return_sequences=True)
        self.sequences.append(self.call(layer, self.call(layer, x)))

    def function(self, x: Any) -> None:
        ops = self.k.ops
        name, made = self.chance.choice([
            ("tanh(x) * 0.5", lambda: ops.tanh(x) * 0.5),
            ("x - mean(x, axis=1)", lambda: x - ops.mean(x, axis=1, keepdims=True)),
            ("concatenate([x, -x], axis=-1)", lambda: ops.concatenate([x, -x], axis=-1)),
            ("maximum(x, 0.1)", lambda: ops.maximum(x, 0.1)),
            ("flip(x, axis=1)", lambda: ops.flip(x, axis=1)),
            ("abs(x)", lambda: ops.abs(x)),
        ])  # fmt: skip
        y = made()
        self.text.append(f"{_names(y)} = {name} of {_names(x)}")
        self.sequences.append(y)

    def shape(self, x: Any) -> None:
        if not self.fixed:
            layer = self.make("UpSampling1D", 2) if self.flip() else self.make("ZeroPadding1D", (1, 2))
        else:
            layer = self.chance.choice([
                lambda: self.make("Permute", (2, 1)), lambda: self.make("Cropping1D", (1, 1)),
                lambda: self.make("Reshape", (-1, 1)), lambda: self.make("ZeroPadding1D", 1),
            ])()  # fmt: skip
        self.sequences.append(self.call(layer, x))

    def to_vector(self, x: Any) -> None:
        kinds = ["GlobalMaxPooling1D", "GlobalAveragePooling1D"]
        self.vectors.append(self.call(self.make(self.chance.choice([*kinds, "Flatten"] if self.fixed else kinds)), x))

    def vector(self, x: Any) -> None:
        if self.vectors:
            layer = self.make("Dense", self.units(), activation=self.chance.choice(_POINTWISE))
            self.vectors.append(self.call(layer, self.vectors[-1]))

    def repeat(self, x: Any) -> None:
        if self.vectors:
            self.sequences.append(self.call(self.make("RepeatVector", 3), self.vectors[-1]))


def _show(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_show, value))}]"
    return getattr(value, "made_as", None) or repr(value)


def _names(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_names, value))}]"
    return getattr(value, "name", repr(value))


def random_model(seed: int) -> tuple[Any, list[str]]:
    """The model of a seed, and what it is made of; the first one of the seed that Keras itself runs."""
    import keras
    import numpy as np

    from .check import keras_oracle
    from .feeds import SIZES, arrays, ends_of

    for attempt in range(ATTEMPTS):
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        maker = _Maker(seed * ATTEMPTS + attempt)
        try:
            model = maker.model()
            shuffle(model, seed)
            ends = ends_of(model)
            batch, length = SIZES[0]
            answers = keras_oracle(model)(arrays(ends, batch, length, np.random.default_rng(seed)))
            # What relu and linear cells multiply grows without bound, and float32's rounding with it.
            if all(np.isfinite(a).all() and np.abs(a).max(initial=0) < LARGEST for a in answers):
                return model, maker.text
        except Exception:
            continue
    raise RuntimeError(f"seed {seed}: no model that Keras runs in {ATTEMPTS} attempts")


def examine_random(seed: int) -> dict[str, Any]:
    """Check the model of a seed; ``made`` says what it is."""
    from .check import check

    model, made = random_model(seed)
    return {**check(model, seed).to_dict(), "made": made}


def is_finding(found: dict[str, Any]) -> bool:
    """Whether the result is a disagreement, or a refusal for a reason that is not on the list."""
    if found["status"] == "refused":
        named = found.get("layer") is not None
        return not (named and any(re.search(pattern, found["why"]) for pattern in MAY_REFUSE))
    return bool(found["status"] != "equal")


def command_for(seed: int) -> str:
    """What to type to see one seed again."""
    return f"python -m tests.export.matrix random --seed {seed} --show"


def main(arguments: argparse.Namespace) -> int:
    """Run the seeds asked for and print what was found; 1 where a model disagrees."""
    from .workers import run

    names = [str(seed) for seed in range(arguments.seed, arguments.seed + arguments.count)]
    counts, findings = Counter[str](), 0
    started = time.monotonic()
    for i, (name, found) in enumerate(run(names, "random", arguments.jobs, timeout=300.0), start=1):
        counts[found["status"]] += 1
        if arguments.show:
            print("\n".join(found.get("made", [])))
            print(json.dumps({key: value for key, value in found.items() if key != "made"}))
        if is_finding(found):
            findings += 1
            print(f"seed {name}: {found['status']}: {found.get('why')}\n  {command_for(int(name))}", flush=True)
        if i % 50 == 0:
            print(f"{i}/{len(names)} {dict(counts)}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    print(f"{len(names)} models: {', '.join(f'{n} {kind}' for kind, n in sorted(counts.items()))}; {findings} findings")
    return int(findings > 0)
