"""``xinc sweep``: the study of many clips; ``xinc step``: one step of it."""

from __future__ import annotations

import argparse

from xinc_core.util.text import tell

from .parsing import GOES_ON, Parser, add_study_options, study_options


def add(top: Parser) -> None:
    """Add both subcommands."""
    command = top.command(
        "sweep",
        run,
        "study many clips, on many cores or a cluster, and what holds over them",
        "xinc sweep --clips videos/*.mp4 --seeds 1 10 20 --cores 16 --out runs/sweep",
        "Each clip gets a run folder in OUT, as xinc study makes it; Snakemake does what is "
        "missing, in parallel. Stopped or killed, the same command goes on. What stands after -- "
        "goes to Snakemake. notebooks/SWEEP.md says more.",
        stopped=GOES_ON,
    )
    command.add_argument(
        "--clips",
        completes="clip",
        nargs="+",
        required=True,
        metavar="CLIP",
        help="videos, images, folders of frames, shipped clips",
    )
    command.add_argument(
        "--out", completes="file", default="runs/sweep", help="the sweep's folder (%(default)s)"
    )
    command.add_argument(
        "--cores", type=int, metavar="N", help="to use at once; default: all of this machine"
    )
    command.add_argument(
        "--executor", help="where jobs run: a Snakemake executor plugin, e.g. slurm; default: here"
    )
    command.set_defaults(of_clip=add_study_options(command))
    command.add_argument(
        "--notebooks", nargs="+", metavar="NN", help="only these, by number or name"
    )
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would be done and stop; nothing is written",
    )
    _add_step(top)


def _add_step(top: Parser) -> None:
    command = top.command(
        "step",
        run_step,
        "do one step of a sweep, as Snakemake asks for it",
        "xinc step . fit NAME MODEL",
        stopped=GOES_ON,
    )
    command.add_argument("out", completes="file", help="the sweep's folder")
    command.add_argument("step", help="clip, fit, trace, notebook, report or summary")
    command.add_argument(
        "names", nargs="+", metavar="NAME", help="of the video, and of its network or notebook"
    )


def run(args: argparse.Namespace) -> None:
    """The study of many clips."""
    from xinc_core.study.series.sweep import sweep

    said = sweep(
        args.clips,
        args.out,
        args.cores,
        args.executor,
        args.dry_run,
        args.further,
        notebooks=args.notebooks,
        **study_options(args, args.of_clip),
    )
    tell(said.rstrip())


def run_step(args: argparse.Namespace) -> None:
    """One step of a sweep."""
    from xinc_core.study.series.sweep import do_step

    do_step(args.out, args.step, args.names)
