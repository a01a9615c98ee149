"""Figures: axes in, axes out. One theme, one colour per family and rule, one ramp per kind of layer
throughout.

Magnitudes are sequential (dark = nothing). ``save`` writes every figure of the study.
"""

from __future__ import annotations

import io
import re
import sys
import zlib
from collections.abc import Iterable

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from PIL import Image
from torch import Tensor

from xinc_core.models import FAMILIES
from xinc_core.tracing.rules import RULE_NAMES as RULE_NAMES
from xinc_core.util.files import replace_file
from xinc_core.util.paths import figures

MAGNITUDE = "magma"
PREVIEW = 75  # quality of what a notebook shows: maps as JPEG take a third of the space
_OKABE = {
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "blue": "#0072B2",
    "red": "#D55E00",
    "pink": "#CC79A7",
}
_FAMILIES = [
    _OKABE["red"],
    _OKABE["blue"],
    _OKABE["pink"],
    _OKABE["sky"],
    "#000000",
    _OKABE["orange"],
    _OKABE["green"],
]
_RAMPS = {
    "layer": "rocket",
    "block": "mako",
    "other": "viridis",
}  # of layers whose names begin so; a head is a block
RULE_COLORS = {"paper": _OKABE["orange"], "first_order": _OKABE["green"], "ablation": "#333333"}
PARTITION_COLORS = {
    "instances": _OKABE["pink"],
    "grid": "#333333",
    "RGB": _OKABE["red"],
    "Gabor": _OKABE["blue"],
    "Gabor (paper)": _OKABE["sky"],
    "lattice": "#999999",
}
VERDICT_COLORS = {
    "reproduced": _OKABE["green"],
    "partly": "#8CCBB6",
    "undecided": "#DDDDDD",
    "no verdict": "#FFFFFF",
    "not reproduced": _OKABE["red"],
}
OWN_SCALE = "each map on its own scale: dark = no contribution, bright = the map's largest"


def family_color(name: str) -> str:
    """A family's colour, the same in every figure: by its place among ``models.FAMILIES``, or by
    its name if it is not there.
    """
    place = list(FAMILIES).index(name) if name in FAMILIES else zlib.crc32(name.encode())
    return _FAMILIES[place % len(_FAMILIES)]


def layer_colors(names: Iterable[str]) -> dict[str, tuple]:
    """Colours of the layers that share a figure, dark to bright along the network: told apart by
    brightness alone.

    ``layer1``, ``layer2``, … share a ramp, ``block1``, …, ``head`` another; layers of other names a
    third, in the order given.
    """
    kinds: dict[str, list[tuple[int, str]]] = {}
    for place, name in enumerate(dict.fromkeys(names)):
        stem, number = re.fullmatch(r"(.*?)(\d*)", name).groups()
        stem = "block" if name in ("head", "picture") else stem if stem in _RAMPS else "other"
        kinds.setdefault(stem, []).append(
            (place if stem == "other" else int(number or 10**9), name)
        )
    found = {}
    for stem, members in kinds.items():
        ordered = [name for _, name in sorted(members)]
        found |= zip(ordered, sns.color_palette(_RAMPS[stem], len(ordered) + 2)[1:-1])
    return found


def theme() -> None:
    """Set the study's look for every figure that follows."""
    sns.set_theme(context="notebook", style="ticks", font_scale=0.9)
    mpl.rcParams.update({"figure.dpi": 72, "savefig.dpi": 150, "image.interpolation": "nearest"})
    mpl.rcParams.update(
        {"axes.titlesize": "medium", "axes.spines.top": False, "axes.spines.right": False}
    )
    mpl.rcParams.update(
        {"figure.constrained_layout.use": True, "svg.hashsalt": "xinc", "svg.fonttype": "none"}
    )
    if _in_notebook():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("jpeg", pil_kwargs={"quality": PREVIEW})


