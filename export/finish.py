"""The converted graph → the graph that is written: states wired, nothing dead, names that people can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeinfer.spec import StatePair

from .errors import ExportError
from .layers import Recorder, Recurrent
from .names import GENERATED_SUFFIX, name_all, rename_values
from .simplify import simplify

_CONTROL_FLOW = ("If", "Loop", "Scan")
_STATE_INPUTS = {"h": 5, "c": 6}
_STATE_OUTPUTS = {"h": 1, "c": 2}
_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class End:
    """A graph input or output: its name, and its shape, where a str names a free dimension."""

    name: str
    shape: tuple[int | str | None, ...]


def what_is_not_onnx(proto: Any, recorder: Recorder) -> list[ExportError]:
    """One error for each layer with a node that is control flow or not an operator of standard ONNX, naming it."""
    from onnx import defs

    known = {schema.name for schema in defs.get_all_schemas() if schema.domain == ""}
    found: dict[str, ExportError] = {}
    for node in proto.graph.node:
        if node.domain in _DOMAINS and node.op_type in known and node.op_type not in _CONTROL_FLOW:
            continue
        place = recorder.calls.of(node.name)
        call, rest = (None, node.name) if place is None else (place[0].owner, place[1])
        if node.op_type in _CONTROL_FLOW:
            reason = f"it becomes an ONNX {node.op_type}"
        else:
            reason = f"operation {node.op_type} has no ONNX form"
        where = GENERATED_SUFFIX.sub("", rest) if call is None else f"{call.label}/{GENERATED_SUFFIX.sub('', rest)}"
        error = ExportError(
            f"{reason} (at {where}); replace it by layers that need none, or move it out of the model",
            layer=None if call is None else call.layer.name,
        )
        found.setdefault("" if call is None else call.label, error)
    return list(found.values())


def wire_states(proto: Any, recorder: Recorder) -> tuple[StatePair, ...]:
    """Give every recurrent node that starts from zero its state as graph inputs and outputs.

    Not inside TimeDistributed, where each step of the model is a sequence of its own.
    Inputs ``NAME/initial_h`` and outputs ``NAME/final_h`` (and ``_c``) have shape [1, "batch", hidden].
    """
    from onnx import TensorProto, helper

    nodes = {node.name: node for node in proto.graph.node}
    pairs, values = [], []
    for record in _carriers(recorder):
        node = nodes.get(record.name)
        if node is None:
            continue
        renamed = {}
        for kind in _kinds(record):
            pair = StatePair(f"{record.name}/initial_{kind}", f"{record.name}/final_{kind}")
            shape = [1, "batch", record.cells[0].units]
            while len(node.input) <= _STATE_INPUTS[kind]:
                node.input.append("")
            node.input[_STATE_INPUTS[kind]] = pair.input
            proto.graph.input.append(helper.make_tensor_value_info(pair.input, TensorProto.FLOAT, shape))
            if record.masked:
                # Where(no step is kept, zero, the node's state): what came in stays.
                _made_by(proto, pair.output).input[1] = pair.input
            else:
                renamed[node.output[_STATE_OUTPUTS[kind]]] = pair.output
            values.append(helper.make_tensor_value_info(pair.output, TensorProto.FLOAT, shape))
            pairs.append(pair)
        rename_values(proto, renamed)
        if record.masked and record.return_sequences and not record.zero_output:
            _continue_answer(proto, node, f"{record.name}/initial_h")
    drop_states(proto, recorder)
    proto.graph.output.extend(values)
    return tuple(pairs)


def drop_states(proto: Any, recorder: Recorder) -> tuple[()]:
    """Take away the graph outputs that hold the states of masked layers until here; no pairs are left."""
    held = {f"{record.name}/final_{kind}" for record in _carriers(recorder) for kind in _kinds(record)}
    for value in [value for value in proto.graph.output if value.name in held]:
        proto.graph.output.remove(value)
    return ()


def _carriers(recorder: Recorder) -> list[Recurrent]:
    return [record for record in recorder.records.values() if isinstance(record, Recurrent) and record.can_carry]


def _kinds(record: Recurrent) -> tuple[str, ...]:
    return ("h", "c")[: record.states_per_direction]


def _made_by(proto: Any, name: str) -> Any:
    return next(node for node in proto.graph.node if name in node.output)


def _continue_answer(proto: Any, recurrent: Any, initial_h: str) -> None:
    """Before the first kept step comes the last answer of the stream, which is its h, instead of zero."""
    from onnx import helper

    squeeze = next((node for node in proto.graph.node if recurrent.output[0] in node.input), None)
    if squeeze is None:
        return  # only the states are asked for
    pad = next(node for node in proto.graph.node if squeeze.output[0] in node.input)
    concat = helper.make_node("Concat", [initial_h, squeeze.output[0]], list(pad.output), pad.name, axis=0)
    pad.CopyFrom(concat)


def tidy(proto: Any, recorder: Recorder) -> None:
    """Remove what changes nothing and what nothing reads, and name nodes and values after the layers they come from."""
    simplify(proto)
    name_all(proto, recorder)
    del proto.graph.value_info[:]


def set_ends(proto: Any, inputs: Sequence[End], outputs: Sequence[End]) -> None:
    """Declare the shapes of the model's own inputs and outputs.

    A free dimension (None) of an output takes the name that shape inference brings it from an input, if any. A size
    that shape inference knows better is its own: Keras doubles the width of a Bidirectional whose halves differ.
    """
    from onnx import shape_inference

    _set_shapes(proto.graph.input, inputs)
    own = {end.name for end in outputs}
    for value in proto.graph.output:
        for dim in _dims(value) if value.name in own else ():
            dim.Clear()
    known = {size for end in inputs for size in end.shape if isinstance(size, str)}
    inferred = {
        value.name: [dim.dim_value or (dim.dim_param if dim.dim_param in known else None) for dim in _dims(value)]
        for value in shape_inference.infer_shapes(proto).graph.output
    }
    _set_shapes(proto.graph.output, [_with_inferred(end, inferred[end.name]) for end in outputs])


def _with_inferred(end: End, inferred: Sequence[int | str | None]) -> End:
    if len(inferred) != len(end.shape):
        return end
    merged = [
        found if size is None or (isinstance(size, int) and isinstance(found, int)) else size
        for size, found in zip(end.shape, inferred, strict=True)
    ]
    return End(end.name, tuple(merged))


def _set_shapes(values: Any, ends: Sequence[End]) -> None:
    by_name = {value.name: value for value in values}
    for end in ends:
        dims = _dims(by_name[end.name])
        del dims[:]
        for size in end.shape:
            dim = dims.add()
            if isinstance(size, str):
                dim.dim_param = size
            elif size is not None:
                dim.dim_value = size


def _dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


def node_counts(proto: Any) -> dict[str, int]:
    """How many nodes of each operator the graph has."""
    return dict(sorted(Counter(node.op_type for node in proto.graph.node).items()))


def check(proto: Any) -> None:
    """Run the ONNX checker with full and strict shape inference. Raises ExportError with its words."""
    import onnx

    try:
        onnx.checker.check_model(proto, full_check=True)
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph does not pass onnx.checker: {error}") from error
