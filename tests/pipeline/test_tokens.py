"""Labels and next words from models with known weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from models import WORDS, foreign_model, next_word_model, plain_model, sentiment_model, text_spec, topics_model

from edgeinfer.errors import PipelineError, StreamError
from edgeinfer.model import load
from edgeinfer.pipeline import Classifier, Generator, encoders, pipeline
from edgeinfer.pipeline.window import pad_tokens

# Probabilities computed here in float64, by the model in float32.
PROBABILITY_TOLERANCE = 1e-6


def classifier(data: bytes) -> Classifier:
    app = pipeline(data, backend="reference")
    assert isinstance(app, Classifier)
    return app


def generator(data: bytes) -> Generator:
    app = pipeline(data, backend="reference")
    assert isinstance(app, Generator)
    return app


def test_a_text_gets_the_label_that_its_words_earn() -> None:
    app = classifier(sentiment_model())
    good, bad = app("A good, GREAT film!"), app("awful film")
    assert (good.label, bad.label) == ("positive", "negative")
    assert good.score > 0.9 and bad.score > 0.9
    assert good.scores["negative"] == pytest.approx(1 - good.score, abs=PROBABILITY_TOLERANCE)


def test_a_pad_value_that_is_no_token_is_refused() -> None:
    for value in (0.5, 2**31, -1e20):
        data = sentiment_model(window={"length": 3, "start": "pad", "pad_value": value})
        with pytest.raises(PipelineError, match=r"classify: window.pad_value: expected a token, int32, got "):
            pipeline(data)


def test_unknown_words_are_reported_in_order() -> None:
    found = classifier(sentiment_model())("Xyzzy good plugh xyzzy")
    assert found.unknown == ("xyzzy", "plugh", "xyzzy")


def test_only_the_last_words_of_the_window_count() -> None:
    app = classifier(sentiment_model())
    assert app("awful awful awful awful good film film film film film").label == "positive"


def test_the_threshold_decides_between_two_labels() -> None:
    rule = {"labels": ["negative", "positive"], "threshold": 0.999}
    app = classifier(sentiment_model(postprocessing=rule))
    found = app("good film")
    assert found.label == "negative"
    assert found.score == found.scores["negative"] < 0.5


def test_the_largest_of_several_probabilities_wins() -> None:
    app = classifier(topics_model())
    found = app("deep learning film")
    assert found.scores[found.label] == max(found.scores.values())
    assert sum(found.scores.values()) == pytest.approx(1, abs=PROBABILITY_TOLERANCE)


def test_a_partial_window_is_not_padded() -> None:
    app = classifier(topics_model())
    ids = app.tokens.encoder.encode("deep film").ids
    expected = np.asarray(app.model(ids[None]))[0]
    assert np.array_equal(app.tokens.scores(ids), expected)


def test_a_window_that_waits_needs_its_words() -> None:
    app = classifier(sentiment_model(window={"length": 3, "start": "wait"}))
    assert app("good good film").label == "positive"
    with pytest.raises(PipelineError, match="expected at least 3 words, got 2"):
        app("good film")
    stream = app.stream()
    assert stream.step("good good") is None
    answer = stream.step("film")
    assert answer is not None and answer.label == "positive"


@pytest.mark.parametrize("text", ["", "  ", "?!"])
def test_a_text_without_words_is_refused(text: str) -> None:
    with pytest.raises(PipelineError, match="expected at least one word"):
        classifier(sentiment_model())(text)


def test_a_stream_of_words_equals_the_whole_text_bit_for_bit() -> None:
    app = classifier(sentiment_model())
    stream = app.stream()
    words = ["i", "love", "good", "deep", "bad", "film", "great", "learning"]
    for count, word in enumerate(words, 1):
        answer = stream.step(word)
        whole = app(" ".join(words[:count]))
        assert answer is not None and answer.scores == whole.scores


def test_a_stream_takes_several_words_at_once() -> None:
    app = generator(next_word_model())
    stream = app.stream()
    stream.step("i love")
    answer = stream.step("deep nothing", top=3)
    assert answer is not None
    assert answer.candidates == app("i love deep nothing", top=3).candidates
    assert answer.unknown == ("nothing",)


def test_a_long_piece_costs_no_more_steps_than_the_window_is_long() -> None:
    app = classifier(sentiment_model())
    stream = app.stream()
    inner = stream._spare
    steps = 0

    class Counted:
        _take_over = inner._take_over

        def step(self, x: Any) -> Any:
            nonlocal steps
            steps += 1
            return inner.step(x)

    stream._spare = Counted()  # type: ignore[assignment]
    text = "awful xyzzy " * 500 + "good film"
    found = stream.step(text)
    assert found is not None
    assert found == app(text)
    assert steps == app.tokens._window.length  # type: ignore[union-attr]


def test_a_piece_without_words_repeats_the_answer() -> None:
    stream = classifier(sentiment_model()).stream()
    assert stream.step("!") is None
    first = stream.step("great film")
    assert stream.step("...") == first


def test_a_text_stream_continues_from_its_snapshot() -> None:
    app = generator(next_word_model())
    one, other = app.stream(), app.stream()
    one.step("i love")
    other.restore(one.snapshot())
    assert other.step("") == one.step("")
    assert other.step("deep", top=5) == one.step("deep", top=5)
    with pytest.raises(StreamError, match="another model"):
        other.restore(generator(next_word_model(name="b")).stream().snapshot())


def test_next_words_come_by_falling_probability() -> None:
    app = generator(next_word_model())
    found = app("I love", top=4)
    shares = [share for _, share in found.candidates]
    assert len(shares) == 4 and shares == sorted(shares, reverse=True)
    ids = pad_tokens(app.tokens.encoder.encode("i love").ids, 4)
    scores = np.asarray(app.model(ids[None]))[0]
    assert dict(found.candidates) == {word: float(scores[WORDS.index(word)]) for word, _ in found.candidates}


def test_padding_and_unknown_are_never_offered() -> None:
    found = generator(next_word_model())("i love", top=100)
    assert len(found.candidates) == len(WORDS) - 2
    assert not {"", "<unk>"} & {word for word, _ in found.candidates}


@pytest.mark.parametrize("top", [0, -1, 1.5])
def test_top_must_be_a_positive_integer(top: Any) -> None:
    with pytest.raises(PipelineError, match="top: expected an integer of at least 1"):
        generator(next_word_model())("i love", top=top)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "labels: expected a list of two or more strings, got None"),
        ({"labels": ["one"]}, "labels: expected a list of two or more strings"),
        ({"labels": ["a", "a"]}, "labels: expected every label once"),
        ({"labels": ["a", "b"], "threshold": "high"}, "threshold: expected a finite number"),
        ({"labels": ["a", "b", "c"]}, "y: expected a last axis of 3, one for each label"),
        ({"labels": ["a", "b"], "temperature": 2}, "unknown field 'temperature'; known: labels, threshold"),
    ],
)
def test_postprocessing_of_labels_is_checked_by_field(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError, match=message) as caught:
        pipeline(sentiment_model(postprocessing=rule), backend="reference")
    assert caught.value.stage == "classify"


def test_sampling_settings_of_another_release_are_refused() -> None:
    with pytest.raises(PipelineError, match="next_token: unknown field 'temperature'; known: none"):
        pipeline(next_word_model(postprocessing={"temperature": 1.0}), backend="reference")


def test_a_vocabulary_that_does_not_fit_the_output_is_refused() -> None:
    with pytest.raises(PipelineError, match="y: expected a last axis of 11"):
        pipeline(next_word_model(preprocessing={"text": text_spec(WORDS[:-1])}), backend="reference")


def test_outputs_that_are_no_probabilities_are_refused() -> None:
    app = classifier(topics_model())
    with pytest.raises(PipelineError, match="output: expected probabilities, got -1 to 2"):
        app.tokens.check(np.array([2.0, -1.0, 0.0], np.float32))
    with pytest.raises(PipelineError, match="output: expected 3 values, one per label, got 2"):
        app.tokens.check(np.array([0.5, 0.5], np.float32))


def test_a_length_of_the_text_step_comes_before_the_window() -> None:
    window = {"length": 3, "start": "pad", "pad_value": 0, "pad_side": "right"}
    app = classifier(sentiment_model(window=window, preprocessing={"text": {**text_spec(), "length": 3}}))
    assert app("good film deep bad awful").scores == app("good film deep").scores
    expected = np.asarray(app.model(np.array([[WORDS.index("good"), 0, 0]], np.int32)))[0, 0]
    assert app("good").scores["positive"] == pytest.approx(float(expected), abs=PROBABILITY_TOLERANCE)


def test_a_stream_of_pieces_has_no_ngrams() -> None:
    app = classifier(sentiment_model(preprocessing={"text": {**text_spec(), "ngrams": [1, 2]}}))
    assert app("good film").label == "positive"
    with pytest.raises(PipelineError, match=r"the model reads runs of words \(ngrams \[1, 2\]\), and those of a"):
        app.stream()


def test_a_model_of_integers_is_asked_with_integers() -> None:
    numbers = {"vocabulary": [*range(100, 100 + len(WORDS))], "oov": 1}
    app = classifier(sentiment_model(preprocessing={"integers": numbers}))
    good = 100 + WORDS.index("good")
    assert app([good, 5]).scores == app(f"{good} 5").scores
    assert app([good, 5]).unknown == ("5",)
    assert app([good]).label == "positive"


def test_the_encoders_of_a_model_stand_by_the_names_of_its_inputs() -> None:
    model = load(plain_model(preprocessing={"inputs": {"x": {"text": text_spec()}}}))
    assert encoders(model)["x"].ids("good bad").tolist() == [WORDS.index("good"), WORDS.index("bad")]
    assert list(encoders(load(sentiment_model()))) == ["x"]
    assert encoders(load(plain_model())) == {} == encoders(load(foreign_model()))


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"inputs": []}, "inputs: expected an object of objects by the name of the input"),
        ({"inputs": {"x": 1}}, "inputs: expected an object of objects by the name of the input"),
        ({"inputs": {"z": {"text": text_spec()}}}, "inputs: expected names of inputs: x, got 'z'"),
        ({"inputs": {"x": {}}}, "text: text: expected an object, got None"),
        ({"integers": {"vocabulary": [1]}, "text": text_spec()}, "preprocessing: expected text or integers"),
    ],
)
def test_encoders_described_wrongly_are_refused_by_field(described: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        encoders(load(plain_model(preprocessing=described)))
