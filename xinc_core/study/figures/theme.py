"""How a figure looks: one theme, one colour per family, rule, partition and verdict, one ramp per
kind of layer, everywhere.

Magnitudes are sequential: dark = nothing.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns

from xinc_core.models import FAMILIES

from .saving import PREVIEW_QUALITY, in_notebook

MAGNITUDE = "magma"
OWN_SCALE = "each map on its own scale: dark = no contribution, bright = the map's largest"

# The palette of Okabe and Ito, which colour-blind readers can tell apart.
_ORANGE, _SKY, _GREEN = "#E69F00", "#56B4E9", "#009E73"
_BLUE, _RED, _PINK, _BLACK = "#0072B2", "#D55E00", "#CC79A7", "#000000"
_FAMILY_COLORS = (_RED, _BLUE, _PINK, _SKY, _BLACK, _ORANGE, _GREEN)

RULE_COLORS = {"paper": _ORANGE, "first_order": _GREEN, "horizon": _SKY, "ablation": "#333333"}
PARTITION_COLORS = {
    "instances": _PINK,
    "grid": "#333333",
    "RGB": _RED,
    "Gabor": _BLUE,
    "Gabor (paper)": _SKY,
    "lattice": "#999999",
}
VERDICT_COLORS = {
    "reproduced": _GREEN,
    "partly": "#8CCBB6",
    "undecided": "#DDDDDD",
    "no verdict": "#FFFFFF",
    "not reproduced": _RED,
}
# Ramps of colours for layers whose names begin so; a head ends the blocks.
_RAMPS = {"layer": "rocket", "block": "mako", "other": "viridis"}


def family_color(name: str) -> str:
    """A family's colour, the same in every figure: by its place among ``models.FAMILIES``, or by
    its name if it is not there.
    """
    place = list(FAMILIES).index(name) if name in FAMILIES else zlib.crc32(name.encode())
    return _FAMILY_COLORS[place % len(_FAMILY_COLORS)]


def layer_colors(names: Iterable[str]) -> dict[str, tuple]:
    """Colours of the layers that share a figure, dark to bright along the network, so that
    brightness alone tells them apart.

    ``layer1``, ``layer2``, … share a ramp; ``block1``, …, ``head`` another; layers of other names a
    third, in the order given.
    """
    ramps: dict[str, list[tuple[int, str]]] = {}  # ramp → (place along it, layer)
    for place, name in enumerate(dict.fromkeys(names)):
        ramp, number = _place_in_ramp(name)
        ramps.setdefault(ramp, []).append((place if ramp == "other" else number, name))
    colors = {}
    for ramp, members in ramps.items():
        shades = sns.color_palette(_RAMPS[ramp], len(members) + 2)[1:-1]  # neither black nor white
        for (_, name), shade in zip(sorted(members), shades):
            colors[name] = shade
    return colors


def _place_in_ramp(name: str) -> tuple[str, int]:
    """A layer's ramp and its number there; a layer without a number comes last."""
    stem, digits = re.fullmatch(r"(.*?)(\d*)", name).groups()
    if name in ("head", "picture"):
        stem = "block"
    ramp = stem if stem in _RAMPS else "other"
    return ramp, int(digits or 10**9)


def palette(name: str = MAGNITUDE) -> list[int]:
    """256 colours of a colour map as a flat RGB list, for palette images."""
    colors = mpl.colormaps[name](np.arange(256))[:, :3]
    return (colors * 255).round().astype(int).flatten().tolist()


def set_theme() -> None:
    """Set the study's look for every figure, and every table in a notebook, that follows."""
    sns.set_theme(context="notebook", style="ticks", font_scale=0.9)
    mpl.rcParams.update({"figure.dpi": 72, "savefig.dpi": 150, "image.interpolation": "nearest"})
    mpl.rcParams.update(
        {"axes.titlesize": "medium", "axes.spines.top": False, "axes.spines.right": False}
    )
    mpl.rcParams.update(
        {"figure.constrained_layout.use": True, "svg.hashsalt": "xinc", "svg.fonttype": "none"}
    )
    pd.set_option("display.html.use_mathjax", False)  # names in tables are no formulas
    if in_notebook():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("jpeg", pil_kwargs={"quality": PREVIEW_QUALITY})
