"""The word that comes next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..model import Model
from .fields import count, known_only, preprocessing, spec_of
from .text import PADDING, TextEncoder, Words
from .tokens import TokenModel, TokenStream


@dataclass(frozen=True)
class NextToken:
    """Words and their probabilities, the likeliest first, and the words that the vocabulary lacks."""

    candidates: tuple[tuple[str, float], ...]
    unknown: tuple[str, ...]


class Generator:
    """Proposes next words with a model whose task is ``next_token``.

    The padding and ``<unk>`` are never proposed; the probabilities are the model's own, theirs included.
    """

    def __init__(self, model: Model) -> None:
        known_only(spec_of(model).postprocessing, "next_token", ())
        self.model = model
        self.text = TextEncoder.from_dict(preprocessing(model, "text"))
        self.tokens = TokenModel(model, "next_token", len(self.text.vocabulary), "word of the vocabulary")

    def __call__(self, text: Words, top: int = 1) -> NextToken:
        """The ``top`` likeliest words after a text. Raises PipelineError on a text without words."""
        count(top, "next_token", "top")
        encoded = self.tokens.encode(text)
        return self._propose(self.tokens.scores(encoded.ids), encoded.unknown, top)

    def stream(self) -> GeneratorStream:
        """Proposals after every piece of a text, with the state kept."""
        return GeneratorStream(self)

    def _propose(self, scores: npt.NDArray[np.float32], unknown: tuple[str, ...], top: int) -> NextToken:
        words = self.text.vocabulary
        order = [int(i) for i in np.argsort(-scores, kind="stable") if words[i] != PADDING and i != self.text.oov]
        return NextToken(tuple((words[i], float(scores[i])) for i in order[:top]), unknown)


class GeneratorStream(TokenStream):
    """One text, piece by piece."""

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator.tokens)
        self._generator = generator

    def step(self, text: Words, top: int = 1) -> NextToken | None:
        """The likeliest words after the tokens of one more piece; None while a window waits."""
        count(top, "next_token", "top")
        scores, unknown = self._advance(text)
        return None if scores is None else self._generator._propose(scores, unknown, top)
