"""Does the file answer what Keras answers? Keras, ONNX Runtime and edgeinfer native on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgeinfer.errors import EdgeInferError
from edgeinfer.spec import StatePair

from .differences import Differences
from .errors import ExportError, VerificationError
from .goldens import Reference
from .limits import RAISED
from .samples import PATTERNS, Feeds, Input, has_masks, has_tokens, lengths, masked_feeds, padded_feeds, random_feeds

_SEED = 21
_BATCHES = (1, 3)
# One row of each pattern of masked steps, and one without.
_ROWS = ["none", *PATTERNS]
_CHUNKS = (3, 1, 1, 2)

Runner = Callable[[Mapping[str, np.ndarray]], Feeds]


def verify(
    model: bytes,
    reference: Reference,
    inputs: Sequence[Input],
    timed_outputs: Sequence[bool],
    states: Sequence[StatePair],
    hidden: Mapping[str, int],
    window: int | None,
    atol: float,
) -> Differences:
    """Compare the three on random inputs of several sizes, with masked steps in every pattern
    where the model masks, and on chunks with the state carried over.

    ``hidden`` gives the width of each state input. Raises VerificationError where a backend cannot run the
    file or a difference is above ``atol``.
    """
    runners = (onnxruntime_runner(model), native_runner(model))
    found = Differences()
    generator = np.random.default_rng(_SEED)
    for length in sorted({1, *lengths(inputs, window)} if _has_free_axis(inputs) else lengths(inputs, window)):
        for batch in _BATCHES:
            feeds = random_feeds(inputs, batch, length, generator)
            variants = [feeds]
            if has_tokens(inputs) and not has_masks(inputs):
                variants += [padded_feeds(feeds, inputs, all_padding) for all_padding in (False, True)]
            for variant in variants:
                _same(found, runners, reference, variant, hidden)
        if has_masks(inputs):
            for rows in (_ROWS, ["all"]):
                feeds = random_feeds(inputs, len(rows), length, generator)
                feeds = masked_feeds(feeds, inputs, rows, seed=length)
                _same(found, runners, reference, feeds, hidden, masked=True)
    if states:
        _continuation(found, runners, reference, inputs, timed_outputs, states, hidden, generator)
    if found.largest > atol:
        raise VerificationError(
            f"the exported graph differs from Keras by {found.largest:.2e}, expected at most {atol:.0e}; "
            "nothing was written\n" + found.table(),
            found,
        )
    return found


def _same(
    found: Differences,
    runners: Sequence[Runner],
    reference: Reference,
    feeds: Feeds,
    hidden: Mapping[str, int],
    masked: bool = False,
) -> None:
    """One call from a zero state."""
    zeros = zero_states(hidden, len(next(iter(feeds.values()))))
    _compare(found, reference(feeds), [run({**feeds, **zeros}) for run in runners], masked)


def _continuation(
    found: Differences,
    runners: Sequence[Runner],
    reference: Reference,
    inputs: Sequence[Input],
    timed_outputs: Sequence[bool],
    states: Sequence[StatePair],
    hidden: Mapping[str, int],
    generator: np.random.Generator,
) -> None:
    """Chunks and single steps with the state carried over must give what Keras gives for the whole sequence."""
    batch = len(_ROWS)
    feeds = random_feeds(inputs, batch, sum(_CHUNKS), generator)
    if has_masks(inputs):
        feeds = masked_feeds(feeds, inputs, _ROWS, _SEED)
    expected = reference(feeds)
    answers = []
    for run in runners:
        carried = zero_states(hidden, batch)
        parts, start = [], 0
        for chunk in _CHUNKS:
            parts.append(run({**_between(feeds, inputs, start, start + chunk), **carried}))
            carried = {pair.input: parts[-1][pair.output] for pair in states}
            start += chunk
        joined = {
            name: np.concatenate([part[name] for part in parts], axis=1) if timed else parts[-1][name]
            for name, timed in zip(expected, timed_outputs, strict=True)
        }
        answers.append(joined)
    _compare(found, expected, answers, has_masks(inputs))


def _between(feeds: Feeds, inputs: Sequence[Input], start: int, stop: int) -> Feeds:
    """The feeds of some steps; what has no time axis is the same at every step."""
    return {item.name: feeds[item.name][:, start:stop] if item.timed else feeds[item.name] for item in inputs}


def _compare(found: Differences, expected: Feeds, answers: Sequence[Feeds], masked: bool = False) -> None:
    for name, value in expected.items():
        nan = np.isnan(value)
        if masked and nan.any() and all(np.array_equal(nan, np.isnan(answer[name])) for answer in answers):
            # A mean over nothing, where every step is masked: all three agree on it.
            value = np.where(nan, 0, value)
            answers = [{**answer, name: np.where(nan, 0, answer[name])} for answer in answers]
        if not np.isfinite(np.asarray(value, np.float64)).all():
            raise VerificationError(
                f'Keras itself answers NaN or infinity at output "{name}" to standard normal inputs, so nothing can be '
                "compared and nothing was written; scale the weights, or pass --no-verify"
            )
        found.add(value, answers[0][name], answers[1][name])
    found.cases += 1
    found.masked += masked


def _has_free_axis(inputs: Sequence[Input]) -> bool:
    return any(size is None for item in inputs for size in item.shape[1:])


def zero_states(hidden: Mapping[str, int], batch: int) -> Feeds:
    """What every state input is before the first step."""
    return {name: np.zeros((1, batch, units), np.float32) for name, units in hidden.items()}


class _OnnxRuntime:
    def __init__(self, model: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> Feeds:
        try:
            values = self._session.run(None, dict(feeds))
        except Exception as error:
            raise VerificationError(f"ONNX Runtime does not run the exported graph: {error}") from error
        return dict(zip(self._outputs, values, strict=True))


class _Native:
    def __init__(self, model: bytes) -> None:
        import edgeinfer

        self._model = edgeinfer.load(model, backend="native", limits=RAISED)
        if self._model.backend != "native":
            raise VerificationError(
                f"expected the native backend to answer, {self._model.backend} did; nothing was written"
            )
        states = self._model.spec.states if self._model.spec else ()
        self._outputs = [value.name for value in self._model.outputs] + [pair.output for pair in states]

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> Feeds:
        try:
            values = self._model.run(self._outputs, dict(feeds))
        except EdgeInferError as error:
            raise VerificationError(
                f"edgeinfer's native backend does not run the exported graph, so nothing was written: {error}"
            ) from error
        return dict(zip(self._outputs, values, strict=True))


def onnxruntime_runner(model: bytes) -> Runner:
    """ONNX Runtime on one CPU thread. Raises VerificationError where it is missing or refuses the file."""
    try:
        return _OnnxRuntime(model)
    except ImportError:
        raise VerificationError(
            "ONNX Runtime is not installed, so nothing could be compared and nothing was written; install it "
            "(pip install onnxruntime), or pass --no-verify"
        ) from None
    except Exception as error:
        raise VerificationError(f"ONNX Runtime does not load the exported graph: {error}") from error


def native_runner(model: bytes) -> Runner:
    """edgeinfer's native backend. Raises VerificationError where it was not built or refuses the file."""
    try:
        return _Native(model)
    except ExportError:
        raise
    except (EdgeInferError, ImportError) as error:
        raise VerificationError(
            f"edgeinfer's native backend does not run the exported graph, so nothing was written: {error}"
        ) from error
