"""Many videos: the study over clips, families and seeds as one workflow, driven by Snakemake, on
one machine or a cluster.

    OUT/sweep.json      what was asked for: a plan per video, and every step
    OUT/VIDEO/          a run folder, as ``xinc study`` makes it
    OUT/VIDEO/logs/     what each step said
    OUT/findings.csv    every claim over the videos
    OUT/videos.csv      every video's rows
    OUT/summary.txt, OUT/figures/

``notebooks/Snakefile`` makes a rule of each kind of step; every step is a call of :func:`do_step`
in a process of its own. One lock on OUT lasts as long as the sweep or its Snakemake lives, so that
Snakemake's own, which a kill leaves behind, is not needed. The same step twice writes the same
bytes, and each file appears whole.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from xinc_core.clips import list_clips, video_of
from xinc_core.util.files import held_alone, replace_file
from xinc_core.util.paths import import_folder, notebooks_folder
from xinc_core.util.suggest import unknown
from xinc_core.util.text import tell

from .executing import check_ready
from .folder import at_work
from .plans import Plan, plan
from .runs import Work
from .steps import Step, StepKind, disk_mb, files_of, seconds_left, steps_of, summary_of

HELD = "sweep.json"
PART = ".sweep-part.json"  # the videos that are whole, after a failure
RESERVED = {"figures", "logs"}  # folders of the sweep itself
QUIET = ("--quiet", "rules", "host", "reason")
DRY = {"-n", "--dry-run", "--dryrun"}  # as Snakemake writes it
OWN_EXECUTORS = {"local", "dryrun", "touch"}  # which Snakemake brings itself
NAMED = 8  # videos that are named when a sweep is described
INSTALL = (
    "a sweep runs on Snakemake, which is not installed: pip install 'xinc-core[notebooks,sweep]'"
)


def sweep(
    sources: Sequence[str],
    out: str | Path = "runs/sweep",
    cores: int | None = None,
    executor: str | None = None,
    dry_run: bool = False,
    further: Sequence[str] = (),
    **options,
) -> str:
    """Study many clips, leaving out what is done already.

    Parameters
    ----------
    sources : sequence of str
        Clips, as for :func:`~xinc_core.study.series.plans.plan`, which takes ``options``.
    out : path
        The sweep's folder.
    cores : int, optional
        Of this machine, or as many as the cluster is asked for at once; by default all of this
        machine.
    executor : str, optional
        A Snakemake executor plugin, "slurm" for example.
    dry_run : bool
        Whether only to say what would be done; nothing is written.
    further : sequence of str
        Options of Snakemake, as they are.

    Returns
    -------
    str
        The summary over videos; of a dry run, what would be done.

    Raises
    ------
    FileNotFoundError, ValueError
        Before anything starts: a clip that does not exist, an option that no clip can have, a
        folder that holds another sweep.
    RuntimeError
        When steps failed, naming them. What does not need them was done, the summary of the other
        videos too.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise RuntimeError(INSTALL)
    out = Path(out)
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    if cores < 1:
        raise ValueError(f"a sweep takes at least one core, not --cores {cores}")
    if executor:
        _check_executor(executor)
    held = _held(out)
    plans = _plans(list(sources), out, options, held)
    check_ready(options.get("notebooks"))
    words = ["--cores", str(cores), *QUIET, *further]
    if executor:
        words = ["--executor", executor, "--jobs", str(cores), *words]
    if dry_run or DRY & set(further):
        _dry_run(out, workflow(plans, held), words)
        return described(plans, cores)
    out.mkdir(parents=True, exist_ok=True)
    refusal = f"another sweep is at work in {str(out)!r}; wait for it, or name another --out"
    with held_alone(out / ".lock", refusal) as lock:
        _write(out / HELD, workflow(plans, held))
        tell(described(plans, cores), aside=True)
        snakemake = _Snakemake(out, words, lock)
        code = snakemake.run(out / HELD)
        if code:
            _finish_what_is_whole(plans, snakemake)
            raise RuntimeError(_failure(plans, out, code))
    return (out / "summary.txt").read_text()


def _check_executor(name: str) -> None:
    """Refuse an executor that is not installed: Snakemake would print all its options."""
    module = f"snakemake_executor_plugin_{name.replace('-', '_')}"
    if name not in OWN_EXECUTORS and importlib.util.find_spec(module) is None:
        raise ValueError(
            f"no executor {name!r} is installed: pip install snakemake-executor-plugin-{name}, "
            "or leave out --executor to run here"
        )


def described(plans: Mapping[str, Plan], cores: int) -> str:
    """What a sweep will do, in words, with estimates."""
    fits = sum(len(list(plan.fits())) for plan in plans.values())
    books = sum(len(plan.notebooks) for plan in plans.values())
    hours = sum(map(seconds_left, plans.values())) * 2 / cores / 3600  # seconds are of two cores
    disk = sum(map(disk_mb, plans.values()))
    names = [f"{name} ({plan.n_frames} frames)" for name, plan in plans.items()]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    videos = f"{len(plans)} video{'s' * (len(plans) > 1)}"
    return (
        f"{videos}: {', '.join(names[:NAMED])}{more}\n"
        f"{fits:,} fits, {books:,} notebooks; "
        f"about {hours:.1f} hours on {cores} cores, about {disk:,.0f} MB on disk"
    )


