"""A study of your own clip, carried out step by step; a step that is done is kept.

Killed at any point, the same command goes on where it was: a fit from its last state, a measurement
from its last unit, a notebook from its beginning. Every file appears whole or not at all.
"""

from __future__ import annotations

import shutil
import time
from functools import cached_property
from pathlib import Path

import numpy as np

from xinc_core.clips import Clip
from xinc_core.models import family as family_class
from xinc_core.storage import fit_and_save, load_model, read_header
from xinc_core.study.answers.table import join_findings
from xinc_core.tracing import RULE_ORDER, trace
from xinc_core.util.files import digest, replace_file
from xinc_core.util.text import tell

from . import folder
from .executing import execute_for
from .folder import at_work
from .notebooks import chosen_notebooks
from .plans import PROFILES, Fit, Plan, Role
from .steps import MEASUREMENTS, Step, StepKind, steps_of


def carry_out(plan: Plan, parameters: dict | None = None, progress: bool = True) -> Path:
    """Do what a plan says, in its folder, leaving out what is done already.

    Parameters
    ----------
    plan : Plan
        Made by :func:`~xinc_core.study.series.plans.plan`.
    parameters : dict, optional
        For the notebooks, by name.
    progress : bool
        Whether a line is printed for each step.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    ValueError
        If the folder holds the study of another clip, or another run is at work in it.
    RuntimeError
        For a fit that diverges or a notebook that fails, naming it. What was done is kept.
    """
    steps = steps_of(plan)
    work = Work(plan, parameters, progress)
    with at_work(plan):
        for number, step in enumerate(steps, 1):
            note, took = work.do(step)
            if progress:
                line = f"[{number:2}/{len(steps)}] {step.label}{note} ({took:.0f} s)"
                tell(line, aside=True)
    return plan.out / "report.html"


class Work:
    """Does the steps of a plan, one at a time, in the run's folder (see
    :func:`~xinc_core.study.series.folder.at_work`).

    Parameters
    ----------
    plan : Plan
        What is carried out.
    parameters : dict, optional
        For the notebooks, by name.
    progress : bool
        Whether fits show a progress bar.
    """

    def __init__(self, plan: Plan, parameters: dict | None = None, progress: bool = False):
        self.plan, self.parameters, self.progress = plan, parameters or {}, progress

    def do(self, step: Step) -> tuple[str, float]:
        """Do a step; what there is to say of it (": 31.2 dB"), and the seconds that it took."""
        actions = {
            StepKind.CLIP: self._clip,
            StepKind.FIT: self._fit,
            StepKind.TRACE: self._trace,
            StepKind.NOTEBOOK: self._notebook,
            StepKind.REPORT: self._report,
        }
        start = time.monotonic()
        note = actions[step.kind](step)
        took = time.monotonic() - start
        folder.note_seconds(self.plan, step.label, took)
        return note or "", took

    @cached_property
    def clip(self) -> Clip:
        """The frames that were taken."""
        return folder.kept_clip(self.plan)

    def _clip(self, step: Step) -> None:
        self.clip = folder.take_clip(self.plan)

    def _fit(self, step: Step) -> str:
        return f": {fit_network(self.plan, self.clip, step.fit, self.progress):.1f} dB"

    def _trace(self, step: Step) -> None:
        """The last layer before the output, on the middle frame, under both rules: totals
        (n_neurons,) and heatmap (H, W).
        """
        network, sums = load_model(step.name), {}
        for rule in RULE_ORDER:
            canvas = trace(network, len(self.clip) // 2, rule)
            layer = canvas[canvas.layers[-2]]
            sums[f"{rule}_totals"] = layer.totals().cpu().numpy()
            sums[f"{rule}_heatmap"] = layer.heatmap().cpu().numpy()
            sums["layer"], sums["frame"] = canvas.layers[-2], canvas.frame
        (path,) = self._paths(step)
        path.parent.mkdir(exist_ok=True)
        replace_file(path, lambda file: np.savez(file, **sums))

    def _notebook(self, step: Step) -> None:
        """Run a notebook, unless it was run with the same source, parameters and networks."""
        plan = self.plan
        (notebook,) = chosen_notebooks([step.name])
        asked = own_parameters(plan, self.clip) | self.parameters
        models = [read_header(path) for path in sorted((plan.out / "models").glob("*.safetensors"))]
        source = notebook.path.read_text()
        key = [source, asked, models, self.clip.checksum, folder.package_version()]
        target = plan.out / "notebooks" / notebook.path.name
        (done,) = self._paths(step)
        if execute_for(notebook, target, asked, self.clip.name, digest(key)) or not done.exists():
            done.touch()

    def _report(self, step: Step) -> None:
        """Join the notebooks' tables, and write run.json and the report."""
        from .report import write_report
        from .summary import save_measured  # the other steps start without pandas and matplotlib

        plan = self.plan
        if MEASUREMENTS in step.outputs:
            save_measured(plan, self.clip)
        joined = join_findings()
        replace_file(plan.out / "findings.csv", lambda file: shutil.copyfile(joined, file))
        folder.write_facts(plan, self.clip)
        write_report(plan.out)

    def _paths(self, step: Step) -> list[Path]:
        return [self.plan.out / output for output in step.outputs]


def fit_network(plan: Plan, clip: Clip, network: Fit, progress: bool = False) -> float:
    """Fit a network and keep it, unless it is there.

    Parameters
    ----------
    plan : Plan
        Says for how long, on which device, and where the network is kept.
    clip : Clip
        The frames that were taken.
    network : Fit
        Family, seed, and whether it is a twin or a refit.
    progress : bool
        Whether a progress bar is shown.

    Returns
    -------
    float
        Its PSNR in dB.

    Raises
    ------
    RuntimeError
        If the fit diverges.
    """
    path, epochs = plan.model_path(*network), plan.epochs[network.family]
    recipe = plan.recipe_of(network.family)
    if path.exists():
        header = read_header(path)
        # A network of an older run says no recipe; it is fitted anew.
        fits = header["epochs"] == epochs and header.get("recipe") == recipe
        if fits and header["clip_checksum"] == clip.checksum:
            return float(header["psnr"])
    try:
        psnr, _ = fit_and_save(
            network.family,
            clip,
            path,
            seed=network.seed,
            recipe=recipe,
            epochs=epochs,
            device=plan.device,
            mirrored=network.role is Role.TWIN,
            refit=network.role is Role.REFIT,
            rescue=plan.out / "diverged" / path.name,
            progress=progress,
        )
    except RuntimeError as error:
        raise RuntimeError(f"{network.family}, seed {network.seed}: {error}") from None
    return psnr


def own_parameters(plan: Plan, clip: Clip) -> dict:
    """The notebooks' parameters for this clip; each notebook takes those that it has."""
    video = [family for family in plan.families if family_class(family).for_video]
    return dict(
        clip=clip.name,
        beside=[],
        families=list(plan.families),
        seeds=list(plan.seeds),
        family=(video or plan.families)[0],
        seed=plan.seeds[0],
        frame=min(3, len(clip) - 1) if video else 0,
        most=PROFILES[plan.profile].measured,
    )
