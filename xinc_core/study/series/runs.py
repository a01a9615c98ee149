"""A study of your own clip, in a folder of its own: a plan carried out step by step; a step that is
done is kept.

    RUN/run.json     what was asked for, and how long each step took
    RUN/clips/       the frames that were taken, with masks        RUN/figures/    figures and
    tables RUN/models/      the fitted networks                           RUN/notebooks/  the
    executed notebooks RUN/results/     measurements
    RUN/findings.csv, RUN/report.html

Killed at any point, the same command goes on where it was: a fit from its last state, a measurement
from its last unit, a notebook from its beginning. Every file appears whole or not at all.
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
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
from xinc_core.models import family as family_class
from xinc_core.storage import fit_and_save, read_header
from xinc_core.study.answers.table import join_findings
from xinc_core.util.files import digest, hash_file, hash_folder, locked, replace_file
from xinc_core.util.paths import environment

from .notebooks import Notebook, chosen_notebooks, execute_for
from .plans import PROFILES, WOULD_ADD, Plan, fit_name

SECONDS = ".seconds.json"


def carry_out(plan: Plan, parameters: dict | None = None, progress: bool = True) -> Path:
    """Do what a plan says, in its folder, leaving out what is done already; returns the path of the
    report.

    Raises
    ------
    ValueError
        If the folder holds the study of another clip, or another run is at work in it.
    RuntimeError
        For a fit that diverges or a notebook that fails, naming it. What was done is kept.
    """
    with at_work(plan):
        say = _Teller(plan, progress)
        clip = say.step("clip", lambda: take_clip(plan))
        for fit in plan.fits():
            say.step(fit_name(*fit), lambda f=fit: fit_network(plan, clip, *f, progress))
        for notebook in chosen_notebooks(list(plan.notebooks)):
            say.step(
                notebook.name, lambda n=notebook: run_notebook(plan, clip, n, parameters or {})
            )
        return say.step("report", lambda: finish(plan, clip))


@contextmanager
def at_work(plan: Plan, shared: bool = False) -> Iterator[None]:
    """Be in the run's folder, made if missing: its clips, models and results are found first, and
    figures go there.

    shared : as one step beside others of the same study, which write other files; a whole run is
    alone.

    Raises
    ------
    ValueError
        If another run is at work in it.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    with _locked(plan.out, shared), environment(XINC_RUN=str(plan.out.resolve())):
        for folder in ("clips", "models", "results", "figures", "notebooks"):
            (plan.out / folder).mkdir(exist_ok=True)
        yield


def timed(plan: Plan, what: str, do: Callable):
    """Do a step and note in the run's folder how long it took, for the report; what it returns,
    and the seconds.
    """
    start = time.monotonic()
    found = do()
    took = time.monotonic() - start
    path = plan.out / SECONDS
    with locked(plan.out / f"{SECONDS}.lock"):
        seconds = _seconds(plan)
        if took > 0.5 or what not in seconds:
            replace_file(
                path, lambda f: f.write_text(json.dumps(seconds | {what: round(took, 1)}, indent=1))
            )
    return found, took


def finish(plan: Plan, clip: Clip) -> Path:
    """Join the notebooks' tables, and write run.json and the report; the report's path."""
    from .report import write_report

    shutil.copyfile(join_findings(), plan.out / "findings.csv")
    _write_facts(plan, clip)
    return write_report(plan.out)


class _Teller:
    """Says a line per step."""

    def __init__(self, plan: Plan, progress: bool):
        self.plan, self.progress = plan, progress
        self.number, self.of = 0, 2 + len(list(plan.fits())) + len(plan.notebooks)

    def step(self, what: str, do: Callable):
        self.number += 1
        found, took = timed(self.plan, what, do)
        if self.progress:
            tail = f": {found:.1f} dB" if isinstance(found, float) else ""
            print(
                f"[{self.number:2}/{self.of}] {what}{tail} ({took:.0f} s)",
                file=sys.stderr,
                flush=True,
            )
        return found


def _seconds(plan: Plan) -> dict[str, float]:
    try:
        return json.loads((plan.out / SECONDS).read_text())
    except (OSError, ValueError):
        return {}


def _write_facts(plan: Plan, clip: Clip) -> None:
    """What the report tells of the run, to run.json."""
    header = read_clip_header(plan.out / "clips" / f"{plan.name}.safetensors")
    about = dict(
        name=clip.name,
        source=Path(plan.source).name,
        sha256=header["sha256"],
        checksum=clip.checksum,
        size=list(clip.size),
        frames=len(clip),
        fps=clip.fps,
        taken=_taken(plan.frames, len(clip)),
        segments=[asdict(s) for s in clip.segments.values()],
    )
    facts = dict(
        clip=about,
        profile=plan.profile,
        families=plan.families,
        seeds=plan.seeds,
        command=plan.command,
        epochs=plan.epochs,
        device=plan.device,
        seconds=_seconds(plan),
        versions=dict(xinc=_version(), torch=torch.__version__, python=platform.python_version()),
        would_add=WOULD_ADD if plan.profile == "quick" else "",
    )
    replace_file(plan.out / "run.json", lambda f: f.write_text(json.dumps(facts, indent=1)))


