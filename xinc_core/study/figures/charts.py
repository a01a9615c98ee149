"""The figures of the findings: what decides a claim, sorted curves, partitions, shares of
variance, verdicts.
"""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from torch import Tensor

from xinc_core.study.answers.table import FINDINGS, STATISTICS, where_it_holds
from xinc_core.tracing.rules import RULE_ORDER

from . import theme as plots


def judged(rows: list[dict], claim, clip: str):
    """What decides a claim on one clip: a panel per condition, families and layers along, a colour
    per rule, interval over fits.

    Grey bar: what it must exceed (or stay below); hollow: the untrained network. rows : of the
    findings table, as text.
    """
    own = [
        r
        for r in rows
        if (r["finding"], r["clip"]) == (claim.finding, clip) and r["rule"] in plots.RULE_COLORS
    ]
    cell = {(r["family"], r["layer"], r["rule"], r["statistic"]): r for r in own}
    conditions = [c for c in claim.conditions if any(r["statistic"] == c.statistic for r in own)]
    names = {
        c: list(dict.fromkeys(k[:2] for k in cell if k[3] == c.statistic and k[1] != "all"))
        for c in conditions
    }
    width = max(3.4, 0.42 * max(map(len, names.values())))
    across = min(len(conditions), max(1, int(15 // width)))
    fig, axes = plots.panels(len(conditions), across, (width, 3.2), 0.6)
    for ax, condition in zip(axes.flat, conditions):
        _condition(ax, condition, cell, _places(names[condition]), width)
    marks = [
        plt.Line2D([], [], color=plots.RULE_COLORS[r], marker="o", ls="", label=plots.RULE_NAMES[r])
        for r in RULE_ORDER
    ]
    marks += [
        plt.Line2D([], [], color="0.5", marker="o", mfc="none", ls="", label="untrained network")
    ]
    marks += [
        plt.Line2D(
            [], [], color="0.35", marker="_", ms=9, mew=2.5, ls="", label="threshold or null"
        )
    ]
    fig.legend(
        handles=marks,
        loc="outside lower center",
        ncols=4 if across * width > 5 else 2,
        frameon=False,
        fontsize="small",
    )
    fig.suptitle(f"{FINDINGS[claim.finding].capitalize()}? · {clip}", fontsize="medium")
    return fig


def _places(names: list[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Where (family, layer) stands along the axis: families together, a gap between them."""
    order = list(dict.fromkeys(family for family, _ in names))
    together = sorted(names, key=lambda name: order.index(name[0]))
    return {name: i + 0.7 * order.index(name[0]) for i, name in enumerate(together)}


def _condition(
    ax: plt.Axes, condition, cell: dict, place: dict[tuple[str, str], float], width: float
) -> None:
    """One panel of ``judged``: a statistic in every layer, and what it is compared with."""
    spots = {
        rule: [(x + 0.24 * i - 0.12, (*name, rule)) for name, x in place.items()]
        for i, rule in enumerate(RULE_ORDER)
    }
    for rule, at in spots.items():
        _points(
            ax,
            [(x, cell.get((*key, condition.statistic))) for x, key in at],
            plots.RULE_COLORS[rule],
        )
        if isinstance(condition.against, str):
            ax.plot(
                *_xy([(x, cell.get((*key, condition.against))) for x, key in at]),
                "_",
                color="0.35",
                ms=9,
                mew=2.5,
            )
    if not isinstance(condition.against, str):
        ax.axhline(condition.against, color="0.35", lw=1.5, ls="--")
    ax.axhline(0, color="0.85", lw=0.8, zorder=0)
    low, high = ax.get_ylim()
    for rule, at in spots.items():
        bare = _xy([(x, cell.get((*key, f"untrained_{condition.statistic}"))) for x, key in at])
        near = [y for y in bare[1] if 1.5 * low - 0.5 * high < y < 1.5 * high - 0.5 * low]
        low, high = (
            min([low, *near]),
            max([high, *near]),
        )  # an untrained ratio of noise to noise does not set the scale
        ax.plot(*bare, "o", mfc="none", mec=plots.RULE_COLORS[rule], ms=5)
    against = condition.against if isinstance(condition.against, str) else f"{condition.against:g}"
    known = STATISTICS.get(against.removeprefix("untrained_"), against)
    known = f"untrained: {known}" if against.startswith("untrained_") else known
    ax.set(xlim=(-0.6, max(place.values()) + 0.6), ylim=(low, high + 0.03 * (high - low)))
    ax.set_xticks(
        list(place.values()),
        [layer for _, layer in place],
        rotation=35,
        ha="right",
        rotation_mode="anchor",
    )
    for family in dict.fromkeys(family for family, _ in place):
        middle = np.mean([x for name, x in place.items() if name[0] == family])
        ax.text(
            middle,
            -0.27,
            family,
            ha="center",
            weight="bold",
            fontsize="small",
            transform=ax.get_xaxis_transform(),
        )
    ax.set_ylabel(textwrap.fill(STATISTICS[condition.statistic], 34), fontsize="small")
    sign = "above" if condition.above else "below"
    ax.set_title(textwrap.fill(f"holds {sign}: {known}", int(10.5 * width)), fontsize="small")


def _points(ax, spots, color: str) -> None:
    spots = [(x, row) for x, row in spots if row]
    for x, row in spots:
        if row["low"]:
            ax.plot(
                [x, x],
                [float(row["low"]), float(row["high"])],
                color=color,
                lw=2.2,
                solid_capstyle="butt",
            )
    ax.plot(*_xy(spots), "o", color=color, ms=5.5)


def _xy(spots):
    spots = [(x, float(row["value"])) for x, row in spots if row]
    return [x for x, _ in spots], [y for _, y in spots]


def curves(
    found: dict[str, Tensor], ax: plt.Axes, colors: dict, title: str = "", **axes
) -> plt.Axes:
    """Sorted curves over neurons, smallest first, one per name; x in percent of the neurons."""
    for name, values in found.items():
        ax.plot(
            np.linspace(0, 100, len(values)),
            values,
            color=colors[name],
            label=name,
            ls="--" if name == "lattice" else "-",
        )
    ax.set(xlabel="neurons, sorted (%)", title=title, **axes)
    return ax


def regions(picture: Tensor, labels: Tensor, ax: plt.Axes, title: str = "") -> plt.Axes:
    """A partition (H, W) drawn over the picture: every region in its mean colour, or only its
    borders where that hides it.
    """
    painted = torch.zeros_like(picture)
    for region in labels.unique():
        mask = labels == region
        painted[:, mask] = picture[:, mask].mean(1, keepdim=True)
    border = torch.zeros_like(labels, dtype=torch.bool)
    border[1:] |= labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    if border.float().mean() < 0.2:
        painted[:, border] = 1.0
    return plots.image(painted, ax, title)


def shapley(rows: list[dict], clip: str):
    """Shapley shares of the joint explained variance as stacked bars: per family a panel, per
    layer a bar for each rule.
    """
    own = {
        (r["family"], r["layer"], r["rule"], r["statistic"]): r["value"]
        for r in rows
        if r["clip"] == clip
    }
    families = list(dict.fromkeys(k[0] for k in own if k[3] == "r2_joint"))
    fig, axes = plots.panels(len(families), min(2, len(families)), (5.2, 3.2), sharey=True)
    for ax, family in zip(axes.flat, families):
        layers = list(dict.fromkeys(k[1] for k in own if k[0] == family and k[1] != "all"))
        bars = [
            (layer, rule)
            for layer in layers
            for rule in plots.RULE_NAMES
            if (family, layer, rule, "r2_joint") in own
        ]
        base = np.zeros(len(bars))
        for part in ("grid", "RGB", "Gabor", "instances"):
            shares = np.array(
                [float(own.get((family, *bar, f"shapley_{part}"), 0)) for bar in bars]
            )
            joint = np.array([float(own[(family, *bar, "r2_joint")]) for bar in bars])
            ax.bar(
                range(len(bars)),
                shares * joint,
                0.8,
                base,
                color=plots.PARTITION_COLORS[part],
                label=part,
            )
            base = base + shares * joint
        names = [f"{layer}, {plots.RULE_NAMES[rule].removesuffix(' rule')}" for layer, rule in bars]
        ax.set_xticks(range(len(bars)), names, rotation=60, ha="right", fontsize=8)
        ax.set_title(f"{family}, {clip}")
    fig.supylabel("explained variance of a map (adjusted R², mean over neurons)", fontsize="small")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return fig


def verdicts(rows: list[dict]):
    """The verdicts as a picture: findings down, families and rules across, a box per clip;
    beside them, where each holds.
    """
    plots.theme()
    own = [r for r in rows if r["layer"] == "all" and r["rule"] in plots.RULE_NAMES]
    clips = list(dict.fromkeys(r["clip"] for r in own))
    columns = list(
        dict.fromkeys(
            (family, rule)
            for family in dict.fromkeys(r["family"] for r in own)
            for rule in RULE_ORDER
        )
    )
    claims = [f for f in FINDINGS if any(r["finding"] == f for r in own)]
    where = where_it_holds(own)
    fig, ax = plt.subplots(figsize=(3.4 + 1.3 * (len(columns) + 2), 0.5 * len(claims) + 1.7))
    for y, claim in enumerate(claims):
        for x, column in enumerate(columns):
            found = [r for r in own if r["finding"] == claim and (r["family"], r["rule"]) == column]
            for i, row in enumerate(sorted(found, key=lambda r: clips.index(r["clip"]))):
                width = 0.94 / len(found)
                color = plots.VERDICT_COLORS[row["verdict"]]
                ax.add_patch(
                    plt.Rectangle((x + i * width, y), width, 0.9, fc=color, ec="0.5", lw=0.6)
                )
                if len(clips) > 1:
                    dark = row["verdict"] in ("reproduced", "not reproduced")
                    told = dict(
                        ha="center", va="center", fontsize=6.5, color="white" if dark else "0.2"
                    )
                    ax.text(
                        x + (i + 0.5) * width,
                        y + 0.45,
                        textwrap.shorten(row["clip"], 12, placeholder="…"),
                        **told,
                    )
        for i, rule in enumerate(RULE_ORDER):
            text = textwrap.fill(where.get((claim, rule), "–"), 20)
            ax.text(len(columns) + i + 0.47, y + 0.45, text, ha="center", va="center", fontsize=8)
    names = [f"{f}\n{plots.RULE_NAMES[r]}" for f, r in columns] + [
        f"holds for\n{plots.RULE_NAMES[r]}" for r in RULE_ORDER
    ]
    ax.set(xlim=(0, len(names)), ylim=(len(claims), 0))
    ax.set_xticks(np.arange(len(names)) + 0.47, names, fontsize=8)
    ax.set_yticks(np.arange(len(claims)) + 0.45, [FINDINGS[c] for c in claims], fontsize=9)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)
    marks = [
        plt.Rectangle((0, 0), 1, 1, fc=color, ec="0.5", lw=0.6, label=w)
        for w, color in plots.VERDICT_COLORS.items()
    ]
    fig.legend(
        handles=marks, loc="outside lower center", ncols=len(marks), frameon=False, fontsize=8
    )
    return fig


def across_videos(counted: dict[tuple[str, str, str], dict[str, int]], n_videos: int):
    """How many videos say what of each claim: findings down, a panel per family and rule, stacked
    bars.

    counted : (finding, family, rule) → verdict → number of videos.
    """
    plots.theme()
    panels = sorted(
        {key[1:] for key in counted}, key=lambda p: (p[0], list(plots.RULE_NAMES).index(p[1]))
    )
    claims = [f for f in FINDINGS if any(key[0] == f for key in counted)]
    size = (2.6 + 1.35 * len(panels), 1.5 + 0.38 * len(claims))
    fig, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for ax, panel in zip(axes[0], panels):
        base = np.zeros(len(claims))
        for verdict, color in plots.VERDICT_COLORS.items():
            n = np.array([counted.get((claim, *panel), {}).get(verdict, 0) for claim in claims])
            ax.barh(range(len(claims)), n, 0.7, base, color=color, ec="0.5", lw=0.5, label=verdict)
            base += n
        ax.set(xlim=(0, n_videos), ylim=(len(claims) - 0.4, -0.6))
        ax.set_title(f"{panel[0]}\n{plots.RULE_NAMES[panel[1]].removesuffix(' rule')}", fontsize=8)
        ax.xaxis.set_major_locator(plt.MaxNLocator(3, integer=True))
        ax.tick_params(labelsize=8, length=2)
    axes[0, 0].set_yticks(
        range(len(claims)), [textwrap.fill(FINDINGS[c], 34) for c in claims], fontsize=8
    )
    fig.supxlabel("videos", fontsize=8)
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize=8,
    )
    return fig
