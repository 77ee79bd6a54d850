"""The ``edgeinfer`` command.

Exit status: 0 fine, 1 a check failed, 2 wrong usage, 3 a bad model or input or a missing extra, 130 SIGINT.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import logging
import sys
from collections.abc import Callable, Iterator, Sequence

from .. import __version__
from ..errors import EdgeInferError
from . import bench, demo, info, profile, run, verify
from .output import discard_output, visible

ENTRY_POINTS = "edgeinfer.commands"
_OWN = (run, info, verify, bench, profile, demo)
_ADDED = {
    "export": "turn a Keras model into an ONNX file (needs edgeinfer[export])",
    "train": "train a model by one of the recipes (needs edgeinfer[train])",
}
_EXAMPLES = """\
examples:
  edgeinfer demo                                     what the bundled models answer
  edgeinfer run sum.onnx --values 5,6                forecast the next value
  edgeinfer run sentiment.onnx --text "Well acted"   label a text
  edgeinfer info model.onnx                          what is in a file and what runs it

exit status: 0 fine, 1 a check failed, 2 wrong usage, 3 a bad model or input
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; errors are one line on stderr."""
    arguments = _join_values(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except SystemExit as stop:  # argparse: 0 after --help, 2 after wrong usage
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        discard_output()
        return 0
    except OSError as error:
        return _fail(str(error) if error.filename is None else f"{error.filename or repr('')}: {error.strerror}")
    except MemoryError:
        return _fail("not enough memory")
    except EdgeInferError as error:
        return _fail(str(error))


def _fail(message: str) -> int:
    if sys.stderr is not None:  # else print would write to standard output
        print("edgeinfer: error:", visible(" ".join(message.splitlines())), file=sys.stderr)
    return 3


def _dispatch(arguments: list[str]) -> int:
    if arguments and not arguments[0].startswith("-") and arguments[0] not in _own_names():
        added = _added_command(arguments[0])
        if added is not None:
            return added(arguments[1:])
    parser = _parser()
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        getattr(args, "parser", parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    if args.command is None:
        parser.print_help()
        return 2
    with _logging(args.log_level):
        status: int = args.function(args)
    return status


def _own_names() -> tuple[str, ...]:
    return tuple(module.__name__.rpartition(".")[2] for module in _OWN)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgeinfer",
        description="Run recurrent networks from ONNX files, one time step at a time, with their state kept.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"edgeinfer {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for module in _OWN:
        module.register(commands)
    for name, summary in _ADDED.items():
        commands.add_parser(name, help=summary)
    return parser


def _added_command(name: str) -> Callable[[list[str]], int] | None:
    """A command that another package of this installation adds; None where no one knows it."""
    found = list(importlib.metadata.entry_points(group=ENTRY_POINTS, name=name))
    if not found:
        if name not in _ADDED:
            return None
        raise EdgeInferError(f"{name} is not part of this installation: pip install 'edgeinfer[{name}]'")

    def command(arguments: list[str]) -> int:
        try:
            status: int = found[0].load()(arguments)
        except ModuleNotFoundError as error:
            extra = f": pip install 'edgeinfer[{name}]'" if name in _ADDED else ""
            raise EdgeInferError(f"{name} needs {error.name}, which is not installed{extra}") from None
        return status

    return command


def _join_values(arguments: Sequence[str]) -> list[str]:
    """``--values -5,6`` as ``--values=-5,6``: argparse would take the value for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--values" and argument[:1] == "-" and argument[:2] not in ("--", "-h"):
            joined[-1] = f"--values={argument}"
        else:
            joined.append(argument)
    return joined


@contextlib.contextmanager
def _logging(level: str) -> Iterator[None]:
    logger = logging.getLogger("edgeinfer")
    before = logger.level
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("edgeinfer: %(lowered)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.lowered = record.levelname.lower()
        return super().format(record)
