"""The command line: ``python -m export MODEL.keras -o MODEL.onnx``, also ``edgeinfer export``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import inspect_command, quantize_command, seq2seq_command, shown
from .api import DEFAULT_ATOL, to_onnx
from .arguments import add_model_arguments, check_model_arguments
from .load import find_custom_objects
from .progress import ENDINGS, OK, ended, report_progress

_EXAMPLES = """\
examples:
  {prog} model.keras -o model.onnx
  {prog} windows.keras -o windows.onnx --mode window --window 24
  {prog} inspect model.keras     what becomes of each layer
  {prog} quantize --help         small weights, from an ONNX file
  {prog} seq2seq --help          an encoder and a decoder, from one training model
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code.

    0 fine, 1 verification failed, 2 wrong usage, 3 bad model or input, 130 SIGINT.
    """
    prog = "python -m export" if argv is None else "edgeinfer export"
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ["quantize"]:
        return quantize_command.main(f"{prog} quantize", given[1:])
    if given[:1] == ["inspect"]:
        return inspect_command.main(f"{prog} inspect", given[1:])
    if given[:1] == ["seq2seq"]:
        return seq2seq_command.main(f"{prog} seq2seq", given[1:])
    parser = _parser(prog)
    try:
        arguments = parser.parse_args(argv)
        check_model_arguments(parser, arguments)
        if not arguments.atol > 0:
            parser.error(f"argument --atol: expected a positive number, got {arguments.atol}")
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
            progress=report_progress,
        )
    except ENDINGS as error:
        return ended("export", error)
    if arguments.json:
        print(json.dumps(shown.report(exported)))
    else:
        print(shown.text(exported))
    return OK


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        epilog=_EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write a Keras model as one ONNX file, checked against Keras and ONNX Runtime.",
    )
    add_model_arguments(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.onnx", help="the file to write")
    parser.add_argument(
        "--atol", type=float, default=DEFAULT_ATOL, help="largest difference allowed (default: %(default)s)"
    )
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="write without comparing")
    return parser
