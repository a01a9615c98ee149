"""Figures of neurons: what instances receive from them, groups of them, and how their maps compare
with their ablation.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from torch import Tensor, nn

from xinc_core.clips import Clip
from xinc_core.study.findings.objects import over_time
from xinc_core.study.statistics.ranks import rank_correlation
from xinc_core.study.statistics.scene import Scene
from xinc_core.tracing import RULE_NAMES, RULE_ORDER, Canvas, LayerMaps, trace

from .pictures import grid, image, magnitude
from .theme import family_color, layer_colors, set_theme

MARKERS = "osD^v<>pXP*h"
CATEGORIES = plt.get_cmap("tab20").colors
MEAN_OF = 40  # maps of a group, at most, in the mean that is drawn


def neurons_over_time(
    model: nn.Module, scene: Scene, layers: tuple[str, ...], rule: str, n: int = 2, seed: int = 0
) -> plt.Figure:
    """Contribution per instance and frame of ``n`` sampled neurons of each layer."""
    random = torch.Generator().manual_seed(seed)
    canvas = trace(model)
    panels = {}
    for layer in layers:
        neurons = torch.randint(len(canvas[layer]), (n,), generator=random).tolist()
        for neuron, shares in zip(neurons, over_time(model, scene, layer, neurons, rule)):
            panels[f"{layer}, neuron {neuron}, {RULE_NAMES[rule]}"] = shares
    return instances_over_time(panels, scene)


def instances_over_time(shares: dict[str, Tensor], scene: Scene, columns: int = 2) -> plt.Figure:
    """Contribution per instance and frame, a panel per neuron; colour by category, marker by
    instance, gaps where an instance is absent.

    shares : panel title → (T, instances), of which region 0, "other", is not drawn.
    """
    set_theme()
    rows = -(-len(shares) // columns)
    size = (5.2 * columns, 2.3 * rows + 0.6)
    fig, axes = plt.subplots(rows, columns, figsize=size, sharex=True, squeeze=False)
    color, marker = _instance_styles(scene)
    names = scene.partitions["instances"].names
    for ax, (title, values) in zip(axes.flat, shares.items()):
        for number, name in enumerate(names[1:], 1):
            line = 1000 * values[:, number].numpy()
            if np.isfinite(line).any():
                ax.plot(line, color=color[name], marker=marker[name], ms=3, lw=1, markevery=4)
        ax.set(title=title, xlabel="frame", ylabel="share (‰)")
    _legend_of_categories(fig, scene)
    return fig


def per_instance(canvas: Canvas, scene: Scene, n: int = 2, seed: int = 0) -> plt.Figure:
    """For ``n`` sampled neurons of each layer: mean |C| in every instance over its mean in the
    picture, one frame.
    """
    set_theme()
    random, part = torch.Generator().manual_seed(seed), scene.partitions["instances"]
    labels = part.labels[canvas.frame]
    shown = [i for i in labels.unique().tolist() if i]  # 0 is "other"
    names = [part.names[i] for i in shown]
    size = (10, 1.7 * len(canvas.layers) + 1.6)
    fig, axes = plt.subplots(len(canvas.layers), 1, figsize=size, sharex=True, squeeze=False)
    color, _ = _instance_styles(scene)
    for ax, layer in zip(axes[:, 0], canvas):
        neurons = torch.randint(len(layer), (n,), generator=random).tolist()
        for k, neuron in enumerate(neurons):
            values = layer[neuron].abs()
            overall = values.mean().clamp_min(1e-30)
            ratios = [float(values[labels == i].mean() / overall) for i in shown]
            look = dict(color=[color[name] for name in names], alpha=1 - 0.45 * k)
            x = np.arange(len(shown)) + 0.4 * k - 0.2
            ax.bar(x, ratios, 0.36, label=f"neuron {neuron}", **look)
        ax.axhline(1, color="0.35", lw=1, ls="--")
        title = f"{layer.name}, two neurons, {RULE_NAMES[canvas.rule]}"
        ax.set(ylabel="× picture's mean", title=title)
    axes[-1, 0].set_xticks(range(len(shown)), names, rotation=70, ha="right", fontsize=8)
    return fig


def _instance_styles(scene: Scene) -> tuple[dict[str, tuple], dict[str, str]]:
    """Colour of an instance by its category, marker by its number in it."""
    things = [segment for segment in scene.clip.segments.values() if segment.is_thing]
    categories = list(dict.fromkeys(segment.category for segment in things))
    seen = dict.fromkeys(categories, 0)
    color, marker = {}, {}
    for segment in things:
        color[segment.name] = CATEGORIES[categories.index(segment.category) % len(CATEGORIES)]
        marker[segment.name] = MARKERS[seen[segment.category] % len(MARKERS)]
        seen[segment.category] += 1
    return color, marker


def _legend_of_categories(fig: plt.Figure, scene: Scene) -> None:
    color, _ = _instance_styles(scene)
    things = [segment for segment in scene.clip.segments.values() if segment.is_thing]
    shown = {segment.category: color[segment.name] for segment in things}
    handles = [
        plt.Line2D([], [], color=c, marker="o", ms=4, label=category)
        for category, c in shown.items()
    ]
    fig.legend(handles=handles, loc="outside right upper", frameon=False, fontsize="small")


def groups_of(
    layer: LayerMaps, numbers: np.ndarray, group: np.ndarray, places: np.ndarray, rule: str
) -> plt.Figure:
    """Profiles in the plane, coloured by group; then for each group its mean map and one neuron's.

    Parameters
    ----------
    layer : LayerMaps
    numbers : (n,) array
        The neurons' numbers in the layer.
    group : (n,) array
        Their groups, from 0.
    places : (n, 2) array
        Their places in the plane.
    rule : str
        The rule's name, for the note.
    """
    set_theme()
    n_groups = int(group.max()) + 1
    colors = sns.color_palette("colorblind", n_groups)
    fig = plt.figure(figsize=(13, 3.3))
    left, right = fig.subfigures(1, 2, width_ratios=(1, 2.6))
    ax = left.subplots()
    for k in range(n_groups):
        ax.plot(*places[group == k].T, ".", ms=4, color=colors[k], label=f"group {k}")
    ax.set(xticks=[], yticks=[], title=f"{layer.name}: {len(group)} profiles (UMAP)")
    ax.legend(frameon=False, fontsize="x-small", markerscale=2)
    axes = right.subplots(2, n_groups)
    for k, column in enumerate(axes.T):
        _draw_group(column, layer, numbers[group == k], k, colors[k])
    right.supxlabel(f"{rule}; each map on its own scale", fontsize="small", color="0.35")
    return fig


def _draw_group(column, layer: LayerMaps, members: np.ndarray, k: int, color: tuple) -> None:
    """A group's mean map, and below it the map of its first neuron, framed in its colour."""
    maps = torch.stack([layer[int(i)].abs() for i in members[:MEAN_OF]])
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp_min(1e-30)
    about = f"group {k}: {len(members)}\nmean of {len(maps)}"
    magnitude(scaled.mean(0), column[0], about)
    magnitude(maps[0], column[1], f"neuron {int(members[0])}")
    for ax in column:
        plt.setp(ax.spines.values(), visible=True, color=color, lw=2)


