"""The summary of a sweep: what every finding says over videos, as a table, a figure and a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from xinc_core.clips import Clip
from xinc_core.study import figures
from xinc_core.study.answers.over_clips import (
    ENOUGH,
    VIDEO_COLUMNS,
    counts,
    laws_over_videos,
    over_videos,
)
from xinc_core.study.answers.table import read_table, verdicts_over_layers, write_table
from xinc_core.study.findings.registry import claims, measured_in
from xinc_core.study.measuring import KEYS, Session
from xinc_core.tracing import RULE_ORDER
from xinc_core.util.files import replace_file
from xinc_core.util.paths import environment

from .notebooks import chosen_notebooks
from .plans import PROFILES, Plan
from .steps import MEASUREMENTS

FIGURE = "findings_over_videos"


def save_measured(plan: Plan, clip: Clip) -> None:
    """Write a video's measurements as a long table, ``results/measured.csv``: read from the
    store that its notebooks filled. The clip's name in it is that of the run's folder.

    Parameters
    ----------
    plan : Plan
        The video's study, in whose folder this is called.
    clip : Clip
        The frames that were taken.
    """
    session, most = Session(), PROFILES[plan.profile].measured
    tables = [pd.DataFrame(columns=[*KEYS, "statistic", "value", "notebook"])]
    for notebook in chosen_notebooks(plan.notebooks):
        measured = measured_in(notebook.number)
        if measured:
            table = session.measure(
                measured, clip, plan.families, plan.seeds, RULE_ORDER, most, progress=False
            )
            tables.append(table.assign(clip=plan.out.name, notebook=notebook.number))
    whole = pd.concat([table for table in tables if len(table)] or tables)
    replace_file(plan.out / MEASUREMENTS, lambda file: whole.to_csv(file, index=False))


def summarise(out: Path, videos: Sequence[str]) -> None:
    """Write ``findings.csv`` over these videos, ``videos.csv`` with each one's rows, the figure
    and ``summary.txt``.

    Parameters
    ----------
    out : Path
        The sweep's folder.
    videos : sequence of str
        The videos' folders in it.
    """
    each = _rows_of_videos(out, videos)
    over = _rows_over_videos(out, videos, each)
    write_table(out / "videos.csv", each)
    write_table(out / "findings.csv", over)
    if len(each):
        with environment(XINC_FIGURES=str(out / "figures")):
            figures.save(figures.across_videos(counts(each), len(videos)), FIGURE, photo=False)
    text = described(videos, each, over)
    replace_file(out / "summary.txt", lambda file: file.write_text(text))


def _rows_of_videos(out: Path, videos: Sequence[str]) -> pd.DataFrame:
    """Every video's own findings table; its ``clip`` is the video's folder."""
    tables = []
    for video in videos:
        table = read_table(out / video / "findings.csv")
        tables.append(table.assign(clip=video, n_videos=1))
    return pd.concat(tables, ignore_index=True)[[*VIDEO_COLUMNS]]


def _rows_over_videos(out: Path, videos: Sequence[str], each: pd.DataFrame) -> pd.DataFrame:
    """What the claims say with the video as the unit."""
    files = [out / video / MEASUREMENTS for video in videos]
    measured = pd.concat(
        [pd.read_csv(file, dtype=dict(notebook=str)) for file in files], ignore_index=True
    )
    tables = [laws_over_videos(each)]
    for number, part in measured.groupby("notebook"):
        tables.append(over_videos(part, measured_in(str(number))))
    filled = [table for table in tables if len(table)]
    return pd.concat(filled or tables, ignore_index=True)


def described(videos: Sequence[str], each: pd.DataFrame, over: pd.DataFrame) -> str:
    """The summary in words: how many videos say what of each claim, and what holds over videos.

    Parameters
    ----------
    videos : sequence of str
        Names.
    each, over : DataFrame
        The findings tables of the videos, and over them.
    """
    judged = {}
    for row in verdicts_over_layers(over).itertuples():
        judged[row.finding, row.family, row.rule] = row.verdict
    plural = "s" if len(videos) > 1 else ""
    lines = [f"{len(videos)} video{plural}: {', '.join(videos)}"]
    if len(videos) < ENOUGH:
        lines.append(
            f"Only clips carry generality: with fewer than {ENOUGH} videos "
            "every verdict is on its own clip."
        )
    found, order = counts(each), list(claims())
    for key in sorted(found, key=lambda key: order.index(key[0])):
        finding, family, rule = key
        said = [
            f"{word} in {found[key][word]}" for word in figures.VERDICT_COLORS if word in found[key]
        ]
        line = f"{finding:28} {family:6} {rule:12} {', '.join(said)}"
        if judged.get(key):
            line += f"; over videos: {judged[key]}"
        lines.append(line)
    lines.append(
        f"findings.csv: intervals over videos; videos.csv: every video's rows; figures/{FIGURE}.png"
    )
    return "\n".join(lines) + "\n"
