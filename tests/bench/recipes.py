"""How soon a fit is good enough: the fast recipe, the paper's, and plain Adam at its best rate.

Epochs to a PSNR are counted in whole fits, because a schedule that is cut short is another
schedule. They are the same on every machine but for rounding, take up to an hour together, and are
kept in ``.cache/bench``, so that a stopped or a second run goes on from there. Seconds of an epoch
are measured now, the recipes of a network in turn, and the time to a PSNR is the product.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import xinc_core as xc
from xinc_core.models import family, recipe
from xinc_core.util.files import digest

from .tracing import Say

KEPT = Path(".cache/bench")
LEVELS = (30.0, 33.0, 36.0)  # dB
PAPERS_NERV = 33.3  # dB, which the paper reports for its NeRV
TURNS = 3


@dataclass(frozen=True)
class Case:
    """A network and a clip on which the recipes race.

    Attributes
    ----------
    family, clip : str
    fast : int
        Epochs of the fast recipe: about as few as reach the level that is asked for.
    adam : dict or None
        Options of the plain Adam loop: its best rate, found on these clips, and epochs. None where
        it is left out, because it takes too long.
    timed : int
        Epochs whose seconds are measured in a turn.
    shipped : str, optional
        A shipped network that the paper's recipe fitted. Its header says how good the whole fit
        is, so that an hour is not spent on it again; the epochs on the way are not known.
    """

    family: str
    clip: str
    fast: int
    adam: dict | None
    timed: int
    shipped: str | None = None


CASES = (
    Case("nerv", "courtyard", 32, dict(lr=4e-3, epochs=60), 1),
    Case("nerv", "bunny", 96, dict(lr=4e-3, epochs=60), 1),
    Case("hnerv", "courtyard", 80, None, 1, "hnerv-courtyard"),
    Case("ffn", "courtyard", 160, dict(lr=4e-3, epochs=300), 8, "ffn-courtyard"),
    Case("siren", "courtyard", 300, dict(lr=2e-3, epochs=300), 8, "siren-courtyard"),
)


def rows(say: Say, cases: Sequence[Case] = CASES) -> list[dict]:
    """A row per case and way of fitting.

    Each has the epochs of the whole fit and their seconds, the PSNR at its end, and the seconds to
    each of ``LEVELS``, to the paper's PSNR of a NeRV and to the PSNR with which the paper's recipe
    ends; None where the fit does not reach it.
    """
    found = []
    for case in cases:
        ways = {"fast": dict(recipe="fast", epochs=case.fast), "paper": dict(recipe="paper")}
        if case.adam is not None:
            ways["adam"] = dict(recipe="paper") | case.adam
        if case.shipped:
            curves = {way: _curve(case, ways[way]) for way in ways if way != "paper"}
            header = xc.list_models()[case.shipped]
            ends = {"paper": (header["epochs"], header["psnr"])}
        else:
            curves = {way: _curve(case, options) for way, options in ways.items()}
            ends = {}
        ends |= {way: (len(curve), curve[-1]) for way, curve in curves.items()}
        seconds = _seconds_per_epoch(case, ways)
        for way in ways:
            epochs, psnr = ends[way]
            row = dict(
                family=case.family,
                clip=case.clip,
                way=way,
                epochs=epochs,
                seconds_per_epoch=seconds[way],
                ms_per_step=1000 * seconds[way] / _steps(case),
                seconds=seconds[way] * epochs,
                psnr=psnr,
            )
            if way in curves:
                row |= _times(curves[way], seconds[way], ends["paper"][1])
            found.append(row)
            say(row)
    return found


def _steps(case: Case) -> int:
    """Optimiser steps in an epoch; of all ways the same, because their batches are."""
    frames = len(xc.load_clip(case.clip)) if family(case.family).for_video else 1
    return math.ceil(frames / recipe(case.family, "fast").batch)


def _times(curve: list[float], seconds_per_epoch: float, papers_end: float) -> dict:
    """Seconds to every level, to the paper's PSNR of a NeRV, and to where its recipe ends."""
    levels = {f"{level:g}": level for level in (*LEVELS, PAPERS_NERV)} | dict(papers_end=papers_end)
    times = {}
    for name, level in levels.items():
        times[f"seconds_to_{name}"] = _time_to(curve, level, seconds_per_epoch)
    return times


def _curve(case: Case, options: dict) -> list[float]:
    """The PSNR after each epoch of a whole fit, in dB."""
    how = recipe(case.family, options["recipe"])
    key = digest(dict(how=asdict(how), options=options))[:16]
    file = KEPT / f"{case.family}-{case.clip}-{key}.pt"
    clip = xc.load_clip(case.clip)
    # The file holds the finished fit until it is deleted: asked again, it is only read.
    _, history = xc.fit(case.family, clip, checkpoint=file, progress=False, **options)
    return history["psnr"]


def _seconds_per_epoch(case: Case, ways: dict[str, dict]) -> dict[str, float]:
    """Of each way, the median over turns; the ways take turns, so that noise meets all alike."""
    clip = xc.load_clip(case.clip)
    measured: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(TURNS):
        for way, options in ways.items():
            brief = options | dict(epochs=1 + case.timed)
            _, history = xc.fit(case.family, clip, checkpoint=False, progress=False, **brief)
            first, last = history["seconds"][0], history["seconds"][-1]
            measured[way].append((last - first) / case.timed)  # the first epoch warms up
    return {way: statistics.median(values) for way, values in measured.items()}


def _time_to(curve: list[float], level: float, seconds_per_epoch: float) -> float | None:
    """Seconds to the first epoch whose mean PSNR reaches a level."""
    for number, psnr in enumerate(curve, 1):
        if psnr >= level:
            return number * seconds_per_epoch
    return None
