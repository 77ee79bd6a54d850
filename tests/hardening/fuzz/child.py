"""One Python target under atheris: python -m tests.hardening.fuzz.child TARGET [what libFuzzer takes]."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import atheris

with atheris.instrument_imports(include=["edgeinfer"], enable_loader_override=False):
    import edgeinfer

    # what a run imports late would have no coverage
    for module in pkgutil.walk_packages(edgeinfer.__path__, "edgeinfer."):
        if "__main__" not in module.name and ".cli" not in module.name:
            importlib.import_module(module.name)

from .mutate import MUTATORS  # after edgeinfer, which it must not import first
from .targets import TARGETS


def main() -> None:
    name = sys.argv.pop(1)
    form = MUTATORS[name]

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        return form(data, most, seed, lambda part, size: atheris.Mutate(part, max(size, 1)))

    atheris.Setup(sys.argv, TARGETS[name], custom_mutator=mutated)
    atheris.Fuzz()


main()
