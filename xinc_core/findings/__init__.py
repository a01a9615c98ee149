"""Findings: a claim, its statistic with an interval, a verdict. One module each: numbers in, a small result object out."""

from .laws import additivity, completeness, law_row
from .table import (
    COLUMNS,
    FINDINGS,
    STATISTICS,
    join_findings,
    read_findings,
    save_findings,
    shown,
    summary,
    trials,
    verdict_table,
)

__all__ = [
    "COLUMNS", "FINDINGS", "STATISTICS", "additivity", "completeness", "join_findings", "law_row", "read_findings",
    "save_findings", "shown", "summary", "trials", "verdict_table",
]  # fmt: skip
