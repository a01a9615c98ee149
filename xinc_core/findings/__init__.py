"""Findings: a claim, its statistic with an interval, a verdict. One module each: numbers in, a small result object out."""

from .laws import additivity, completeness, law_row
from .table import COLUMNS, join_findings, save_findings

__all__ = ["COLUMNS", "additivity", "completeness", "join_findings", "law_row", "save_findings"]
