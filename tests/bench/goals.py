"""What the numbers should be, and whether they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

ALL = "totals and heatmap"


def goals(
    layers: list[dict], growth: list[dict], training: list[dict], recipes: Sequence[dict] = ()
) -> list[dict]:
    """A row per goal: what is wanted, the number measured, the bound, met or not. Goals without
    a measurement are left out.
    """
    found = [
        *_of_layers(layers),
        *_of_growth(growth),
        *_of_training(training),
        *_of_recipes(recipes),
    ]
    return [
        dict(
            goal=goal,
            measured=value,
            bound=f"{'≤' if below else '≥'} {bound:g}",
            met=value <= bound if below else value >= bound,
        )
        for goal, value, bound, below in found
    ]


def _of_layers(rows: list[dict]) -> Iterator[tuple[str, float, float, bool]]:
    def some(**which):
        return [row for row in rows if all(row[k] == v for k, v in which.items())]

    for family in dict.fromkeys(row["family"] for row in rows):
        totals = some(family=family, statistic=ALL)
        last = totals[-1]["layer"]
        inner = [r["times_write"] for r in totals if r["rule"] == "paper" and r["layer"] != last]
        if inner:
            yield (
                f"paper, {family}: slowest inner layer, times writing its maps once",
                max(inner),
                6,
                True,
            )
        exact = sum(r["seconds"] for r in totals if r["rule"] == "first_order")
        yield f"first_order, {family}: all layers, s", exact, 15 if family == "nerv" else 0.3, True
        for rule in dict.fromkeys(r["rule"] for r in totals):
            alone, four = (
                sum(r["seconds"] for r in some(family=family, rule=rule, statistic=s))
                for s in (ALL, "four partitions")
            )
            yield f"{rule}, {family}: four partitions, times totals alone", four / alone, 1.5, True
    for row in some(layer="block1", rule="paper", statistic=ALL):
        yield "paper, nerv block1: totals and heatmap, s", row["seconds"], 1, True


def _of_growth(rows: list[dict]) -> Iterator[tuple[str, float, float, bool]]:
    largest = max((row["pixels"] for row in rows), default=0)
    for rule in dict.fromkeys(row["rule"] for row in rows):
        at = [row for row in rows if row["pixels"] == largest and row["rule"] == rule]
        yield (
            f"{rule}: memory at {at[0]['size']}, GB",
            max(row["peak_mb"] for row in at) / 1024,
            1,
            True,
        )


def _of_training(rows: list[dict]) -> Iterator[tuple[str, float, float, bool]]:
    for row in rows:
        yield (
            f"training, {row['family']}: times the plain loop's frames per second",
            row["times_faster"],
            1.5,
            False,
        )
        yield (
            f"training, {row['family']}: dB between the two after {row['epochs']} epochs",
            row["apart_db"],
            0.1,
            True,
        )


MOST_SECONDS = {"courtyard": 45, "bunny": 100}  # to the PSNR of the paper's NeRV
TIMES_SOONER = {"nerv": 6, "hnerv": 3, "ffn": 3, "siren": 3}


def _of_recipes(rows: Sequence[dict]) -> Iterator[tuple[str, float, float, bool]]:
    """A PSNR that is not reached takes forever."""
    cases = dict.fromkeys((row["family"], row["clip"]) for row in rows)
    for family, clip in cases:
        own = {row["way"]: row for row in rows if (row["family"], row["clip"]) == (family, clip)}
        fast, paper = own["fast"], own["paper"]
        level = "33.3" if family == "nerv" else "papers_end"
        said = "33.3 dB" if family == "nerv" else f"{paper['psnr']:.1f} dB, where paper ends"
        seconds = fast[f"seconds_to_{level}"] or math.inf
        # Where it is not reached, or reached at the end alone, all its epochs are the least.
        papers = paper.get(f"seconds_to_{level}") or paper["seconds"]
        if family == "nerv":
            yield f"fast, {family} on {clip}: to {said}, s", seconds, MOST_SECONDS[clip], True
        yield (
            f"fast, {family} on {clip}: times sooner than paper to {said}",
            papers / seconds,
            TIMES_SOONER[family],
            False,
        )
        if fast["seconds"] <= paper["seconds"]:
            gain = fast["psnr"] - paper["psnr"]
            yield f"fast, {family} on {clip}: dB above paper, in less time", gain, 0, False
