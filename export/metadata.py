"""What the file says about itself: the recipe's .json, the mode, and the versions that made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import edgeinfer
from edgeinfer.errors import ModelFormatError
from edgeinfer.spec import SCHEMA_VERSION, Spec, Window

from .errors import ExportError

_SPEC_KEYS = ("name", "task", "mode", "window", "preprocessing", "postprocessing")
_PROVENANCE_KEYS = ("recipe", "data", "scores", "seed", "quick")


def read_recipe(source: Mapping[str, Any] | str | Path | None, model_path: Path | None) -> Spec:
    """The recipe's part of the spec; an empty one where there is no recipe.

    ``source`` is a mapping, a path, or None: then NAME.json beside NAME.keras where it exists. Raises
    ExportError naming file and key.
    """
    if isinstance(source, Mapping):
        return _recipe_spec(source, "spec")
    path = None
    if source is not None:
        path = Path(source)
    elif model_path is not None and model_path.with_suffix(".json").exists():
        path = model_path.with_suffix(".json")
    if path is None:
        return Spec()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"{path}: expected the JSON that a recipe writes beside its model: {error}") from None
    if not isinstance(data, dict):
        raise ExportError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return _recipe_spec(data, str(path))


def _recipe_spec(data: Mapping[str, Any], where: str) -> Spec:
    provenance = {key: data[key] for key in _PROVENANCE_KEYS if key in data}
    if "name" in data:
        provenance.setdefault("recipe", data["name"])
    if "versions" in data:
        provenance["versions"] = data["versions"]
    chosen = {key: data[key] for key in _SPEC_KEYS if data.get(key) is not None}
    try:
        return Spec.from_dict({"schema_version": SCHEMA_VERSION, **chosen, "provenance": provenance})
    except ModelFormatError as error:
        raise ExportError(f"{where}: {error}") from None


def choose_mode(
    asked_mode: str | None,
    asked_window: int | None,
    recipe: Spec,
    *,
    length: int | None,
    fixed: bool,
    stateful: bool,
    stops: str | None,
    streams: bool,
) -> tuple[str | None, Window | None]:
    """The file's mode and window: as asked, else as the recipe says, else from the model.

    ``length`` is the fixed length of the model as it was given, ``fixed`` whether the file takes that one only,
    ``stops`` why the model cannot stream, ``streams`` whether the file will have state inputs. Raises ExportError
    where the choice is not possible.
    """
    mode = asked_mode or ("window" if asked_window is not None else None) or recipe.mode
    if mode is None:
        if length is not None and not (stateful and streams):
            mode = "window"
        elif streams:
            mode = "stream"
    if mode == "stream" and not streams:
        reason = stops or "in sequence form the file has no state to carry; use form stream"
        raise ExportError(f"mode stream is not possible: {reason}")
    if mode != "window":
        return mode, None
    window = recipe.window
    size = asked_window if asked_window is not None else window.length if window else length
    if size is None:
        raise ExportError("mode window needs the window's length (--window N): the model's input has none")
    if fixed and length is not None and size != length:
        since = f", since {stops}" if stops is not None else ""
        raise ExportError(f"window {size} is not possible: the model takes exactly {length} steps{since}")
    if window is None:
        return mode, Window(size)
    return mode, Window(size, window.start, window.pad_value, window.pad_side)


def versions() -> dict[str, str]:
    """The versions of what makes the file."""
    import keras
    import onnx
    import tensorflow
    import tf2onnx

    modules = {"edgeinfer": edgeinfer, "keras": keras, "tensorflow": tensorflow, "tf2onnx": tf2onnx, "onnx": onnx}
    return {name: str(module.__version__) for name, module in modules.items()}
