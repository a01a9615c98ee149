"""Figures of the uses: what removing neurons costs, what a file weighs beside a codec's, which
faults are found.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from xinc_core.study.findings.bits import BITS
from xinc_core.study.findings.faithfulness import REMOVED
from xinc_core.study.findings.pruning import SHARES, TUNED_SHARES
from xinc_core.tracing import RULE_NAMES, RULE_ORDER

from .maps import Stored
from .pictures import panels
from .theme import RULE_COLORS, family_color, set_theme

# Orders of neurons that no rule gives: (grey, line style), along deletion and pruning curves.
DELETION_STYLES = {
    "weight norm": ("0.55", "--"),
    "activation norm": ("0.55", ":"),
    "random": ("0.8", "-"),
}
PRUNING_STYLES = {
    "weight norm": ("0.45", "--"),
    "activation norm": ("0.45", ":"),
    "random": ("0.75", "-"),
}
CODEC_MARKERS = {"H.264": "s", "JPEG": "^", "WebP": "v"}
HOLLOW = dict(ls="", marker="o", mfc="none", ms=5)


def deletion(stored: Stored, family: str) -> plt.Figure:
    """PSNR against the share of neurons removed, most important first: a panel per layer.

    stored : rule → layer → what ``findings.faithfulness`` stores to be drawn.
    """
    set_theme()
    first, *_ = stored.values()  # the orders that no rule gives are the same under every rule
    shares = [0, *(100 * share for share in REMOVED)]
    size = (2.9 * len(first), 3.3)
    fig, axes = plt.subplots(1, len(first), figsize=size, sharey=True, squeeze=False)
    for ax, layer in zip(axes[0], first):
        for order, (grey, style) in DELETION_STYLES.items():
            ax.plot(shares, first[layer][order], color=grey, ls=style, label=order)
        for rule, by_layer in stored.items():
            label = f"totals, {RULE_NAMES[rule]}"
            ax.plot(shares, by_layer[layer]["totals"], color=RULE_COLORS[rule], label=label)
        ax.set(title=f"{family}, {layer}", xlabel="neurons removed (%)")
    axes[0, 0].set_ylabel("PSNR (dB)")
    _legend_below(fig, axes[0, 0], ncols=5)
    return fig


def pruning(stored: Stored, title: str) -> plt.Figure:
    """PSNR against the share of neurons removed, least important first: a panel per layer, and one
    of all layers together. Open circles: trained further after pruning.

    Parameters
    ----------
    stored
        rule → layer → what ``findings.pruning`` stores; under the family's name stand all layers.
    title : str
        ``family, clip``.
    """
    set_theme()
    family = title.split(",")[0]
    layers = list(next(iter(stored.values())))
    size = (2.6 * len(layers), 3.4)
    fig, axes = plt.subplots(1, len(layers), figsize=size, sharey=True, squeeze=False)
    for ax, layer in zip(axes[0], layers):
        _draw_pruning(ax, {rule: by_layer[layer] for rule, by_layer in stored.items()})
        name = "all layers" if layer == family else layer
        ax.set(title=name, xlabel="neurons removed (%)")
    axes[0, 0].set_ylabel("PSNR (dB)")
    look = dict(color="0.3", marker="o", mfc="none", ls="")
    tuned = plt.Line2D([], [], label="tuned afterwards", **look)
    _legend_below(fig, axes[0, 0], ncols=6, more=[tuned])
    fig.suptitle(title, fontsize="medium")
    return fig


def _draw_pruning(ax: plt.Axes, by_rule: dict[str, dict]) -> None:
    """The curves of one layer: in the orders that no rule gives, then in each rule's."""
    shares = [0, *(100 * share for share in SHARES)]
    tuned_shares = 100 * np.array(TUNED_SHARES)
    everything: dict = {}
    for values in by_rule.values():
        everything |= values
    for order, (grey, style) in PRUNING_STYLES.items():
        name = order.replace(" ", "_")
        ax.plot(shares, everything[f"{name}_curve"], color=grey, ls=style, label=order)
        if f"{name}_tuned" in everything:
            ax.plot(tuned_shares, everything[f"{name}_tuned"], color=grey, **HOLLOW)
    for rule, values in by_rule.items():
        color, label = RULE_COLORS[rule], f"totals, {RULE_NAMES[rule]}"
        ax.plot(shares, values["curve"], color=color, label=label)
        if "tuned" in values:
            ax.plot(tuned_shares, values["tuned"], color=color, **HOLLOW)


