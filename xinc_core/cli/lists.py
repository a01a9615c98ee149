"""``xinc models`` and ``xinc clips``: what ships with the study, and what can be fetched."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from xinc_core.util.text import tell

from .parsing import Parser

if TYPE_CHECKING:
    from xinc_core.clips.registry import Known

NOT_HERE = "not here"  # where a clip is that is shipped, in a package without data


def add(top: Parser) -> None:
    """Add both subcommands."""
    top.command("models", run_models, "list the shipped models", "xinc models", stopped="stopped")
    clips = top.command(
        "clips",
        run_clips,
        "list the clips that are known by a name, or fetch some",
        "xinc clips --fetch cars dog",
        "A clip that is not shipped is fetched on its first use too. XINC_CACHE names the folder "
        "that keeps what was fetched; XINC_CLIPS one that is looked into before.",
        stopped="stopped; what was fetched is kept",
    )
    clips.add_argument(
        "--fetch", nargs="+", completes="clip", metavar="NAME", help="fetch these clips, or all"
    )


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
    """List the clips that are known by a name, or fetch those that are asked for."""
    if args.fetch:
        _fetch(args.fetch)
        return
    from xinc_core.clips.registry import known_clips
    from xinc_core.util.paths import no_data

    missing, absent = [], []
    for clip in known_clips().values():
        where = _where(clip)
        if where.startswith("to fetch"):
            missing.append(clip)
        if where == NOT_HERE:
            absent.append(clip.name)
        kind = "photograph" if clip.frames == 1 else f"{clip.frames} frames"
        tell(f"{clip.name:12}  {kind:10}  {where:16}  {clip.shows} ({clip.licence})")
    if missing:
        n_bytes = sum(clip.video.bytes for clip in missing)
        tell(
            f"{len(missing)} clips can be fetched, {megabytes(n_bytes)} in all: "
            "xinc clips --fetch all, or their names"
        )
    if absent:
        tell(no_data(f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'}"))


def _where(clip: Known) -> str:
    """Where a clip's frames come from, in two or three words."""
    from xinc_core.clips.fetching import place_of
    from xinc_core.util.paths import shipped_folder

    if clip.name == "shapes":
        return "drawn by code"
    if clip.is_fetched:
        return "here" if place_of(clip.video) else f"to fetch, {megabytes(clip.video.bytes)}"
    clips = shipped_folder("clips")
    return "shipped" if clips and (clips / clip.name).is_dir() else NOT_HERE


def _fetch(names: list[str]) -> None:
    """Fetch the videos of these clips, or of all that are fetched, one after the other."""
    from xinc_core.clips.fetching import video_file
    from xinc_core.clips.registry import known_clips
    from xinc_core.util.paths import no_data
    from xinc_core.util.suggest import unknown

    known = known_clips()
    fetched = [name for name, clip in known.items() if clip.is_fetched]
    if not fetched:
        raise FileNotFoundError(no_data("the table of clips is"))
    chosen = fetched if names == ["all"] else names
    for name in chosen:
        if name not in known:
            raise ValueError(unknown("clip", name, ["all", *fetched]))
    for name in chosen:
        clip = known[name]
        if not clip.is_fetched:
            tell(f"{name:12}  is not fetched: it comes with the project")
            continue
        path = video_file(clip.video)
        tell(f"{name:12}  {megabytes(clip.video.bytes)}  {path}")
        tell(f"{'':12}  {clip.credit}; {clip.licence}")


def megabytes(n_bytes: int) -> str:
    """A size as it is said: 2.8 MB."""
    return f"{n_bytes / 1e6:.1f} MB"
