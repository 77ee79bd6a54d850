"""Which form a model takes: with its states as inputs and outputs where it can stream, else whole sequences.

Keras' graph tells for most models (``streamable``). Where it does not, or there is none to walk, the model is
converted with a free length, and the runtime follows time through the ONNX graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from edgeinfer.errors import ModelLoadError
from edgeinfer.graph import LAST, NotCausalError, follow_time, prepare
from edgeinfer.onnx_file import read_model
from edgeinfer.spec import StatePair

from . import finish
from .errors import ExportError, all_in_one
from .layers import Recorder, Recurrent
from .limits import RAISED
from .lowering import convert
from .quiet import without_noise
from .rebuild import rebuild
from .samples import Input, describe_inputs
from .signature import Given, fed_embeddings
from .streamable import Streaming, analyse, input_name

Form = Literal["stream", "sequence"]
_TIME_AXIS = 1


@dataclass(frozen=True)
class Converted:
    """A model in the form in which it is written; ``model`` is the Keras model that it must agree with."""

    model: Any
    form: Form
    streaming: Streaming
    inputs: tuple[Input, ...]
    output_names: tuple[str, ...]
    states: tuple[StatePair, ...]
    proto: Any
    recorder: Recorder

    @property
    def fixed_length(self) -> bool:
        """Whether the file takes one length only."""
        return any(item.timed and item.shape[_TIME_AXIS] is not None for item in self.inputs)

    @property
    def stops(self) -> str | None:
        """Why the file is in sequence form; None where it is not, or nobody asked."""
        return self.streaming.stops if self.form == "sequence" else None

    def hidden_sizes(self) -> dict[str, int]:
        """The width of each state input."""
        wanted = {pair.input for pair in self.states}
        return {
            value.name: value.type.tensor_type.shape.dim[2].dim_value
            for value in self.proto.graph.input
            if value.name in wanted
        }

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.inputs)


def convert_in_form(given: Given, form: Form | None, opset: int, say: Callable[[str], None]) -> Converted:
    """Convert a model in the form that is asked for; by default with states where it can stream.

    Raises ExportError where it cannot be converted, or cannot stream though ``form`` is ``stream``.
    """
    embeddings = fed_embeddings(given.model)
    walked = analyse(given.model, embeddings)
    streaming = walked
    sure = walked.stops is None
    if sure or (walked.doubtful and (given.own is not None or form != "sequence")):
        say("converting" if sure else "converting, to see whether it runs one time step at a time")
        try:
            free = _trace(given, replace(walked, stops=None), embeddings, opset)
        except ExportError as error:
            if sure:
                raise
            if given.own is not None:
                streaming = replace(walked, stops=f"it does not take a free length: {error}")
        else:
            if form == "sequence":
                return _finish(free, replace(walked, stops=None), wire=False)
            found, stops = _in_stream_form(free, replace(walked, stops=None))
            if found is not None:
                return found
            detail = f"{walked.stops}: {stops}" if walked.stops is not None and given.own is None else stops
            streaming = replace(walked, stops=detail)
            if form is None and (sure or given.own is not None or free.model is given.model):
                return _finish(free, streaming, wire=False)
    if form == "stream":
        raise ExportError(f"form stream is not possible: {streaming.stops}; use form sequence")
    say("converting")
    fixed = _trace(given, streaming, embeddings, opset)
    # Where nobody asked whether it streams, nothing is said of it.
    asked = replace(streaming, stops=None) if form == "sequence" and walked.doubtful else streaming
    return _finish(fixed, asked, wire=False)


def convert_decoder(model: Any, stepped: int, opset: int) -> Converted:
    """Convert a decoder: its first ``stepped`` inputs have a time axis, the others stay the same at every step.

    Raises ExportError where it cannot be converted, or cannot run one step at a time.
    """
    timed = tuple(i < stepped for i in range(len(model.inputs)))
    streaming = Streaming(timed, tuple(False for _ in model.outputs), None)
    traced = _trace(Given(model), streaming, fed_embeddings(model), opset)
    converted, stops = _in_stream_form(traced, streaming)
    if converted is None:
        raise ExportError(f"the decoder cannot run one step at a time: {stops}")
    return converted


@dataclass(frozen=True)
class _Traced:
    """As tf2onnx leaves it, under the final names of inputs and outputs."""

    model: Any
    inputs: tuple[Input, ...]
    output_names: tuple[str, ...]
    proto: Any
    recorder: Recorder


def _trace(given: Given, streaming: Streaming, embeddings: Sequence[Sequence[Any]], opset: int) -> _Traced:
    """Convert the model with a free batch size; with free lengths where ``streaming`` has nothing that stops it."""
    with without_noise():
        if given.free is None:
            model = rebuild(given.model, streaming)
        else:
            model = given.free() if streaming.stops is None else given.model
    names = ["x"] if len(model.inputs) == 1 else [input_name(tensor) for tensor in model.inputs]
    outputs = _output_names(model, names)
    proto, recorder = convert(model, names, outputs, opset)
    inputs = describe_inputs(model, names, streaming.timed_inputs, embeddings)
    return _Traced(model, inputs, tuple(outputs), proto, recorder)


def _in_stream_form(traced: _Traced, streaming: Streaming) -> tuple[Converted | None, str]:
    """The model with its states as inputs and outputs, or None and what stops it."""
    for record in traced.recorder.records.values():
        if isinstance(record, Recurrent) and record.direction != "forward" and not record.distributed:
            return None, f'layer "{record.label}" reads the sequence backwards'
    converted = _finish(traced, streaming, wire=True)
    if not converted.states:
        return None, "the model has no recurrent layer, so there is no state to carry"
    try:
        times = _output_times(converted)
    except (ModelLoadError, NotCausalError) as error:
        return None, str(error)
    for name in converted.output_names:
        if times[name] not in (LAST, _TIME_AXIS):
            return None, f'output "{name}" has its time at axis {times[name]}, expected 1'
    timed = tuple(times[name] == _TIME_AXIS for name in converted.output_names)
    return _finish(traced, replace(streaming, timed_outputs=timed), wire=True), ""


def _output_times(converted: Converted) -> Mapping[str, int]:
    """Where the runtime finds each output's time axis. Raises NotCausalError naming the node that stops it."""
    states = [(pair.input, pair.output) for pair in converted.states]
    prepared = prepare(read_model(converted.proto.SerializeToString(), RAISED), states)
    if len(converted.inputs) > 1:
        return follow_time(prepared.joined, {item.name: _TIME_AXIS for item in converted.inputs if item.timed})
    if not prepared.streamability.streams:
        raise NotCausalError(prepared.streamability.reason)
    return prepared.streamability.output_times


