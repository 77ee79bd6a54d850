"""What a contender is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..cases import Case


class MissingError(Exception):
    """What this contender needs is not here; the text says what, and how to get it."""


@dataclass(frozen=True)
class Job:
    """A model made ready. Its state is zero, and goes on from call to call where the case is a step.

    call: from one input to the output, as a user of the library has it. inputs: makes the inputs of ``call`` from the
    case's [N, …], before anything is timed. output: the output as an array again.
    """

    call: Callable[[Any], Any]
    inputs: Callable[[np.ndarray], list[Any]] = list
    output: Callable[[Any], np.ndarray] = np.asarray
    keep: bool = False  # hold on to the outputs of a timed loop
    every: int = 1  # only one output in so many is the case's, its last
    holds: object = None  # what the library was given the addresses of only


@dataclass(frozen=True)
class Contender:
    """One way to use one library.

    module: what it imports. about: what a call does, for the tables. takes: whether it has an answer to this case.
    pinned: runs on the one core; else on all, since the library's own choice of threads is what is looked at. load:
    reads any ONNX file; where given, this contender stands for its library in the table of the bundled models.
    """

    name: str
    module: str
    about: str
    takes: Callable[[Case], bool]
    open: Callable[[Case, Path], Job]
    pinned: bool = True
    load: Callable[[Path], Any] | None = None
