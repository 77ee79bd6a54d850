"""Steps at the pace of a sensor."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import Command

from edgeinfer.cli.pace import MAX_STEPS, Paced, pace, pace_json, pace_table
from edgeinfer.errors import InputError

MS = 1_000_000
# A busy machine may wake a process late, but not by this much.
LONGEST = 0.25


def test_every_sample_has_a_due_time_of_its_own() -> None:
    seen: list[tuple[int, float]] = []
    started = time.perf_counter()
    found = pace(lambda x: seen.append((x, time.perf_counter() - started)), [7, 8, 9], rate=100, seconds=0.3)
    assert [x for x, _ in seen] == [7, 8, 9] * 10
    assert all(at >= i / 100 for i, (_, at) in enumerate(seen)) and seen[-1][1] < 0.29 + LONGEST
    assert np.all(found.began >= 0) and np.all(found.ended >= found.began)


def test_one_long_step_does_not_move_the_samples_after_it() -> None:
    calls: list[float] = []

    def stall_once(_: object) -> None:
        calls.append(time.perf_counter())
        if len(calls) == 3:
            time.sleep(0.1)

    found = pace(stall_once, [None], rate=50, seconds=0.6)
    period = 20 * MS
    assert found.missed >= 4  # itself, and those that came due while it slept
    assert found.began[3] > 3 * period and found.began[-1] < LONGEST * 1e9
    assert calls[-1] - calls[0] < 29 * 0.02 + LONGEST
    # what piled up was worked off without a pause
    assert found.began[4] < found.began[3] - period / 2


def test_a_step_longer_than_the_period_misses_every_deadline() -> None:
    found = pace(lambda _: time.sleep(0.01), [None], rate=200, seconds=0.1)
    assert found.missed == found.began.size == 20
    assert np.all(np.diff(found.ended) > 0)
    assert found.cpu_share < 0.9  # it slept
    assert found.late <= 1  # nothing but the first could have begun in time


def test_misses_and_late_starts_are_told_apart() -> None:
    began = np.array([0, 2 * MS, 0, 9 * MS, 1 * MS])
    took = np.array([1, 1, 12, 1, 1]) * MS
    found = Paced(10.0 * MS, began, began + took, 0.25)
    assert found.missed == 1  # the third took longer than the period
    assert found.late == 1  # the second was woken late; the fourth had to wait for the third
    about = pace_json(found)
    assert (about["steps"], about["missed"], about["late_starts"], about["cpu_share"]) == (5, 1, 1, 0.25)
    assert about["step_ns"]["max"] == 12 * MS and about["answer_after_due_ns"]["min"] == 1 * MS
    shown = pace_table(found, 500.0)
    assert "1 of 5 deadlines" in shown and "25 % of a core; the steps alone 32 %" in shown and "500 ns" in shown


def test_a_period_longer_than_the_run_is_one_sample() -> None:
    assert pace(lambda _: None, [None], rate=0.001, seconds=0.1).began.size == 1


def test_more_samples_than_memory_should_hold_are_refused() -> None:
    with pytest.raises(InputError, match=r"--rate 1e.06 for --seconds 3000: expected at most 10,000,000 steps"):
        pace(lambda _: None, [None], rate=1e6, seconds=3000)
    assert MAX_STEPS == 10_000_000


def test_bench_at_a_rate_tells_deadlines_jitter_and_cpu(command: Command, files: Path) -> None:
    arguments = ("bench", files / "demand.onnx", "--rate", "200", "--seconds", "0.2")
    found = command(*arguments, "--json").json
    assert (found["model"], found["mode"], found["rate_hz"], found["steps"]) == ("demand", "stream", 200.0, 40)
    for name in ("start_after_due_ns", "step_ns", "answer_after_due_ns"):
        quantiles = list(found[name].values())
        assert quantiles == sorted(quantiles) and list(found[name])[-1] == "max"
    assert 0 <= found["missed"] <= 40 and 0 < found["cpu_share"] <= 1.5 and found["flat_out_p50_ns"] > 0
    out = command(*arguments).out
    assert "due every 5 ms (200 Hz), 40 samples" in out and "late starts" in out


def test_bench_at_a_rate_fills_a_window_that_waits_first(command: Command, files: Path) -> None:
    out = command("bench", files / "sum.onnx", "--rate", "500", "--seconds", "0.02").out
    assert "recomputes the whole window of 2 inputs" in out and "10 samples" in out


@pytest.mark.parametrize("rate", ["0", "-5", "nan", "inf", "2e6", "often"])
def test_bench_wants_a_rate(command: Command, files: Path, rate: str) -> None:
    result = command("bench", files / "sum.onnx", f"--rate={rate}")
    assert result.status == 2 and "invalid rate in Hz value" in result.err


def test_bench_at_a_rate_compares_nothing(command: Command, files: Path) -> None:
    result = command("bench", files / "sum.onnx", "--rate", "10", "--against", "reference")
    assert result.status == 2 and "--rate takes no --against" in result.err
