"""``edgeinfer demo``: the bundled models answer as they should."""

from __future__ import annotations

import numpy as np
import pytest
from cli_helpers import Command

from edgeinfer.cli import demo

# What the recipe promises for 5, 6.
SUM_TOLERANCE = 0.5
# The demand model's error over its test data is near 3 % of the mean; no single day is far above.
WORST_DAY = 0.1


def test_the_bundled_models_answer(command: Command) -> None:
    found = command("demo", "--json").json
    assert found["sum"]["forecast"]["values"][0] == pytest.approx(11, abs=SUM_TOLERANCE)
    assert found["next_word"]["candidates"][0]["word"] in ("machine", "deep")
    assert {review["label"] for review in found["sentiment"]} == {"positive", "negative"}
    demand = found["demand"]
    assert len(demand["values"]) == len(demand["actual"]) == len(demand["times"]) == 24
    errors = np.abs(np.subtract(demand["values"], demand["actual"]))
    assert demand["mean_absolute_error"] == pytest.approx(errors.mean())
    assert errors.mean() < WORST_DAY * np.mean(demand["actual"])
    assert set(found["step"]) == set(demo.MODELS)
    assert all(timing["p50_ns"] > 0 for timing in found["step"].values())


def test_the_demo_shows_forecast_and_truth_side_by_side(command: Command) -> None:
    result = command("demo", "--backend", "reference")
    assert (result.status, result.err) == (0, "")
    for shown in ("on reference", "5, 6 -> 1", "forecast  actual  error", "Mean absolute error", "time per step"):
        assert shown in result.out, shown
    assert sum(("o" in line and ":00" in line) or "*" in line for line in result.out.splitlines()) >= 24


def test_a_model_that_is_not_bundled_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "MODELS", ("sum", "telepathy"))
    result = command("demo")
    assert result.status == 3
    assert result.err == "edgeinfer: error: telepathy.onnx is not bundled with this installation\n"
