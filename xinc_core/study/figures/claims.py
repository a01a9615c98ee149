"""What decides a claim on one clip: its statistics in every layer, beside what they must exceed."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from xinc_core.study.answers.table import ALL_LAYERS, statistics
from xinc_core.study.findings.claims import UNTRAINED, Claim, Condition
from xinc_core.tracing import RULE_NAMES, RULE_ORDER

from .pictures import panels
from .theme import RULE_COLORS

LAYER_WIDTH = 0.42  # inches that a layer takes along the axis
PANEL_WIDTH, PANEL_HEIGHT = 3.4, 3.2  # inches, at least
FIGURE_WIDTH = 15  # inches, at most
APART = 0.7  # between families along the axis, in layers
RULE_OFFSETS = {rule: 0.24 * i - 0.12 for i, rule in enumerate(RULE_ORDER)}  # in layers


def judged(table: pd.DataFrame, claim: Claim, clip: str) -> plt.Figure:
    """What decides a claim on one clip: a panel per condition, families and layers along, a colour
    per rule, intervals over fits.

    Grey bar or dashed line: what the statistic must exceed, or stay below. Hollow: the untrained
    network.

    Parameters
    ----------
    table : DataFrame
        The findings table.
    claim : Claim
        One of a finding's claims.
    clip : str
        The clip's name.
    """
    own = table[(table.finding == claim.name) & (table["clip"] == clip)]
    measured = Measured(own[own.rule.isin(RULE_COLORS)])
    conditions = [c for c in claim.conditions if measured.layers(c.statistic)]
    most = max(len(measured.layers(c.statistic)) for c in conditions)
    width = max(PANEL_WIDTH, LAYER_WIDTH * most)
    across = min(len(conditions), max(1, int(FIGURE_WIDTH // width)))
    fig, axes = panels(len(conditions), across, (width, PANEL_HEIGHT), 0.6)
    for ax, condition in zip(axes.flat, conditions):
        _draw_condition(ax, condition, measured, width)
    fig.legend(
        handles=_legend(),
        loc="outside lower center",
        ncols=4 if across * width > 5 else 2,
        frameon=False,
        fontsize="small",
    )
    fig.suptitle(f"{claim.text.capitalize()}? · {clip}", fontsize="medium")
    return fig


@dataclass(frozen=True)
class Point:
    """A statistic at its place along the axis, with its interval over fits; NaN where there is
    none.
    """

    x: float
    value: float
    low: float
    high: float


class Measured:
    """The rows of one claim on one clip, asked by layer, rule and statistic.

    rows : DataFrame of the findings table.
    """

    def __init__(self, rows: pd.DataFrame):
        self.rows = rows
        keys = ["family", "layer", "rule", "statistic"]
        self._row = {tuple(getattr(row, k) for k in keys): row for row in rows.itertuples()}

    def layers(self, statistic: str) -> list[tuple[str, str]]:
        """The (family, layer) in which a statistic was measured, in the table's order."""
        rows = self.rows[(self.rows.statistic == statistic) & (self.rows.layer != ALL_LAYERS)]
        return list(dict.fromkeys(zip(rows.family, rows.layer)))

    def points(self, places: dict[tuple[str, str], float], rule: str, statistic: str) -> list:
        """The :class:`Point` of every layer in ``places`` where the statistic was measured."""
        points = []
        for (family, layer), x in places.items():
            row = self._row.get((family, layer, rule, statistic))
            if row is not None:
                points.append(Point(x + RULE_OFFSETS[rule], row.value, row.low, row.high))
        return points