def bits(stored: dict[str, dict[str, dict]]) -> plt.Figure:
    """PSNR against bits per weight: the same for every tensor, and shared out by contribution.

    stored : panel's title → rule → what ``findings.bits`` stores of the network.
    """
    fig, axes = _psnr_panels(len(stored))
    for ax, (title, by_rule) in zip(axes.flat, stored.items()):
        first, *_ = by_rule.values()
        ax.plot(BITS, first["equal"], "o-", color="0.3", label="the same for every tensor")
        for rule, values in by_rule.items():
            label = f"by the {RULE_NAMES[rule]}"
            ax.plot(BITS, values["guided"], "o--", color=RULE_COLORS[rule], label=label)
        ax.set(xlabel="bits per weight", title=title, xticks=BITS)
    _legend_below(fig, axes[0, 0], ncols=3)
    return fig


def rates(stored: dict[str, dict]) -> plt.Figure:
    """Rate and distortion: bits per pixel of the whole file, on a log axis, against PSNR, the
    network beside codecs.

    stored : panel's title, which begins with the family → what ``findings.bits`` stores.
    """
    fig, axes = _psnr_panels(len(stored))
    for ax, (title, values) in zip(axes.flat, stored.items()):
        color = family_color(title.split()[0])
        ax.plot(*values["rates"], "o-", color=color, label="network, 8 to 4 bits")
        if "rates_pruned" in values:
            label = "40 % pruned, tuned"
            ax.plot(*values["rates_pruned"], "o--", mfc="none", color=color, label=label)
        for codec, marker in CODEC_MARKERS.items():
            if f"rates_{codec}" in values:
                rate = values[f"rates_{codec}"]
                ax.plot(*rate, f"{marker}-", color="0.4", ms=4, lw=1, label=codec)
        ax.set(xscale="log", xlabel="bits per pixel, every byte counted", title=title)
        ax.legend(frameon=False, fontsize="small", loc="upper left")
    return fig


def faults(table: pd.DataFrame, clip: str, ax: plt.Axes | None = None) -> plt.Axes:
    """Share of planted faults whose neuron is among the first ten suspects, by rule, by weight norm
    and by chance.

    table : the findings table.
    """
    own = table[table["clip"] == clip]
    row_of = {(r.family, r.layer, r.rule, r.statistic): r for r in own.itertuples()}
    counted = own[own.statistic == "fault_top10"]
    spots = list(dict.fromkeys(zip(counted.family, counted.layer)))
    if ax is None:
        set_theme()
        _, ax = plt.subplots(figsize=(max(0.82 * len(spots), 4) + 2.2, 3.3))
    for number, rule in enumerate(RULE_ORDER):
        bars = [row_of[(*spot, rule, "fault_top10")] for spot in spots]
        x = np.arange(len(spots)) + 0.3 * number - 0.15
        _draw_bars(ax, x, bars, rule)
    for statistic, look in (
        ("norm_fault_top10", dict(marker="_", ms=14, label="weight norm")),
        ("chance_fault_top10", dict(marker="x", ms=5, label="chance")),
    ):
        shares = [100 * row_of[(*spot, "paper", statistic)].value for spot in spots]
        ax.plot(range(len(spots)), shares, color="0.1", mew=2, ls="", **look)
    ax.axhline(50, color="0.35", lw=1.2, ls="--", label="threshold")
    names = [f"{family}\n{layer}" for family, layer in spots]
    ax.set(xticks=range(len(spots)), xticklabels=names, ylim=(0, 105))
    ax.set(ylabel="faults found among ten (%)", title=f"Which neuron is broken? · {clip}")
    ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def _draw_bars(ax: plt.Axes, x: np.ndarray, rows: list, rule: str) -> None:
    """Bars in percent, with their intervals over fits cut at 0 and 100."""
    heights = [100 * row.value for row in rows]
    ax.bar(x, heights, 0.28, color=RULE_COLORS[rule], label=RULE_NAMES[rule])
    for place, row in zip(x, rows):
        if not np.isnan(row.low):
            ends = [max(0, 100 * row.low), min(100, 100 * row.high)]
            ax.plot([place, place], ends, color="0.2", lw=1.4)


def _psnr_panels(n: int) -> tuple[plt.Figure, plt.Axes]:
    """A figure of n panels of PSNR, at most four in a row and as many in each: (fig, axes)."""
    rows = -(-n // 4)
    fig, axes = panels(n, -(-n // rows), (3.6, 3.2))
    for ax in axes[:, 0]:
        ax.set_ylabel("PSNR (dB)")
    return fig, axes


def _legend_below(fig: plt.Figure, ax: plt.Axes, ncols: int, more: list | None = None) -> None:
    """One legend for all panels, below them: what ``ax`` names, and ``more``."""
    handles, names = ax.get_legend_handles_labels()
    handles = [*handles, *(more or [])]
    names = [*names, *(handle.get_label() for handle in more or [])]
    look = dict(frameon=False, fontsize="small")
    fig.legend(handles, names, loc="outside lower center", ncols=ncols, **look)
