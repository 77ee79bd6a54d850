"""Text to token ids and back: what a recipe trains through is what the device runs.

The order is fixed: literal replacements, case, characters deleted, punctuation to spaces, split, n-grams, lookup.
With ``case="ascii"``, ``delete`` and ``split`` it gives what Keras' TextVectorization and StringLookup give.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from string import ascii_uppercase
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import PipelineError
from .fields import known_only, wrong
from .window import pad_tokens

PADDING = ""
UNKNOWN = "<unk>"
CASES = ("ascii", "unicode", "keep")
SPLITS = ("whitespace", "ascii_space", "character", "none")
# A file must not make the device pad every text to more than this, nor join more tokens to one.
MAX_LENGTH = 1 << 20
MAX_NGRAM = 64
_KEYS = ("replace", "case", "delete", "punctuation", "split", "ngrams", "vocabulary", "oov", "length")
# A text; where nothing splits it, or where a model reads integers, the tokens one by one too.
Words: TypeAlias = str | Sequence[str] | Sequence[int]
_ASCII_SPACE = re.compile("[ \t\n\v\f\r]+")

_wrong = partial(wrong, "text")


@dataclass(frozen=True)
class Encoded:
    """A text as ids, int32 [n]; its tokens; and those of them that the vocabulary lacks, in order."""

    ids: npt.NDArray[np.int32]
    tokens: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class TextEncoder:
    """Splits text into tokens and looks them up.

    ``vocabulary[0]`` is the padding where it is ``""``; ``vocabulary[oov]`` stands for every token that is not in
    it, and with None such a token is an error. ``replace`` holds (from, to) pairs of literal strings, ``delete``
    the characters that vanish, ``punctuation`` those that become a space, ``case`` what is lowered (``"ascii"``:
    A to Z; ``"unicode"``: as ``str.lower``), ``split`` what separates tokens (``"whitespace"``: as ``str.split``;
    ``"ascii_space"``: space, tab, line and page breaks alone; ``"character"``: every code point is a token;
    ``"none"``: the text is one token, and a sequence of texts is that many). ``ngrams`` are the widths of the runs
    of tokens, a space between them, that are looked up in place of single tokens. ``length`` is the number of ids
    that ``ids`` brings every text to.
    """

    vocabulary: tuple[str, ...]
    replace: tuple[tuple[str, str], ...] = ()
    case: Literal["ascii", "unicode", "keep"] = "unicode"
    punctuation: str = ""
    split: Literal["whitespace", "ascii_space", "character", "none"] = "whitespace"
    oov: int | None = 1
    delete: str = ""
    ngrams: tuple[int, ...] = ()
    length: int | None = None

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
        known_only(data, "text", _KEYS)
        vocabulary = data.get("vocabulary")
        if not isinstance(vocabulary, list) or not all(isinstance(word, str) for word in vocabulary):
            raise _wrong("vocabulary", "a list of strings", vocabulary)
        if not vocabulary:
            raise _wrong("vocabulary", "at least one word", vocabulary)
        oov = data.get("oov", 1)
        if oov is not None and not is_count(oov, 0, len(vocabulary) - 1):
            raise _wrong("oov", f"an id from 0 to {len(vocabulary) - 1}, or null", oov)
        # The name of the unknown words may be a word too: as such it has an id of its own.
        words = Counter(word for i, word in enumerate(vocabulary) if i != oov)
        if len(words) != len(vocabulary) - (oov is not None):
            raise _wrong("vocabulary", "every word once", words.most_common(1)[0][0])
        replace = data.get("replace", [])
        if not isinstance(replace, list) or not all(_is_pair(pair) for pair in replace):
            raise _wrong("replace", "a list of [from, to] pairs of strings, from not empty", replace)
        punctuation = data.get("punctuation", "")
        if not isinstance(punctuation, str):
            raise _wrong("punctuation", "a string of characters", punctuation)
        delete = data.get("delete", "")
        if not isinstance(delete, str):
            raise _wrong("delete", "a string of characters", delete)
        case = data.get("case", "unicode")
        if case not in CASES:
            raise _wrong("case", "one of " + ", ".join(CASES), case)
        split = data.get("split", "whitespace")
        if split not in SPLITS:
            raise _wrong("split", "one of " + ", ".join(SPLITS), split)
        ngrams = data.get("ngrams", [])
        if not isinstance(ngrams, list) or not all(is_count(width, 1, MAX_NGRAM) for width in ngrams):
            raise _wrong("ngrams", f"a list of widths from 1 to {MAX_NGRAM}", ngrams)
        length = data.get("length")
        if length is not None and not is_count(length, 1, MAX_LENGTH):
            raise _wrong("length", f"an integer from 1 to {MAX_LENGTH}", length)
        return cls(
            vocabulary=tuple(vocabulary),
            replace=tuple((old, new) for old, new in replace),
            case=case,
            punctuation=punctuation,
            split=split,
            oov=oov,
            delete=delete,
            ngrams=tuple(ngrams),
            length=length,
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as from_dict reads it."""
        data: dict[str, Any] = {
            "replace": [list(pair) for pair in self.replace],
            "case": self.case,
            "punctuation": self.punctuation,
            "split": self.split,
            "vocabulary": list(self.vocabulary),
            "oov": self.oov,
        }
        rare = {"delete": self.delete, "ngrams": list(self.ngrams), "length": self.length}
        return data | {key: value for key, value in rare.items() if value}

    def tokens(self, text: Words) -> list[str]:
        """The tokens of ``text``, before the lookup; a sequence of texts is for ``split="none"``.

        Raises PipelineError where it is not a string, or one with half of a surrogate pair.
        """
        if self.split == "none":
            tokens = [self._clean(item) for item in ([text] if isinstance(text, str) else text)]
        else:
            clean = self._clean(text)
            if self.split == "whitespace":
                tokens = clean.split()
            elif self.split == "character":
                tokens = list(clean)
            else:
                tokens = [token for token in _ASCII_SPACE.split(clean) if token]
        if not self.ngrams:
            return tokens
        return [" ".join(tokens[i : i + width]) for width in self.ngrams for i in range(len(tokens) - width + 1)]

    def encode(self, text: Words) -> Encoded:
        """The ids of all tokens of ``text``; the window comes after.

        Raises PipelineError as tokens, and for a word that the vocabulary lacks where ``oov`` is None.
        """
        tokens = self.tokens(text)
        ids = [self._ids.get(token, self.oov) for token in tokens]
        if self.oov is None and None in ids:
            raise _wrong("text", "words of the vocabulary, which has no place for others", tokens[ids.index(None)])
        return Encoded(
            ids=np.array(ids, dtype=np.int32),
            tokens=tuple(tokens),
            unknown=tuple(token for token, i in zip(tokens, ids, strict=True) if i == self.oov),
        )

    def ids(self, text: Words) -> npt.NDArray[np.int64]:
        """The ids of ``text`` as the model takes them: int64 [n], with ``length`` its first and zeros after them.

        Raises PipelineError as encode.
        """
        ids = self.encode(text).ids
        if self.length is not None:
            ids = pad_tokens(ids[: self.length], self.length, side="right")
        return ids.astype(np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """The words behind ``ids``, a space between them, padding left out.

        Raises PipelineError where an id is out of range.
        """
        words = []
        for i in ids:
            if not 0 <= i < len(self.vocabulary):
                raise _wrong("ids", f"ids from 0 to {len(self.vocabulary) - 1}", int(i))
            if self.vocabulary[i] != PADDING:
                words.append(self.vocabulary[i])
        return " ".join(words)

    def _clean(self, text: object) -> str:
        if not isinstance(text, str):
            raise _wrong("text", "a string", text)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            where = f"half of a surrogate pair, {text[error.start]!a}, at character {error.start}"
            raise PipelineError(f"text: text: expected Unicode text, got {where}", stage="text", field="text") from None
        for old, new in self.replace:
            text = text.replace(old, new)
        if self.case == "unicode":
            text = text.lower()
        return text.translate(self._characters) if self._characters else text

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.vocabulary) if i != self.oov}

    @cached_property
    def _characters(self) -> dict[int, str | None]:
        table: dict[int, str | None] = {ord(character): " " for character in self.punctuation}
        table |= {ord(character): None for character in self.delete}
        if self.case != "ascii":
            return table
        lowered = {ord(letter): table.get(ord(letter.lower()), letter.lower()) for letter in ascii_uppercase}
        return lowered | table


def is_count(value: Any, minimum: int, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value) and value[0] != ""
    )
