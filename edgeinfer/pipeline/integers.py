"""Integers to token ids, as Keras' IntegerLookup gives them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from .fields import known_only, wrong
from .text import Encoded, Words, is_count

_KEYS = ("vocabulary", "oov")
# As many digits as 64 bits can have; int() itself takes underscores and other scripts' digits too.
_DECIMAL = re.compile("[-+]?[0-9]{1,19}")
_INT64 = np.iinfo(np.int64)

_wrong = partial(wrong, "integers")


@dataclass(frozen=True)
class IntegerEncoder:
    """Looks integers up: the id of one is its place in ``vocabulary``.

    ``vocabulary[oov]`` stands for every integer that is not in it; with None such an integer is an error.
    """

    vocabulary: tuple[int, ...]
    oov: int | None = None

    @classmethod
    def from_dict(cls, data: Any) -> IntegerEncoder:
        """The encoder described by ``preprocessing.integers``. Raises PipelineError naming the field."""
        if not isinstance(data, dict):
            raise _wrong("integers", "an object", data)
        known_only(data, "integers", _KEYS)
        vocabulary = data.get("vocabulary")
        if not isinstance(vocabulary, list) or not vocabulary or not all(map(_is_int64, vocabulary)):
            raise _wrong("vocabulary", "a list of 64-bit integers", vocabulary)
        oov = data.get("oov")
        if oov is not None and not is_count(oov, 0, len(vocabulary) - 1):
            raise _wrong("oov", f"an id from 0 to {len(vocabulary) - 1}, or null", oov)
        # The number that stands for the unknown may be a known one too: as such it has an id of its own.
        known = Counter(value for i, value in enumerate(vocabulary) if i != oov)
        if len(known) != len(vocabulary) - (oov is not None):
            raise _wrong("vocabulary", "every integer once", known.most_common(1)[0][0])
        return cls(tuple(vocabulary), oov)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as from_dict reads it."""
        return {"vocabulary": list(self.vocabulary), "oov": self.oov}

    def tokens(self, integers: Words) -> list[int]:
        """The integers themselves, out of a sequence or an array, or out of a text with spaces between them.

        Raises PipelineError where one is no 64-bit integer.
        """
        if isinstance(integers, str):
            return [self._parse(word) for word in integers.split()]
        if not isinstance(integers, (Sequence, np.ndarray)) or np.ndim(integers) != 1:
            raise _wrong("integers", "a sequence of integers", integers)
        for value in integers:
            if not _is_int64(value):
                raise _wrong("integers", "64-bit integers", value)
        return [int(value) for value in integers]

    def encode(self, integers: Words) -> Encoded:
        """The ids of ``integers``; its tokens are their decimal digits.

        Raises PipelineError as tokens, and for one that the vocabulary lacks where ``oov`` is None.
        """
        tokens = self.tokens(integers)
        ids = [self._ids.get(token, self.oov) for token in tokens]
        if self.oov is None and None in ids:
            lacking = tokens[ids.index(None)]
            raise _wrong("integers", "integers of the vocabulary, which has no place for others", lacking)
        return Encoded(
            ids=np.array(ids, dtype=np.int32),
            tokens=tuple(map(str, tokens)),
            unknown=tuple(str(token) for token, i in zip(tokens, ids, strict=True) if i == self.oov),
        )

    def ids(self, integers: Words) -> npt.NDArray[np.int64]:
        """The ids of ``integers`` as the model takes them: int64 [n]. Raises PipelineError as encode."""
        return self.encode(integers).ids.astype(np.int64)

    @cached_property
    def _ids(self) -> dict[int, int]:
        return {value: i for i, value in enumerate(self.vocabulary) if i != self.oov}

    def _parse(self, word: str) -> int:
        if not _DECIMAL.fullmatch(word) or not _is_int64(value := int(word)):
            raise _wrong("integers", "64-bit integers with spaces between them", word)
        return value


def _is_int64(value: object) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and _INT64.min <= value <= _INT64.max  # type: ignore[operator]
