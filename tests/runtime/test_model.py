"""Loading a model and calling it on whole sequences."""

from __future__ import annotations

import json
import logging
import pathlib
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from graphs import build, draw, node, one_node, recurrent_model, token_model, two_outputs_model, value

import edgeinfer
from edgeinfer.backends import BACKENDS, available
from edgeinfer.errors import InputError, ModelFormatError, ModelLoadError, StreamError, UnsupportedOperatorError
from edgeinfer.kernels import native

TOLERANCE = 1e-6
# The module; edgeinfer.backends.choose is also the name of its function.
CHOOSE = sys.modules["edgeinfer.backends.choose"]

# ONNX Runtime's activations swallow NaN, and it takes no empty sequences.
OURS = ["native", "reference"]

DATA = recurrent_model("LSTM", features=3, hidden=5, outputs=2)
# An operator that ONNX Runtime has and edgeinfer has not, behind a cell that streams.
FOREIGN_OP = recurrent_model("GRU", head=["Shrink"])


@pytest.fixture(scope="module")
def model() -> edgeinfer.Model:
    return edgeinfer.load(DATA, backend="native")


# --- loading


def test_a_model_loads_from_a_path_a_path_object_and_bytes(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(DATA)
    x = draw(1, 4, 3)
    sources = [str(path), path, DATA, bytearray(DATA), memoryview(DATA)]
    models = [edgeinfer.load(source) for source in sources]
    assert [m.path for m in models] == [str(path), str(path), None, None, None]
    assert len({m.sha256 for m in models}) == 1
    for other in models[1:]:
        np.testing.assert_array_equal(other(x), models[0](x))


def test_a_missing_file_is_the_systems_error() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.onnx"):
        edgeinfer.load("nowhere.onnx")


@pytest.mark.parametrize("source", [None, 5, ["m.onnx"]])
def test_what_is_no_path_and_no_bytes_is_refused(source: Any) -> None:
    with pytest.raises(ModelLoadError, match=f"expected a path or bytes, got {type(source).__name__}"):
        edgeinfer.load(source)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(
        ModelLoadError, match="backend: expected one of auto, native, onnxruntime, reference, got 'gpu'"
    ):
        edgeinfer.load(DATA, backend="gpu")  # type: ignore[arg-type]


def test_an_unknown_nan_policy_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="nan: expected 'reject' or 'propagate', got 'ignore'"):
        edgeinfer.load(DATA, nan="ignore")  # type: ignore[arg-type]


def test_every_backend_is_named_and_answers_alike() -> None:
    x = draw(2, 5, 3)
    answers = {}
    for name in ("auto", *available()):
        m = edgeinfer.load(DATA, backend=name)  # type: ignore[arg-type]
        assert m.backend == ("native" if name == "auto" else name)
        assert (m.isa in native.core_names()) == (m.backend == "native")
        answers[name] = m(x)
    assert set(answers) == set(BACKENDS)
    for y in answers.values():
        np.testing.assert_allclose(y, answers["native"], rtol=0, atol=TOLERANCE)


def test_an_instruction_set_can_be_forced(isa: str) -> None:
    assert edgeinfer.load(DATA, isa=isa).isa == isa


def test_the_fastest_instruction_set_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEINFER_ISA", raising=False)
    assert edgeinfer.load(DATA).isa == native.core_names()[0]


def test_the_environment_chooses_the_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEINFER_ISA", "generic")
    assert edgeinfer.load(DATA).isa == "generic"


def test_an_unknown_instruction_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    message = r"expected one of .*generic on this machine, got 'sse9'"
    with pytest.raises(ModelLoadError, match="^isa: " + message):
        edgeinfer.load(DATA, isa="sse9")
    monkeypatch.setenv("EDGEINFER_ISA", "sse9")
    with pytest.raises(ModelLoadError, match="^EDGEINFER_ISA: " + message):
        edgeinfer.load(DATA)


def test_auto_falls_back_to_onnx_runtime_with_one_warning_that_names_the_node(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, logger="edgeinfer"):
        m = edgeinfer.load(FOREIGN_OP)
    assert m.backend == "onnxruntime"
    assert m.isa is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        'ONNX Runtime answers for the whole model: in node "shrink0" (Shrink): the operator is not implemented'
    )
    assert m(draw(2, 4, 3)).shape == (2, 4, 2)
    ys = m.stream().run(draw(4, 3))
    np.testing.assert_allclose(ys, m(draw(4, 3)[None])[0], rtol=0, atol=TOLERANCE)
    assert [state.input for state in m.states] == ["l/initial_h"]
    described = m.describe()
    assert described["backend"] == "onnxruntime"
    assert described["streams"]
    json.dumps(described)


