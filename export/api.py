"""Export from Python: the same code as ``python -m export``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeinfer.snapshot import write_atomically
from edgeinfer.spec import Spec

from .build import Built, build
from .differences import Differences
from .finish import node_counts
from .form import Converted, Form
from .limits import needed
from .plan import DEFAULT_OPSET, Mode, Wanted, planned, read
from .text_verify import verify_text

DEFAULT_ATOL = 1e-5


@dataclass(frozen=True)
class Exported:
    """What was written.

    ``stops`` says why the file is in sequence form, or is None; ``nodes`` counts the graph's operators;
    ``differences`` is None where verification was left out; ``text_layers`` names, by input, the text layer that
    became its preprocessing; ``limits`` are those of edgeinfer.Limits that loading the file needs raised.
    """

    path: Path
    form: Form
    spec: Spec
    stops: str | None
    nodes: Mapping[str, int]
    bytes: int
    differences: Differences | None
    text_layers: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)


def to_onnx(
    model: Any,
    path: str | os.PathLike[str],
    *,
    form: Form | None = None,
    mode: Mode | None = None,
    window: int | None = None,
    opset: int = DEFAULT_OPSET,
    verify: bool = True,
    atol: float = DEFAULT_ATOL,
    spec: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    input_signature: Any = None,
    custom_objects: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Exported:
    """Write a Keras model as one ONNX file whose recurrent layers are one LSTM, GRU or RNN node each.

    ``model`` is a live Keras model or the path of a .keras or .h5 file, read in Keras' safe mode, where
    ``custom_objects`` are the classes and functions of its own, by name. A subclassed model is exported with the
    shapes that it was built with, or with ``input_signature``: the arguments of ``call``, each a keras.InputSpec, a
    tf.TensorSpec or an array, where None is a free dimension. ``form="stream"`` has every state as a graph
    input and output, ``"sequence"`` starts each call from zero; by default a model streams where it can.
    ``mode`` and ``window`` go into the metadata; by default they come from ``spec`` (a recipe's .json or its
    content; for a path, NAME.json beside it), else from the model. ``progress`` is called with a line before
    each part of the work.

    Raises ExportError naming layer and argument where the model cannot be exported exactly, and
    VerificationError where Keras, ONNX Runtime and edgeinfer's native backend differ by more than ``atol``
    relative to max(1, |y|); in both cases nothing is written.
    """
    say = progress or (lambda line: None)
    wanted = Wanted(form, mode, window, opset, input_signature)
    target = Path(path)
    model, recipe, source = read(model, wanted, spec, custom_objects, say, target)
    with planned(model, wanted, recipe, say) as plan:
        converted, text = plan.converted, plan.text
        name = plan.recipe.name or (source.stem if source else str(model.name))
        chosen = plan.recipe._replace(name=name, mode=plan.mode, window=plan.window)  # type: ignore[arg-type]
        built = build(converted, chosen, opset, atol if verify else None, say)
        if built.differences is not None:
            hidden = converted.hidden_sizes()
            verify_text(built.data, text, converted.inputs, converted.output_names, hidden, built.differences, atol)
    write_atomically(target, built.data)
    layers = {converted.input_names[reader.place]: reader.layer.name for reader in text.readers}
    return exported(target, converted, built, layers)


def exported(
    target: Path, converted: Converted, built: Built, text_layers: Mapping[str, str] | None = None
) -> Exported:
    """What is said of a file that was written."""
    counts = node_counts(converted.proto)
    return Exported(
        target,
        converted.form,
        built.spec,
        converted.stops,
        counts,
        len(built.data),
        built.differences,
        text_layers or {},
        needed(built.data),
    )
