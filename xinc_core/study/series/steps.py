"""The steps of a study, listed once.

Whatever works through a study reads this list: ``runs`` carries it out, ``sweep`` hands it to
Snakemake and asks it what is missing, and the estimates add up its seconds.

    clip ──► fit (family × seed × twin, refit) ──► trace, notebook ──► report ──► summary

Paths of a step are relative to the run's folder; those of a sweep's summary to the sweep's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from xinc_core.models import family as family_class

from .notebooks import chosen_notebooks
from .plans import PROFILES, WOULD_ADD, Fit, Plan, Role

# Seconds of a frame and epoch at 128×256 on two CPU cores, by the fast recipe.
SECONDS_PER_FRAME = {"ffn": 0.07, "siren": 0.07, "nerv": 0.023, "hnerv": 0.055}
SECONDS_OF_OTHERS = 0.023
SECONDS_TO_START = 8  # of a notebook: its kernel and its imports
PIXELS = 128 * 256  # of a frame for which seconds are known
USUAL_PIXELS = 128 * 224  # of a frame where no size was named: what most have
MOST_PIXELS = 128 * 256  # of a frame where no size was named: what memory has to suffice for
BYTES_OF_A_PIXEL = 12  # three float32
MB_OF_A_NETWORK = {True: 4.0, False: 0.3}  # on disk; True: for video
MB_OF_A_FRAME = 0.1
MB_OF_THE_REST = 25  # notebooks, figures and the report


ROLES = {Role.OWN: "", Role.TWIN: ", mirrored", Role.REFIT: ", once more"}  # in a step's label


class StepKind(Enum):
    """What a step does; the value is its word in file names, in logs and in ``xinc step``."""

    CLIP = "clip"
    FIT = "fit"
    TRACE = "trace"
    NOTEBOOK = "notebook"
    REPORT = "report"
    SUMMARY = "summary"


@dataclass(frozen=True)
class Files:
    """The files of a kind of step, with ``{name}`` for the step's name.

    Attributes
    ----------
    outputs : tuple of str
        What is there when the step is done.
    log : str
        What the step said.
    kept : tuple of str
        What it leaves even if it fails.
    """

    outputs: tuple[str, ...]
    log: str
    kept: tuple[str, ...] = ()


FILES = {
    StepKind.CLIP: Files(("clips/{name}.safetensors",), "logs/clip-{name}.txt"),
    StepKind.FIT: Files(("models/{name}.safetensors",), "logs/fit-{name}.txt"),
    StepKind.TRACE: Files(("traces/{name}.npz",), "logs/trace-{name}.txt"),
    StepKind.NOTEBOOK: Files(
        ("notebooks/.{name}.done",), "logs/notebook-{name}.txt", ("notebooks/{name}.ipynb",)
    ),
    StepKind.REPORT: Files(("report.html", "run.json", "findings.csv"), "logs/report.txt"),
    StepKind.SUMMARY: Files(("findings.csv", "videos.csv", "summary.txt"), "logs/summary.txt"),
}
MEASUREMENTS = "results/measured.csv"  # which the report of a study in a sweep leaves too
# MB that a step takes beside the frames.
MEMORY_MB = {
    StepKind.CLIP: 1000,
    StepKind.FIT: 1500,
    StepKind.TRACE: 1500,
    StepKind.NOTEBOOK: 3000,
    StepKind.REPORT: 1500,
    StepKind.SUMMARY: 2000,
}
MEMORY_MB_OF_A_VIDEO = 10  # in the summary


def files_of(kind: StepKind, in_sweep: bool = False) -> Files:
    """The files of a kind of step, in a study alone or in one of a sweep."""
    files = FILES[kind]
    if in_sweep and kind is StepKind.REPORT:
        files = replace(files, outputs=(*files.outputs, MEASUREMENTS))
    return files


@dataclass(frozen=True)
class Step:
    """One step of a study.

    Attributes
    ----------
    kind : StepKind
    name : str
        Of the clip, the network or the notebook; empty for the report and the summary.
    label : str
        The step in words, and its name among the seconds that steps took.
    inputs : tuple of str
        Files that have to be there first.
    outputs : tuple of str
        Files that are there when it is done.
    log : str
        What it said.
    seconds : float
        About how long it takes on two CPU cores; 0 for what takes next to nothing.
    memory_mb : int
        About how much memory it takes.
    threads : int
        How many it computes with.
    settings : dict
        Values of the plan without which the same files would come out differently.
    fit : Fit or None
        The network of a fit or a trace.
    """

    kind: StepKind
    name: str
    label: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    log: str
    seconds: float
    memory_mb: int
    threads: int = 1
    settings: dict[str, int | str] = field(default_factory=dict)
    fit: Fit | None = None

    @property
    def words(self) -> str:
        """Kind and name: "fit ffn-walk-s10"."""
        return f"{self.kind.value} {self.name}".strip()

    def done(self, folder: Path) -> bool:
        """Whether all that it makes is there."""
        return all((folder / output).exists() for output in self.outputs)


def steps_of(plan: Plan, in_sweep: bool = False) -> tuple[Step, ...]:
    """The steps of a study, each after those that it needs.

    Parameters
    ----------
    plan : Plan
        What the study will do.
    in_sweep : bool
        Whether the study is one of many: then each network's sums are traced, and the report
        leaves the measurements as a table too, for the summary.

    Returns
    -------
    tuple of Step
        Clip, fits, traces, notebooks, report.
    """
    makes = _Maker(plan, in_sweep)
    clip = makes.clip()
    fits = [makes.fit(fit, clip) for fit in plan.fits()]
    traces = []
    if in_sweep:
        own_fits = [step for step in fits if step.fit.role is Role.OWN]
        traces = [makes.trace(step, clip) for step in own_fits]
    notebooks: list[Step] = []
    for name in plan.notebooks:
        notebooks.append(makes.notebook(name, clip, fits, notebooks))
    return (clip, *fits, *traces, *notebooks, makes.report([*notebooks, *traces]))


def summary_of(videos: Sequence[str]) -> Step:
    """The last step of a sweep, after all videos' reports.

    videos : the names of their run folders, in the sweep's folder
    """
    report, *_, measured = files_of(StepKind.REPORT, in_sweep=True).outputs
    files = FILES[StepKind.SUMMARY]
    return Step(
        kind=StepKind.SUMMARY,
        name="",
        label="summary",
        inputs=tuple(f"{video}/{file}" for video in videos for file in (report, measured)),
        outputs=files.outputs,
        log=files.log,
        seconds=0.0,
        memory_mb=MEMORY_MB[StepKind.SUMMARY] + MEMORY_MB_OF_A_VIDEO * len(videos),
    )


class _Maker:
    """Makes the steps of one plan."""

    def __init__(self, plan: Plan, in_sweep: bool):
        self.plan, self.in_sweep = plan, in_sweep
        usual, most = USUAL_PIXELS, MOST_PIXELS
        if plan.size:
            height, width = plan.size
            usual = most = height * width
        self.scale = usual / PIXELS
        self.frames_mb = round(plan.n_frames * most * BYTES_OF_A_PIXEL / 1e6)

    def clip(self) -> Step:
        return self._step(StepKind.CLIP, self.plan.name, label="clip")

    def fit(self, fit: Fit, clip: Step) -> Step:
        plan, epochs = self.plan, self.plan.epochs[fit.family]
        frames = plan.n_frames if family_class(fit.family).for_video else 1
        per_frame = SECONDS_PER_FRAME.get(fit.family, SECONDS_OF_OTHERS)
        role = ROLES[fit.role]
        return self._step(
            StepKind.FIT,
            plan.model_path(*fit).stem,
            label=f"fit {fit.family}, seed {fit.seed}{role}",
            inputs=clip.outputs,
            seconds=per_frame * frames * epochs * self.scale,
            settings=dict(epochs=epochs, recipe=plan.recipe_of(fit.family)),
            fit=fit,
        )

    def trace(self, fit: Step, clip: Step) -> Step:
        return self._step(
            StepKind.TRACE,
            fit.name,
            label=f"trace {fit.name}",
            inputs=clip.outputs + fit.outputs,
            fit=fit.fit,
        )

    def notebook(self, name: str, clip: Step, fits: Sequence[Step], before: Sequence[Step]) -> Step:
        (notebook,) = chosen_notebooks([name])
        needed = [clip, *fits]
        if notebook.reads_tables:
            needed += before
        return self._step(
            StepKind.NOTEBOOK,
            name,
            label=name,
            inputs=_outputs(needed),
            seconds=(SECONDS_TO_START + notebook.cost * self._units()) * max(self.scale, 0.3),
        )

    def report(self, needed: Sequence[Step]) -> Step:
        return self._step(StepKind.REPORT, "", label="report", inputs=_outputs(needed))

    def _units(self) -> int:
        """How many frames of networks a notebook measures."""
        plan = self.plan
        videos = sum(family_class(family).for_video for family in plan.families)
        per_video_family = PROFILES[plan.profile].measured + len(plan.seeds)
        return videos * per_video_family + len(plan.families)

    def _step(
        self,
        kind: StepKind,
        name: str,
        label: str,
        inputs: tuple[str, ...] = (),
        seconds: float = 0.0,
        settings: Mapping[str, int | str] | None = None,
        fit: Fit | None = None,
    ) -> Step:
        files = files_of(kind, self.in_sweep)
        return Step(
            kind=kind,
            name=name,
            label=label,
            inputs=inputs,
            outputs=tuple(file.format(name=name) for file in files.outputs),
            log=files.log.format(name=name),
            seconds=seconds,
            memory_mb=MEMORY_MB[kind] + 3 * self.frames_mb,
            settings=dict(settings or {}),
            fit=fit,
        )


def _outputs(steps: Sequence[Step]) -> tuple[str, ...]:
    """All that these steps make."""
    return tuple(output for step in steps for output in step.outputs)


# Estimates ----------------------------------------------------------------------------------------


def seconds_left(plan: Plan) -> float:
    """About how long a study still takes on two CPU cores, in seconds."""
    return sum(step.seconds for step in steps_of(plan) if not step.done(plan.out))


def disk_mb(plan: Plan) -> float:
    """About how much a study leaves on the disk, in MB."""
    networks = sum(MB_OF_A_NETWORK[family_class(fit.family).for_video] for fit in plan.fits())
    return networks + MB_OF_A_FRAME * plan.n_frames + MB_OF_THE_REST


def described(plan: Plan) -> str:
    """The plan in words, with estimates of time on two CPU cores and of disk."""
    start, stop, step = plan.frames
    span = f"{start}:{stop or ''}:{step}"
    lines = [f"{plan.source}: {plan.n_frames} frames ({span}), into {plan.out}"]
    lines += [_line(step, plan.out) for step in steps_of(plan) if step.seconds]
    lines += [
        f"about {seconds_left(plan) / 60:.0f} minutes on two CPU cores, "
        f"about {disk_mb(plan):.0f} MB on disk"
    ]
    if plan.profile == "quick":
        lines += [WOULD_ADD]
    return "\n".join(lines)


def _line(step: Step, folder: Path) -> str:
    """A step in words: how long it takes, or that it is done."""
    when = "done" if step.done(folder) else f"{step.seconds / 60:5.1f} min"
    epochs = step.settings.get("epochs")
    return f"  {when}  {step.label}" + (f": {epochs:,} epochs" if epochs else "")
