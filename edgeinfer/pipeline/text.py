"""Text to token ids and back: what a recipe trains through is what the device runs.

The order is fixed: literal replacements, case, punctuation to spaces, split, lookup.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import ascii_uppercase
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import PipelineError, shorten

PADDING = ""
UNKNOWN = "<unk>"
CASES = ("ascii", "unicode", "keep")
SPLITS = ("whitespace", "ascii_space")
_KEYS = ("replace", "case", "punctuation", "split", "vocabulary", "oov")
_ASCII_SPACE = re.compile("[ \t\n\v\f\r]+")


@dataclass(frozen=True)
class Encoded:
    """A text as ids, int32 [n]; its tokens; and those of them that the vocabulary lacks, in order."""

    ids: npt.NDArray[np.int32]
    tokens: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class TextEncoder:
    """Splits text into tokens and looks them up.

    ``vocabulary[0]`` is the padding, ``vocabulary[oov]`` stands for every token that is not in it.
    ``replace`` holds (from, to) pairs of literal strings, ``punctuation`` the characters that become a space,
    ``case`` what is lowered (``"ascii"``: A to Z; ``"unicode"``: as ``str.lower``), ``split`` what separates
    tokens (``"whitespace"``: as ``str.split``; ``"ascii_space"``: space, tab, line and page breaks alone).
    """

    vocabulary: tuple[str, ...]
    replace: tuple[tuple[str, str], ...] = ()
    case: Literal["ascii", "unicode", "keep"] = "unicode"
    punctuation: str = ""
    split: Literal["whitespace", "ascii_space"] = "whitespace"
    oov: int = 1

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        size: int | None = None,
        *,
        replace: Sequence[tuple[str, str]] = (),
        case: Literal["ascii", "unicode", "keep"] = "unicode",
        punctuation: str = "",
        split: Literal["whitespace", "ascii_space"] = "whitespace",
    ) -> TextEncoder:
        """An encoder whose vocabulary is the tokens of ``texts``, frequent first, ties by first appearance.

        ``size`` bounds the vocabulary, padding and ``<unk>`` included.
        """
        empty = cls((PADDING, UNKNOWN), tuple(replace), case, punctuation, split)
        counts = Counter(token for text in texts for token in empty.tokens(text))
        counts.pop(UNKNOWN, None)
        words = sorted(counts, key=lambda token: -counts[token])
        if size is not None:
            words = words[: size - 2]
        return cls((PADDING, UNKNOWN, *words), tuple(replace), case, punctuation, split)

    @classmethod
    def from_dict(cls, data: Any) -> TextEncoder:
        """The encoder described by ``preprocessing.text``. Raises PipelineError naming the field."""
        if not isinstance(data, dict):
            raise _wrong("text", "an object", data)
        for key in data:
            if key not in _KEYS:
                unknown = f"text: unknown field {key!r}; known: {', '.join(_KEYS)}"
                raise PipelineError(unknown, stage="text", field=str(key))
        vocabulary = data.get("vocabulary")
        if not isinstance(vocabulary, list) or not all(isinstance(word, str) for word in vocabulary):
            raise _wrong("vocabulary", "a list of strings", vocabulary)
        if len(vocabulary) < 2 or vocabulary[0] != PADDING:
            raise _wrong("vocabulary", 'at least two entries, the first "" (the padding)', vocabulary[:2])
        if len(set(vocabulary)) != len(vocabulary):
            twice = next(word for word, count in Counter(vocabulary).items() if count > 1)
            raise _wrong("vocabulary", "every word once", twice)
        oov = data.get("oov", 1)
        if not isinstance(oov, int) or isinstance(oov, bool) or not 0 < oov < len(vocabulary):
            raise _wrong("oov", f"an id from 1 to {len(vocabulary) - 1}", oov)
        replace = data.get("replace", [])
        if not isinstance(replace, list) or not all(_is_pair(pair) for pair in replace):
            raise _wrong("replace", "a list of [from, to] pairs of strings, from not empty", replace)
        punctuation = data.get("punctuation", "")
        if not isinstance(punctuation, str):
            raise _wrong("punctuation", "a string of characters", punctuation)
        case = data.get("case", "unicode")
        if case not in CASES:
            raise _wrong("case", "one of " + ", ".join(CASES), case)
        split = data.get("split", "whitespace")
        if split not in SPLITS:
            raise _wrong("split", "one of " + ", ".join(SPLITS), split)
        return cls(
            vocabulary=tuple(vocabulary),
            replace=tuple((old, new) for old, new in replace),
            case=case,
            punctuation=punctuation,
            split=split,
            oov=oov,
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as from_dict reads it."""
        return {
            "replace": [list(pair) for pair in self.replace],
            "case": self.case,
            "punctuation": self.punctuation,
            "split": self.split,
            "vocabulary": list(self.vocabulary),
            "oov": self.oov,
        }

    def tokens(self, text: str) -> list[str]:
        """The tokens of ``text``, before the lookup. Raises PipelineError where it is not a string."""
        if not isinstance(text, str):
            raise _wrong("text", "a string", text)
        for old, new in self.replace:
            text = text.replace(old, new)
        if self.case == "unicode":
            text = text.lower()
        text = text.translate(self._characters)
        if self.split == "whitespace":
            return text.split()
        return [token for token in _ASCII_SPACE.split(text) if token]

    def encode(self, text: str) -> Encoded:
        """The ids of all tokens of ``text``; the window comes after. Raises PipelineError as tokens."""
        tokens = self.tokens(text)
        ids = [self._ids.get(token, self.oov) for token in tokens]
        return Encoded(
            ids=np.array(ids, dtype=np.int32),
            tokens=tuple(tokens),
            unknown=tuple(token for token, i in zip(tokens, ids, strict=True) if i == self.oov),
        )

    def decode(self, ids: Iterable[int]) -> str:
        """The words behind ``ids``, a space between them, padding left out.

        Raises PipelineError where an id is out of range.
        """
        words = []
        for i in ids:
            if not 0 <= i < len(self.vocabulary):
                raise _wrong("ids", f"ids from 0 to {len(self.vocabulary) - 1}", int(i))
            if i != 0:
                words.append(self.vocabulary[i])
        return " ".join(words)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.vocabulary) if i not in (0, self.oov)}

    @cached_property
    def _characters(self) -> dict[int, str]:
        table = {ord(character): " " for character in self.punctuation}
        if self.case == "ascii":
            table |= {ord(letter): letter.lower() for letter in ascii_uppercase if letter not in self.punctuation}
        return table


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value) and value[0] != ""
    )


def _wrong(field: str, expected: str, got: object) -> PipelineError:
    return PipelineError(f"text: {field}: expected {expected}, got {shorten(got)}", stage="text", field=field)
