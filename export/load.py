"""A model file → a live Keras model: .keras in safe mode, and legacy .h5; all else is refused with the way out."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import ExportError
from .keras2 import H5_SUFFIXES, HARD_SIGMOID, as_keras_3, dictionaries, hard_sigmoid
from .lowering import first_line
from .quiet import import_keras, without_noise

_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
_LIVE = "export it live, with edgeinfer_export.to_onnx(model, path)"
_SAVE = 'open the model in Keras and save it with model.save("model.keras")'
_SAVED_MODEL = (
    "a SavedModel holds no Keras layers any more: save the model as .keras "
    '(model.save("model.keras")) where it was made'
)
_WEIGHTS_ONLY = (
    "weights alone do not say which layers they belong to: build the model in Keras, load them into it "
    '(model.load_weights), and save it with model.save("model.keras")'
)
_ONLY_WEIGHTS = (".weights.h5", ".weights.json", ".npz", ".ckpt", ".index", ".data-00000-of-00001")
_OTHER_FORMATS = {".onnx": "an ONNX file already", ".tflite": "a LiteRT file, which holds no Keras layers"}


def check_file(source: Path) -> None:
    """Raise ExportError where the path is plainly not a Keras model. Needs no Keras."""
    if not source.exists():
        raise ExportError(f"{source}: no such file")
    name = source.name.lower()
    if source.is_dir():
        raise ExportError(f"{source}: a folder; {_SAVED_MODEL}")
    if name.endswith(".pb"):
        raise ExportError(f"{source}: {_SAVED_MODEL}")
    if name.endswith(_ONLY_WEIGHTS) or name == "checkpoint":
        raise ExportError(f"{source}: {_WEIGHTS_ONLY}")
    if source.suffix.lower() in _OTHER_FORMATS:
        raise ExportError(f"{source}: {_OTHER_FORMATS[source.suffix.lower()]}; expected a Keras model (.keras or .h5)")
    with source.open("rb") as file:
        magic = file.read(len(_HDF5))
    is_zip, is_hdf5 = magic.startswith(_ZIP), magic == _HDF5
    if not magic:
        raise ExportError(f"{source}: the file is empty")
    if not (is_zip or is_hdf5):
        raise ExportError(
            f"{source}: not a .keras or .h5 file: expected a zip archive or HDF5, it begins with {magic[:4]!r}; {_SAVE}"
        )
    wanted = (".keras",) if is_zip else H5_SUFFIXES
    if source.suffix not in wanted:
        kind = "a zip archive, as .keras files are" if is_zip else "HDF5, as .h5 files are"
        raise ExportError(f"{source}: {kind}: if it is a Keras model, name it so (*{wanted[0]})")


def load_keras(source: Path, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """Read a .keras or .h5 file in Keras' safe mode, without compiling. Raises ExportError where Keras cannot."""
    import keras

    config, version = _read_config(source)
    _refuse_bytecode(source, config)
    objects = dict(custom_objects or {})
    try:
        with tempfile.TemporaryDirectory(prefix="edgeinfer-") as folder, without_noise():
            path = source
            if version.startswith("2."):
                path = as_keras_3(source, config, Path(folder))
                objects[HARD_SIGMOID] = hard_sigmoid
            # A scope reaches every part of a configuration, the argument of load_model not all.
            with keras.saving.custom_object_scope(objects):
                return keras.saving.load_model(path, compile=False, safe_mode=True)
    except ExportError:
        raise
    except Exception as error:
        own = [name for name in _own_names(config) if name not in objects]
        reason = first_line(error)
        if own:
            raise ExportError(
                f"{source}: the model has classes or functions of its own: {', '.join(own)}; name where each is "
                f"(--custom-objects module:{own[0]}), or {_LIVE}. Keras says: {reason}"
            ) from error
        newer = ""
        if _number(version) > _number(keras.__version__):
            newer = f"; Keras {version} wrote it, so upgrade Keras, or save the model with this version"
        raise ExportError(
            f"{source}: Keras {keras.__version__} cannot read it: {reason}{newer}; a model that is open in Keras can "
            f"be exported as it is: {_LIVE}"
        ) from error


