"""The ``xinc`` command: its words. What each subcommand does stands in ``commands``."""

from __future__ import annotations

import argparse
import ast
import re
import sys

from xinc_core.util.suggest import unknown

from . import commands


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; 0 when done, 2 for bad input in one sentence, 130 after Ctrl-C."""
    try:
        args = parser().parse(argv)
        debug = args.debug
    except ValueError as error:
        print(f"xinc: {error}", file=sys.stderr)
        return 2
    try:
        args.run(args)
    except KeyboardInterrupt as stop:
        print(
            f"xinc: {str(stop) or 'stopped; the same command goes on from here'}", file=sys.stderr
        )
        return 130
    except (ValueError, IndexError, OSError, RuntimeError, MemoryError) as error:
        if debug:
            raise
        print(f"xinc: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one sentence with the nearest word that exists; options are not
    abbreviated.
    """

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, **options)
        self.commands: dict[str, Parser] = {}

    def error(self, message: str):
        raise ValueError(f"{message}; see {self.prog} --help")

    def parse(self, argv: list[str] | None = None) -> argparse.Namespace:
        """Parse the command line; ``--debug`` may stand anywhere.

        Raises
        ------
        ValueError
            For a command, an option or a value that does not exist.
        """
        argv = list(sys.argv[1:] if argv is None else argv)
        debug = "--debug" in argv
        argv = [word for word in argv if word != "--debug"]
        cut = argv.index("--") if "--" in argv and argv[0] == "sweep" else len(argv)
        argv, further = argv[:cut], argv[cut + 1 :]
        if argv and not argv[0].startswith("-") and argv[0] not in self.commands:
            raise ValueError(unknown("command", argv[0], list(self.commands)))
        args, rest = self.parse_known_args(argv)
        if rest:
            options = [
                o for o in self.commands[argv[0]]._option_string_actions if o.startswith("--")
            ]
            odd = next((word for word in rest if word.startswith("-")), rest[0])
            raise ValueError(
                unknown(f"option of xinc {argv[0]}", odd.split("=")[0], options)
                if odd.startswith("-")
                else f"xinc {argv[0]} does not know what to do with {odd!r}; see xinc {argv[0]} --help"
            )
        args.debug, args.further = debug, further
        return args

    def command(self, name: str, run, help: str, example: str, text: str = "") -> Parser:
        """Add a subcommand with a line of help, an example and, if it takes more to say, a text."""
        command = self._subparsers._group_actions[0].add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}. {text}".strip(),
            epilog=f"example: {example}",
        )
        command.set_defaults(run=run)
        self.commands[name] = command
        return command


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
    return tuple(int(n) for n in text.split("x"))


def span(text: str) -> slice:
    """``0:120:4`` → slice; ``0:40`` and ``:40`` too."""
    if not re.fullmatch(r"\d*:\d*(:[1-9]\d*)?", text):
        raise argparse.ArgumentTypeError(
            f"frames are written START:STOP or START:STOP:STEP, e.g. 0:120:4, not {text!r}"
        )
    return slice(*(int(n) if n else None for n in text.split(":")))


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


def parser() -> Parser:
    """All subcommands."""
    top = Parser(
        prog="xinc",
        description="See which neuron of an implicit neural representation paints which pixel.",
        epilog="--debug, anywhere, shows the traceback of an error. xinc COMMAND --help has an example for each.",
    )
    top.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    _study(top)
    _sweep(top)
    _fit(top)
    _trace(top)
    explore = top.command(
        "explore",
        commands.explore,
        "open the explorer in JupyterLab, on a clip and a network",
        "xinc explore bunny nerv-bunny",
    )
    explore.add_argument(
        "clip",
        help="a shipped clip's name, a video, an image, a folder of frames, or the folder of a study",
    )
    explore.add_argument(
        "model", nargs="?", help="a model's name or file; default: the clip's first network"
    )
    explore.add_argument(
        "--frames",
        type=span,
        metavar="START:STOP:STEP",
        help="of a video: those that the network knows",
    )
    explore.add_argument(
        "--size", type=size, metavar="HxW", help="of a video: the size that the network paints"
    )
    explore.add_argument(
        "--no-browser", action="store_true", help="write the notebook and say where, open nothing"
    )
    _compress(top)
    top.command("models", commands.models, "list the shipped models", "xinc models")
    top.command("clips", commands.list_clips, "list the shipped clips", "xinc clips")
    return top


