"""From the data a user has to the answer a user wants: the task that a model file names, run end to end."""

from __future__ import annotations

import os
from typing import TypeAlias

from ..errors import PipelineError
from ..model import BackendName, Model, load
from ..spec import TASKS
from .classifier import Classification, Classifier, ClassifierStream
from .forecaster import Forecast, Forecaster, ForecastStream
from .generator import Generator, GeneratorStream, NextToken

__all__ = [
    "Classification",
    "Classifier",
    "ClassifierStream",
    "Forecast",
    "ForecastStream",
    "Forecaster",
    "Generator",
    "GeneratorStream",
    "NextToken",
    "Pipeline",
    "pipeline",
]

Pipeline: TypeAlias = Forecaster | Classifier | Generator


def pipeline(model: Model | str | os.PathLike[str] | bytes, backend: BackendName = "auto") -> Pipeline:
    """The Forecaster, Classifier or Generator that a model file describes.

    ``model``: a path, the bytes of a file, or a loaded Model, whose own backend then stays. Raises what
    ``edgeinfer.load`` raises, and PipelineError where the file names no task or describes it wrongly.
    """
    loaded = model if isinstance(model, Model) else load(model, backend=backend)
    task = None if loaded.spec is None else loaded.spec.task
    if task == "forecast":
        return Forecaster(loaded)
    if task == "classify":
        return Classifier(loaded)
    if task == "next_token":
        return Generator(loaded)
    raise PipelineError(
        f"{loaded.path or 'the model'}: expected metadata that names a task ({', '.join(TASKS)}), "
        "found none; edgeinfer.load() runs it on plain arrays",
        stage="task",
        field="task",
    )