def find_custom_objects(places: Sequence[str]) -> dict[str, Any]:
    """The objects at ``module:name``, by name, for --custom-objects. Modules of the present folder are found too.

    Raises ExportError where a module cannot be imported or has no such name.
    """
    if places:
        import_keras()  # silently, before a module does
    found: dict[str, Any] = {}
    sys.path.insert(0, "")
    try:
        for place in places:
            module, _, name = place.partition(":")
            if not module or not name:
                raise ExportError(
                    f"custom object {place!r}: expected module:name, as in my_layers:Attention",
                    argument="custom_objects",
                )
            try:
                value: Any = importlib.import_module(module)
            except Exception as error:
                raise ExportError(
                    f"custom object {place!r}: module {module} cannot be imported: {first_line(error)}",
                    argument="custom_objects",
                ) from error
            for part in name.split("."):
                if not hasattr(value, part):
                    raise ExportError(
                        f"custom object {place!r}: module {module} has no {name}", argument="custom_objects"
                    )
                value = getattr(value, part)
            found[name.rpartition(".")[2]] = value
    finally:
        sys.path.remove("")
    return found


def _read_config(source: Path) -> tuple[Any, str]:
    """The model's configuration and the version of Keras that wrote it."""
    return _read_h5_config(source) if source.suffix in H5_SUFFIXES else _read_zip_config(source)


def _read_zip_config(source: Path) -> tuple[Any, str]:
    try:
        with zipfile.ZipFile(source) as archive:
            names = set(archive.namelist())
            missing = [name for name in ("config.json", "metadata.json") if name not in names]
            if missing:
                raise ExportError(f"{source}: a zip archive, but no Keras model: it has no {missing[0]}; {_SAVE}")
            if not any(name.startswith("model.weights") for name in names):
                raise ExportError(f"{source}: it holds no weights (model.weights.h5); {_SAVE}")
            config = json.loads(archive.read("config.json"))
            metadata = json.loads(archive.read("metadata.json"))
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ExportError(f"{source}: not a whole .keras file (cut short, perhaps): {error}") from None
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{source}: its configuration is not JSON: {error}") from None
    return config, str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""


def _read_h5_config(source: Path) -> tuple[Any, str]:
    import h5py

    try:
        with h5py.File(source, "r") as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "")
    except OSError as error:
        raise ExportError(f"{source}: not a whole HDF5 file (cut short, perhaps): {first_line(error)}") from None
    if config is None:
        raise ExportError(f"{source}: no model_config in it; {_WEIGHTS_ONLY}")
    try:
        return json.loads(config), version.decode() if isinstance(version, bytes) else str(version)
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{source}: its configuration is not JSON: {error}") from None


def _refuse_bytecode(source: Path, config: Any) -> None:
    """Keras 3 marks a lambda's bytecode with the class ``__lambda__``, Keras 2 with function_type lambda."""
    names = []
    for item in dictionaries(config):
        inner = item.get("config")
        if item.get("class_name") != "Lambda" or not isinstance(inner, dict):
            continue
        function = inner.get("function")
        kind = function.get("class_name") if isinstance(function, dict) else None
        if kind == "__lambda__" or inner.get("function_type") == "lambda":
            names.append(str(inner.get("name", "lambda")))
    if not names:
        return
    names.sort()
    others = f" (also in {', '.join(names[1:])})" if names[1:] else ""
    raise ExportError(
        f"Lambda holds Python bytecode{others}, which safe mode does not run from a file; open {source.name} in a "
        f"program of yours and {_LIVE}, or give the layer a function with a name, registered with "
        "@keras.saving.register_keras_serializable(), and pass --custom-objects module:name",
        layer=names[0],
        argument="function",
    )


def _own_names(config: Any) -> list[str]:
    """Classes and functions in a configuration that are not Keras' own."""
    names = []
    for item in dictionaries(config):
        name, registered = item.get("class_name"), item.get("registered_name")
        if not isinstance(name, str):
            continue
        if name == "function":
            name = item.get("config")
        elif not registered and str(item.get("module") or "keras").partition(".")[0] == "keras" and _in_keras(name):
            continue
        if isinstance(name, str) and name not in names and (registered or not _in_keras(name)):
            names.append(name)
    return sorted(names)


def _in_keras(name: str) -> bool:
    import keras

    places = (keras, keras.layers, keras.initializers, keras.regularizers, keras.constraints, keras.dtype_policies)
    # Keras' own words for parts of a configuration, and classes that only Keras 2 has.
    words = ("Functional", "Policy", "__tensor__", "__tuple__", "__keras_tensor__", "TensorShape", "slice", "__numpy__")
    return name in words or any(hasattr(place, name) for place in places)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