def _study(top: Parser) -> None:
    study = top.command(
        "study",
        commands.study,
        "study your own clip: every figure, every verdict, one report",
        "xinc study my_video.mp4 --out runs/my_video --frames 0:120:4",
        "Fits the networks that are missing, runs the notebooks on them and writes figures, findings.csv and report.html. "
        "Stopped at any point, the same command goes on from there. Without a clip: the shipped study.",
    )
    study.add_argument(
        "clip", nargs="?", help="a video, an image, a folder of frames, or a shipped clip's name"
    )
    study.add_argument("--out", help="the run's folder (runs/NAME; without a clip runs/study)")
    study.add_argument(
        "--masks", metavar="DIR", help="a COCO-panoptic folder, or a folder of label images"
    )
    _of_a_clip(study)
    study.add_argument("--device", help="where networks are fitted: cpu (default) or cuda")
    study.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        type=literal,
        metavar="NAME=VALUE",
        help="for the notebooks",
    )
    study.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would be done, with time and disk, and stop",
    )
    study.add_argument(
        "--figures",
        help="the shipped study: folder of figures and tables (figures/; with -p OUT/figures)",
    )
    study.add_argument(
        "--in-place",
        action="store_true",
        help="the shipped study: execute the notebooks over themselves",
    )
    study.add_argument(
        "--fresh",
        action="store_true",
        help="the shipped study: read no stored measurement, measure all anew",
    )


def _sweep(top: Parser) -> None:
    sweep = top.command(
        "sweep",
        commands.sweep,
        "study many clips, on many cores or a cluster, and what holds over them",
        "xinc sweep --clips videos/*.mp4 --seeds 1 10 20 --cores 16 --out runs/sweep",
        "Each clip gets a run folder in OUT, as xinc study makes it; Snakemake does what is missing, in parallel. Stopped or "
        "killed, the same command goes on. What stands after -- goes to Snakemake. notebooks/SWEEP.md says more.",
    )
    sweep.add_argument(
        "--clips",
        nargs="+",
        required=True,
        metavar="CLIP",
        help="videos, images, folders of frames, shipped clips",
    )
    sweep.add_argument("--out", default="runs/sweep", help="the sweep's folder (%(default)s)")
    sweep.add_argument(
        "--cores", type=int, metavar="N", help="to use at once; default: all of this machine"
    )
    sweep.add_argument(
        "--executor", help="where jobs run: a Snakemake executor plugin, e.g. slurm; default: here"
    )
    _of_a_clip(sweep)
    sweep.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would be done and stop; nothing is written",
    )
    step = top.command(
        "step",
        commands.step,
        "do one step of a sweep, as Snakemake asks for it",
        "xinc step . fit NAME MODEL",
    )
    step.add_argument("out", help="the sweep's folder")
    step.add_argument("step", choices=("clip", "fit", "trace", "notebook", "report", "summary"))
    step.add_argument(
        "names", nargs="+", metavar="NAME", help="of the video, and of its network or notebook"
    )


def _of_a_clip(command: Parser) -> None:
    """What the study of one clip and of many have in common."""
    command.add_argument(
        "--families",
        "--family",
        nargs="+",
        type=words,
        metavar="NAME",
        help="default: nerv ffn; one frame: ffn",
    )
    command.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        metavar="N",
        help="fits per family (quick: 1 10; full: 1 10 20 30 40)",
    )
    command.add_argument(
        "--profile",
        choices=("quick", "full"),
        help="how thorough (quick: at most 32 frames, 150 epochs)",
    )
    command.add_argument(
        "--epochs",
        nargs="+",
        type=epochs,
        metavar="N",
        help="of video networks (image networks take 10/3 as "
        "many steps), or of each family: nerv=300 ffn=1000",
    )
    command.add_argument(
        "--size",
        type=size,
        metavar="HxW",
        help="e.g. 128x256; default: short side 128, aspect kept",
    )
    command.add_argument(
        "--frames",
        type=span,
        metavar="START:STOP:STEP",
        help="e.g. 0:120:4; default: evenly, at most 5 a second",
    )
    command.add_argument(
        "--notebooks", nargs="+", metavar="NN", help="only these, by number or name"
    )


