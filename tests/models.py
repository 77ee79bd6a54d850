"""Small ONNX models with known weights, in the form that export writes, for tests that need a file to run.

Every function returns the bytes of a file. Keyword arguments replace fields of the metadata; ``spec=None``
leaves the metadata out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeinfer.spec import SPEC_KEY, encode_tensor

SEED = 7
WORDS = ("", "<unk>", "i", "love", "deep", "learning", "machine", "good", "bad", "great", "awful", "film")
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def sum_model(**spec: Any) -> bytes:
    """Window mode, two values: relu(a + b), so the next value of a series is the sum of the last two."""
    one = np.ones((1, 1, 1), np.float32)
    net = _Net()
    net.input("x", TensorProto.FLOAT, ["batch", "time", 1])
    last = net.recurrent("RNN", "rnn", "x", one, one, np.zeros((1, 2), np.float32), activations=["Relu"])
    net.dense(last, np.ones((1, 1)), np.zeros(1), "y")
    net.output("y", ["batch", 1])
    return net.file(
        {
            "name": "sum",
            "task": "forecast",
            "mode": "window",
            "window": {"length": 2, "start": "wait"},
            "preprocessing": {"series": {"features": [{"kind": "value"}]}},
            "postprocessing": {"horizon": 1, "recursive": True, "base": None, "center": 0.0, "scale": 1.0},
        },
        spec,
    )


def demand_model(**spec: Any) -> bytes:
    """Stream mode: hourly values with times, three steps ahead, on top of the values four hours earlier."""
    net = _Net()
    net.input("x", TensorProto.FLOAT, ["batch", "time", 3])
    net.stateful_gru("x", features=3, hidden=5)
    net.dense("gru/sequence", net.draw(5, 3), net.draw(3), "y")
    net.output("y", ["batch", "time", 3])
    return net.file(
        {
            "name": "demand",
            "task": "forecast",
            "mode": "stream",
            "preprocessing": {
                "series": {
                    "step_seconds": 3600,
                    "features": [
                        {"kind": "value", "lag": 0, "center": 100.0, "scale": 20.0},
                        {"kind": "difference", "lag": 3, "center": 0.0, "scale": 10.0},
                        {"kind": "calendar", "field": "hour", "period": 24, "encoding": "sin", "ahead": 1},
                    ],
                }
            },
            "postprocessing": {"horizon": 3, "base": {"lag": 4}, "center": 0.5, "scale": 10.0},
        },
        spec,
    )


def sentiment_model(**spec: Any) -> bytes:
    """Window mode, six tokens: good and great count up, bad and awful down; a sigmoid of what is left."""
    table = np.zeros((len(WORDS), 1), np.float32)
    for word, value in {"good": 1.0, "great": 1.5, "bad": -1.0, "awful": -1.5}.items():
        table[WORDS.index(word)] = value
    net = _Net()
    net.input("x", TensorProto.INT32, ["batch", "time"])
    net.constant("table", table)
    net.node("Gather", ["table", "x"], ["embedded"], name="embedding", axis=0)
    one = np.ones((1, 1, 1), np.float32)
    last = net.recurrent("RNN", "rnn", "embedded", one, 0.9 * one, np.zeros((1, 2), np.float32))
    net.dense(last, np.full((1, 1), 4.0), np.zeros(1), "logit")
    net.node("Sigmoid", ["logit"], ["y"], name="sigmoid")
    net.output("y", ["batch", 1])
    return net.file(
        {
            "name": "sentiment",
            "task": "classify",
            "mode": "window",
            "window": {"length": 6, "start": "pad", "pad_value": 0, "pad_side": "left"},
            "preprocessing": {"text": text_spec()},
            "postprocessing": {"labels": ["negative", "positive"], "threshold": 0.5},
        },
        spec,
    )


def topics_model(**spec: Any) -> bytes:
    """As the sentiment model, with a softmax over three labels."""
    net = _Net()
    net.input("x", TensorProto.INT32, ["batch", "time"])
    net.constant("table", net.draw(len(WORDS), 4))
    net.node("Gather", ["table", "x"], ["embedded"], name="embedding", axis=0)
    last = net.recurrent("LSTM", "lstm", "embedded", *net.weights("LSTM", 4, 6))
    net.dense(last, net.draw(6, 3), net.draw(3), "logits")
    net.node("Softmax", ["logits"], ["y"], name="softmax", axis=-1)
    net.output("y", ["batch", 3])
    return net.file(
        {
            "name": "topics",
            "task": "classify",
            "mode": "window",
            "window": {"length": 4, "start": "partial"},
            "preprocessing": {"text": text_spec()},
            "postprocessing": {"labels": ["sport", "film", "news"]},
        },
        spec,
    )


def next_word_model(**spec: Any) -> bytes:
    """Window mode, four tokens; padding and <unk> are the likeliest, and must not be offered all the same."""
    net = _Net()
    net.input("x", TensorProto.INT32, ["batch", "time"])
    net.constant("table", net.draw(len(WORDS), 4))
    net.node("Gather", ["table", "x"], ["embedded"], name="embedding", axis=0)
    last = net.recurrent("LSTM", "lstm", "embedded", *net.weights("LSTM", 4, 6))
    bias = np.zeros(len(WORDS))
    bias[:2] = 3.0, 2.0
    net.dense(last, 2 * net.draw(6, len(WORDS)), bias, "logits")
    net.node("Softmax", ["logits"], ["y"], name="softmax", axis=-1)
    net.output("y", ["batch", len(WORDS)])
    return net.file(
        {
            "name": "next_word",
            "task": "next_token",
            "mode": "window",
            "window": {"length": 4, "start": "pad", "pad_value": 0, "pad_side": "left"},
            "preprocessing": {"text": text_spec()},
            "postprocessing": {},
        },
        spec,
    )


def plain_model(features: int = 2, **spec: Any) -> bytes:
    """Stream mode, no task: a GRU with its state as input and output, and one output per step."""
    net = _Net()
    net.input("x", TensorProto.FLOAT, ["batch", "time", features])
    net.stateful_gru("x", features=features, hidden=4)
    net.dense("gru/sequence", net.draw(4, 2), net.draw(2), "y")
    net.output("y", ["batch", "time", 2])
    return net.file({"name": "plain", "mode": "stream"}, spec)


def foreign_model() -> bytes:
    """A file without metadata or states, as other tools write it."""
    net = _Net()
    net.input("x", TensorProto.FLOAT, ["batch", "time", 2])
    last = net.recurrent("GRU", "gru", "x", *net.weights("GRU", 2, 3), linear_before_reset=1)
    net.dense(last, net.draw(3, 1), net.draw(1), "y")
    net.output("y", ["batch", 1])
    return net.file({}, {"spec": None})


def text_spec(words: Sequence[str] = WORDS) -> dict[str, Any]:
    """preprocessing.text over a vocabulary."""
    return {
        "replace": [["<br />", " "]],
        "case": "unicode",
        "punctuation": ".,!?",
        "split": "whitespace",
        "vocabulary": list(words),
        "oov": 1,
    }


def golden(name: str, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """An entry of ``goldens``."""
    return {
        "name": name,
        "inputs": {key: encode_tensor(array) for key, array in inputs.items()},
        "outputs": {key: encode_tensor(array) for key, array in outputs.items()},
    }


class _Net:
    """A graph being written."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(SEED)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._states: list[dict[str, str]] = []

    def draw(self, *shape: int) -> np.ndarray:
        """Seeded weights."""
        return self._rng.normal(0.0, 0.5, shape).astype(np.float32)

    def weights(self, op: str, features: int, hidden: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """W, R and B of a one-directional node."""
        rows = _GATES[op] * hidden
        return self.draw(1, rows, features), self.draw(1, rows, hidden), self.draw(1, 2 * rows)

    def input(self, name: str, dtype: int, shape: Sequence[int | str]) -> None:
        self._inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))

    def output(self, name: str, shape: Sequence[int | str]) -> None:
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def constant(self, name: str, array: Any) -> None:
        self._constants.append(numpy_helper.from_array(np.asarray(array), name))

    def node(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        self._nodes.append(helper.make_node(op, list(inputs), list(outputs), **attributes))

    def recurrent(
        self, op: str, name: str, x: str, w: np.ndarray, r: np.ndarray, b: np.ndarray, **attributes: Any
    ) -> str:
        """A node from a zero state; returns the name of its last hidden state, [batch, hidden]."""
        for suffix, array in (("W", w), ("R", r), ("B", b)):
            self.constant(f"{name}/{suffix}", array)
        self.constant(f"{name}/first_axis", np.array([0], np.int64))
        self.node("Transpose", [x], [f"{name}/time_major"], name=f"{name}/transpose", perm=[1, 0, 2])
        inputs = [f"{name}/time_major", f"{name}/W", f"{name}/R", f"{name}/B"]
        self.node(op, inputs, ["", f"{name}/Y_h"], name=name, hidden_size=r.shape[-1], **attributes)
        self.node("Squeeze", [f"{name}/Y_h", f"{name}/first_axis"], [f"{name}/last"], name=f"{name}/squeeze")
        return f"{name}/last"

    def stateful_gru(self, x: str, features: int, hidden: int) -> None:
        """A GRU with its state as input and output; writes ``gru/sequence`` [batch, time, hidden]."""
        for suffix, array in zip("WRB", self.weights("GRU", features, hidden), strict=True):
            self.constant(f"gru/{suffix}", array)
        self.constant("gru/directions", np.array([1], np.int64))
        self.input("gru/initial_h", TensorProto.FLOAT, [1, "batch", hidden])
        self.output("gru/final_h", [1, "batch", hidden])
        self._states.append({"input": "gru/initial_h", "output": "gru/final_h"})
        self.node("Transpose", [x], ["gru/time_major"], name="gru/transpose", perm=[1, 0, 2])
        self.node(
            "GRU",
            ["gru/time_major", "gru/W", "gru/R", "gru/B", "", "gru/initial_h"],
            ["gru/Y", "gru/final_h"],
            name="gru",
            hidden_size=hidden,
            linear_before_reset=1,
        )
        self.node("Squeeze", ["gru/Y", "gru/directions"], ["gru/squeezed"], name="gru/squeeze")
        self.node("Transpose", ["gru/squeezed"], ["gru/sequence"], name="gru/back", perm=[1, 0, 2])

    def dense(self, x: str, w: Any, b: Any, y: str) -> None:
        """y = x · w + b."""
        self.constant(f"{y}/kernel", np.asarray(w, np.float32))
        self.constant(f"{y}/bias", np.asarray(b, np.float32))
        self.node("MatMul", [x, f"{y}/kernel"], [f"{y}/product"], name=f"{y}/matmul")
        self.node("Add", [f"{y}/product", f"{y}/bias"], [y], name=f"{y}/add")

    def file(self, spec: dict[str, Any], changes: dict[str, Any]) -> bytes:
        """The model as bytes, checked by onnx; ``changes`` replaces fields of ``spec``."""
        # The output comes before the states, in the order that export writes.
        outputs = sorted(self._outputs, key=lambda value: "/" in value.name)
        graph = helper.make_graph(self._nodes, "test", self._inputs, outputs, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        model.producer_name = "edgeinfer tests"
        if "spec" not in changes:
            whole = {"schema_version": 1, "states": self._states, **spec, **changes}
            helper.set_model_props(model, {SPEC_KEY: json.dumps(whole)})
        onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString()
        return data