def _output_names(model: Any, taken: Sequence[str]) -> list[str]:
    wanted = ["y"] if len(model.outputs) == 1 else model.output_names
    # A Sequential that was never called as a layer has no ``output``.
    structure = getattr(model, "output", None)
    if isinstance(structure, Mapping) and len(structure) == len(model.outputs):
        wanted = sorted(structure)
    names: list[str] = []
    for name in wanted:
        free, i = name, 1
        while free in names or free in taken:
            free, i = f"{name}_{i}", i + 1
        names.append(free)
    return names


def _finish(traced: _Traced, streaming: Streaming, wire: bool) -> Converted:
    proto = type(traced.proto)()
    proto.CopyFrom(traced.proto)
    refused = finish.what_is_not_onnx(proto, traced.recorder)
    if refused:
        raise all_in_one(refused)
    states = finish.wire_states(proto, traced.recorder) if wire else finish.drop_states(proto, traced.recorder)
    finish.tidy(proto, traced.recorder)
    one = len(traced.inputs) == 1
    input_ends = [
        finish.End(
            item.name,
            (
                "batch",
                *(
                    size
                    if size is not None
                    else "time"
                    if axis == _TIME_AXIS and item.timed and (one or wire)
                    else f"{item.name}_{axis}"
                    for axis, size in enumerate(item.shape[1:], start=1)
                ),
            ),
        )
        for item in traced.inputs
    ]
    output_ends = []
    for tensor, name, timed in zip(traced.model.outputs, traced.output_names, streaming.timed_outputs, strict=True):
        rest = ["time" if timed and axis == 1 else size for axis, size in enumerate(tensor.shape) if axis]
        # The states that an encoder gives have their batch second, as the recurrent operators have it.
        first = "batch" if tensor.shape[0] is None else tensor.shape[0]
        output_ends.append(finish.End(name, (first, *rest)))
    finish.set_ends(proto, input_ends, output_ends)
    form: Form = "stream" if wire else "sequence"
    return Converted(traced.model, form, streaming, traced.inputs, traced.output_names, states, proto, traced.recorder)
