"""``python -m export quantize MODEL.onnx``, also ``edgeinfer export quantize``."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from .progress import BAD_MODEL, ENDINGS, OK, ended, report_progress
from .quantize import Quantized, quantize

_EXAMPLES = """\
examples:
  {prog} model.onnx --weights int8 -o model.int8.onnx
  {prog} model.onnx --weights int8 --activations int8 -o model.fast.onnx
  {prog} model.onnx --weights float16 --max-error 1e-3 -o model.float16.onnx
"""


def main(prog: str, argv: list[str]) -> int:
    """Run the command and return its exit code.

    0 fine, 1 the answers drift too far, 2 wrong usage, 3 bad model or input, 130 SIGINT.
    """
    parser = _parser(prog)
    try:
        arguments = parser.parse_args(argv)
        if arguments.max_error is not None and not 0 < arguments.max_error < float("inf"):
            parser.error(f"argument --max-error: expected a finite number above 0, got {arguments.max_error}")
        if arguments.activations is not None and arguments.weights != "int8":
            parser.error("argument --activations: int8 goes with --weights int8")
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        done = quantize(
            arguments.model,
            arguments.output,
            weights=arguments.weights,
            activations=arguments.activations,
            max_error=arguments.max_error,
            progress=partial(report_progress, command="quantize"),
        )
    except ImportError as error:
        print(f"quantize: {error.name} is not installed: pip install 'edgeinfer[onnx]'", file=sys.stderr)
        return BAD_MODEL
    except ENDINGS as error:
        return ended("quantize", error)
    if arguments.json:
        print(json.dumps(_report(done)))
    else:
        _show(done)
    return OK


def _report(done: Quantized) -> dict[str, object]:
    return {
        "path": str(done.path),
        "weights": done.weights,
        "activations": done.activations,
        "stored": list(done.stored),
        "left": dict(done.left),
        "bytes_before": done.bytes_before,
        "bytes": done.bytes,
        "tolerance": done.tolerance,
        "drift": done.drift.to_dict(),
    }


def _show(done: Quantized) -> None:
    drift = done.drift
    print(f"{done.path}: {done.weights} weights: {', '.join(done.stored)}")
    for name, why in done.left.items():
        print(f"{name} stays float32: {why}")
    print()
    print("largest difference from the float32 file, relative to max(1, |y|)")
    print(drift.table())
    print()
    share = done.bytes / done.bytes_before
    print(f"file      {done.bytes_before:,} → {done.bytes:,} bytes ({share:.0%})")
    before, after = drift.step_ns
    ratio = before / after
    word = "fast" if ratio >= 1 else "slow"
    print(
        f"step      {before / 1e3:.3g} → {after / 1e3:.3g} µs on {drift.runs_on}: "
        f"{max(ratio, 1 / ratio):.1f} times as {word}"
    )
    print(f"goldens   {drift.goldens:.1e} away; verify allows {done.tolerance:g}")
    if drift.onnxruntime is None:
        print("ONNX Runtime is not installed, so the file was not compared with it")
    else:
        print(f"on the same file ONNX Runtime and native differ by {drift.onnxruntime:.1e}")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        epilog=_EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write an ONNX file again with small weights, as standard ONNX, and report how far it drifts.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="a file with float32 weights")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.onnx", help="the file to write")
    parser.add_argument("--weights", choices=("int8", "float16"), required=True, help="how weights are stored")
    parser.add_argument(
        "--activations",
        choices=("int8",),
        help="with --weights int8: edgeinfer keeps states in 8 bits too, and is fast",
    )
    parser.add_argument(
        "--max-error",
        type=float,
        metavar="E",
        help="write nothing where an answer moves by more, relative to max(1, |y|)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser
