"""The metadata that travels in an ONNX file under the key ``edgeinfer.spec``, as named tuples.

The JSON form is described by docs/spec.schema.json. Pre- and postprocessing stay plain dictionaries here; the
pipeline stage that reads one validates it.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from .errors import ModelFormatError, shorten
from .limits import Limits
from .records import NamedTuple

SPEC_KEY = "edgeinfer.spec"
SCHEMA_VERSION = 1
TASKS = ("forecast", "classify", "next_token")
MODES = ("stream", "window")
WINDOW_STARTS = ("pad", "partial", "wait")
SIDES = ("left", "right")
WEIGHTS = ("float32", "int8", "float16")
ACTIVATIONS = ("float32", "int8")
# A file must not make the device recompute more than this at every step.
MAX_WINDOW = 1 << 20
_STRINGS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SHA256 = re.compile("[0-9a-f]{64}")
# What one value of a list, and one object, takes once it is parsed.
_VALUE, _OBJECT = 80, 240
_INT64_CHARACTERS = 20
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_BRACKETS = re.compile(r"[\[\]{}]")
_GOLDEN_DTYPES = ("float32", "float64", "int32", "int64", "bool")


class StatePair(NamedTuple):
    """A graph input and the graph output that carries it to the next step."""

    input: str
    output: str


class Window(NamedTuple):
    """How many inputs a window model looks at, and what it answers before they have come."""

    length: int
    start: Literal["pad", "partial", "wait"] = "wait"
    pad_value: float = 0.0
    pad_side: Literal["left", "right"] = "left"


class Golden(NamedTuple):
    """Inputs and the outputs that the training framework gave for them."""

    name: str
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


class Encoder(NamedTuple):
    """What a decoder takes from its encoder, the file with this digest: decoder input → encoder output.

    ``states`` start the decoder's states, ``constants`` stay the same at every step.
    """

    sha256: str
    states: Mapping[str, str]
    constants: Mapping[str, str]


class Spec(NamedTuple):
    """Everything a file says about how it is to be run."""

    name: str = ""
    task: str | None = None
    mode: Literal["stream", "window"] | None = None
    window: Window | None = None
    states: tuple[StatePair, ...] = ()
    preprocessing: Mapping[str, Any] = {}
    postprocessing: Mapping[str, Any] = {}
    goldens: tuple[Golden, ...] = ()
    provenance: Mapping[str, Any] = {}
    weights: str = "float32"
    activations: str = "float32"
    tolerance: float | None = None
    encoder: Encoder | None = None

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """Parse and validate the metadata of a file, whose size was checked.

        Raises ModelFormatError naming the key where it is not what the schema says.
        """
        try:
            data = json.loads(text, parse_int=_number)
        except (ValueError, RecursionError) as error:
            raise ModelFormatError(f"metadata {SPEC_KEY}: not JSON: {error}") from None
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Any) -> Spec:
        """As from_json, from the parsed form."""
        data = _mapping(data, SPEC_KEY)
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            raise _wrong("schema_version", SCHEMA_VERSION, version)
        window = data.get("window")
        spec = cls(
            name=_string(data.get("name", ""), "name"),
            task=_choice(data.get("task"), TASKS, "task", optional=True),
            mode=_choice(data.get("mode"), MODES, "mode", optional=True),  # type: ignore[arg-type]
            window=None if window is None else _window(window),
            states=tuple(
                _state(item, f"states[{i}]") for i, item in enumerate(_list(data.get("states", []), "states"))
            ),
            preprocessing=_mapping(data.get("preprocessing", {}), "preprocessing"),
            postprocessing=_mapping(data.get("postprocessing", {}), "postprocessing"),
            goldens=tuple(
                _golden(item, f"goldens[{i}]") for i, item in enumerate(_list(data.get("goldens", []), "goldens"))
            ),
            provenance=_mapping(data.get("provenance", {}), "provenance"),
            weights=_choice(data.get("weights", "float32"), WEIGHTS, "weights") or "",
            activations=_choice(data.get("activations", "float32"), ACTIVATIONS, "activations") or "",
            tolerance=None if data.get("tolerance") is None else _positive(data["tolerance"], "tolerance"),
            encoder=None if data.get("encoder") is None else _encoder(data["encoder"]),
        )
        if spec.mode == "window" and spec.window is None:
            raise _wrong("window", "an object with a length, since mode is window", None)
        return spec

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        data: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "name": self.name}
        if self.task is not None:
            data["task"] = self.task
        if self.mode is not None:
            data["mode"] = self.mode
        if self.encoder is not None:
            states, constants = dict(self.encoder.states), dict(self.encoder.constants)
            data["encoder"] = {"sha256": self.encoder.sha256, "states": states, "constants": constants}
        if self.window is not None:
            data["window"] = {
                "length": self.window.length,
                "start": self.window.start,
                "pad_value": self.window.pad_value,
                "pad_side": self.window.pad_side,
            }
        data["states"] = [{"input": pair.input, "output": pair.output} for pair in self.states]
        data["preprocessing"] = dict(self.preprocessing)
        data["postprocessing"] = dict(self.postprocessing)
        data["goldens"] = [
            {
                "name": golden.name,
                "inputs": {name: encode_tensor(array) for name, array in golden.inputs.items()},
                "outputs": {name: encode_tensor(array) for name, array in golden.outputs.items()},
            }
            for golden in self.goldens
        ]
        data["provenance"] = dict(self.provenance)
        small = {"weights": self.weights, "activations": self.activations, "tolerance": self.tolerance}
        data.update((key, value) for key, value in small.items() if value not in ("float32", None))
        return data

    def to_json(self) -> str:
        """The text stored in the file: compact, keys in a fixed order, UTF-8."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    def summary(self) -> dict[str, Any]:
        """The JSON form without what only programs read: goldens as their names, vocabularies as their sizes."""
        data = self._replace(goldens=()).to_dict()
        data["goldens"] = [golden.name for golden in self.goldens]
        data["preprocessing"] = _without_vocabulary(data["preprocessing"])
        return data


