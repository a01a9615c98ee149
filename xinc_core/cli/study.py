"""``xinc study``: the study of your own clip, or the shipped one."""

from __future__ import annotations

import argparse

from xinc_core.util.text import tell

from .parsing import GOES_ON, Parser, add_study_options, given, literal, study_options


def add(top: Parser) -> None:
    """Add the subcommand."""
    command = top.command(
        "study",
        run,
        "study your own clip: every figure, every verdict, one report",
        "xinc study my_video.mp4 --out runs/my_video --frames 0:120:4",
        "Fits the networks that are missing, runs the notebooks on them and writes figures, "
        "findings.csv and report.html. Stopped at any point, the same command goes on from there. "
        "Without a clip: the shipped study, compared with the committed figures and tables.",
        stopped=GOES_ON,
    )
    command.add_argument(
        "clip",
        nargs="?",
        completes="clip",
        help="a video, an image, a folder of frames, or a shipped clip's name",
    )
    command.add_argument(
        "--out", completes="file", help="the run's folder (runs/NAME; without a clip runs/study)"
    )
    command.add_argument(
        "--notebooks", nargs="+", metavar="NN", help="only these, by number or name"
    )
    command.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        type=literal,
        metavar="NAME=VALUE",
        help="for the notebooks",
    )
    of_clip = (*add_study_options(command), *_add_clip_options(command))
    command.set_defaults(of_clip=of_clip, of_series=_add_series_options(command))


def _add_clip_options(command: Parser) -> tuple[str, ...]:
    """Options of the study of a clip alone; their names in the parsed words."""
    actions = [
        command.add_argument(
            "--masks",
            completes="file",
            metavar="DIR",
            help="a COCO-panoptic folder, or a folder of label images",
        ),
        command.add_argument("--device", help="where networks are fitted: cpu (default) or cuda"),
        command.add_argument(
            "--dry-run",
            action="store_true",
            help="print what would be done, with time and disk, and stop",
        ),
    ]
    return tuple(action.dest for action in actions)


def _add_series_options(command: Parser) -> tuple[str, ...]:
    """Options of the shipped study alone; their names in the parsed words."""
    actions = [
        command.add_argument(
            "--figures",
            completes="file",
            help="the shipped study: folder of figures and tables "
            "(OUT/figures; with --in-place figures/)",
        ),
        command.add_argument(
            "--in-place",
            action="store_true",
            help="the shipped study: publish; execute the notebooks over themselves",
        ),
        command.add_argument(
            "--fresh",
            action="store_true",
            help="the shipped study: read no stored measurement, measure all anew",
        ),
    ]
    return tuple(action.dest for action in actions)


def run(args: argparse.Namespace) -> None:
    """The shipped series, or the study of one's own clip."""
    _check_kind(args)
    if args.clip:
        _own_study(args)
    else:
        _shipped_study(args)


def _check_kind(args: argparse.Namespace) -> None:
    """Refuse an option of the other kind of study."""
    strange = given(args, args.of_series if args.clip else args.of_clip)
    for name in strange:
        option = f"--{name.replace('_', '-')}"
        if args.clip:
            raise ValueError(f"{option} is for the shipped study, which takes no clip")
        raise ValueError(f"{option} takes a clip: xinc study my_video.mp4 …")


def _own_study(args: argparse.Namespace) -> None:
    from xinc_core.study.series.executing import check_parameters, check_ready
    from xinc_core.study.series.plans import plan
    from xinc_core.study.series.steps import described

    options = study_options(args, args.of_clip)
    dry_run = options.pop("dry_run", False)
    made = plan(args.clip, args.out, notebooks=args.notebooks, **options)
    check_ready(made.notebooks)
    check_parameters(made.notebooks, dict(args.parameter))
    tell(described(made), aside=True)
    if not dry_run:
        from xinc_core.study.series.runs import carry_out

        tell(carry_out(made, dict(args.parameter)))


def _shipped_study(args: argparse.Namespace) -> None:
    from xinc_core.study.series.shipped import run_study

    done = run_study(
        args.notebooks,
        args.out or "runs/study",
        parameters=dict(args.parameter),
        **given(args, args.of_series),
    )
    tell(done.table)
    if done.comparison:
        tell(done.comparison)
        if done.comparison.tables:
            raise RuntimeError(
                "tables differ from the committed ones: " + "; ".join(done.comparison.tables)
            )
