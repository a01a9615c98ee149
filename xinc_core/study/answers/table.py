"""The findings table: one row per claim, family, layer, rule, clip and statistic.

It is one pandas DataFrame from the first judged number to the last figure, with typed columns; text
only at the edges, in CSV files and in what notebooks print.

    finding, family, layer, rule, clip, seed   text: which row it is ("all": over all of them)
    statistic                                  text, see ``findings.registry.statistics()``
    value, low, high                           float; NaN where it does not apply
    n_units                                    whole number of fits (or of videos), or <NA>
    holds                                      True, False or None: undecided, or nothing asked
    verdict                                    one of ``VERDICTS``, or "" beside what decides
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from xinc_core.study.findings import registry
from xinc_core.study.findings.base import Finding
from xinc_core.study.findings.claims import UNTRAINED, Claim
from xinc_core.tracing import RULE_ORDER
from xinc_core.util.files import replace_file
from xinc_core.util.paths import figures

COLUMNS = (
    "finding",
    "family",
    "layer",
    "rule",
    "clip",
    "seed",
    "statistic",
    "value",
    "low",
    "high",
    "n_units",
    "holds",
    "verdict",
)
NUMBERS = ("value", "low", "high")
COUNTS = ("n_units", "n_videos")
VERDICTS = ("reproduced", "partly", "not reproduced", "undecided", "no verdict")
ALL_LAYERS = "all"  # the row that judges all layers together
ALL_SEEDS = "all"

# Statistics that every finding has.
CALIBRATION = "calibration"
LAYERS_WHERE_IT_HOLDS = "layers_where_it_holds"
OF_EVERY_FINDING = {
    CALIBRATION: "planted maps: 1 = the claim must hold on them, 0 = it must not",
    LAYERS_WHERE_IT_HOLDS: "share of the layers in which the claim holds",
}

HOLDS_IN_WORDS = {True: "True", False: "False", None: ""}


def statistics() -> dict[str, str]:
    """Every statistic of the table, and what it is in words."""
    return OF_EVERY_FINDING | registry.statistics()


def findings_table(rows: Iterable[dict], columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Rows as a typed DataFrame; what a row lacks does not apply."""
    table = pd.DataFrame(list(rows), columns=list(columns))
    for name in columns:
        if name in NUMBERS:
            table[name] = pd.to_numeric(table[name]).astype(float)
        elif name in COUNTS:
            table[name] = table[name].astype("Int64")
        elif name == "holds":
            table[name] = pd.Series([_bool(value) for value in table[name]], dtype=object)
        else:
            table[name] = table[name].fillna("").astype(str).astype(object)
    return table


def _bool(value) -> bool | None:
    """True or False where it is one; None for what is missing."""
    if value is None or pd.isna(value):
        return None
    return bool(value)


def read_table(path: Path) -> pd.DataFrame:
    """A findings table from a CSV file, typed."""
    text = pd.read_csv(path, dtype=object, keep_default_na=False)
    table = text.copy()
    for name in NUMBERS:
        table[name] = pd.to_numeric(text[name])
    for name in COUNTS:
        if name in table:
            table[name] = pd.to_numeric(text[name]).astype("Int64")
    words = {word: value for value, word in HOLDS_IN_WORDS.items()}
    table["holds"] = pd.Series([words[word] for word in text["holds"]], dtype=object)
    return table


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a findings table as CSV: numbers to four digits, nothing where a value is missing."""
    text = pd.DataFrame({name: [as_text(value) for value in table[name]] for name in table})
    replace_file(path, lambda file: text.to_csv(file, index=False, lineterminator="\n"))


def as_text(value) -> str:
    """A value of the table as it is written: numbers to four digits, nothing where it is
    missing.
    """
    if value is None or pd.isna(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def save_findings(number: str, rows: pd.DataFrame | Iterable[dict]) -> pd.DataFrame:
    """Write a notebook's table, ``figures/NN_findings.csv``, and return it.

    Raises
    ------
    ValueError
        For a verdict, a claim or a statistic that is in no list.
    """
    table = rows if isinstance(rows, pd.DataFrame) else findings_table(rows)
    wrong = set(table.verdict) - {*VERDICTS, ""}
    if wrong:
        known = ", ".join(VERDICTS)
        raise ValueError(f"verdicts are {known}; not {', '.join(sorted(wrong))}")
    known = {*statistics(), *(f"{UNTRAINED}{name}" for name in statistics())}
    strange = set(table.finding) - registry.claims().keys() | set(table.statistic) - known
    if strange:
        names = ", ".join(sorted(strange))
        raise ValueError(f"not in the lists of findings and statistics: {names}")
    write_table(figures() / f"{number}_findings.csv", table)
    return table


def read_findings(folder: Path | None = None) -> pd.DataFrame:
    """All rows of the notebooks' tables, in the order of the notebooks."""
    folder = figures() if folder is None else folder
    tables = [read_table(path) for path in notebook_tables(folder)]
    if not tables:
        return findings_table([])
    return pd.concat(tables, ignore_index=True)


