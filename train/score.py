"""Measures a recipe's own scores again on an exported file, through the runtime, from the raw data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import edgeinfer
from edgeinfer.errors import InputError
from edgeinfer.pipeline import pipeline

from .recipe import Recipe


def compare(recipe: Recipe, path: Path, data: Path | None) -> bool:
    """Print each score of the recipe as Keras and as edgeinfer had it; whether all agree within tolerance.

    Raises ModelLoadError, PipelineError or InputError where the file cannot be scored.
    """
    model = edgeinfer.load(path)
    provenance: Mapping[str, Any] = {} if model.spec is None else model.spec.provenance
    scores = provenance.get("scores")
    name = recipe.__name__.rpartition(".")[2]  # type: ignore[attr-defined]
    if provenance.get("recipe") != name or not isinstance(scores, Mapping):
        made_by = provenance.get("recipe", "no recipe")
        raise InputError(f"{path}: expected a model made by the recipe {name}, it was made by {made_by}")
    measured = recipe.score(pipeline(model), provenance, data)
    print(f"{path.name} on the {model.backend} backend")
    print(f"  {'':<26}{'Keras':>12}{'edgeinfer':>12}{'difference':>12}{'tolerance':>12}")
    agree = True
    for key, value in measured.items():
        difference, tolerance = abs(value - scores[key]), recipe.TOLERANCES[key]
        agree &= difference <= tolerance
        label = key.replace("_", " ")
        print(f"  {label:<26}{scores[key]:>12.6g}{value:>12.6g}{difference:>12.2g}{tolerance:>12.2g}")
    return agree
