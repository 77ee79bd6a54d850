"""TextEncoder gives what Keras' TextVectorization gives, where a file asks for its ways."""

from __future__ import annotations

import numpy as np
import pytest
from edgeinfer_train.recipe import load_keras

from edgeinfer.pipeline.text import TextEncoder

# What TextVectorization strips: the characters are deleted, not replaced by a space.
STRIPPED = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"
TEXTS = (
    "Don't stop,  me NOW!",
    "ÄÖÜ äöü ÉCOLE",
    "a\xa0b c\td\u2003e\nf",
    "",
    "x-y (z) <unk>",
    "İstanbul Straße",
)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_equal_those_of_text_vectorization(text: str) -> None:
    load_keras()
    import keras

    encoder = TextEncoder.fit(
        TEXTS[:3], replace=[(character, "") for character in STRIPPED], case="ascii", split="ascii_space"
    )
    layer = keras.layers.TextVectorization(vocabulary=list(encoder.vocabulary[2:]))
    expected = np.asarray(layer([text]))[0]
    assert encoder.encode(text).ids.tolist() == expected.tolist()