def _fit(top: Parser) -> None:
    fit = top.command(
        "fit",
        commands.fit,
        "overfit a network to a clip; Ctrl-C stops, the same command continues",
        "xinc fit my_video.mp4 --epochs 150 --frames 0:40 -o mine.safetensors",
    )
    fit.add_argument("clip", help="a shipped clip's name, a video, an image or a folder of frames")
    fit.add_argument(
        "--family",
        default="nerv",
        help="kind of network: ffn (one frame) or nerv (all frames; default), …",
    )
    fit.add_argument(
        "--frame", type=int, default=0, help="the frame that an image network is fitted to"
    )
    fit.add_argument(
        "--frames",
        type=span,
        default=slice(None),
        metavar="START:STOP:STEP",
        help="which of the clip's frames",
    )
    fit.add_argument(
        "--size",
        type=size,
        metavar="HxW",
        help="e.g. 128x256; default: short side 128, aspect kept",
    )
    fit.add_argument("--seed", type=int, default=1)
    fit.add_argument(
        "--epochs", type=int, help="default: the family's (300 for nerv, 1000 steps for ffn)"
    )
    fit.add_argument(
        "--lr",
        type=float,
        help="learning rate; default: the family's (1e-3 for nerv, 9e-4 for ffn)",
    )
    fit.add_argument("--force", action="store_true", help="replace an existing file")
    fit.add_argument("--parameters", type=int, help="target number of parameters (video networks)")
    fit.add_argument("--device", default="cpu")
    fit.add_argument("-o", "--output", help="the .safetensors file to write")


def _trace(top: Parser) -> None:
    trace = top.command(
        "trace",
        commands.trace,
        "write the contribution maps of a layer, or their sums, to a .npz file",
        "xinc trace nerv-courtyard --layer block3 --frame 7 --rule first_order -o block3.npz",
        "Maps are streamed: a layer that does not fit into memory is written all the same.",
    )
    trace.add_argument("model", help="a model's name or file")
    trace.add_argument("--layer", help="default: the last one before the output")
    trace.add_argument("--frame", type=int, default=0)
    trace.add_argument("--rule", default="paper", choices=("paper", "first_order", "ablation"))
    trace.add_argument(
        "--what",
        default="totals",
        choices=("totals", "maps"),
        help="totals: Σ_p |C| per neuron and Σ_n |C| per pixel; maps: every map (%(default)s)",
    )
    trace.add_argument("--force", action="store_true", help="replace an existing file")
    trace.add_argument("-o", "--output", help="the .npz file to write")


def _compress(top: Parser) -> None:
    small = top.command(
        "compress",
        commands.compress,
        "write a model as a small file that load_model reads",
        "xinc compress nerv-courtyard --bits 7 -o small.xinc",
    )
    small.add_argument("model", help="a shipped model's name or a file")
    small.add_argument(
        "--clip", help="what it paints, to state the PSNR; shipped models know theirs"
    )
    small.add_argument("--bits", type=int, default=8, help="per weight, 2 to 12 (%(default)s)")
    small.add_argument(
        "--guided",
        action="store_true",
        help="spend the bits where contributions say that they matter",
    )
    small.add_argument(
        "--prune",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="remove this share of the neurons first",
    )
    small.add_argument(
        "--tune", type=int, default=0, metavar="EPOCHS", help="train what is left for so long"
    )
    small.add_argument("--force", action="store_true", help="replace an existing file")
    small.add_argument("-o", "--output", help="the .xinc file to write")
