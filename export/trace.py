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

_lock = threading.Lock()
_active = threading.local()


@contextmanager
def recording() -> Iterator[Recorder]:
    """Replace the ``call`` of the layers by one that leaves placeholders, for this thread, inside the block.

    Calls from other threads meanwhile run Keras' own code; what was replaced is put back in any case.
    """
    replaced = replacements()
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
