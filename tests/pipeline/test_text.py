from __future__ import annotations

import numpy as np
import pytest

from edgeinfer.errors import PipelineError
from edgeinfer.pipeline.text import TextEncoder
from edgeinfer.pipeline.window import pad_tokens

CORPUS = ("I love machine learning", "I love deep learning", "Deep learning is amazing")


def described(**changes: object) -> dict[str, object]:
    return {"vocabulary": ["", "<unk>", "a", "b"], **changes}


def test_the_vocabulary_is_sorted_by_frequency_and_then_by_first_appearance() -> None:
    encoder = TextEncoder.fit(CORPUS)
    assert encoder.vocabulary == ("", "<unk>", "learning", "i", "love", "deep", "machine", "is", "amazing")


def test_size_bounds_the_vocabulary_with_padding_and_unknown_counted() -> None:
    assert TextEncoder.fit(CORPUS, size=4).vocabulary == ("", "<unk>", "learning", "i")


def test_a_text_becomes_ids_and_its_unknown_words_are_reported_in_order() -> None:
    encoded = TextEncoder.fit(CORPUS).encode("You love deep Java, you do")
    assert encoded.ids.dtype == np.int32
    assert encoded.ids.tolist() == [1, 4, 5, 1, 1, 1]
    assert encoded.tokens == ("you", "love", "deep", "java,", "you", "do")
    assert encoded.unknown == ("you", "java,", "you", "do")


def test_an_empty_text_has_no_ids() -> None:
    encoded = TextEncoder.fit(CORPUS).encode(" \n")
    assert encoded.ids.shape == (0,)
    assert encoded.unknown == ()


def test_the_names_of_padding_and_unknown_in_a_text_are_unknown_words() -> None:
    encoder = TextEncoder.fit(["a <unk> b"])
    assert encoder.vocabulary == ("", "<unk>", "a", "b")
    assert encoder.encode("a <unk>").unknown == ("<unk>",)


def test_replacements_come_before_case_and_punctuation_and_split() -> None:
    encoder = TextEncoder.fit(["x"], replace=[("<BR />", " "), ("n't", " not")], case="unicode", punctuation=".!")
    assert encoder.tokens("Good.<BR />Isn't it!<br />") == ["good", "is", "not", "it", "<br", "/>"]


@pytest.mark.parametrize(
    ("case", "expected"),
    [("ascii", ["abc", "ÄÖÜ"]), ("unicode", ["abc", "äöü"]), ("keep", ["ABC", "ÄÖÜ"])],
)
def test_case_lowers_what_it_names(case: str, expected: list[str]) -> None:
    assert TextEncoder.from_dict(described(case=case)).tokens("ABC ÄÖÜ") == expected


def test_ascii_case_leaves_a_capital_that_counts_as_punctuation_a_space() -> None:
    assert TextEncoder.from_dict(described(case="ascii", punctuation="X")).tokens("AXB") == ["a", "b"]


@pytest.mark.parametrize(("split", "expected"), [("whitespace", ["a", "b", "c"]), ("ascii_space", ["a\xa0b", "c"])])
def test_split_decides_what_a_no_break_space_is(split: str, expected: list[str]) -> None:
    assert TextEncoder.from_dict(described(split=split)).tokens(" a\xa0b\t\nc ") == expected


def test_an_encoder_survives_its_json_form() -> None:
    encoder = TextEncoder.fit(CORPUS, 5, replace=[("a", "b")], case="ascii", punctuation="!", split="ascii_space")
    assert TextEncoder.from_dict(encoder.to_dict()) == encoder
    assert set(encoder.to_dict()) == {"replace", "case", "punctuation", "split", "vocabulary", "oov"}
    full = TextEncoder(("a", "b"), oov=None, delete="!?", ngrams=(1, 3), length=7, split="character", case="keep")
    assert TextEncoder.from_dict(full.to_dict()) == full


@pytest.mark.parametrize("case", ["ascii", "unicode"])
def test_characters_are_deleted_after_case_without_a_space(case: str) -> None:
    encoder = TextEncoder.from_dict(described(case=case, delete="x!", punctuation="-"))
    assert encoder.tokens("It!s aXb-c xX") == ["its", "ab", "c"]


def test_every_code_point_can_be_a_token() -> None:
    encoder = TextEncoder.from_dict(described(split="character", vocabulary=["", "<unk>", "a", " ", "é"]))
    assert encoder.tokens("a e\u0301\U0001f600") == ["a", " ", "e", "\u0301", "\U0001f600"]
    assert encoder.encode("a é").ids.tolist() == [2, 3, 4]


def test_a_text_that_nothing_splits_is_one_token_and_a_sequence_several() -> None:
    encoder = TextEncoder.from_dict(described(split="none", vocabulary=["", "<unk>", "a b", "c"]))
    assert encoder.encode("A b").ids.tolist() == [2]
    assert encoder.encode(["a b", "c", "d", ""]).ids.tolist() == [2, 3, 1, 0]
    assert encoder.encode(["a b", "d"]).unknown == ("d",)
    with pytest.raises(PipelineError, match="expected a string, got 5"):
        encoder.encode(["a", 5])  # type: ignore[list-item]
    with pytest.raises(PipelineError, match=r"expected a string, got \['a'\]"):
        TextEncoder.from_dict(described()).encode(["a"])


