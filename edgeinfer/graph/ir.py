"""The graph: nodes in an order that runs, constants, and what goes in and out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ModelFormatError, UnsupportedOperatorError
from ..limits import DEFAULT, Limits
from ..records import NamedTuple

Dim = int | str | None


class ValueInfo(NamedTuple):
    """A graph input or output. A dimension is an int, or a name or None where it is dynamic."""

    name: str
    dtype: np.dtype
    shape: tuple[Dim, ...]


class Node(NamedTuple):
    """One operator call. Attributes are complete: defaults are filled in, older opsets' forms brought to one."""

    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def where(self) -> str:
        return f'in node "{self.name}" ({self.op_type})'

    def malformed(self, message: str) -> ModelFormatError:
        """The error of a node that breaks ONNX's own rules."""
        return ModelFormatError(f"{self.where}: {message}")

    def unsupported(self, message: str, attribute: str | None = None) -> UnsupportedOperatorError:
        """The error of a node that is valid ONNX, but not implemented."""
        return UnsupportedOperatorError(
            f"{self.where}: {message}", op_type=self.op_type, node=self.name, attribute=attribute
        )


class Value(NamedTuple):
    """What is known of a tensor once input shapes are: dtype, shape, and the data where it is constant."""

    dtype: np.dtype
    shape: tuple[int, ...]
    data: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @classmethod
    def of(cls, array: np.ndarray) -> Value:
        return cls(array.dtype, array.shape, array)


class Small(NamedTuple):
    """A float32 constant as the file stores it: int8 times a scale, or float16.

    ``scale`` is float32 and broadcasts to ``values``; None for float16.
    """

    values: np.ndarray
    scale: np.ndarray | None = None

    @property
    def kind(self) -> str:
        return self.values.dtype.name

    def widened(self) -> np.ndarray:
        """The constant in float32, as DequantizeLinear or Cast give it."""
        wide = self.values.astype(np.float32)
        return wide if self.scale is None else wide * self.scale

    def transposed(self) -> Small:
        """Of a matrix."""
        return Small(self.values.T, None if self.scale is None else self.scale.T)


class Graph(NamedTuple):
    """Nodes are in topological order; every name is produced once.

    What stands in ``small`` has no data of its own in ``constants``, only its shape; ``array`` gives the values of
    either.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    opset: int
    producer: str = ""
    limits: Limits = DEFAULT
    small: Mapping[str, Small] = {}

    def array(self, name: str) -> np.ndarray:
        """The values of a constant; widened each time where it is small."""
        return self.small[name].widened() if name in self.small else self.constants[name]
