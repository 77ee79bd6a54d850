"""An encoder and a decoder from one training model, generation step by step against that model."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeinfer_export import ExportError, Seq2Seq, VerificationError, to_onnx_seq2seq
from edgeinfer_export.command import main

import edgeinfer

SOURCE_WORDS, WORDS, UNITS = 11, 13, 6
# Float32 in another order of summation, over a handful of steps.
TOLERANCE = 1e-5


def inputs(keras: Any) -> tuple[Any, Any]:
    return keras.Input((None,), dtype="int32", name="source"), keras.Input((None,), dtype="int32", name="target")


def translator(keras: Any, attention: str | None = "Attention", masked: bool = False) -> Any:
    """LSTM to LSTM, with an attention of the decoder's sequence to the encoder's."""
    layers = keras.layers
    source, target = inputs(keras)
    read = layers.Embedding(SOURCE_WORDS, 5, mask_zero=masked, name="read")(source)
    memory, h, c = layers.LSTM(UNITS, return_sequences=True, return_state=True, name="encoder")(read)
    asked = layers.Embedding(WORDS, 4, name="asked")(target)
    found, _, _ = layers.LSTM(UNITS, return_sequences=True, return_state=True, name="decoder")(
        asked, initial_state=[h, c]
    )
    if attention == "MultiHeadAttention":
        context = layers.MultiHeadAttention(2, 3, name="attention")(found, memory)
        found = layers.Concatenate(name="both")([found, context])
    elif attention is not None:
        context = getattr(layers, attention)(name="attention")([found, memory])
        found = layers.Concatenate(name="both")([found, context])
    scores = layers.Dense(WORDS, activation="softmax", name="scores")(found)
    return keras.Model([source, target], scores, name="translator")


def stacked(keras: Any) -> Any:
    """A bidirectional encoder, its states joined for two GRU layers; a second output."""
    layers = keras.layers
    source, target = inputs(keras)
    read = layers.Embedding(SOURCE_WORDS, 5, name="read")(source)
    _, forward, backward = layers.Bidirectional(layers.GRU(UNITS, return_state=True), name="encoder")(read)
    first = layers.Dense(UNITS, activation="tanh", name="first")(layers.Concatenate(name="ends")([forward, backward]))
    second = layers.Average(name="second")([forward, backward])
    asked = layers.Embedding(WORDS, 4, name="asked")(target)
    low = layers.GRU(UNITS, return_sequences=True, name="low")(asked, initial_state=first)
    high = layers.GRU(UNITS, return_sequences=True, reset_after=False, name="high")(low, initial_state=second)
    return keras.Model(
        [source, target],
        [layers.Dense(WORDS, name="scores")(high), layers.Dense(1, name="doubt")(low)],
        name="stacked",
    )


def series(keras: Any) -> Any:
    """Values instead of tokens; the encoder's summary stands beside each of the decoder's inputs' states."""
    layers = keras.layers
    source = keras.Input((12, 3), name="past")
    target = keras.Input((4, 2), name="known")
    state = layers.SimpleRNN(UNITS, name="encoder")(source)
    steps = layers.SimpleRNN(UNITS, return_sequences=True, name="decoder")(target, initial_state=state)
    return keras.Model([source, target], layers.Dense(1, name="value")(steps), name="series")


MODELS: Mapping[str, Callable[[Any], Any]] = {
    "attention": translator,
    "no_attention": lambda keras: translator(keras, None),
    "additive_attention": lambda keras: translator(keras, "AdditiveAttention"),
    "multi_head_attention": lambda keras: translator(keras, "MultiHeadAttention"),
    "masked_source": lambda keras: translator(keras, masked=True),
    "stacked": stacked,
    "series": series,
}


def export(model: Any, folder: Path, **options: Any) -> Seq2Seq:
    return to_onnx_seq2seq(model, folder / "model.onnx", **options)