def test_ngrams_are_runs_of_tokens_width_after_width() -> None:
    words = ["", "<unk>", "a", "b", "a b", "b a b"]
    encoder = TextEncoder.from_dict(described(ngrams=[3, 1, 2], vocabulary=words))
    assert encoder.tokens("a b a b") == ["a b a", "b a b", "a", "b", "a", "b", "a b", "b a", "a b"]
    assert encoder.encode("b a b").ids.tolist() == [5, 3, 2, 3, 1, 4]
    assert encoder.tokens("") == []


def test_a_length_keeps_the_first_ids_and_puts_zeros_after_them() -> None:
    encoder = TextEncoder.from_dict(described(length=3))
    assert encoder.ids("a b a b").tolist() == [2, 3, 2]
    assert encoder.ids("b").tolist() == [3, 0, 0]
    assert encoder.ids("").tolist() == [0, 0, 0]
    assert encoder.encode("a b a b").ids.tolist() == [2, 3, 2, 3]
    free = TextEncoder.from_dict(described()).ids("a b")
    assert free.dtype == np.int64 and free.tolist() == [2, 3]


def test_a_vocabulary_may_begin_with_what_it_likes() -> None:
    encoder = TextEncoder.from_dict(described(vocabulary=["<unk>", "a", "b"], oov=0))
    assert encoder.encode("a c b").ids.tolist() == [1, 0, 2]
    assert encoder.decode([1, 2]) == "a b"
    assert TextEncoder.from_dict(described(vocabulary=["b", "a"], oov=None)).encode("a b").ids.tolist() == [1, 0]


def test_the_name_of_the_unknown_may_be_a_word_as_well() -> None:
    encoder = TextEncoder.from_dict(described(vocabulary=["", "<unk>", "a", "<unk>"]))
    assert encoder.encode("a <unk> c").ids.tolist() == [2, 3, 1]


def test_a_word_for_which_there_is_no_place_is_refused() -> None:
    encoder = TextEncoder.from_dict(described(vocabulary=["", "a"], oov=None))
    with pytest.raises(PipelineError, match="expected words of the vocabulary, which has no place for others, got 'b'"):
        encoder.encode("a b")


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(PipelineError, match=r"got half of a surrogate pair, '\\udc80', at character 2"):
        TextEncoder.from_dict(described()).encode("a \udc80")


def test_decoding_leaves_padding_out() -> None:
    encoder = TextEncoder.fit(CORPUS)
    assert encoder.decode([0, 0, *encoder.encode("deep learning").ids]) == "deep learning"


def test_decoding_an_id_out_of_range_is_refused() -> None:
    with pytest.raises(PipelineError, match="text: ids: expected ids from 0 to 3, got 4"):
        TextEncoder.from_dict(described()).decode([4])


def test_a_text_that_is_not_a_string_is_refused() -> None:
    with pytest.raises(PipelineError, match="text: text: expected a string, got 5") as caught:
        TextEncoder.from_dict(described()).encode(5)  # type: ignore[arg-type]
    assert (caught.value.stage, caught.value.field) == ("text", "text")
    with pytest.raises(PipelineError, match="text: text: expected a string, got b'a'"):
        TextEncoder.from_dict(described()).encode(b"a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        ([], "text", "expected an object"),
        ({}, "vocabulary", "expected a list of strings, got None"),
        ({"vocabulary": ["", 1]}, "vocabulary", "expected a list of strings"),
        ({"vocabulary": []}, "vocabulary", "at least one word"),
        ({"vocabulary": ["", "<unk>", "a", "a"]}, "vocabulary", "every word once, got 'a'"),
        (described(oov=-1), "oov", "an id from 0 to 3, or null, got -1"),
        (described(oov=4), "oov", "an id from 0 to 3, or null, got 4"),
        (described(oov=True), "oov", "an id from 0 to 3, or null, got True"),
        (described(delete=["!"]), "delete", "expected a string of characters"),
        (described(ngrams=2), "ngrams", "a list of widths from 1 to 64, got 2"),
        (described(ngrams=[0]), "ngrams", "a list of widths from 1 to 64"),
        (described(length=0), "length", "an integer from 1 to 1048576, got 0"),
        (described(replace=[["", "b"]]), "replace", "pairs of strings"),
        (described(replace=["ab"]), "replace", "pairs of strings"),
        (described(punctuation=None), "punctuation", "expected a string"),
        (described(case="upper"), "case", "one of ascii, unicode, keep, got 'upper'"),
        (described(case=[]), "case", "one of ascii, unicode, keep"),
        (described(split=","), "split", "one of whitespace, ascii_space, character, none"),
        (described(stem=True), "stem", "unknown field 'stem'"),
    ],
)
def test_a_description_that_is_wrong_names_stage_and_field(data: object, field: str, message: str) -> None:
    with pytest.raises(PipelineError, match=message) as caught:
        TextEncoder.from_dict(data)
    assert (caught.value.stage, caught.value.field) == ("text", field)


@pytest.mark.parametrize(
    ("ids", "side", "expected"),
    [
        ([], "left", [0, 0, 0]),
        ([5], "left", [0, 0, 5]),
        ([5], "right", [5, 0, 0]),
        ([5, 6, 7], "left", [5, 6, 7]),
        ([5, 6, 7, 8], "left", [6, 7, 8]),
        ([5, 6, 7, 8], "right", [6, 7, 8]),
    ],
)
def test_a_window_keeps_the_last_tokens_and_pads_the_side_it_names(
    ids: list[int], side: str, expected: list[int]
) -> None:
    padded = pad_tokens(ids, 3, side=side)  # type: ignore[arg-type]
    assert padded.dtype == np.int32
    assert padded.tolist() == expected
