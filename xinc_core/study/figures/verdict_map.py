"""All verdicts in one picture: on a few clips, and counted over many videos."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from xinc_core.study.answers.table import verdicts_over_layers, where_it_holds
from xinc_core.study.findings.registry import claims as all_claims
from xinc_core.tracing import RULE_NAMES, RULE_ORDER

from .theme import VERDICT_COLORS, set_theme

DARK = ("reproduced", "not reproduced")  # boxes with white letters
BOX = 0.94  # width of a cell's boxes together; a cell is one wide and one high
BOX_HEIGHT = 0.9


def verdicts(table: pd.DataFrame) -> plt.Figure:
    """The verdicts as a picture: claims down, families and rules across, a box per clip; beside
    them, where each claim holds.

    table : the findings table.
    """
    set_theme()
    own = verdicts_over_layers(table)
    own = own[own.rule.isin(RULE_NAMES)]
    clips = list(dict.fromkeys(own["clip"]))
    columns = [(family, rule) for family in dict.fromkeys(own.family) for rule in RULE_ORDER]
    claims = [name for name in all_claims() if (own.finding == name).any()]
    size = (3.4 + 1.3 * (len(columns) + 2), 0.5 * len(claims) + 1.7)
    fig, ax = plt.subplots(figsize=size)
    for y, claim in enumerate(claims):
        for x, (family, rule) in enumerate(columns):
            cell = own[(own.finding == claim) & (own.family == family) & (own.rule == rule)]
            verdict_of = dict(zip(cell["clip"], cell.verdict))
            in_order = {clip: verdict_of[clip] for clip in clips if clip in verdict_of}
            _draw_cell(ax, x, y, in_order, named=len(clips) > 1)
    _draw_where(ax, own, claims, len(columns))
    _label(ax, columns, claims)
    fig.legend(
        handles=_legend(),
        loc="outside lower center",
        ncols=len(VERDICT_COLORS),
        frameon=False,
        fontsize=8,
    )
    return fig


def _draw_cell(ax: plt.Axes, x: int, y: int, verdict_of: dict[str, str], named: bool) -> None:
    """A box per clip, side by side, with the clip's name where there are several."""
    for i, (clip, verdict) in enumerate(verdict_of.items()):
        width = BOX / len(verdict_of)
        look = dict(fc=VERDICT_COLORS[verdict], ec="0.5", lw=0.6)
        ax.add_patch(plt.Rectangle((x + i * width, y), width, BOX_HEIGHT, **look))
        if named:
            text = textwrap.shorten(clip, 12, placeholder="…")
            color = "white" if verdict in DARK else "0.2"
            look = dict(ha="center", va="center", fontsize=6.5, color=color)
            ax.text(x + (i + 0.5) * width, y + BOX_HEIGHT / 2, text, **look)


def _draw_where(ax: plt.Axes, own: pd.DataFrame, claims: list[str], x: int) -> None:
    """From column ``x`` on, per rule: the families in which a claim holds."""
    where = where_it_holds(own)
    for y, claim in enumerate(claims):
        for i, rule in enumerate(RULE_ORDER):
            text = textwrap.fill(where.get((claim, rule), "–"), 20)
            look = dict(ha="center", va="center", fontsize=8)
            ax.text(x + i + BOX / 2, y + BOX_HEIGHT / 2, text, **look)


def _label(ax: plt.Axes, columns: list[tuple[str, str]], claims: list[str]) -> None:
    names = [f"{family}\n{RULE_NAMES[rule]}" for family, rule in columns]
    names += [f"holds for\n{RULE_NAMES[rule]}" for rule in RULE_ORDER]
    ax.set(xlim=(0, len(names)), ylim=(len(claims), 0))
    ax.set_xticks(np.arange(len(names)) + BOX / 2, names, fontsize=8)
    sentences = [all_claims()[claim].text for claim in claims]
    ax.set_yticks(np.arange(len(claims)) + BOX_HEIGHT / 2, sentences, fontsize=9)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)


def _legend() -> list[plt.Rectangle]:
    return [
        plt.Rectangle((0, 0), 1, 1, fc=color, ec="0.5", lw=0.6, label=verdict)
        for verdict, color in VERDICT_COLORS.items()
    ]


def across_videos(counted: dict[tuple[str, str, str], dict[str, int]], n_videos: int) -> plt.Figure:
    """How many videos say what of each claim: claims down, a panel per family and rule, stacked
    bars.

    counted : (claim, family, rule) → verdict → number of videos.
    """
    set_theme()
    rules = list(RULE_NAMES)
    columns = sorted({key[1:] for key in counted}, key=lambda c: (c[0], rules.index(c[1])))
    claims = [name for name in all_claims() if any(key[0] == name for key in counted)]
    size = (2.6 + 1.35 * len(columns), 1.5 + 0.38 * len(claims))
    fig, axes = plt.subplots(1, len(columns), figsize=size, sharey=True, squeeze=False)
    for ax, (family, rule) in zip(axes[0], columns):
        cells = [counted.get((claim, family, rule), {}) for claim in claims]
        _stack(ax, cells, n_videos)
        ax.set_title(f"{family}\n{RULE_NAMES[rule].removesuffix(' rule')}", fontsize=8)
    sentences = [textwrap.fill(all_claims()[claim].text, 34) for claim in claims]
    axes[0, 0].set_yticks(range(len(claims)), sentences, fontsize=8)
    fig.supxlabel("videos", fontsize=8)
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize=8,
    )
    return fig


def _stack(ax: plt.Axes, cells: list[dict[str, int]], n_videos: int) -> None:
    """Bars of the numbers of videos, one per claim, stacked verdict by verdict."""
    base = np.zeros(len(cells))
    for verdict, color in VERDICT_COLORS.items():
        n = np.array([cell.get(verdict, 0) for cell in cells])
        ax.barh(range(len(cells)), n, 0.7, base, color=color, ec="0.5", lw=0.5, label=verdict)
        base += n
    ax.set(xlim=(0, n_videos), ylim=(len(cells) - 0.4, -0.6))
    ax.xaxis.set_major_locator(plt.MaxNLocator(3, integer=True))
    ax.tick_params(labelsize=8, length=2)
