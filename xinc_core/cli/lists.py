"""``xinc models`` and ``xinc clips``: what ships with the study."""

from __future__ import annotations

import argparse

from xinc_core.util.text import tell

from .parsing import Parser


def add(top: Parser) -> None:
    """Add both subcommands."""
    top.command("models", run_models, "list the shipped models", "xinc models")
    top.command("clips", run_clips, "list the shipped clips", "xinc clips")


def run_models(args: argparse.Namespace) -> None:
    """List the shipped models."""
    from xinc_core.storage import list_models
    from xinc_core.util.paths import no_data

    known = list_models()
    if not known:
        raise FileNotFoundError(no_data("the shipped models are"))
    for name, facts in known.items():
        where = f"frame {facts['frame']}" if "frame" in facts else "all frames"
        tell(
            f"{name:24} {facts['psnr']:6.2f} dB  {facts['clip']}, {where}, "
            f"seed {facts['seed']}, {facts['epochs']} epochs"
        )


def run_clips(args: argparse.Namespace) -> None:
    """List the shipped clips."""
    from xinc_core.clips import list_clips

    for name, text in list_clips().items():
        tell(f"{name:12} {text}")
