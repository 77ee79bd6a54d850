"""The command line: ``python -m train``, also ``edgeinfer train``."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from pathlib import Path
from typing import cast

from edgeinfer.errors import EdgeInferError

from .errors import TrainingError
from .recipe import Options, Recipe, load_keras, save, show_scores
from .score import compare

OK, FAILED, USAGE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 3, 130

RECIPES = {
    "sum": "SimpleRNN that continues a series in which each number is the sum of the two before",
    "next_word": "LSTM that proposes the next word of a sentence, from a corpus of four sentences",
    "sentiment": "LSTM that tells positive from negative film reviews (IMDB)",
    "demand": "GRU or LSTM that forecasts electricity demand 24 hours ahead, one hour at a time",
}
_WITH_DATA = ("sentiment", "demand")

_EXAMPLES = """\
examples:
  {prog} demand --quick --out trained
  {prog} demand --score demand.onnx
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command: 0 fine, 1 training or a check failed, 2 wrong usage, 3 bad model or input."""
    parser = _parser("python -m train" if argv is None else "edgeinfer train")
    try:
        arguments = parser.parse_args(argv)
        _check(parser, arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    if arguments.recipe is None:
        for name, summary in RECIPES.items():
            print(f"{name:<12}{summary}")
        return OK
    try:
        if arguments.score is not None:
            return OK if compare(_recipe(arguments.recipe), arguments.score, arguments.data) else FAILED
        return _train(arguments)
    except TrainingError as error:
        print(f"train: {error}", file=sys.stderr)
        return FAILED
    except (EdgeInferError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        return BAD_INPUT
    except ImportError as error:
        print(f"train: {error}; install what recipes need with pip install 'edgeinfer[train]'", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("train: interrupted; nothing was saved", file=sys.stderr)
        return INTERRUPTED


def _train(arguments: argparse.Namespace) -> int:
    load_keras()
    options = Options(arguments.seed, arguments.quick, arguments.epochs, arguments.data, arguments.cell)
    started = time.monotonic()
    trained = _recipe(arguments.recipe).train(options)
    paths = save(arguments.recipe, trained, options, arguments.out)
    print(f"{arguments.recipe}: {time.monotonic() - started:.0f} s, {trained.model.count_params():,} parameters")
    show_scores(trained.scores)
    print("saved " + " and ".join(map(str, paths)))
    return OK


def _recipe(name: str) -> Recipe:
    return cast(Recipe, importlib.import_module(f".{name}", __package__))


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        epilog=_EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train a model on real data, save NAME.keras and NAME.json. Without NAME: list recipes.",
    )
    parser.add_argument("recipe", nargs="?", metavar="NAME", choices=RECIPES, help=", ".join(RECIPES))
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to save (default: here)")
    parser.add_argument("--quick", action="store_true", help="a short run, for a first look or a test")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of weights and shuffling (default: 0)")
    parser.add_argument("--epochs", type=int, metavar="N", help="exactly N epochs instead of the recipe's choice")
    parser.add_argument("--data", type=Path, metavar="FILE", help="a CSV of your own instead of the data set")
    parser.add_argument("--cell", choices=("gru", "lstm", "best"), help="demand only (default: best, by validation)")
    parser.add_argument(
        "--score",
        type=Path,
        metavar="MODEL.onnx",
        help="measure an exported model on the raw data; trains nothing",
    )
    return parser


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    name = arguments.recipe
    if name is None and arguments.score is not None:
        parser.error("--score: expected the name of the recipe before it")
    if arguments.epochs is not None and arguments.epochs < 1:
        parser.error(f"--epochs: expected at least 1, got {arguments.epochs}")
    if not 0 <= arguments.seed < 2**31:
        parser.error(f"--seed: expected a number from 0 to {2**31 - 1}, got {arguments.seed}")
    if arguments.cell is not None and name != "demand":
        parser.error("--cell: only the recipe demand has it")
    if arguments.data is not None and name not in _WITH_DATA:
        parser.error(f"--data: only these recipes read data: {', '.join(_WITH_DATA)}")
    if name is not None and arguments.score is None:
        try:
            arguments.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"--out: expected a folder to save to: {error}")
        if not os.access(arguments.out, os.W_OK):
            parser.error(f"--out: expected a folder to save to, {arguments.out} is not writable")
