"""Exported files in other people's tools: onnx.checker, ONNX Runtime, OpenVINO, onnxslim, over the opsets."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeinfer_export import to_onnx
from edgeinfer_export.plan import OLDEST_OPSET
from matrix.case import model_of, seed_of
from matrix.cases import all_cases
from matrix.check import OnnxRuntime, all_names, all_nodes, difference
from matrix.feeds import SIZES, arrays, ends_of

# The bar of the export command itself.
ATOL = 1e-5
# OpenVINO approximates exp and tanh where it joins operators.
OPENVINO_ATOL = 1e-4
# What only TensorFlow and tf2onnx put into a name.
UNREADABLE = re.compile(r"StatefulPartitionedCall|PartitionedCall|__\d+|:\d+$")
REPRESENTATIVE = (
    "Recurrent layers: SimpleRNN T=free return_sequences",
    "Recurrent layers: LSTM T=free return_sequences return_state",
    "Recurrent layers: GRU T=free",
    "Recurrent layers: GRU reset before T=fixed return_sequences go_backwards",
    "Masks: LSTM Masking return_sequences",
    "Masks: GRU Embedding",
    "Bidirectional: LSTM merge_mode=concat return_sequences",
    "Bidirectional: GRU merge_mode=mul",
    "TimeDistributed: Conv1D T=free",
    "Attention: encoder, decoder and AdditiveAttention",
    "Attention: MultiHeadAttention after mask_zero",
    "Convolutions: Conv1D, BatchNormalization, MaxPooling1D, LSTM, Dense",
    "Dense and activations: LayerNormalization",
    "Dense and activations: Dense activation=gelu",
    "Models: a dict of inputs and a dict of outputs",
    "Models: a Sequential in a Sequential in a Functional model",
    "Models: two sequences of one length, two outputs",
    "Lambda and keras.ops: keras.ops: matmul",
)
# Of tf2onnx, which a test asks; to import it here would import TensorFlow for every run of tests.
NEWEST_OPSET = 18
OPSETS = range(OLDEST_OPSET, NEWEST_OPSET + 1)
# Two models at each opset, so that every model meets some; all of them in the slow tier.
AT_OPSETS = [
    (REPRESENTATIVE[(2 * i + j) % len(REPRESENTATIVE)], opset) for i, opset in enumerate(OPSETS) for j in (1, 6)
]
AT_OTHERS = [(name, opset) for name in REPRESENTATIVE for opset in OPSETS if (name, opset) not in AT_OPSETS]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*destroy the mask information:UserWarning"),
    pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning"),
]

Feeds = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def exported(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Feeds]]:
    """The file of a case at an opset, made once, and inputs for it by name, states at zero."""
    folder = tmp_path_factory.mktemp("exported")
    made: dict[tuple[str, int], tuple[Path, Feeds]] = {}

    def file(name: str, opset: int = 17) -> tuple[Path, Feeds]:
        if (name, opset) not in made:
            model = model_of(all_cases()[name])
            path = folder / f"{seed_of(name)}-{opset}.onnx"
            to_onnx(model, path, opset=opset, verify=False)  # what it answers is compared below
            batch, length = SIZES[2]
            given = arrays(ends_of(model), batch, length, np.random.default_rng(2))
            runner = OnnxRuntime(path)
            names = [value.name for value in onnx.load(path).graph.input]
            made[name, opset] = path, dict(zip(names, [*given, *runner.zero_states(batch)], strict=True))
        return made[name, opset]

    return file


def test_the_newest_opset_of_these_tests_is_that_of_tf2onnx(keras: Any) -> None:
    import tf2onnx

    assert max(tf2onnx.constants.OPSET_TO_IR_VERSION) == NEWEST_OPSET


def answers(path: Path, feeds: Feeds) -> list[np.ndarray]:
    return OnnxRuntime(path)(list(feeds.values()), [])


@pytest.mark.parametrize(
    ("name", "opset"), [*AT_OPSETS, *(pytest.param(*other, marks=pytest.mark.slow) for other in AT_OTHERS)]
)
def test_a_file_of_any_opset_passes_the_checker_and_strict_shape_inference(
    name: str, opset: int, exported: Any
) -> None:
    path, feeds = exported(name, opset)
    proto = onnx.load(path)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", opset)]
    onnx.checker.check_model(proto, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    assert len(inferred.graph.output) == len(proto.graph.output)
    usual, _ = exported(name)
    for a, b in zip(answers(usual, feeds), answers(path, feeds), strict=True):
        assert difference(a, b) <= ATOL


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_a_person_can_read_every_name_and_no_loop_is_inside(name: str, exported: Any) -> None:
    path, _ = exported(name)
    graph = onnx.load(path).graph
    assert [found for found in all_names(graph) if UNREADABLE.search(found)] == []
    assert {node.op_type for node in all_nodes(graph)} & {"Loop", "Scan", "If"} == set()


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_onnxslim_takes_a_file_and_its_answers_stay(name: str, exported: Any) -> None:
    onnxslim = pytest.importorskip("onnxslim", reason="onnxslim is not installed")
    path, feeds = exported(name)
    slim = path.with_suffix(".slim.onnx")
    onnx.save(onnxslim.slim(onnx.load(path)), slim)
    for a, b in zip(answers(path, feeds), answers(slim, feeds), strict=True):
        assert difference(a, b) <= ATOL


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_openvino_gives_the_same_numbers(name: str, exported: Any) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    path, feeds = exported(name)
    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = model(list(feeds.values()))
    for value, expected in zip(model.outputs, answers(path, feeds), strict=True):
        assert difference(expected, found[value]) <= OPENVINO_ATOL
