"""Fixtures that every folder of tests can ask for."""

from __future__ import annotations

import os
import signal

import pytest

from edgeinfer.kernels import native

# As the export commands have it; whichever test imports TensorFlow first would decide otherwise, and its oneDNN kernels
# take and refuse other shapes.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# A shell's background jobs ignore SIGINT, and what they start inherits that; the commands must meet it as users do.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=native.core_names())
def isa(request: pytest.FixtureRequest) -> str:
    """Every instruction set of the C core that this CPU can run."""
    name: str = request.param
    return name


@pytest.fixture(params=["native", "reference", "onnxruntime"])
def backend(request: pytest.FixtureRequest) -> str:
    """Every backend."""
    name: str = request.param
    return name
