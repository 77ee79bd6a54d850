"""What a recipe raises, beside the errors of edgeinfer."""

from __future__ import annotations

from edgeinfer.errors import EdgeInferError


class DataError(EdgeInferError):
    """A data set cannot be fetched or read, or is not what the recipe expects."""


class TrainingError(EdgeInferError):
    """Training ended without a model worth keeping; nothing was saved."""