@pytest.mark.parametrize("name", MODELS)
def test_the_decoder_generates_what_the_training_model_says(
    name: str, keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    model = shuffled(MODELS[name](keras))
    done = export(model, tmp_path)
    assert done.differences is not None and done.differences.largest <= TOLERANCE
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.decoder.onnx", "model.encoder.onnx"]
    encoder = edgeinfer.load(done.encoder.path, backend="native")
    decoder = edgeinfer.load(done.decoder.path, backend="native")
    assert not {"Loop", "Scan", "If"} & {*done.encoder.nodes, *done.decoder.nodes}

    generator = np.random.default_rng(5)
    arrays = []
    for tensor, length in zip(model.inputs, (12 if name == "series" else 7, 4), strict=True):
        if "int" in tensor.dtype:
            arrays.append(generator.integers(1, SOURCE_WORDS, (1, length)).astype(np.int32))
        else:
            arrays.append(generator.standard_normal((1, length, tensor.shape[2])).astype(np.float32))
    read, asked = arrays
    if name == "masked_source":
        read[0, -3:] = 0
    stream = decoder.given(encoder(read)).stream(scalar=False)
    answers = [stream.step(x) for x in asked[0]]
    expected = model([read, asked])
    if isinstance(expected, list):
        assert list(answers[0]) == ["scores", "doubt"]
        for output, wanted in zip(("scores", "doubt"), expected, strict=True):
            rows = np.stack([np.array(answer[output]) for answer in answers])
            np.testing.assert_allclose(rows, wanted[0], atol=TOLERANCE)
    else:
        np.testing.assert_allclose(np.stack(answers), expected[0], atol=TOLERANCE)


def test_a_model_of_another_precision_is_exported_as_float32(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path
) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = shuffled(translator(keras))
    finally:
        keras.config.set_dtype_policy(before)
    done = export(model, tmp_path)
    assert done.differences is not None and done.differences.largest <= TOLERANCE
    assert {info.dtype.name for info in edgeinfer.load(done.encoder.path).outputs} == {"float32"}


def test_the_decoder_knows_its_encoder(keras: Any, layers: Any, shuffled: Any, tmp_path: Path) -> None:
    done = export(shuffled(translator(keras)), tmp_path, verify=False)
    wiring = edgeinfer.load(done.decoder.path).spec.encoder  # type: ignore[union-attr]
    assert wiring is not None
    assert wiring.sha256 == hashlib.sha256(done.encoder.path.read_bytes()).hexdigest()
    edgeinfer.load(done.encoder.path, sha256=wiring.sha256)
    assert dict(wiring.states) == {name: name for name in ("decoder/initial_h", "decoder/initial_c")}
    assert dict(wiring.constants) == {"encoder": "encoder"}
    assert [(i.name, i.shape) for i in edgeinfer.load(done.encoder.path).outputs] == [
        ("decoder/initial_c", (1, "batch", UNITS)),
        ("decoder/initial_h", (1, "batch", UNITS)),
        ("encoder", ("batch", "time", UNITS)),
    ]
    assert done.differences is None


def test_a_model_without_such_halves_is_refused_with_the_reason(keras: Any, layers: Any, tmp_path: Path) -> None:
    x = keras.Input((None, 2), name="x")
    plain = keras.Model(x, layers.GRU(3)(x))
    with pytest.raises(ExportError, match="no recurrent layer takes its initial state from another layer"):
        export(plain, tmp_path)
    states = layers.GRU(3, return_state=True, name="encoder")(x)[1]
    again = layers.GRU(3, name="decoder")(x, initial_state=states)
    with pytest.raises(ExportError, match=r"the initial states depend on every input \(x\), so the decoder has none"):
        export(keras.Model(x, again), tmp_path)
    first, second = keras.Input((None, 2), name="first"), keras.Input((None, 2), name="second")
    both = layers.Concatenate()([first, second])
    with pytest.raises(ExportError, match="the decoder has the inputs first, second of its own, and a stream steps"):
        export(keras.Model([x, first, second], layers.GRU(3)(both, initial_state=states)), tmp_path)
    ahead = layers.Bidirectional(layers.GRU(3, return_sequences=True), name="ahead")(first)
    late = layers.GRU(3, return_sequences=True, name="late")(ahead, initial_state=states)
    with pytest.raises(ExportError, match='decoder cannot run one step at a time: layer "ahead" reads the sequence b'):
        export(keras.Model([x, first], late), tmp_path)
    stateful_x = keras.Input(batch_shape=(1, None, 2), name="x")
    stateful_y = keras.Input(batch_shape=(1, None, 2), name="y")
    state = layers.GRU(3, return_state=True, stateful=True)(stateful_x)[1]
    with pytest.raises(ExportError, match="stateful=True: an encoder starts each sequence anew"):
        export(keras.Model([stateful_x, stateful_y], layers.GRU(3)(stateful_y, initial_state=state)), tmp_path)
    with pytest.raises(ExportError, match="opset: expected at least 13, got 12"):
        export(plain, tmp_path, opset=12)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_wiring_is_found_by_stepping(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeinfer_export import seq2seq

    right = seq2seq._starts

    def swapped(decoder: Any, halves: Any) -> Any:
        found = right(decoder, halves)
        return dict(zip(found, reversed(found.values()), strict=True))

    monkeypatch.setattr(seq2seq, "_starts", swapped)
    with pytest.raises(VerificationError, match=r"generation step by step differs from the training model by"):
        export(shuffled(translator(keras)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_both_files(
    keras: Any, layers: Any, shuffled: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "translator.keras"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        shuffled(translator(keras)).save(source)
    assert main(["seq2seq", str(source), "-o", str(tmp_path / "out.onnx"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["decoder"]["path"].endswith("out.decoder.onnx") and report["encoder"]["form"] == "sequence"
    assert list(report["starts"]) == ["decoder/initial_h", "decoder/initial_c"]
    assert list(report["constants"]) == ["encoder"]
    assert report["differences"]["keras_native"] <= TOLERANCE
    assert main(["seq2seq", str(source), "-o", str(tmp_path / "out.onnx"), "--no-verify"]) == 0
    shown = capsys.readouterr().out
    assert "the encoder starts decoder/initial_h, decoder/initial_c" in shown
    assert "and gives at every step encoder" in shown
    assert main(["seq2seq", str(source), "-o", str(tmp_path / "out.onnx"), "--atol", "0"]) == 2
    assert main(["seq2seq", str(tmp_path / "none.keras"), "-o", str(tmp_path / "out.onnx")]) == 3
    assert main(["seq2seq", str(source), "-o", str(tmp_path / "out.onnx"), "--atol", "1e-12"]) == 1
    assert "seq2seq: " in capsys.readouterr().err
