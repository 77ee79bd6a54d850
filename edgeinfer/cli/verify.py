"""``edgeinfer verify``: does everything that can run a model give the answers it should?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backends import available
from ..errors import EdgeInferError, InputError, ModelFormatError, ModelLimitError
from ..model import BackendName, Model
from .answers import backend_of, name_of
from .common import add_limit, add_model, add_parser, load_model
from .output import number, say, say_json, table
from .samples import SEED, random_feeds

# float32 sums in another order differ by this much at most, relative to max(1, |y|).
TOLERANCE = 1e-5
_BACKENDS: tuple[BackendName, ...] = ("native", "reference", "onnxruntime")
_RANDOM_CASES = 3
# the native backend again, in the arithmetic that the file asks for; it need not agree with the others
_FAST = "native fast"
_TEXT = f"""
example:
  edgeinfer verify model.onnx

The outputs that the training framework gave (the goldens in the file) are
compared with those of every backend that is installed: native, reference
(NumPy), onnxruntime. Without goldens the backends are compared among
themselves on seeded random inputs. The largest difference, relative to
max(1, |y|), may be {TOLERANCE:g}. Exit status 1 where one is larger, or where fewer
than two independent answers could be compared.

A file with int8 or float16 weights says itself how far from the goldens its
answers may be, since those are of the float32 model; the backends still have to
agree among themselves within {TOLERANCE:g}.
"""

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """Inputs, the outputs expected for them if known, and the difference of every backend's.

    ``apart``: the difference of every backend's from the first one's, where goldens tell less than 1e-5.
    """

    name: str
    inputs: Mapping[str, np.ndarray]
    expected: Outputs | None
    differences: dict[str, float] = field(default_factory=dict)
    apart: dict[str, float] = field(default_factory=dict)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "verify", "compare a model's answers with its goldens on every backend", _TEXT)
    add_model(parser)
    add_limit(parser)
    parser.set_defaults(function=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    models, absent = _load_all(args)
    some = next(iter(models.values()))
    cases = _cases(some)
    has_goldens = cases[0].expected is not None
    against = "goldens" if has_goldens else next(iter(models))
    drifts = has_goldens and some.spec is not None and some.spec.weights != "float32"
    tolerance = (some.spec.tolerance or TOLERANCE) if drifts and some.spec else TOLERANCE
    for case in cases:
        expected, first = case.expected, None
        for backend, model in models.items():
            got = _outputs(model, case, expected)
            if drifts and first is not None and backend != _FAST:
                case.apart[backend] = largest_difference(first, got)
            first = first or got
            if expected is None:
                expected = got
                continue
            case.differences[backend] = largest_difference(expected, got)
    answers = len(models) - (_FAST in models) + has_goldens
    worst = max((d for case in cases for d in case.differences.values()), default=float("nan"), key=_nan_last)
    apart = max((d for case in cases for d in case.apart.values()), default=0.0)
    passed = answers >= 2 and worst <= tolerance and apart <= TOLERANCE
    if args.json:
        say_json(
            {
                "model": name_of(some),
                "against": against,
                "answers": answers,
                "tolerance": tolerance,
                "largest_between_backends": apart if drifts else None,
                "largest_difference": worst,
                "passed": passed,
                "backends": {
                    name: {"isa": model.isa, "arithmetic": model.arithmetic} for name, model in models.items()
                },
                "absent": absent,
                "cases": [{"name": case.name, "differences": case.differences} for case in cases],
            }
        )
        return 0 if passed else 1
    compared = [backend for backend in models if backend != against]
    say(f"{name_of(some)}: largest difference to the {_source(against)}, relative to max(1, |y|)")
    say()
    rows = [(case.name, *(_shown(case.differences[backend]) for backend in compared)) for case in cases]
    say(table(("case", *(backend_of(models[backend]) for backend in compared)), rows))
    say()
    for backend, why in absent.items():
        say(f"{backend} took no part: {why}")
    if answers < 2:
        say("FAILED: nothing to compare: the file holds no goldens and only one backend runs it")
    elif passed:
        say(f"passed: {answers} independent answers agree within {tolerance:g}")
    elif worst > tolerance or np.isnan(worst):
        say(f"FAILED: a difference of {_shown(worst)} is above the tolerance of {tolerance:g}")
    if drifts and some.spec:
        verdict = "" if apart <= TOLERANCE else f"FAILED: more than {TOLERANCE:g}: "
        say(
            f"{verdict}the backends differ by {_shown(apart)} among themselves, on the same {some.spec.weights} weights"
        )
    return 0 if passed else 1


def largest_difference(expected: Outputs, got: Outputs) -> float:
    """max |got - expected| / max(1, |expected|) over all outputs; infinite where shapes, NaN or integers differ."""
    worst = 0.0
    for name, wanted in expected.items():
        answer = got.get(name)
        if answer is None or answer.shape != wanted.shape:
            return float("inf")
        if wanted.size == 0:
            continue
        a, b = answer.astype(np.float64), wanted.astype(np.float64)
        difference = np.abs(a - b) / np.maximum(1.0, np.abs(b))
        difference[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
        largest = float(np.max(difference))
        worst = max(worst, largest if np.isfinite(largest) else float("inf"))
    return worst


def _load_all(args: argparse.Namespace) -> tuple[dict[str, Model], dict[str, str]]:
    """The model on every backend that runs it, and why the others do not."""
    models: dict[str, Model] = {}
    absent: dict[str, str] = {}
    refused: EdgeInferError | None = None
    installed = available()
    for backend in _BACKENDS:
        if backend not in installed:
            absent[backend] = "not installed"
            continue
        try:
            models[backend] = load_model(args, backend, "exact")
        except (ModelFormatError, ModelLimitError):
            raise
        except EdgeInferError as error:
            absent[backend] = str(error)
            refused = error
    if not models and refused is not None:
        raise refused
    native = models.get("native")
    if native is not None and native.spec is not None and native.spec.activations == "int8":
        models[_FAST] = load_model(args, "native", "fast")
    return models, absent


def _cases(model: Model) -> list[Case]:
    goldens = () if model.spec is None else model.spec.goldens
    # A golden without a number in its outputs would agree with everything.
    cases = [Case(g.name, g.inputs, g.outputs) for g in goldens if any(y.size for y in g.outputs.values())]
    if cases:
        return cases
    seeds = range(SEED, SEED + _RANDOM_CASES)
    return [Case(f"random {i}", random_feeds(model, seed), None) for i, seed in enumerate(seeds, 1)]


def _outputs(model: Model, case: Case, expected: Outputs | None) -> dict[str, np.ndarray]:
    names = list(expected) if expected is not None else [value.name for value in model.outputs]
    try:
        answers: list[Any] = model.run(names, dict(case.inputs))
    except InputError as error:
        raise InputError(f"{model.path}: case {case.name!r}: {error}", name=error.name) from None
    return {name: np.asarray(answer) for name, answer in zip(names, answers, strict=True)}


def _nan_last(difference: float) -> float:
    return float("inf") if np.isnan(difference) else difference


def _source(against: str) -> str:
    return "goldens in the file" if against == "goldens" else f"{against} backend"


def _shown(difference: float) -> str:
    return "none" if difference == 0 else f"{number(difference):.1e}"
