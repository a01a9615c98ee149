"""Pictures, maps, and the sheets on which they stand."""

from __future__ import annotations

import matplotlib.pyplot as plt
import seaborn as sns
from torch import Tensor

from .theme import MAGNITUDE, OWN_SCALE, set_theme


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


def regions(
    picture: Tensor, labels: Tensor, ax: plt.Axes | None = None, title: str = ""
) -> plt.Axes:
    """A partition (H, W) drawn over the picture (3, H, W): every region in its mean colour, with
    white borders where these cover less than a fifth of the picture.
    """
    painted = picture.new_zeros(picture.shape)
    for region in labels.unique():
        mask = labels == region
        painted[:, mask] = picture[:, mask].mean(1, keepdim=True)
    border = labels != labels  # (H, W), all False
    border[1:] |= labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    if border.float().mean() < 0.2:
        painted[:, border] = 1.0
    return image(painted, ax, title)


def grid(
    rows: int,
    columns: int,
    size: tuple[int, int] = (128, 256),
    width: float = 3.2,
    note: str = OWN_SCALE,
) -> tuple[plt.Figure, plt.Axes]:
    """A figure of pictures of (H, W) ``size``, each ``width`` inches wide, with a note below.

    Returns the figure and its axes, (rows, columns).
    """
    set_theme()
    height = width * size[0] / size[1] + 0.42  # inches; a title of two lines takes 0.42
    figsize = (columns * width, rows * height + 0.35)
    fig, axes = plt.subplots(rows, columns, figsize=figsize, squeeze=False)
    fig.supxlabel(note, fontsize="small", color="0.35")
    return fig, axes


def panels(
    n: int, across: int, size: tuple[float, float], taller: float = 0.0, **options
) -> tuple[plt.Figure, plt.Axes]:
    """A figure of n charts, at most ``across`` in a row.

    Parameters
    ----------
    size : (float, float)
        Width and height of a chart, in inches.
    taller : float
        Inches for what stands around the charts.
    **options
        Of ``plt.subplots``.

    Returns
    -------
    The figure and its axes, (rows, across); axes that are left over are empty.
    """
    set_theme()
    down = -(-n // across)
    figsize = (across * size[0], down * size[1] + taller)
    fig, axes = plt.subplots(down, across, figsize=figsize, squeeze=False, **options)
    for ax in axes.flat[n:]:
        ax.axis("off")
    return fig, axes


def _bare(ax: plt.Axes, title: str) -> plt.Axes:
    ax.set(xticks=[], yticks=[], title=title)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax
