"""Models made at random: each is exported and equal to Keras, or refused by name for a reason on the list."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from matrix import check as checks
from matrix.check import check, difference
from matrix.random_models import command_for, examine_random, is_finding, random_model

MODELS = 40
MORE = 1000
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*destroy the mask information:UserWarning"),
    pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*np.object:FutureWarning"),
]


@pytest.mark.parametrize("seed", range(MODELS))
def test_a_random_model_agrees_with_keras(seed: int, keras: Any) -> None:
    found = examine_random(seed)
    assert not is_finding(found), f"{found}\n{command_for(seed)}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(MODELS, MORE))
def test_more_random_models_agree_with_keras(seed: int, keras: Any) -> None:
    found = examine_random(seed)
    assert not is_finding(found), f"{found}\n{command_for(seed)}"


def test_a_seed_gives_the_same_model_again(keras: Any) -> None:
    (one, made), (other, again) = random_model(3), random_model(3)
    assert made == again
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_flipped_weight_is_found(keras: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)])
    compare = checks._compare_file

    def spoiled(path: Any, *rest: Any) -> None:
        proto = onnx.load(path)
        weight = proto.graph.initializer[0]
        values = onnx.numpy_helper.to_array(weight).copy()
        values.flat[0] += 0.1
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        onnx.save(proto, path)
        compare(path, *rest)

    assert check(model, 1).status == "equal"
    monkeypatch.setattr(checks, "_compare_file", spoiled)
    found = check(model, 1)
    assert found.status == "wrong"
    assert found.why is not None and "differs from Keras by" in found.why


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        ({"status": "equal"}, False),
        ({"status": "wrong", "why": "native differs"}, True),
        ({"status": "failed", "why": "KeyError"}, True),
        ({"status": "refused", "layer": "a", "why": 'layer "a": activation "gelu" has no ONNX recurrent form'}, False),
        ({"status": "refused", "layer": "a", "why": 'layer "a": masks are not exported yet'}, True),
        ({"status": "refused", "why": 'activation "gelu" has no ONNX recurrent form'}, True),
    ],
)
def test_what_counts_as_a_finding(found: dict[str, Any], finding: bool) -> None:
    assert is_finding(found) is finding


def test_differences_are_relative_and_infinite_where_shapes_or_what_is_finite_differ() -> None:
    assert difference(np.array([100.0]), np.array([101.0])) == 0.01
    assert difference(np.array([0.1]), np.array([0.2])) == pytest.approx(0.1)
    assert difference(np.zeros(2), np.zeros((2, 1))) == np.inf
    assert difference(np.array([np.inf]), np.array([1.0])) == np.inf
    assert difference(np.array([np.nan, 1.0]), np.array([np.nan, 1.0])) == 0
    assert difference(np.zeros(1, np.int64), np.zeros(1, np.float32)) == np.inf
