"""The last tokens of a text, brought to the length that a window model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt


def pad_tokens(
    ids: Sequence[int] | npt.NDArray[np.int32],
    length: int,
    value: int = 0,
    side: Literal["left", "right"] = "left",
) -> npt.NDArray[np.int32]:
    """The last ``length`` of ``ids``, or all of them and ``value`` at ``side``: int32 [length]."""
    padded = np.full(length, value, dtype=np.int32)
    kept = np.asarray(ids, dtype=np.int32)[-length:]
    if side == "left":
        padded[length - kept.size :] = kept
    else:
        padded[: kept.size] = kept
    return padded
