"""Figures as files: charts as PNG and SVG, figures that hold photographs or maps as WebP. Full
colour.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, NullFormatter, ScalarFormatter
from PIL import Image

from xinc_core.util.files import replace_file
from xinc_core.util.paths import figures
from xinc_core.util.text import as_file_name, as_plain

CHART, PHOTO = ".png", ".webp"  # the ending of a figure's file, by its kind
WEBP_QUALITY = 95
LONGEST_TEXT = 200  # characters of a title or a label
PREVIEW_QUALITY = 75  # of JPEG, in which a notebook shows figures: a third of a PNG's bytes


def save(figure: plt.Figure | plt.Axes, name: str, photo: bool = True) -> plt.Figure:
    """Write a figure into the folder of figures, ``XINC_FIGURES`` if set.

    Parameters
    ----------
    figure : Figure or Axes
        Axes stand for the figure that they are in.
    name : str
        The file's name without its ending.
    photo : bool
        Whether it holds photographs or maps: then it becomes ``name.webp``. A chart becomes
        ``name.png`` and ``name.svg``.

    Returns
    -------
    Figure
        In a notebook it is also shown, at half size.
    """
    fig = show_text_as_it_is(figure if isinstance(figure, plt.Figure) else figure.figure)
    drawn = _drawn(fig)
    file = as_file_name(name)
    if photo:
        _write_photo(drawn, figures() / f"{file}{PHOTO}")
    else:
        _write_chart(drawn, fig, figures() / f"{file}{CHART}")
    if in_notebook():
        _preview(drawn)
        plt.close(fig)  # or the notebook would draw it once more
    return fig


def show_text_as_it_is(fig: plt.Figure) -> plt.Figure:
    """Let no text of a figure be more than text: names in titles and labels come from files.

    Nothing is typeset as mathematics but the numbers of logarithmic axes, control characters are
    shown by their numbers, and a very long text is cut.
    """
    numbers: set[Text] = set()  # labels of ticks that are numbers
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            numbers |= _show_ticks_as_they_are(axis)
    for text in fig.findobj(Text):
        if text not in numbers:
            text.set_parse_math(False)
            text.set_text(as_plain(text.get_text(), lines=True, most=LONGEST_TEXT))
    return fig


def _show_ticks_as_they_are(axis: Axis) -> set[Text]:
    """The same for an axis whose ticks have names; for one of numbers, its labels."""
    formatter = axis.get_major_formatter()
    if isinstance(formatter, ScalarFormatter | LogFormatter | NullFormatter):
        ticks = axis.get_major_ticks() + axis.get_minor_ticks()
        return {label for tick in ticks for label in (tick.label1, tick.label2)}

    def plain(value, place=None) -> str:
        return as_plain(formatter(value, place), lines=True, most=LONGEST_TEXT)

    axis.set_major_formatter(plain)
    return set()


def saved_figures(folder: Path, pattern: str = "*") -> list[Path]:
    """The figures in a folder whose names without ending match ``pattern``, sorted by name; a
    chart's SVG is not listed beside its PNG.
    """
    files = [file for ending in (CHART, PHOTO) for file in folder.glob(f"{pattern}{ending}")]
    return sorted(files)


def in_notebook() -> bool:
    """Whether this runs in a notebook's kernel."""
    return "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel")


def _drawn(fig: plt.Figure) -> Image.Image:
    """The figure's pixels, RGB, at the resolution of saved figures."""
    canvas = FigureCanvasAgg(fig)
    # Ticks change with the first layout; the second one makes room for them.
    fig.draw_without_rendering()
    fig.dpi = mpl.rcParams["savefig.dpi"]
    canvas.draw()  # once: ``savefig`` draws twice, the first time unseen
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _write_photo(drawn: Image.Image, path: Path) -> None:
    """As WebP: without loss or, where that is smaller (noisy maps), with little."""
    exact = _webp(drawn, lossless=True)
    # "Sharp" conversion keeps coloured edges, which ordinary 4:2:0 subsampling would blur.
    lossy = _webp(drawn, quality=WEBP_QUALITY, use_sharp_yuv=True)
    smaller = min(exact, lossy, key=len)
    replace_file(path, lambda file: file.write_bytes(smaller))


def _webp(drawn: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    drawn.save(stream, "WEBP", method=4, **options)
    return stream.getvalue()


def _write_chart(drawn: Image.Image, fig: plt.Figure, path: Path) -> None:
    replace_file(path, lambda file: drawn.save(file, "PNG", optimize=True))
    fig.set_layout_engine("none")  # everything has its place by now
    canvas = FigureCanvasSVG(fig)
    undated = {"Date": None}
    replace_file(path.with_suffix(".svg"), lambda file: canvas.print_svg(file, metadata=undated))


def _preview(drawn: Image.Image) -> None:
    """Show the figure in the notebook, at half its size."""
    from IPython import display

    half = drawn.resize((drawn.width // 2, drawn.height // 2), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    half.save(stream, "JPEG", quality=PREVIEW_QUALITY)
    display.display(display.Image(stream.getvalue(), format="jpeg"))