@pytest.mark.parametrize("name", ["native", "reference"])
def test_a_named_backend_fails_where_it_lacks_an_operator(name: Any) -> None:
    with pytest.raises(UnsupportedOperatorError, match=r'in node "shrink0" \(Shrink\): the operator is not impl'):
        edgeinfer.load(FOREIGN_OP, backend=name)


def test_auto_without_onnx_runtime_fails_naming_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CHOOSE, "available", lambda: ("native", "reference"))
    with pytest.raises(UnsupportedOperatorError, match=r'in node "shrink0"'):
        edgeinfer.load(FOREIGN_OP)


def test_auto_names_the_node_where_onnx_runtime_refuses_the_model_as_well(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UnsupportedOperatorError, match=r'in node "n" \(NoSuchOperator\)'):
        edgeinfer.load(one_node("NoSuchOperator", {"a": np.zeros(2, np.float32)}))
    assert not caplog.records


def test_without_the_core_auto_takes_the_reference_and_native_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(CHOOSE, "_has_native", lambda: False)
    m = edgeinfer.load(DATA)
    assert m.backend == "reference"
    assert [r.getMessage() for r in caplog.records] == [
        "the C core is not installed; the NumPy reference backend answers, which is slow"
    ]
    assert "native" not in available()
    with pytest.raises(ModelLoadError, match="backend native: the C core is not installed; install a wheel"):
        edgeinfer.load(DATA, backend="native")


def test_without_the_compiled_file_there_is_no_native_backend() -> None:
    code = (
        "import sys; sys.modules['edgeinfer.kernels.native'] = None\n"
        "import edgeinfer.backends as b; print(b.available())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "native" not in result.stdout
    assert "reference" in result.stdout


def test_onnx_runtime_that_is_not_installed_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CHOOSE, "available", lambda: ("native", "reference"))
    with pytest.raises(ModelLoadError, match=r"not installed; pip install edgeinfer\[onnxruntime\]"):
        edgeinfer.load(DATA, backend="onnxruntime")


def test_onnx_runtime_reads_what_we_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    m = edgeinfer.load(FOREIGN_OP, backend="onnxruntime")
    assert m.describe()["nodes"] == []
    assert m.describe()["parameters"] is None


def test_onnx_runtime_cannot_carry_states_that_the_file_does_not_give() -> None:
    m = edgeinfer.load(recurrent_model(states=False), backend="onnxruntime")
    with pytest.raises(StreamError, match="ONNX Runtime can stream only what the file gives as state inputs"):
        m.stream()


def test_onnx_runtime_refusing_a_file_is_a_format_error() -> None:
    with pytest.raises(ModelFormatError, match="ONNX Runtime refuses the model"):
        edgeinfer.load(one_node("NoSuchOperator", {"a": np.zeros(2, np.float32)}), backend="onnxruntime")


def test_metadata_with_unknown_states_is_refused_by_every_backend(backend: Any) -> None:
    data = recurrent_model(
        head=["Shrink"] if backend == "onnxruntime" else [],
        spec={"states": [{"input": "nothing", "output": "l/final_h"}]},
    )
    with pytest.raises(ModelFormatError, match='the graph has no input "nothing"'):
        edgeinfer.load(data, backend=backend)


# --- calling


def test_a_model_is_called_with_an_array_or_a_dict(model: edgeinfer.Model, backend: Any) -> None:
    m = edgeinfer.load(DATA, backend=backend)
    x = draw(2, 4, 3)
    y = m(x)
    assert y.shape == (2, 4, 2)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(m({"x": x}), y)
    np.testing.assert_array_equal(m(x.tolist()), y)
    np.testing.assert_allclose(y, model(x), rtol=0, atol=TOLERANCE)


def test_run_gives_all_outputs_or_those_named(model: edgeinfer.Model) -> None:
    x = draw(2, 4, 3)
    everything = model.run(None, {"x": x})
    assert [y.shape for y in everything] == [(2, 4, 2), (1, 2, 5), (1, 2, 5)]
    c, y = model.run(["l/final_c", "y"], {"x": x})
    np.testing.assert_array_equal(c, everything[2])
    np.testing.assert_array_equal(y, everything[0])
    assert model.run([], {"x": x}) == []


