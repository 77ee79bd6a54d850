"""``next_word``: an LSTM proposes the next word, learned from every beginning of four sentences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeinfer.pipeline.text import TextEncoder
from edgeinfer.pipeline.window import pad_tokens

from .recipe import Options, Trained

CORPUS = (
    "I love machine learning",
    "I love deep learning",
    "I enjoy natural language processing",
    "Deep learning is amazing",
)
WINDOW = 4
CHECK = "I love"

# float32 against float32, probabilities.
TOLERANCES = {"probability_after_i_love": 1e-5}


def train(options: Options) -> Trained:
    """Train on all pairs of a sentence's beginning and the word after it."""
    import keras

    keras.utils.set_random_seed(options.seed)
    text = TextEncoder.fit(CORPUS)
    sentences = [text.encode(sentence).ids for sentence in CORPUS]
    pairs = [(ids[:end], ids[end]) for ids in sentences for end in range(1, len(ids))]
    x = np.stack([pad_tokens(beginning, WINDOW) for beginning, _ in pairs])
    y = np.array([word for _, word in pairs])
    size = len(text.vocabulary)
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="x"),
            keras.layers.Embedding(size, 10, name="embedding"),
            keras.layers.LSTM(50, name="lstm"),
            keras.layers.Dense(size, activation="softmax", name="next"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    epochs = options.epochs or 300
    for epoch in range(1, epochs + 1):
        loss, accuracy = model.train_on_batch(x, y)
        model.reset_metrics()
        if epoch % 50 == 0 or epoch == epochs:
            print(f"epoch {epoch}/{epochs}  loss {float(loss):.3f}  accuracy {float(accuracy):.2f}", flush=True)
    after = model.predict(pad_tokens(text.encode(CHECK).ids, WINDOW)[np.newaxis], verbose=0)[0]
    # Padding and <unk> are never offered.
    best = 2 + int(after[2:].argmax())
    return Trained(
        model=model,
        task="next_token",
        mode="window",
        window={"length": WINDOW, "start": "pad", "pad_value": 0, "pad_side": "left"},
        preprocessing={"text": text.to_dict()},
        postprocessing={},
        scores={
            "after_i_love": text.vocabulary[best],
            "probability_after_i_love": float(after[best]),
            "accuracy": float(np.mean(model.predict(x, verbose=0).argmax(axis=1) == y)),
            "loss": float(loss),
            "epochs": epochs,
        },
        data={"rows": len(pairs), "split": {"train": len(pairs)}},
    )


def score(app: Any, provenance: Mapping[str, Any], data: Path | None) -> Mapping[str, float]:
    """The probability of the word that Keras put first after "I love"."""
    candidates = dict(app(CHECK, top=3).candidates)
    return {"probability_after_i_love": candidates.get(provenance["scores"]["after_i_love"], 0.0)}
