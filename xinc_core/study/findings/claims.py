"""Claims, and the conditions under which one holds in a layer. METHOD 4, earlier form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from xinc_core.study.statistics.intervals import interval

PLANTED = "planted"  # the family of planted maps, whose answer is known
UNTRAINED = "untrained_"  # what the statistics of the network before training begin with

Fits = pd.DataFrame | Mapping[str, np.ndarray]  # a column per statistic, a row per fit


@dataclass(frozen=True)
class Condition:
    """``statistic`` lies above (or below) a number or another statistic.

    decides : if not, failing it leaves the layer undecided instead of deciding against the claim.
    """

    statistic: str
    against: float | str
    above: bool = True
    decides: bool = True

    def state(self, fits: Fits, planted: bool = False) -> bool | None:
        """True, False, or None where the interval over fits crosses.

        Parameters
        ----------
        fits : one row per seed, a column per statistic
        planted : bool
            Of maps whose answer is known, every single trial has to be right.
        """
        bound = self.against
        if isinstance(bound, str):
            if bound not in fits:
                return None
            bound = fits[bound]
        margin = np.asarray(fits[self.statistic] - bound)
        if not self.above:
            margin = -margin
        margin = margin[~np.isnan(margin)]
        if planted and len(margin):
            low, high = margin.min(), margin.max()
        else:
            low, high = interval(margin)
        if np.isnan(low) or low <= 0 <= high:
            return None
        if low > 0:
            return True
        return False if self.decides else None

    def applies(self, fits: Fits) -> bool:
        """Whether its statistic was measured here: persistence needs a video, the flip a twin.

        A null that is missing is another matter: it leaves the condition undecided.
        """
        if self.statistic not in fits:
            return False
        return not np.isnan(np.asarray(fits[self.statistic])).all()


@dataclass(frozen=True)
class Claim:
    """What a finding says, and what must be true in a layer for it to hold.

    Attributes
    ----------
    name : str
        Its slug, in the column "finding" of every table.
    text : str
        The claim in words.
    conditions : tuple of Condition
    beside : tuple of str
        Statistics that are reported beside those of the conditions.
    untrained_fails : bool
        An untrained network cannot have it, so that a layer where it passes nevertheless gets no
        verdict.
    cases : mapping of str to bool
        Planted maps by name, and whether the claim must hold on them.
    """

    name: str
    text: str
    conditions: tuple[Condition, ...] = ()
    beside: tuple[str, ...] = ()
    untrained_fails: bool = False
    cases: Mapping[str, bool] = field(default_factory=dict)

    def state(self, fits: Fits, planted: bool = False) -> bool | None:
        """Whether it holds: True, False, or None for undecided; see :meth:`Condition.state`."""
        asked = [condition for condition in self.conditions if condition.applies(fits)]
        states = [condition.state(fits, planted) for condition in asked]
        if not states:
            return None
        for condition, state in zip(asked, states):
            if not condition.decides and state is not True:
                return None
        if False in states:
            return False
        return None if None in states else True

    @property
    def statistics(self) -> list[str]:
        """Every statistic that appears in its rows, once."""
        names = []
        for condition in self.conditions:
            names.append(condition.statistic)
            if isinstance(condition.against, str):
                names.append(condition.against)
        return list(dict.fromkeys([*names, *self.beside]))

    @property
    def compares_untrained(self) -> bool:
        """Whether one of its conditions compares with the untrained network."""
        bounds = [str(condition.against) for condition in self.conditions]
        return any(bound.startswith(UNTRAINED) for bound in bounds)
