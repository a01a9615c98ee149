"""Partitions of a frame, and what they explain of the maps."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from xinc_core.study.statistics.scene import Scene
from xinc_core.tracing import RULE_NAMES

from .pictures import grid, image, panels, regions
from .theme import PARTITION_COLORS

TITLES = {
    "instances": "instances",
    "grid": "grid: 4×8 cells",
    "RGB": "RGB: 32 colours",
    "Gabor": "Gabor, controlled",
    "Gabor (paper)": "Gabor, the paper's",
    "lattice": "lattice of the released code",
}
SHARED_OUT = ("grid", "RGB", "Gabor", "instances")  # the partitions with a Shapley share


def partition_sheet(scene: Scene, frame: int) -> plt.Figure:
    """The partitions of a frame, each region in its mean colour."""
    picture = scene.clip.frames[frame]
    note = "every region in its mean colour"
    fig, axes = grid(2, 3, scene.clip.size, width=3.2, note=note)
    for ax, (name, title) in zip(axes.flat, TITLES.items()):
        if name in scene.partitions:
            regions(picture, scene.partitions[name].labels[frame], ax, title)
        else:
            image(picture, ax, "no instances: this clip has no masks")
    return fig


def shapley(table: pd.DataFrame, clip: str) -> plt.Figure:
    """Shapley shares of the joint explained variance as stacked bars: per family a panel, per
    layer a bar for each rule.
    """
    own = table[table["clip"] == clip]
    value = own.set_index(["family", "layer", "rule", "statistic"])["value"]
    value = value[~value.index.duplicated(keep="last")].to_dict()
    families = list(dict.fromkeys(own.family[own.statistic == "r2_joint"]))
    fig, axes = panels(len(families), min(2, len(families)), (5.2, 3.2), sharey=True)
    for ax, family in zip(axes.flat, families):
        layers = dict.fromkeys(own.layer[(own.family == family) & (own.layer != "all")])
        bars = [(layer, rule) for layer in layers for rule in RULE_NAMES]
        bars = [bar for bar in bars if (family, *bar, "r2_joint") in value]
        _stacked(ax, family, bars, value)
        ax.set_title(f"{family}, {clip}")
    ylabel = "explained variance of a map (adjusted R², mean over neurons)"
    fig.supylabel(ylabel, fontsize="small")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return fig


def _stacked(ax: plt.Axes, family: str, bars: list[tuple[str, str]], value: dict) -> None:
    """A bar per (layer, rule): the joint R², cut into the partitions' Shapley shares."""
    joint = np.array([value[(family, *bar, "r2_joint")] for bar in bars])
    base = np.zeros(len(bars))
    for part in SHARED_OUT:
        shares = np.array([value.get((family, *bar, f"shapley_{part}"), 0.0) for bar in bars])
        color = PARTITION_COLORS[part]
        ax.bar(range(len(bars)), shares * joint, 0.8, base, color=color, label=part)
        base = base + shares * joint
    names = [f"{layer}, {RULE_NAMES[rule].removesuffix(' rule')}" for layer, rule in bars]
    ax.set_xticks(range(len(bars)), names, rotation=60, ha="right", fontsize=8)
