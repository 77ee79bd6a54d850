"""SimpleRNN, GRU, LSTM, RNN(cell), RNN([cells]), StackedRNNCells: one node per cell, each with a state of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..supported import cells_of, check_recurrent
from .masked import as_mask
from .record import Recorder, flat
from .recurrent import emit_recurrent, states_of


@dataclass(frozen=True)
class _Level:
    """What ``emit_recurrent`` reads of a layer, for one cell of a stack."""

    cell: Any
    go_backwards: bool
    return_sequences: bool
    zero_output_for_mask: bool


def call_recurrent(
    recorder: Recorder,
    layer: Any,
    sequences: Any,
    initial_state: Any = None,
    mask: Any = None,
    training: bool = False,
) -> Any:
    """Leave a placeholder for every cell of ``layer(sequences)``."""
    check_recurrent(layer)
    states = None if initial_state is None else flat(initial_state)
    mask = as_mask(layer, mask, sequences)
    output, final = emit_stack(recorder, layer.name, sequences, layer, states, layer.go_backwards, mask)
    return (output, *pack_states(layer.cell, final)) if layer.return_state else output


def emit_stack(
    recorder: Recorder,
    name: str,
    sequences: Any,
    layer: Any,
    initial_state: Sequence[Any] | None,
    reverse_output: bool,
    mask: Any,
) -> tuple[Any, list[Any]]:
    """Leave a placeholder for each cell of a RNN layer: output, final states in the order of the cells.

    Below the last cell sequences keep the order of time, whichever way they are read.
    """
    cells = cells_of(layer.cell)
    given = None if initial_state is None else list(initial_state)
    output, final = sequences, []
    for i, (place, cell) in enumerate(cells):
        last = i == len(cells) - 1
        level = _Level(cell, layer.go_backwards, layer.return_sequences or not last, layer.zero_output_for_mask)
        own = None
        if given is not None:
            count = states_of(cell)
            own, given = given[:count], given[count:]
        label = f"{name}/{place}" if place else name
        output, states = emit_recurrent(recorder, label, output, [level], own, reverse_output and last, mask=mask)
        final.extend(states)
    return output, final


def pack_states(cell: Any, states: Sequence[Any]) -> list[Any]:
    """Final states in Keras' structure: flat for one cell, else a list per cell of a stack."""
    return _packed(cell, iter(states))


def _packed(cell: Any, states: Iterator[Any]) -> list[Any]:
    if hasattr(cell, "cells"):
        return [_packed(part, states) for part in cell.cells]
    return [next(states) for _ in range(states_of(cell))]
