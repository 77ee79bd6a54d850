"""``sum``: a SimpleRNN learns that the next number is the sum of the two before, from five examples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeinfer.pipeline.series import SeriesFeatures

from .errors import TrainingError
from .recipe import Options, Trained

X = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]], dtype=np.float32)[..., np.newaxis]
Y = np.array([1, 3, 5, 7, 9], dtype=np.float32)[:, np.newaxis]
CHECK = (5.0, 6.0)

# float32 against float32, values of about 11.
TOLERANCES = {"after_5_and_6": 1e-4}

_RESTARTS = 10
_BLOCK = 500


def train(options: Options) -> Trained:
    """Train until the five examples are met, or for exactly ``options.epochs`` epochs."""
    import keras

    # One epoch is one update, as the five examples make one batch. A larger rate gets there in fewer.
    rate, enough, most = (1e-2, 1e-2, 1500) if options.quick else (1e-3, 1e-3, 6000)
    if options.epochs is not None:
        rate, enough, most = 1e-3, 0.0, options.epochs
    for restart in range(_RESTARTS):
        keras.utils.set_random_seed(options.seed + 1_000_003 * restart)
        model = _model()
        model.compile(keras.optimizers.Adam(rate), "mse")
        loss, updates = _fit(model, enough, most)
        if options.epochs is not None or loss <= enough:
            break
        print(
            f"loss {loss:.2g} after {updates} epochs, as when the units of a relu die; new initial weights",
            flush=True,
        )
    else:
        raise TrainingError(f"sum: not converged from {_RESTARTS} initial weights; another --seed may")
    answer = float(model.predict(np.array(CHECK, np.float32).reshape(1, 2, 1), verbose=0)[0, 0])
    return Trained(
        model=model,
        task="forecast",
        mode="window",
        window={"length": 2, "start": "wait"},
        preprocessing={"series": SeriesFeatures.from_dict({"features": [{"kind": "value"}]}).to_dict()},
        postprocessing={"horizon": 1, "recursive": True, "base": None, "center": 0.0, "scale": 1.0},
        scores={"after_5_and_6": answer, "loss": loss, "epochs": updates, "restarts": restart},
        data={"rows": len(X), "split": {"train": len(X)}},
    )


def score(app: Any, provenance: Mapping[str, Any], data: Path | None) -> Mapping[str, float]:
    """What follows 5, 6."""
    return {"after_5_and_6": float(app(CHECK).values[0])}


def _model() -> Any:
    import keras

    return keras.Sequential(
        [
            keras.Input((None, 1), name="x"),
            keras.layers.SimpleRNN(10, activation="relu", name="rnn"),
            keras.layers.Dense(1, name="next"),
        ]
    )


def _fit(model: Any, enough: float, most: int) -> tuple[float, int]:
    for update in range(1, most + 1):
        loss = float(model.train_on_batch(X, Y))
        if update % _BLOCK == 0 or update == most:
            print(f"epoch {update}  loss {loss:.3g}", flush=True)
        if loss <= enough:
            break
    return loss, update
