"""Plain NumPy twins of every operator, written from the ONNX text: the oracle of the tests, the reference backend,
and what answers off the step's path.

A twin takes the node's attributes (defaults filled in) and its input arrays, None where an optional input is absent,
and returns the outputs as a tuple. It is called with NumPy's warnings off (kernels/quiet.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Attributes = Mapping[str, Any]
Twin = Callable[..., tuple[np.ndarray, ...]]

__all__ = ["Attributes", "Twin"]
