"""How soon a fit is good enough: the fast recipe, the paper's, and plain Adam at its best rate.

Epochs to a PSNR are counted in whole fits, because a schedule that is cut short is another
schedule. They are the same on every machine but for rounding, take up to an hour together, and are
kept in ``.cache/bench``, so that a stopped or a second run goes on from there. Seconds of an epoch
are measured now, the recipes of a network in turn, and the time to a PSNR is the product.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import xinc_core as xc
from xinc_core.models import recipe
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
    adam : dict
        Options of the plain Adam loop: its best rate, found on these clips, and epochs.
    timed : int
        Epochs whose seconds are measured in a turn.
    """

    family: str
    clip: str
    adam: dict
    timed: int


CASES = (
    Case("nerv", "courtyard", dict(lr=4e-3, epochs=150), 1),
    Case("nerv", "bunny", dict(lr=4e-3, epochs=150), 1),
    Case("hnerv", "courtyard", dict(lr=4e-3, epochs=150), 1),
    Case("ffn", "courtyard", dict(lr=4e-3, epochs=600), 8),
    Case("siren", "courtyard", dict(lr=2e-3, epochs=600), 8),
)


def rows(say: Say, cases: Sequence[Case] = CASES) -> list[dict]:
    """A row per case and way of fitting.

    Each has the epochs of the whole fit and their seconds, the PSNR at its end, and the seconds to
    each of ``LEVELS``, to the paper's PSNR of a NeRV and to the PSNR with which the paper's recipe
    ends; None where the fit does not reach it.
    """
    found = []
    for case in cases:
        ways = {
            "fast": dict(recipe="fast"),
            "paper": dict(recipe="paper"),
            "adam": dict(recipe="paper") | case.adam,
        }
        curves = {way: _curve(case, options) for way, options in ways.items()}
        seconds = _seconds_per_epoch(case, ways)
        papers_end = curves["paper"][-1]
        for way, curve in curves.items():
            row = dict(
                family=case.family,
                clip=case.clip,
                way=way,
                epochs=len(curve),
                seconds_per_epoch=seconds[way],
                seconds=seconds[way] * len(curve),
                psnr=curve[-1],
            )
            for level in LEVELS:
                row[f"seconds_to_{level:g}"] = _time_to(curve, level, seconds[way])
            row["seconds_to_33.3"] = _time_to(curve, PAPERS_NERV, seconds[way])
            row["seconds_to_papers_end"] = _time_to(curve, papers_end, seconds[way])
            found.append(row)
            say(row)
    return found


def _curve(case: Case, options: dict) -> list[float]:
    """The PSNR after each epoch of a whole fit, in dB."""
    how = recipe(case.family, options["recipe"])
    key = digest(dict(case=asdict(case), how=asdict(how), options=options))[:16]
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
