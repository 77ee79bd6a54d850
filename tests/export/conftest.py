"""Small Keras models with random weights. TensorFlow is imported by the first test that asks for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

SEED = 11
# Large enough that every gate matters, small enough that relu and linear cells do not grow without bound.
WEIGHT_SCALE = 0.35


@pytest.fixture(scope="session")
def keras() -> ModuleType:
    """Keras on TensorFlow, imported without its noise."""
    from edgeinfer_export.quiet import import_keras

    import_keras()
    import keras

    return keras


@pytest.fixture
def layers(keras: ModuleType) -> Any:
    """``keras.layers``, with names counted from zero and a fixed seed."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(SEED)
    return keras.layers


@pytest.fixture
def shuffled(keras: ModuleType) -> Callable[[Any], Any]:
    """Gives a model random weights, biases included: Keras starts them at zero, where a mistake does not show."""

    def shuffle(model: Any) -> Any:
        generator = np.random.default_rng(SEED)
        for weight in model.weights:
            value = WEIGHT_SCALE * generator.standard_normal(weight.shape)
            # A moving variance below zero is no variance.
            weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)
        return model

    return shuffle


@pytest.fixture
def sequential(keras: ModuleType, layers: Any, shuffled: Callable[[Any], Any]) -> Callable[..., Any]:
    """A Sequential of the given layers behind an input of the given shape."""

    def build(shape: Sequence[int | None], *stack: Any, dtype: str = "float32", name: str = "model") -> Any:
        return shuffled(keras.Sequential([keras.Input(shape, dtype=dtype), *stack], name=name))

    return build


class OrtSession:
    """ONNX Runtime on a file, by names."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(None, dict(feeds)), strict=True))


@pytest.fixture
def ort() -> type[OrtSession]:
    return OrtSession


def ends(path: Path) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Shapes of a file's inputs and outputs by name; free dimensions by their name."""
    graph = onnx.load(path).graph
    return tuple(  # type: ignore[return-value]
        {value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
        for values in (graph.input, graph.output)
    )


@pytest.fixture(name="ends")
def ends_fixture() -> Callable[[Path], tuple[dict[str, list[Any]], dict[str, list[Any]]]]:
    return ends