def _places(layers: list[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Where (family, layer) stands along the axis: families together, a gap between them."""
    families = list(dict.fromkeys(family for family, _ in layers))
    together = sorted(layers, key=lambda layer: families.index(layer[0]))
    return {layer: i + APART * families.index(layer[0]) for i, layer in enumerate(together)}


def _draw_condition(ax: plt.Axes, condition: Condition, measured: Measured, width: float) -> None:
    """One panel of :func:`judged`: a statistic in every layer, and what it is compared with."""
    places = _places(measured.layers(condition.statistic))
    for rule in RULE_ORDER:
        _draw_points(ax, measured.points(places, rule, condition.statistic), RULE_COLORS[rule])
        if isinstance(condition.against, str):
            bars = measured.points(places, rule, condition.against)
            ax.plot(*_xy(bars), "_", color="0.35", ms=9, mew=2.5)
    if not isinstance(condition.against, str):
        ax.axhline(condition.against, color="0.35", lw=1.5, ls="--")
    ax.axhline(0, color="0.85", lw=0.8, zorder=0)
    low, high = _draw_untrained(ax, places, condition.statistic, measured)
    ax.set(xlim=(-0.6, max(places.values()) + 0.6), ylim=(low, high + 0.03 * (high - low)))
    _name_layers(ax, places)
    ax.set_ylabel(textwrap.fill(statistics()[condition.statistic], 34), fontsize="small")
    sign = "above" if condition.above else "below"
    title = f"holds {sign}: {_threshold_name(condition)}"
    ax.set_title(textwrap.fill(title, int(10.5 * width)), fontsize="small")


def _draw_points(ax: plt.Axes, points: list[Point], color: str) -> None:
    for point in points:
        if not np.isnan(point.low):
            ends = [point.low, point.high]
            ax.plot([point.x] * 2, ends, color=color, lw=2.2, solid_capstyle="butt")
    ax.plot(*_xy(points), "o", color=color, ms=5.5)


def _draw_untrained(
    ax: plt.Axes, places: dict, statistic: str, measured: Measured
) -> tuple[float, float]:
    """Hollow points of the untrained networks; returns the axis' ends, which make room for those
    that are near. A ratio of noise to noise, far away, does not set the scale.
    """
    low, high = ax.get_ylim()
    for rule in RULE_ORDER:
        points = measured.points(places, rule, f"{UNTRAINED}{statistic}")
        x, y = _xy(points)
        lowest, highest = 1.5 * low - 0.5 * high, 1.5 * high - 0.5 * low
        near = [value for value in y if lowest < value < highest]
        low, high = min([low, *near]), max([high, *near])
        ax.plot(x, y, "o", mfc="none", mec=RULE_COLORS[rule], ms=5)
    return low, high


def _name_layers(ax: plt.Axes, places: dict[tuple[str, str], float]) -> None:
    """Layers as the ticks' names, their family in bold below."""
    layers = [layer for _, layer in places]
    look = dict(rotation=35, ha="right", rotation_mode="anchor")
    ax.set_xticks(list(places.values()), layers, **look)
    for family in dict.fromkeys(family for family, _ in places):
        middle = np.mean([x for name, x in places.items() if name[0] == family])
        look = dict(ha="center", weight="bold", fontsize="small")
        ax.text(middle, -0.27, family, transform=ax.get_xaxis_transform(), **look)


def _threshold_name(condition: Condition) -> str:
    """What the statistic is compared with, in words."""
    if not isinstance(condition.against, str):
        return f"{condition.against:g}"
    statistic = condition.against.removeprefix(UNTRAINED)
    name = statistics().get(statistic, statistic)
    return f"untrained: {name}" if condition.against.startswith(UNTRAINED) else name


def _legend() -> list[plt.Line2D]:
    def mark(label: str, **look) -> plt.Line2D:
        return plt.Line2D([], [], ls="", label=label, **look)

    marks = [mark(RULE_NAMES[r], color=RULE_COLORS[r], marker="o") for r in RULE_ORDER]
    marks.append(mark("untrained network", color="0.5", marker="o", mfc="none"))
    marks.append(mark("threshold or null", color="0.35", marker="_", ms=9, mew=2.5))
    return marks


def _xy(points: list[Point]) -> tuple[list[float], list[float]]:
    return [point.x for point in points], [point.value for point in points]
