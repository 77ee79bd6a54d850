"""Stored tensors as NumPy arrays: a view of the file's bytes where they stand in raw_data."""

from __future__ import annotations

import math

import numpy as np

from ..errors import ModelFormatError
from ..limits import Limits
from .external import ExternalData
from .messages import TensorProto

# TensorProto.DataType → NumPy. Strings, bfloat16, float8 and 4-bit types have no NumPy dtype and are refused.
DTYPES: dict[int, np.dtype] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int8),
    4: np.dtype(np.uint16),
    5: np.dtype(np.int16),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    9: np.dtype(np.bool_),
    10: np.dtype(np.float16),
    11: np.dtype(np.float64),
    12: np.dtype(np.uint32),
    13: np.dtype(np.uint64),
}


def dtype_of(data_type: int, what: str, offset: int) -> np.dtype:
    """The NumPy dtype of an ONNX element type. Raises ModelFormatError naming ``what``."""
    if data_type not in DTYPES:
        raise ModelFormatError(f"{what}: element type {data_type} is not supported", offset=offset)
    return DTYPES[data_type]


def tensor_to_array(tensor: TensorProto, external: ExternalData, limits: Limits) -> np.ndarray:
    """The tensor's values, read-only.

    Raises ModelFormatError where type, dims and bytes do not agree, ModelLimitError where it is too large.
    """
    what = f'tensor "{tensor.name}"'
    dtype = dtype_of(tensor.data_type, what, tensor.offset)
    if any(d < 0 for d in tensor.dims):
        raise ModelFormatError(f"{what}: negative dimension in {list(tensor.dims)}", offset=tensor.offset)
    for size in tensor.dims:
        limits.check("dimension", size, what, tensor.offset)
    # a dimension of 0 hides what NumPy multiplies all the same
    limits.check("tensor_bytes", math.prod(max(d, 1) for d in tensor.dims) * dtype.itemsize, what, tensor.offset)
    count = math.prod(tensor.dims)
    if tensor.external is not None:
        data = external.read(tensor, count * dtype.itemsize)
        return np.frombuffer(data, dtype=dtype.newbyteorder("<")).reshape(tensor.dims).astype(dtype, copy=False)
    if tensor.raw is not None:
        expected = count * dtype.itemsize
        if len(tensor.raw) != expected:
            raise ModelFormatError(
                f"{what}: expected {expected} bytes for {dtype.name} {list(tensor.dims)}, got {len(tensor.raw)}",
                offset=tensor.offset,
            )
        flat = np.frombuffer(tensor.raw.view, dtype=dtype.newbyteorder("<"))
        return flat.reshape(tensor.dims).astype(dtype, copy=False)
    if len(tensor.numbers) != count:
        raise ModelFormatError(
            f"{what}: expected {count} values for {list(tensor.dims)}, got {len(tensor.numbers)}",
            offset=tensor.offset,
        )
    try:
        if dtype == np.float16:
            # onnx.proto stores float16 as its bits, in int32_data
            array = np.array(tensor.numbers, dtype=np.uint16).view(np.float16)
        elif dtype == np.uint64:
            # the reader gives every varint as int64
            array = np.array(tensor.numbers, dtype=np.int64).view(np.uint64)
        else:
            array = np.array(tensor.numbers, dtype=dtype)
    except (OverflowError, ValueError, TypeError):
        raise ModelFormatError(f"{what}: a value does not fit {dtype.name}", offset=tensor.offset) from None
    array = array.reshape(tensor.dims)
    array.flags.writeable = False
    return array
