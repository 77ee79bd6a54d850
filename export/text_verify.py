"""Does the file answer a text as the Keras model does that reads it? From raw strings to outputs, on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import edgeinfer
from edgeinfer.errors import PipelineError, shorten
from edgeinfer.pipeline import Forecaster

from .differences import Differences
from .errors import ExportError, VerificationError
from .limits import RAISED
from .lowering import first_line, pack_inputs
from .quiet import without_noise
from .rebuild import is_stateful
from .samples import Input, random_feeds
from .text import Reader, Text
from .verify import native_runner, onnxruntime_runner, zero_states

_SEED = 22
_LENGTH = 6
_DRAWN = 40
_BATCH = 8
_SINGLE = 3
_APP = 4
# What implementations of text disagree on: case, marks, widths, spaces, controls, directions, code points of any size.
HARD_TEXTS = (
    "", " ", "\t\n", "A", "Don't STOP, me now!", "x-y (z) <unk> [UNK] [MASK]", "a.b.c", "...", "under_score",
    "ÄÖÜ äöü ÉCOLE", "İstanbul ıI iİ", "Straße STRASSE ẞ", "e\u0301 é e\u0301\u0302", "ﬁ ﬂ Ǆ ǅ ǆ", "ΣΑΣ σας",
    "a\xa0b", "a\u3000b", "a\u2003b\u2009c", "a\u2028b\u2029c", "a\x85b", "a\u200bb", "\ufeffa b", "a\u180eb",
    "a\x0bb\x0cc\rd\r\ne", "a\x1cb\x1db\x1eb\x1fc", "a\x00b", "a\x00", "\x00", "\x7f a\x1b[0m", "a\u00adb",
    "\u200fאב \u202eabc\u202c", "مرحبا، بالعالم؟", "日本語 テスト。「引用」", "ｆｕｌｌ　ｗｉｄｔｈ！", "한국어 한",
    "👩\u200d👩\u200d👧 🇩🇪 👍🏽", "𝒜 𐐀 𐐨 \U0010ffff", "\ufffd \ufffe \uffff", "“quoted” ‘text’ – — …", "¡¿§ «»",
    "100% $5 €5 £5 #1 @me", "a" * 40, "a b " * 12, "\\ ^ ` | ~ { }",
)  # fmt: skip
_HARD_INTEGERS = (0, 1, -1, 2, 7, 255, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63))
_BETWEEN = (" ", "  ", "\t", ", ", "\n", "! ")


def verify_text(
    data: bytes,
    text: Text,
    inputs: Sequence[Input],
    outputs: Sequence[str],
    hidden: Mapping[str, int],
    found: Differences,
    atol: float,
) -> None:
    """Compare from raw strings on, and add what was found to ``found``.

    ``inputs`` and ``outputs`` are those of the file in the order of the model from ids on, ``hidden`` as for verify.
    Of a stateful model only the ids are compared: its batch is fixed, and each call would change its state.

    Raises VerificationError where a layer and its description give other ids, or answers differ by more than ``atol``.
    """
    if not text.readers and text.labels is None:
        return
    import tensorflow as tf

    generator = np.random.default_rng(_SEED)
    samples = verify_ids(text, inputs, generator)
    if is_stateful(text.original):
        return
    runners = onnxruntime_runner(data), native_runner(data)
    count = min(map(len, samples.values()), default=_DRAWN)
    order = [int(row) for row in generator.permutation(count)]
    for rows in (order[:_BATCH], *([row] for row in order[-_SINGLE:])):
        chosen = {source: [items[row] for row in rows] for source, items in samples.items()}
        ids = {r.place: padded([r.encoder.ids(sample) for sample in chosen[r.source]]) for r in text.readers}
        # Other inputs with a free length may have to be as long.
        length = max((array.shape[1] for array in ids.values()), default=_LENGTH)
        feeds = random_feeds(inputs, len(rows), length, generator)
        given: list[Any] = [None] * len(text.original.inputs)
        for read, items in chosen.items():
            given[read] = _tensor(text, read, items)
        for place, (item, source) in enumerate(zip(inputs, text.kept, strict=True)):
            if source is None:
                feeds[item.name] = ids[place]
            elif source in chosen:  # a text layer reads it, and another layer as well
                feeds[item.name] = given[source].numpy()
            else:
                given[source] = tf.constant(feeds[item.name])
        if any(0 in array.shape for array in feeds.values()):
            continue  # a text without tokens, on its own: no step was taken
        expected = _keras(text, given)
        answers = [run({**feeds, **zero_states(hidden, len(rows))}) for run in runners]
        found.cases += 1
        for value, name in zip(expected, outputs, strict=True):
            scores = [answer[name] for answer in answers]
            if text.labels is None:
                found.add(value, scores[0], scores[1])
            else:
                _same_words(text.labels, value, scores, atol)
    _same_answers(data, text, samples, found)
    if found.largest > atol:
        raise VerificationError(
            f"from raw text on, the exported file differs from Keras by {found.largest:.2e}, expected at most "
            f"{atol:.0e}; nothing was written\n" + found.table(),
            found,
        )


def verify_ids(text: Text, inputs: Sequence[Input], generator: np.random.Generator) -> dict[int, list[Any]]:
    """Compare the ids alone; returns the samples, by the input of the original model that they are for.

    ``inputs`` as for verify_text. Raises VerificationError where a layer and its description give other ids.
    """
    samples = {reader.source: _samples(text, reader.source, inputs, generator) for reader in text.readers}
    for reader in text.readers:
        _same_ids(text, reader, samples[reader.source])
    return samples


def padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Ids of several texts as Keras makes one batch of them: int64 [len(rows), longest], zeros at the end."""
    batch = np.zeros((len(rows), max(row.size for row in rows)), np.int64)
    for row, ids in zip(batch, rows, strict=True):
        row[: ids.size] = ids
    return batch