def test_several_outputs_come_by_name() -> None:
    m = edgeinfer.load(two_outputs_model())
    found = m(draw(1, 4, 2))
    assert {name: y.shape for name, y in found.items()} == {"y": (1, 4, 2), "gate": (1, 4, 1)}
    assert [info.name for info in m.outputs] == ["y", "gate"]


def test_states_are_zero_unless_fed(model: edgeinfer.Model) -> None:
    x = draw(3, 4, 3)
    zero, other = np.zeros((1, 3, 5), np.float32), draw(1, 3, 5)
    y = model(x)
    np.testing.assert_array_equal(model({"x": x, "l/initial_h": zero}), y)
    np.testing.assert_array_equal(model.run(["y"], {"x": x, "l/initial_h": zero, "l/initial_c": zero})[0], y)
    assert np.abs(model({"x": x, "l/initial_c": other}) - y).max() > 1e-3


def test_an_answer_is_not_overwritten_by_the_next(model: edgeinfer.Model) -> None:
    first = model(draw(1, 4, 3))
    copy = first.copy()
    model(draw(1, 4, 3, seed=2))
    np.testing.assert_array_equal(first, copy)


def test_an_input_is_not_changed(backend: Any) -> None:
    x = draw(1, 4, 3)
    before = x.copy()
    edgeinfer.load(DATA, backend=backend)(x)
    np.testing.assert_array_equal(x, before)


