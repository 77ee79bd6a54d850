"""What edgeinfer raises.

    EdgeInferError
     ├ ModelLoadError
     │  ├ ModelFormatError            the bytes are not a well-formed ONNX model
     │  ├ ModelLimitError             well-formed, but beyond a limit
     │  └ UnsupportedOperatorError    valid ONNX that this backend does not implement
     ├ InputError (also ValueError)   what was fed does not fit the model
     ├ StreamError                    a stream that cannot do what was asked now
     └ PipelineError                  pre- or postprocessing refused the data or the metadata

Every message says what was expected, what came, and where; the fields carry the same for programs.
"""

from __future__ import annotations

__all__ = [
    "EdgeInferError",
    "InputError",
    "ModelFormatError",
    "ModelLimitError",
    "ModelLoadError",
    "PipelineError",
    "StreamError",
    "UnsupportedOperatorError",
]


def shorten(value: object, width: int = 60) -> str:
    """A value as messages quote it: its repr, cut to ``width`` characters."""
    shown = repr(value)
    return shown if len(shown) <= width else shown[: width - 3] + "..."


class EdgeInferError(Exception):
    """Base of everything that edgeinfer raises on purpose."""


class ModelLoadError(EdgeInferError):
    """The model cannot be loaded."""


class ModelFormatError(ModelLoadError):
    """The file is not a well-formed ONNX model.

    ``path`` names the file or is None for bytes; ``offset`` is the byte position where reading failed, if known.
    """

    def __init__(self, message: str, *, path: str | None = None, offset: int | None = None) -> None:
        where = "" if offset is None else f" at byte {offset}"
        source = "" if path is None else f"{path}: "
        super().__init__(f"{source}{message}{where}")
        self.message = message
        self.path = path
        self.offset = offset

    def in_file(self, path: str) -> ModelFormatError:
        """The same error, naming the file it was found in."""
        return ModelFormatError(self.message, path=path, offset=self.offset)


class ModelLimitError(ModelLoadError):
    """The model is well-formed but larger or deeper than a limit allows.

    ``limit`` is that limit's name, ``raised`` a value with which the model may pass it.
    """

    def __init__(self, message: str, *, limit: str | None = None, raised: int | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.raised = raised


class UnsupportedOperatorError(ModelLoadError):
    """A node uses an operator, attribute, input or opset that the backend does not implement."""

    def __init__(self, message: str, *, op_type: str, node: str, attribute: str | None = None) -> None:
        super().__init__(message)
        self.op_type = op_type
        self.node = node
        self.attribute = attribute


class InputError(EdgeInferError, ValueError):
    """An input does not fit the model; nothing was computed and no state has changed."""

    def __init__(self, message: str, *, name: str | None = None, expected: object = None, got: object = None) -> None:
        super().__init__(message)
        self.name = name
        self.expected = expected
        self.got = got


class StreamError(EdgeInferError):
    """A stream is closed or busy, the model cannot stream, or a snapshot does not belong to it."""


class PipelineError(EdgeInferError):
    """Pre- or postprocessing refused the data or the metadata.

    ``stage`` is the step that refused (``"text"``, ``"series"``, ``"forecast"`` …), ``field`` what it refused.
    """

    def __init__(self, message: str, *, stage: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.stage = stage
        self.field = field
