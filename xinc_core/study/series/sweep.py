"""Many videos: the study over clips, families and seeds as one workflow, driven by Snakemake, on
one machine or a cluster.

    OUT/sweep.json     what was asked for: a plan per video      OUT/findings.csv  every claim over
    the videos OUT/VIDEO/         a run folder, as ``xinc study`` makes it  OUT/videos.csv    every
    video's rows OUT/VIDEO/logs/    what each step said                       OUT/summary.txt,
    OUT/figures/

Every step is a rule of ``notebooks/Snakefile`` and a call of :func:`do_step` in a process of its
own. One lock on OUT lasts as long as the sweep or its Snakemake lives, so that Snakemake's own,
which a kill leaves behind, is not needed. The same step twice writes the same bytes, and each file
appears whole.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from xinc_core.clips import list_clips
from xinc_core.clips.datasets import video_of
from xinc_core.storage.plain import load_model
from xinc_core.tracing.canvas import trace
from xinc_core.tracing.rules import RULE_ORDER
from xinc_core.util.files import locked, replace_file
from xinc_core.util.paths import import_folder, notebooks_folder

from . import runs
from .notebooks import chosen_notebooks
from .plans import Plan, disk_mb, estimates, fit_name, plan

HELD = "sweep.json"
QUIET = ("--quiet", "rules", "host", "reason")
INSTALL = "a sweep runs on Snakemake, which is not installed: pip install -c constraints.txt -e '.[notebooks,sweep]'"


def sweep(
    sources: Sequence[str],
    out: str | Path = "runs/sweep",
    cores: int | None = None,
    executor: str | None = None,
    dry_run: bool = False,
    further: Sequence[str] = (),
    **options,
) -> str:
    """Study many clips, leaving out what is done already; the summary over videos (of a dry run,
    what would be done).

    Parameters
    ----------
    sources : clips, as for :func:`~xinc_core.plans.plan`, which takes ``options``
    cores : of this machine, or as many as the cluster is asked for at once; by default all of this
    machine
    executor : a Snakemake executor plugin, "slurm" for example
    further : options of Snakemake, as they are

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
    out, cores = Path(out), len(os.sched_getaffinity(0)) if cores is None else cores
    if cores < 1:
        raise ValueError(f"a sweep takes at least one core, not --cores {cores}")
    held = _read(out)
    plans = _plans(list(sources), out, options, held)
    kept = held | {name: asdict(p) | dict(out=name) for name, p in plans.items()}
    told = json.dumps(dict(plans=kept, videos=_targets(plans)), indent=1)
    words = [
        *(["--executor", executor, "--jobs", str(cores)] if executor else []),
        "--cores",
        str(cores),
        *QUIET,
        *further,
    ]
    if dry_run or {"-n", "--dry-run", "--dryrun"} & set(further):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / HELD).write_text(told)
            _snakemake(
                out if out.is_dir() else Path(folder), Path(folder) / HELD, [*words, "--dry-run"]
            )
        return described(plans, cores)
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(locked(out / ".lock", wait=False))
        except BlockingIOError:
            raise ValueError(
                f"another sweep is at work in {str(out)!r}; wait for it, or name another --out"
            ) from None
        replace_file(out / HELD, lambda f: f.write_text(told))
        print(described(plans, cores), file=sys.stderr, flush=True)
        if code := _snakemake(out, out / HELD, words, lock):
            _in_part(plans, out, words, lock, code)
    return (out / "summary.txt").read_text()


def described(plans: dict[str, Plan], cores: int) -> str:
    """What a sweep will do, in words, with estimates."""
    fits = sum(len(list(p.fits())) for p in plans.values())
    books = sum(len(p.notebooks) for p in plans.values())
    left = sum(seconds for p in plans.values() for _, seconds, done in estimates(p) if not done)
    disk = sum(map(disk_mb, plans.values()))
    names = ", ".join(f"{name} ({p.n_frames} frames)" for name, p in list(plans.items())[:8])
    more = f" and {len(plans) - 8} more" if len(plans) > 8 else ""
    return (
        f"{len(plans)} video{'s' * (len(plans) > 1)}: {names}{more}\n{fits:,} fits, {books:,} notebooks; "
        f"about {left * 2 / cores / 3600:.1f} hours on {cores} cores, about {disk:,.0f} MB on disk"
    )


