"""The ``xinc`` command: its subcommands, and how it ends."""

from __future__ import annotations

import os
import signal
import sys

from xinc_core.util.text import tell

from . import completion, compress, explore, fit, lists, study, sweep, trace
from .parsing import Parser

FAILED, BAD_INPUT = 1, 2  # exit statuses
SIGNALLED = 128  # and the signal's number, as shells give it to what a signal ended
NOBODY_READS = 141
SENTENCES = (ValueError, IndexError, OSError, RuntimeError, MemoryError)


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand.

    Returns
    -------
    int
        0 when done; 2 for bad input, in one sentence; 1 for a mistake of the program's own; 130
        after Ctrl-C and 143 after SIGTERM; 141, without a word, where nobody reads on, as in
        ``xinc models | head -1``.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS


def _run(argv: list[str] | None) -> int:
    """Parse and do; the exit status."""
    try:
        args = parser().parse(argv)
    except ValueError as error:
        _say(str(error))
        return BAD_INPUT
    try:
        args.run(args)
    except KeyboardInterrupt as stop:
        _say(str(stop) or args.stopped)
        return SIGNALLED + getattr(stop, "signal", signal.SIGINT)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it ends in one sentence
        if args.debug:
            raise
        return _explain(error)
    return 0


def _explain(error: Exception) -> int:
    """Say what went wrong; the exit status."""
    reason = " ".join(str(error).split())
    if isinstance(error, SENTENCES):
        _say(reason)
        return BAD_INPUT
    if isinstance(error, ModuleNotFoundError):
        if error.name:  # Python's own; ours says all
            reason = (
                f"{error.name} is not installed; pip install 'xinc-core[notebooks]' brings what "
                "notebooks, figures and studies need"
            )
        _say(reason)
        return BAD_INPUT
    _say(
        f"this should not have happened: {type(error).__name__}: {reason}; "
        "the same command with --debug shows where"
    )
    return FAILED


def parser() -> Parser:
    """All subcommands, in the order of the help."""
    from xinc_core import __version__

    top = Parser(
        prog="xinc",
        description="See which neuron of an implicit neural representation paints which pixel.",
        epilog="--debug, anywhere, shows the traceback of an error. "
        "xinc COMMAND --help has an example for each.",
    )
    top.add_argument("--version", action="version", version=f"xinc {__version__}")
    for subcommand in (study, sweep, fit, trace, explore, compress, lists, completion):
        subcommand.add(top)
    return top


def _say(sentence: str) -> None:
    tell(f"xinc: {sentence}", aside=True)
