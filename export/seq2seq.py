"""One training model with teacher forcing → two files, an encoder's and a decoder's, for generation step by step."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeinfer.snapshot import write_together
from edgeinfer.spec import Encoder, Spec

from .api import DEFAULT_ATOL, Exported, exported
from .build import build
from .differences import Differences
from .errors import ExportError, VerificationError
from .form import Converted, convert_decoder, convert_in_form
from .goldens import keras_reference
from .layers import Recurrent
from .limits import RAISED
from .plan import DEFAULT_OPSET, check_opset, check_target, opened
from .precision import as_float32
from .rebuild import is_stateful
from .samples import Feeds, random_feeds
from .signature import Given, stateless
from .split import Split, split
from .streamable import input_name
from .supported import cells_of, check_model
from .text import Text, from_ids
from .text_verify import verify_ids
from .verify import onnxruntime_runner

_SEED = 22
_LENGTHS = ((1, 1), (5, 4), (3, 7))


@dataclass(frozen=True)
class Seq2Seq:
    """Both files that were written; ``differences``: generation step by step against the training model."""

    encoder: Exported
    decoder: Exported
    differences: Differences | None


def paths_of(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """NAME.onnx → NAME.encoder.onnx, NAME.decoder.onnx."""
    target = Path(path)
    return target.with_suffix(f".encoder{target.suffix}"), target.with_suffix(f".decoder{target.suffix}")


def to_onnx_seq2seq(
    model: Any,
    path: str | os.PathLike[str],
    *,
    opset: int = DEFAULT_OPSET,
    verify: bool = True,
    atol: float = DEFAULT_ATOL,
    custom_objects: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Seq2Seq:
    """Write NAME.encoder.onnx and NAME.decoder.onnx for ``path`` NAME.onnx.

    ``model`` is a live Functional model or the path of a .keras or .h5 file, trained with teacher forcing: it takes
    what the encoder reads and what the decoder reads, and a recurrent layer of the decoder starts from states that the
    encoder computed. The decoder's file is in stream form; its metadata (``encoder``) holds the digest of the
    encoder's file and says which of its inputs take which encoder outputs: starts of states, and constants such as
    what an attention looks at. ``decoder.given(encoder(x)).stream()`` generates with them.

    Raises ExportError where the model has no such halves or one of them cannot be exported exactly, VerificationError
    where a half differs from Keras, or both together step by step from the training model, by more than ``atol``
    relative to max(1, |y|); in all cases nothing is written.
    """
    say = progress or (lambda line: None)
    check_opset(opset)
    source = Path(model) if isinstance(model, (str, os.PathLike)) else None
    targets = paths_of(path)
    for target in targets:
        check_target(target, source)
    model = opened(source or model, opset, custom_objects, say)
    name = source.stem if source else str(model.name)
    with as_float32(model), stateless(model):
        return _halves(from_ids(model), targets, name, opset, atol if verify else None, say)


def _halves(
    text: Text, targets: tuple[Path, Path], name: str, opset: int, limit: float | None, say: Callable[[str], None]
) -> Seq2Seq:
    """to_onnx_seq2seq, once the model's text layers are out of it; without ``limit`` nothing is verified."""
    model = text.model
    check_model(model)
    for reader in text.readers:
        say(f"{reader.about}, becomes preprocessing")
    if is_stateful(model):
        raise ExportError("stateful=True: an encoder starts each sequence anew; train with stateful=False")
    halves = split(model)
    if len(halves.asked) > 1:
        own = ", ".join(map(input_name, halves.asked))
        raise ExportError(f"the decoder has the inputs {own} of its own, and a stream steps over one")
    say("decoder: converting")
    decoder = convert_decoder(halves.decoder, len(halves.asked), opset)
    starts = _starts(decoder, halves)
    encoder_model = halves.encoder(starts)
    say("encoder:")
    encoder = convert_in_form(Given(encoder_model), "sequence", opset, _under("encoder", say))
    described = Spec(name=f"{name}.encoder", preprocessing=text.preprocessing(encoder.input_names, halves.sources))
    built_encoder = build(encoder, described, opset, limit, _under("encoder", say))
    wiring = Encoder(
        hashlib.sha256(built_encoder.data).hexdigest(),
        {state: state for state in starts},
        {constant: constant for constant in halves.constants},
    )
    asked = [*halves.asked, *(None for _ in halves.constants)]
    described = Spec(
        name=f"{name}.decoder",
        mode="stream",
        encoder=wiring,
        preprocessing=text.preprocessing(decoder.input_names, asked),
    )
    built_decoder = build(decoder, described, opset, limit, _under("decoder", say))
    differences = None
    if limit is not None:
        say("verifying: encoder and decoder step by step against the training model")
        files = (built_encoder.data, built_decoder.data)
        items = {
            id(tensor): item
            for tensor, item in zip((*halves.sources, *asked), (*encoder.inputs, *decoder.inputs), strict=True)
        }
        verify_ids(text, [items[id(tensor)] for tensor in model.inputs], np.random.default_rng(_SEED))
        differences = _step_by_step(model, halves, files, encoder, decoder, limit)
    write_together({targets[0]: built_encoder.data, targets[1]: built_decoder.data})
    return Seq2Seq(
        exported(targets[0], encoder, built_encoder), exported(targets[1], decoder, built_decoder), differences
    )