# Plans --------------------------------------------------------------------------------------------


def _held(out: Path) -> dict[str, dict]:
    """The plans of earlier sweeps in this folder, as they were written."""
    try:
        return json.loads((out / HELD).read_text())["plans"]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{str(out / HELD)!r} cannot be read as a sweep's plans: {error}; name another --out"
        ) from None


def _plans(sources: list[str], out: Path, options: dict, held: dict[str, dict]) -> dict[str, Plan]:
    """A plan per video, under the name of its folder; a clip keeps the folder that it had in an
    earlier sweep.
    """
    places = [_place(source) for source in sources]
    for number, source in enumerate(sources):
        if places[number] in places[:number]:
            raise ValueError(f"{source!r} is named twice; a sweep takes each clip once")
    folders = {facts["source"]: name for name, facts in held.items()}
    plans: dict[str, Plan] = {}
    for source, place in zip(sources, places):
        made = plan(source, out, **options)
        name = folders.get(place) or _free(made.name, {*RESERVED, *held, *plans})
        if name in held:
            _check_same(source, made, held[name], out)
        plans[name] = replace(made, source=place, out=(out / name).resolve())
    return plans


def _check_same(source: str, made: Plan, before: dict, out: Path) -> None:
    """Refuse other frames than those that an earlier sweep took of the clip."""
    now = dict(frames=list(made.frames), size=list(made.size) if made.size else None)
    for name, value in now.items():
        if before[name] != value:
            raise ValueError(
                f"{str(out)!r} holds a sweep of {source!r} with other {name}; "
                "name another --out, or delete it"
            )


def _place(source: str) -> str:
    """A clip's source, from wherever it is asked for."""
    dataset = video_of(source)
    if dataset:
        kind, root, video = dataset
        return f"{kind}:{Path(root).resolve()}:{video}"
    return source if source in list_clips() else str(Path(source).resolve())


def _free(name: str, taken: set[str]) -> str:
    """The name, or the first of name-2, name-3, … that is free."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


# The workflow -------------------------------------------------------------------------------------


def workflow(plans: Mapping[str, Plan], held: Mapping[str, dict]) -> dict:
    """All that Snakemake has to know, as plain values: every step, and a rule per kind of step;
    paths are relative to the sweep's folder.

    Parameters
    ----------
    plans : mapping of a video's folder to its Plan
        Which videos are studied.
    held : mapping of a video's folder to its plan's values
        The plans of earlier sweeps in the same folder; kept.
    """
    steps = []
    for video, own in plans.items():
        steps += [_job(step, video) for step in steps_of(own, in_sweep=True)]
    steps.append(_job(summary_of(list(plans)), "", list(plans)))
    written = {video: asdict(own) | dict(out=video) for video, own in plans.items()}
    rules = [_rule(kind) for kind in StepKind]
    return dict(plans=dict(held) | written, rules=rules, steps=steps)


def _job(step: Step, video: str, videos: Sequence[str] = ()) -> dict:
    """A step as one job of the workflow."""
    prefix = f"{video}/" if video else ""
    words = [step.kind.value, *videos] if videos else [step.kind.value, video, step.name]
    return dict(
        kind=step.kind.value,
        video=video,
        name=step.name,
        words=" ".join(words).strip(),
        inputs=[prefix + file for file in step.inputs],
        settings=step.settings,
        threads=step.threads,
        memory_mb=step.memory_mb,
    )


def _rule(kind: StepKind) -> dict:
    """A rule per kind of step: its files, with wildcards for video and name."""
    files = files_of(kind, in_sweep=True)
    prefix = "" if kind is StepKind.SUMMARY else "{video}/"
    return dict(
        kind=kind.value,
        outputs=[prefix + file for file in files.outputs],
        log=prefix + files.log,
        kept=[prefix + file for file in files.kept],
    )


def _write(path: Path, facts: dict) -> None:
    text = json.dumps(facts, indent=1)
    replace_file(path, lambda file: file.write_text(text))


def _dry_run(out: Path, facts: dict, words: list[str]) -> None:
    """Have Snakemake list its jobs; nothing is written into the sweep's folder."""
    with tempfile.TemporaryDirectory() as scratch:
        _write(Path(scratch) / HELD, facts)
        folder = out if out.is_dir() else Path(scratch)
        _Snakemake(folder, [*words, "--dry-run"]).run(Path(scratch) / HELD)


