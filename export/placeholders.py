"""While a model is traced, some layers leave one opaque op each, and a record of what it stands for.

These are the recurrent layers, Dense, Embedding, Flatten and Reshape: what tf2onnx would expand.

The op is a ``tf.numpy_function`` (TF op ``PyFunc``), which survives freezing and the graph optimizers whole;
its ``token`` attribute leads back to the record. ``lowering`` turns each into ONNX nodes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from .errors import ExportError
from .supported import check_layer, check_recurrent, operator

Merge = Literal["concat", "sum", "mul", "ave"]


@dataclass
class Record:
    """One call of a layer.

    ``wanted`` is what the layer should be called, ``label`` what it is called in the file (two layers of
    nested models may share a name), ``name`` the name of this call: the label, or label/call_i where there
    are several calls.
    """

    layer: Any
    wanted: str
    label: str = field(default="", init=False)
    name: str = field(default="", init=False)


@dataclass
class Recurrent(Record):
    """One call of a recurrent layer, or of a Bidirectional whose two halves are alike.

    The placeholder's inputs are x and, unless ``zero_state``, the initial states of each direction (h, c, …);
    its outputs are the sequence (or last output), then the final states of each direction. The node keeps its
    sequence in the order of time; ``reverse_output`` says that Keras returns it the other way round.
    """

    op_type: str
    cells: tuple[Any, ...]
    direction: Literal["forward", "reverse", "bidirectional"]
    return_sequences: bool
    reverse_output: bool
    zero_state: bool
    merge: Merge | None = None

    @property
    def states_per_direction(self) -> int:
        return 2 if self.op_type == "LSTM" else 1


@dataclass
class Dense(Record):
    """One call of a Dense layer without its activation."""


@dataclass
class Embedding(Record):
    """One call of an Embedding layer."""


@dataclass
class Reshaped(Record):
    """One call of a Flatten or Reshape layer; ``target`` has 0 for the batch and -1 for one free axis."""

    target: tuple[int, ...]


@dataclass
class Recorder:
    """The records of one trace, by the token of their placeholder, in the order of the calls.

    ``refused`` is the first refusal met: Keras raises another error in its place, with its own words around.
    """

    records: dict[bytes, Record] = field(default_factory=dict)
    refused: ExportError | None = None

    def emit(
        self,
        record: Record,
        inputs: Sequence[Any],
        shapes: Sequence[Sequence[int | None]],
        dtype: Any = "float32",
    ) -> list[Any]:
        """Put a placeholder with one output per shape into the graph being traced."""
        import tensorflow as tf

        outputs = tf.numpy_function(_never_called, list(inputs), [tf.as_dtype(dtype)] * len(shapes))
        self.records[outputs[0].op.get_attr("token")] = record
        # set_shape alone is lost when the graph is frozen.
        return [tf.ensure_shape(output, shape) for output, shape in zip(outputs, shapes, strict=True)]

    def finish(self) -> None:
        """Give every record its label and name."""
        labels: dict[tuple[int, str], str] = {}
        for record in self.records.values():
            key = (id(record.layer), record.wanted)
            if key not in labels:
                label, i = record.wanted, 1
                while label in labels.values():
                    label, i = f"{record.wanted}_{i}", i + 1
                labels[key] = label
            record.label = labels[key]
        total, seen = Counter(record.label for record in self.records.values()), Counter[str]()
        for record in self.records.values():
            several = total[record.label] > 1
            record.name = f"{record.label}/call_{seen[record.label]}" if several else record.label
            seen[record.label] += 1


_lock = threading.Lock()
_active = threading.local()


@contextmanager
def recording() -> Iterator[Recorder]:
    """Replace the ``call`` of the layers by one that leaves placeholders, for this thread, inside the block.

    Calls from other threads meanwhile run Keras' own code; what was replaced is put back in any case.
    """
    import keras

    replaced: list[tuple[Any, Callable[..., Any]]] = [
        (keras.layers.RNN, _call_recurrent),
        (keras.layers.Bidirectional, _call_bidirectional),
        (keras.layers.Dense, _call_dense),
        (keras.layers.Embedding, _call_embedding),
        (keras.layers.Flatten, _call_reshape),
        (keras.layers.Reshape, _call_reshape),
    ]
    recorder = Recorder()
    with _lock:
        originals = [(layer, layer.__dict__["call"]) for layer, _ in replaced]
        try:
            for layer, call in replaced:
                layer.call = _for_this_trace(layer.__dict__["call"], call)
            _active.recorder = recorder
            yield recorder
        finally:
            _active.recorder = None
            for layer, original in originals:
                layer.call = original
    recorder.finish()


def _for_this_trace(original: Callable[..., Any], replacement: Callable[..., Any]) -> Callable[..., Any]:
    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        recorder = getattr(_active, "recorder", None)
        if recorder is None:
            return original(layer, *args, **kwargs)
        try:
            return replacement(recorder, layer, *args, **kwargs)
        except ExportError as error:
            recorder.refused = recorder.refused or error
            raise

    return call


def _never_called(*_: Any) -> Any:
    raise AssertionError("a placeholder is never run")


def _call_recurrent(
    recorder: Recorder,
    layer: Any,
    sequences: Any,
    initial_state: Any = None,
    mask: Any = None,
    training: bool = False,
) -> Any:
    check_recurrent(layer)
    _refuse_mask(layer, mask)
    output, states = _emit_recurrent(
        recorder,
        layer.name,
        sequences,
        [layer],
        None if initial_state is None else _flat(initial_state),
        reverse_output=layer.go_backwards,
    )
    return (output, *states) if layer.return_state else output


def _call_bidirectional(
    recorder: Recorder,
    layer: Any,
    sequences: Any,
    initial_state: Any = None,
    mask: Any = None,
    training: bool | None = None,
) -> Any:
    import tensorflow as tf

    halves = [layer.forward_layer, layer.backward_layer]
    for half in halves:
        check_layer(half)
    _refuse_mask(layer, mask)
    states = None if initial_state is None else _flat(initial_state)
    merge = layer.merge_mode
    if merge is not None and _alike(*halves):
        output, final = _emit_recurrent(recorder, layer.name, sequences, halves, states, False, merge)
    else:
        count = 0 if states is None else len(states) // 2
        outputs, final = [], []
        for i, (half, side) in enumerate(zip(halves, ("forward", "backward"), strict=True)):
            own = None if states is None else states[i * count : (i + 1) * count]
            # Keras flips what the backward half returns.
            flip = half.go_backwards != (side == "backward")
            result, ends = _emit_recurrent(recorder, f"{layer.name}/{side}", sequences, [half], own, flip)
            outputs.append(result)
            final.extend(ends)
        output = {
            "concat": lambda a, b: tf.concat([a, b], -1),
            "sum": lambda a, b: a + b,
            "ave": lambda a, b: (a + b) / 2,
            "mul": lambda a, b: a * b,
            None: lambda a, b: (a, b),
        }[merge](*outputs)
    if not layer.return_state:
        return output
    return (*output, *final) if merge is None else (output, *final)


def _emit_recurrent(
    recorder: Recorder,
    name: str,
    sequences: Any,
    layers: Sequence[Any],
    initial_state: Sequence[Any] | None,
    reverse_output: bool,
    merge: Merge | None = None,
) -> tuple[Any, list[Any]]:
    first = layers[0]
    units = first.cell.units
    op_type = cast(str, operator(first.cell))
    record = Recurrent(
        first,
        name,
        op_type=op_type,
        cells=tuple(layer.cell for layer in layers),
        direction="bidirectional" if len(layers) == 2 else "reverse" if first.go_backwards else "forward",
        return_sequences=first.return_sequences,
        reverse_output=reverse_output,
        zero_state=initial_state is None,
        merge=merge,
    )
    batch, time = sequences.shape[0], sequences.shape[1]
    width = units * (2 if merge == "concat" else 1)
    output = [batch, time, width] if first.return_sequences else [batch, width]
    states = [[batch, units]] * (record.states_per_direction * len(layers))
    results = recorder.emit(record, [_as_float(sequences), *(initial_state or [])], [output, *states])
    return results[0], results[1:]


def _call_dense(recorder: Recorder, layer: Any, inputs: Any, training: bool | None = None) -> Any:
    check_layer(layer)
    shape = [*inputs.shape[:-1], layer.units]
    (output,) = recorder.emit(Dense(layer, layer.name), [_as_float(inputs)], [shape])
    return output if layer.activation is None else layer.activation(output)


def _call_embedding(recorder: Recorder, layer: Any, inputs: Any) -> Any:
    import tensorflow as tf

    check_layer(layer)
    if inputs.dtype not in (tf.int32, tf.int64):
        inputs = tf.cast(inputs, tf.int32)
    (output,) = recorder.emit(Embedding(layer, layer.name), [inputs], [[*inputs.shape, layer.output_dim]])
    return output


def _call_reshape(recorder: Recorder, layer: Any, inputs: Any) -> Any:
    shape = list(layer.compute_output_shape(tuple(inputs.shape)))
    target = tuple(0 if axis == 0 else -1 if size is None else size for axis, size in enumerate(shape))
    (output,) = recorder.emit(Reshaped(layer, layer.name, target), [inputs], [shape], dtype=inputs.dtype)
    return output


def _as_float(x: Any) -> Any:
    """Keras multiplies integers with float32 weights as float32."""
    import tensorflow as tf

    return x if x.dtype == tf.float32 else tf.cast(x, tf.float32)


def _refuse_mask(layer: Any, mask: Any) -> None:
    if any(m is not None for m in _flat(mask)):
        raise ExportError(
            "a mask comes in: masks are not exported yet; train on windows of one length without a mask",
            layer=layer.name,
            argument="mask",
        )


def _alike(forward: Any, backward: Any) -> bool:
    """Whether one node of direction=bidirectional can run both halves."""
    if operator(forward.cell) != operator(backward.cell) or forward.cell.units != backward.cell.units:
        return False
    if forward.cell.use_bias != backward.cell.use_bias:
        return False
    if getattr(forward.cell, "reset_after", None) != getattr(backward.cell, "reset_after", None):
        return False
    return not forward.go_backwards and bool(backward.go_backwards)


def _flat(value: Any) -> list[Any]:
    import keras

    return list(keras.tree.flatten(value))
