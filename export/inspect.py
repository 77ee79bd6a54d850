"""What becomes of a model, layer by layer, before any file is made: for ``python -m export inspect``.

The model is converted in memory as export converts it, so that the two cannot disagree. Where something is refused,
everything that is refused is told, and the layers with what they would become.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgeinfer.errors import ModelLoadError
from edgeinfer.graph import bind, node_macs, prepare
from edgeinfer.onnx_file import read_model

from .errors import ExportError
from .form import Converted
from .goldens import keras_reference, long_enough
from .layers import Recurrent
from .plan import Plan, Wanted, planned, read
from .quiet import without_noise
from .signature import give, stateless
from .streamable import streams_alone
from .supported import operator
from .text import Reader

_RECURRENT = ("GRU", "LSTM", "RNN")
# Around a recurrent node these only turn the axes.
_AROUND = ("Squeeze", "Transpose")
_NOTHING = (
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity",
    "SpatialDropout1D",
)  # fmt: skip
_TEXT = ("IntegerLookup", "StringLookup", "TextVectorization")


@dataclass(frozen=True)
class Row:
    """One layer. ``streams`` is None where nobody can tell; ``macs`` is None where nothing was converted."""

    name: str
    kind: str
    depth: int
    shape: str
    becomes: str
    nodes: tuple[str, ...]
    streams: bool | None
    parameters: int
    macs: int | None
    refused: str | None


@dataclass(frozen=True)
class Inspection:
    """Every layer, and the verdict; ``refusals`` is empty where export would go on to verify and write."""

    rows: tuple[Row, ...]
    refusals: tuple[ExportError, ...]
    form: str | None = None
    mode: str | None = None
    window: int | None = None
    states: tuple[str, ...] = ()
    stops: str | None = None
    parameters: int = 0
    macs: int | None = None
    steps: int = 1

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "layers": [asdict(row) for row in self.rows],
            "form": self.form,
            "mode": self.mode,
            "window": self.window,
            "states": list(self.states),
            "stops": self.stops,
            "parameters": self.parameters,
            "macs": self.macs,
            "macs_of_steps": self.steps,
            "refusals": [
                {"layer": error.layer, "argument": error.argument, "message": str(error)} for error in self.refusals
            ],
        }


def inspect_model(
    model: Any,
    wanted: Wanted,
    *,
    spec: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Inspection:
    """Say what becomes of a live model or of a file, as ``to_onnx`` with the same arguments would make it.

    Raises ExportError where there is no model to look at; what is wrong with one is in ``refusals``.
    """
    say = progress or (lambda line: None)
    model, recipe, _ = read(model, wanted, spec, custom_objects, say)
    try:
        with planned(model, wanted, recipe, say) as plan:
            return _of(plan)
    except ExportError as error:
        return _refused(model, wanted, [error, *error.others])


def _of(plan: Plan) -> Inspection:
    converted = plan.converted
    steps = 1 if converted.form == "stream" else _steps(plan)
    try:
        costs = _macs(converted, steps)
    except ModelLoadError as error:
        raise ExportError(f"edgeinfer's native backend does not run the exported graph: {error}") from error
    owners = _nodes_by_layer(converted)
    rows = [_reader_row(reader) for reader in plan.text.readers]
    rows += [_row(layer, depth, converted, owners, costs) for layer, depth in _layers(converted.model)]
    return Inspection(
        tuple(rows),
        (),
        converted.form,
        plan.mode,
        plan.window.length if plan.window else None,
        tuple(pair.input for pair in converted.states),
        converted.stops,
        _parameters(converted.model),
        sum(costs.values()),
        steps,
    )


def _reader_row(reader: Reader) -> Row:
    """A text layer, which is no part of the converted model."""
    layer = reader.layer
    shape = _shape_text(_known_shapes(layer))
    becomes = "preprocessing in the metadata"
    return Row(layer.name, type(layer).__name__, 0, shape, becomes, (), None, _parameters(layer), 0, None)


def _steps(plan: Plan) -> int:
    """The window, else the fixed length, else the least that the model takes."""
    if plan.window is not None:
        return plan.window.length
    converted = plan.converted
    reference = keras_reference(converted.model, converted.input_names, converted.output_names)
    inputs = long_enough(converted.model, reference, converted.inputs)
    return max((item.shape[1] or item.least for item in inputs if len(item.shape) > 1), default=1)


def _refused(model: Any, wanted: Wanted, errors: list[ExportError]) -> Inspection:
    try:
        with stateless(model):
            model = give(model, wanted.input_signature).model
    except ExportError:
        pass  # the layers of a model without inputs are told all the same
    by_layer = {error.layer: str(error) for error in reversed(errors) if error.layer is not None}
    rows = []
    for layer, depth in _layers(model):
        inside = layer._flatten_layers() if hasattr(layer, "_flatten_layers") and not _shows_inside(layer) else [layer]
        refused = next((by_layer[part.name] for part in inside if part.name in by_layer), None)
        streams = False if refused else streams_alone(layer)
        becomes = "" if refused else _would_become(layer)
        shape = _shape_text(_known_shapes(layer))
        kind = type(layer).__name__
        rows.append(Row(layer.name, kind, depth, shape, becomes, (), streams, _parameters(layer), None, refused))
    return Inspection(tuple(rows), tuple(errors), parameters=_parameters(model))


def _layers(model: Any, depth: int = 0) -> Iterator[tuple[Any, int]]:
    """The layers of a model in their order, those inside models and inside layers of the user's own behind them."""
    for layer in _direct(model):
        yield layer, depth
        if _shows_inside(layer):
            yield from _layers(layer, depth + 1)


