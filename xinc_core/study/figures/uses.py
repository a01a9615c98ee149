"""Figures of the uses: what pruning costs, what a file weighs beside a codec's, which faults are
found.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from xinc_core.study.findings.bits import BITS
from xinc_core.study.findings.pruning import SHARES, TUNED
from xinc_core.tracing.rules import RULE_ORDER

from . import theme as plots

ORDER_STYLES = {
    "weight norm": ("0.45", "--"),
    "activation norm": ("0.45", ":"),
    "random": ("0.75", "-"),
}
CODEC_STYLES = {"H.264": "s", "JPEG": "^", "WebP": "v"}


def pruning(found: dict[str, dict[str, dict]], title: str):
    """PSNR against the share of neurons removed, least important first: a panel per layer, and one
    of all layers together.

    found : rule → layer → what ``findings.pruning`` stores. Open circles: trained further after
    pruning.
    """
    plots.theme()
    layers, shares = list(next(iter(found.values()))), [0, *(100 * s for s in SHARES)]
    fig, axes = plt.subplots(
        1, len(layers), figsize=(2.6 * len(layers), 3.4), sharey=True, squeeze=False
    )
    for ax, layer in zip(axes[0], layers):
        some = {
            name: values for rules in found.values() for name, values in rules[layer].items()
        }  # the same under every rule
        for order, (color, style) in ORDER_STYLES.items():
            name = order.replace(" ", "_")
            ax.plot(shares, some[f"{name}_curve"], color=color, ls=style, label=order)
            if f"{name}_tuned" in some:
                ax.plot(
                    100 * np.array(TUNED), some[f"{name}_tuned"], "o", mfc="none", color=color, ms=5
                )
        for rule, per_layer in found.items():
            ax.plot(
                shares,
                per_layer[layer]["curve"],
                color=plots.RULE_COLORS[rule],
                label=f"totals, {plots.RULE_NAMES[rule]}",
            )
            if "tuned" in per_layer[layer]:
                ax.plot(
                    100 * np.array(TUNED),
                    per_layer[layer]["tuned"],
                    "o",
                    mfc="none",
                    color=plots.RULE_COLORS[rule],
                    ms=5,
                )
        ax.set(
            title="all layers" if layer == title.split(",")[0] else layer,
            xlabel="neurons removed (%)",
        )
    axes[0, 0].set_ylabel("PSNR (dB)")
    handles, names = axes[0, 0].get_legend_handles_labels()
    handles.append(plt.Line2D([], [], color="0.3", marker="o", mfc="none", ls=""))
    fig.legend(
        handles,
        [*names, "tuned afterwards"],
        loc="outside lower center",
        ncols=6,
        frameon=False,
        fontsize="small",
    )
    fig.suptitle(title, fontsize="medium")
    return fig


def bits(found: dict[str, dict[str, dict]], titles: dict[str, str]):
    """PSNR against bits per weight, the same for every tensor and shared out by contribution;
    found : panel → rule → stored.
    """
    fig, axes = _panels(len(found))
    for ax, (panel, rules) in zip(axes.flat, found.items()):
        for number, (rule, told) in enumerate(rules.items()):
            if not number:
                ax.plot(BITS, told["equal"], "o-", color="0.3", label="the same for every tensor")
            ax.plot(
                BITS,
                told["guided"],
                "o--",
                color=plots.RULE_COLORS[rule],
                label=f"by the {plots.RULE_NAMES[rule]}",
            )
        ax.set(xlabel="bits per weight", title=titles[panel], xticks=BITS)
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize="small",
    )
    return fig


def rates(found: dict[str, dict]):
    """Rate–distortion: bits per pixel of the whole file (log) against PSNR, the network beside
    codecs; panel → stored.
    """
    fig, axes = _panels(len(found))
    for ax, (panel, told) in zip(axes.flat, found.items()):
        color = plots.family_color(panel.split()[0])
        ax.plot(*told["rates"], "o-", color=color, label="network, 8 to 4 bits")
        if "rates_pruned" in told:
            ax.plot(
                *told["rates_pruned"], "o--", mfc="none", color=color, label="40 % pruned, tuned"
            )
        for name, marker in CODEC_STYLES.items():
            if f"rates_{name}" in told:
                ax.plot(*told[f"rates_{name}"], f"{marker}-", color="0.4", ms=4, lw=1, label=name)
        ax.set(xscale="log", xlabel="bits per pixel, every byte counted", title=panel)
        ax.legend(frameon=False, fontsize="small", loc="upper left")
    return fig


def _panels(n: int):
    """A figure of n panels of PSNR, at most four in a row and as many in each: (fig, axes)."""
    fig, axes = plots.panels(n, -(-n // -(-n // 4)), (3.6, 3.2))
    for ax in axes[:, 0]:
        ax.set_ylabel("PSNR (dB)")
    return fig, axes


def faults(rows: list[dict], clip: str):
    """Share of planted faults whose neuron is among the first ten suspects, by rule, by weight
    norm and by chance.
    """
    plots.theme()
    cell = {
        (r["family"], r["layer"], r["rule"], r["statistic"]): r for r in rows if r["clip"] == clip
    }
    spots = list(dict.fromkeys((k[0], k[1]) for k in cell if k[3] == "fault_top10"))
    fig, ax = plt.subplots(figsize=(max(0.82 * len(spots), 4) + 2.2, 3.3))
    for number, rule in enumerate(RULE_ORDER):
        own = [cell[(*spot, rule, "fault_top10")] for spot in spots]
        x = np.arange(len(spots)) + 0.3 * number - 0.15
        ax.bar(
            x,
            [100 * float(r["value"]) for r in own],
            0.28,
            color=plots.RULE_COLORS[rule],
            label=plots.RULE_NAMES[rule],
        )
        for spot, row in zip(x, own):
            if row["low"]:
                ends = [max(0, 100 * float(row["low"])), min(100, 100 * float(row["high"]))]
                ax.plot([spot, spot], ends, color="0.2", lw=1.4)
    for name, style, text in (
        ("norm_fault_top10", "_", "weight norm"),
        ("chance_fault_top10", "x", "chance"),
    ):
        values = [100 * float(cell[(*spot, "paper", name)]["value"]) for spot in spots]
        ax.plot(
            range(len(spots)),
            values,
            style,
            color="0.1",
            ms=14 if style == "_" else 5,
            mew=2,
            ls="",
            label=text,
        )
    ax.axhline(50, color="0.35", lw=1.2, ls="--", label="threshold")
    ax.set(
        xticks=range(len(spots)),
        xticklabels=[f"{family}\n{layer}" for family, layer in spots],
        ylim=(0, 105),
    )
    ax.set(ylabel="faults found among ten (%)", title=f"Which neuron is broken? · {clip}")
    ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
