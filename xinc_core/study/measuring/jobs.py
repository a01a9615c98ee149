"""Computing units side by side: which belong together, in which order, in which processes."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from joblib import Parallel, delayed, parallel_config

from xinc_core.clips import Clip
from xinc_core.models import FAMILIES
from xinc_core.study.findings import registry
from xinc_core.study.findings.base import Finding
from xinc_core.study.findings.claims import PLANTED
from xinc_core.util.machine import free_bytes, return_unused_memory
from xinc_core.util.paths import environment
from xinc_core.util.progress import progress_bar

from .compute import MEASURE
from .memory import settings
from .units import Unit

WORKER_BYTES = 2e9  # of memory that a process of measuring may take
FEWEST_JOBS = 2  # per process, below which starting processes does not pay


@dataclass(frozen=True)
class Asked:
    """One unit of one finding, on one clip."""

    finding: Finding
    clip: Clip
    unit: Unit


@dataclass
class Job:
    """Units of one clip that one process measures in one go."""

    clip: Clip
    order: tuple[int, int]  # jobs are begun in this order
    units: list[tuple[str, Unit]] = field(default_factory=list)  # name of the finding, unit


def compute_side_by_side(session, asked: Sequence[Asked], what: str, progress: bool = True) -> None:
    """Compute and store what is missing, in one process per thread of torch.

    Most steps are too small for threads to share. Where little is missing, or a finding or a
    network's class is not the package's own, nothing is done here: it is computed later, one by
    one.
    """
    jobs = jobs_of(session, asked, what)
    most = min(session.workers, len(jobs) / FEWEST_JOBS, free_bytes() / WORKER_BYTES)
    workers = int(most)
    if workers < 2 or not all(_is_known_to_workers(one) for one in asked):
        return
    variables = settings() | {"TQDM_DISABLE": "1"}
    folder = session.store.folder.resolve()
    processes = parallel_config("loky", n_jobs=workers, inner_max_num_threads=1)
    with warnings.catch_warnings(), processes:
        warnings.filterwarnings("ignore", "A worker stopped")  # a worker that has grown is replaced
        run = Parallel(return_as="generator_unordered")
        done = run(delayed(_work)(job, what, type(session), folder, variables) for job in jobs)
        bar = progress_bar(
            done, "measuring", len(jobs), leave=False, unit="job", disable=not progress
        )
        for _ in bar:
            pass


def _is_known_to_workers(asked: Asked) -> bool:
    """Whether another process finds the finding and the network's class by their names."""
    if asked.finding not in registry.FINDINGS:
        return False
    if asked.unit.is_planted:
        return True
    return FAMILIES[asked.unit.family].__module__.startswith("xinc_core.")


def jobs_of(session, asked: Sequence[Asked], what: str) -> list[Job]:
    """What is not stored, in parts that one process measures in one go, in the order in which they
    are best begun.

    The units of one network and frame stay together, because rules are compared with the same truth
    and findings share sums; so do all frames where a finding looks from one to another; pictures
    share nothing. The last families are the dearest and come first, planted maps last, lest a
    process wait long for another at the end; clips take turns, lest all wait for one clip's
    partitions.
    """
    linked = _models_whose_frames_are_linked(asked)
    families = list(dict.fromkeys([PLANTED, *(one.unit.family for one in asked)]))
    turns: Counter[tuple[str, str]] = Counter()
    jobs: dict[tuple, Job] = {}
    for one in asked:
        unit = one.unit
        if session.store.holds(session.address(one.finding, one.clip, unit, what)):
            continue
        rule = None if what == MEASURE else unit.rule
        frame = None if unit.model in linked else unit.frame
        key = (one.clip.name, unit.model, frame, rule)
        if key not in jobs:
            turns[one.clip.name, unit.family] += 1
            turn = turns[one.clip.name, unit.family]
            jobs[key] = Job(one.clip, (-families.index(unit.family), turn))
        jobs[key].units.append((one.finding.name, unit))
    return sorted(jobs.values(), key=lambda job: job.order)


def _models_whose_frames_are_linked(asked: Sequence[Asked]) -> set[str]:
    """Networks of which a finding looks from one measured frame to another."""
    frames = {(one.unit.model, one.unit.frame) for one in asked}
    linked = set()
    for one in asked:
        for offset in one.finding.offsets:
            if offset and (one.unit.model, one.unit.frame + offset) in frames:
                linked.add(one.unit.model)
    return linked


def _work(job: Job, what: str, kind: type, folder: Path, variables: dict[str, str]) -> None:
    """In a process of its own: compute and store; then give back what was remembered for it, since
    a process that grows is replaced.
    """
    session = _session_of_process(kind, folder)
    in_order = sorted(job.units, key=lambda one: (one[1].variant, one[1].frame, one[1].rule))
    with environment(**variables):
        for name, unit in in_order:
            session.values(registry.finding(name), job.clip, unit, what)
    session.forget_canvases()
    return_unused_memory()


@lru_cache(maxsize=1)
def _session_of_process(kind: type, folder: Path):
    """The session of a worker, which lasts over its jobs: scenes are dear."""
    return kind(folder)
