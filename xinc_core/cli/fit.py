"""``xinc fit``: fit one network and save it."""

from __future__ import annotations

import argparse
from pathlib import Path

from xinc_core.util.text import as_file_name, tell

from .parsing import GOES_ON, Parser, add_output, check_output, rate, seed, size, span, whole


def add(top: Parser) -> None:
    """Add the subcommand."""
    command = top.command(
        "fit",
        run,
        "overfit a network to a clip; Ctrl-C stops, the same command continues",
        "xinc fit my_video.mp4 --epochs 150 --frames 0:40 -o mine.safetensors",
        stopped=GOES_ON,
    )
    command.add_argument(
        "clip",
        completes="clip",
        help="a shipped clip's name, a video, an image or a folder of frames",
    )
    command.add_argument(
        "--family",
        default="nerv",
        help="kind of network: ffn (one frame) or nerv (all frames; default), …",
    )
    command.add_argument(
        "--frame", type=whole(0), default=0, help="the frame that an image network is fitted to"
    )
    command.add_argument(
        "--frames",
        type=span,
        default=slice(None),
        metavar="START:STOP:STEP",
        help="which of the clip's frames",
    )
    command.add_argument(
        "--size",
        type=size,
        metavar="HxW",
        help="e.g. 128x256; default: short side 128, aspect kept",
    )
    command.add_argument("--seed", type=seed, default=1)
    command.add_argument(
        "--recipe", help="fast (default) or paper (Adam: nerv 300 epochs, ffn 1000 steps)"
    )
    command.add_argument("--epochs", type=whole(1), help="default: the recipe's")
    command.add_argument("--lr", type=rate, help="learning rate; default: the recipe's")
    command.add_argument(
        "--psnr", type=rate, metavar="DB", help="stop when the mean of an epoch has reached it"
    )
    command.add_argument(
        "--parameters", type=whole(1), help="target number of parameters (video networks)"
    )
    command.add_argument("--device", default="cpu")
    add_output(command, ".safetensors")


def run(args: argparse.Namespace) -> None:
    """Fit one network and save it."""
    from xinc_core.clips import open_clip
    from xinc_core.storage import fit_and_save
    from xinc_core.util.checks import check_device

    check_device(args.device)
    frames = args.frames
    clip = open_clip(args.clip, frames.start or 0, frames.stop, frames.step or 1, args.size)
    out = Path(args.output or _name(args, clip.name))
    check_output(out, ".safetensors", args.force)
    options = {} if args.parameters is None else dict(parameters=args.parameters)
    psnr, history = fit_and_save(
        args.family,
        clip,
        out,
        frame=args.frame,
        seed=args.seed,
        recipe=args.recipe,
        epochs=args.epochs,
        lr=args.lr,
        psnr=args.psnr,
        device=args.device,
        **options,
    )
    tell(f"{out}: {psnr:.2f} dB after {len(history)} epochs")


def _name(args: argparse.Namespace, clip: str) -> str:
    """The file's name where none was given; an image network's names its frame."""
    from xinc_core.models import family

    frame = "" if family(args.family).for_video else f"-f{args.frame}"
    return f"{args.family}-{as_file_name(clip)}{frame}-s{args.seed}.safetensors"