def _plans(sources: list[str], out: Path, options: dict, held: dict[str, dict]) -> dict[str, Plan]:
    """A plan per video, under the name of its folder; a clip keeps the folder that it had in an
    earlier sweep.
    """
    places = [_place(s) for s in sources]
    if twice := [s for n, s in enumerate(sources) if places[n] in places[:n]]:
        raise ValueError(f"{twice[0]!r} is named twice; a sweep takes each clip once")
    folders, found = {facts["source"]: name for name, facts in held.items()}, {}
    for source, place in zip(sources, places):
        made = plan(source, out, **options)
        name = folders.get(place) or _free(made.name, {"figures", "logs", *held, *found})
        found[name] = replace(made, source=place, out=(out / name).resolve())
        before = {k: held[name][k] for k in ("frames", "size")} if name in held else {}
        if odd := [
            k for k, v in before.items() if v != (getattr(made, k) and list(getattr(made, k)))
        ]:
            raise ValueError(
                f"{str(out)!r} holds a sweep of {source!r} with other {odd[0]}; name another --out, or delete it"
            )
    return found


def _place(source: str) -> str:
    """A clip's source, from wherever it is asked for."""
    if found := video_of(source):
        return f"{found[0]}:{Path(found[1]).resolve()}:{found[2]}"
    return source if source in list_clips() else str(Path(source).resolve())


def _free(name: str, taken: set[str]) -> str:
    """The name, or the first of name-2, name-3, … that is free."""
    names = (name if n == 1 else f"{name}-{n}" for n in range(1, len(taken) + 2))
    return next(n for n in names if n not in taken)


def _targets(plans: dict[str, Plan]) -> dict[str, dict]:
    """What the workflow has to make for every video, and the memory that its frames take, in MB."""
    found = {}
    for name, p in plans.items():
        models = {p.model_path(*fit).stem: p.epochs[fit[0]] for fit in p.fits()}
        pixels = p.size[0] * p.size[1] if p.size else 128 * 256
        found[name] = dict(
            clip=p.name,
            models=models,
            traces=[m for m in models if not m.endswith("-flip")],
            notebooks=list(p.notebooks),
            frames_mb=round(p.n_frames * pixels * 12 / 1e6),
        )
    return found


def _read(out: Path) -> dict[str, dict]:
    """The plans of earlier sweeps in this folder."""
    try:
        return json.loads((out / HELD).read_text())["plans"]
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{str(out / HELD)!r} cannot be read as a sweep's plans: {error}; name another --out"
        ) from None


def _snakemake(folder: Path, told: Path, words: list[str], lock=None) -> int:
    """Run Snakemake in ``folder``; its exit status. It holds the lock too, and a changed clock
    or comment makes nothing anew.
    """
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        notebooks_folder() / "Snakefile",
        "--configfile",
        told.resolve(),
        "--directory",
        folder,
    ]
    command += ["--nolock", "--rerun-incomplete", "--keep-going", "--scheduler", "greedy"]
    command += ["--rerun-triggers", "mtime", "params", "input", *words]
    paths = os.pathsep.join(
        filter(None, [str(import_folder()), os.environ.get("PYTHONPATH")])
    )  # every step runs this very code
    process = subprocess.Popen(
        list(map(str, command)),
        env=os.environ | dict(PYTHONPATH=paths),
        pass_fds=[lock.fileno()] if lock else [],
        stdout=2,
    )
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # Snakemake was told as well, and ends its steps
            if process.wait():
                raise KeyboardInterrupt("stopped; the same command goes on from here") from None


