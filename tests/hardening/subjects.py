"""The models that the campaigns over the API run: small, of every way in which a stream is computed.

`write` puts them into a folder, so that a process under a sanitizer has no ONNX library to load.
"""

from __future__ import annotations

from pathlib import Path

from tests import models
from tests.runtime import graphs


def files() -> dict[str, bytes]:
    return {
        # all of the step in the C core
        "floats": graphs.recurrent_model("LSTM", features=3, hidden=9, outputs=2),
        "number": graphs.recurrent_model("GRU", features=1, hidden=4, outputs=1, linear_before_reset=1),
        "tokens": graphs.token_model(),
        "two": graphs.two_outputs_model(),
        # so much of it that the GIL is given away: 110 * (64 + 110) * 4 multiplications a step
        "large": graphs.recurrent_model("LSTM", features=64, hidden=110, outputs=3),
        # NumPy nodes in between
        "numpy": graphs.recurrent_model("GRU", head=["Selu"]),
        # windows
        "window": graphs.recurrent_model("RNN", states=False, last=True, spec=_window("wait")),
        "padded": graphs.recurrent_model("GRU", states=False, last=True, spec=_window("pad")),
        "partial": graphs.recurrent_model("LSTM", states=False, last=True, spec=_window("partial")),
        "plain": graphs.recurrent_model("GRU", states=False, last=True, head=["Selu"], spec=_window("partial")),
        # pipelines
        "forecast": models.demand_model(),
        "classify": models.sentiment_model(),
        "next": models.next_word_model(),
    }


def _window(start: str) -> dict[str, object]:
    return {"mode": "window", "window": {"length": 3, "start": start}}


def write(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files().items():
        (folder / f"{name}.onnx").write_bytes(data)
    return folder