def _samples(text: Text, source: int, inputs: Sequence[Input], generator: np.random.Generator) -> list[Any]:
    """Inputs for one input of the original model: texts, integers, or rows of them.

    Those that a reader refuses, since its vocabulary has no place for unknown tokens, are left out.
    """
    readers = [reader for reader in text.readers if reader.source == source]
    tensor = text.original.inputs[source]
    words = [word for reader in readers for word in reader.encoder.vocabulary]
    picks = [words[i] for i in generator.integers(0, len(words), size=_DRAWN * _BATCH)]
    pool: list[Any] = [*HARD_TEXTS, *picks[:_DRAWN]]
    if tensor.dtype != "string":
        limits = np.iinfo(tensor.dtype)
        least, most = limits.min, limits.max
        if source in text.kept:  # an Embedding reads it as well
            least, most = 0, (inputs[text.kept.index(source)].tokens or 2) - 1
        pool = [value for value in (*_HARD_INTEGERS, *picks) if least <= value <= most]
        picks = [value for value in picks if least <= value <= most] or pool
    if len(tensor.shape) == 2 and tensor.shape[1] != 1:
        length = tensor.shape[1] or _LENGTH
        rows = [generator.integers(0, len(pool), size=length) for _ in range(_DRAWN)]
        samples: list[Any] = [[pool[i] for i in row] for row in rows]
        samples += [[picks[i] for i in generator.integers(0, len(picks), size=length)] for _ in range(_DRAWN)]
    elif tensor.dtype == "string":
        samples = pool
        for _ in range(_DRAWN):
            between = _BETWEEN[generator.integers(len(_BETWEEN))]
            samples.append(between.join(picks[i] for i in generator.integers(0, len(picks), size=_LENGTH)))
            samples.append(samples[-1].upper())
    else:
        samples = [[value] for value in pool]
    return [sample for sample in samples if all(_takes(reader, sample) for reader in readers)]


def _takes(reader: Reader, sample: Any) -> bool:
    try:
        reader.encoder.encode(sample)
    except PipelineError:
        return False
    return True


def _tensor(text: Text, source: int, samples: Sequence[Any]) -> Any:
    """Samples as the input of the original model takes them."""
    import tensorflow as tf

    tensor = text.original.inputs[source]
    if tensor.dtype == "string":  # not through NumPy, whose strings lose a NUL at the end
        column = len(tensor.shape) == 2 and tensor.shape[1] == 1
        return tf.constant([[sample] for sample in samples] if column else samples, dtype=tf.string)
    return tf.constant(np.array(samples, dtype=tensor.dtype))


def _same_ids(text: Text, reader: Reader, samples: Sequence[Any]) -> None:
    with without_noise():
        expected = np.asarray(reader.layer(_tensor(text, reader.source, samples)))
    got = padded([reader.encoder.ids(sample) for sample in samples])
    if expected.shape != got.shape:
        raise VerificationError(
            f'layer "{reader.layer.name}" gives ids of shape {list(expected.shape)}, the runtime {list(got.shape)}; '
            "nothing was written"
        )
    for sample, a, b in zip(samples, expected, got, strict=True):
        if not np.array_equal(a, b):
            raise VerificationError(
                f'layer "{reader.layer.name}" makes {sample!a} the ids {shorten(a.tolist())}, the runtime '
                f"{shorten(b.tolist())}; nothing was written"
            )


def _keras(text: Text, given: Sequence[Any]) -> list[np.ndarray]:
    """The original model's outputs, flat."""
    import keras

    try:
        with without_noise():
            result = text.original(pack_inputs(text.original, given), training=False)
    except Exception as error:
        raise ExportError(f"Keras cannot run the model on texts: {first_line(error)}") from error
    return [np.asarray(keras.ops.convert_to_numpy(tensor)) for tensor in keras.tree.flatten(result)]


def _same_words(labels: Sequence[str], words: np.ndarray, answers: Sequence[np.ndarray], atol: float) -> None:
    """The words that Keras looked up are those of the largest scores; a tie within ``atol`` may fall either way."""
    for scores in answers:
        for word, row in zip(words.reshape(-1), scores, strict=True):
            label = word.decode() if isinstance(word, bytes) else str(word)
            if label not in labels or row[labels.index(label)] < row.max() - atol:
                raise VerificationError(
                    f"Keras answers {label!r}, the exported file {labels[int(row.argmax())]!r}; nothing was written"
                )


def _same_answers(data: bytes, text: Text, samples: Mapping[int, Sequence[Any]], found: Differences) -> None:
    """``edgeinfer.pipeline`` on whole texts, where the file names a task and reads them as the layer alone says."""
    model = edgeinfer.load(data, backend="native", limits=RAISED)
    spec = model.spec
    if spec is None or spec.task is None or len(text.readers) != 1 or text.labels is not None:
        return
    encoder = text.readers[0].encoder
    if spec.window is not None and getattr(encoder, "length", None) is None:
        return  # a window that was asked for: it looks at the last tokens alone
    app = edgeinfer.pipeline(model)
    assert not isinstance(app, Forecaster)
    source = text.readers[0].source
    for sample in [sample for sample in samples[source] if encoder.tokens(sample)][-_APP:]:
        value = _keras(text, [_tensor(text, source, [sample])])[0].reshape(-1)
        scores = app.tokens.scores(encoder.encode(sample).ids)
        found.add(value[value.size - scores.size :], scores, scores)
        found.cases += 1
