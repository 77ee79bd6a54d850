"""A model of one recurrent layer in float64, written from the ONNX text and sharing nothing with the package.

Gather, if the inputs are tokens → LSTM, GRU or RNN → MatMul and Add → Softmax or Sigmoid, if there is one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import numpy_helper

Array = np.ndarray
States = tuple[Array, ...]
_STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}


class Twin:
    """``units``: how many the layer has; ``states``: how many arrays of them are its state."""

    def __init__(self, file: bytes) -> None:
        graph = onnx.load_from_string(file).graph
        arrays = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in graph.initializer}
        nodes = {node.op_type: node for node in graph.node}
        (op,) = nodes.keys() & _STATES
        w, r, b = (arrays[name][0] for name in nodes[op].input[1:4])
        self._gates, self._r = w.T.copy(), r.T.copy()
        self._w_bias, self._r_bias = np.split(b, 2)
        self.units, self.states = r.shape[1], _STATES[op]
        attributes = {attribute.name: attribute for attribute in nodes[op].attribute}
        self._relu = "activations" in attributes and attributes["activations"].strings[-1] == b"Relu"
        self._after = "linear_before_reset" in attributes and attributes["linear_before_reset"].i == 1
        self._step: Callable[[Array, States], States] = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[op]
        self._table = arrays[nodes["Gather"].input[0]] if "Gather" in nodes else None
        self._head = arrays[nodes["MatMul"].input[1]], arrays[nodes["Add"].input[1]]
        self._softmax, self._sigmoid = "Softmax" in nodes, "Sigmoid" in nodes
        if op != "GRU":  # whose R bias stands inside the reset for one of the gates
            self._w_bias = self._w_bias + self._r_bias

    def zero(self, *batch: int) -> States:
        return tuple(np.zeros((*batch, self.units)) for _ in range(self.states))

    def run(self, xs: Array, states: States) -> tuple[Array, States]:
        """xs [T, ...] → h [T, ...], and the states behind the last step."""
        given = (xs if self._table is None else self._table[xs]) @ self._gates + self._w_bias
        hs = np.empty((*given.shape[:-1], self.units))
        for t, x in enumerate(given):
            states = self._step(x, states)
            hs[t] = states[0]
        return hs, states

    def outputs(self, hs: Array) -> Array:
        ys: Array = hs @ self._head[0] + self._head[1]
        if self._softmax:
            e = np.exp(ys - ys.max(-1, keepdims=True))
            return e / e.sum(-1, keepdims=True)
        return _sigmoid(ys) if self._sigmoid else ys

    def _lstm(self, x: Array, states: States) -> States:
        h, c = states
        n = self.units
        z = x + h @ self._r
        iof = _sigmoid(z[..., : 3 * n])
        c = iof[..., 2 * n :] * c + iof[..., :n] * np.tanh(z[..., 3 * n :])
        return iof[..., n : 2 * n] * np.tanh(c), c

    def _gru(self, x: Array, states: States) -> States:
        (h,) = states
        n = self.units
        hidden = h @ self._r + self._r_bias
        zr = _sigmoid(x[..., : 2 * n] + hidden[..., : 2 * n])
        z, r = zr[..., :n], zr[..., n:]
        inner = r * hidden[..., 2 * n :] if self._after else (r * h) @ self._r[:, 2 * n :] + self._r_bias[2 * n :]
        return ((1 - z) * np.tanh(x[..., 2 * n :] + inner) + z * h,)

    def _rnn(self, x: Array, states: States) -> States:
        z = x + states[0] @ self._r
        return (np.maximum(z, 0) if self._relu else np.tanh(z),)


def _sigmoid(x: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * x)
