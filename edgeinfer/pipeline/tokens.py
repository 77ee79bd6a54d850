"""A model over tokens: text in, the scores of its last output out, for whole texts and for streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .. import snapshot
from ..backends import Turns
from ..errors import PipelineError, StreamError, shorten
from ..model import Model
from ..spec import holds
from .fields import BUSY, check_width, only_input, only_output, preprocessing, spec_of, wrong
from .text import Encoded, TextEncoder, Words
from .window import pad_tokens

if TYPE_CHECKING:
    from .integers import IntegerEncoder

    Encoder: TypeAlias = TextEncoder | IntegerEncoder

_INT32 = np.dtype(np.int32)
# Probabilities of float32 models sum to 1 within rounding; logits do not.
SUM_TOLERANCE = 1e-3


def encoders(model: Model) -> dict[str, Encoder]:
    """What turns text, or integers, into the token ids of each input that reads them, by the input's name.

    For a model whose file names no task: ``model(encoder.ids(text)[None])``. Empty where no input reads tokens.
    Raises PipelineError where the metadata describes one wrongly.
    """
    described = {} if model.spec is None else model.spec.preprocessing
    several = described.get("inputs")
    if several is None:
        if "text" not in described and "integers" not in described:
            return {}
        return {only_input(model, "text").name: _encoder(described)}
    names = [value.name for value in model.inputs]
    if not isinstance(several, Mapping) or not all(isinstance(one, Mapping) for one in several.values()):
        raise wrong("text", "inputs", "an object of objects by the name of the input", several)
    for name in several:
        if name not in names:
            raise wrong("text", "inputs", "names of inputs: " + ", ".join(names), name)
    return {name: _encoder(one) for name, one in several.items()}


def _encoder(described: Mapping[str, Any]) -> Encoder:
    if "integers" in described:
        if "text" in described:
            raise wrong("text", "preprocessing", "text or integers", list(described))
        from .integers import IntegerEncoder  # most models read text

        return IntegerEncoder.from_dict(described["integers"])
    return TextEncoder.from_dict(described.get("text"))


class TokenModel:
    """Runs a model on the tokens of a text."""

    def __init__(self, model: Model, stage: str, scores: int, of_what: str) -> None:
        """``scores``: how many the model must answer; ``of_what`` names them in messages."""
        self.model = model
        self.stage = stage
        self._dtype = only_input(model, stage).dtype
        described = spec_of(model).preprocessing
        if "integers" not in described:
            preprocessing(model, "text")
        self.encoder = _encoder(described)
        self._length = self.encoder.length if isinstance(self.encoder, TextEncoder) else None
        self._scores = scores
        self._of_what = of_what
        check_width(only_output(model, stage), stage, scores, of_what)
        spec = spec_of(model)
        self._window = spec.window if spec.mode == "window" else None
        if self._window is not None and self._window.start == "pad" and not holds(_INT32, self._window.pad_value):
            raise wrong(stage, "window.pad_value", "a token, int32", self._window.pad_value)
        self._carries = spec.mode == "stream"

    def encode(self, text: Words) -> Encoded:
        """The tokens of a text. Raises PipelineError where there are none."""
        encoded = self.encoder.encode(text)
        if not encoded.tokens:
            raise PipelineError(
                f"{self.stage}: text: expected at least one word, got {shorten(text)}",
                stage=self.stage,
                field="text",
            )
        return encoded

    def scores(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """What the model answers after the last of at least one token: float32 [scores]."""
        if self._length is not None:
            ids = pad_tokens(ids[: self._length], self._length, side="right")
        if self._carries:
            with self.model.stream(scalar=False) as stream:
                return self.check(stream.run(ids.astype(self._dtype))[-1])
        window = self._window
        if window is not None:
            if window.start == "pad":
                ids = pad_tokens(ids, window.length, int(window.pad_value), window.pad_side)
            elif window.start == "wait" and ids.size < window.length:
                raise PipelineError(
                    f"{self.stage}: text: expected at least {window.length} words, got {ids.size}",
                    stage=self.stage,
                    field="text",
                )
            ids = ids[-window.length :]
        return self.check(self.model(ids.astype(self._dtype)[None, :]))

    def check(self, output: Any) -> npt.NDArray[np.float32]:
        """The last row of an output, float32 [scores]. Raises PipelineError where it is no probabilities."""
        flat = np.asarray(output, dtype=np.float32).reshape(-1)
        if flat.size == 0 or flat.size % self._scores:
            raise wrong(self.stage, "output", f"{self._scores} values, one per {self._of_what}", flat.size)
        row = flat[flat.size - self._scores :]
        sums = self._scores == 1 or abs(float(row.sum(dtype=np.float64)) - 1.0) <= SUM_TOLERANCE
        if not (sums and np.all((row >= 0.0) & (row <= 1.0 + SUM_TOLERANCE))):
            raise PipelineError(
                f"{self.stage}: output: expected probabilities, got {row.min():g} to {row.max():g}",
                stage=self.stage,
                field="output",
            )
        return np.array(row)


class TokenStream:
    """Text after text through one model state."""

    def __init__(self, tokens: TokenModel) -> None:
        encoder = tokens.encoder
        if isinstance(encoder, TextEncoder) and encoder.ngrams:
            raise PipelineError(
                f"{tokens.stage}: the model reads runs of words (ngrams {list(encoder.ngrams)}), and those of a text "
                "are not those of its pieces; give it the whole text",
                stage=tokens.stage,
                field="ngrams",
            )
        self._tokens = tokens
        self._turns = Turns(BUSY)
        # The next state is made in the spare stream, and the two change places together with what belongs to them.
        self._stream = tokens.model.stream(scalar=False)
        self._spare = self._stream.fork()
        self._latest: npt.NDArray[np.float32] | None = None

    def _advance(self, text: Words) -> tuple[npt.NDArray[np.float32] | None, tuple[str, ...]]:
        """The scores after the tokens of ``text`` (None while a window waits), and its unknown words.

        A text without words changes nothing and repeats the scores.
        """
        with self._turns():
            encoded = self._tokens.encoder.encode(text)
            latest, stream = self._latest, self._spare
            stream._take_over(self._stream)
            window = self._tokens._window
            ids = encoded.ids if window is None else encoded.ids[-window.length :]  # all that is left after the last
            for token in ids.astype(self._tokens._dtype):
                output = stream.step(token.item())
                latest = None if output is None else self._tokens.check(output)
            self._stream, self._spare, self._latest = stream, self._stream, latest
            return latest, encoded.unknown

    def snapshot(self) -> bytes:
        """All that the next step depends on."""
        with self._turns():
            arrays: dict[str, np.ndarray] = {"model": np.frombuffer(self._stream.snapshot(), dtype=np.uint8)}
            if self._latest is not None:
                arrays["latest"] = self._latest
            return snapshot.encode(self._tokens.stage, self._tokens.model.sha256, arrays)

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot. Raises StreamError, nothing changed, where it is another's or damaged."""
        arrays = snapshot.decode(data, self._tokens.stage, self._tokens.model.sha256)
        if "model" not in arrays:
            raise StreamError("the snapshot is corrupt: it holds no model state")
        try:
            latest = self._tokens.check(arrays["latest"]) if "latest" in arrays else None
        except PipelineError as error:
            raise StreamError(f"the snapshot is corrupt: {error}") from None
        with self._turns():
            stream = self._spare
            stream.restore(arrays["model"].tobytes())
            self._stream, self._spare, self._latest = stream, self._stream, latest

    def reset(self) -> None:
        """Forget every text."""
        with self._turns():
            stream = self._spare
            stream.reset()
            self._stream, self._spare, self._latest = stream, self._stream, None

    def close(self) -> None:
        """Release the state; a closed stream raises StreamError."""
        with self._turns():
            self._stream.close()
            self._spare.close()
