"""Labels for texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..model import Model
from .fields import known_only, number, only_output, spec_of, wrong
from .text import Words
from .tokens import TokenModel, TokenStream


@dataclass(frozen=True)
class Classification:
    """The label and its probability, those of all labels, and the words that the vocabulary lacks."""

    label: str
    score: float
    scores: dict[str, float]
    unknown: tuple[str, ...]


class Classifier:
    """Classifies texts with a model whose task is ``classify``.

    One output is the probability of the second of two labels, which is chosen from ``threshold`` up; several
    are the probabilities of all labels, the largest of which is chosen.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.labels, self.threshold = _rule(spec_of(model).postprocessing)
        shape = only_output(model, "classify").shape
        self._single = len(self.labels) == 2 and bool(shape) and shape[-1] == 1
        self.tokens = TokenModel(model, "classify", 1 if self._single else len(self.labels), "label")

    def __call__(self, text: Words) -> Classification:
        """The label of a text. Raises PipelineError on a text without words."""
        encoded = self.tokens.encode(text)
        return self._classify(self.tokens.scores(encoded.ids), encoded.unknown)

    def stream(self) -> ClassifierStream:
        """A label after every piece of a text, with the state kept."""
        return ClassifierStream(self)

    def _classify(self, scores: npt.NDArray[np.float32], unknown: tuple[str, ...]) -> Classification:
        if self._single:
            positive = float(scores[0])
            probabilities = [1.0 - positive, positive]
            chosen = 1 if positive >= self.threshold else 0
        else:
            probabilities = [float(score) for score in scores]
            chosen = int(np.argmax(scores))
        return Classification(
            label=self.labels[chosen],
            score=probabilities[chosen],
            scores=dict(zip(self.labels, probabilities, strict=True)),
            unknown=unknown,
        )


class ClassifierStream(TokenStream):
    """One text, piece by piece."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier.tokens)
        self._classifier = classifier

    def step(self, text: Words) -> Classification | None:
        """The label after the tokens of one more piece; None while a window waits."""
        scores, unknown = self._advance(text)
        return None if scores is None else self._classifier._classify(scores, unknown)


def _rule(data: Mapping[str, Any]) -> tuple[tuple[str, ...], float]:
    known_only(data, "classify", ("labels", "threshold"))
    labels = data.get("labels")
    if not isinstance(labels, list) or len(labels) < 2 or not all(isinstance(label, str) for label in labels):
        raise wrong("classify", "labels", "a list of two or more strings", labels)
    if len(set(labels)) != len(labels):
        raise wrong("classify", "labels", "every label once", labels)
    return tuple(labels), number(data.get("threshold", 0.5), "classify", "threshold")
