"""From the data a user has to the answer a user wants: the task that a model file names, run end to end."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import PipelineError
from ..model import BackendName, Model, load
from ..spec import TASKS

if TYPE_CHECKING:
    from .classifier import Classification, Classifier, ClassifierStream
    from .forecaster import Forecast, Forecaster, ForecastStream
    from .generator import Generator, GeneratorStream, NextToken
    from .integers import IntegerEncoder
    from .text import TextEncoder
    from .tokens import encoders

    Pipeline: TypeAlias = Forecaster | Classifier | Generator

__all__ = [
    "Classification",
    "Classifier",
    "ClassifierStream",
    "Forecast",
    "ForecastStream",
    "Forecaster",
    "Generator",
    "GeneratorStream",
    "IntegerEncoder",
    "NextToken",
    "Pipeline",
    "TextEncoder",
    "encoders",
    "pipeline",
]

# Where the names above are. A stage is imported when it is first asked for: a program on plain arrays needs none.
_HOMES = {
    "Classification": "classifier",
    "Classifier": "classifier",
    "ClassifierStream": "classifier",
    "Forecast": "forecaster",
    "ForecastStream": "forecaster",
    "Forecaster": "forecaster",
    "Generator": "generator",
    "GeneratorStream": "generator",
    "IntegerEncoder": "integers",
    "NextToken": "generator",
    "TextEncoder": "text",
    "encoders": "tokens",
}

if not TYPE_CHECKING:  # to a type checker it would make every name exist

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
        elif name == "Pipeline":
            value = __getattr__("Forecaster") | __getattr__("Classifier") | __getattr__("Generator")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def pipeline(model: Model | str | os.PathLike[str] | bytes, backend: BackendName = "auto") -> Pipeline:
    """The Forecaster, Classifier or Generator that a model file describes.

    ``model``: a path, the bytes of a file, or a loaded Model, whose own backend then stays. Raises what
    ``edgeinfer.load`` raises, and PipelineError where the file names no task or describes it wrongly.
    """
    loaded = model if isinstance(model, Model) else load(model, backend=backend)
    task = None if loaded.spec is None else loaded.spec.task
    if task == "forecast":
        from .forecaster import Forecaster

        return Forecaster(loaded)
    if task == "classify":
        from .classifier import Classifier

        return Classifier(loaded)
    if task == "next_token":
        from .generator import Generator

        return Generator(loaded)
    raise PipelineError(
        f"{loaded.path or 'the model'}: expected metadata that names a task ({', '.join(TASKS)}), "
        "found none; edgeinfer.load() runs it on plain arrays",
        stage="task",
        field="task",
    )
