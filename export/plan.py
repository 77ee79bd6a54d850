"""What an export does before anything is verified or written: the same for export and for inspect."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from edgeinfer.spec import Spec, Window

from .errors import ExportError
from .form import Converted, Form, convert_in_form
from .load import check_file, load_keras
from .metadata import choose_mode, read_recipe
from .precision import as_float32
from .quiet import import_keras
from .rebuild import fixed_length, is_stateful
from .signature import Given, give, stateless
from .supported import check_kind, check_model
from .text import Text, from_ids

Mode = Literal["stream", "window"]

DEFAULT_OPSET = 17
# The first whose Squeeze, Unsqueeze and ReduceSum take axes as an input.
OLDEST_OPSET = 13


class Wanted(NamedTuple):
    """What was asked for; None where the model decides."""

    form: Form | None = None
    mode: Mode | None = None
    window: int | None = None
    opset: int = DEFAULT_OPSET
    input_signature: Any = None


@dataclass(frozen=True)
class Plan:
    """The converted model, what the metadata says of it, how streams run it, and the text layers taken out of it."""

    given: Given
    converted: Converted
    recipe: Spec
    mode: str | None
    window: Window | None
    text: Text


def read(
    model: Any,
    wanted: Wanted,
    spec: Mapping[str, Any] | str | os.PathLike[str] | None,
    custom_objects: Mapping[str, Any] | None,
    say: Callable[[str], None],
    target: Path | None = None,
) -> tuple[Any, Spec, Path | None]:
    """The live model, its recipe's part of the metadata, and the file that it comes from, if it does.

    Whatever can be wrong without TensorFlow is looked at before it is imported. Raises ExportError.
    """
    _check(wanted)
    source = Path(model) if isinstance(model, (str, os.PathLike)) else None
    if target is not None:
        check_target(target, source)
    recipe = read_recipe(spec if spec is None or isinstance(spec, Mapping) else Path(spec), source)
    return opened(source or model, wanted.opset, custom_objects, say), recipe, source


def opened(model: Any, opset: int, custom_objects: Mapping[str, Any] | None, say: Callable[[str], None]) -> Any:
    """The live model: itself, or read from its path once TensorFlow is there. Raises ExportError."""
    source = model if isinstance(model, Path) else None
    if source is not None:
        check_file(source)
    say("importing TensorFlow and Keras")
    import_keras()
    check_newest_opset(opset)
    if source is not None:
        say(f"reading {source}")
        model = load_keras(source, custom_objects)
    check_kind(model)
    return model


@contextmanager
def planned(model: Any, wanted: Wanted, recipe: Spec, say: Callable[[str], None]) -> Iterator[Plan]:
    """The plan for a live model, which inside the block runs without state of its own.

    Raises ExportError for what cannot be exported as asked; where several layers cannot, ``others`` has the rest.
    """
    stateful = is_stateful(model)
    with as_float32(model), stateless(model):
        text = from_ids(model)
        given = give(text.model, wanted.input_signature)
        check_model(given.model)
        for reader in text.readers:
            say(f"{reader.about}, becomes preprocessing")
        converted = convert_in_form(given, wanted.form, wanted.opset, say)
        stops = converted.streaming.stops
        if wanted.form is None and converted.form == "sequence" and stateful:
            raise ExportError(
                f"stateful=True carries state between calls, but the model cannot stream: {stops}; "
                "form sequence exports it starting from zero at each call",
                argument="stateful",
            )
        recipe = text.describe(recipe, converted.input_names, wanted.mode, wanted.window)
        mode, window = choose_mode(
            wanted.mode,
            wanted.window,
            recipe,
            length=fixed_length(given.model, converted.streaming),
            fixed=converted.fixed_length,
            stateful=stateful,
            stops=stops,
            streams=converted.form == "stream",
        )
        yield Plan(given, converted, recipe, mode, window, text)


def check_target(target: Path, source: Path | None) -> None:
    """Raise ExportError where a file cannot be written to ``target``."""
    if not target.parent.is_dir():
        raise ExportError(f"{target}: no such folder: {target.parent}")
    if target.is_dir():
        raise ExportError(f"{target}: expected the path of a file to write, got a folder")
    if source is not None and source.exists() and target.exists() and target.samefile(source):
        raise ExportError(f"{target}: the model itself; give the ONNX file another name")


def _check(wanted: Wanted) -> None:
    form, mode, window, opset = wanted[:4]
    if form not in (None, "stream", "sequence"):
        raise ExportError(f"form: expected stream or sequence, got {form!r}", argument="form")
    if mode not in (None, "stream", "window"):
        raise ExportError(f"mode: expected stream or window, got {mode!r}", argument="mode")
    if window is not None and (mode == "stream" or window < 1):
        raise ExportError(f"window: expected a length of at least 1, with mode window, got {window}", argument="window")
    check_opset(opset)


def check_opset(opset: int) -> None:
    """Raise ExportError for an opset that is too old. Needs no TensorFlow."""
    if opset < OLDEST_OPSET:
        raise ExportError(f"opset: expected at least {OLDEST_OPSET}, got {opset}", argument="opset")


def check_newest_opset(opset: int) -> None:
    """Raise ExportError for an opset that the installed tf2onnx does not know."""
    import tf2onnx

    newest = max(tf2onnx.constants.OPSET_TO_IR_VERSION)
    if opset > newest:
        raise ExportError(
            f"opset: expected {OLDEST_OPSET} to {newest}, the newest of tf2onnx {tf2onnx.__version__}, got {opset}",
            argument="opset",
        )