def save(fig: plt.Figure, name: str, photo: bool = True) -> plt.Figure:
    """Write ``figures/name.png`` (and ``.svg`` unless it holds photographs or maps); the folder is
    ``XINC_FIGURES`` if set.

    The PNG has a palette of 128 colours: a quarter of the size, and no difference to the eye. A
    notebook shows it at half size.
    """
    folder, canvas = figures(), FigureCanvasAgg(fig)
    fig.draw_without_rendering()  # ticks change with the first layout; the second one makes room for them
    fig.dpi = mpl.rcParams["savefig.dpi"]
    canvas.draw()  # once: ``savefig`` draws twice, the first time unseen
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture = drawn.quantize(128, Image.Quantize.MAXCOVERAGE, kmeans=2 if photo else 0)
    replace_file(folder / f"{name}.png", lambda f: picture.save(f, "PNG", optimize=True))
    if not photo:
        fig.set_layout_engine("none")  # all has its place by now
        FigureCanvasSVG(fig).print_svg(folder / f"{name}.svg", metadata={"Date": None})
    if _in_notebook():
        from IPython import display

        preview = io.BytesIO()
        drawn.resize((drawn.width // 2, drawn.height // 2), Image.Resampling.LANCZOS).save(
            preview, "JPEG", quality=PREVIEW
        )
        display.display(display.Image(preview.getvalue(), format="jpeg"))
        plt.close(fig)  # or the notebook would draw it once more
    return fig


def _in_notebook() -> bool:
    return "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel")


def image(picture: Tensor, ax: plt.Axes | None = None, title: str = "") -> plt.Axes:
    """A picture (3, H, W) in [0, 1]."""
    ax = ax or plt.gca()
    ax.imshow(picture.clamp(0, 1).permute(1, 2, 0).numpy())
    return _bare(ax, title)


def magnitude(
    values: Tensor, ax: plt.Axes | None = None, title: str = "", vmax: float | None = None
) -> plt.Axes:
    """A map's magnitude |C|, (H, W), from zero to its largest value or ``vmax``."""
    ax = ax or plt.gca()
    ax.imshow(values.abs().numpy(), cmap=MAGNITUDE, vmin=0, vmax=vmax)
    return _bare(ax, title)


def _bare(ax: plt.Axes, title: str) -> plt.Axes:
    ax.set(xticks=[], yticks=[], title=title)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax


def grid(
    rows: int,
    columns: int,
    size: tuple[int, int] = (128, 256),
    width: float = 3.2,
    note: str = OWN_SCALE,
):
    """A figure of pictures of (H, W) ``size`` with a note below: (fig, axes (rows, columns))."""
    theme()
    height = width * size[0] / size[1] + 0.42
    fig, axes = plt.subplots(
        rows, columns, figsize=(columns * width, rows * height + 0.35), squeeze=False
    )
    fig.supxlabel(note, fontsize="small", color="0.35")
    return fig, axes


def panels(n: int, across: int, size: tuple[float, float], taller: float = 0.0, **options):
    """A figure of n charts of (width, height) ``size``, at most so many in a row, ``taller`` by
    what stands round them: (fig, axes (rows, across)); axes that are left over are empty. options :
    of ``plt.subplots``."""
    theme()
    down = -(-n // across)
    fig, axes = plt.subplots(
        down, across, figsize=(across * size[0], down * size[1] + taller), squeeze=False, **options
    )
    for ax in axes.flat[n:]:
        ax.axis("off")
    return fig, axes


def training(histories: dict[str, object], ax: plt.Axes | None = None) -> plt.Axes:
    """PSNR over epochs, one curve per family and its :class:`~xinc_core.training.History`."""
    ax = ax or plt.gca()
    for name, history in histories.items():
        ax.plot(history["epoch"], history["psnr"], label=name, color=family_color(name))
    ax.set(xlabel="epochs (of an image: full steps)", ylabel="PSNR of the training batches (dB)")
    ax.legend(frameon=False)
    return ax


def totals(layers: dict[str, Tensor], ax: plt.Axes | None = None) -> plt.Axes:
    """How a layer's contribution is spread over its neurons: share held by the largest x of
    them, a curve per layer.
    """
    ax, colors = ax or plt.gca(), layer_colors(layers)
    for name, values in layers.items():
        held = values.sort(descending=True).values.cumsum(0) / values.sum()
        share = np.arange(1, len(held) + 1) / len(held)
        ax.plot(
            100 * share, 100 * held.numpy(), label=f"{name} ({len(held):,})", color=colors[name]
        )
    ax.plot([0, 100], [0, 100], color="0.7", lw=1, ls=":", label="all alike")
    ax.set(xlabel="neurons, largest first (%)", ylabel="share of the layer's contribution (%)")
    ax.legend(frameon=False)
    return ax


def palette(name: str = MAGNITUDE) -> list[int]:
    """256 colours as a flat RGB list, for palette images."""
    colors = mpl.colormaps[name](np.arange(256))[:, :3]
    return (colors * 255).round().astype(int).flatten().tolist()
