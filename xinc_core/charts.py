"""The figures of the findings: what decides a claim, sorted curves, partitions, shares of variance, verdicts."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from torch import Tensor

from . import plots
from .findings.table import FINDINGS, STATISTICS


def judged(rows: list[dict], claim, clip: str):
    """What decides a claim on one clip: a panel per condition, layers along, one colour per rule, interval over fits.

    Grey bar: what it must exceed (or stay below); hollow: the untrained network. rows : of the findings table, as text.
    """
    plots.theme()
    own = [r for r in rows if (r["finding"], r["clip"]) == (claim.finding, clip) and r["rule"] in plots.RULE_COLORS]
    layers = list(dict.fromkeys(r["layer"] for r in own if r["layer"] != "all"))
    cell = {(r["layer"], r["rule"], r["statistic"]): r for r in own}
    measured = {r["statistic"] for r in own}
    conditions = [c for c in claim.conditions if c.statistic in measured]
    drawn = {c: [y for y in layers if any((y, r, c.statistic) in cell for r in plots.RULE_NAMES)] for c in conditions}
    widths = [max(3.4, 0.6 * len(names)) for names in drawn.values()]
    fig, axes = plt.subplots(1, len(conditions), figsize=(sum(widths), 3.6), width_ratios=widths, squeeze=False)
    for ax, width, (condition, names) in zip(axes[0], widths, drawn.items()):
        for number, rule in enumerate(plots.RULE_NAMES):
            spots = [(x + 0.24 * number - 0.12, layer) for x, layer in enumerate(names)]
            _points(ax, [(x, cell.get((y, rule, condition.statistic))) for x, y in spots], plots.RULE_COLORS[rule])
            if isinstance(condition.against, str):
                bars = [(x, cell.get((y, rule, condition.against))) for x, y in spots]
                ax.plot(*_xy(bars), "_", color="0.35", ms=13, mew=2.5)
        if not isinstance(condition.against, str):
            ax.axhline(condition.against, color="0.35", lw=1.5, ls="--")
        ax.axhline(0, color="0.85", lw=0.8, zorder=0)
        low, high = ax.get_ylim()
        for number, rule in enumerate(plots.RULE_NAMES):
            bare = [(x, cell.get((y, rule, f"untrained_{condition.statistic}"))) for x, y in enumerate(names)]
            near = [y for y in _xy(bare)[1] if 1.5 * low - 0.5 * high < y < 1.5 * high - 0.5 * low]
            low, high = min([low, *near]), max([high, *near])  # an untrained ratio of noise to noise does not set the scale
            ax.plot(*_xy([(x + 0.24 * number - 0.12, row) for x, row in bare]), "o", mfc="none",
                    mec=plots.RULE_COLORS[rule], ms=5)  # fmt: skip
        ax.set_ylim(low, high + 0.03 * (high - low))
        against = condition.against if isinstance(condition.against, str) else f"{condition.against:g}"
        sign, known = (
            "above" if condition.above else "below",
            STATISTICS.get(against.removeprefix("untrained_"), against),
        )
        known = f"untrained: {known}" if against.startswith("untrained_") else known
        ax.set(xticks=range(len(names)), xticklabels=names, xlim=(-0.5, len(names) - 0.5))
        ax.set_ylabel(textwrap.fill(STATISTICS[condition.statistic], 34), fontsize="small")
        ax.set_title(textwrap.fill(f"holds {sign}: {known}", int(10.5 * width)), fontsize="small")
        ax.tick_params(axis="x", rotation=30)
    marks = [
        plt.Line2D([], [], color=plots.RULE_COLORS[r], marker="o", ls="", label=plots.RULE_NAMES[r])
        for r in ("paper", "first_order")
    ]
    marks += [plt.Line2D([], [], color="0.5", marker="o", mfc="none", ls="", label="untrained network")]
    marks += [plt.Line2D([], [], color="0.35", marker="_", ms=13, mew=2.5, ls="", label="threshold or null")]
    fig.legend(handles=marks, loc="outside lower center", ncols=4 if len(conditions) > 1 else 2, frameon=False, fontsize="small")
    fig.suptitle(f"{FINDINGS[claim.finding].capitalize()}? · {clip}", fontsize="medium")
    return fig


def _points(ax, spots, color: str) -> None:
    spots = [(x, row) for x, row in spots if row]
    for x, row in spots:
        if row["low"]:
            ax.plot([x, x], [float(row["low"]), float(row["high"])], color=color, lw=2.2, solid_capstyle="butt")
    ax.plot(*_xy(spots), "o", color=color, ms=5.5)


def _xy(spots):
    spots = [(x, float(row["value"])) for x, row in spots if row]
    return [x for x, _ in spots], [y for _, y in spots]


def curves(found: dict[str, Tensor], ax: plt.Axes, colors: dict, title: str = "", **axes) -> plt.Axes:
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
    """A partition (H, W) drawn over the picture: every region in its mean colour, or only its borders where that hides it."""
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
    """Shapley shares of the joint explained variance as stacked bars: per family a panel, per layer a bar for each rule."""
    plots.theme()
    own = {(r["family"], r["layer"], r["rule"], r["statistic"]): r["value"] for r in rows if r["clip"] == clip}
    families = list(dict.fromkeys(k[0] for k in own if k[3] == "r2_joint"))
    fig, axes = plt.subplots(1, len(families), figsize=(5.2 * len(families), 3.4), sharey=True, squeeze=False)
    for ax, family in zip(axes[0], families):
        layers = list(dict.fromkeys(k[1] for k in own if k[0] == family and k[1] != "all"))
        bars = [(layer, rule) for layer in layers for rule in plots.RULE_NAMES if (family, layer, rule, "r2_joint") in own]
        base = np.zeros(len(bars))
        for part in ("grid", "RGB", "Gabor", "instances"):
            shares = np.array([float(own.get((family, *bar, f"shapley_{part}"), 0)) for bar in bars])
            joint = np.array([float(own[(family, *bar, "r2_joint")]) for bar in bars])
            ax.bar(range(len(bars)), shares * joint, 0.8, base, color=plots.PARTITION_COLORS[part], label=part)
            base = base + shares * joint
        names = [f"{layer}, {plots.RULE_NAMES[rule].removesuffix(' rule')}" for layer, rule in bars]
        ax.set_xticks(range(len(bars)), names, rotation=60, ha="right", fontsize=8)
        ax.set_title(f"{family}, {clip}")
    axes[0, 0].set_ylabel("explained variance of a map\n(adjusted R², mean over neurons)", fontsize="small")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return fig


def verdicts(rows: list[dict], ax: plt.Axes | None = None) -> plt.Axes:
    """The table of verdicts as a picture: findings down, clip, family and rule across."""
    own = [r for r in rows if r["layer"] == "all" and r["rule"] in plots.RULE_NAMES]
    columns = sorted({(r["family"], r["clip"], r["rule"]) for r in own}, key=lambda c: (c[0], c[1], c[2] != "paper"))
    claims = [f for f in FINDINGS if any(r["finding"] == f for r in own)]
    cell = {(r["finding"], r["family"], r["clip"], r["rule"]): r["verdict"] for r in own}
    if ax is None:
        plots.theme()
        ax = plt.subplots(figsize=(3.6 + 0.95 * len(columns), 0.62 * len(claims) + 1.4))[1]
    for y, claim in enumerate(claims):
        for x, column in enumerate(columns):
            verdict = cell.get((claim, *column))
            if verdict:
                ax.add_patch(plt.Rectangle((x, y), 0.96, 0.92, color=plots.VERDICT_COLORS[verdict], ec="0.6", lw=0.6))
                ax.text(x + 0.48, y + 0.46, verdict.replace(" ", "\n"), ha="center", va="center", fontsize=8)
    names = [f"{f}\n{c}\n{plots.RULE_NAMES[r].removesuffix(' rule')}" for f, c, r in columns]
    ax.set(xlim=(0, len(columns)), ylim=(len(claims), 0))
    ax.set_xticks(np.arange(len(columns)) + 0.48, names, fontsize=8)
    ax.set_yticks(np.arange(len(claims)) + 0.46, [FINDINGS[c] for c in claims], fontsize=9)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax


def across_videos(counted: dict[tuple[str, str, str], dict[str, int]], n_videos: int):
    """How many videos say what of each claim: findings down, a panel per family and rule, stacked bars.

    counted : (finding, family, rule) → verdict → number of videos.
    """
    plots.theme()
    panels = sorted({key[1:] for key in counted}, key=lambda p: (p[0], list(plots.RULE_NAMES).index(p[1])))
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
    axes[0, 0].set_yticks(range(len(claims)), [textwrap.fill(FINDINGS[c], 34) for c in claims], fontsize=8)
    fig.supxlabel("videos", fontsize=8)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return fig
