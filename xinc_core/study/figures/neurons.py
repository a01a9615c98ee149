"""Figures of neurons: what instances receive from them, groups of them, and how their maps
compare with the truth.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from torch import Tensor

from xinc_core.study.findings.faithfulness import REMOVED
from xinc_core.study.statistics.ranks import rank_correlation
from xinc_core.study.statistics.scene import Scene
from xinc_core.tracing.canvas import Canvas, trace
from xinc_core.tracing.maps import LayerMaps
from xinc_core.tracing.rules import RULE_ORDER, RULES

from . import theme as plots

MARKERS = "osD^v<>pXP*h"
CATEGORIES = plt.get_cmap("tab20").colors


def instances_over_time(models_shares: dict[str, Tensor], scene: Scene, columns: int = 2):
    """Contribution per instance and frame, a panel per neuron; colour by category, marker by
    instance, gaps where absent.

    models_shares : panel title → (T, instances), of which region 0, "other", is not drawn.
    """
    plots.theme()
    rows = -(-len(models_shares) // columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=(5.2 * columns, 2.3 * rows + 0.6), sharex=True, squeeze=False
    )
    color, marker = _styles(scene)
    for ax, (title, shares) in zip(axes.flat, models_shares.items()):
        for number, name in enumerate(scene.partitions["instances"].names[1:], 1):
            line = 1000 * shares[:, number].numpy()
            if np.isfinite(line).any():
                ax.plot(line, color=color[name], marker=marker[name], ms=3, lw=1, markevery=4)
        ax.set(title=title, xlabel="frame", ylabel="share (‰)")
    return _categories(fig, scene)


def per_instance(canvas: Canvas, scene: Scene, n: int = 2, seed: int = 0):
    """For n sampled neurons of each layer: mean |C| in every instance over its mean in the
    picture, one frame.
    """
    plots.theme()
    random, part = torch.Generator().manual_seed(seed), scene.partitions["instances"]
    labels = part.labels[canvas.frame]
    shown = [i for i in labels.unique().tolist() if i]
    fig, axes = plt.subplots(
        len(canvas.layers),
        1,
        figsize=(10, 1.7 * len(canvas.layers) + 1.6),
        sharex=True,
        squeeze=False,
    )
    color, _ = _styles(scene)
    for ax, layer in zip(axes[:, 0], canvas):
        for k, neuron in enumerate(torch.randint(len(layer), (n,), generator=random).tolist()):
            values = layer[neuron].abs()
            means = [
                float(values[labels == i].mean() / values.mean().clamp_min(1e-30)) for i in shown
            ]
            colors = [color[part.names[i]] for i in shown]
            ax.bar(
                np.arange(len(shown)) + 0.4 * k - 0.2,
                means,
                0.36,
                color=colors,
                alpha=1 - 0.45 * k,
                label=f"neuron {neuron}",
            )
        ax.axhline(1, color="0.35", lw=1, ls="--")
        ax.set(
            ylabel="× picture's mean",
            title=f"{layer.name}, two neurons, {plots.RULE_NAMES[canvas.rule]}",
        )
    axes[-1, 0].set_xticks(
        range(len(shown)), [part.names[i] for i in shown], rotation=70, ha="right", fontsize=8
    )
    return fig


def _styles(scene: Scene) -> tuple[dict[str, tuple], dict[str, str]]:
    """Colour of an instance by its category, marker by its number in it."""
    things = [s for s in scene.clip.segments.values() if s.is_thing]
    kinds = list(dict.fromkeys(s.category for s in things))
    count: dict[str, int] = dict.fromkeys(kinds, 0)
    color, marker = {}, {}
    for s in things:
        color[s.name], marker[s.name] = (
            CATEGORIES[kinds.index(s.category) % 20],
            MARKERS[count[s.category] % len(MARKERS)],
        )
        count[s.category] += 1
    return color, marker


def _categories(fig, scene: Scene):
    color, _ = _styles(scene)
    kinds = {s.category: color[s.name] for s in scene.clip.segments.values() if s.is_thing}
    handles = [plt.Line2D([], [], color=c, marker="o", ms=4, label=k) for k, c in kinds.items()]
    fig.legend(handles=handles, loc="outside right upper", frameon=False, fontsize="small")
    return fig


def groups_of(
    layer: LayerMaps, numbers: np.ndarray, group: np.ndarray, places: np.ndarray, rule: str
):
    """Profiles in the plane, coloured by group; then for each group its mean map and one
    neuron's.
    """
    plots.theme()
    kinds, colors = range(group.max() + 1), sns.color_palette("colorblind", group.max() + 1)
    fig = plt.figure(figsize=(13, 3.3))
    left, right = fig.subfigures(1, 2, width_ratios=(1, 2.6))
    ax = left.subplots()
    for k in kinds:
        ax.plot(*places[group == k].T, ".", ms=4, color=colors[k], label=f"group {k}")
    ax.set(xticks=[], yticks=[], title=f"{layer.name}: {len(group)} profiles (UMAP)")
    ax.legend(frameon=False, fontsize="x-small", markerscale=2)
    axes = right.subplots(2, len(kinds))
    for k, column in zip(kinds, axes.T):
        mine = numbers[group == k]
        few = torch.stack([layer[int(i)].abs() for i in mine[:40]])
        low, high = few.amin((1, 2), keepdim=True), few.amax((1, 2), keepdim=True)
        plots.magnitude(
            ((few - low) / (high - low).clamp_min(1e-30)).mean(0),
            column[0],
            f"group {k}: {len(mine)}\nmean of {len(few)}",
        )
        plots.magnitude(few[0], column[1], f"neuron {int(mine[0])}")
        for a in column:
            plt.setp(a.spines.values(), visible=True, color=colors[k], lw=2)
    right.supxlabel(f"{rule}; each map on its own scale", fontsize="small", color="0.35")
    return fig


def one_space(places: np.ndarray, keys: list[tuple[str, int, str]]):
    """The same points by architecture, by layer and by seed; keys : (family, seed, layer) of
    every point.
    """
    plots.theme()
    fig, axes = plt.subplots(1, 3, figsize=(12, 4.4))
    for number, (ax, title) in enumerate(zip(axes, ("architecture", "seed", "layer"))):
        names = sorted({k[number] for k in keys}, key=str if number != 1 else int)
        palette = (
            dict(zip(names, sns.color_palette("colorblind", len(names))))
            if title == "seed"
            else plots.layer_colors(names)
        )
        palette = {n: plots.family_color(n) for n in names} if title == "architecture" else palette
        order = np.random.default_rng(0).permutation(
            len(keys)
        )  # no name is painted over all others
        ax.scatter(*places[order].T, c=[palette[keys[i][number]] for i in order], s=4, lw=0)
        handles = [
            plt.Line2D([], [], color=palette[n], marker="o", ls="", ms=5, label=str(n))
            for n in names
        ]
        ax.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            ncols=4,
            frameon=False,
            fontsize="x-small",
        )
        ax.set(xticks=[], yticks=[], title=f"by {title} (UMAP)")
    return fig


def agreement(model, clip, frame: int, layer: str, n: int = 40, seed: int = 0):
    """The neuron whose map agrees best with its ablation under the paper's rule, and the one that
    agrees worst: rows of frame, paper, first order, ablation."""
    canvas = trace(model, frame)
    seen = {rule: canvas.with_rule(rule)[layer] for rule in RULES}
    chosen = torch.randperm(len(seen["paper"]), generator=torch.Generator().manual_seed(seed))[:n]
    maps = {rule: maps.only(chosen).tensor().abs() for rule, maps in seen.items()}
    agree = [
        [rank_correlation(a, b) for a, b in zip(maps[rule], maps["ablation"])]
        for rule in RULE_ORDER
    ]
    fig, axes = plots.grid(2, 4, clip.size, width=2.6)
    for row, k in zip(axes, (int(np.argmax(agree[0])), int(np.argmin(agree[0])))):
        plots.image(clip.frames[canvas.frame], row[0], f"{layer}, neuron {int(chosen[k])}")
        for ax, rule, value in zip(row[1:], maps, (agree[0][k], agree[1][k], 1.0)):
            name = (
                f"{plots.RULE_NAMES[rule]}, correlation {value:.2f}"
                if rule != "ablation"
                else "ablation, the truth"
            )
            plots.magnitude(maps[rule][k], ax, name)
    return fig


def deletion(found: dict[str, dict[str, dict]], family: str):
    """PSNR against the share of neurons removed, most important first; found : rule → layer →
    score → curve.
    """
    plots.theme()
    layers, shares = list(next(iter(found.values()))), [0, *(100 * s for s in REMOVED)]
    fig, axes = plt.subplots(
        1, len(layers), figsize=(2.9 * len(layers), 3.3), sharey=True, squeeze=False
    )
    greys = {
        "weight norm": ("0.55", "--"),
        "activation norm": ("0.55", ":"),
        "random": ("0.8", "-"),
    }
    for ax, layer in zip(axes[0], layers):
        for score, (color, style) in greys.items():
            ax.plot(
                shares, next(iter(found.values()))[layer][score], color=color, ls=style, label=score
            )
        for rule, layers_found in found.items():
            ax.plot(
                shares,
                layers_found[layer]["totals"],
                color=plots.RULE_COLORS[rule],
                label=f"totals, {plots.RULE_NAMES[rule]}",
            )
        ax.set(title=f"{family}, {layer}", xlabel="neurons removed (%)")
    axes[0, 0].set_ylabel("PSNR (dB)")
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=5,
        frameon=False,
        fontsize="small",
    )
    return fig
