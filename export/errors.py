"""What export raises.

EdgeInferError
 └ ExportError                   the model cannot be exported as asked: where, and the way out
    ├ VerificationError          the file was made, but its answers are not Keras' answers
    └ DriftError                 small weights move the answers by more than was allowed
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeinfer.errors import EdgeInferError

from .differences import Differences
from .drift import Drift

__all__ = ["DriftError", "ExportError", "VerificationError", "all_in_one"]


class ExportError(EdgeInferError):
    """A model, layer or argument that export does not take.

    ``layer`` and ``argument`` name what was refused, or are None where the whole model was. ``others`` are the
    refusals that were met besides.
    """

    others: tuple[ExportError, ...] = ()

    def __init__(self, message: str, *, layer: str | None = None, argument: str | None = None) -> None:
        super().__init__(message if layer is None else f'layer "{layer}": {message}')
        self.layer = layer
        self.argument = argument


def all_in_one(errors: Sequence[ExportError]) -> ExportError:
    """The first of several refusals, which knows the others."""
    first = errors[0]
    first.others = tuple(errors[1:])
    return first


class VerificationError(ExportError):
    """The exported graph does not give what Keras gives; no file was written.

    ``differences`` holds what was measured, or None where a backend could not answer at all.
    """

    def __init__(self, message: str, differences: Differences | None = None) -> None:
        super().__init__(message)
        self.differences = differences


class DriftError(ExportError):
    """Small weights move the answers by more than was allowed; no file was written. ``drift`` is what was measured."""

    def __init__(self, message: str, drift: Drift) -> None:
        super().__init__(message)
        self.drift = drift