def _in_part(plans: dict[str, Plan], out: Path, words: list[str], lock, code: int) -> None:
    """After a failure: the summary of the videos that are whole, then the error that names what
    failed.
    """
    said = {name: found for name, p in plans.items() if (found := _unfinished(p))}
    if 0 < len(said) < len(plans):
        _snakemake(out, out / HELD, [*words, "--config", f"without={','.join(said)}"], lock)
    failed = [f"{name}, {what}" for name, steps in said.items() for what in steps if what]
    failed += (
        []
        if said
        else filter(None, [_said(out / "summary.txt", out / "logs" / "summary.txt", "summary")])
    )
    if not failed:
        raise RuntimeError(f"Snakemake stopped with exit status {code}; why stands above")
    rest = (
        f"; {len(plans) - len(said)} of {len(plans)} videos are done"
        if 0 < len(said) < len(plans)
        else ""
    )
    number = "a step" if len(failed) == 1 else f"{len(failed)} steps"
    raise RuntimeError(
        f"{number} failed{rest}: {'; '.join(failed)}. The same command tries again what is missing"
    )


def _unfinished(p: Plan) -> list[str]:
    """What the steps of a video that failed said; empty texts for those that waited for them."""
    (found,) = _targets({"": p}).values()
    made = {
        f"clip-{p.name}": p.out / "clips" / f"{p.name}.safetensors",
        "report": p.out / "report.html",
    }
    made |= {f"fit-{m}": p.out / "models" / f"{m}.safetensors" for m in found["models"]}
    made |= {f"trace-{m}": p.out / "traces" / f"{m}.npz" for m in found["traces"]}
    made |= {f"notebook-{n}": p.out / "notebooks" / f".{n}.done" for n in p.notebooks}
    steps = [
        (file, p.out / "logs" / f"{step}.txt", step.replace("-", " ", 1))
        for step, file in made.items()
    ]
    return [_said(*step) for step in steps if not step[0].exists()]


def _said(file: Path, log: Path, step: str) -> str:
    """The sentence with which a step ended, if its file is not there."""
    lines = log.read_text().splitlines() if log.exists() and not file.exists() else []
    return f"{step}: {lines[-1].removeprefix('xinc: ')} (see {str(log)!r})" if lines else ""


# Steps --------------------------------------------------------------------------------------------
# ---------------------


def do_step(out: str | Path, step: str, names: Sequence[str]) -> None:
    """One step of a sweep, as the workflow asks for it.

    step, names : "clip" VIDEO, "fit" VIDEO MODEL, "trace" VIDEO MODEL, "notebook" VIDEO NOTEBOOK,
    "report" VIDEO, or "summary" VIDEO ….
    """
    out = Path(out).resolve()
    if step == "summary":
        from .summary import summarise  # the other steps start without pandas and matplotlib

        return summarise(out, names)
    name, *rest = names
    p = _plan(out, name)
    fits = {p.model_path(*fit).stem: fit for fit in p.fits()}
    with runs.at_work(p, shared=True):
        clip = runs.take_clip(p) if step == "clip" else runs.kept_clip(p)
        if step == "fit":
            runs.timed(
                p, fit_name(*fits[rest[0]]), lambda: runs.fit_network(p, clip, *fits[rest[0]])
            )
        elif step == "trace":
            _trace(p, rest[0], len(clip) // 2)
        elif step == "notebook":
            (notebook,) = chosen_notebooks(rest)
            runs.timed(p, notebook.name, lambda: runs.run_notebook(p, clip, notebook))
            (p.out / "notebooks" / f".{notebook.name}.done").touch()
        elif step == "report":
            from .summary import save_measured

            save_measured(p, clip, name)
            runs.timed(p, "report", lambda: runs.finish(p, clip))


def _plan(out: Path, name: str) -> Plan:
    facts = {k: tuple(v) if isinstance(v, list) else v for k, v in _read(out)[name].items()}
    return Plan(**facts | dict(out=out / name))


def _trace(p: Plan, model: str, frame: int) -> None:
    """The last layer before the output, on one frame, under both rules: totals (n_neurons,) and
    heatmap (H, W).
    """
    import numpy as np

    network, sums = load_model(model), {}
    for rule in RULE_ORDER:
        canvas = trace(network, frame, rule)
        layer = canvas[canvas.layers[-2]]
        sums |= {
            f"{rule}_totals": layer.totals().cpu().numpy(),
            f"{rule}_heatmap": layer.heatmap().cpu().numpy(),
        }
        sums |= dict(layer=canvas.layers[-2], frame=canvas.frame)
    (p.out / "traces").mkdir(exist_ok=True)
    replace_file(p.out / "traces" / f"{model}.npz", lambda f: np.savez(f, **sums))