def _taken(frames: tuple[int, int | None, int], n: int) -> str:
    """Which frames were taken, in words."""
    start, _, step = frames
    if n == 1:
        return f"frame {start}"
    return f"{'every frame' if step == 1 else f'one frame in {step}'} from {start} to {start + (n - 1) * step}"


def take_clip(plan: Plan) -> Clip:
    """The frames that the plan takes, written once; refuses a folder that holds others."""
    path = plan.out / "clips" / f"{plan.name}.safetensors"
    asked = dict(
        sha256=_digest(plan.source),
        frames=list(plan.frames),
        size=plan.size and list(plan.size),
        masks=plan.masks,
    )
    if path.exists():
        header = read_clip_header(path)
        held = {k: header.get(k) for k in asked}
        if held != asked:
            other = ", ".join(k for k in asked if held[k] != asked[k])
            raise ValueError(
                f"{str(plan.out)!r} holds a study with other {other}; name another folder with --out, or delete it"
            )
        return kept_clip(plan)
    start, stop, step = plan.frames
    clip = open_clip(plan.source, start, stop, step, plan.size)
    if plan.masks:
        clip = load_masks(plan.masks, clip)
    clip = replace(clip, name=plan.name, flow=None)
    save_clip(clip, path, **asked)
    return kept_clip(plan)


def kept_clip(plan: Plan) -> Clip:
    """The frames that were taken, without a look at where they came from."""
    return load_clip(plan.out / "clips" / f"{plan.name}.safetensors")


def _digest(source: str) -> str:
    """SHA-256 of a file, or of a folder's file names and contents; a shipped clip or a dataset's
    is known by its checksum.
    """
    if source in list_clips() or video_of(source):
        return open_clip(source).checksum
    path = Path(source)
    if path.is_file():
        return hash_file(path)
    return hash_folder(path)


def fit_network(
    plan: Plan, clip: Clip, family: str, seed: int, mirrored: bool, progress: bool = False
) -> float:
    """Fit a network and keep it, unless it is there; its PSNR in dB."""
    path, epochs = plan.model_path(family, seed, mirrored), plan.epochs[family]
    if (
        path.exists()
        and (header := read_header(path))["epochs"] == epochs
        and header["clip_checksum"] == clip.checksum
    ):
        return float(header["psnr"])
    try:
        psnr, _ = fit_and_save(
            family,
            clip,
            path,
            seed=seed,
            epochs=epochs,
            device=plan.device,
            mirrored=mirrored,
            rescue=plan.out / "diverged" / path.name,
            progress=progress,
        )
    except RuntimeError as error:
        raise RuntimeError(f"{family}, seed {seed}: {error}") from None
    return psnr


def run_notebook(
    plan: Plan, clip: Clip, notebook: Notebook, parameters: dict | None = None
) -> None:
    """Run one notebook on the clip, unless it was run with the same source, parameters and
    networks.
    """
    asked = own_parameters(plan, clip) | (parameters or {})
    target = plan.out / "notebooks" / notebook.path.name
    models = [read_header(p) for p in sorted((plan.out / "models").glob("*.safetensors"))]
    key = [notebook.path.read_text(), asked, models, clip.checksum, _version()]
    execute_for(notebook, target, asked, clip.name, digest(key))


def own_parameters(plan: Plan, clip: Clip) -> dict:
    """The notebooks' parameters for this clip; each notebook takes those that it has."""
    video = [f for f in plan.families if family_class(f).for_video]
    family = (video or list(plan.families))[0]
    return dict(
        clip=clip.name,
        beside=[],
        families=list(plan.families),
        seeds=list(plan.seeds),
        family=family,
        seed=plan.seeds[0],
        frame=min(3, len(clip) - 1) if video else 0,
        most=PROFILES[plan.profile].measured,
    )


@contextmanager
def _locked(folder: Path, shared: bool = False) -> Iterator[None]:
    """Hold the folder for this process, alone or beside others who share it."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / ".lock", shared, wait=False))
        except BlockingIOError:
            raise ValueError(
                f"another run is at work in {str(folder)!r}; wait for it, or name another --out"
            ) from None
        yield


def _version() -> str:
    from importlib.metadata import version

    return version("xinc-core")