def _shows_inside(layer: Any) -> bool:
    import keras

    own = not type(layer).__module__.startswith("keras.")
    return bool((isinstance(layer, keras.Model) or own) and _direct(layer))


def _direct(layer: Any) -> list[Any]:
    """Layers, and in a Functional graph the operations between them."""
    graph = getattr(layer, "_functional", None) or layer
    if hasattr(graph, "_operations"):
        # A Sequential's input is no layer that anybody wrote.
        own = graph is layer
        return [part for part in graph._operations if own or type(part).__name__ != "InputLayer"]
    if hasattr(layer, "layers"):
        return list(layer.layers)
    return list(layer._flatten_layers(include_self=False, recursive=False))


def _nodes_by_layer(converted: Converted) -> dict[int, list[Any]]:
    """The nodes of the graph by the layer, by id, that they are called after."""
    places: dict[str, Any] = {}
    for call in converted.recorder.calls:
        places[call.name] = places[call.label] = call.layer
    found: dict[int, list[Any]] = {}
    for node in converted.proto.graph.node:
        name = node.name
        while name and name not in places:
            name = name.rpartition("/")[0]
        if name:
            found.setdefault(id(places[name]), []).append(node)
    return found


def _row(
    layer: Any, depth: int, converted: Converted, owners: Mapping[int, list[Any]], costs: Mapping[str, int]
) -> Row:
    nodes = owners.get(id(layer), [])
    shapes = next((call.shapes for call in converted.recorder.calls if call.layer is layer), ()) or _known_shapes(layer)
    stops = converted.streaming.stops or ""
    named = f'layer "{layer.name}"' in stops or any(f'node "{node.name}"' in stops for node in nodes)
    streams = True if converted.form == "stream" else False if named else streams_alone(layer)
    return Row(
        layer.name,
        type(layer).__name__,
        depth,
        _shape_text(shapes),
        _became(layer, nodes, converted),
        tuple(node.name for node in nodes),
        streams,
        _parameters(layer),
        sum(costs.get(node.name, 0) for node in nodes),
        None,
    )


def _became(layer: Any, nodes: list[Any], converted: Converted) -> str:
    import keras

    if isinstance(layer, keras.layers.InputLayer):
        return "input"
    recurrent = [node for node in nodes if node.op_type in _RECURRENT]
    if recurrent:
        names = ", ".join(f"{node.op_type} {node.name}" for node in recurrent)
        rest = Counter(node.op_type for node in nodes if node.op_type not in (*_RECURRENT, *_AROUND))
        if _is_masked(layer, converted):
            return f"{names}, with {sum(rest.values())} nodes for its mask"
        return names + ("" if not rest else f", with {_counted(rest)}")
    if nodes:
        return _counted(Counter(node.op_type for node in nodes))
    if _shows_inside(layer):
        return ""
    if type(layer).__name__ in _NOTHING:
        return "nothing at inference"
    return "folded into constants" if getattr(layer, "weights", None) else "nothing: it changes no value"


def _is_masked(layer: Any, converted: Converted) -> bool:
    """Whether a call of a recurrent layer has a mask."""
    return any(
        isinstance(record, Recurrent) and record.masked and record.call is not None and record.call.layer is layer
        for record in converted.recorder.records.values()
    )


def _would_become(layer: Any) -> str:
    import keras

    kind = type(layer).__name__
    if isinstance(layer, keras.layers.InputLayer):
        return "input"
    if isinstance(layer, keras.layers.RNN):
        return f"{operator(layer.cell)} {layer.name}" if operator(layer.cell) else "recurrent nodes, one per cell"
    if isinstance(layer, keras.layers.Bidirectional):
        return "recurrent node, bidirectional"
    if kind == "Dense":
        return "MatMul" + (" + Add" if layer.use_bias else "")
    if kind in _NOTHING:
        return "nothing at inference"
    if kind in _TEXT:
        return "preprocessing in the metadata"
    return "" if _shows_inside(layer) else "operators, by tf2onnx"


def _counted(kinds: Counter[str]) -> str:
    return " + ".join(kind if count == 1 else f"{count} {kind}" for kind, count in kinds.items())


def _known_shapes(layer: Any) -> tuple[Any, ...]:
    """What Keras knows of a layer's outputs; nothing inside a subclassed model."""
    import keras

    try:
        with without_noise():
            return tuple(tensor.shape for tensor in keras.tree.flatten(layer.output))
    except (AttributeError, ValueError):
        return ()


def _shape_text(shapes: tuple[Any, ...]) -> str:
    return ", ".join(str(list(shape)).replace("None", "-") for shape in shapes)


def _parameters(layer: Any) -> int:
    return int(layer.count_params()) if getattr(layer, "built", False) else 0


def _macs(converted: Converted, steps: int) -> dict[str, int]:
    """Multiply-accumulates of each node, for a batch of 1 and this many steps. Raises ModelLoadError."""
    states = [(pair.input, pair.output) for pair in converted.states]
    prepared = prepare(read_model(converted.proto.SerializeToString()), states)
    shapes = {}
    timed = {item.name for item in converted.inputs if item.timed}
    for info in prepared.graph.inputs:
        shape = [size if isinstance(size, int) else 1 for size in info.shape]
        if info.name in timed and not isinstance(info.shape[1], int):
            shape[1] = steps
        shapes[info.name] = tuple(shape)
    bound = bind(prepared.graph, shapes)
    return {item.node.name: node_macs(bound, item) for item in bound.nodes}
