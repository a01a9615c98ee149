"""How what a run made compares with what is committed: tables by their values, pictures by their
pixels.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, log10
from pathlib import Path

import numpy as np
from PIL import Image

# Tables are written with four significant digits. A number that is computed anew on another machine
# differs in its seventh digit or so, and can then be rounded to the neighbouring last digit: one
# unit of the fourth digit is allowed, and nothing more.
DIGITS = 4
# Mean absolute difference over all pixels and channels, of 255. The series with the kernels of a
# lesser machine (ATEN_CPU_CAPABILITY=default) gave equal pixels in most figures, up to 0.25 in maps
# that are traced live, and up to 0.85 in charts whose layout moved by a fraction of a pixel. Moved
# by one whole pixel, every committed figure differs from itself by 2.9 or more.
MOST_DIFFERENT = 1.5
TABLES = (".csv",)
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
KEYS = ("finding", "family", "layer", "rule", "clip", "seed", "statistic")
JOINED = "findings.csv"


@dataclass(frozen=True)
class Comparison:
    """What was compared, and what differs: a line each.

    Attributes
    ----------
    n_tables, n_pictures : int
        How many of each were compared.
    tables, pictures : tuple of str
        Those that differ, and how.
    """

    n_tables: int
    n_pictures: int
    tables: tuple[str, ...]
    pictures: tuple[str, ...]

    def __str__(self) -> str:
        compared = (
            f"compared with the committed ones: {self.n_tables} tables, {self.n_pictures} pictures"
        )
        if not (self.tables or self.pictures):
            return f"{compared}; none differs"
        counts = f"{len(self.tables)} tables and {len(self.pictures)} pictures differ"
        return "\n".join([*self.tables, *self.pictures, f"{compared}; {counts}"])


def compare(made: Path, committed: Path, numbers: Iterable[str]) -> Comparison:
    """Compare two folders of figures and tables.

    Parameters
    ----------
    made, committed : Path
        The folders.
    numbers : iterable of str
        Of the notebooks whose files are compared, two digits each; the joined table is compared
        too.

    Returns
    -------
    Comparison
        A file that is in one folder only differs too.
    """
    numbers = set(numbers)
    tables = file_names(made, committed, numbers, TABLES)
    pictures = file_names(made, committed, numbers, PICTURES)
    if (made / JOINED).exists() and (committed / JOINED).exists():
        tables.append(JOINED)
    return Comparison(
        len(tables),
        len(pictures),
        _lines(tables, made, committed, table_difference),
        _lines(pictures, made, committed, picture_difference),
    )


def table_difference(made: Path, committed: Path) -> str:
    """How the first table differs from the second in its values; empty if it does not.

    Numbers are compared as numbers, within one unit of the fourth significant digit, everything
    else as text; the order of the rows does not matter.
    """
    new, old = _rows(made), _rows(committed)
    gone, more = len(old.keys() - new.keys()), len(new.keys() - old.keys())
    if gone or more:
        return f"{gone} of {len(old)} rows are missing and {more} are new"
    changed = []
    for key, row in old.items():
        for column, value in row.items():
            if not same_value(new[key].get(column, ""), value):
                changed.append((key, column, value, new[key].get(column, "")))
    if not changed:
        return ""
    key, column, before, after = changed[0]
    where = " ".join(part for part in key[:-1] if part)
    return (
        f"{len(changed)} values differ, the first of them {column} of {where}: "
        f"{after or 'nothing'}, committed {before or 'nothing'}"
    )


def same_value(one: str, other: str) -> bool:
    """Whether two cells say the same: as numbers within one unit of the fourth digit, else as
    text.
    """
    if one == other:
        return True
    try:
        a, b = float(one), float(other)
    except ValueError:
        return False
    largest = max(abs(a), abs(b))
    if a == b or not np.isfinite(largest):
        return a == b
    unit = 10.0 ** (floor(log10(largest)) - DIGITS + 1)
    return abs(a - b) <= 1.001 * unit  # 1.001: decimal digits are not exact in binary


def picture_difference(made: Path, committed: Path) -> str:
    """How the first picture differs from the second; empty if it does not, within
    ``MOST_DIFFERENT``.
    """
    new, old = read_pixels(made), read_pixels(committed)
    if new.shape != old.shape:
        return f"{new.shape[1]}×{new.shape[0]} pixels, committed {old.shape[1]}×{old.shape[0]}"
    difference = float(np.abs(new - old).mean())
    if difference <= MOST_DIFFERENT:
        return ""
    return f"pixels differ by {difference:.1f} of 255 on average (at most {MOST_DIFFERENT:g})"


def file_names(made: Path, committed: Path, numbers: set[str], endings: Sequence[str]) -> list[str]:
    """The files of these notebooks with these endings, in either folder."""
    names = set()
    for folder in (made, committed):
        for file in folder.glob("[0-9][0-9]_*"):
            if file.name[:2] in numbers and file.suffix in endings:
                names.add(file.name)
    return sorted(names)


def _lines(names: Sequence[str], made: Path, committed: Path, difference) -> tuple[str, ...]:
    """A line per file that differs."""
    lines = []
    for name in names:
        if not (made / name).exists():
            lines.append(f"{name}: committed, but was not made")
        elif not (committed / name).exists():
            lines.append(f"{name}: made, but is not committed")
        else:
            how = difference(made / name, committed / name)
            if how:
                lines.append(f"{name}: {how}")
    return tuple(lines)


def _rows(path: Path) -> dict[tuple[str, ...], dict[str, str]]:
    """A table's rows by what identifies them; the last part of a key tells equal ones apart."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = tuple(row.get(column, "") for column in KEYS)
            number = 0
            while (*key, str(number)) in rows:
                number += 1
            rows[*key, str(number)] = row
    return rows


def read_pixels(path: Path) -> np.ndarray:
    """A picture's values, (H, W, 3), 0 to 255."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float32)