def notebook_tables(folder: Path) -> list[Path]:
    """The notebooks' tables in a folder of figures, in the order of the notebooks."""
    return sorted(folder.glob("[0-9][0-9]_findings.csv"))


def join_findings() -> Path:
    """Join the notebooks' tables to ``figures/findings.csv``."""
    path = figures() / "findings.csv"
    write_table(path, read_findings())
    return path


def judged_layers(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that decide a layer."""
    return table[(table.verdict != "") & (table.layer != ALL_LAYERS)]


def verdicts_over_layers(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that judge all layers together, one per claim, clip, family and rule."""
    return table[table.layer == ALL_LAYERS]


def judged_claims(table: pd.DataFrame, finding: Finding) -> list[tuple[Claim, str]]:
    """The claims of a finding with the clips on which each is judged, in the order of the table."""
    pairs = []
    for claim in finding.claims:
        for clip in dict.fromkeys(table["clip"][table.finding == claim.name]):
            pairs.append((claim, clip))
    return pairs


# As text ------------------------------------------------------------------------------------------


def shown(table: pd.DataFrame) -> str:
    """The rows that decide, as text: a line per layer and condition, under the claim, clip, family
    and rule.
    """
    lines: list[str] = []
    last = None
    for row in judged_layers(table).itertuples():
        head = " · ".join((row.finding, row.clip, row.family, row.rule))
        if head != last:
            lines += ["", head]
        last = head
        span = "" if pd.isna(row.low) else f"[{as_text(row.low)}, {as_text(row.high)}]"
        number = as_text(row.value)
        lines.append(f"  {row.layer:7} {row.statistic:24} {number:>9} {span:24} {row.verdict}")
    return "\n".join(lines).strip()


def listed(table: pd.DataFrame, *beginnings: str) -> str:
    """The rows whose statistics begin so, as text: where, which statistic, and its value."""
    lines = []
    for row in table[table.statistic.str.startswith(beginnings)].itertuples():
        where = f"{row.clip:10} {row.family:6} {row.rule:12} {row.layer:8}"
        lines.append(f"{where} {row.statistic:24} {as_text(row.value)}")
    return "\n".join(lines)


def trials(table: pd.DataFrame) -> str:
    """The calibration, as text: what the claim must say of planted maps, and what it says."""
    expected = {1.0: "must hold", 0.0: "must not hold"}
    came_out = {True: "holds", False: "does not hold", None: "undecided"}
    lines = []
    for row in table[table.statistic == CALIBRATION].itertuples():
        wanted = expected[row.value]
        lines.append(
            f"{row.finding:28} {row.clip:10} {row.layer:22} {wanted:14} {came_out[row.holds]}"
        )
    return "\n".join(lines)


def summary(table: pd.DataFrame) -> str:
    """The verdicts, as text: a line per claim, clip, family and rule."""
    lines = []
    for row in verdicts_over_layers(table).itertuples():
        fits = f"{row.n_units} seeds"
        lines.append(
            f"{row.finding:28} {row.clip:10} {row.family:5} {row.rule:12} {fits}  {row.verdict}"
        )
    return "\n".join(lines)


def where_it_holds(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(claim, rule) → the families in which a claim holds, at least partly, on every clip.

    "all families" where there are several and it holds in each; "none" where it holds in none and
    fails throughout in all; else "undecided".
    """
    judged = verdicts_over_layers(table)
    judged = judged[judged.rule.isin(RULE_ORDER)]
    found = {}
    for (finding, rule), rows in judged.groupby(["finding", "rule"], sort=False):
        words = rows.groupby("family", sort=False).verdict.agg(set)
        holding = [family for family, said in words.items() if said <= {"reproduced", "partly"}]
        fails = all(said == {"not reproduced"} for said in words)
        if len(words) > 1 and len(holding) == len(words):
            found[finding, rule] = "all families"
        elif holding:
            found[finding, rule] = ", ".join(holding)
        else:
            found[finding, rule] = "none" if fails else "undecided"
    return found


def verdict_table(table: pd.DataFrame) -> str:
    """The verdicts as a Markdown table: claims and clips down, families across; a cell: paper's
    rule / first-order rule.
    """
    judged = verdicts_over_layers(table)
    families = list(dict.fromkeys(judged.family))
    claims = registry.claims()
    order = list(claims)
    verdict = {}
    for row in judged.itertuples():
        verdict[row.finding, row.clip, row.family, row.rule] = row.verdict
    pairs = dict.fromkeys(zip(judged["finding"], judged["clip"]))
    lines = [["finding", "clip", *families], ["---"] * (2 + len(families))]
    for finding, clip in sorted(pairs, key=lambda pair: order.index(pair[0])):
        line = [claims[finding].text, clip]
        for family in families:
            words = [verdict.get((finding, clip, family, rule), "–") for rule in RULE_ORDER]
            line.append(" / ".join(dict.fromkeys(words)))
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
