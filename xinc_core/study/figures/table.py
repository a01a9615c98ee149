"""The findings' rows as one typed table, which the figures of claims and verdicts draw."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from xinc_core.study.answers.table import COLUMNS

NUMBERS = ["value", "low", "high"]


def as_table(rows: pd.DataFrame | Iterable[dict]) -> pd.DataFrame:
    """Rows of the findings table with ``value``, ``low`` and ``high`` as numbers, NaN where there
    is none. A DataFrame is taken to be such a table already.
    """
    if isinstance(rows, pd.DataFrame):
        return rows
    table = pd.DataFrame(list(rows), columns=list(COLUMNS))
    table[NUMBERS] = table[NUMBERS].apply(pd.to_numeric, errors="coerce")
    return table
