"""Cases: the layers that stand around recurrent ones, each before and after a GRU or LSTM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .case import FEATURES, LENGTH, UNITS, VOCABULARY, Case, pairwise, sequential, words

Build = Callable[[Any], Any]


def around_cases() -> Iterator[Case]:
    yield from _pointwise()
    yield from _convolutions()
    yield from _shapes()
    yield from _merges()
    yield from _attention()
    yield from _functions()


def _between(layer: Build, length: int | None = None) -> Build:
    """GRU, the layer, LSTM: on [batch, time, UNITS]."""

    def model(k: Any) -> Any:
        first = k.layers.GRU(UNITS, return_sequences=True, name="before")
        return sequential(k, first, layer(k), k.layers.LSTM(UNITS, name="after"), shape=(length, FEATURES))

    return model


def _before(layer: Build, length: int | None = None) -> Build:
    """The layer, then a GRU."""
    return lambda k: sequential(k, layer(k), k.layers.GRU(UNITS, name="after"), shape=(length, FEATURES))


def _behind(layer: Build, sequences: bool = True, length: int | None = None) -> Build:
    """A LSTM, then the layer."""

    def model(k: Any) -> Any:
        first = k.layers.LSTM(UNITS, return_sequences=sequences, name="before")
        return sequential(k, first, layer(k), shape=(length, FEATURES))

    return model


def _pointwise() -> Iterator[Case]:
    for activation in (
        "relu", "sigmoid", "tanh", "softmax", "softplus", "softsign", "elu", "selu", "gelu", "silu", "exponential",
        "hard_sigmoid", "hard_silu", "relu6", "leaky_relu", "mish", "log_softmax", "celu", "hard_tanh",
        "log_sigmoid", "soft_shrink", "hard_shrink", "tanh_shrink", "squareplus", "sparse_plus", "linear",
    ):  # fmt: skip

        def dense(k: Any, activation: str = activation) -> Any:
            return k.layers.Dense(UNITS, activation=activation, name="dense")

        yield Case("Dense and activations", f"Dense activation={activation}", _between(dense))
    for name, layer in {
        "Dense no bias": lambda k: k.layers.Dense(3, use_bias=False),
        "EinsumDense": lambda k: k.layers.EinsumDense("btf,fg->btg", output_shape=(None, 3), bias_axes="g"),
        "Activation": lambda k: k.layers.Activation("tanh"),
        "ReLU with limits": lambda k: k.layers.ReLU(max_value=0.5, negative_slope=0.1, threshold=0.1),
        "LeakyReLU": lambda k: k.layers.LeakyReLU(0.2),
        "PReLU": lambda k: k.layers.PReLU(shared_axes=[1]),
        "ELU": lambda k: k.layers.ELU(0.7),
        "Softmax": lambda k: k.layers.Softmax(),
        "Identity": lambda k: k.layers.Identity(),
        "Dropout": lambda k: k.layers.Dropout(0.4),
        "GaussianDropout": lambda k: k.layers.GaussianDropout(0.4),
        "GaussianNoise": lambda k: k.layers.GaussianNoise(0.4),
        "AlphaDropout": lambda k: k.layers.AlphaDropout(0.4),
        "SpatialDropout1D": lambda k: k.layers.SpatialDropout1D(0.4),
        "ActivityRegularization": lambda k: k.layers.ActivityRegularization(0.1),
        "Rescaling": lambda k: k.layers.Rescaling(1 / 3, offset=-0.5),
        "BatchNormalization": lambda k: k.layers.BatchNormalization(),
        "BatchNormalization no scale": lambda k: k.layers.BatchNormalization(scale=False, center=False),
        "LayerNormalization": lambda k: k.layers.LayerNormalization(),
        "LayerNormalization no center": lambda k: k.layers.LayerNormalization(center=False, epsilon=1e-2),
        "GroupNormalization": lambda k: k.layers.GroupNormalization(2),
        "UnitNormalization": lambda k: k.layers.UnitNormalization(),
        "RMSNormalization": lambda k: k.layers.RMSNormalization(),
        "Normalization": lambda k: k.layers.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 0.5, 0.7]),
        "SpectralNormalization": lambda k: k.layers.SpectralNormalization(k.layers.Dense(3)),
        "Masking then Dense": lambda k: k.Sequential([k.layers.Masking(0.0), k.layers.Dense(3)]),
    }.items():
        yield Case("Dense and activations", name, _between(layer))
    yield Case("Dense and activations", "LayerNormalization axis=(1, 2)", _between(_layer_norm, LENGTH))

    def adapted(k: Any) -> Any:
        import numpy as np

        layer = k.layers.Normalization(name="norm")
        layer.adapt(np.random.default_rng(3).normal(2.0, 3.0, (50, 4, FEATURES)).astype(np.float32))
        return layer

    yield Case("Dense and activations", "Normalization adapted", _before(adapted))
    yield Case("Dense and activations", "Dense after the last step", _behind(lambda k: k.layers.Dense(3), False))
    yield Case("Dense and activations", "Softmax axis=1", _between(lambda k: k.layers.Softmax(axis=1)))


def _layer_norm(k: Any) -> Any:
    return k.layers.LayerNormalization(axis=(1, 2))


def _convolutions() -> Iterator[Case]:
    axes = {
        "what": ["Conv1D", "SeparableConv1D", "DepthwiseConv1D"],
        "padding": ["valid", "same", "causal"],
        "kernel": [1, 2, 3],
        "strides": [1, 2],
        "dilation": [1, 2],
        "groups": [1, 2],
        "use_bias": [True, False],
        "activation": [None, "relu", "tanh"],
        "T": ["free", "fixed"],
    }

    def allowed(row: dict[str, Any]) -> bool:
        if row["what"] != "Conv1D" and row["groups"] != 1:
            return False
        if row["what"] != "Conv1D" and row["padding"] == "causal":
            return False
        return row["strides"] == 1 or row["dilation"] == 1

    def build(row: dict[str, Any]) -> Build:
        def layer(k: Any) -> Any:
            arguments = {
                "padding": row["padding"],
                "strides": row["strides"],
                "dilation_rate": row["dilation"],
                "use_bias": row["use_bias"],
                "activation": row["activation"],
                "name": "conv",
            }
            if row["what"] == "DepthwiseConv1D":
                return k.layers.DepthwiseConv1D(row["kernel"], depth_multiplier=2, **arguments)
            if row["what"] == "SeparableConv1D":
                return k.layers.SeparableConv1D(UNITS, row["kernel"], **arguments)
            return k.layers.Conv1D(UNITS, row["kernel"], groups=row["groups"], **arguments)

        return _between(layer, 2 * LENGTH if row["T"] == "fixed" else None)

    for row in pairwise(axes, allowed):
        shown = {key: value for key, value in row.items() if value != 1 and key != "use_bias"}
        yield Case("Convolutions", words({**shown, "no bias": not row["use_bias"]}), build(row))
    for padding in ("valid", "same"):
        for strides in (1, 2):

            def transposed(k: Any, padding: str = padding, strides: int = strides) -> Any:
                return k.layers.Conv1DTranspose(UNITS, 3, strides=strides, padding=padding, name="conv")

            yield Case("Convolutions", f"Conv1DTranspose {padding} strides={strides}", _between(transposed, LENGTH))
    for strides in (1, 2):
        for padding in ("valid", "same"):
            for kind in ("Max", "Average"):

                def pool(k: Any, kind: str = kind, padding: str = padding, strides: int = strides) -> Any:
                    return getattr(k.layers, f"{kind}Pooling1D")(2, strides=strides, padding=padding, name="pool")

                yield Case("Convolutions", f"{kind}Pooling1D {padding} strides={strides}", _between(pool))
    for kind in ("GlobalMaxPooling1D", "GlobalAveragePooling1D"):
        for keepdims in (False, True):

            def end(k: Any, kind: str = kind, keepdims: bool = keepdims) -> Any:
                return getattr(k.layers, kind)(keepdims=keepdims, name="pool")

            yield Case("Convolutions", words({"what": kind, "keepdims": keepdims}), _behind(end))

    def channels_first(k: Any) -> Any:
        return k.layers.GlobalAveragePooling1D(data_format="channels_first", name="pool")

    yield Case("Convolutions", "GlobalAveragePooling1D channels_first", _behind(channels_first, length=LENGTH))

    def convolved(k: Any) -> Any:
        stack = [k.layers.Conv1D(6, 3, padding="causal", activation="relu"), k.layers.BatchNormalization()]
        return sequential(k, *stack, k.layers.MaxPooling1D(2), k.layers.LSTM(UNITS), k.layers.Dense(2))

    yield Case("Convolutions", "Conv1D, BatchNormalization, MaxPooling1D, LSTM, Dense", convolved)


def _shapes() -> Iterator[Case]:
    fixed: dict[str, Build] = {
        "Flatten": lambda k: k.layers.Flatten(),
        "Reshape": lambda k: k.layers.Reshape((UNITS, LENGTH)),
        "Reshape with -1": lambda k: k.layers.Reshape((-1, 2)),
        "Permute": lambda k: k.layers.Permute((2, 1)),
        "ZeroPadding1D": lambda k: k.layers.ZeroPadding1D((2, 1)),
        "Cropping1D": lambda k: k.layers.Cropping1D((1, 2)),
        "UpSampling1D": lambda k: k.layers.UpSampling1D(2),
    }
    for name, layer in fixed.items():
        yield Case("Shapes", f"{name} T=fixed", _behind(layer, length=LENGTH))
    for name in ("Reshape with -1", "ZeroPadding1D", "UpSampling1D", "Permute"):
        yield Case("Shapes", f"{name} T=free", _behind(fixed[name]))

    def copied(k: Any) -> Any:
        ends = [k.layers.LSTM(UNITS), k.layers.RepeatVector(3), k.layers.GRU(UNITS, return_sequences=True)]
        return sequential(k, *ends, k.layers.TimeDistributed(k.layers.Dense(2)))

    yield Case("Shapes", "LSTM, RepeatVector, GRU, TimeDistributed: an autoencoder", copied)

    def windowed(k: Any) -> Any:
        stack = [k.layers.Flatten(), k.layers.Dense(12), k.layers.Reshape((4, 3)), k.layers.SimpleRNN(UNITS)]
        return sequential(k, *stack, shape=(LENGTH, FEATURES))

    yield Case("Shapes", "Flatten, Dense, Reshape, SimpleRNN", windowed)

    def picture(k: Any) -> Any:
        stack = [k.layers.Conv2D(2, 2, activation="relu"), k.layers.MaxPooling2D(2), k.layers.Reshape((-1, 4))]
        return sequential(k, *stack, k.layers.Bidirectional(k.layers.LSTM(UNITS)), shape=(7, 5, 1))

    yield Case("Shapes", "Conv2D, MaxPooling2D, Reshape, Bidirectional LSTM", picture)


def _merges() -> Iterator[Case]:
    def merged(name: str, sequences: bool) -> Build:
        def model(k: Any) -> Any:
            x = k.Input((None, FEATURES), name="x")
            a = k.layers.LSTM(UNITS, return_sequences=sequences, name="a")(x)
            b = k.layers.GRU(UNITS, return_sequences=sequences, name="b")(x)
            y = getattr(k.layers, name)(name="merge")([a, b])
            return k.Model(x, k.layers.Dense(2, name="head")(y))

        return model

    for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"):
        for sequences in (True, False):
            yield Case("Merges", words({"what": name, "return_sequences": sequences}), merged(name, sequences))

    def dot(normalize: bool) -> Build:
        def model(k: Any) -> Any:
            x = k.Input((None, FEATURES), name="x")
            a, b = (k.layers.LSTM(UNITS, name=n)(x) for n in "ab")
            return k.Model(x, k.layers.Dot(1, normalize=normalize, name="dot")([a, b]))

        return model

    yield Case("Merges", "Dot", dot(False))
    yield Case("Merges", "Dot normalize", dot(True))

    def along_time(k: Any) -> Any:
        a, b = (k.Input((None, FEATURES), name=n) for n in "ab")
        return k.Model([a, b], k.layers.LSTM(UNITS)(k.layers.Concatenate(axis=1)([a, b])))

    yield Case("Merges", "Concatenate axis=1", along_time)

    def masked(name: str) -> Build:
        def model(k: Any) -> Any:
            ids = k.Input((None,), dtype="int32", name="ids")
            a, b = (k.layers.Embedding(VOCABULARY, UNITS, mask_zero=True, name=n)(ids) for n in "ab")
            return k.Model(ids, k.layers.GRU(UNITS)(getattr(k.layers, name)(name="merge")([a, b])))

        return model

    for name in ("Add", "Multiply", "Concatenate"):
        yield Case("Merges", f"{name} of two masked sequences", masked(name))

    def residual(k: Any) -> Any:
        x = k.Input((None, UNITS), name="x")
        y = x
        for i in range(2):
            y = k.layers.LayerNormalization(name=f"norm_{i}")(y)
            y = k.layers.Add(name=f"add_{i}")([y, k.layers.LSTM(UNITS, return_sequences=True, name=f"cell_{i}")(y)])
        return k.Model(x, y)

    yield Case("Merges", "two residual blocks", residual)


def _attention() -> Iterator[Case]:
    def attention(make: Build, masked: bool, kind: str) -> Build:
        def model(k: Any) -> Any:
            ids = k.Input((None,), dtype="int32", name="ids")
            x = k.layers.Embedding(VOCABULARY, UNITS, mask_zero=masked, name="table")(ids)
            y = k.layers.GRU(UNITS, return_sequences=True, name="cell")(x)
            layer = make(k)
            y = layer(y, y) if kind == "multi" else layer([y, y])
            return k.Model(ids, k.layers.GlobalMaxPooling1D(name="pool")(y))

        return model

    kinds: dict[str, tuple[str, Build]] = {
        "Attention": ("plain", lambda k: k.layers.Attention(name="attention")),
        "Attention use_scale": ("plain", lambda k: k.layers.Attention(use_scale=True, name="attention")),
        "Attention concat": ("plain", lambda k: k.layers.Attention(score_mode="concat", name="attention")),
        "AdditiveAttention": ("plain", lambda k: k.layers.AdditiveAttention(name="attention")),
        "MultiHeadAttention": ("multi", lambda k: k.layers.MultiHeadAttention(2, 3, name="attention")),
        "MultiHeadAttention value_dim": (
            "multi",
            lambda k: k.layers.MultiHeadAttention(2, 3, value_dim=2, output_shape=5, use_bias=False, name="attention"),
        ),
        "GroupQueryAttention": ("multi", lambda k: k.layers.GroupQueryAttention(3, 4, 2, name="attention")),
    }
    for name, (kind, make) in kinds.items():
        for masked in (False, True):
            yield Case("Attention", name + (" after mask_zero" if masked else ""), attention(make, masked, kind))

    def causal(name: str) -> Build:
        def model(k: Any) -> Any:
            x = k.Input((None, FEATURES), name="x")
            y = k.layers.LSTM(UNITS, return_sequences=True, name="cell")(x)
            if name == "MultiHeadAttention":
                y = k.layers.MultiHeadAttention(2, 3, name="attention")(y, y, use_causal_mask=True)
            else:
                y = getattr(k.layers, name)(name="attention")([y, y], use_causal_mask=True)
            return k.Model(x, y)

        return model

    for name in ("Attention", "AdditiveAttention", "MultiHeadAttention"):
        yield Case("Attention", f"{name} use_causal_mask", causal(name))

    def encoder_decoder(name: str) -> Build:
        def model(k: Any) -> Any:
            source, target = (k.Input((None,), dtype="int32", name=n) for n in ("source", "target"))
            read = k.layers.Embedding(VOCABULARY, 3, name="read")(source)
            memory, *state = k.layers.LSTM(UNITS, return_sequences=True, return_state=True, name="encoder")(read)
            write = k.layers.Embedding(VOCABULARY, 3, name="write")(target)
            y = k.layers.LSTM(UNITS, return_sequences=True, name="decoder")(write, initial_state=state)
            seen = getattr(k.layers, name)(name="attention")([y, memory])
            y = k.layers.Concatenate(name="both")([y, seen])
            return k.Model([source, target], k.layers.Dense(VOCABULARY, activation="softmax", name="head")(y))

        return model

    for name in ("Attention", "AdditiveAttention"):
        yield Case("Attention", f"encoder, decoder and {name}", encoder_decoder(name))

    def scores(k: Any) -> Any:
        x = k.Input((None, FEATURES), name="x")
        y = k.layers.GRU(UNITS, return_sequences=True, name="cell")(x)
        y, weights = k.layers.MultiHeadAttention(2, 3, name="attention")(y, y, return_attention_scores=True)
        return k.Model(x, [y, weights])

    yield Case("Attention", "MultiHeadAttention with its scores", scores)

    def by_hand(k: Any) -> Any:
        x = k.Input((None, FEATURES), name="x")
        y = k.layers.Bidirectional(k.layers.GRU(UNITS, return_sequences=True), name="cell")(x)
        score = k.layers.Softmax(axis=1, name="weights")(k.layers.Dense(1, activation="tanh", name="score")(y))
        return k.Model(x, k.ops.sum(score * y, axis=1))

    yield Case("Attention", "by hand: Dense, Softmax over time, sum", by_hand)


def _functions() -> Iterator[Case]:
    import numpy as np

    def lambdas(tf: Any) -> dict[str, Callable[[Any], Any]]:
        return {
            "scale": lambda x: x * 0.5 + 1.0,
            "the last step": lambda x: x[:, -1:, :],
            "every second step": lambda x: x[:, ::2, :],
            "reverse": lambda x: tf.reverse(x, [1]),
            "reduce_mean": lambda x: x - tf.reduce_mean(x, axis=1, keepdims=True),
            "reduce_max": lambda x: x - tf.reduce_max(x, axis=-1, keepdims=True),
            "clip": lambda x: tf.clip_by_value(x, -0.3, 0.4),
            "math": lambda x: tf.math.log(1.0 + tf.square(x)) + tf.sin(x) * tf.exp(-tf.abs(x)),
            "concat": lambda x: tf.concat([x, tf.nn.relu(x)], axis=-1),
            "split": lambda x: tf.add(*tf.split(x, 2, axis=-1)),
            "where": lambda x: tf.where(x > 0.1, x, 0.2 * x),
            "cumsum": lambda x: tf.cumsum(x, axis=1),
            "pad": lambda x: tf.pad(x, [[0, 0], [1, 0], [0, 0]]),
            "einsum": lambda x: tf.einsum("btf,bsf->bts", x, x)[:, :, :3] if x.shape[1] else x,
            "transpose": lambda x: tf.transpose(tf.transpose(x, [0, 2, 1]), [0, 2, 1]),
            "difference": lambda x: x[:, 1:] - x[:, :-1],
            "l2_normalize": lambda x: tf.nn.l2_normalize(x, axis=-1),
            "one_hot": lambda x: tf.one_hot(tf.argmax(x, axis=-1), UNITS),
            "tile": lambda x: tf.tile(x, [1, 2, 1]),
            "pow": lambda x: tf.pow(tf.abs(x) + 0.1, 1.5),
            "stack": lambda x: tf.reduce_sum(tf.stack([x, x * 2.0], axis=0), axis=0),
            "gather": lambda x: tf.gather(x, [2, 0, 1], axis=-1),
            "top_k": lambda x: tf.math.top_k(x, 2).values,
            "floor and sign": lambda x: tf.floor(x * 3.0) + tf.sign(x),
        }

    def lambda_case(name: str) -> Build:
        def layer(k: Any) -> Any:
            import tensorflow as tf

            shapes = {
                "the last step": (1, UNITS), "every second step": (None, UNITS), "concat": (None, 2 * UNITS),
                "split": (None, 2), "pad": (None, UNITS), "difference": (None, UNITS), "one_hot": (None, UNITS),
                "tile": (None, UNITS), "gather": (None, 3), "top_k": (None, 2), "einsum": (LENGTH, 3),
            }  # fmt: skip
            return k.layers.Lambda(lambdas(tf)[name], output_shape=shapes.get(name), name="function")

        return _between(layer, LENGTH if name == "einsum" else None)

    for name in lambdas(np):
        yield Case("Lambda and keras.ops", f"Lambda: {name}", lambda_case(name))

    def ops(name: str, function: Callable[[Any, Any], Any]) -> Case:
        def model(k: Any) -> Any:
            x = k.Input((None, FEATURES), name="x")
            y = k.layers.GRU(UNITS, return_sequences=True, name="before")(x)
            return k.Model(x, k.layers.LSTM(UNITS, name="after")(function(k.ops, y)))

        return Case("Lambda and keras.ops", f"keras.ops: {name}", model)

    yield ops("arithmetic", lambda o, y: o.tanh(y) * 2.0 - o.abs(y) / 3.0)
    yield ops("concatenate", lambda o, y: o.concatenate([y, -y], axis=-1))
    yield ops("mean over time", lambda o, y: y - o.mean(y, axis=1, keepdims=True))
    yield ops("expand_dims, squeeze", lambda o, y: o.squeeze(o.expand_dims(y, -1) * 2.0, -1))
    yield ops("where", lambda o, y: o.where(y > 0, y, o.zeros_like(y)))
    yield ops("matmul", lambda o, y: o.matmul(o.softmax(o.matmul(y, o.transpose(y, (0, 2, 1)))), y))
    yield ops("flip", lambda o, y: o.flip(y, axis=1))
    yield ops("max, min", lambda o, y: o.maximum(y, 0.1) + o.minimum(y, -0.1))
    yield ops("split", lambda o, y: o.add(*o.split(y, 2, axis=-1)))
    yield ops("var", lambda o, y: y / o.sqrt(o.var(y, axis=-1, keepdims=True) + 0.1))