def test_any_memory_layout_and_number_type_gives_the_same(model: edgeinfer.Model) -> None:
    x = np.round(draw(2, 4, 3) * 4)
    y = model(x)
    strided = np.zeros((2, 8, 3), np.float32)
    strided[:, ::2] = x
    readonly = x.copy()
    readonly.flags.writeable = False
    for other in (
        np.asfortranarray(x),
        strided[:, ::2],
        x.astype(np.float64),
        x.astype(np.float16),
        x.astype(np.int64),
        x.astype(np.int8),
        x.astype(">f4"),
        readonly,
    ):
        np.testing.assert_array_equal(model(other), y)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, 'input "x" is missing'),
        ({"l/initial_h": np.zeros((1, 1, 5))}, 'input "x" is missing'),
        ({"x": np.zeros((1, 2, 3)), "z": 1}, r"input \"z\": expected one of \['x', 'l/initial_h', 'l/initial_c'\]"),
        ({"x": np.zeros((2, 3))}, r'input "x": expected shape \[any, any, 3\], got shape \[2, 3\]'),
        ({"x": np.zeros((1, 2, 4))}, r'input "x": expected shape \[any, any, 3\], got shape \[1, 2, 4\]'),
        ({"x": np.zeros((1, 1, 2, 3))}, r"expected shape \[any, any, 3\], got shape \[1, 1, 2, 3\]"),
        ({"x": 1.0}, r"expected shape \[any, any, 3\], got shape \[\]"),
        ({"x": [[[1, 2, 3], [1, 2]]]}, "expected an array, got rows of different lengths"),
        ({"x": np.full((1, 2, 3), "a")}, 'input "x": expected float32, got text'),
        ({"x": np.full((1, 2, 3), b"a")}, 'input "x": expected float32, got text'),
        ({"x": np.zeros((1, 2, 3), bool)}, 'input "x": expected float32, got bool'),
        ({"x": np.zeros((1, 2, 3), complex)}, 'input "x": expected float32, got complex128'),
        ({"x": np.zeros((1, 2, 3), object)}, 'input "x": expected float32, got object'),
        ({"x": np.zeros((1, 2, 3), "datetime64[s]")}, r'input "x": expected float32, got datetime64\[s\]'),
        ({"x": np.zeros((1, 2, 3)), "l/initial_h": np.zeros((1, 2, 5))}, "expected batch = 1 as in the other inputs"),
        ({"x": np.zeros((1, 2, 3)), "l/initial_h": np.zeros((2, 1, 5))}, r"expected shape \[1, any, 5\]"),
    ],
)
def test_a_feed_that_does_not_fit_is_refused_naming_the_input(
    model: edgeinfer.Model, feeds: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as info:
        model(feeds)
    assert isinstance(info.value, ValueError)
    assert info.value.name is not None


def test_an_unknown_output_is_refused(model: edgeinfer.Model) -> None:
    with pytest.raises(InputError, match="output \"z\": expected one of \\['y', 'l/final_h', 'l/final_c'\\]"):
        model.run(["z"], {"x": draw(1, 2, 3)})


def test_one_array_for_two_inputs_is_refused() -> None:
    data = build([node("Add", ["a", "b"], ["y"])], [value("a", ["n"]), value("b", ["n"])], [value("y", ["n"])])
    m = edgeinfer.load(data)
    with pytest.raises(InputError, match=r"expected a dict of arrays for the inputs \['a', 'b'\], got list"):
        m([1.0])
    np.testing.assert_array_equal(m({"a": [1, 2], "b": [3, 4]}), [4, 6])
    with pytest.raises(InputError, match='input "b": expected n = 2 as in the other inputs, got 3'):
        m({"a": [1, 2], "b": [3, 4, 5]})


def test_inputs_that_fit_alone_but_not_together_are_refused(backend: Any) -> None:
    data = build([node("Add", ["a", "b"], ["y"], "sum")], [value("a", [None]), value("b", [None])], [value("y", None)])
    m = edgeinfer.load(data, backend=backend)
    with pytest.raises(InputError, match=r"do not fit the model|ONNX Runtime refuses the input"):
        m({"a": np.ones(2), "b": np.ones(3)})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinities_are_refused_with_their_place(bad: float, backend: Any) -> None:
    m = edgeinfer.load(DATA, backend=backend)
    x = draw(2, 4, 3)
    x[1, 2, 0] = bad
    with pytest.raises(InputError, match=rf'input "x": expected finite numbers, got {bad} at \[1, 2, 0\]') as info:
        m(x)
    assert info.value.got is not None
    with pytest.raises(InputError, match='input "l/initial_h": expected finite numbers'):
        m({"x": draw(1, 2, 3), "l/initial_h": np.full((1, 1, 5), bad)})


def test_a_number_beyond_float32_is_refused_as_infinite(model: edgeinfer.Model) -> None:
    with pytest.raises(InputError, match="expected finite numbers, got inf"):
        model(np.full((1, 1, 3), 1e300))


@pytest.mark.parametrize("backend", OURS)
def test_nan_goes_through_where_asked_and_reaches_no_other_row(backend: Any) -> None:
    m = edgeinfer.load(DATA, backend=backend, nan="propagate")
    x = draw(2, 4, 3)
    clean = m(x)
    x[1, 2, 0] = np.nan
    y = m(x)
    np.testing.assert_array_equal(y[0], clean[0])
    np.testing.assert_allclose(y[1, :2], clean[1, :2], rtol=0, atol=TOLERANCE)
    assert np.isnan(y[1, 2:]).all()


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_tokens_are_checked_against_their_type_and_table(dtype: type, isa: str) -> None:
    m = edgeinfer.load(token_model(dtype=dtype), backend="native", isa=isa)
    assert m(np.array([[0, 6, 3]], np.uint8)).shape == (1, 3, 7)
    for bad in (7, 2**31 - 1, -8):
        with pytest.raises(InputError, match=r'in node "embedding" \(Gather\).*: an index is outside the table'):
            m([[0, bad]])
    with pytest.raises(InputError, match=f'input "x": expected {np.dtype(dtype).name}, got float64'):
        m([[0.0]])
    with pytest.raises(InputError, match=f'input "x": expected {np.dtype(dtype).name}, got text'):
        m([["love"]])
    if dtype is np.int32:
        with pytest.raises(InputError, match="expected numbers that fit int32"):
            m([[2**31]])
    with pytest.raises(InputError, match=r'input "x": expected'):
        m([[2**70]])


@pytest.mark.parametrize("backend", OURS)
def test_an_empty_sequence_gives_an_empty_answer(backend: Any) -> None:
    m = edgeinfer.load(DATA, backend=backend)
    y, h, c = m.run(None, {"x": np.zeros((2, 0, 3))})
    assert y.shape == (2, 0, 2)
    assert not h.any()
    assert not c.any()


def test_more_shapes_than_are_kept_and_the_same_ones_again(model: edgeinfer.Model) -> None:
    xs = {n: draw(1, n, 3) for n in range(1, 20)}
    first = {n: model(x) for n, x in xs.items()}
    for n, x in reversed(xs.items()):
        np.testing.assert_array_equal(model(x), first[n])
    assert len(model._sessions) <= 8


def test_threads_share_a_model() -> None:
    m = edgeinfer.load(recurrent_model("LSTM", 3, 33, 5))
    xs = [draw(1, n, 3, seed=n) for n in range(1, 25)]
    expected = [edgeinfer.load(recurrent_model("LSTM", 3, 33, 5))(x) for x in xs]
    wrong: list[str] = []

    def work(seed: int) -> None:
        try:
            order = np.random.default_rng(seed).integers(0, len(xs), 150)
            wrong.extend(f"answer {i}" for i in order if not np.array_equal(m(xs[i]), expected[i]))
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- describe


def test_describe_is_json_with_the_right_figures(isa: str) -> None:
    m = edgeinfer.load(DATA, backend="native", isa=isa)
    d = json.loads(json.dumps(m.describe()))
    hidden, features, outputs = 5, 3, 2
    gates = 4 * hidden
    assert d["parameters"] == gates * (features + hidden) + 2 * gates + hidden * outputs + outputs
    assert d["macs_per_step"] == gates * (features + hidden) + hidden * outputs
    assert d["state_bytes"] == 2 * hidden * 4
    assert d["backend"] == "native"
    assert d["isa"] == isa
    assert d["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", "time", 3]}]
    assert d["outputs"] == [{"name": "y", "dtype": "float32", "shape": ["batch", "time", 2]}]
    assert [s["input"] for s in d["states"]] == ["l/initial_h", "l/initial_c"]
    assert [s["shape"] for s in d["states"]] == [[1, 1, 5], [1, 1, 5]]
    assert all(s["in_file"] for s in d["states"])
    assert d["mode"] == "stream"
    assert d["window"] is None
    assert d["streams"]
    assert d["streams_not_because"] is None
    assert [n["op"] for n in d["nodes"]] == ["Transpose", "LSTM", "Squeeze", "Transpose", "MatMul", "Add"]
    assert {n["runs"] for n in d["nodes"]} == {"native"}
    assert d["bit_stable"]
    assert d["opset"] == 17
    assert d["producer"] == "tests"
    assert d["file_bytes"] == len(DATA)
    assert d["sha256"] == m.sha256
    assert d["spec"]["name"] == "test"


