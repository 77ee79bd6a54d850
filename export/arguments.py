"""The arguments that export, inspect and seq2seq have in common: which model, and how it is wanted."""

from __future__ import annotations

import argparse
from pathlib import Path

from .plan import DEFAULT_OPSET, OLDEST_OPSET, Wanted


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all of them to the parser of a command that takes one model."""
    parser.add_argument("model", type=Path, metavar="MODEL.keras", help="as saved by model.save: .keras or .h5")
    parser.add_argument("--spec", type=Path, metavar="FILE", help="the recipe's JSON (default: MODEL.json, if there)")
    parser.add_argument(
        "--form", choices=("stream", "sequence"), help="with or without states (default: with, if it can)"
    )
    parser.add_argument(
        "--mode", choices=("stream", "window"), help="how streams run the file (default: from the model)"
    )
    parser.add_argument("--window", type=int, metavar="N", help="the window's length, for mode window")
    add_conversion_arguments(parser)


def add_conversion_arguments(parser: argparse.ArgumentParser) -> None:
    """Those that a seq2seq model takes too."""
    parser.add_argument(
        "--opset",
        type=int,
        default=DEFAULT_OPSET,
        metavar="N",
        help="ONNX opset, 13 to the newest of tf2onnx (default: %(default)s)",
    )
    parser.add_argument(
        "--custom-objects",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a class or function of the model's own; its module is imported (may be repeated)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def check_conversion_arguments(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Ends the program with a usage message where one of them cannot be."""
    if arguments.opset < OLDEST_OPSET:
        parser.error(f"argument --opset: expected at least {OLDEST_OPSET}, got {arguments.opset}")


def check_model_arguments(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Wanted:
    """What was asked for. Ends the program with a usage message where the arguments do not fit together."""
    if arguments.window is not None and arguments.window < 1:
        parser.error(f"argument --window: expected at least 1, got {arguments.window}")
    if arguments.window is not None and arguments.mode == "stream":
        parser.error("argument --window: not allowed with --mode stream")
    check_conversion_arguments(parser, arguments)
    return Wanted(arguments.form, arguments.mode, arguments.window, arguments.opset)
