"""The summary of a sweep: what every finding says over videos, as a table, a figure and a text."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from xinc_core.clips import Clip
from xinc_core.study.answers.over_clips import (
    ENOUGH,
    VIDEO_COLUMNS,
    counts,
    laws_over_videos,
    over_videos,
)
from xinc_core.study.answers.table import FINDINGS, read_rows, write_rows
from xinc_core.study import figures
from xinc_core.study.measuring import results
from xinc_core.tracing.rules import RULE_ORDER
from xinc_core.util.files import replace_file
from xinc_core.util.paths import environment

from .plans import PROFILES, Plan

# What a notebook measures, as it stands in its own cells; it judges what of it makes claims.
MEASURED = {
    "03": ("distributed",),
    "04": ("edges",),
    "05": ("selectivity", "twin"),
    "06": ("objects",),
    "07": ("motion",),
    "08": ("groups",),
    "09": ("faithfulness",),
    "10": ("pruning", "bits"),
    "11": ("faults",),
}


def save_measured(plan: Plan, clip: Clip, video: str) -> None:
    """Write a video's measurements as a long table, ``results/measured.csv``: read from the
    store that its notebooks filled.
    """
    most, tables = PROFILES[plan.profile].measured, []
    for number in _numbers(plan.notebooks):
        modules = list(map(_module, MEASURED[number]))
        table = results.measure(
            modules, clip, plan.families, plan.seeds, RULE_ORDER, most, progress=False
        )
        tables.append(table.assign(clip=video, notebook=number))
    whole = (
        pd.concat(tables)
        if tables
        else pd.DataFrame(columns=[*results.KEYS, "statistic", "value", "notebook"])
    )
    replace_file(plan.out / "results" / "measured.csv", lambda f: whole.to_csv(f, index=False))


def summarise(out: Path, videos: Sequence[str]) -> None:
    """Write ``findings.csv`` over these videos, ``videos.csv`` with each one's rows, the figure
    and ``summary.txt``.
    """
    each = [
        row | dict(clip=name, n_videos=1)
        for name in videos
        for row in read_rows(out / name / "findings.csv")
    ]
    tables = [
        pd.read_csv(out / name / "results" / "measured.csv", dtype=dict(notebook=str))
        for name in videos
    ]
    table, over = pd.concat(tables, ignore_index=True), laws_over_videos(each)
    for number, part in table.groupby("notebook"):
        over += over_videos(
            part,
            *(module for module in map(_module, MEASURED[number]) if hasattr(module, "CLAIMS")),
        )
    _save(out / "videos.csv", each)
    _save(out / "findings.csv", over)
    if each:
        with environment(XINC_FIGURES=str(out / "figures")):
            figures.save(
                figures.across_videos(counts(each), len(videos)), "findings_over_videos", photo=False
            )
    replace_file(out / "summary.txt", lambda f: f.write_text(told(videos, each, over)))


def told(videos: Sequence[str], each: list[dict], over: list[dict]) -> str:
    """The summary in words: how many videos say what of each claim, and what holds over videos."""
    judged = {
        (r["finding"], r["family"], r["rule"]): r["verdict"] for r in over if r["layer"] == "all"
    }
    lines = [f"{len(videos)} video{'s' * (len(videos) > 1)}: {', '.join(videos)}"]
    if len(videos) < ENOUGH:
        lines.append(
            f"Only clips carry generality: with fewer than {ENOUGH} videos every verdict is on its own clip."
        )
    found = counts(each)
    for finding, family, rule in sorted(found, key=lambda key: list(FINDINGS).index(key[0])):
        cell = found[finding, family, rule]
        words = ", ".join(
            f"{word} in {cell[word]}" for word in figures.VERDICT_COLORS if word in cell
        )
        over_all = judged.get((finding, family, rule))
        lines.append(
            f"{finding:28} {family:6} {rule:12} {words}"
            + (f"; over videos: {over_all}" if over_all else "")
        )
    lines.append(
        "findings.csv: intervals over videos; videos.csv: every video's rows; figures/findings_over_videos.png"
    )
    return "\n".join(lines) + "\n"


def _numbers(notebooks: Sequence[str]) -> list[str]:
    return [name[:2] for name in notebooks if name[:2] in MEASURED]


def _module(name: str):
    return importlib.import_module(f"xinc_core.study.findings.{name}")


def _save(path: Path, rows: list[dict]) -> None:
    replace_file(path, lambda f: write_rows(f, rows, VIDEO_COLUMNS))
