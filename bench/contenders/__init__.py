"""Who takes part. One file per library, each written as the library's own documents advise for small models on a CPU.

The files import their library only when a job is opened, so that a list of contenders needs none of them.
"""

from __future__ import annotations

from . import edgeinfer, litert, numpy, onnxruntime, openvino, torch, tract
from .contender import Contender, Job, MissingError

__all__ = ["CONTENDERS", "Contender", "Job", "MissingError"]

CONTENDERS: dict[str, Contender] = {
    contender.name: contender
    for module in (edgeinfer, onnxruntime, litert, openvino, torch, tract, numpy)
    for contender in module.CONTENDERS
}
