"""How calls are timed."""

from __future__ import annotations

import gc
import itertools
import time

import models
import numpy as np
import pytest

import edgeinfer
from edgeinfer.cli.samples import random_steps
from edgeinfer.cli.timing import Bin, Stopwatch, histogram, histogram_table, measure, ratio, show_ns, undisturbed

# What a sleep of a millisecond takes: never less, and on a busy machine a good deal more.
SLEEP = 0.001
LONGEST = 0.05


def test_calls_are_timed_in_turns_and_as_long_as_they_take() -> None:
    slept: list[float] = []

    def short(seconds: float) -> None:
        slept.append(seconds)
        time.sleep(seconds)

    def long(seconds: float) -> None:
        slept.append(3 * seconds)
        time.sleep(3 * seconds)

    watches = measure([short, long], [SLEEP], 0.2)
    first, second = (watch.timing() for watch in watches)
    assert SLEEP * 0.9 <= first.min_ns / 1e9 <= first.p50_ns / 1e9 <= LONGEST
    assert first.p50_ns < second.p50_ns and first.steps_per_second > second.steps_per_second
    assert 1 < ratio(watches[0].loops, watches[1].loops) < LONGEST / SLEEP
    turns = sum(a != b for a, b in itertools.pairwise(slept))
    assert turns >= 2 * len(watches[0].loops) - 1


def test_steps_of_a_model_take_time_and_quantiles_rise() -> None:
    model = edgeinfer.load(models.plain_model(), backend="reference")
    (watch,) = measure([model.stream().step], random_steps(model, 8), 0.05)
    timing = watch.timing()
    quantiles = [timing.min_ns, timing.p50_ns, timing.p90_ns, timing.p99_ns, timing.p999_ns]
    assert quantiles == sorted(quantiles) and quantiles[0] > 0
    assert sum(b.count for b in timing.histogram) * 2 == timing.steps


def test_as_many_results_as_there_are_inputs_can_be_kept() -> None:
    alive = most = 0

    class Result:
        def __init__(self) -> None:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    Stopwatch(lambda _: Result(), [None] * 8, 0.001).round()
    assert most <= 2
    Stopwatch(lambda _: Result(), [None] * 8, 0.001, keep=True).round()
    assert 8 <= most <= 17 and alive == 0


def test_every_input_comes_in_turn() -> None:
    seen: list[int] = []
    Stopwatch(seen.append, [0, 1, 2], 1e-6).round()
    assert seen[:3] == [0, 1, 2] and set(seen) == {0, 1, 2}


def test_the_ratio_is_of_rounds_side_by_side() -> None:
    # the machine was ten times slower in the second round, for both
    assert ratio([1.0, 10.0, 1.0], [2.0, 20.0, 2.0]) == 2.0


@pytest.mark.parametrize("collecting", [True, False])
def test_garbage_collection_rests_while_timing_and_is_as_it_was_after(collecting: bool) -> None:
    was = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        with undisturbed():
            assert not gc.isenabled()
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if was else gc.disable)()


def test_the_histogram_holds_every_call_once() -> None:
    taken = np.concatenate([np.full(900, 100.0), np.linspace(100.0, 400.0, 90), np.full(10, 1e6)])
    bins = histogram(taken)
    assert sum(b.count for b in bins) == taken.size
    assert (bins[0].from_ns, bins[0].count) == (100.0, max(b.count for b in bins))
    assert bins[-1].to_ns is None and bins[-1].count == 10
    assert all(a.to_ns == b.from_ns for a, b in itertools.pairwise(bins))
    shown = histogram_table(bins).splitlines()
    assert len(shown) == len(bins) + 1 and "100 ns" in shown[1] and "1.0 %" in shown[-1]


@pytest.mark.parametrize("taken", [np.zeros(5), np.full(5, 63.0)])
def test_calls_that_all_take_the_same_are_one_bin(taken: np.ndarray) -> None:
    assert histogram(taken) == (Bin(max(float(taken[0]), 1.0), None, 5),)


def test_durations_have_a_unit_that_fits() -> None:
    shown = [show_ns(t) for t in (0.0, 63.4, 999.4, 999.9, 1500, 2.5e6, 999.96e6, 3e9)]
    assert shown == ["0 ns", "63.4 ns", "999 ns", "1 µs", "1.5 µs", "2.5 ms", "1 s", "3 s"]
