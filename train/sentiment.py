"""``sentiment``: an LSTM tells positive from negative film reviews by their last 100 words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeinfer.pipeline.text import TextEncoder
from edgeinfer.pipeline.window import pad_tokens

from . import datasets
from .errors import DataError
from .recipe import Options, Trained

VOCABULARY = 5000
WINDOW = 100
LABELS = ("negative", "positive")

# One review of the 5,000 in the test part may lie so near to 0.5 that rounding decides it.
TOLERANCES = {"test_accuracy": 2.5e-4}

# The split never depends on --seed, so that every run is tested on reviews that it has not seen.
_SPLIT_SEED = 0
_QUICK_ROWS = {"train": 4000, "validation": 1000, "test": 1000}
_EPOCHS = 3
_FEWEST = 10


def train(options: Options) -> Trained:
    """Train for at most three epochs and keep the one that validates best."""
    import sklearn  # noqa: F401  (missing, it stops the run here and not after the training)

    reviews = datasets.film_reviews(options.data)
    parts = _split(reviews)
    if len(reviews.texts) < _FEWEST or len(np.unique(reviews.labels[parts["train"]])) < 2:
        raise DataError(
            f"{reviews.source['file']}: expected ten or more reviews of both labels, got {len(reviews.texts)}"
        )
    if options.quick:
        parts = {name: rows[: _QUICK_ROWS[name]] for name, rows in parts.items()}
    texts = reviews.texts
    text = TextEncoder.fit(
        (texts[row] for row in parts["train"]),
        VOCABULARY,
        replace=[("<br />", " "), ("'", "")],
        case="unicode",
        punctuation='!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n',
    )
    x = {
        name: np.stack([pad_tokens(text.encode(texts[row]).ids, WINDOW) for row in rows])
        for name, rows in parts.items()
    }
    y = {name: reviews.labels[rows] for name, rows in parts.items()}
    print(", ".join(f"{name} {len(rows):,} reviews" for name, rows in parts.items()), flush=True)

    model = _model(options.seed)
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    best, best_epoch, weights = -1.0, 0, model.get_weights()
    epochs = options.epochs or (1 if options.quick else _EPOCHS)
    for epoch in range(1, epochs + 1):
        history = model.fit(x["train"], y["train"], batch_size=64, verbose=0)
        accuracy = _accuracy(model, x["validation"], y["validation"])
        loss = history.history["loss"][-1]
        print(f"epoch {epoch}/{epochs}  loss {loss:.3f}  validation accuracy {accuracy:.4f}", flush=True)
        if accuracy > best:
            best, best_epoch, weights = accuracy, epoch, model.get_weights()
    model.set_weights(weights)
    return Trained(
        model=model,
        task="classify",
        mode="window",
        window={"length": WINDOW, "start": "pad", "pad_value": 0, "pad_side": "left"},
        preprocessing={"text": text.to_dict()},
        postprocessing={"labels": list(LABELS), "threshold": 0.5},
        scores={
            "test_accuracy": _accuracy(model, x["test"], y["test"]),
            "validation_accuracy": best,
            "logistic_regression_test_accuracy": _logistic_regression(x, y),
            "epochs": best_epoch,
        },
        data=reviews.source | {"split": {name: len(rows) for name, rows in parts.items()}},
    )


def score(app: Any, provenance: Mapping[str, Any], data: Path | None) -> Mapping[str, float]:
    """Accuracy over the test reviews."""
    reviews = datasets.film_reviews(data)
    rows = _split(reviews)["test"][: provenance["data"]["split"]["test"]]
    right = [LABELS.index(app(reviews.texts[row]).label) == reviews.labels[row] for row in rows]
    return {"test_accuracy": float(np.mean(right))}


def _split(reviews: datasets.Reviews) -> dict[str, npt.NDArray[np.intp]]:
    rows = np.random.default_rng(_SPLIT_SEED).permutation(len(reviews.texts))
    train_end, validation_end = int(len(rows) * 0.7), int(len(rows) * 0.8)
    return {
        "train": rows[:train_end],
        "validation": rows[train_end:validation_end],
        "test": rows[validation_end:],
    }


def _model(seed: int) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="x"),
            keras.layers.Embedding(VOCABULARY, 128, name="embedding"),
            keras.layers.LSTM(64, name="lstm"),
            keras.layers.Dense(1, activation="sigmoid", name="positive"),
        ]
    )


def _accuracy(model: Any, x: npt.NDArray[np.int32], y: npt.NDArray[np.int64]) -> float:
    probability = model.predict(x, batch_size=512, verbose=0)[:, 0]
    return float(np.mean((probability >= 0.5) == y))


def _logistic_regression(x: Mapping[str, npt.NDArray[np.int32]], y: Mapping[str, npt.NDArray[np.int64]]) -> float:
    """Test accuracy of logistic regression on TF-IDF of the very tokens that the network sees."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(analyzer=lambda ids: ids[ids != 0].tolist(), sublinear_tf=True)
    model = LogisticRegression(max_iter=1000).fit(words.fit_transform(x["train"]), y["train"])
    return float(model.score(words.transform(x["test"]), y["test"]))
