"""Claims and the conditions under which one holds in a layer. METHOD section 12."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from xinc_core.study.statistics.intervals import interval

PLANTED = "planted"  # the family of planted maps, whose answer is known


@dataclass(frozen=True)
class Condition:
    """``statistic`` lies above (or below) a number or another statistic; if not ``decides``,
    failing it leaves the layer undecided instead of deciding against the claim."""

    statistic: str
    against: float | str
    above: bool = True
    decides: bool = True

    def state(self, fits: pd.DataFrame, planted: bool = False) -> bool | None:
        """True, False, or None where the interval over fits crosses; fits: one row per seed, a
        column per statistic.

        planted : of maps whose answer is known, every single trial has to be right.
        """
        if isinstance(self.against, str) and self.against not in fits:
            return None
        against = fits[self.against] if isinstance(self.against, str) else self.against
        margin = np.asarray(fits[self.statistic] - against) * (1 if self.above else -1)
        margin = margin[~np.isnan(margin)]
        low, high = (margin.min(), margin.max()) if planted and len(margin) else interval(margin)
        if np.isnan(low) or low <= 0 <= high:
            return None
        return True if low > 0 else False if self.decides else None

    def applies(self, fits: pd.DataFrame) -> bool:
        """Whether its statistic was measured here: persistence needs a video, the flip a twin. A
        null that is missing is another matter: it leaves the condition undecided."""
        return self.statistic in fits and not np.isnan(np.asarray(fits[self.statistic])).all()


@dataclass(frozen=True)
class Claim:
    """A finding's slug, what must be true in a layer for it to hold, and statistics that are
    reported beside it.

    untrained_fails : an untrained network cannot have it, so that a layer where it passes all the
    same gets no verdict.
    """

    finding: str
    conditions: tuple[Condition, ...]
    beside: tuple[str, ...] = ()
    untrained_fails: bool = False

    def state(self, fits: pd.DataFrame, planted: bool = False) -> bool | None:
        asked = [c for c in self.conditions if c.applies(fits)]
        states = [c.state(fits, planted) for c in asked]
        if not states or any(s is not True for c, s in zip(asked, states) if not c.decides):
            return None
        return False if False in states else None if None in states else True

    @property
    def statistics(self) -> list[str]:
        """Every statistic that appears in its rows, once."""
        named = [s for c in self.conditions for s in (c.statistic, c.against) if isinstance(s, str)]
        return list(dict.fromkeys([*named, *self.beside]))
