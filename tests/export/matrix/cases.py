"""All cases of the matrix, in the order of the page."""

from __future__ import annotations

import functools

from .around import around_cases
from .case import Case
from .recurrent import recurrent_cases
from .topologies import model_cases


@functools.cache
def all_cases() -> dict[str, Case]:
    """Every case by its id. Raises ValueError where two have one id."""
    found: dict[str, Case] = {}
    for case in (*recurrent_cases(), *around_cases(), *model_cases()):
        if case.id in found:
            raise ValueError(f'two cases are called "{case.id}"')
        found[case.id] = case
    return found
