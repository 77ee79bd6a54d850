"""PyTorch: inference_mode, one thread, scripted and frozen.

Steps run the Cell modules, whole sequences the modules that take one. Tried and slower for these sizes:
optimize_for_inference, torch.compile (four times as long a step), the sequence modules for single steps.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..cases import Case
from .contender import Contender, Job

# gates in PyTorch's order, by their place in ONNX's: i,o,f,c → i,f,g,o; z,r,h → r,z,n
_ORDER = {"lstm": (0, 2, 3, 1), "gru": (1, 0, 2), "rnn": (0,)}


def _open(case: Case, folder: Path) -> Job:
    import torch

    torch.set_num_threads(1)
    torch.inference_mode().__enter__()  # for as long as this process lives
    weights = dict(np.load(folder / f"{case.model}.npz"))
    net = _sequence(case, weights) if case.kind == "sequence" else _steps(case, weights)
    sizes = case.streams, case.hidden
    states = [torch.zeros(sizes) for _ in range(case.layers * (2 if case.cell == "lstm" else 1))]
    if case.kind == "sequence":
        x = (
            torch.zeros(1, case.length, dtype=torch.int32)
            if case.tokens
            else torch.zeros(1, case.length, case.features)
        )
        call = torch.jit.freeze(torch.jit.trace(net.eval(), (x,)))
        return Job(call, lambda xs: list(torch.from_numpy(xs[:, None])), lambda y: y.numpy()[0])
    example = (torch.zeros(case.streams, case.features), *states)
    frozen = torch.jit.freeze(torch.jit.trace(net.eval(), example))

    def step(x: Any) -> Any:
        nonlocal states
        y, *states = frozen(x, *states)
        return y

    if case.kind == "pool":
        return Job(step, lambda xs: list(torch.from_numpy(xs)), lambda y: y.numpy())
    return Job(step, lambda xs: list(torch.from_numpy(xs[:, None])), lambda y: y.numpy()[0])


def _steps(case: Case, weights: dict[str, np.ndarray]) -> Any:
    """x and states → y and states."""
    from torch import nn

    cell = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}[case.cell]

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [case.features, *([case.hidden] * case.layers)]
            self.cells = nn.ModuleList(cell(a, b) for a, b in pairwise(sizes))
            for layer, module in enumerate(self.cells):
                _fill(case, weights, layer, module)
            self.dense = _dense(weights)

        def forward(self, x: Any, *states: Any) -> Any:
            after: list[Any] = []
            for layer, module in enumerate(self.cells):
                if case.cell == "lstm":
                    x, c = module(x, states[2 * layer : 2 * layer + 2])
                    after += [x, c]
                else:
                    x = module(x, states[layer])
                    after.append(x)
            return self.dense(x), *after

    return Steps()


def _sequence(case: Case, weights: dict[str, np.ndarray]) -> Any:
    """xs [1, T, F] or tokens [1, T] → y."""
    import torch
    from torch import nn

    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding.from_pretrained(torch.from_numpy(weights["table"])) if case.tokens else None
            self.lstm = nn.LSTM(case.features, case.hidden, batch_first=True)
            _fill(case, weights, 0, self.lstm, "_l0")
            self.dense = _dense(weights)

        def forward(self, x: Any) -> Any:
            if self.embedding is not None:
                x = self.embedding(x)
            _, (h, _) = self.lstm(x)
            y = self.dense(h[0])
            return torch.sigmoid(y) if case.tokens else y

    return Sequence()


def _fill(case: Case, weights: dict[str, np.ndarray], layer: int, module: Any, suffix: str = "") -> None:
    import torch

    def gates(array: np.ndarray) -> Any:
        parts = np.split(array, len(_ORDER[case.cell]))
        return torch.from_numpy(np.concatenate([parts[i] for i in _ORDER[case.cell]]))

    w, r, b = (weights[f"{part}{layer}"] for part in "WRB")
    wb, rb = np.split(b, 2)
    for name, array in (("weight_ih", w), ("weight_hh", r), ("bias_ih", wb), ("bias_hh", rb)):
        getattr(module, name + suffix).data.copy_(gates(array))


def _dense(weights: dict[str, np.ndarray]) -> Any:
    import torch
    from torch import nn

    dense = nn.Linear(*weights["kernel"].shape)
    dense.weight.data.copy_(torch.from_numpy(weights["kernel"].T))
    dense.bias.data.copy_(torch.from_numpy(weights["bias"]))
    return dense


CONTENDERS = (Contender("torch", "torch", "scripted and frozen, 1 thread", lambda case: case.kind != "small", _open),)
