"""How large a model file may be in each respect before it is refused.

A file is untrusted: what it says about sizes is checked against these before memory is taken for it. The defaults
are far above any model that this runtime is for; load(…, limits=Limits(nodes=…)) raises one.
"""

from __future__ import annotations

from .errors import ModelLimitError
from .records import NamedTuple

# A constant computed at load that is larger than this and than all that the file stores is a bomb, not a weight.
FOLDED_BYTES = 1 << 20


class Limits(NamedTuple):
    """Upper bounds, each inclusive. Sizes are in bytes."""

    file_bytes: int = (1 << 31) - 1
    """The file, or the bytes given; also all of a model's external data together."""
    metadata_bytes: int = 1 << 24
    """All keys and values of metadata_props together."""
    metadata_depth: int = 32
    """How deep objects and lists nest in the metadata's JSON."""
    name_bytes: int = 1024
    """The name of a node, tensor, operator, attribute or dimension."""
    nodes: int = 1 << 16
    """Nodes of the graph."""
    tensors: int = 1 << 16
    """Initializers, inputs and outputs, each."""
    edges: int = 1 << 20
    """Inputs and outputs of all nodes together."""
    attributes: int = 64
    """Attributes of one node."""
    listed_values: int = 1 << 17
    """Numbers or strings in one list: of an attribute, or of a tensor that is not in raw_data."""
    rank: int = 16
    """Dimensions of a tensor."""
    dimension: int = (1 << 31) - 1
    """One dimension."""
    tensor_bytes: int = 1 << 31
    """One tensor, whether stored or computed."""
    parsed_bytes: int = 6 << 20
    """What a load makes of nodes, names, attributes, listed numbers and metadata, as estimated from their counts."""

    def check(self, name: str, value: int, what: str, offset: int | None = None) -> None:
        """Raise ModelLimitError where ``value`` is above the limit of that name."""
        limit: int = getattr(self, name)
        if value > limit:
            at = "" if offset is None else f" at byte {offset}"
            # what is counted while a file is read has only just passed the limit: twice as much may do, not as much
            raised = max(value, 2 * limit)
            way_out = f"load(…, limits=Limits({name}={raised})) raises it"
            raise ModelLimitError(
                f"{what}{at}: {name} is {value}, the limit is {limit}; {way_out}", limit=name, raised=raised
            )


DEFAULT = Limits()


# What gate rows may take unasked, and what they and all that is parsed may take together beside the file: a load's
# slack of 8 MiB but for what the interpreter takes.
GATE_TABLE_BYTES, BESIDE_THE_FILE = 6 << 20, 7 << 20


class Policy(NamedTuple):
    """What a file may be taken at its word for.

    ``external_folder`` is where its external data may lie, None to read none; ``why_not`` then says why.
    ``nonfinite_weights`` lets NaN and infinities in stored tensors pass. ``gate_table_bytes``: how many bytes of gate
    rows may be made of its embeddings, None for twice as many as the file has, at most GATE_TABLE_BYTES.
    """

    limits: Limits = DEFAULT
    external_folder: str | None = None
    why_not: str = "load(…, external_data=True) reads it from the model's folder"
    nonfinite_weights: bool = False
    gate_table_bytes: int | None = None


STRICT = Policy()
