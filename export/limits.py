"""edgeinfer's limits and the files that are made here, which are no stranger's: they may be as large as they are."""

from __future__ import annotations

from edgeinfer import EdgeInferError, Limits
from edgeinfer.errors import ModelLimitError
from edgeinfer.limits import DEFAULT
from edgeinfer.onnx_file import read_model
from edgeinfer.spec import SPEC_KEY, check_size

_GROWING = ("parsed_bytes", "metadata_bytes", "nodes", "tensors", "edges")
RAISED = DEFAULT._replace(**dict.fromkeys(_GROWING, 1 << 32))


def needed(data: bytes) -> dict[str, int]:
    """The limits that ``edgeinfer.load`` must be given for a file, by name: none for most."""
    raised: dict[str, int] = {}
    while True:
        limits = Limits(**raised)
        try:
            proto = read_model(data, limits)
            if SPEC_KEY in proto.metadata:
                check_size(proto.metadata[SPEC_KEY], limits, proto.parsed_bytes)
        except ModelLimitError as error:
            if error.limit in _GROWING and error.raised is not None:
                raised[error.limit] = error.raised
                continue
        except EdgeInferError:
            pass  # what else is wrong with it has nothing to do with limits
        return raised
