"""A converted model → the bytes of its file: goldens, metadata, the checker, verification."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeinfer.spec import SPEC_KEY, Spec

from . import finish
from .differences import Differences
from .form import Converted
from .goldens import keras_reference, long_enough, make_goldens
from .metadata import versions
from .verify import verify


@dataclass(frozen=True)
class Built:
    """A file that can be written. ``differences`` is None where nothing was compared."""

    data: bytes
    spec: Spec
    differences: Differences | None


def build(converted: Converted, spec: Spec, opset: int, atol: float | None, say: Callable[[str], None]) -> Built:
    """Make the file of a converted model.

    ``spec`` says all but states, goldens and provenance; ``atol`` None leaves verification out. Raises ExportError
    where the checker refuses the graph, VerificationError where it answers otherwise than Keras.
    """
    say("computing goldens with Keras")
    reference = keras_reference(converted.model, converted.input_names, converted.output_names)
    window = spec.window.length if spec.window else None
    inputs = converted.inputs
    if converted.form != "stream":  # what streams takes single steps
        inputs = long_enough(converted.model, reference, inputs)
    goldens = make_goldens(reference, inputs, window)
    full = spec._replace(states=converted.states, goldens=goldens, provenance=_provenance(spec))
    proto = converted.proto
    _label(proto, full, opset)
    finish.check(proto)
    data = proto.SerializeToString()
    if atol is None:
        return Built(data, full, None)
    say("verifying: Keras, ONNX Runtime, edgeinfer native")
    timed = converted.streaming.timed_outputs
    hidden = converted.hidden_sizes()
    return Built(data, full, verify(data, reference, inputs, timed, converted.states, hidden, window, atol))


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
