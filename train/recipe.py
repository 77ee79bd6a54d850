"""What every recipe takes and gives, and how its result is saved and shown."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from edgeinfer.snapshot import write_together

from .errors import DataError


@dataclass(frozen=True)
class Options:
    """What the command line asks of a recipe; None leaves the choice to it."""

    seed: int = 0
    quick: bool = False
    epochs: int | None = None
    data: Path | None = None
    cell: str | None = None


@dataclass(frozen=True)
class Trained:
    """A trained model and what its file will say about it, under the keys of edgeinfer.spec."""

    model: Any
    task: str
    mode: str
    preprocessing: Mapping[str, Any]
    postprocessing: Mapping[str, Any]
    scores: Mapping[str, Any]
    window: Mapping[str, Any] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


class Recipe(Protocol):
    """A module of this package with a recipe's name. It imports Keras where it trains; scoring needs none."""

    TOLERANCES: Mapping[str, float]
    """The scores that an exported file must reach again, and how far off each may be."""

    def train(self, options: Options) -> Trained:
        """Train a model. Raises DataError or TrainingError."""

    def score(self, app: Any, provenance: Mapping[str, Any], data: Path | None) -> Mapping[str, float]:
        """The scores named in TOLERANCES, measured through edgeinfer's pipeline ``app`` on the raw data."""


def load_keras() -> None:
    """Import Keras on TensorFlow without log noise. Raises ImportError where either is missing."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # oneDNN announces itself on stderr whatever the log level, and rounds in an order of its own.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import tensorflow

    tensorflow.get_logger().setLevel(logging.ERROR)
    if keras.backend.backend() != "tensorflow":
        raise ImportError(f"expected Keras on the tensorflow backend, it runs on {keras.backend.backend()}")


def save(name: str, trained: Trained, options: Options, out: Path) -> tuple[Path, Path]:
    """Write NAME.keras and NAME.json into ``out``: both, or what stood there stays. Returns both paths."""
    card = {
        "name": name,
        "recipe": name,
        "task": trained.task,
        "mode": trained.mode,
        "window": trained.window,
        "preprocessing": trained.preprocessing,
        "postprocessing": trained.postprocessing,
        "scores": trained.scores,
        "data": trained.data,
        "versions": _versions(),
        "seed": options.seed,
        "quick": options.quick,
    }
    if trained.window is None:
        del card["window"]
    text = json.dumps(card, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    model_path, card_path = out / f"{name}.keras", out / f"{name}.json"
    try:
        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder, model_path.name)
            trained.model.save(saved)
            write_together({model_path: saved.read_bytes(), card_path: text.encode()})
    except OSError as error:
        raise DataError(f"{out}: cannot write the model: {error}") from None
    return model_path, card_path


def show_scores(scores: Mapping[str, Any]) -> None:
    """Print a small table, one score a line; lists are left to the .json."""
    rows = {name.replace("_", " "): value for name, value in scores.items() if not isinstance(value, list)}
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"  {name:<{width}}  {value:>10.4g}" if isinstance(value, float) else f"  {name:<{width}}  {value:>10}")


def _versions() -> dict[str, str]:
    modules: list[ModuleType] = [sys.modules[name] for name in ("keras", "tensorflow", "numpy", "edgeinfer")]
    versions = {module.__name__: str(module.__version__) for module in modules}
    return {"python": platform.python_version(), **versions}
