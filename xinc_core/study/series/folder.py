"""The folder of a study: who works in it, the clip that it holds, and what is noted of the run.

RUN/run.json       what was asked for, and how long each step took
RUN/clips/         the frames that were taken, with masks
RUN/models/        the fitted networks
RUN/results/       measurements
RUN/notebooks/     the executed notebooks
RUN/figures/       figures and tables
RUN/findings.csv, RUN/report.html
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch

from xinc_core.clips import (
    Clip,
    list_clips,
    load_clip,
    load_masks,
    open_clip,
    read_clip_header,
    save_clip,
    video_of,
)
from xinc_core.util.files import hash_file, hash_folder, held_alone, locked, replace_file
from xinc_core.util.paths import environment

from .plans import WOULD_ADD, Plan

FOLDERS = ("clips", "models", "results", "figures", "notebooks")
SECONDS = ".seconds.json"


@contextmanager
def at_work(plan: Plan, shared: bool = False) -> Iterator[None]:
    """Be in the run's folder, made if missing: its clips, models and results are found first, and
    figures go there.

    Parameters
    ----------
    plan : Plan
        Whose folder it is.
    shared : bool
        As one step beside others of the same study, which write other files; a whole run is alone.

    Raises
    ------
    ValueError
        If another run is at work in it.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        refusal = f"another run is at work in {str(plan.out)!r}; wait for it, or name another --out"
        held.enter_context(held_alone(plan.out / ".lock", refusal, shared))
        held.enter_context(environment(XINC_RUN=str(plan.out.resolve())))
        for folder in FOLDERS:
            (plan.out / folder).mkdir(exist_ok=True)
        yield


# The clip -----------------------------------------------------------------------------------------


def take_clip(plan: Plan) -> Clip:
    """The frames that the plan takes, written once.

    Raises
    ------
    ValueError
        If the folder holds the frames of another plan, naming what differs.
    """
    path = _clip_path(plan)
    asked = dict(
        sha256=_digest(plan.source),
        frames=list(plan.frames),
        size=list(plan.size) if plan.size else None,
        masks=plan.masks,
    )
    if path.exists():
        header = read_clip_header(path)
        other = [name for name, value in asked.items() if header.get(name) != value]
        if other:
            raise ValueError(
                f"{str(plan.out)!r} holds a study with other {', '.join(other)}; "
                "name another folder with --out, or delete it"
            )
        return kept_clip(plan)
    start, stop, step = plan.frames
    clip = open_clip(plan.source, start, stop, step, plan.size)
    if plan.masks:
        clip = load_masks(plan.masks, clip)
    save_clip(replace(clip, name=plan.name, flow=None), path, **asked)
    return kept_clip(plan)


def kept_clip(plan: Plan) -> Clip:
    """The frames that were taken, without a look at where they came from."""
    return load_clip(_clip_path(plan))


def _clip_path(plan: Plan) -> Path:
    return plan.out / "clips" / f"{plan.name}.safetensors"


def _digest(source: str) -> str:
    """SHA-256 of a file, or of a folder's file names and contents; a shipped clip or a dataset's
    is known by its checksum.
    """
    if source in list_clips() or video_of(source):
        return open_clip(source).checksum
    if Path(source).is_file():
        return hash_file(source)
    return hash_folder(source)


# What is noted ------------------------------------------------------------------------------------


def note_seconds(plan: Plan, label: str, took: float) -> None:
    """Note how long a step took, for the report; not that there was nothing left of it to do."""
    with locked(plan.out / f"{SECONDS}.lock"):
        seconds = noted_seconds(plan)
        if took > 0.5 or label not in seconds:
            text = json.dumps(seconds | {label: round(took, 1)}, indent=1)
            replace_file(plan.out / SECONDS, lambda file: file.write_text(text))


def noted_seconds(plan: Plan) -> dict[str, float]:
    """How long each step took, by its label."""
    try:
        return json.loads((plan.out / SECONDS).read_text())
    except (OSError, ValueError):
        return {}


def write_facts(plan: Plan, clip: Clip) -> None:
    """Write what the report tells of the run to ``run.json``."""
    about = dict(
        name=clip.name,
        source=Path(plan.source).name,
        sha256=read_clip_header(_clip_path(plan))["sha256"],
        checksum=clip.checksum,
        size=list(clip.size),
        frames=len(clip),
        fps=clip.fps,
        taken=_taken(plan.frames, len(clip)),
        segments=[asdict(segment) for segment in clip.segments.values()],
    )
    facts = dict(
        clip=about,
        profile=plan.profile,
        families=plan.families,
        seeds=plan.seeds,
        command=plan.command,
        recipe=plan.recipe,
        epochs=plan.epochs,
        device=plan.device,
        seconds=noted_seconds(plan),
        versions=dict(
            xinc=package_version(), torch=torch.__version__, python=platform.python_version()
        ),
        would_add=WOULD_ADD if plan.profile == "quick" else "",
    )
    text = json.dumps(facts, indent=1)
    replace_file(plan.out / "run.json", lambda file: file.write_text(text))


def package_version() -> str:
    """The version of this package."""
    return version("xinc-core")


def _taken(frames: tuple[int, int | None, int], n: int) -> str:
    """Which frames were taken, in words."""
    start, _, step = frames
    if n == 1:
        return f"frame {start}"
    spacing = "every frame" if step == 1 else f"one frame in {step}"
    return f"{spacing} from {start} to {start + (n - 1) * step}"
