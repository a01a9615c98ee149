"""The parser of ``xinc``, the types of its values, and the options that subcommands share."""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path

from xinc_core.util.suggest import unknown

Run = Callable[[argparse.Namespace], None]
GOES_ON = "stopped; the same command goes on from here"


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one sentence with the nearest word that exists; options are not
    abbreviated.
    """

    def __init__(self, **options):
        self.option_names: list[str] = []
        self.commands: dict[str, Parser] = {}
        self._subparsers_action = None
        super().__init__(allow_abbrev=False, **options)

    def add_argument(self, *names, completes: str = "", **options) -> argparse.Action:
        """As argparse's; the long option names are remembered.

        Parameters
        ----------
        completes : str
            What a shell may complete a value with: "clip", "model" (a name or a file), "file", or
            nothing but its choices.
        """
        self.option_names += [name for name in names if name.startswith("--")]
        action = super().add_argument(*names, **options)
        action.completes = completes
        return action

    def actions(self) -> list[argparse.Action]:
        """All options and arguments, in the order of the help."""
        return list(self._actions)

    def command(
        self,
        name: str,
        run: Run,
        help: str,
        example: str,
        text: str = "",
        stopped: str = "stopped; nothing was written",
    ) -> Parser:
        """Add a subcommand.

        Parameters
        ----------
        name : str
        run : callable
            What it does with the parsed words.
        help, example, text : str
            A line, a command line, and what else there is to say.
        stopped : str
            What it says after Ctrl-C.
        """
        if self._subparsers_action is None:
            self._subparsers_action = self.add_subparsers(
                required=True, dest="command", metavar="COMMAND", parser_class=Parser
            )
        command = self._subparsers_action.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}. {text}".strip(),
            epilog=f"example: {example}",
        )
        command.set_defaults(run=run, stopped=stopped)
        self.commands[name] = command
        return command

    def error(self, message: str):
        """Raise instead of ending the process."""
        raise ValueError(f"{message}; see {self.prog} --help")

    def parse(self, argv: list[str] | None = None) -> argparse.Namespace:
        """Parse the command line; ``--debug`` may stand anywhere, and what stands after ``--`` of
        a sweep is left for Snakemake, as ``further``.

        Raises
        ------
        ValueError
            For a command, an option or a value that does not exist.
        """
        argv = list(sys.argv[1:] if argv is None else argv)
        debug = "--debug" in argv
        argv = [word for word in argv if word != "--debug"]
        further = []
        if argv[:1] == ["sweep"] and "--" in argv:
            cut = argv.index("--")
            argv, further = argv[:cut], argv[cut + 1 :]
        if argv and not argv[0].startswith("-") and argv[0] not in self.commands:
            raise ValueError(unknown("command", argv[0], list(self.commands)))
        if not argv:
            raise ValueError(f"name a command: {', '.join(self.commands)}; see xinc --help")
        args, rest = self.parse_known_args(argv)
        if rest:
            raise ValueError(self._refusal(args.command, rest))
        args.debug, args.further = debug, further
        return args

    def _refusal(self, command: str, rest: list[str]) -> str:
        """The sentence about words that a subcommand does not know."""
        for word in rest:
            if word.startswith("-"):
                known = [*self.commands[command].option_names, "--debug"]
                return unknown(f"option of xinc {command}", word.split("=")[0], known)
        return (
            f"xinc {command} does not know what to do with {rest[0]!r}; see xinc {command} --help"
        )


# Types of values ----------------------------------------------------------------------------------


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of a whole number from ``least`` to ``most``."""

    def number(text: str) -> int:
        wanted = f"a whole number of at least {least:,}"
        if most is not None:
            wanted = f"a whole number from {least:,} to {most:,}"
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{wanted} is wanted, not {text!r}") from None
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{wanted} is wanted, not {text}")
        return value

    return number


seed = whole(0, 2**63 - 1)  # as torch takes them