@dataclass(frozen=True)
class _Snakemake:
    """Snakemake in a sweep's folder, with options; it holds the sweep's lock too."""

    folder: Path
    words: list[str]
    lock: IO | None = None

    def run(self, facts: Path) -> int:
        """Run the workflow of these facts; the exit status."""
        # A changed clock or comment makes nothing anew.
        command = [sys.executable, "-m", "snakemake", "--snakefile"]
        command += [notebooks_folder() / "Snakefile"]
        command += ["--configfile", facts.resolve(), "--directory", self.folder]
        command += ["--nolock", "--rerun-incomplete", "--keep-going", "--scheduler", "greedy"]
        command += ["--rerun-triggers", "mtime", "params", "input", *self.words]
        paths = [
            str(import_folder()),
            os.environ.get("PYTHONPATH"),
        ]  # every step runs this very code
        process = subprocess.Popen(
            [str(word) for word in command],
            env=os.environ | dict(PYTHONPATH=os.pathsep.join(filter(None, paths))),
            pass_fds=[self.lock.fileno()] if self.lock else [],
            stdout=2,
        )
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # Snakemake got it as well, and ends its steps
                if process.wait():
                    raise KeyboardInterrupt("stopped; the same command goes on from here") from None


# After a failure ----------------------------------------------------------------------------------


def _finish_what_is_whole(plans: Mapping[str, Plan], snakemake: _Snakemake) -> None:
    """The summary of the videos whose steps are all done, if there are some and not all are."""
    whole = {video: own for video, own in plans.items() if not _missing(own)}
    if 0 < len(whole) < len(plans):
        part = snakemake.folder / PART
        _write(part, workflow(whole, {}))
        try:
            snakemake.run(part)
        finally:
            part.unlink(missing_ok=True)


def _failure(plans: Mapping[str, Plan], out: Path, code: int) -> str:
    """The sentence that names the steps that failed, and what they said."""
    unfinished = {video: _missing(own) for video, own in plans.items()}
    n_done = sum(not steps for steps in unfinished.values())
    failed = []
    for video, steps in unfinished.items():
        for step in steps:
            said = _last_words(step, plans[video].out)
            if said:
                failed.append(f"{video}, {said}")
    if n_done == len(plans):
        said = _last_words(summary_of(list(plans)), out)
        failed = [said] if said else []
    if not failed:
        return f"Snakemake stopped with exit status {code}; why stands above"
    number = "a step" if len(failed) == 1 else f"{len(failed)} steps"
    rest = f"; {n_done} of {len(plans)} videos are done" if 0 < n_done < len(plans) else ""
    return (
        f"{number} failed{rest}: {'; '.join(failed)}. The same command tries again what is missing"
    )


def _missing(own: Plan) -> list[Step]:
    """The steps of a video that are not done."""
    return [step for step in steps_of(own, in_sweep=True) if not step.done(own.out)]


def _last_words(step: Step, folder: Path) -> str:
    """The sentence with which a step ended that is not done; empty for one that was not begun."""
    log = folder / step.log
    if step.done(folder) or not log.exists():
        return ""
    lines = log.read_text().splitlines()
    return f"{step.words}: {lines[-1].removeprefix('xinc: ')} (see {str(log)!r})" if lines else ""


# Steps --------------------------------------------------------------------------------------------


def do_step(out: str | Path, kind: str, names: Sequence[str]) -> None:
    """One step of a sweep, as the workflow asks for it.

    Parameters
    ----------
    out : path
        The sweep's folder.
    kind : str
        "clip", "fit", "trace", "notebook", "report" or "summary".
    names : sequence of str
        The video's folder and, of a clip, network or notebook, its name; of the summary the
        videos' folders.

    Raises
    ------
    ValueError
        For a step that no sweep has.
    """
    out, kinds = Path(out).resolve(), [known.value for known in StepKind]
    if kind not in kinds:
        raise ValueError(unknown("step", kind, kinds))
    kind = StepKind(kind)
    if kind is StepKind.SUMMARY:
        from .summary import summarise  # the other steps start without pandas and matplotlib

        summarise(out, names)
        return
    video, *name = names
    own = _plan(out, video)
    step = _step(own, kind, name)
    with at_work(own, shared=True):
        Work(own).do(step)


def _plan(out: Path, video: str) -> Plan:
    """A video's plan, read from the sweep's folder."""
    plans = _held(out)
    if not plans:
        raise ValueError(f"{str(out)!r} holds no sweep; xinc sweep begins one")
    if video not in plans:
        raise ValueError(unknown("video of this sweep", video, list(plans)))
    facts = {}
    for name, value in plans[video].items():
        facts[name] = tuple(value) if isinstance(value, list) else value
    return Plan(**facts | dict(out=out / video))


def _step(own: Plan, kind: StepKind, name: Sequence[str]) -> Step:
    """The step of a plan that has this kind and, if one is named, this name."""
    of_kind = [step for step in steps_of(own, in_sweep=True) if step.kind is kind]
    for step in of_kind:
        if not name or [step.name] == list(name):
            return step
    known = ", ".join(step.name for step in of_kind)
    raise ValueError(f"there is no step {kind.value} {' '.join(name)!r}; there are {known}")