def _under(half: str, say: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: say(f"{half}: {line}")


def _starts(decoder: Converted, halves: Split) -> dict[str, Any]:
    """State input of the decoder's file → the encoder's value that it starts from."""
    found: dict[str, Any] = {}
    records = [r for r in decoder.recorder.records.values() if isinstance(r, Recurrent)]
    for start in halves.starts:
        cells = [cell for _, cell in cells_of(start.layer.cell)]
        names = [
            f"{record.name}/initial_{kind}"
            for record in records
            if any(record.cells[0] is cell for cell in cells)
            for kind in ("h", "c")[: record.states_per_direction]
        ]
        free = [name for name in names if name not in found][: len(start.values)]
        if len(free) != len(start.values):
            raise ExportError(f"{len(start.values)} initial states for {len(free)} states", layer=start.layer.name)
        found.update(zip(free, start.values, strict=True))
    return found


def _step_by_step(
    model: Any, halves: Split, files: tuple[bytes, bytes], encoder: Converted, decoder: Converted, atol: float
) -> Differences:
    """The training model on whole sequences against both files: the encoder once, the decoder a step at a time."""
    names = [input_name(tensor) for tensor in model.inputs]
    reference = keras_reference(model, names, model.output_names)
    decoded = [name for name in model.output_names if name not in halves.outputs]
    # The training model may take one length only, where its halves take any.
    sources, stepped = (
        [replace(item, shape=tuple(tensor.shape)) for item, tensor in zip(items, tensors, strict=True)]
        for items, tensors in (
            (encoder.inputs, halves.sources),
            ([item for item in decoder.inputs if item.timed], halves.asked),
        )
    )
    in_keras = [*map(input_name, halves.sources), *map(input_name, halves.asked)]
    runs = (_by_onnxruntime(files, decoder), _by_native(files))
    generator = np.random.default_rng(_SEED)
    found = Differences()
    for source_length, steps in _LENGTHS:
        read = random_feeds(sources, 1, source_length, generator)
        asked = random_feeds(stepped, 1, steps, generator)
        arrays = [*read.values(), *asked.values()]
        expected = reference(dict(zip(in_keras, arrays, strict=True)))
        length = next(iter(asked.values())).shape[1]
        each_step = [{name: x[:, t : t + 1] for name, x in asked.items()} for t in range(length)]
        answers = [run(read, each_step) for run in runs]
        for keras_name, name, timed in zip(decoded, decoder.output_names, decoder.streaming.timed_outputs, strict=True):
            rows = [np.stack([step[name] for step in answer], axis=1) for answer in answers]
            found.add(expected[keras_name], *(each if timed else each[:, -1] for each in rows))
        found.cases += 1
    if found.largest > atol:
        raise VerificationError(
            f"generation step by step differs from the training model by {found.largest:.2e}, expected at most "
            f"{atol:.0e}; nothing was written\n" + found.table(),
            found,
        )
    return found


# From what the encoder reads and the decoder's steps, each [1, 1, ...], to the decoder's outputs [1, ...] of each step.
_Steps = Callable[[Feeds, Sequence[Feeds]], list[Feeds]]


def _by_onnxruntime(files: tuple[bytes, bytes], decoder: Converted) -> _Steps:
    encode, decode = (onnxruntime_runner(data) for data in files)
    constants = [item.name for item in decoder.inputs if not item.timed]
    hidden = decoder.hidden_sizes()

    def run(read: Feeds, steps: Sequence[Feeds]) -> list[Feeds]:
        said = encode(read)
        carried = {pair.input: said[pair.input] for pair in decoder.states if pair.input in said}
        given = {name: said[name] for name in constants}
        for pair in decoder.states:
            carried.setdefault(pair.input, np.zeros((1, 1, hidden[pair.input]), np.float32))
        rows = []
        for step in steps:
            found = decode({**step, **given, **carried})
            carried = {pair.input: found[pair.output] for pair in decoder.states}
            timed = zip(decoder.output_names, decoder.streaming.timed_outputs, strict=True)
            rows.append({name: found[name][:, 0] if has_time else found[name] for name, has_time in timed})
        return rows

    return run


def _by_native(files: tuple[bytes, bytes]) -> _Steps:
    import edgeinfer

    encoder, decoder = (edgeinfer.load(data, backend="native", limits=RAISED) for data in files)

    def run(read: Feeds, steps: Sequence[Feeds]) -> list[Feeds]:
        stream = decoder.given(encoder(read)).stream(scalar=False)
        rows = []
        for step in steps:
            ((_, x),) = step.items()
            y = stream.step(x[0, 0])
            named = y if isinstance(y, Mapping) else {decoder.outputs[0].name: y}
            rows.append({name: np.array(value)[None] for name, value in named.items()})
        return rows

    return run
