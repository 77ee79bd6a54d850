"""Export from Python: the same code as ``python -m export``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeinfer.snapshot import write_atomically
from edgeinfer.spec import SPEC_KEY, Spec, StatePair

from . import finish
from .differences import Differences
from .errors import ExportError
from .goldens import keras_reference, make_goldens
from .layers import Recorder
from .lowering import convert
from .metadata import choose_mode, read_recipe, versions
from .quiet import import_keras, without_noise
from .rebuild import check_file, fixed_length, is_stateful, load_keras, rebuild
from .samples import Input, describe_inputs
from .streamable import Streaming, analyse, input_name
from .supported import check_model
from .verify import verify as verify_file

DEFAULT_OPSET = 17
DEFAULT_ATOL = 1e-5
# From the first opset whose Squeeze, Unsqueeze and ReduceSum take axes as an input to the last of tf2onnx.
OPSETS = range(13, 19)

Form = Literal["stream", "sequence"]
Mode = Literal["stream", "window"]


@dataclass(frozen=True)
class Exported:
    """What was written.

    ``stops`` says why the file is in sequence form, or is None; ``nodes`` counts the graph's operators;
    ``differences`` is None where verification was left out.
    """

    path: Path
    form: Form
    spec: Spec
    stops: str | None
    nodes: Mapping[str, int]
    bytes: int
    differences: Differences | None


def to_onnx(
    model: Any,
    path: str | os.PathLike[str],
    *,
    form: Form | None = None,
    mode: Mode | None = None,
    window: int | None = None,
    opset: int = DEFAULT_OPSET,
    verify: bool = True,
    atol: float = DEFAULT_ATOL,
    spec: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Exported:
    """Write a Keras model as one ONNX file whose recurrent layers are one LSTM, GRU or RNN node each.

    ``model`` is a live Keras model or the path of a .keras file. ``form="stream"`` has every state as a graph
    input and output, ``"sequence"`` starts each call from zero; by default a model streams where it can.
    ``mode`` and ``window`` go into the metadata; by default they come from ``spec`` (a recipe's .json or its
    content; for a path, NAME.json beside it), else from the model. ``progress`` is called with a line before
    each part of the work.

    Raises ExportError naming layer and argument where the model cannot be exported exactly, and
    VerificationError where Keras, ONNX Runtime and edgeinfer's native backend differ by more than ``atol``
    relative to max(1, |y|); in both cases nothing is written.
    """
    say = progress or (lambda line: None)
    _check_arguments(form, mode, window, opset)
    source = Path(model) if isinstance(model, (str, os.PathLike)) else None
    target = Path(path)
    check_target(target, source)
    recipe = read_recipe(spec if spec is None or isinstance(spec, Mapping) else Path(spec), source)
    if source is not None:
        check_file(source)
    say("importing TensorFlow and Keras")
    import_keras()
    if source is not None:
        say(f"reading {source}")
        model = load_keras(source)
    check_model(model)
    streaming = analyse(model)
    chosen = _choose_form(form, model, streaming)
    length = fixed_length(model, streaming)
    chosen_mode, chosen_window = choose_mode(
        mode,
        window,
        recipe,
        length=length,
        stateful=is_stateful(model),
        stops=streaming.stops,
        streams=chosen == "stream",
    )
    say("computing goldens with Keras")
    with without_noise():
        free = rebuild(model, streaming)
    input_names = _input_names(free)
    names = input_names, _output_names(free, input_names)
    inputs = describe_inputs(free, names[0], streaming.timed_inputs)
    reference = keras_reference(free, *names)
    size = chosen_window.length if chosen_window else None
    goldens = make_goldens(reference, inputs, size)
    say("converting")
    proto, recorder = convert(free, *names, opset)
    states = _finish(proto, recorder, free, inputs, names[1], streaming, wire=chosen == "stream")
    full = recipe._replace(
        name=recipe.name or (source.stem if source else str(model.name)),
        mode=chosen_mode,  # type: ignore[arg-type]
        window=chosen_window,
        states=states,
        goldens=goldens,
        provenance=_provenance(recipe),
    )
    _label(proto, full, opset)
    finish.check(proto)
    data = proto.SerializeToString()
    differences = None
    if verify:
        say("verifying: Keras, ONNX Runtime, edgeinfer native")
        hidden = {
            value.name: value.type.tensor_type.shape.dim[2].dim_value
            for value in proto.graph.input
            if value.name in {pair.input for pair in states}
        }
        differences = verify_file(data, reference, inputs, streaming.timed_outputs, states, hidden, size, atol)
    write_atomically(target, data)
    stops = streaming.stops if chosen == "sequence" else None
    return Exported(target, chosen, full, stops, finish.node_counts(proto), len(data), differences)


def _check_arguments(form: str | None, mode: str | None, window: int | None, opset: int) -> None:
    if form not in (None, "stream", "sequence"):
        raise ExportError(f"form: expected stream or sequence, got {form!r}", argument="form")
    if mode not in (None, "stream", "window"):
        raise ExportError(f"mode: expected stream or window, got {mode!r}", argument="mode")
    if window is not None and (mode == "stream" or window < 1):
        raise ExportError(f"window: expected a length of at least 1, with mode window, got {window}", argument="window")
    if opset not in OPSETS:
        raise ExportError(f"opset: expected {OPSETS[0]} to {OPSETS[-1]}, got {opset}", argument="opset")


def check_target(target: Path, source: Path | None) -> None:
    """Raise ExportError where a file cannot be written to ``target``."""
    if not target.parent.is_dir():
        raise ExportError(f"{target}: no such folder: {target.parent}")
    if target.is_dir():
        raise ExportError(f"{target}: expected the path of a file to write, got a folder")
    if source is not None and source.exists() and target.exists() and target.samefile(source):
        raise ExportError(f"{target}: the model itself; give the ONNX file another name")


def _choose_form(form: Form | None, model: Any, streaming: Streaming) -> Form:
    if form == "stream" and streaming.stops is not None:
        raise ExportError(f"form stream is not possible: {streaming.stops}; use form sequence")
    if form is None and streaming.stops is not None and is_stateful(model):
        raise ExportError(
            f"stateful=True carries state between calls, but the model cannot stream: {streaming.stops}; "
            "form sequence exports it starting from zero at each call",
            argument="stateful",
        )
    return form or ("stream" if streaming.stops is None else "sequence")


def _input_names(model: Any) -> list[str]:
    return ["x"] if len(model.inputs) == 1 else [input_name(tensor) for tensor in model.inputs]


def _output_names(model: Any, taken: Sequence[str]) -> list[str]:
    names: list[str] = []
    for wanted in ["y"] if len(model.outputs) == 1 else model.output_names:
        name, i = wanted, 1
        while name in names or name in taken:
            name, i = f"{wanted}_{i}", i + 1
        names.append(name)
    return names


def _finish(
    proto: Any,
    recorder: Recorder,
    model: Any,
    inputs: Sequence[Input],
    output_names: Sequence[str],
    streaming: Streaming,
    wire: bool,
) -> tuple[StatePair, ...]:
    layers = [layer.name for layer in model._flatten_layers()]
    finish.refuse_what_is_not_onnx(proto, layers)
    states = finish.wire_states(proto, recorder) if wire else ()
    finish.tidy(proto, layers)
    one = len(inputs) == 1
    input_ends = [
        finish.End(
            item.name,
            (
                "batch",
                *(
                    size if size is not None else "time" if item.timed and (one or wire) else f"{item.name}_{axis}"
                    for axis, size in enumerate(item.shape[1:], start=1)
                ),
            ),
        )
        for item in inputs
    ]
    output_ends = []
    for tensor, name, timed in zip(model.outputs, output_names, streaming.timed_outputs, strict=True):
        rest = ["time" if timed and axis == 1 else size for axis, size in enumerate(tensor.shape) if axis]
        output_ends.append(finish.End(name, ("batch", *rest)))
    finish.set_ends(proto, input_ends, output_ends)
    return states


def _provenance(recipe: Spec) -> dict[str, Any]:
    trained = recipe.provenance.get("versions", {})
    provenance = {key: value for key, value in recipe.provenance.items() if key != "versions"}
    provenance["versions"] = {**(trained if isinstance(trained, Mapping) else {}), **versions()}
    return provenance


def _label(proto: Any, spec: Spec, opset: int) -> None:
    """Producer, graph name, IR version and the metadata."""
    from onnx import helper

    proto.producer_name = "edgeinfer"
    proto.producer_version = spec.provenance["versions"]["edgeinfer"]
    proto.graph.name = spec.name
    proto.graph.doc_string = ""
    proto.doc_string = ""
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("", opset))
    # The lowest that holds the opset: onnxruntime and older tools read those.
    proto.ir_version = helper.find_min_ir_version_for(proto.opset_import)
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = SPEC_KEY, spec.to_json()
