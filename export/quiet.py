"""TensorFlow, Keras and tf2onnx without their log noise. No module of export imports them before this one."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import ExportError


def import_keras() -> None:
    """Import Keras on TensorFlow, silently, so that later imports of both are free of side effects.

    Raises ExportError where one is missing or Keras already runs on another backend.
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # oneDNN announces itself on stderr whatever the log level.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        with without_noise():
            import keras
            import tensorflow
            import tf2onnx  # noqa: F401  (its import configures logging, which is undone here)
    except ImportError as error:
        raise ExportError(
            f"export needs TensorFlow, Keras and tf2onnx: {error}; pip install 'edgeinfer[export]'"
        ) from None
    tensorflow.get_logger().setLevel(logging.ERROR)
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"expected Keras on the tensorflow backend, it runs on {keras.backend.backend()}; "
            "save the model as .keras and export it in a process of its own (python -m export)"
        )


@contextmanager
def without_noise() -> Iterator[None]:
    """Silence warnings and the loggers of TensorFlow, absl and tf2onnx inside the block, and restore them."""
    names = ("tensorflow", "absl", "tf2onnx")
    levels = {name: logging.getLogger(name).level for name in names}
    root_level, root_handlers = logging.root.level, list(logging.root.handlers)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in names:
                logging.getLogger(name).setLevel(logging.CRITICAL)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        logging.root.setLevel(root_level)
        logging.root.handlers[:] = root_handlers
