"""Models that begin with text layers: the layers leave the graph and their work travels in the metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from edgeinfer_export import ExportError, VerificationError, command, to_onnx, to_onnx_seq2seq
from edgeinfer_export.text import from_ids
from hard_strings import hard_strings
from test_export_command import save
from test_text_equals_keras import set_words

import edgeinfer
from edgeinfer.cli import main as edgeinfer_main
from edgeinfer.pipeline import Classifier, encoders
from edgeinfer.spec import Window

WORDS = ["the", "a", "film", "good", "bad", "école", "not"]
# One is the same weights under Keras, one the file: sums in another order.
KERAS_ATOL = 1e-6


def texts(*shape: Any, **vectorization: Any) -> Callable[[Any, Any], list[Any]]:
    """The layers of a classifier of two, behind a TextVectorization."""
    return lambda keras, layers: [
        keras.Input(shape or (1,), dtype="string"),
        layers.TextVectorization(vocabulary=WORDS, name="text", **vectorization),
        layers.Embedding(12, 4),
        layers.LSTM(5),
        layers.Dense(1, activation="sigmoid"),
    ]


@pytest.fixture
def build(keras: Any, layers: Any, shuffled: Any) -> Callable[..., Any]:
    return lambda stack, name="reviews": shuffled(keras.Sequential(stack(keras, layers), name=name))


def answers(model: Any, samples: list[Any]) -> np.ndarray:
    import tensorflow as tf

    return np.concatenate([np.asarray(model(tf.constant([[text]]), training=False)) for text in samples])


SAMPLES = ["The good film!", "not a BAD, bad\xa0film", "école École", "x", "good " * 9]


def test_a_sequential_of_texts_answers_raw_text_as_keras_does(build: Any, ends: Any, tmp_path: Path) -> None:
    model = build(texts())
    result = to_onnx(model, tmp_path / "m.onnx")
    assert result.text_layers == {"x": "text"}
    assert (result.form, result.spec.mode, result.spec.task) == ("stream", "stream", "classify")
    assert ends(tmp_path / "m.onnx")[0]["x"] == ["batch", "time"]
    described = result.spec.preprocessing["text"]
    assert described["vocabulary"] == ["", "[UNK]", *WORDS]
    assert (described["case"], described["split"], described["oov"]) == ("ascii", "ascii_space", 1)
    app = edgeinfer.pipeline(tmp_path / "m.onnx", backend="native")
    assert isinstance(app, Classifier) and app.labels == ("0", "1")
    scores = [app(text).scores["1"] for text in SAMPLES]
    np.testing.assert_allclose(scores, answers(model, SAMPLES)[:, 0], rtol=0, atol=KERAS_ATOL)
    assert app("the x Film").unknown == ("x",)


def test_a_window_that_is_asked_for_takes_shorter_texts_as_they_are(build: Any, tmp_path: Path) -> None:
    model = build(texts())
    assert to_onnx(model, tmp_path / "m.onnx", window=3).spec.window == Window(3, "partial")
    app = edgeinfer.pipeline(tmp_path / "m.onnx")
    assert isinstance(app, Classifier)
    scores = [app(text).scores["1"] for text in ("good", "bad film", "a good film", "a film of a good film")]
    expected = answers(model, ["good", "bad film", "a good film", "a good film"])[:, 0]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=KERAS_ATOL)


def test_a_vocabulary_of_any_characters_travels(keras: Any, layers: Any, tmp_path: Path) -> None:
    words = list(dict.fromkeys(hard_strings()))
    lookup = layers.StringLookup(vocabulary=["a"])
    set_words(lookup, words)
    x = keras.Input((None,), dtype="string")
    model = keras.Model(x, layers.GRU(2)(layers.Embedding(len(words) + 1, 2)(lookup(x))))
    to_onnx(model, tmp_path / "m.onnx", verify=False)
    assert encoders(edgeinfer.load(tmp_path / "m.onnx"))["x"].vocabulary == ("[UNK]", *words)


def test_a_fixed_output_length_is_a_window_padded_at_the_end_of_which_the_first_words_are_kept(
    build: Any, tmp_path: Path
) -> None:
    model = build(texts(output_sequence_length=4))
    result = to_onnx(model, tmp_path / "m.onnx")
    assert (result.spec.mode, result.spec.window) == ("window", Window(4, "pad", 0.0, "right"))
    assert result.spec.preprocessing["text"]["length"] == 4
    app = edgeinfer.pipeline(tmp_path / "m.onnx")
    assert isinstance(app, Classifier)
    scores = [app(text).scores["1"] for text in SAMPLES]
    np.testing.assert_allclose(scores, answers(model, SAMPLES)[:, 0], rtol=0, atol=KERAS_ATOL)
    assert app("a good film not bad").scores == app("a good film not").scores
    stream = app.stream()
    pieces = ["a", "a good", "a good film not"]
    found = [stream.step(piece) for piece in ("a", "good", "film not")]
    assert [answer.scores for answer in found if answer] == [app(text).scores for text in pieces]


@pytest.mark.parametrize(
    "options",
    [
        {"standardize": None, "split": "character"},
        {"standardize": "lower", "ngrams": 2},
        {"standardize": "strip_punctuation", "ngrams": (1, 3), "output_sequence_length": 6},
        {"standardize": None, "split": None},
    ],
    ids=str,
)
def test_every_way_to_split_is_verified_from_raw_text_on(options: Any, build: Any, tmp_path: Path) -> None:
    model = build(texts(**options))
    assert to_onnx(model, tmp_path / "m.onnx").differences is not None
    encoder = encoders(edgeinfer.load(tmp_path / "m.onnx"))["x"]
    scores = [edgeinfer.load(tmp_path / "m.onnx")(encoder.ids(text)[None]) for text in SAMPLES]
    np.testing.assert_allclose(np.stack(scores)[:, 0], answers(model, SAMPLES), rtol=0, atol=KERAS_ATOL)


def test_a_saved_and_adapted_model_is_exported_by_the_command(
    keras: Any, build: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build(
        lambda keras, layers: [
            keras.Input((1,), dtype="string"),
            layers.TextVectorization(max_tokens=12, name="words"),
            layers.Embedding(12, 4),
            layers.GRU(4),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.layers[0].adapt(["the good film", "the bad film", "a film"])
    path = save(model, tmp_path / "m.keras")
    assert command.main([str(path), "-o", str(tmp_path / "m.onnx")]) == 0
    shown = capsys.readouterr()
    assert 'layer "words" (TextVectorization), a vocabulary of 7 words, becomes preprocessing' in shown.err
    assert 'layer "words" became preprocessing; input x takes its token ids' in shown.out
    assert command.main([str(path), "-o", str(tmp_path / "m.onnx"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text_layers"] == {"x": "words"}
    app = edgeinfer.pipeline(tmp_path / "m.onnx")
    assert isinstance(app, Classifier) and app.labels == ("0", "1", "2")
    np.testing.assert_allclose(
        list(app("A good film.").scores.values()), answers(model, ["A good film."])[0], rtol=0, atol=KERAS_ATOL
    )


def test_an_exported_file_answers_text_in_a_shell(
    build: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "m.onnx")
    spec = {"postprocessing": {"labels": ["poor", "fine"]}}
    to_onnx(build(texts(standardize=None)), path, spec=spec, verify=False)
    app = edgeinfer.pipeline(path)
    assert isinstance(app, Classifier)
    assert edgeinfer_main(["run", path, "--text", "the good\xa0film école", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["label"] in ("poor", "fine")
    assert found["unknown"] == ["good\xa0film"]
    assert found["scores"] == app("the good\xa0film école").scores
    assert edgeinfer_main(["run", path, "--text", "caf\udce9"]) == 3
    assert "half of a surrogate pair" in capsys.readouterr().err
    assert edgeinfer_main(["info", path]) == 0
    assert "text, a vocabulary of 9 words" in capsys.readouterr().out
    assert edgeinfer_main(["verify", path]) == 0


def test_a_recipe_gives_the_labels(build: Any, tmp_path: Path) -> None:
    spec = {"postprocessing": {"labels": ["bad", "good"], "threshold": 0.4}}
    to_onnx(build(texts()), tmp_path / "m.onnx", spec=spec, verify=False)
    app = edgeinfer.pipeline(tmp_path / "m.onnx")
    assert isinstance(app, Classifier)
    assert (app.labels, app.threshold) == (("bad", "good"), 0.4)


def test_an_output_that_is_no_class_names_no_task(keras: Any, layers: Any, shuffled: Any, tmp_path: Path) -> None:
    def model(last: Any) -> Any:
        x = keras.Input((1,), dtype="string")
        y = layers.GRU(4)(layers.Embedding(9, 3)(layers.TextVectorization(vocabulary=WORDS)(x)))
        return shuffled(keras.Model(x, last(y)))

    as_many_as_words = model(layers.Dense(len(WORDS) + 2, activation="softmax"))
    for other in (model(layers.Dense(1)), model(layers.Dense(2, activation="sigmoid")), as_many_as_words):
        assert to_onnx(other, tmp_path / "m.onnx", verify=False).spec.task is None
    next_word = to_onnx(as_many_as_words, tmp_path / "m.onnx", spec={"task": "next_token"})
    assert next_word.spec.task == "next_token"
    app = edgeinfer.pipeline(tmp_path / "m.onnx")
    found = app("the good", top=20)  # type: ignore[call-arg, operator]
    assert {word for word, _ in found.candidates} == set(WORDS)


@pytest.mark.parametrize("length", [None, 4])
def test_padding_behind_a_text_layer_is_masked(length: int | None, build: Any, tmp_path: Path) -> None:
    model = build(
        lambda keras, layers: [
            keras.Input((1,), dtype="string"),
            layers.TextVectorization(vocabulary=WORDS, output_sequence_length=length),
            layers.Embedding(12, 4, mask_zero=True),
            layers.LSTM(5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    assert to_onnx(model, tmp_path / "m.onnx").form == "stream"
    app = edgeinfer.pipeline(tmp_path / "m.onnx", backend="native")
    assert isinstance(app, Classifier)
    scores = [app(text).scores["1"] for text in SAMPLES]
    np.testing.assert_allclose(scores, answers(model, SAMPLES)[:, 0], rtol=0, atol=KERAS_ATOL)
    stream = app.stream()
    found = [stream.step(word) for word in ("the", "good", "film")]
    assert found[-1] is not None and found[-1].scores == app("the good film").scores


def test_words_that_are_split_already_are_looked_up(keras: Any, build: Any, tmp_path: Path) -> None:
    model = build(
        lambda keras, layers: [
            keras.Input((None,), dtype="string"),
            layers.StringLookup(vocabulary=WORDS, mask_token="[MASK]"),
            layers.Embedding(12, 4),
            layers.GRU(4),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    to_onnx(model, tmp_path / "m.onnx")
    import tensorflow as tf

    words = ["Good", "good", "[MASK]", "école", "a film"]
    expected = np.asarray(model(tf.constant([words]), training=False))[0, 0]
    app = edgeinfer.pipeline(tmp_path / "m.onnx")
    assert isinstance(app, Classifier)
    found = app(words)
    assert found.scores["1"] == pytest.approx(expected, abs=KERAS_ATOL)
    assert found.unknown == ("Good", "a film")
    stream = app.stream()
    assert [stream.step(word) for word in words][-1].scores == found.scores  # type: ignore[union-attr]


def test_integers_are_looked_up_outside_of_the_graph(keras: Any, build: Any, tmp_path: Path) -> None:
    model = build(
        lambda keras, layers: [
            keras.Input((None,), dtype="int64"),
            layers.IntegerLookup(vocabulary=[12, 36, 2**53 + 1], mask_token=0),
            layers.Embedding(6, 4),
            layers.GRU(4),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    result = to_onnx(model, tmp_path / "m.onnx")
    assert result.spec.preprocessing == {"integers": {"vocabulary": [0, -1, 12, 36, 2**53 + 1], "oov": 1}}
    values = [36, 2**53 + 1, 2**53, 0]
    expected = np.asarray(model(np.array([values]), training=False))[0, 0]
    app = edgeinfer.pipeline(tmp_path / "m.onnx")
    assert isinstance(app, Classifier)
    for given in (values, np.array(values), " ".join(map(str, values))):
        found = app(given)  # type: ignore[arg-type]
        assert found.scores["1"] == pytest.approx(expected, abs=KERAS_ATOL)
        assert found.unknown == (str(2**53),)


def test_several_inputs_each_have_their_preprocessing(keras: Any, layers: Any, shuffled: Any, tmp_path: Path) -> None:
    words = layers.TextVectorization(vocabulary=WORDS, output_sequence_length=5, name="words")
    letters = layers.TextVectorization(vocabulary=list("abc"), split="character", output_sequence_length=9, name="abc")
    table, cell = layers.Embedding(12, 3), layers.GRU(3)
    title, body = keras.Input((1,), dtype="string", name="title"), keras.Input((1,), dtype="string", name="body")
    year = keras.Input((1,), dtype="int32", name="year")
    size = keras.Input((2,), name="size")
    parts = [
        cell(table(words(title))),
        cell(table(words(body))),
        layers.LSTM(2)(layers.Embedding(5, 2)(letters(body))),
        layers.Flatten()(layers.Embedding(4, 2)(layers.IntegerLookup(vocabulary=[1999, 2000])(year))),
        size,
    ]
    model = shuffled(keras.Model([title, body, year, size], layers.Dense(1)(layers.Concatenate()(parts))))
    result = to_onnx(model, tmp_path / "m.onnx")
    assert result.text_layers == {"title": "words", "words": "words", "abc": "abc", "year": "integer_lookup"}
    assert result.spec.task is None
    schema = Path(__file__).parents[2] / "docs" / "spec.schema.json"
    jsonschema.validate(json.loads(result.spec.to_json()), json.loads(schema.read_text("utf-8")))
    loaded = edgeinfer.load(tmp_path / "m.onnx")
    assert sorted(value.name for value in loaded.inputs) == ["abc", "size", "title", "words", "year"]
    given = {"title": "A good film", "words": "not bad", "abc": "not bad", "year": [2000]}
    feeds = {name: encoder.ids(given[name])[None] for name, encoder in encoders(loaded).items()}  # type: ignore[arg-type]
    feeds["size"] = np.array([[0.5, -1]], np.float32)
    import tensorflow as tf

    inputs = (
        tf.constant([["A good film"]]),
        tf.constant([["not bad"]]),
        tf.constant([[2000]]),
        tf.constant(feeds["size"]),
    )
    expected = np.asarray(model(inputs, training=False))
    np.testing.assert_allclose(loaded(feeds), expected, rtol=0, atol=KERAS_ATOL)


def test_a_text_layer_inside_a_nested_model_leaves_it(keras: Any, layers: Any, shuffled: Any, tmp_path: Path) -> None:
    vectorize = layers.TextVectorization(vocabulary=WORDS, output_sequence_length=5, name="words")
    inner = keras.Sequential([keras.Input((1,), dtype="string"), vectorize, layers.Embedding(9, 3)], name="inner")
    outer = keras.Sequential([keras.Input((1,), dtype="string"), inner, layers.GRU(3, name="gru")], name="outer")
    x = keras.Input((1,), dtype="string", name="review")
    model = shuffled(keras.Model(x, layers.Dense(2, activation="softmax")(outer(x))))
    result = to_onnx(model, tmp_path / "m.onnx")
    assert result.text_layers == {"x": "words"}
    assert result.nodes["GRU"] == 1
    app = edgeinfer.pipeline(tmp_path / "m.onnx")
    assert isinstance(app, Classifier)
    got = [list(app(text).scores.values()) for text in SAMPLES]
    np.testing.assert_allclose(got, answers(model, SAMPLES), rtol=0, atol=KERAS_ATOL)


@pytest.mark.slow
def test_an_input_may_be_read_by_a_lookup_and_by_another_layer(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    x = keras.Input((None,), dtype="int64", name="ids")
    known = layers.IntegerLookup(vocabulary=[3, 4], name="known")
    both = [layers.Embedding(50, 3)(x), layers.Embedding(4, 2)(known(x))]
    result = to_onnx(shuffled(keras.Model(x, layers.GRU(3)(layers.Concatenate()(both)))), tmp_path / "m.onnx")
    assert result.form == "stream" and result.text_layers == {"known": "known"}
    assert list(result.spec.preprocessing["inputs"]) == ["known"]


@pytest.mark.slow
def test_a_series_beside_a_text_is_as_long_as_its_tokens(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    text, series = keras.Input((1,), dtype="string", name="text"), keras.Input((None, 3), name="series")
    letters = layers.TextVectorization(vocabulary=list("abc"), split="character")
    both = layers.Concatenate()([layers.Embedding(5, 2)(letters(text)), series])
    result = to_onnx(shuffled(keras.Model([text, series], layers.LSTM(3)(both))), tmp_path / "m.onnx")
    assert result.form == "stream" and result.differences is not None


def test_a_stateful_model_keeps_its_state_and_answers_from_a_new_one(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    model = shuffled(
        keras.Sequential(
            [
                keras.Input(batch_shape=(1, 1), dtype="string"),
                layers.TextVectorization(vocabulary=WORDS, output_sequence_length=4),
                layers.Embedding(9, 3),
                layers.LSTM(3, stateful=True, name="lstm"),
                layers.Dense(1, activation="sigmoid"),
            ]
        )
    )
    expected = answers(model, ["the good film"])
    kept = model.get_layer("lstm").states[0].numpy()
    assert to_onnx(model, tmp_path / "m.onnx").spec.mode == "stream"
    assert np.array_equal(kept, model.get_layer("lstm").states[0].numpy()) and kept.any()
    app = edgeinfer.pipeline(tmp_path / "m.onnx")
    assert isinstance(app, Classifier)
    assert app("the good film").scores["1"] == pytest.approx(float(expected[0, 0]), abs=KERAS_ATOL)


@pytest.mark.slow
def test_both_halves_of_a_training_model_have_their_words(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    source, target = keras.Input((1,), dtype="string", name="source"), keras.Input((1,), dtype="string", name="target")
    read = layers.TextVectorization(vocabulary=WORDS, name="read")
    spoken = layers.TextVectorization(vocabulary=["le", "film", "bon"], name="spoken")
    memory, state = layers.GRU(4, return_sequences=True, return_state=True)(layers.Embedding(9, 3)(read(source)))
    steps = layers.GRU(4, return_sequences=True)(layers.Embedding(5, 3)(spoken(target)), initial_state=state)
    found = layers.Attention()([steps, memory])
    scores = layers.Dense(5, activation="softmax")(layers.Concatenate()([steps, found]))
    model = shuffled(keras.Model([source, target], scores))
    to_onnx_seq2seq(model, tmp_path / "m.onnx")
    encoder, decoder = edgeinfer.load(tmp_path / "m.encoder.onnx"), edgeinfer.load(tmp_path / "m.decoder.onnx")
    (reads,), (speaks,) = encoders(encoder).values(), encoders(decoder).values()
    stream = decoder.given(encoder(reads.ids("The good film!")[None])).stream()
    rows = [stream.step(int(token)) for token in speaks.ids("le bon")]
    import tensorflow as tf

    expected = model([tf.constant([["The good film!"]]), tf.constant([["le bon"]])], training=False)
    np.testing.assert_allclose(np.stack(rows), np.asarray(expected)[0], rtol=0, atol=KERAS_ATOL)


def labelled(keras: Any, layers: Any, last: Callable[[Any], Any]) -> Any:
    x = keras.Input((1,), dtype="string")
    y = layers.GRU(4)(layers.Embedding(9, 3)(layers.TextVectorization(vocabulary=WORDS)(x)))
    return keras.Model(x, last(y))


def test_a_lookup_of_the_largest_outputs_word_becomes_the_labels(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    words = layers.StringLookup(vocabulary=["bad", "good"], invert=True, name="labels")
    scores = layers.Dense(3, activation="softmax")
    model = shuffled(labelled(keras, layers, lambda y: words(keras.ops.argmax(scores(y), axis=-1))))
    to_onnx(model, tmp_path / "m.onnx")
    app = edgeinfer.pipeline(tmp_path / "m.onnx")
    assert isinstance(app, Classifier) and app.labels == ("[UNK]", "bad", "good")
    assert [app(text).label for text in SAMPLES] == [word.decode() for word in answers(model, SAMPLES)]
    with pytest.raises(ExportError, match="the model itself looks its labels up, and the recipe has a task or labels"):
        to_onnx(model, tmp_path / "m.onnx", spec={"postprocessing": {"labels": ["a", "b", "c"]}})


@pytest.mark.parametrize(("kind", "vocabulary"), [("StringLookup", ["bad", "good"]), ("IntegerLookup", [30, -7])])
def test_labels_of_a_model_of_numbers_are_told_without_a_task(
    kind: str, vocabulary: list[Any], keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    words = getattr(layers, kind)(vocabulary=vocabulary, invert=True)
    x = keras.Input((None, 3))
    scores = layers.Dense(3, activation="softmax")(layers.GRU(4)(x))
    model = shuffled(keras.Model(x, words(keras.ops.argmax(scores, axis=-1))))
    result = to_onnx(model, tmp_path / "m.onnx")
    labels = [str(words.oov_token), *map(str, vocabulary)]
    assert (result.spec.task, result.spec.postprocessing) == (None, {"labels": labels})
    assert result.text_layers == {}
    steps = np.random.default_rng(1).normal(size=(4, 5, 3)).astype(np.float32)
    found = np.argmax(edgeinfer.load(tmp_path / "m.onnx")(steps), axis=-1)
    expected = np.asarray(model(steps, training=False))
    assert [labels[i] for i in found] == [w.decode() if isinstance(w, bytes) else str(w) for w in expected]


def test_a_text_layer_put_before_a_trained_model_is_found_once_it_was_called(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    trained = keras.Sequential([layers.Embedding(9, 3), layers.GRU(3), layers.Dense(1)], name="trained")
    trained(np.zeros((2, 4), np.int64))
    shuffled(trained)
    words = layers.TextVectorization(vocabulary=WORDS, output_sequence_length=4, name="words")
    model = keras.Sequential([words, trained, layers.Activation("sigmoid")])
    with pytest.raises(ExportError, match=r"the model has no input shape yet; add keras\.Input"):
        to_onnx(model, tmp_path / "m.onnx")
    expected = answers(model, SAMPLES)[:, 0]
    assert to_onnx(model, tmp_path / "m.onnx").text_layers == {"x": "words"}
    app = edgeinfer.pipeline(tmp_path / "m.onnx")
    assert isinstance(app, Classifier)
    np.testing.assert_allclose([app(text).scores["1"] for text in SAMPLES], expected, rtol=0, atol=KERAS_ATOL)


def test_a_live_model_is_left_as_it_was(keras: Any, build: Any, tmp_path: Path) -> None:
    model = build(texts(output_sequence_length=4))
    before = [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model.layers]
    to_onnx(model, tmp_path / "m.onnx")
    assert before == [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model.layers]
    assert model.layers[1].output.shape == (None, 4, 4)
    with pytest.raises(ExportError):
        to_onnx(model, tmp_path / "m.onnx", window=7)
    assert before == [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model.layers]


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "standardize": (
        {"standardize": lambda text: text},
        "standardize",
        'layer "text": standardize=<lambda>: a function of your own does not travel in a file; use one of None, lower',
    ),
    "split": (
        {"split": lambda text: text},
        "split",
        "split=<lambda>: a function of your own does not travel in a file",
    ),
    "ragged": ({"ragged": True}, "ragged", "ragged=True: ONNX has no ragged tensors; ragged=False gives the same ids"),
    "encoding": ({"encoding": "latin-1"}, "encoding", 'only UTF-8 is exported; use encoding="utf-8"'),
    "ngrams": ({"ngrams": 100}, "ngrams", "ngrams: expected a list of widths from 1 to 64"),
}


@pytest.mark.parametrize(("options", "argument", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_travel_is_refused_by_layer_and_argument(
    options: dict[str, Any], argument: str, message: str, build: Any, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        to_onnx(build(texts(**options)), tmp_path / "m.onnx")
    assert (caught.value.layer, caught.value.argument) == ("text", argument)
    assert not list(tmp_path.iterdir())


def lookup_model(keras: Any, layers: Any, lookup: Any, shape: tuple[int | None, ...] = (None,)) -> Any:
    x = keras.Input(shape, dtype="string", name="words")
    return keras.Model(x, layers.GRU(3)(layers.Embedding(9, 2)(lookup(x))))


@pytest.mark.parametrize(
    ("lookup", "message"),
    [
        (
            lambda layers: layers.StringLookup(vocabulary=["a"], num_oov_indices=3),
            "num_oov_indices=3: it spreads unknown tokens by a hash that only TensorFlow has; use 1, or 0 to refuse",
        ),
        (
            lambda layers: layers.StringLookup(vocabulary=["a"], output_mode="count"),
            "output_mode='count': only ids are exported; use output_mode=\"int\" before an Embedding, or build",
        ),
        (lambda layers: layers.StringLookup(), "it has no vocabulary; give it one, or call adapt"),
        (
            lambda layers: layers.TextVectorization(vocabulary=["a"]),
            r"TextVectorization on an input of shape \[None, 2\]: expected one text each",
        ),
    ],
)
def test_a_lookup_that_cannot_be_exact_is_refused(
    lookup: Any, message: str, keras: Any, layers: Any, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=message):
        to_onnx(lookup_model(keras, layers, lookup(layers), (2,)), tmp_path / "m.onnx")


def test_a_row_of_tokens_is_asked_for_where_nothing_splits(keras: Any, layers: Any, tmp_path: Path) -> None:
    x = keras.Input((), dtype="string")
    model = keras.Model(x, layers.Embedding(9, 2)(layers.StringLookup(vocabulary=["a"], name="lookup")(x)))
    with pytest.raises(ExportError, match=r'"lookup": StringLookup on an input of shape \[None\]: expected a row of'):
        to_onnx(model, tmp_path / "m.onnx")


def test_a_subclass_of_a_text_layer_is_refused(keras: Any, layers: Any, tmp_path: Path) -> None:
    kind = type("StringLookup", (layers.StringLookup,), {})
    with pytest.raises(
        ExportError, match="a class of its own named StringLookup: what it does is not known; use keras"
    ):
        to_onnx(lookup_model(keras, layers, kind(vocabulary=["a"])), tmp_path / "m.onnx")


def test_strings_that_another_layer_reads_are_refused_by_its_name(keras: Any, layers: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    x = keras.Input((None,), dtype="string")
    cleaned = layers.Lambda(tf.strings.strip, output_shape=(None,), dtype="string", name="strip")(x)
    y = layers.Embedding(9, 2)(layers.StringLookup(vocabulary=["a"], name="lookup")(cleaned))
    with pytest.raises(ExportError, match='layer "strip": Lambda reads strings; only TextVectorization and'):
        to_onnx(keras.Model(x, layers.GRU(3)(y)), tmp_path / "m.onnx")
    y = layers.Embedding(9, 2)(layers.Hashing(9, name="hash")(x))
    with pytest.raises(ExportError, match='layer "hash": Hashing reads strings; only TextVectorization and'):
        to_onnx(keras.Model(x, layers.GRU(3)(y)), tmp_path / "m.onnx")


def test_floats_are_not_looked_up(keras: Any, layers: Any, tmp_path: Path) -> None:
    x = keras.Input((None,), dtype="float32")
    y = layers.Embedding(9, 2)(layers.IntegerLookup(vocabulary=[1], name="lookup")(x))
    with pytest.raises(ExportError, match='layer "lookup": IntegerLookup on an input of float32: expected integers'):
        to_onnx(keras.Model(x, layers.GRU(3)(y)), tmp_path / "m.onnx")


def test_a_lookup_of_what_the_model_computed_is_refused(keras: Any, layers: Any, tmp_path: Path) -> None:
    x = keras.Input((None,), dtype="int64")
    y = layers.Embedding(9, 2)(layers.IntegerLookup(vocabulary=[1], name="lookup")(keras.ops.abs(x)))
    with pytest.raises(ExportError, match='layer "lookup": IntegerLookup reads what another layer answers; only one'):
        to_onnx(keras.Model(x, layers.GRU(3)(y)), tmp_path / "m.onnx")


def test_labels_that_are_not_plainly_the_largest_outputs_are_refused(keras: Any, layers: Any, tmp_path: Path) -> None:
    words = layers.StringLookup(vocabulary=["bad", "good"], invert=True, name="labels")

    def dense(units: int, activation: str | None = "softmax") -> Any:
        return layers.Dense(units, activation=activation)

    plainly = "invert=True: words are looked up outside of the graph, as labels of keras.ops.argmax"
    cases: list[tuple[Callable[[Any], Any], str]] = [
        (lambda y: words(keras.ops.argmax(dense(3, None)(y), axis=-1)), plainly),
        (lambda y: words(keras.ops.argmin(dense(3)(y), axis=-1)), plainly),
        (
            lambda y: words(keras.ops.argmax(dense(4)(y), axis=-1)),
            "vocabulary of 3 words does not give each of 4 classes",
        ),
        (lambda y: [words(keras.ops.argmax(dense(3)(y), axis=-1)), y], "the words that it looks up are one of"),
    ]
    for last, message in cases:
        with pytest.raises(ExportError, match=message) as caught:
            to_onnx(labelled(keras, layers, last), tmp_path / "m.onnx")
        assert caught.value.layer == "labels"


def test_words_that_were_looked_up_are_not_read_on(keras: Any, layers: Any, tmp_path: Path) -> None:
    words = layers.StringLookup(vocabulary=["bad", "good"], invert=True, name="labels")
    scores = layers.Dense(3, activation="softmax")
    model = labelled(
        keras, layers, lambda y: layers.Lambda(lambda x: x, name="on")(words(keras.ops.argmax(scores(y), axis=-1)))
    )
    with pytest.raises(ExportError, match='the words that it looks up are read by layer "on"; only at the'):
        to_onnx(model, tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", ["text", "integers", "inputs"])
def test_a_text_step_of_the_recipe_beside_the_layers_own_is_an_error(kind: str, build: Any, tmp_path: Path) -> None:
    message = f"the model's own text step, and the recipe has preprocessing.{kind} as well; leave one of them out"
    with pytest.raises(ExportError, match=message):
        to_onnx(build(texts()), tmp_path / "m.onnx", spec={"preprocessing": {kind: {}}})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"mode": "stream"}, "mode stream is not possible: output_sequence_length=4 brings every text to that length"),
        ({"window": 7}, "window 7 is not possible: output_sequence_length=4 brings every text to that length"),
        ({"spec": {"mode": "window", "window": {"length": 3}}}, "window 3 is not possible: output_sequence_length=4"),
    ],
)
def test_a_mode_against_the_layers_length_is_refused(
    asked: dict[str, Any], message: str, build: Any, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=message):
        to_onnx(build(texts(output_sequence_length=4)), tmp_path / "m.onnx", **asked)


def test_a_description_that_gives_other_ids_than_the_layer_is_not_written(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import edgeinfer_export.text as text

    monkeypatch.setitem(text._STANDARDIZE, "lower_and_strip_punctuation", ("unicode", text.PUNCTUATION))
    with pytest.raises(VerificationError, match=r'layer "text" makes .* the ids \[.*, the runtime \['):
        to_onnx(build(texts()), tmp_path / "m.onnx")
    monkeypatch.setitem(text._SPLIT, "whitespace", "character")
    with pytest.raises(VerificationError, match='layer "text" gives ids of shape'):
        to_onnx(build(texts()), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_nothing_of_the_text_is_left_in_the_graph(build: Any, tmp_path: Path) -> None:
    result = to_onnx(build(texts()), tmp_path / "m.onnx", verify=False)
    kinds = {onnx.TensorProto.DataType.Name(v.type.tensor_type.elem_type) for v in onnx.load(result.path).graph.input}
    assert kinds == {"INT64", "FLOAT"}
    assert set(result.nodes) <= {"Gather", "Transpose", "LSTM", "Squeeze", "MatMul", "Gemm", "Add", "Sigmoid"}


def test_a_model_without_text_layers_is_the_model_itself(keras: Any, sequential: Any, layers: Any) -> None:
    model = sequential((None, 2), layers.GRU(2))
    text = from_ids(model)
    assert text.model is model and text.readers == () and text.labels is None
