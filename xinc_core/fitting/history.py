"""What happened in a fit: a row per epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from xinc_core.util.files import replace_file


@dataclass
class History:
    """One row per epoch.

    Attributes
    ----------
    rows : list of dict
        Each with epoch (from 1), psnr (dB, mean over the epoch's batches as they were trained on),
        lr (of its last step) and seconds (since the fit began).

    Examples
    --------
    >>> history["psnr"][-1]  # dB after the last epoch

    Raises
    ------
    KeyError
        For a column that does not exist, naming those that do.
    """

    rows: list[dict] = field(default_factory=list)

    def __getitem__(self, column: str) -> list[float]:
        if self.rows and column not in self.rows[0]:
            raise KeyError(f"no column {column!r}; there are {', '.join(self.rows[0])}")
        return [row[column] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        if not self.rows:
            return "History: no epoch yet"
        last = self.rows[-1]
        return (
            f"History: {len(self):,} epochs in {self.seconds:.1f} s, "
            f"{last['psnr']:.2f} dB in the last"
        )

    @property
    def seconds(self) -> float:
        """How long the fit has taken so far."""
        if not self.rows:
            return 0.0
        return self.rows[-1]["seconds"]

    def to_csv(self, path: str | Path) -> None:
        """Write the table, with six digits."""
        columns = list(self.rows[0]) if self.rows else []
        lines = [",".join(columns)]
        for row in self.rows:
            lines.append(",".join(f"{row[column]:.6g}" for column in columns))
        text = "\n".join(lines) + "\n"
        replace_file(path, lambda file: file.write_text(text))
