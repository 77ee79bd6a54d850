"""LSTM, GRU and RNN in any float dtype, step by step as the ONNX text writes the equations.

Shapes: x [T, B, F], w [D, G*H, F], r [D, G*H, H], b [D, 2*G*H], states [D, B, H]; Y [T, D, B, H].
Attributes: direction, activations (name, alpha, beta per function and direction), linear_before_reset, masked.
sequence_lens int32 [B]: Y is 0 behind a row's length; a row of length 0 ends in zeros, as ONNX Runtime has it (the
ONNX text does not say). With ``masked`` (zero_output, zero_before), which no file holds, it is a mask, bool [B, T]:
what is not kept leaves the state and repeats the output before it in the order of walking, initial_h where there is
none. zero_output: 0 wherever nothing is kept; zero_before: 0 before the first step kept.
``rounded`` is what happens to h before it meets R: in_8_bits for the native backend's precision fast, else nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...errors import InputError
from . import Attributes
from .activations import RECURRENT

Function = Callable[[np.ndarray], np.ndarray]
# (x_t, states before) → states after; the first state is the output h
Step = Callable[[np.ndarray, tuple[np.ndarray, ...]], tuple[np.ndarray, ...]]
Optional = np.ndarray | None


def unchanged(h: np.ndarray) -> np.ndarray:
    return h


def in_8_bits(h: np.ndarray) -> np.ndarray:
    """127 h to the nearest whole number, ties to even, in [-127, 127]; then divided by 127 again."""
    return np.clip(np.rint(h.astype(np.float32) * np.float32(127)), -127, 127).astype(h.dtype) / h.dtype.type(127)


def lstm(
    attributes: Attributes,
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: Optional = None,
    sequence_lens: Optional = None,
    initial_h: Optional = None,
    initial_c: Optional = None,
    p: Optional = None,
    rounded: Function = unchanged,
) -> tuple[np.ndarray, ...]:
    """i, o, f = f(Wx + Rh + b); c' = f*c + i*g(Wx + Rh + b); h' = o*h(c')."""

    def make_step(d: int, f: Function, g: Function, h_act: Function) -> Step:
        bias = _bias(b, d, r)

        def step(x_t: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            h, c = states
            i, o, fo, cc = np.split(x_t @ w[d].T + rounded(h) @ r[d].T + bias[0] + bias[1], 4, axis=-1)
            c = f(fo) * c + f(i) * g(cc)
            return f(o) * h_act(c), c

        return step

    return _run(attributes, x, r, sequence_lens, (initial_h, initial_c), make_step)


def gru(
    attributes: Attributes,
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: Optional = None,
    sequence_lens: Optional = None,
    initial_h: Optional = None,
    rounded: Function = unchanged,
) -> tuple[np.ndarray, ...]:
    """h' = (1 - z)*n + z*h, with r applied to Rh + Rb when linear_before_reset, else to h."""
    linear_before_reset = attributes["linear_before_reset"]

    def make_step(d: int, f: Function, g: Function) -> Step:
        wb, rb = _bias(b, d, r)
        w_z, w_r, w_h = np.split(w[d], 3)
        r_z, r_r, r_h = np.split(r[d], 3)
        wb_z, wb_r, wb_h = np.split(wb, 3)
        rb_z, rb_r, rb_h = np.split(rb, 3)

        def step(x_t: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            (h,) = states
            z = f(x_t @ w_z.T + rounded(h) @ r_z.T + wb_z + rb_z)
            reset = f(x_t @ w_r.T + rounded(h) @ r_r.T + wb_r + rb_r)
            if linear_before_reset:
                n = g(x_t @ w_h.T + wb_h + reset * (rounded(h) @ r_h.T + rb_h))
            else:
                n = g(x_t @ w_h.T + wb_h + rounded(reset * h) @ r_h.T + rb_h)
            return ((1 - z) * n + z * h,)

        return step

    return _run(attributes, x, r, sequence_lens, (initial_h,), make_step)


def rnn(
    attributes: Attributes,
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: Optional = None,
    sequence_lens: Optional = None,
    initial_h: Optional = None,
    rounded: Function = unchanged,
) -> tuple[np.ndarray, ...]:
    """h' = f(Wx + Rh + b)."""

    def make_step(d: int, f: Function) -> Step:
        bias = _bias(b, d, r)

        def step(x_t: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            return (f(x_t @ w[d].T + rounded(states[0]) @ r[d].T + bias[0] + bias[1]),)

        return step

    return _run(attributes, x, r, sequence_lens, (initial_h,), make_step)


def _bias(b: Optional, d: int, r: np.ndarray) -> np.ndarray:
    """Wb and Rb of one direction, [2, G*H]."""
    rows = r.shape[1]
    if b is None:
        return np.zeros((2, rows), r.dtype)
    return b[d].reshape(2, rows)


def _run(
    attributes: Attributes,
    x: np.ndarray,
    r: np.ndarray,
    which: Optional,
    initial: Sequence[Optional],
    make_step: Callable[..., Step],
) -> tuple[np.ndarray, ...]:
    directions, hidden_size = r.shape[0], r.shape[2]
    steps, batch = x.shape[:2]
    y = np.zeros((steps, directions, batch, hidden_size), x.dtype)
    finals = [np.zeros((directions, batch, hidden_size), x.dtype) for _ in initial]
    activations = attributes["activations"]
    per_direction = len(activations) // directions
    masked = attributes["masked"]
    zero_output, zero_before = masked or (True, True)
    kept = _kept(which, masked is not None, steps, batch)
    for d in range(directions):
        chosen = activations[d * per_direction : (d + 1) * per_direction]
        step = make_step(d, *(_function(*entry) for entry in chosen))
        states = tuple(np.zeros((batch, hidden_size), x.dtype) if start is None else start[d] for start in initial)
        output = np.zeros_like(states[0]) if zero_before else states[0]
        backwards = attributes["direction"] == "reverse" or d == 1
        for t in range(steps - 1, -1, -1) if backwards else range(steps):
            after = step(x[t], states)
            if kept is None:
                states = after
                y[t, d] = states[0]
                continue
            states = tuple(np.where(kept[t], new, old) for new, old in zip(after, states, strict=True))
            output = np.where(kept[t], states[0], output)
            y[t, d] = np.where(kept[t], output, 0) if zero_output else output
        for final, state in zip(finals, states, strict=True):
            final[d] = state
    if which is not None and masked is None:
        finals = [np.where(which[:, None] > 0, final, 0).astype(x.dtype) for final in finals]
    return (y, *finals)


def _kept(which: Optional, is_mask: bool, steps: int, batch: int) -> Optional:
    """[T, B, 1]: which steps of a row count; None where all do."""
    if which is None:
        return None
    if is_mask:
        return which.T[..., None]
    if ((which < 0) | (which > steps)).any():
        raise InputError("sequence_lens: a length is outside 0 to the number of steps")
    return (np.arange(steps)[:, None] < which)[..., None]


def _function(name: str, alpha: float, beta: float) -> Function:
    function = RECURRENT[name][0]
    return lambda x: function(x, alpha, beta)
