"""Over videos: what the claims say when the unit is no longer a fit but a video.

METHOD 4, earlier form.

Seeds tell how stable a fit is; only clips carry generality. A video counts once, by its mean over
seeds, and intervals are Student's t over videos. With fewer than six videos no claim is judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from xinc_core.study.findings.base import Finding
from xinc_core.study.findings.claims import PLANTED

from .table import (
    ALL_LAYERS,
    ALL_SEEDS,
    CALIBRATION,
    COLUMNS,
    LAYERS_WHERE_IT_HOLDS,
    findings_table,
    verdicts_over_layers,
)
from .verdicts import judge

ENOUGH = 6  # videos from which on a claim is judged over them
ALL = "all videos"
_AFTER = COLUMNS.index("n_units") + 1
VIDEO_COLUMNS = (*COLUMNS[:_AFTER], "n_videos", *COLUMNS[_AFTER:])
LAW = "decomposition"


def over_videos(table: pd.DataFrame, findings: Sequence[Finding]) -> pd.DataFrame:
    """The findings table with the video as the unit: value and interval over videos, ``n_units``
    fits, ``n_videos``.

    table : as for :func:`.verdicts.judge`, ``clip`` being the video. Every planted trial counts by
    itself.
    """
    trial = table["clip"] + " " + table.seed.astype(str)
    video = table["clip"].where(table.family != PLANTED, trial)
    judged = judge(table.assign(clip=ALL, video=video), findings)
    fits = table.assign(fit=trial).groupby(["family", "rule", "layer"]).fit.nunique()
    n_videos = table["clip"].nunique()
    rows = []
    for row in judged.to_dict("records"):
        if row["statistic"] == CALIBRATION:
            rows.append(row | dict(n_videos=n_videos))
            continue
        where = (row["family"], row["rule"])
        layer = row["layer"]
        n_fits = fits[where].max() if layer == ALL_LAYERS else fits[(*where, layer)]
        rows.append(row | dict(n_videos=row["n_units"], n_units=int(n_fits)))
    _count_videos_of_whole_networks(rows)
    for row in rows:
        if row["n_videos"] < ENOUGH and row["statistic"] != CALIBRATION:
            row |= dict(holds=None, verdict="")
    return findings_table(rows, VIDEO_COLUMNS)


def _count_videos_of_whole_networks(rows: list[dict]) -> None:
    """All layers together stand on as many videos as the least of their conditions: masks and twins
    are not everywhere.
    """
    for whole in rows:
        if whole["statistic"] != LAYERS_WHERE_IT_HOLDS:
            continue
        counts = []
        for row in rows:
            same = all(row[key] == whole[key] for key in ("finding", "family", "rule"))
            if same and row["verdict"]:
                counts.append(row["n_videos"])
        whole["n_videos"] = min(counts)


def laws_over_videos(table: pd.DataFrame) -> pd.DataFrame:
    """The decomposition over videos, from the videos' rows: it is a law, so that it holds only
    where it holds in all of them.
    """
    laws = table[table.finding == LAW]
    keys = ["finding", "family", "layer", "rule", "statistic", "value"]
    rows = []
    for values, same in laws.groupby(keys, sort=False):
        holds = bool((same.holds == True).all())  # noqa: E712 - a column of True, False and None
        n_videos = same["clip"].nunique()
        row = dict(zip(keys, values)) | dict(clip=ALL, seed=ALL_SEEDS)
        row |= dict(n_units=len(same), n_videos=n_videos)
        if n_videos >= ENOUGH:
            row |= dict(holds=holds, verdict="reproduced" if holds else "not reproduced")
        rows.append(row)
    return findings_table(rows, VIDEO_COLUMNS)


def counts(table: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, int]]:
    """(claim, family, rule) → verdict → number of videos, from the videos' rows; a law's verdict is
    that of all its layers.
    """
    found: dict[tuple[str, str, str], Counter[str]] = {}
    for row in verdicts_over_layers(table[table.finding != LAW]).itertuples():
        if row.verdict:
            found.setdefault((row.finding, row.family, row.rule), Counter())[row.verdict] += 1
    laws = table[table.finding == LAW]
    for (finding, family, rule, _), rows in laws.groupby(
        ["finding", "family", "rule", "clip"], sort=False
    ):
        words = set(rows.verdict)
        word = words.pop() if len(words) == 1 else "partly"
        found.setdefault((finding, family, rule), Counter())[word] += 1
    return {key: dict(counter) for key, counter in found.items()}
