"""The report's tables and sections: verdicts by claim, and per notebook the figures and the numbers
that decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from xinc_core.study.answers.table import (
    as_text,
    findings_table,
    judged_layers,
    notebook_tables,
    read_table,
    statistics,
    verdicts_over_layers,
)
from xinc_core.study.figures import saved_figures
from xinc_core.study.findings.registry import claims
from xinc_core.study.series.notebooks import SERIES, Notebook
from xinc_core.tracing import RULE_ORDER

from . import words
from .words import Verdicts

WITHOUT_FIGURES = ("12",)  # the table of verdicts is in the page as text
OPEN_ROWS = 14  # a longer table waits folded


@dataclass(frozen=True)
class Cell:
    """A number as it is shown: value, interval, verdict; each may be empty."""

    value: str
    span: str
    verdict: str


@dataclass(frozen=True)
class Line:
    """What one statistic of a layer comes to under each rule; None where it is not asked."""

    family: str
    layer: str
    statistic: str
    cells: dict[str, Cell | None]


@dataclass(frozen=True)
class Table:
    """The numbers that decide a claim on a clip.

    ``conditions``: what a layer has to show, in words; ``first``: whether it is the one that the
    table of verdicts links to; ``verdicts``: (family, rule) → verdict over all layers.
    """

    finding: str
    clip: str
    lines: list[Line]
    conditions: list[str]
    first: bool
    verdicts: Mapping[tuple[str, str], str]

    @property
    def open(self) -> bool:
        """Whether it is unfolded at first."""
        return len(self.lines) <= OPEN_ROWS


@dataclass(frozen=True)
class Section:
    """What one notebook has to show: figures with captions, and tables."""

    notebook: Notebook
    figures: dict[Path, str]
    tables: list[Table] = field(default_factory=list)


def read_rows(folder: Path) -> pd.DataFrame:
    """The notebooks' findings tables, in their order, as one; ``notebook`` says which one a row is
    from.
    """
    tables = [findings_table([]).assign(notebook="")]
    for path in notebook_tables(folder):
        tables.append(read_table(path).assign(notebook=path.name[:2]))
    filled = [table for table in tables if len(table)]
    return pd.concat(filled or tables, ignore_index=True)


def clips_verdicts(rows: pd.DataFrame) -> Verdicts:
    """(claim, clip) → (family, rule) → verdict over all layers, in the order of the study's
    claims.
    """
    found: Verdicts = {}
    for row in verdicts_over_layers(rows).itertuples():
        found.setdefault((row.finding, row.clip), {})[row.family, row.rule] = row.verdict
    order = list(claims())

    def place(pair: tuple[str, str]) -> int:
        return order.index(pair[0]) if pair[0] in order else len(order)

    return {pair: found[pair] for pair in sorted(found, key=place)}


def tables_columns(verdicts: Verdicts) -> list[tuple[str, list[str]]]:
    """The columns of the table of verdicts: families, video networks first, each with its rules."""
    asked = {pair for cells in verdicts.values() for pair in cells}
    families = {family for family, _ in asked}
    columns = []
    for family in sorted(families, key=lambda name: (not words.is_for_video(name), name)):
        columns.append((family, [rule for rule in RULE_ORDER if (family, rule) in asked]))
    return columns


def sections(folder: Path, rows: pd.DataFrame, clip: str) -> list[Section]:
    """The notebooks that have figures or findings, in the order of the series.

    Parameters
    ----------
    folder : Path
        Of figures.
    rows : DataFrame
        The findings tables, from :func:`read_rows`.
    clip : str
        The clip's name, which figures' names end in.
    """
    out = []
    for notebook in SERIES:
        if notebook.number in WITHOUT_FIGURES:
            continue
        files = saved_figures(folder, f"{notebook.number}_*")
        files.sort(key=lambda file: (words.is_judged(file.stem), file.stem))
        captions = {file: words.caption(file.stem, clip) for file in files}
        tables = _tables(rows[rows.notebook == notebook.number])
        if files or tables:
            out.append(Section(notebook, captions, tables))
    return out


def _tables(rows: pd.DataFrame) -> list[Table]:
    """A table per claim and clip that decides something."""
    tables: list[Table] = []
    verdicts = clips_verdicts(rows)
    for (finding, clip), own in rows.groupby(["finding", "clip"], sort=False):
        deciding = judged_layers(own)
        if deciding.empty:
            continue
        tables.append(
            Table(
                finding=finding,
                clip=clip,
                lines=_lines(own, deciding),
                conditions=_conditions(finding, set(deciding.statistic)),
                first=all(table.finding != finding for table in tables),
                verdicts=verdicts.get((finding, clip), {}),
            )
        )
    return tables


def _lines(own: pd.DataFrame, deciding: pd.DataFrame) -> list[Line]:
    """A line per family, layer and statistic that decides, with both rules."""
    cells = {}
    for row in own.itertuples():
        cells[row.family, row.layer, row.statistic, row.rule] = _cell(row)
    known = statistics()
    lines = []
    keys = zip(deciding.family, deciding.layer, deciding.statistic)
    for family, layer, statistic in dict.fromkeys(keys):
        by_rule = {rule: cells.get((family, layer, statistic, rule)) for rule in RULE_ORDER}
        lines.append(Line(family, layer, known.get(statistic, statistic), by_rule))
    return lines


def _cell(row) -> Cell:
    """A row's number, its interval and its verdict, as they are shown."""
    return Cell(_minus(as_text(row.value)), words.span(row.low, row.high), row.verdict)


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _conditions(finding: str, measured: set[str]) -> list[str]:
    """What a layer has to show for the claim to hold, of what was measured here."""
    claim = claims().get(finding)
    return words.conditions(claim, measured) if claim else []
