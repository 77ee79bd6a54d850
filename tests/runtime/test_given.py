"""Inputs that are fixed: a decoder with what its encoder said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import SEED, TOLERANCE, Arrays, ask_onnxruntime, build, node, value

import edgeinfer
from edgeinfer.errors import InputError, ModelFormatError, ModelLoadError, StreamError

HIDDEN, FEATURES = 6, 3
MEMORY = 5
SHA = "ab" * 32
ENCODER: dict[str, Any] = {
    "sha256": SHA,
    "states": {"cell/initial_h": "last_h", "cell/initial_c": "last_c"},
    "constants": {"memory": "sequence"},
}
PAIRS = [{"input": f"cell/initial_{k}", "output": f"cell/final_{k}"} for k in "hc"]


def decoder(encoder: dict[str, Any] | None = ENCODER, **spec: Any) -> bytes:
    """A LSTM whose output asks ``memory`` [batch, source, hidden] by dot products, and adds what it finds."""
    generator = np.random.default_rng(SEED)
    weights = {
        "w": generator.standard_normal((1, 4 * HIDDEN, FEATURES)),
        "r": generator.standard_normal((1, 4 * HIDDEN, HIDDEN)),
        "key": generator.standard_normal((HIDDEN, HIDDEN)),
    }
    constants: Arrays = {name: array.astype(np.float32) for name, array in weights.items()}
    constants = {**constants, "one": np.array([1], np.int64)}
    states = {kind: [1, "batch", HIDDEN] for kind in ("cell/initial_h", "cell/initial_c")}
    after = {kind: [1, "batch", HIDDEN] for kind in ("cell/final_h", "cell/final_c")}
    nodes = [
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node(
            "LSTM",
            ["xt", "w", "r", "", "", "cell/initial_h", "cell/initial_c"],
            ["sequence", "cell/final_h", "cell/final_c"],
            "cell",
            hidden_size=HIDDEN,
        ),
        node("Squeeze", ["sequence", "one"], ["flat"]),
        node("Transpose", ["flat"], ["query"], perm=[1, 0, 2]),
        node("MatMul", ["memory", "key"], ["keys"], "keys"),
        node("Transpose", ["keys"], ["turned"], "turned", perm=[0, 2, 1]),
        node("MatMul", ["query", "turned"], ["scores"], "scores"),
        node("Softmax", ["scores"], ["shares"], axis=-1),
        node("MatMul", ["shares", "memory"], ["found"], "found"),
        node("Add", ["found", "query"], ["y"]),
    ]
    return build(
        nodes,
        [
            value("x", ["batch", "time", FEATURES]),
            value("memory", ["batch", "source", HIDDEN]),
            *(value(name, shape) for name, shape in states.items()),
        ],
        [value("y", ["batch", "time", HIDDEN]), *(value(name, shape) for name, shape in after.items())],
        constants,
        spec={"mode": "stream", "states": PAIRS, **({"encoder": encoder} if encoder else {}), **spec},
    )


def said(batch: int = 1, source: int = MEMORY) -> dict[str, np.ndarray]:
    """What an encoder gives, under its own names."""
    generator = np.random.default_rng(SEED + 1)
    shapes = {"last_h": (1, batch, HIDDEN), "last_c": (1, batch, HIDDEN), "sequence": (batch, source, HIDDEN)}
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def expected(x: np.ndarray, given: dict[str, np.ndarray]) -> np.ndarray:
    feeds = {"x": x, "memory": given["sequence"], "cell/initial_h": given["last_h"], "cell/initial_c": given["last_c"]}
    return ask_onnxruntime(decoder(), feeds)[0]


def sequence(batch: int = 1, steps: int = 7) -> np.ndarray:
    return np.random.default_rng(SEED + 2).standard_normal((batch, steps, FEATURES)).astype(np.float32)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_steps_of_a_decoder_are_what_the_whole_sequence_gives(backend: Any) -> None:
    given, x = said(), sequence()
    model = edgeinfer.load(decoder(), backend=backend).given(given)
    assert model.backend == backend
    assert [info.name for info in model.inputs] == ["x"]
    stream = model.stream()
    rows = np.stack([np.array(stream.step(row)) for row in x[0]])
    np.testing.assert_allclose(rows, expected(x, given)[0], atol=TOLERANCE)
    stream.reset()
    np.testing.assert_array_equal(stream.run(x[0]), rows)
    np.testing.assert_allclose(model(x), expected(x, given), atol=TOLERANCE)
    np.testing.assert_array_equal(model(x), model(x))


def test_a_batch_of_decoders_runs_over_whole_sequences() -> None:
    given, x = said(batch=3), sequence(batch=3)
    model = edgeinfer.load(decoder(), backend="native")
    feeds = {"x": x, "memory": given["sequence"], "cell/initial_h": given["last_h"], "cell/initial_c": given["last_c"]}
    np.testing.assert_allclose(model.run(["y"], feeds)[0], expected(x, given), atol=TOLERANCE)


def test_the_model_itself_is_as_it_was() -> None:
    model = edgeinfer.load(decoder(), backend="native")
    first, second = model.given(said(source=4)), model.given(said(source=9))
    assert len(model.inputs) == 2
    step = sequence()[0, 0]
    assert not np.array_equal(first.stream().step(step), second.stream().step(step))
    with pytest.raises(
        StreamError, match=r"the model is a decoder, and \['memory'\] come from its encoder: model\.given"
    ):
        model.stream()


def test_a_snapshot_is_for_the_same_constants() -> None:
    model = edgeinfer.load(decoder(), backend="native")
    stream = model.given(said()).stream()
    stream.step(sequence()[0, 0])
    model.given(said()).stream().restore(stream.snapshot())
    with pytest.raises(StreamError, match="another model"):
        model.given(said(source=4)).stream().restore(stream.snapshot())


def test_a_model_without_an_encoder_takes_inputs_by_their_names() -> None:
    given, x = said(), sequence()
    model = edgeinfer.load(decoder(encoder=None), backend="native")
    named = {"memory": given["sequence"], "cell/initial_h": given["last_h"], "cell/initial_c": given["last_c"]}
    np.testing.assert_allclose(model.given(named).stream().run(x[0]), expected(x, given)[0], atol=TOLERANCE)
    only_states = model.given({name: named[name] for name in ("cell/initial_h", "cell/initial_c")})
    np.testing.assert_allclose(
        only_states.given({"memory": given["sequence"]}).stream().run(x[0]), expected(x, given)[0], atol=TOLERANCE
    )


def test_a_pool_of_decoders_starts_from_the_same_state() -> None:
    given, x = said(), sequence()
    pool = edgeinfer.load(decoder(), backend="native").given(given).pool(2)
    slots = np.array([pool.add(), pool.add()])
    rows = [pool.step(slots, np.stack([row, row])).copy() for row in x[0]]
    for i in range(2):
        np.testing.assert_allclose(np.stack([row[i] for row in rows]), expected(x, given)[0], atol=TOLERANCE)


def test_what_cannot_be_given_is_refused() -> None:
    model = edgeinfer.load(decoder(), backend="native")
    given = said()
    with pytest.raises(
        InputError, match=r"expected what the encoder gives, \['last_h', 'last_c', 'sequence'\]; \['sequence'\] are"
    ):
        model.given({name: given[name] for name in ("last_h", "last_c")})
    with pytest.raises(InputError, match=r'input "memory": expected'):
        model.given({**given, "sequence": given["sequence"][..., :2]})
    two = {**said(batch=2), "sequence": given["sequence"]}
    with pytest.raises(
        StreamError, match=r'state "cell/initial_h": a stream starts from \[1, 1, 6\], given\(\) had \[1, 2, 6\]'
    ):
        model.given(two).stream()
    plain = edgeinfer.load(decoder(encoder=None), backend="native")
    with pytest.raises(InputError, match="expected a dict of arrays by input name, got ndarray"):
        plain.given(given["sequence"])
    with pytest.raises(InputError, match=r'input "wrong": expected one of'):
        plain.given({"wrong": given["sequence"]})
    with pytest.raises(ModelLoadError, match="an input cannot become a constant; load the model on native"):
        edgeinfer.load(decoder(), backend="onnxruntime").given(given)


def test_wiring_to_inputs_that_the_graph_lacks_is_refused_at_load() -> None:
    with pytest.raises(ModelFormatError, match=r'encoder\.states: the graph has no such input "memory"'):
        edgeinfer.load(decoder(encoder={**ENCODER, "states": {"memory": "sequence"}}))
    with pytest.raises(ModelFormatError, match=r'encoder\.constants: the graph has no such input "cell/initial_h"'):
        edgeinfer.load(decoder(encoder={**ENCODER, "constants": {"cell/initial_h": "last_h"}}))
    with pytest.raises(ModelFormatError, match=r"encoder\.sha256: expected 64 hexadecimal digits, got 'abc'"):
        edgeinfer.load(decoder(encoder={**ENCODER, "sha256": "abc"}))
    with pytest.raises(ModelFormatError, match=r"encoder\.constants\.memory: expected a string, got 3"):
        edgeinfer.load(decoder(encoder={**ENCODER, "constants": {"memory": 3}}))
