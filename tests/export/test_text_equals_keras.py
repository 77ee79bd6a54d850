"""What stands in the metadata in place of a text layer gives the ids that Keras gives, on any Unicode text."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from edgeinfer_export.text import from_ids
from edgeinfer_export.text_verify import padded
from hard_strings import generated, hard_strings

from edgeinfer.errors import PipelineError
from edgeinfer.pipeline.integers import IntegerEncoder
from edgeinfer.pipeline.text import TextEncoder

GENERATED = 3000
HUGE = 50_000
# Every fourth token is left out of the vocabulary, so that the unknown are met as well.
LEFT_OUT = 4
INT64 = np.iinfo(np.int64)

STANDARDIZE = (None, "lower", "strip_punctuation", "lower_and_strip_punctuation")
LOOKUPS: dict[str, dict[str, Any]] = {
    "default": {},
    "mask": {"mask_token": "a"},
    "empty mask": {"mask_token": ""},
    "named": {"mask_token": "[MASK]", "oov_token": "[OOV]"},
    "the unknown's name is a word": {"oov_token": "[UNK]", "vocabulary": ["b", "[UNK]", "a"]},
    "no place for the unknown": {"num_oov_indices": 0},
}


@pytest.fixture(scope="module")
def strings() -> list[str]:
    found = hard_strings()
    assert len(found) >= 200
    return list(dict.fromkeys([*found, *generated(GENERATED)]))


def taken_out(keras: Any, layer: Any, shape: tuple[int | None, ...], dtype: str = "string") -> Any:
    """The description that export writes for a layer."""
    x = keras.Input(shape, dtype=dtype)
    (reader,) = from_ids(keras.Model(x, keras.layers.Embedding(10, 2)(layer(x)))).readers
    assert reader.layer is layer
    described = reader.encoder.to_dict()
    return (TextEncoder if dtype == "string" else IntegerEncoder).from_dict(described)


def keras_ids(layer: Any, rows: Any) -> np.ndarray:
    import tensorflow as tf

    return np.asarray(layer(tf.constant(rows)))


def vocabulary_of(encoder: TextEncoder, strings: list[str]) -> list[str]:
    """Most of the tokens of the strings; as a tensor it keeps what NumPy's strings lose."""
    tokens = list(dict.fromkeys(token for text in strings for token in encoder.tokens(text)))
    return [token for i, token in enumerate(tokens) if token and (i + 1) % LEFT_OUT]


@pytest.mark.parametrize(
    ("standardize", "split"), list(itertools.product(STANDARDIZE, ("whitespace", "character", None)))
)
def test_ids_equal_those_of_text_vectorization(
    standardize: str | None, split: str | None, keras: Any, strings: list[str]
) -> None:
    options = {"standardize": standardize, "split": split}
    plain = taken_out(keras, keras.layers.TextVectorization(vocabulary=["a"], **options), (1,))
    vocabulary = vocabulary_of(plain, strings)
    for more in ({}, {"ngrams": 2}, {"ngrams": (3, 1)}, {"output_sequence_length": 5}):
        layer = keras.layers.TextVectorization(**options, **more)
        pairs = [" ".join(vocabulary[i : i + 2]) for i in range(0, 200, 2)] if "ngrams" in more else []
        words = list(dict.fromkeys([*vocabulary, *pairs]))
        set_words(layer, words)
        encoder = taken_out(keras, layer, (1,))
        assert encoder.vocabulary[2:] == tuple(words)
        expected = keras_ids(layer, [[text] for text in strings])
        got = padded([encoder.ids(text) for text in strings])
        np.testing.assert_array_equal(got, expected)
        assert (expected == 1).any() and (expected > len(words) // 2).any()


def set_words(layer: Any, words: list[str]) -> None:
    """Give a layer its vocabulary as adapt does, past NumPy's strings, which would lose a NUL at the end."""
    import tensorflow as tf

    lookup = getattr(layer, "_lookup_layer", layer)
    lookup.lookup_table = lookup._lookup_table_from_tokens(tf.constant(words))
    lookup._record_vocabulary_size()


@pytest.mark.parametrize("options", LOOKUPS.values(), ids=LOOKUPS)
def test_ids_equal_those_of_string_lookup(options: dict[str, Any], keras: Any, strings: list[str]) -> None:
    layer = keras.layers.StringLookup(**{"vocabulary": ["b", "c"], **options})
    if "vocabulary" not in options:
        reserved = (options.get("mask_token"), options.get("oov_token"))
        set_words(layer, [text for i, text in enumerate(strings) if (i + 1) % LEFT_OUT and text not in reserved])
    encoder = taken_out(keras, layer, (None,))
    known = strings if encoder.oov is not None else [text for text in strings if text in encoder.vocabulary]
    rows = [list(row) for row in zip(*[iter(known)] * 5, strict=False)]
    np.testing.assert_array_equal(np.stack([encoder.ids(row) for row in rows]), keras_ids(layer, rows))
    if encoder.oov is None:
        import tensorflow as tf

        with pytest.raises(tf.errors.InvalidArgumentError):
            layer(tf.constant([["nowhere"]]))
        with pytest.raises(PipelineError, match="words of the vocabulary, which has no place for others, got"):
            encoder.ids(["nowhere"])


@pytest.mark.parametrize("options", [{}, {"mask_token": 0}, {"mask_token": 5, "oov_token": 7}, {"num_oov_indices": 0}])
def test_ids_equal_those_of_integer_lookup(options: dict[str, Any], keras: Any) -> None:
    known = [3, -4, INT64.max, INT64.min, 2**53 + 1, 2**31, 11]
    layer = keras.layers.IntegerLookup(vocabulary=known, **options)
    encoder = taken_out(keras, layer, (None,), "int64")
    generator = np.random.default_rng(5)
    values = [*known, *encoder.vocabulary]
    if encoder.oov is not None:
        values += [0, 1, -1, 5, 7, 2**53, 2**53 + 2, INT64.max - 1, *generator.integers(INT64.min, INT64.max, 200)]
    rows = generator.choice(np.array(values, np.int64), (100, 4))
    np.testing.assert_array_equal(np.stack([encoder.ids(row) for row in rows]), keras_ids(layer, rows))


@pytest.mark.parametrize("split", ["whitespace", "character"])
def test_ids_of_huge_texts_equal_those_of_keras(split: str, keras: Any) -> None:
    layer = keras.layers.TextVectorization(vocabulary=["a", "é", "a b"], split=split, ngrams=2)
    encoder = taken_out(keras, layer, (1,))
    texts = ["a b " * HUGE, "É" * HUGE, "!" * HUGE, " " * HUGE, "\U0001f600\x00" * HUGE]
    np.testing.assert_array_equal(padded([encoder.ids(text) for text in texts]), keras_ids(layer, texts))


def test_a_text_that_keras_cannot_read_is_refused(keras: Any) -> None:
    layer = keras.layers.TextVectorization(vocabulary=["a"])
    encoder = taken_out(keras, layer, (1,))
    import tensorflow as tf

    with pytest.raises((ValueError, UnicodeEncodeError)):
        tf.constant(["a\ud800"])
    with pytest.raises(PipelineError, match=r"expected Unicode text, got half of a surrogate pair, '\\ud800', at char"):
        encoder.ids("a\ud800")
    with pytest.raises(PipelineError, match="expected a string, got b'a'"):
        encoder.ids(b"a")
