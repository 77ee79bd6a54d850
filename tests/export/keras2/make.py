"""Writes the files of Keras 2 beside this script, and what Keras 2 answers: pip install tf_keras, then run it.

tf_keras is Keras 2 under another name. Nothing of it is needed to run the tests.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tf_keras as keras

HERE = Path(__file__).parent


def main() -> None:
    """Write whole.h5, native.keras, tokens.h5, weights.h5 and answers.npz."""
    layers = keras.layers
    keras.utils.set_random_seed(7)
    sequence = keras.Sequential(
        [
            layers.Input((None, 3)),
            layers.BatchNormalization(name="norm"),
            layers.LSTM(4, return_sequences=True, recurrent_activation="hard_sigmoid", name="lstm"),
            layers.GRU(3, reset_after=False, name="gru"),
            layers.Dense(2, activation="hard_sigmoid", name="head"),
        ],
        name="whole",
    )
    ids = keras.Input((5,), dtype="int32", name="ids")
    both = layers.Bidirectional(layers.SimpleRNN(3), name="both")(layers.Embedding(9, 4, name="words")(ids))
    tokens = keras.Model(ids, layers.Dense(2, activation="softmax", name="head")(both), name="tokens")
    generator = np.random.default_rng(7)
    for model in (sequence, tokens):
        for weight in model.weights:
            value = generator.standard_normal(weight.shape)
            # Large enough that hard_sigmoid is not always between its ends.
            weight.assign(np.abs(value) + 0.5 if "variance" in weight.name else value)
    sequence.save(HERE / "whole.h5")
    sequence.save(HERE / "native.keras")
    sequence.save_weights(HERE / "weights.h5")
    tokens.save(HERE / "tokens.h5")
    x = generator.standard_normal((2, 6, 3)).astype(np.float32)
    words = generator.integers(0, 9, size=(2, 5)).astype(np.int32)
    np.savez(
        HERE / "answers.npz",
        x=x,
        y=sequence.predict(x, verbose=0),
        words=words,
        labels=tokens.predict(words, verbose=0),
    )


if __name__ == "__main__":
    main()
