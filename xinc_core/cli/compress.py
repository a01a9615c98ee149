"""``xinc compress``: write a model as a small file."""

from __future__ import annotations

import argparse
from pathlib import Path

from xinc_core.util.text import tell

from .parsing import Parser, add_output, check_output, whole


def add(top: Parser) -> None:
    """Add the subcommand."""
    command = top.command(
        "compress",
        run,
        "write a model as a small file that load_model reads",
        "xinc compress nerv-courtyard --bits 7 -o small.xinc",
    )
    command.add_argument("model", completes="model", help="a shipped model's name or a file")
    command.add_argument(
        "--clip",
        completes="clip",
        help="what it paints, to state the PSNR; shipped models know theirs",
    )
    command.add_argument(
        "--bits", type=whole(2, 12), default=8, help="per weight, 2 to 12 (%(default)s)"
    )
    command.add_argument(
        "--guided",
        action="store_true",
        help="spend the bits where contributions say that they matter",
    )
    command.add_argument(
        "--prune",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="remove this share of the neurons first",
    )
    command.add_argument(
        "--tune", type=whole(0), default=0, metavar="EPOCHS", help="train what is left for so long"
    )
    add_output(command, ".xinc")


def run(args: argparse.Namespace) -> None:
    """Write a model as a small file."""
    import xinc_core as xc
    from xinc_core.storage import list_models

    out = Path(args.output or f"{Path(args.model).stem}.xinc")
    check_output(out, ".xinc", args.force)
    model = xc.load_model(args.model)
    clip = args.clip or list_models().get(args.model, {}).get("clip")
    outcome = xc.compress(
        model,
        out,
        xc.load_clip(clip) if clip else None,
        args.bits,
        args.guided,
        args.prune,
        args.tune,
    )
    if "psnr" in outcome:
        quality = f"{outcome['psnr']:.2f} dB"
    else:
        quality = f"{outcome['psnr_to_original']:.2f} dB to what it painted before"
    rate = f"{outcome['bits_per_pixel']:.3f} bits per pixel"
    tell(f"{out}: {outcome['bytes']:,} bytes, {rate}, {quality}")
