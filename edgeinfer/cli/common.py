"""Arguments that several commands take, and how they load a model."""

from __future__ import annotations

import argparse
import textwrap

from ..backends import BACKENDS
from ..errors import ModelLimitError, StreamError
from ..limits import DEFAULT, Limits
from ..model import BackendName, Model, Precision, load
from ..stream import Stream

LOG_LEVELS = ("debug", "info", "warning", "error")


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, text: str
) -> argparse.ArgumentParser:
    """A command's parser, with the arguments that all take. ``text`` is shown after the options by --help."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=textwrap.dedent(text).strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="warning", help="for stderr (default: warning)")
    parser.set_defaults(parser=parser)
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """The positional argument MODEL."""
    parser.add_argument("model", metavar="MODEL", help="an ONNX file")


def add_limit(parser: argparse.ArgumentParser) -> None:
    """--limit, which load_model reads."""
    parser.add_argument(
        "--limit",
        type=limit,
        action="append",
        default=[],
        metavar="NAME=N",
        help="raise a limit on what may be in the file, as the error says that names it",
    )


def add_backend(parser: argparse.ArgumentParser) -> None:
    """--backend."""
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="what computes (default: auto)")


def add_mode(parser: argparse.ArgumentParser) -> None:
    """--mode and --window, for stepping through a file that does not say how."""
    parser.add_argument(
        "--mode",
        choices=("stream", "window"),
        help="for a file that does not say: carry the state, or look at a window of inputs",
    )
    parser.add_argument(
        "--window", type=positive_int, metavar="N", help="with --mode window: how many inputs it looks at"
    )


def open_model(args: argparse.Namespace) -> Model:
    """The model that the arguments name."""
    return load_model(args, args.backend)


def load_model(args: argparse.Namespace, backend: BackendName, precision: Precision | None = None) -> Model:
    """The same on another backend. Raises ModelLimitError naming the option that lets the file pass."""
    try:
        return load(args.model, backend=backend, precision=precision, limits=DEFAULT._replace(**dict(args.limit)))
    except ModelLimitError as error:
        if error.raised is None:
            raise
        way_out = f"{error}; here: --limit {error.limit}={error.raised}"
        raise ModelLimitError(way_out, limit=error.limit, raised=error.raised) from None


def open_stream(args: argparse.Namespace, model: Model, scalar: bool = False) -> Stream:
    """A stream in the mode that the arguments ask for."""
    try:
        return model.stream(mode=args.mode, window=args.window, scalar=scalar)
    except StreamError as error:
        says = model.spec is not None and model.spec.mode is not None
        if args.mode is not None or says or len(model.inputs) != 1:
            raise
        ways = (
            "--mode stream, or --mode window --window N" if model.describe()["streams"] else "--mode window --window N"
        )
        raise StreamError(f"{error}; here: {ways}") from None


def check_mode(args: argparse.Namespace) -> None:
    """End with a usage error where --window stands without its mode."""
    if args.window is not None and args.mode != "window":
        args.parser.error("--window needs --mode window")


def limit(text: str) -> tuple[str, int]:
    """An argparse type: NAME=N, one of the limits."""
    name, _, value = text.partition("=")
    if name not in Limits._fields:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=N with one of {', '.join(Limits._fields)}")
    try:
        return name, positive_int(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected {name}= and a positive integer") from None


def positive_int(text: str) -> int:
    """An argparse type."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def seconds(text: str) -> float:
    """An argparse type: up to an hour."""
    value = float(text)
    if not 0 < value <= 3600:
        raise ValueError(text)
    return value


positive_int.__name__ = "positive integer"  # argparse names the types in its messages
seconds.__name__ = "number of seconds"
