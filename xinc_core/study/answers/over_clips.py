"""Over videos: what the claims say when the unit is no longer a fit but a video. METHOD section 12.

Seeds tell how stable a fit is; only clips carry generality. A video counts once, by its mean over
seeds, and intervals are Student's t over videos. With fewer than six videos no claim is judged.
"""

from __future__ import annotations

from types import ModuleType

import pandas as pd

from xinc_core.study.findings.claims import PLANTED

from .table import COLUMNS
from .verdicts import judge

ENOUGH, ALL = 6, "all videos"
VIDEO_COLUMNS = (
    *COLUMNS[: COLUMNS.index("n_units") + 1],
    "n_videos",
    *COLUMNS[COLUMNS.index("n_units") + 1 :],
)


def over_videos(table: pd.DataFrame, *findings: ModuleType) -> list[dict]:
    """Rows of the findings table with the video as the unit: value and interval over videos,
    ``n_units`` fits, ``n_videos``.

    table : as for :func:`~xinc_core.findings.verdicts.judge`, ``clip`` being the video. Every
    planted trial counts by itself.
    """
    trial = table["clip"] + " " + table.seed.astype(str)
    pooled = table.assign(clip=ALL, video=table["clip"].where(table.family != PLANTED, trial))
    fits = table.assign(fit=trial).groupby(["family", "rule", "layer"]).fit.nunique()
    rows = [_of_videos(row, table, fits) for row in judge(pooled, *findings)]
    for whole in (row for row in rows if row["statistic"] == "layers_where_it_holds"):
        same = [
            r
            for r in rows
            if r.get("verdict") and all(r[k] == whole[k] for k in ("finding", "family", "rule"))
        ]
        whole["n_videos"] = min(r["n_videos"] for r in same)  # masks and twins are not everywhere
    return [
        row
        if row["n_videos"] >= ENOUGH or row["statistic"] == "calibration"
        else row | dict(holds="", verdict="")
        for row in rows
    ]


def _of_videos(row: dict, table: pd.DataFrame, fits: pd.Series) -> dict:
    if row["statistic"] == "calibration":
        return row | dict(n_videos=table["clip"].nunique())
    where = (row["family"], row["rule"])
    units = fits[where].max() if row["layer"] == "all" else fits[(*where, row["layer"])]
    return row | dict(n_units=int(units), n_videos=row["n_units"])


def laws_over_videos(rows: list[dict]) -> list[dict]:
    """The decomposition over videos, from the videos' rows: it is a law, so that it holds only
    where it holds in all of them.
    """
    kept: dict[tuple, list[dict]] = {}
    for row in rows:
        if row["finding"] == "decomposition":
            kept.setdefault(
                tuple(row[k] for k in ("finding", "family", "layer", "rule", "statistic", "value")),
                [],
            ).append(row)
    found = []
    for (finding, family, layer, rule, statistic, value), own in kept.items():
        holds, videos = (
            all(row["holds"] == "True" for row in own),
            len({row["clip"] for row in own}),
        )
        about = dict(
            finding=finding,
            family=family,
            layer=layer,
            rule=rule,
            clip=ALL,
            seed="all",
            statistic=statistic,
        )
        judged = (
            dict(holds=holds, verdict="reproduced" if holds else "not reproduced")
            if videos >= ENOUGH
            else {}
        )
        found.append(about | dict(value=value, n_units=len(own), n_videos=videos) | judged)
    return found


def counts(rows: list[dict]) -> dict[tuple[str, str, str], dict[str, int]]:
    """(finding, family, rule) → verdict → number of videos, from the videos' rows; a law's
    verdict is that of all its layers.
    """
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    laws: dict[tuple, set[str]] = {}
    for row in rows:
        key = (row["finding"], row["family"], row["rule"])
        if row["finding"] == "decomposition":
            laws.setdefault((*key, row["clip"]), set()).add(row["verdict"])
        elif row["layer"] == "all" and row["verdict"]:
            found.setdefault(key, {}).setdefault(row["verdict"], 0)
            found[key][row["verdict"]] += 1
    for (*key, _), words in laws.items():
        word = words.pop() if len(words) == 1 else "partly"
        cell = found.setdefault(tuple(key), {})
        cell[word] = cell.get(word, 0) + 1
    return found
