"""What Keras 2 wrote, in the words of Keras 3: files with recurrent layers, which Keras 3 refuses as they are."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import ExportError

H5_SUFFIXES = (".h5", ".hdf5")
HARD_SIGMOID = "keras2_hard_sigmoid"


def hard_sigmoid(x: Any) -> Any:
    """hard_sigmoid as Keras 2 has it: 0.2 x + 0.5, clipped to [0, 1]. Keras 3's of that name is relu6(x + 3) / 6."""
    import keras

    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


# Under this name it goes into a configuration and comes back from it.
hard_sigmoid.__name__ = HARD_SIGMOID
# How a .keras file refers to a function.
_FUNCTION = {"module": "builtins", "class_name": "function", "config": HARD_SIGMOID, "registered_name": "function"}


def dictionaries(config: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary of a configuration."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def as_keras_3(source: Path, config: Any, folder: Path) -> Path:
    """A copy of a file of Keras 2 whose configuration Keras 3 reads, meaning the same."""
    translated = copy.deepcopy(config)
    for item in dictionaries(translated):
        if item.pop("time_major", False):
            raise ExportError(
                "time_major=True is not in Keras 3; transpose the input instead",
                layer=item.get("name"),
                argument="time_major",
            )
        for key in ("activation", "recurrent_activation"):
            if item.get(key) == "hard_sigmoid":
                item[key] = HARD_SIGMOID if source.suffix in H5_SUFFIXES else _FUNCTION
        axis = item.get("axis")
        if isinstance(axis, list) and len(axis) == 1 and "moving_mean_initializer" in item:
            item["axis"] = axis[0]
    path = folder / source.name
    if source.suffix in H5_SUFFIXES:
        import h5py

        path.write_bytes(source.read_bytes())
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = json.dumps(translated)
        return path
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, json.dumps(translated) if name == "config.json" else old.read(name))
    return path
