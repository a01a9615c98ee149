"""Answers: from measurements to a verdict per claim, layer, family, rule and clip.

What lives here: judging, the findings table (one typed DataFrame), what claims say over many clips.
What does not: what is measured (``findings``), where it is stored (``measuring``), how it is drawn.
"""

from .table import (
    COLUMNS,
    join_findings,
    judged_claims,
    listed,
    read_findings,
    save_findings,
    shown,
    summary,
    trials,
    verdict_table,
)
from .verdicts import judge

__all__ = [
    "COLUMNS",
    "join_findings",
    "judge",
    "judged_claims",
    "listed",
    "read_findings",
    "save_findings",
    "shown",
    "summary",
    "trials",
    "verdict_table",
]
