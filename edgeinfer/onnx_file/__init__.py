"""The bytes of an .onnx file as named tuples. The only folder that knows protobuf; it knows no operator."""

from __future__ import annotations

from .external import ExternalData, can_read_safely
from .messages import Attribute, GraphProto, ModelProto, NodeProto, TensorProto, ValueProto
from .reader import read_bytes, read_model
from .tensors import DTYPES, tensor_to_array

__all__ = [
    "DTYPES",
    "Attribute",
    "ExternalData",
    "GraphProto",
    "ModelProto",
    "NodeProto",
    "TensorProto",
    "ValueProto",
    "can_read_safely",
    "read_bytes",
    "read_model",
    "tensor_to_array",
]