def test_describe_says_which_nodes_run_in_numpy() -> None:
    d = edgeinfer.load(recurrent_model(head=["Selu"]), backend="native").describe()
    assert {n["op"]: n["runs"] for n in d["nodes"]}["Selu"] == "numpy"
    assert not d["bit_stable"]


def test_describe_says_which_nodes_run_in_numpy_of_a_model_that_does_not_stream() -> None:
    data = build(
        [node("ReduceMean", ["x"], ["m"], "mean", axes=[1]), node("Selu", ["m"], ["y"], "selu")],
        [value("x", ["b", "t", 3])],
        [value("y", None)],
    )
    d = edgeinfer.load(data, backend="native").describe()
    assert {n["name"]: n["runs"] for n in d["nodes"]} == {"mean": "native", "selu": "numpy"}
    assert not d["streams"]
    assert "it reduces over the time axis" in d["streams_not_because"]
    assert not d["bit_stable"]
    assert d["macs_per_step"] is None


def test_describe_of_every_backend_is_json(backend: Any) -> None:
    d = edgeinfer.load(DATA, backend=backend).describe()
    json.dumps(d)
    assert {n["runs"] for n in d["nodes"]} == {{"reference": "numpy"}.get(backend, backend)}


def test_describe_leaves_vocabularies_and_goldens_to_programs() -> None:
    tensor = {"dtype": "float32", "shape": [1], "data": "AAAAAA=="}
    spec = {
        "preprocessing": {
            "text": {"vocabulary": ["", "<unk>", "a"]},
            "inputs": {"x": {"integers": {"vocabulary": [5, 7], "oov": 0}}},
        },
        "goldens": [{"name": "g", "inputs": {"x": tensor}, "outputs": {"y": tensor}}],
    }
    d = edgeinfer.load(recurrent_model(spec=spec)).describe()
    assert d["spec"]["preprocessing"]["text"]["vocabulary"] == "3 words"
    assert d["spec"]["preprocessing"]["inputs"] == {"x": {"integers": {"vocabulary": "2 words", "oov": 0}}}
    assert d["spec"]["goldens"] == ["g"]
    assert edgeinfer.load(recurrent_model(with_spec=False)).describe()["spec"] is None


def test_other_metadata_is_shown() -> None:
    data = build(
        [node("Relu", ["x"], ["y"])], [value("x", [1])], [value("y", [1])], metadata={"author": "me", "n": "1"}
    )
    m = edgeinfer.load(data)
    assert m.describe()["metadata"] == {"author": "me", "n": "1"}
    assert m.spec is None
