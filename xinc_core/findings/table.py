"""The findings table: one row per claim, family, layer, rule and clip, as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from ..checkpoints import replace_file
from ..paths import figures

COLUMNS = (
    "finding", "family", "layer", "rule", "clip", "seed", "statistic", "value", "low", "high", "n_units", "holds", "verdict",
)  # fmt: skip
VERDICTS = ("reproduced", "partly", "not reproduced", "undecided", "no verdict")


def save_findings(number: str, rows: Iterable[dict]) -> list[dict]:
    """Write ``figures/NN_findings.csv``; every row needs the thirteen columns, values that do not apply are empty."""
    rows = [{c: _text(row.get(c, "")) for c in COLUMNS} for row in rows]
    wrong = {row["verdict"] for row in rows} - {*VERDICTS, ""}
    if wrong:
        raise ValueError(f"verdicts are {', '.join(VERDICTS)}; not {', '.join(sorted(wrong))}")
    replace_file(figures() / f"{number}_findings.csv", lambda f: _write(f, rows))
    return rows


def join_findings() -> Path:
    """Join the notebooks' tables to ``figures/findings.csv``."""
    rows = []
    for path in sorted(figures().glob("[0-9][0-9]_findings.csv")):
        with path.open(newline="") as file:
            rows += list(csv.DictReader(file))
    path = figures() / "findings.csv"
    replace_file(path, lambda f: _write(f, rows))
    return path


def _write(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _text(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
