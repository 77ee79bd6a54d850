"""``NamedTuple``: typing's to a type checker and to a reader, made without compiling code for each class.

typing's takes 80 µs a class, since it checks every annotation and compiles a constructor, and forty of them are made
before a model is loaded. This one takes 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from collections import _tuplegetter  # namedtuple's own: reading a field takes half as long as by a property

    class _Class(type):
        def __new__(cls, name, bases, space):
            if bases != (tuple,):
                fields = tuple(space["__annotations__"])
                space["_fields"] = fields
                space["_count"] = len(fields)
                space["_defaults"] = {field: space[field] for field in fields if field in space}
                space.update((field, _tuplegetter(i, None)) for i, field in enumerate(fields))
            return super().__new__(cls, name, bases, {**space, "__slots__": ()})

    class NamedTuple(tuple, metaclass=_Class):
        """A tuple with a name for each item: class Place(NamedTuple): base: int; offset: int = 0"""

        def __new__(cls, *values, **named):
            if named or len(values) != cls._count:
                values = cls._completed(values, named)
            return tuple.__new__(cls, values)

        @classmethod
        def _completed(cls, values, named):
            fields = cls._fields
            given = fields[: len(values)]
            items = {**cls._defaults, **dict(zip(given, values, strict=False)), **named}
            if len(values) > len(fields) or items.keys() != set(fields) or not named.keys().isdisjoint(given):
                called = ", ".join([*("…" for _ in values), *(f"{name}=…" for name in named)])
                raise TypeError(f"{cls.__name__}({', '.join(fields)}): called as {cls.__name__}({called})")
            return [items[field] for field in fields]

        def _replace(self, **named):
            return type(self)(**{**dict(zip(self._fields, self, strict=True)), **named})

        def __repr__(self):
            items = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({items})"

        def __getnewargs__(self):
            return tuple(self)
