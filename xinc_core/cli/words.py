"""The ``xinc`` command: its subcommands, and how it ends."""

from __future__ import annotations

import sys

from . import compress, explore, fit, lists, study, sweep, trace
from .parsing import Parser

BAD_INPUT, STOPPED = 2, 130  # exit statuses
SENTENCES = (ValueError, IndexError, OSError, RuntimeError, MemoryError)


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; 0 when done, 2 for bad input in one sentence, 130 after Ctrl-C."""
    try:
        args = parser().parse(argv)
    except ValueError as error:
        _say(str(error))
        return BAD_INPUT
    try:
        args.run(args)
    except KeyboardInterrupt as stop:
        _say(str(stop) or "stopped; the same command goes on from here")
        return STOPPED
    except SENTENCES as error:
        if args.debug:
            raise
        _say(" ".join(str(error).split()))
        return BAD_INPUT
    return 0


def parser() -> Parser:
    """All subcommands, in the order of the help."""
    top = Parser(
        prog="xinc",
        description="See which neuron of an implicit neural representation paints which pixel.",
        epilog="--debug, anywhere, shows the traceback of an error. "
        "xinc COMMAND --help has an example for each.",
    )
    for subcommand in (study, sweep, fit, trace, explore, compress, lists):
        subcommand.add(top)
    return top


def _say(sentence: str) -> None:
    print(f"xinc: {sentence}", file=sys.stderr)
