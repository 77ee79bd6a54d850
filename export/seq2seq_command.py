"""``python -m export seq2seq MODEL.keras``, also ``edgeinfer export seq2seq``."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

from . import shown
from .api import DEFAULT_ATOL
from .arguments import add_conversion_arguments, check_conversion_arguments
from .load import find_custom_objects
from .progress import ENDINGS, OK, ended, report_progress
from .seq2seq import Seq2Seq, to_onnx_seq2seq

_DESCRIPTION = """\
Write the encoder and the decoder of a model that was trained with teacher forcing as a file each: NAME.encoder.onnx and
NAME.decoder.onnx for -o NAME.onnx. The decoder runs one step at a time from the states that the encoder leaves, and its
metadata says which output of the encoder goes where:

  said = edgeinfer.load("NAME.encoder.onnx")(source)
  stream = edgeinfer.load("NAME.decoder.onnx").given(said).stream()
  scores = stream.step(token)
"""


def main(prog: str, argv: list[str]) -> int:
    """Run the command and return its exit code.

    0 fine, 1 verification failed, 2 wrong usage, 3 bad model or input, 130 SIGINT.
    """
    parser = _parser(prog)
    try:
        arguments = parser.parse_args(argv)
        check_conversion_arguments(parser, arguments)
        if not arguments.atol > 0:
            parser.error(f"argument --atol: expected a positive number, got {arguments.atol}")
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        done = to_onnx_seq2seq(
            arguments.model,
            arguments.output,
            opset=arguments.opset,
            verify=arguments.verify,
            atol=arguments.atol,
            custom_objects=find_custom_objects(arguments.custom_objects),
            progress=partial(report_progress, command="seq2seq"),
        )
    except ENDINGS as error:
        return ended("seq2seq", error)
    if arguments.json:
        print(json.dumps(_report(done)))
    else:
        _show(done)
    return OK


def _report(done: Seq2Seq) -> dict[str, object]:
    wiring = done.decoder.spec.encoder
    assert wiring is not None
    return {
        "encoder": shown.report(done.encoder),
        "decoder": shown.report(done.decoder),
        "starts": dict(wiring.states),
        "constants": dict(wiring.constants),
        "differences": done.differences.to_dict() if done.differences else None,
    }


def _show(done: Seq2Seq) -> None:
    wiring = done.decoder.spec.encoder
    assert wiring is not None
    for half in (done.encoder, done.decoder):
        print(shown.text(half))
        print()
    print(f"the encoder starts {', '.join(wiring.states)}")
    if wiring.constants:
        print(f"and gives at every step {', '.join(wiring.constants)}")
    if done.differences:
        print("generation step by step against the training model")
        print(done.differences.table())


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, formatter_class=argparse.RawDescriptionHelpFormatter, description=_DESCRIPTION
    )
    parser.add_argument("model", type=Path, metavar="MODEL.keras", help="the training model, .keras or .h5")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="NAME.onnx", help="what both are called")
    add_conversion_arguments(parser)
    parser.add_argument(
        "--atol", type=float, default=DEFAULT_ATOL, help="largest difference allowed (default: %(default)s)"
    )
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="write without comparing")
    return parser
