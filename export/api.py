"""Export from Python: the same code as ``python -m export``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeinfer.snapshot import write_atomically
from edgeinfer.spec import Spec

from .build import Built, build, hidden_sizes
from .differences import Differences
from .errors import ExportError
from .finish import node_counts
from .form import Converted, Form, convert_in_form
from .load import check_file, load_keras
from .metadata import choose_mode, read_recipe
from .quiet import import_keras
from .rebuild import fixed_length, is_stateful
from .signature import give, stateless
from .supported import check_kind, check_model
from .text import from_ids
from .text_verify import verify_text

DEFAULT_OPSET = 17
DEFAULT_ATOL = 1e-5
# From the first opset whose Squeeze, Unsqueeze and ReduceSum take axes as an input to the last of tf2onnx.
OPSETS = range(13, 19)

Mode = Literal["stream", "window"]


@dataclass(frozen=True)
class Exported:
    """What was written.

    ``stops`` says why the file is in sequence form, or is None; ``nodes`` counts the graph's operators;
    ``differences`` is None where verification was left out; ``text_layers`` names, by input, the text layer that
    became its preprocessing.
    """

    path: Path
    form: Form
    spec: Spec
    stops: str | None
    nodes: Mapping[str, int]
    bytes: int
    differences: Differences | None
    text_layers: Mapping[str, str] = field(default_factory=dict)


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
    _check_arguments(form, mode, window, opset)
    source = Path(model) if isinstance(model, (str, os.PathLike)) else None
    target = Path(path)
    check_target(target, source)
    recipe = read_recipe(spec if spec is None or isinstance(spec, Mapping) else Path(spec), source)
    if source is not None:
        check_file(source)
    say("importing TensorFlow and Keras")
    import_keras()
    if source is not None:
        say(f"reading {source}")
        model = load_keras(source, custom_objects)
    check_kind(model)
    stateful = is_stateful(model)
    with stateless(model), from_ids(model) as text:
        given = give(text.model, input_signature)
        check_model(given.model)
        for reader in text.readers:
            say(f"{reader.about}, becomes preprocessing")
        converted = convert_in_form(given, form, opset, say)
        if form is None and converted.form == "sequence" and stateful:
            raise ExportError(
                f"stateful=True carries state between calls, but the model cannot stream: {converted.streaming.stops}; "
                "form sequence exports it starting from zero at each call",
                argument="stateful",
            )
        recipe = text.describe(recipe, converted.input_names, mode, window)
        chosen_mode, chosen_window = choose_mode(
            mode,
            window,
            recipe,
            length=fixed_length(given.model, converted.streaming),
            fixed=converted.fixed_length,
            stateful=stateful,
            stops=converted.streaming.stops,
            streams=converted.form == "stream",
        )
        name = recipe.name or (source.stem if source else str(model.name))
        chosen = recipe._replace(name=name, mode=chosen_mode, window=chosen_window)  # type: ignore[arg-type]
        built = build(converted, chosen, opset, atol if verify else None, say)
        if built.differences is not None:
            hidden = hidden_sizes(converted.proto, converted.states)
            verify_text(built.data, text, converted.inputs, converted.output_names, hidden, built.differences, atol)
    write_atomically(target, built.data)
    layers = {converted.input_names[reader.place]: reader.layer.name for reader in text.readers}
    return exported(target, converted, built, layers)


def exported(
    target: Path, converted: Converted, built: Built, text_layers: Mapping[str, str] | None = None
) -> Exported:
    """What is said of a file that was written."""
    stops = converted.streaming.stops if converted.form == "sequence" else None
    counts = node_counts(converted.proto)
    size = len(built.data)
    return Exported(target, converted.form, built.spec, stops, counts, size, built.differences, text_layers or {})


def _check_arguments(form: str | None, mode: str | None, window: int | None, opset: int) -> None:
    if form not in (None, "stream", "sequence"):
        raise ExportError(f"form: expected stream or sequence, got {form!r}", argument="form")
    if mode not in (None, "stream", "window"):
        raise ExportError(f"mode: expected stream or window, got {mode!r}", argument="mode")
    if window is not None and (mode == "stream" or window < 1):
        raise ExportError(f"window: expected a length of at least 1, with mode window, got {window}", argument="window")
    if opset not in OPSETS:
        raise ExportError(f"opset: expected {OPSETS[0]} to {OPSETS[-1]}, got {opset}", argument="opset")


def check_target(target: Path, source: Path | None) -> None:
    """Raise ExportError where a file cannot be written to ``target``."""
    if not target.parent.is_dir():
        raise ExportError(f"{target}: no such folder: {target.parent}")
    if target.is_dir():
        raise ExportError(f"{target}: expected the path of a file to write, got a folder")
    if source is not None and source.exists() and target.exists() and target.samefile(source):
        raise ExportError(f"{target}: the model itself; give the ONNX file another name")