def one_space(places: np.ndarray, keys: list[tuple[str, int, str]]) -> plt.Figure:
    """The same points by architecture, by seed and by layer.

    places : (n, 2); keys : (family, seed, layer) of every point.
    """
    set_theme()
    families, seeds, layers = (sorted(set(part)) for part in zip(*keys))
    seed_colors = sns.color_palette("colorblind", len(seeds))
    colors = {
        "architecture": {name: family_color(name) for name in families},
        "seed": dict(zip(seeds, seed_colors)),
        "layer": layer_colors(layers),
    }
    names = {"architecture": families, "seed": seeds, "layer": layers}
    order = np.random.default_rng(0).permutation(len(keys))  # no name is painted over all others
    fig, axes = plt.subplots(1, 3, figsize=(12, 4.4))
    for number, (ax, title) in enumerate(zip(axes, colors)):
        color = colors[title]
        of_points = [color[keys[i][number]] for i in order]
        ax.scatter(*places[order].T, c=of_points, s=4, lw=0)
        ax.legend(
            handles=[_dot(color[name], str(name)) for name in names[title]],
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            ncols=4,
            frameon=False,
            fontsize="x-small",
        )
        ax.set(xticks=[], yticks=[], title=f"by {title} (UMAP)")
    return fig


def _dot(color, label: str) -> plt.Line2D:
    return plt.Line2D([], [], color=color, marker="o", ls="", ms=5, label=label)


def agreement(
    model: nn.Module, clip: Clip, frame: int, layer: str, n: int = 40, seed: int = 0
) -> plt.Figure:
    """Of ``n`` sampled neurons the one whose map agrees best with its ablation under the paper's
    rule, and the one that agrees worst: rows of frame, paper, first order, ablation.
    """
    canvas = trace(model, frame)
    layers = {rule: canvas.with_rule(rule)[layer] for rule in (*RULE_ORDER, "ablation")}
    random = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(layers["paper"]), generator=random)[:n]
    maps = {rule: found.only(chosen).tensor().abs() for rule, found in layers.items()}
    agree = {rule: _correlations(maps[rule], maps["ablation"]) for rule in RULE_ORDER}
    best, worst = int(np.argmax(agree["paper"])), int(np.argmin(agree["paper"]))
    fig, axes = grid(2, 4, clip.size, width=2.6)
    for row, k in zip(axes, (best, worst)):
        image(clip.frames[canvas.frame], row[0], f"{layer}, neuron {int(chosen[k])}")
        for ax, rule in zip(row[1:], RULE_ORDER):
            title = f"{RULE_NAMES[rule]}, correlation {agree[rule][k]:.2f}"
            magnitude(maps[rule][k], ax, title)
        magnitude(maps["ablation"][k], row[3], "ablation, the truth")
    return fig


def _correlations(maps: Tensor, ablations: Tensor) -> list[float]:
    return [rank_correlation(a, b) for a, b in zip(maps, ablations)]
