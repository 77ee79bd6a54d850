"""The operators: one registry entry each, one file per family."""

from __future__ import annotations

from . import elementwise, layout, linear, recurrent
from .registry import LAST, UNLIMITED, NotCausalError, Op, Time, normalize

REGISTRY: dict[str, Op] = {**elementwise.OPS, **layout.OPS, **linear.OPS, **recurrent.OPS}


def find(op_type: str) -> Op | None:
    """The entry of an operator, None where it is not implemented.

    The families that hardly a step needs are imported with the first operator that is in none of the others: they
    would cost every program 1 ms of its start.
    """
    return REGISTRY.get(op_type) or every_operator().get(op_type)


def every_operator() -> dict[str, Op]:
    """The registry with all its families."""
    from . import indexing, normalization, reductions, windows

    for family in (indexing, normalization, reductions, windows):
        for name, op in family.OPS.items():
            REGISTRY.setdefault(name, op)
    return REGISTRY


__all__ = ["LAST", "REGISTRY", "UNLIMITED", "NotCausalError", "Op", "Time", "every_operator", "find", "normalize"]