def _without_vocabulary(described: Any) -> Any:
    """The same, at any depth, with the size of each vocabulary in its place."""
    if not isinstance(described, Mapping):
        return described
    return {
        key: f"{len(value)} words" if key == "vocabulary" and isinstance(value, list) else _without_vocabulary(value)
        for key, value in described.items()
    }


def holds(dtype: np.dtype, value: float) -> bool:
    """Whether an input of this dtype may be padded with ``value``."""
    if dtype.kind not in "iu":
        return True
    bounds = np.iinfo(dtype)
    return value == int(value) and bounds.min <= value <= bounds.max


def encode_tensor(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON: dtype, shape and base64 of its little-endian bytes in C order."""
    import base64

    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "data": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def decode_tensor(data: Any, where: str) -> np.ndarray:
    """The array behind encode_tensor's form. Raises ModelFormatError naming ``where``."""
    return _decode(_tensor(data, where), where)


class _Tensor(NamedTuple):
    """encode_tensor's form, its parts checked one by one."""

    dtype: str
    shape: tuple[int, ...]
    data: str


class _Tensors(Mapping[str, np.ndarray]):
    """The tensors of a golden by name, decoded when asked for: a load reads none of them.

    Raises ModelFormatError then where what stands there is not a tensor.
    """

    def __init__(self, tensors: Mapping[str, _Tensor], where: str) -> None:
        self._tensors = tensors
        self._where = where

    def __getitem__(self, name: str) -> np.ndarray:
        return _decode(self._tensors[name], f"{self._where}.{name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _tensor(data: Any, where: str) -> _Tensor:
    data = _mapping(data, where)
    dtype = _choice(data.get("dtype"), _GOLDEN_DTYPES, f"{where}.dtype")
    shape = tuple(_integer(d, f"{where}.shape", minimum=0) for d in _list(data.get("shape"), f"{where}.shape"))
    assert dtype is not None
    return _Tensor(dtype, shape, _string(data.get("data"), f"{where}.data"))


def _decode(tensor: _Tensor, where: str) -> np.ndarray:
    import base64

    try:
        raw = base64.b64decode(tensor.data, validate=True)
    except ValueError as error:
        raise ModelFormatError(f"metadata {SPEC_KEY}: {where}.data: not base64: {error}") from None
    dtype = np.dtype(tensor.dtype).newbyteorder("<")
    try:
        np.broadcast_to(np.zeros((), dtype), tensor.shape)
    except ValueError as error:
        raise _wrong(f"{where}.shape", "the shape of an array", error) from None
    expected = math.prod(tensor.shape) * dtype.itemsize
    if len(raw) != expected:
        what = f"{expected} bytes for {tensor.dtype} {list(tensor.shape)}"
        raise _wrong(f"{where}.data", what, f"{len(raw)} bytes")
    return np.frombuffer(raw, dtype=dtype).reshape(tensor.shape).astype(tensor.dtype)


def check_size(text: str, limits: Limits, parsed_bytes: int) -> int:
    """``parsed_bytes``, which the rest of a file came to, and what parsing its metadata adds to them.

    Raises ModelLimitError where they nest too deep or have too many values.
    """
    outside = _STRINGS.sub("", text)
    limits.check("metadata_depth", _depth(outside), f"metadata {SPEC_KEY}")
    parsed_bytes += _VALUE * (outside.count(",") + outside.count("[")) + _OBJECT * outside.count("{")
    limits.check("parsed_bytes", parsed_bytes, f"metadata {SPEC_KEY}")
    return parsed_bytes


def _depth(outside: str) -> int:
    """How deep brackets nest in JSON without its strings, without recursion."""
    depth = deepest = 0
    for match in _BRACKETS.finditer(outside):
        depth += 1 if match[0] in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _wrong(where: str, expected: object, got: object) -> ModelFormatError:
    return ModelFormatError(f"metadata {SPEC_KEY}: {where}: expected {expected}, got {shorten(got, 80)}")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    return value


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise _wrong(where, "a list", value)
    return value


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(where, "a string", value)
    return value


def _integer(value: Any, where: str, minimum: int, maximum: int = sys.maxsize) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        upper = "" if maximum == sys.maxsize else f" and at most {maximum}"
        raise _wrong(where, f"an integer of at least {minimum}{upper}", value)
    return value


def _positive(value: Any, where: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
        raise _wrong(where, "a finite number above 0", value)
    return float(value)


def _choice(value: Any, choices: Sequence[str], where: str, optional: bool = False) -> str | None:
    if optional and value is None:
        return None
    if value not in choices:
        raise _wrong(where, "one of " + ", ".join(choices), value)
    return str(value)


def _number(text: str) -> int | float:
    """A whole number of the JSON; what no int64 holds is a float. Raises ValueError for what no float holds either."""
    if len(text) <= _INT64_CHARACTERS:
        return int(text)
    if math.isinf(number := float(text)):
        raise ValueError(f"a number of {len(text)} digits")
    return number


def _window(value: Any) -> Window:
    data = _mapping(value, "window")
    pad_value = data.get("pad_value", 0.0)
    if not isinstance(pad_value, (int, float)) or isinstance(pad_value, bool) or not abs(pad_value) <= _FLOAT32_MAX:
        raise _wrong("window.pad_value", "a finite number of float32", pad_value)
    return Window(
        length=_integer(data.get("length"), "window.length", minimum=1, maximum=MAX_WINDOW),
        start=_choice(data.get("start", "wait"), WINDOW_STARTS, "window.start"),  # type: ignore[arg-type]
        pad_value=pad_value,
        pad_side=_choice(data.get("pad_side", "left"), SIDES, "window.pad_side"),  # type: ignore[arg-type]
    )


def _state(value: Any, where: str) -> StatePair:
    data = _mapping(value, where)
    return StatePair(_string(data.get("input"), f"{where}.input"), _string(data.get("output"), f"{where}.output"))


def _encoder(value: Any) -> Encoder:
    data = _mapping(value, "encoder")
    sha256 = _string(data.get("sha256"), "encoder.sha256")
    if not _SHA256.fullmatch(sha256):
        raise _wrong("encoder.sha256", "64 hexadecimal digits", sha256)
    return Encoder(sha256, _wiring(data, "states"), _wiring(data, "constants"))


def _wiring(data: Mapping[str, Any], key: str) -> dict[str, str]:
    where = f"encoder.{key}"
    return {name: _string(source, f"{where}.{name}") for name, source in _mapping(data.get(key, {}), where).items()}


def _golden(value: Any, where: str) -> Golden:
    data = _mapping(value, where)
    name = _string(data.get("name", ""), f"{where}.name")
    return Golden(
        name, _tensors(data.get("inputs"), f"{where}.inputs"), _tensors(data.get("outputs"), f"{where}.outputs")
    )


def _tensors(value: Any, where: str) -> _Tensors:
    return _Tensors({name: _tensor(item, f"{where}.{name}") for name, item in _mapping(value, where).items()}, where)