def rate(text: str) -> float:
    """A positive number, such as a learning rate."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a positive number is wanted, e.g. 1e-3, not {text!r}")
    return value


def literal(text: str) -> tuple[str, object]:
    """``name=value`` with the value read as a Python literal, or as plain text."""
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"a parameter is written name=value, not {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def size(text: str) -> tuple[int, int]:
    """``128x256`` → (H, W)."""
    if not re.fullmatch(r"\d+x\d+", text):
        raise argparse.ArgumentTypeError(
            f"a size is written HEIGHTxWIDTH, e.g. 128x256, not {text!r}"
        )
    height, width = text.split("x")
    return int(height), int(width)


def span(text: str) -> slice:
    """``0:120:4`` → slice; ``0:40`` and ``:40`` too."""
    if not re.fullmatch(r"\d*:\d*(:[1-9]\d*)?", text):
        raise argparse.ArgumentTypeError(
            f"frames are written START:STOP or START:STOP:STEP, e.g. 0:120:4, not {text!r}"
        )
    return slice(*(int(part) if part else None for part in text.split(":")))


def epochs(text: str) -> tuple[str | None, int]:
    """``150`` or ``nerv=150``."""
    if not re.fullmatch(r"(\w+=)?\d+", text):
        raise argparse.ArgumentTypeError(
            f"epochs are a number or NAME=NUMBER, e.g. nerv=300, not {text!r}"
        )
    name, _, number = text.rpartition("=")
    return name or None, int(number)


def words(text: str) -> list[str]:
    """``siren,hnerv`` → both; one word stays one."""
    return [word for word in text.split(",") if word]


# Options that subcommands share -------------------------------------------------------------------


def add_study_options(command: Parser) -> tuple[str, ...]:
    """What the studies of one clip and of many have in common; the options' names in the parsed
    words.
    """
    actions = [
        command.add_argument(
            "--families",
            "--family",
            nargs="+",
            type=words,
            metavar="NAME",
            help="default: nerv ffn; one frame: ffn",
        ),
        command.add_argument(
            "--seeds",
            nargs="+",
            type=seed,
            metavar="N",
            help="fits per family (quick: 1; full: 1 10 20 30 40)",
        ),
        command.add_argument(
            "--profile",
            choices=("quick", "full"),
            help="how thorough (quick: at most 32 frames, one seed)",
        ),
        command.add_argument(
            "--epochs",
            nargs="+",
            type=epochs,
            metavar="N",
            help="of NeRV (other families are trained in the proportions of their recipes), "
            "or of each family: nerv=300 ffn=1000; default: the recipe's",
        ),
        command.add_argument(
            "--recipe",
            choices=("fast", "paper"),
            help="how networks are fitted: fast (default) or as the papers did",
        ),
        command.add_argument(
            "--size",
            type=size,
            metavar="HxW",
            help="e.g. 128x256; default: short side 128, aspect kept",
        ),
        command.add_argument(
            "--frames",
            type=span,
            metavar="START:STOP:STEP",
            help="e.g. 0:120:4; default: evenly, at most 5 a second",
        ),
    ]
    return tuple(action.dest for action in actions)


def study_options(args: argparse.Namespace, names: tuple[str, ...]) -> dict:
    """The options of these names that were given, as
    :func:`~xinc_core.study.series.plans.plan` takes them.
    """
    options = given(args, names)
    if "families" in options:
        options["families"] = [name for names in options["families"] for name in names]
    if "epochs" in options:
        options["epochs"] = _epochs_of_all(options["epochs"])
    return options


def given(args: argparse.Namespace, names: tuple[str, ...]) -> dict:
    """The options of these names that were given, with their values."""
    values = {name: vars(args)[name] for name in names}
    return {name: value for name, value in values.items() if value not in (None, False)}


def _epochs_of_all(asked: list[tuple[str | None, int]]) -> int | dict[str, int]:
    """One number for all, or a number per family."""
    if len(asked) == 1 and asked[0][0] is None:
        return asked[0][1]
    if any(name is None for name, _ in asked):
        raise ValueError("--epochs takes one number, or NAME=NUMBER for each family, not both")
    return dict(asked)


def add_output(command: Parser, suffix: str) -> None:
    """Where the file goes that a subcommand writes."""
    command.add_argument("--force", action="store_true", help="replace an existing file")
    command.add_argument("-o", "--output", completes="file", help=f"the {suffix} file to write")


def check_output(out: Path, suffix: str, force: bool) -> None:
    """Refuse an output file of the wrong kind, or one that exists; make its folder."""
    if out.suffix != suffix:
        raise ValueError(f"the file ends in {suffix}, not as in {str(out)!r}")
    if out.exists() and not force:
        raise ValueError(
            f"{str(out)!r} exists already; name another file with -o, or add --force to replace it"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
