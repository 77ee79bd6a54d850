"""While a model is traced, some layers leave one opaque op each, and a record of what it stands for.

The op is a ``tf.numpy_function`` (TF op ``PyFunc``), which survives freezing and the graph optimizers whole;
its ``token`` attribute leads back to the record. ``lowering`` turns each into ONNX nodes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import ExportError
from .layers import Recorder, replacements
from .layers.record import flat

_lock = threading.Lock()
_active = threading.local()


@contextmanager
def recording() -> Iterator[Recorder]:
    """Replace the ``call`` of the layers by one that leaves placeholders, for this thread, inside the block.

    Every call of a layer or operation gets a scope, so that its nodes are known. Calls from other threads meanwhile
    run Keras' own code; what was replaced is put back in any case.
    """
    import keras

    recorder = Recorder()
    with _lock:
        replaced = [(kind, "call", _for_this_trace(kind.call, call)) for kind, call in replacements()]
        kinds = (keras.Operation, keras.Layer)
        replaced += [(kind, "__call__", _in_a_scope(kind.__dict__["__call__"])) for kind in kinds]
        # None where the class has it from one above.
        originals = [(kind, name, kind.__dict__.get(name)) for kind, name, _ in replaced]
        try:
            for kind, name, function in replaced:
                setattr(kind, name, function)
            _active.recorder = recorder
            yield recorder
        finally:
            _active.recorder = None
            for kind, name, original in originals:
                if original is None:
                    delattr(kind, name)
                else:
                    setattr(kind, name, original)
    recorder.finish()


def _for_this_trace(original: Callable[..., Any], replacement: Callable[..., Any]) -> Callable[..., Any]:
    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        recorder = getattr(_active, "recorder", None)
        if recorder is None:
            return original(layer, *args, **kwargs)
        try:
            result = replacement(recorder, layer, *args, **kwargs)
        except ExportError as error:
            recorder.refused = recorder.refused or error
            raise
        return original(layer, *args, **kwargs) if result is NotImplemented else result

    return call


def _in_a_scope(original: Callable[..., Any]) -> Callable[..., Any]:
    def __call__(layer: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807  (it stands in for one)
        recorder = getattr(_active, "recorder", None)
        if recorder is None or not recorder.calls.opens(layer):
            return original(layer, *args, **kwargs)
        with recorder.calls.inside(layer) as call:
            result = original(layer, *args, **kwargs)
        call.shapes = tuple(tuple(tensor.shape) for tensor in flat(result) if hasattr(tensor, "shape"))
        return result

    return __call__
