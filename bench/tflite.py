"""The cases' models as .tflite files, from the same weights: ``python -m bench.tflite FOLDER``. Needs TensorFlow.

Steps and pools: one product of [x, h] and all gates, the states in one tensor that is fed back (NAME.fed.tflite) or in
resource variables (NAME.variables.tflite). Sequences: x·W of all steps at once, then the steps unrolled.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .cases import Case, all_cases

Cell = Callable[[Any, list[Any]], list[Any]]


def convert(cases: Sequence[Case], folder: Path) -> None:
    """Write the files that are missing, or older than their weights."""
    for case in cases:
        name = case.name if case.kind == "pool" else case.model
        makers = {"sequence": _sequence} if case.kind == "sequence" else {"fed": _fed, "variables": _variables}
        for kind, make in makers.items():
            target, source = folder / f"{name}.{kind}.tflite", folder / f"{case.model}.npz"
            if case.kind == "small" or (target.exists() and target.stat().st_mtime >= source.stat().st_mtime):
                continue
            print(f"converting {target.name}", file=sys.stderr, flush=True)
            target.write_bytes(make(case, dict(np.load(source))))


def _fed(case: Case, weights: dict[str, np.ndarray]) -> bytes:
    import tensorflow as tf

    advance, width = _network(case, weights)

    def step(x: Any, states: Any) -> Any:
        y, after = advance(x, states)
        return y, after

    signature = [tf.TensorSpec((case.streams, case.features)), tf.TensorSpec((case.streams, width))]
    function = tf.function(step, input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
    return bytes(converter.convert())


def _variables(case: Case, weights: dict[str, np.ndarray]) -> bytes:
    import tensorflow as tf

    advance, width = _network(case, weights)
    module = tf.Module()
    module.states = tf.Variable(tf.zeros((case.streams, width)))

    def step(x: Any) -> Any:
        y, after = advance(x, module.states.read_value())
        module.states.assign(after)
        return y

    function = tf.function(step, input_signature=[tf.TensorSpec((case.streams, case.features))])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], module)
    converter.experimental_enable_resource_variables = True
    return bytes(converter.convert())


def _sequence(case: Case, weights: dict[str, np.ndarray]) -> bytes:
    import tensorflow as tf

    w, r, b = (weights[f"{part}0"] for part in "WRB")
    bias = b.reshape(2, -1).sum(axis=0)

    def whole(x: Any) -> Any:
        if case.tokens:
            x = tf.gather(weights["table"], x)
        rows = tf.unstack(tf.reshape(tf.matmul(x[0], w.T) + bias, (case.length, 1, -1)), axis=0)
        h = c = tf.zeros((1, case.hidden))
        for row in rows:
            h, c = _lstm_update(row + tf.matmul(h, r.T), c)
        y = tf.matmul(h, weights["kernel"]) + weights["bias"]
        return tf.sigmoid(y) if case.tokens else y

    spec = tf.TensorSpec((1, case.length), tf.int32) if case.tokens else tf.TensorSpec((1, case.length, case.features))
    function = tf.function(whole, input_signature=[spec])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
    return bytes(converter.convert())


def _network(case: Case, weights: dict[str, np.ndarray]) -> tuple[Callable[[Any, Any], tuple[Any, Any]], int]:
    """(x, states [N, width]) → (y, states), and the width."""
    import tensorflow as tf

    cells = [_CELLS[case.cell](weights, layer) for layer in range(case.layers)]
    per_layer = 2 if case.cell == "lstm" else 1
    pieces = case.layers * per_layer

    def advance(x: Any, states: Any) -> tuple[Any, Any]:
        split = tf.split(states, pieces, axis=1) if pieces > 1 else [states]
        after = []
        for layer, cell in enumerate(cells):
            new = cell(x, split[layer * per_layer : (layer + 1) * per_layer])
            x = new[0]
            after += new
        y = tf.matmul(x, weights["kernel"]) + weights["bias"]
        return y, tf.concat(after, 1) if pieces > 1 else after[0]

    return advance, pieces * case.hidden


def _lstm(weights: dict[str, np.ndarray], layer: int) -> Cell:
    import tensorflow as tf

    w, r, b = (weights[f"{part}{layer}"] for part in "WRB")
    kernel, bias = np.concatenate([w, r], axis=1).T, b.reshape(2, -1).sum(axis=0)

    def cell(x: Any, states: list[Any]) -> list[Any]:
        return list(_lstm_update(tf.matmul(tf.concat([x, states[0]], 1), kernel) + bias, states[1]))

    return cell


def _lstm_update(z: Any, c: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    i, o, f, g = tf.split(z, 4, axis=1)
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    return tf.sigmoid(o) * tf.tanh(c), c


def _gru(weights: dict[str, np.ndarray], layer: int) -> Cell:
    import tensorflow as tf

    w, r, b = (weights[f"{part}{layer}"] for part in "WRB")
    wb, rb = b.reshape(2, -1)
    hidden = r.shape[1]
    gates, gate_bias = np.concatenate([w, r], axis=1)[: 2 * hidden].T, (wb + rb)[: 2 * hidden]

    def cell(x: Any, states: list[Any]) -> list[Any]:
        (h,) = states
        zr = tf.sigmoid(tf.matmul(tf.concat([x, h], 1), gates) + gate_bias)
        z, reset = tf.split(zr, 2, axis=1)
        rh = tf.matmul(h, r[2 * hidden :].T) + rb[2 * hidden :]
        new = tf.tanh(tf.matmul(x, w[2 * hidden :].T) + wb[2 * hidden :] + reset * rh)
        return [new + z * (h - new)]

    return cell


def _rnn(weights: dict[str, np.ndarray], layer: int) -> Cell:
    import tensorflow as tf

    w, r, b = (weights[f"{part}{layer}"] for part in "WRB")
    kernel, bias = np.concatenate([w, r], axis=1).T, b.reshape(2, -1).sum(axis=0)

    def cell(x: Any, states: list[Any]) -> list[Any]:
        return [tf.tanh(tf.matmul(tf.concat([x, states[0]], 1), kernel) + bias)]

    return cell


_CELLS: dict[str, Callable[[dict[str, np.ndarray], int], Cell]] = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    folder = Path(arguments[0])
    convert([case for case in all_cases() if (folder / f"{case.model}.npz").exists()], folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
