"""The runtime's named tuples behave as typing's, which would take eight times as long to make."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import edgeinfer
from edgeinfer.records import NamedTuple

DEMAND = Path(edgeinfer.__file__).parent / "models" / "demand.onnx"


class Ours(NamedTuple):
    """What it is for."""

    base: int
    offset: int = 0
    name: str = "weights"

    @property
    def end(self) -> int:
        return self.base + self.offset


class Theirs(typing.NamedTuple):
    """What it is for."""

    base: int
    offset: int = 0
    name: str = "weights"


@pytest.mark.parametrize("named", [{}, {"offset": 2}, {"name": "x"}, {"name": "x", "offset": 2}])
def test_items_come_by_place_by_name_and_by_default(named: dict[str, typing.Any]) -> None:
    assert tuple(Ours(1, **named)) == tuple(Theirs(1, **named))
    assert tuple(Ours(**named, base=1)) == tuple(Theirs(**named, base=1))
    assert Ours(1, 5, "y")._replace(**named) == Theirs(1, 5, "y")._replace(**named)
    assert Ours._fields == Theirs._fields == ("base", "offset", "name")
    assert Ours.__doc__ == Theirs.__doc__


def test_a_record_is_a_tuple_with_names() -> None:
    record = Ours(1, 2)
    base, offset, name = record
    assert (base, offset, name) == (record.base, record.offset, record.name) == record
    assert record.end == 3
    assert hash(record) == hash(Theirs(1, 2))
    assert repr(record) == repr(Theirs(1, 2)).replace("Theirs", "Ours")
    assert pickle.loads(pickle.dumps(record)) == copy.deepcopy(record) == record
    assert type(copy.copy(record)) is Ours


def test_a_record_cannot_be_changed() -> None:
    record = Ours(1)
    with pytest.raises(AttributeError):
        record.base = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        record.other = 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("values", "named", "called"),
    [
        ((), {}, "Ours()"),
        ((1, 2, 3, 4), {}, "Ours(…, …, …, …)"),
        ((1,), {"base": 2}, "Ours(…, base=…)"),
        ((1,), {"size": 2}, "Ours(…, size=…)"),
        ((), {"offset": 1, "name": "x", "size": 2}, "Ours(offset=…, name=…, size=…)"),
    ],
)
def test_a_wrong_call_says_what_the_items_are(values: tuple[int, ...], named: dict[str, int], called: str) -> None:
    with pytest.raises(TypeError) as caught:
        Ours(*values, **named)  # type: ignore[arg-type]
    assert str(caught.value) == f"Ours(base, offset, name): called as {called}"


def test_no_named_tuple_of_typing_is_made_before_the_first_answer() -> None:
    code = (
        f"import sys, edgeinfer; edgeinfer.load({str(DEMAND)!r}).stream().step([0.0] * 24)\n"
        "from edgeinfer.records import NamedTuple\n"
        "modules = [m for name, m in sorted(sys.modules.items()) if name.startswith('edgeinfer')]\n"
        "made = {v for m in modules for v in vars(m).values() if isinstance(v, type) and issubclass(v, tuple)}\n"
        "assert len(made) > 30\n"
        "print(*(v.__qualname__ for v in made if not issubclass(v, NamedTuple) and hasattr(v, '_fields')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
