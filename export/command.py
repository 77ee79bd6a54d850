"""The command line: ``python -m export MODEL.keras -o MODEL.onnx``, also ``edgeinfer export``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from edgeinfer.errors import EdgeInferError

from . import quantize_command, seq2seq_command, shown
from .api import DEFAULT_ATOL, DEFAULT_OPSET, OPSETS, to_onnx
from .errors import VerificationError
from .load import find_custom_objects

# Wrong usage exits 2, as argparse does.
OK, FAILED, BAD_MODEL = 0, 1, 3

_EXAMPLES = """\
examples:
  {prog} model.keras -o model.onnx
  {prog} windows.keras -o windows.onnx --mode window --window 24
  {prog} quantize --help                      small weights, from an ONNX file
  {prog} seq2seq --help                       an encoder and a decoder, from one training model
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code.

    0 fine, 1 verification failed, 2 wrong usage, 3 bad model or input.
    """
    prog = "python -m export" if argv is None else "edgeinfer export"
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ["quantize"]:
        return quantize_command.main(f"{prog} quantize", given[1:])
    if given[:1] == ["seq2seq"]:
        return seq2seq_command.main(f"{prog} seq2seq", given[1:])
    parser = _parser(prog)
    try:
        arguments = parser.parse_args(argv)
        _check(parser, arguments)
    except SystemExit as stop:
        return int(stop.code or 0)

    try:
        exported = to_onnx(
            arguments.model,
            arguments.output,
            form=arguments.form,
            mode=arguments.mode,
            window=arguments.window,
            opset=arguments.opset,
            verify=arguments.verify,
            atol=arguments.atol,
            spec=arguments.spec,
            custom_objects=find_custom_objects(arguments.custom_objects),
            progress=_say,
        )
    except VerificationError as error:
        print(f"export: {error}", file=sys.stderr)
        return FAILED
    except (EdgeInferError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return BAD_MODEL
    except KeyboardInterrupt:
        print("export: interrupted; nothing was written", file=sys.stderr)
        return FAILED
    if arguments.json:
        print(json.dumps(shown.report(exported)))
    else:
        print(shown.text(exported))
    return OK


def _say(line: str) -> None:
    print(f"export: {line}", file=sys.stderr, flush=True)


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        epilog=_EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write a Keras model as one ONNX file, checked against Keras and ONNX Runtime.",
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL.keras", help="the model, as saved by model.save (.keras or .h5)"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.onnx", help="the file to write")
    parser.add_argument("--spec", type=Path, metavar="FILE", help="the recipe's JSON (default: MODEL.json, if there)")
    parser.add_argument(
        "--form", choices=("stream", "sequence"), help="with or without states (default: with, if it can)"
    )
    parser.add_argument(
        "--mode", choices=("stream", "window"), help="how streams run the file (default: from the model)"
    )
    parser.add_argument("--window", type=int, metavar="N", help="the window's length, for mode window")
    parser.add_argument(
        "--opset", type=int, choices=OPSETS, default=DEFAULT_OPSET, help="ONNX opset (default: %(default)s)"
    )
    parser.add_argument(
        "--atol", type=float, default=DEFAULT_ATOL, help="largest difference allowed (default: %(default)s)"
    )
    parser.add_argument(
        "--custom-objects",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a class or function of the model's own; its module is imported (may be repeated)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="write without comparing")
    return parser


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.window is not None and arguments.window < 1:
        parser.error(f"argument --window: expected at least 1, got {arguments.window}")
    if arguments.window is not None and arguments.mode == "stream":
        parser.error("argument --window: not allowed with --mode stream")
    if not arguments.atol > 0:
        parser.error(f"argument --atol: expected a positive number, got {arguments.atol}")
