"""The matrix of Keras models: a seeded sample here, all of it in the slow tier; and the page that it makes."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from matrix import page
from matrix.case import Case, pairwise
from matrix.cases import all_cases
from matrix.command import as_expected, load
from matrix.work import examine

ROOT = Path(__file__).parents[2]
SAMPLE = 40
# The least that the page promises to show.
MODELS = 400
# Keras says so where a layer drops a mask, and where an axis under a softmax has length 1.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*destroy the mask information:UserWarning"),
    pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*np.object:FutureWarning"),
]


def sample() -> list[Case]:
    """Some cases of every group, by a fixed seed."""
    chance = random.Random(5)
    groups: dict[str, list[Case]] = {}
    for case in all_cases().values():
        groups.setdefault(case.group, []).append(case)
    each = SAMPLE // len(groups)
    return [case for cases in groups.values() for case in chance.sample(cases, min(each, len(cases)))]


@pytest.mark.parametrize("case", sample(), ids=lambda case: case.id)
def test_a_model_of_the_sample_is_exported_and_equal_to_keras(case: Case, keras: Any) -> None:
    found = examine(case.id)
    assert as_expected(case.id, found), found


@pytest.mark.slow
@pytest.mark.parametrize("name", all_cases())
def test_every_model_of_the_matrix_is_exported_and_equal_to_keras(name: str, keras: Any) -> None:
    found = examine(name)
    assert as_expected(name, found), found


def test_the_page_says_what_the_committed_results_say() -> None:
    written = (ROOT / "docs" / "keras-support.md").read_text("utf-8")
    assert written == page.page(load("export"), load("plain"))


def test_the_committed_results_are_those_of_the_cases_that_there_are() -> None:
    export, plain = load("export")["cases"], load("plain")["cases"]
    assert list(export) == list(all_cases())
    assert set(plain) <= set(all_cases())
    assert len(export) >= MODELS


def test_every_case_is_exported_and_equal_or_refused_as_it_should_be() -> None:
    export = load("export")["cases"]
    assert {name: found for name, found in export.items() if not as_expected(name, found)} == {}


def test_no_exported_model_has_a_loop_scan_or_if() -> None:
    assert sum(found.get("control_flow", 0) for found in load("export")["cases"].values()) == 0


def test_a_pairwise_cover_has_every_pair_that_is_allowed() -> None:
    axes = {"a": [1, 2, 3], "b": ["x", "y"], "c": [True, False], "d": [0, 1, 2, 3]}

    def allowed(row: dict[str, Any]) -> bool:
        return not (row["a"] == 3 and row["b"] == "x")

    rows = pairwise(axes, allowed)
    assert all(allowed(row) for row in rows)
    assert len(rows) < 3 * 2 * 2 * 4 / 2
    for one, other in itertools.combinations(axes, 2):
        wanted = set(itertools.product(axes[one], axes[other]))
        if (one, other) == ("a", "b"):
            wanted.discard((3, "x"))
        assert {(row[one], row[other]) for row in rows} == wanted
