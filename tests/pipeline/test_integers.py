from __future__ import annotations

import numpy as np
import pytest

from edgeinfer.errors import PipelineError
from edgeinfer.pipeline import IntegerEncoder

BIG = 2**62 + 1


def described(**changes: object) -> dict[str, object]:
    return {"vocabulary": [0, -1, 7, BIG, -5], "oov": 1, **changes}


def test_an_integer_becomes_its_place_in_the_vocabulary() -> None:
    encoder = IntegerEncoder.from_dict(described())
    encoded = encoder.encode([7, BIG, BIG - 1, -5, 0, -1])
    assert encoded.ids.dtype == np.int32
    assert encoded.ids.tolist() == [2, 3, 1, 4, 0, 1]
    assert encoded.tokens == ("7", str(BIG), str(BIG - 1), "-5", "0", "-1")
    assert encoded.unknown == (str(BIG - 1), "-1")
    assert encoder.ids([7]).dtype == np.int64


def test_integers_come_as_a_list_an_array_or_a_text() -> None:
    encoder = IntegerEncoder.from_dict(described())
    for given in ([7, -5], (7, -5), np.array([7, -5], np.int32), " 7\t-5 "):
        assert encoder.ids(given).tolist() == [2, 4]  # type: ignore[arg-type]
    assert encoder.ids("").shape == (0,)


def test_it_survives_its_json_form() -> None:
    encoder = IntegerEncoder.from_dict(described())
    assert IntegerEncoder.from_dict(encoder.to_dict()) == encoder
    assert IntegerEncoder.from_dict({"vocabulary": [3]}) == IntegerEncoder((3,), None)


def test_the_number_of_the_unknown_may_be_a_known_one_as_well() -> None:
    assert IntegerEncoder.from_dict({"vocabulary": [-1, 4, -1], "oov": 0}).ids([-1, 4, 9]).tolist() == [2, 1, 0]


def test_an_integer_for_which_there_is_no_place_is_refused() -> None:
    with pytest.raises(PipelineError, match="integers of the vocabulary, which has no place for others, got 9"):
        IntegerEncoder.from_dict({"vocabulary": [3]}).encode([3, 9])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0], "integers: integers: expected 64-bit integers, got 1.0"),
        ([True], "expected 64-bit integers, got True"),
        ([2**63], "expected 64-bit integers, got 9223372036854775808"),
        (["1"], "expected 64-bit integers, got '1'"),
        (5, "expected a sequence of integers, got 5"),
        (np.zeros((2, 2), int), "expected a sequence of integers, got array"),
        ("1 x", "expected 64-bit integers with spaces between them, got 'x'"),
        ("1_000", "expected 64-bit integers with spaces between them, got '1_000'"),
        ("9" * 30, "expected 64-bit integers with spaces between them, got '999"),
        ("9" * 5000, "expected 64-bit integers with spaces between them, got '999"),
    ],
    ids=["float", "bool", "65 bits", "string", "single", "matrix", "word", "underscore", "large", "huge"],
)
def test_what_is_no_integer_is_refused(given: object, message: str) -> None:
    with pytest.raises(PipelineError, match=message) as caught:
        IntegerEncoder.from_dict(described()).encode(given)  # type: ignore[arg-type]
    assert caught.value.stage == "integers"


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        ([], "integers", "expected an object"),
        ({}, "vocabulary", "a list of 64-bit integers, got None"),
        ({"vocabulary": []}, "vocabulary", "a list of 64-bit integers"),
        ({"vocabulary": [1, "2"]}, "vocabulary", "a list of 64-bit integers"),
        ({"vocabulary": [1, True]}, "vocabulary", "a list of 64-bit integers"),
        ({"vocabulary": [2**63]}, "vocabulary", "a list of 64-bit integers"),
        ({"vocabulary": [4, 5, 4]}, "vocabulary", "every integer once, got 4"),
        (described(oov=5), "oov", "an id from 0 to 4, or null, got 5"),
        (described(mask=0), "mask", "unknown field 'mask'; known: vocabulary, oov"),
    ],
)
def test_a_description_that_is_wrong_names_stage_and_field(data: object, field: str, message: str) -> None:
    with pytest.raises(PipelineError, match=message) as caught:
        IntegerEncoder.from_dict(data)
    assert (caught.value.stage, caught.value.field) == ("integers", field)
