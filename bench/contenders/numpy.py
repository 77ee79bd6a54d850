"""The cells in plain NumPy, as one writes them for speed: gates in one product, buffers kept. The floor of effort."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..cases import Case
from .contender import Contender, Job

Step = Callable[[np.ndarray], np.ndarray]


def _open(case: Case, folder: Path) -> Job:
    weights = dict(np.load(folder / f"{case.model}.npz"))
    cells = [_CELLS[case.cell](weights, layer, case.streams) for layer in range(case.layers)]
    kernel, bias = weights["kernel"], weights["bias"]

    def step(x: np.ndarray) -> np.ndarray:
        for advance, _ in cells:
            x = advance(x)
        return x @ kernel + bias

    def sequence(xs: np.ndarray) -> np.ndarray:
        for _, reset in cells:
            reset()
        if case.tokens:
            xs = weights["table"][xs]
        for x in xs:
            y = step(x[None])
        return 1 / (1 + np.exp(-y)) if case.tokens else y

    if case.kind == "sequence":
        return Job(sequence, list, lambda y: y[0])
    if case.kind == "pool":
        return Job(step)
    return Job(step, lambda xs: list(xs[:, None]), lambda y: y[0])


def _lstm(weights: dict[str, np.ndarray], layer: int, batch: int) -> tuple[Step, Callable[[], None]]:
    w, r, b = (weights[f"{part}{layer}"] for part in "WRB")
    hidden, features = r.shape[1], w.shape[1]
    kernel = np.ascontiguousarray(np.concatenate([w, r], axis=1).T)
    kernel[:, : 3 * hidden] *= 0.5  # sigmoid(z) = tanh(z / 2) / 2 + 1 / 2, so that one tanh does all gates
    bias = b.reshape(2, -1).sum(axis=0)
    bias[: 3 * hidden] *= 0.5
    xh = np.zeros((batch, features + hidden), np.float32)
    c = np.zeros((batch, hidden), np.float32)
    z = np.empty((batch, 4 * hidden), np.float32)
    gates, (i, o, f, g) = z[:, : 3 * hidden], (z[:, k * hidden : (k + 1) * hidden] for k in range(4))
    h = xh[:, features:]

    def step(x: np.ndarray) -> np.ndarray:
        xh[:, :features] = x
        np.matmul(xh, kernel, out=z)
        np.add(z, bias, out=z)
        np.tanh(z, out=z)
        np.multiply(gates, 0.5, out=gates)
        np.add(gates, 0.5, out=gates)
        np.multiply(c, f, out=c)
        np.multiply(i, g, out=g)
        np.add(c, g, out=c)
        np.tanh(c, out=h)
        np.multiply(h, o, out=h)
        return h

    def reset() -> None:
        xh[:], c[:] = 0, 0

    return step, reset


def _gru(weights: dict[str, np.ndarray], layer: int, batch: int) -> tuple[Step, Callable[[], None]]:
    w, r, b = (weights[f"{part}{layer}"] for part in "WRB")
    hidden = r.shape[1]
    wb, rb = b.reshape(2, -1)
    w, r = np.ascontiguousarray(w.T), np.ascontiguousarray(r.T)
    state = np.zeros((batch, hidden), np.float32)

    def step(x: np.ndarray) -> np.ndarray:
        wx, rh = x @ w + wb, state @ r + rb
        zr = 1 / (1 + np.exp(-(wx[:, : 2 * hidden] + rh[:, : 2 * hidden])))
        z, reset_gate = zr[:, :hidden], zr[:, hidden:]
        new = np.tanh(wx[:, 2 * hidden :] + reset_gate * rh[:, 2 * hidden :])
        state[:] = new + z * (state - new)
        return state

    def reset() -> None:
        state[:] = 0

    return step, reset


def _rnn(weights: dict[str, np.ndarray], layer: int, batch: int) -> tuple[Step, Callable[[], None]]:
    w, r, b = (weights[f"{part}{layer}"] for part in "WRB")
    hidden, features = r.shape[1], w.shape[1]
    kernel = np.ascontiguousarray(np.concatenate([w, r], axis=1).T)
    bias = b.reshape(2, -1).sum(axis=0)
    xh = np.zeros((batch, features + hidden), np.float32)
    h = xh[:, features:]
    z = np.empty((batch, hidden), np.float32)

    def step(x: np.ndarray) -> np.ndarray:
        xh[:, :features] = x
        np.matmul(xh, kernel, out=z)
        np.add(z, bias, out=z)
        np.tanh(z, out=h)
        return h

    def reset() -> None:
        xh[:] = 0

    return step, reset


_CELLS = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}

CONTENDERS = (Contender("numpy", "numpy", "the cell written in NumPy", lambda case: case.kind != "small", _open),)
