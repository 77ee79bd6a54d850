"""The one module that knows which backend answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..caller import OneCaller, Turns
from ..errors import EdgeInferError, ModelFormatError, ModelLimitError, ModelLoadError, UnsupportedOperatorError
from ..graph import Prepared, prepare
from ..limits import BESIDE_THE_FILE, GATE_TABLE_BYTES, STRICT, Policy
from ..onnx_file import ModelProto
from .base import Backend

__all__ = ["BACKENDS", "OneCaller", "Turns", "available", "choose"]

BACKENDS = ("auto", "native", "onnxruntime", "reference")


def available() -> tuple[str, ...]:
    """The backends that this installation has, fastest first."""
    found = ["native"] if _has_native() else []
    found.append("reference")
    from importlib.util import find_spec  # late, as is what only some programs need below

    if find_spec("onnxruntime") is not None:
        found.append("onnxruntime")
    return tuple(found)


def choose(
    wanted: str,
    data: bytes,
    proto: ModelProto,
    state_pairs: Sequence[tuple[str, str]],
    isa: str | None = None,
    policy: Policy = STRICT,
    fast: bool = False,
) -> tuple[Backend, Prepared | None]:
    """The backend for a model (its bytes, and what they say), and what was prepared of it.

    Prepared is None where only ONNX Runtime implements the model.

    ``auto`` takes native; where the core is not compiled, the NumPy reference; where they do not implement the
    model, ONNX Runtime if installed. Either fallback is logged once as a warning. ``fast`` asks the native backend for
    8-bit states; the others compute in float32 whatever it says.
    """
    if wanted not in BACKENDS:
        raise ModelLoadError(f"backend: expected one of {', '.join(BACKENDS)}, got {wanted!r}")
    if wanted == "onnxruntime":
        return _onnxruntime(data, proto, state_pairs), _prepare_if_possible(proto, state_pairs, policy)
    try:
        native = wanted == "native" or (wanted == "auto" and _has_native())
        prepared = prepare(proto, state_pairs, policy, small=native)
        if wanted == "reference":
            return _reference(prepared), prepared
        if wanted == "auto" and not _has_native():
            why = "needs the GIL (PYTHON_GIL=1)" if _free_threaded() else "is not installed"
            _warn("the C core %s; the NumPy reference backend answers, which is slow", why)
            return _reference(prepared), prepared
        return _native(prepared, isa, _gate_table_bytes(policy, data, proto.parsed_bytes), fast), prepared
    except UnsupportedOperatorError as error:
        if wanted != "auto" or "onnxruntime" not in available():
            raise
        try:
            backend = _onnxruntime(data, proto, state_pairs)
        except ModelFormatError:
            raise error from None  # what we lack says more than that ONNX Runtime lacks it too
        _warn("ONNX Runtime answers for the whole model: %s", error)
        return backend, None


def _warn(message: str, *arguments: object) -> None:
    """On the ``edgeinfer`` logger, which is silent unless the application listens."""
    import logging  # late, since most programs never get here

    logger = logging.getLogger("edgeinfer")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.warning(message, *arguments)


def _free_threaded() -> bool:
    """Whether this Python runs without the GIL, which the core's one-caller flag and output ring count on."""
    return not getattr(sys, "_is_gil_enabled", lambda: True)()


def _has_native() -> bool:
    # importing it there would turn the GIL on for the whole process, with a warning
    if _free_threaded():
        return False
    try:
        from ..kernels import native  # noqa: F401  (its presence is the question)
    except ImportError:
        return False
    return True


if not TYPE_CHECKING and _has_native():
    from ..kernels import native

    OneCaller, Turns = native.OneCaller, native.Turns


def _reference(prepared: Prepared) -> Backend:
    from .reference import ReferenceBackend

    return ReferenceBackend(prepared)


def _gate_table_bytes(policy: Policy, data: bytes, parsed_bytes: int) -> int:
    if policy.gate_table_bytes is not None:
        return policy.gate_table_bytes
    return max(0, min(2 * len(data), GATE_TABLE_BYTES, len(data) + BESIDE_THE_FILE - parsed_bytes))


def _native(prepared: Prepared, isa: str | None, gate_table_bytes: int, fast: bool) -> Backend:
    if _free_threaded():
        raise ModelLoadError(
            "backend native: the C core needs the GIL, and this is a free-threaded Python that runs without it; "
            "PYTHON_GIL=1 turns it on"
        )
    if not _has_native():
        raise ModelLoadError(
            "backend native: the C core is not installed; install a wheel, or from source with a C compiler and "
            "EDGEINFER_BUILD_EXT=require to see why it does not build"
        )
    from .native import NativeBackend

    return NativeBackend(prepared, isa, gate_table_bytes, fast)


def _onnxruntime(data: bytes, proto: ModelProto, state_pairs: Sequence[tuple[str, str]]) -> Backend:
    if proto.external:
        raise ModelLimitError("backend onnxruntime: external data is not read; save the model in one file")
    if "onnxruntime" not in available():
        raise ModelLoadError("backend onnxruntime: it is not installed; pip install edgeinfer[onnxruntime]")
    from .onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(data, state_pairs)


def _prepare_if_possible(proto: ModelProto, state_pairs: Sequence[tuple[str, str]], policy: Policy) -> Prepared | None:
    try:
        return prepare(proto, state_pairs, policy, small=True)  # nothing is computed from it
    except EdgeInferError:
        return None
