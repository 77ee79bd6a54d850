"""How far the answers of Keras, ONNX Runtime and edgeinfer lie apart."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Differences:
    """The largest differences found, each relative to max(1, |y|), and on how many inputs.

    ``masked`` of the ``cases`` had masked steps."""

    keras_onnxruntime: float = 0.0
    keras_native: float = 0.0
    onnxruntime_native: float = 0.0
    cases: int = field(default=0)
    masked: int = field(default=0)

    def add(self, keras: np.ndarray, onnxruntime: np.ndarray, native: np.ndarray) -> None:
        """Take one output into account, as the three gave it."""
        self.keras_onnxruntime = max(self.keras_onnxruntime, difference(keras, onnxruntime))
        self.keras_native = max(self.keras_native, difference(keras, native))
        self.onnxruntime_native = max(self.onnxruntime_native, difference(onnxruntime, native))

    @property
    def largest(self) -> float:
        return max(self.keras_onnxruntime, self.keras_native, self.onnxruntime_native)

    def table(self) -> str:
        """Three lines for people, and one more where the model masks."""
        rows = (
            ("keras - onnxruntime", self.keras_onnxruntime),
            ("keras - native", self.keras_native),
            ("onnxruntime - native", self.onnxruntime_native),
        )
        lines = [f"{name:<22}{value:.2e}" for name, value in rows]
        if self.masked:
            lines.append(f"{'masked steps':<22}in {self.masked} of {self.cases} inputs")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, float | int]:
        return {
            "keras_onnxruntime": self.keras_onnxruntime,
            "keras_native": self.keras_native,
            "onnxruntime_native": self.onnxruntime_native,
            "cases": self.cases,
            "masked_cases": self.masked,
        }


def difference(expected: np.ndarray, got: np.ndarray) -> float:
    """max |got - expected| / max(1, |expected|); infinite where shapes differ or a value is not finite."""
    expected, got = np.asarray(expected, np.float64), np.asarray(got, np.float64)
    if expected.shape != got.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    if not (np.isfinite(expected).all() and np.isfinite(got).all()):
        return float("inf")
    return float(np.max(np.abs(got - expected) / np.maximum(1.0, np.abs(expected))))
