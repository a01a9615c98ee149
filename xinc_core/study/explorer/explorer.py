"""The explorer: sliders over layers, frames and neurons; every move is answered at once.

Pictures are palette PNGs in image widgets (1 ms), enlarged by repeating pixels. ``Explorer`` is a
thin shell round functions of plain values, so it works the same without a browser: set
``explorer.neuron.value`` and read the images.
"""

from __future__ import annotations

import io
from functools import lru_cache

import ipywidgets as widgets
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from xinc_core.clips.clip import Clip
from xinc_core.fitting.quality import check_clip
from xinc_core.models import render
from xinc_core.study.figures.theme import RULE_NAMES, palette
from xinc_core.tracing.canvas import Canvas, trace
from xinc_core.tracing.rules import RULE_ORDER

WIDTH = 512  # pictures are shown at the whole multiple of their size that is nearest below this
_PALETTE = palette()
_GREYS, _WEIGHTS = np.arange(32)[:, None, None] / 31 * 0.55, np.arange(8)[None, :, None] / 7
_OVERLAY = (
    ((_GREYS * (1 - _WEIGHTS) + np.array([1.0, 0.62, 0.0]) * _WEIGHTS) * 255)
    .astype(int)
    .flatten()
    .tolist()
)
TOP = 6


def explore(model: nn.Module, clip: Clip, **start) -> Explorer:
    """Open the explorer on a model and its clip; ``start`` may name layer, frame, neuron, rule,
    row, col.
    """
    return Explorer(model, clip, **start)


def palette_png(values: Tensor, scale: int = 1, vmax: float | None = None) -> bytes:
    """A magnitude map (H, W) as PNG, dark = 0, bright = its largest value or ``vmax``; pixels
    repeated ``scale`` times.
    """
    values = values.abs().float()
    top = vmax or float(values.max()) or 1.0
    return _palette_png((values * (255 / top)).clamp(0, 255).byte(), _PALETTE, scale)


def overlay_png(picture: Tensor, values: Tensor, scale: int = 1) -> bytes:
    """The picture (3, H, W) in dim grey with the map's strong places in orange, as PNG of 32
    greys × 8 strengths.
    """
    weight = values.abs().float() / (float(values.abs().max()) or 1.0)
    levels = (picture.mean(0) * 31.99).byte() * 8 + (weight.cpu() * 7.99).byte()
    return _palette_png(levels, _OVERLAY, scale)


def rgb_png(picture: Tensor, scale: int = 1) -> bytes:
    """A picture (3, H, W) in [0, 1] as PNG."""
    levels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return _png(Image.fromarray(levels.repeat(scale, 0).repeat(scale, 1)), compress_level=6)


def _palette_png(levels: Tensor, colors: list[int], scale: int) -> bytes:
    picture = Image.fromarray(levels.cpu().numpy().repeat(scale, 0).repeat(scale, 1))
    picture.putpalette(colors)
    return _png(picture, compress_level=1)


def _png(picture: Image.Image, compress_level: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=compress_level)
    return stream.getvalue()


def painters(values: Tensor, share: float = 0.9) -> tuple[Tensor, int]:
    """Neurons by |contribution| to one pixel, strongest first, and how many of them make up
    ``share`` of the sum.
    """
    order = values.abs().argsort(descending=True)
    held = values.abs()[order].cumsum(0)
    return order, int((held < share * held[-1]).sum()) + 1 if held[-1] > 0 else 0


class Explorer(widgets.VBox):
    """Two views of one canvas: *neuron → pixels* and *pixel → neurons*."""

    def __init__(
        self, model, clip, layer=None, frame=0, neuron=0, rule="paper", row=None, col=None
    ):
        self.model, self.clip = model, clip
        canvas = trace(model, frame)
        check(model, clip, canvas, layer, neuron, rule, row, col)
        self._traced = lru_cache(8)(lambda frame, rule: trace(model, frame, rule))
        self._orders: dict[tuple[str, str], Tensor] = {}
        H, W = clip.size
        self._shown_frame = None
        self._scale = max(1, WIDTH // W)
        self._controls(canvas.layers, layer or canvas.layers[-1], frame, rule, H, W, row, col)
        self._views()
        super().__init__([self._bar, self.tabs, self.status])
        self.neuron.value = neuron
        for control in (
            self.layer,
            self.frame,
            self.neuron,
            self.rule,
            self.order,
            self.row,
            self.col,
        ):
            control.observe(self._moved, "value")
        self.tabs.observe(self._moved, "selected_index")
        self._show()

    def _controls(self, layers, layer, frame, rule, H, W, row, col) -> None:
        wide = dict(layout=widgets.Layout(width="420px"), style={"description_width": "60px"})
        frames = len(self.clip) if self.model.for_video else 1
        self.layer = widgets.SelectionSlider(
            options=layers, value=layer, description="layer", **wide
        )
        self.frame = widgets.IntSlider(
            frame, 0, max(frames - 1, 0), description="frame", disabled=frames < 2, **wide
        )
        self.neuron = widgets.IntSlider(0, 0, 0, description="neuron", **wide)
        self.rule = widgets.ToggleButtons(
            options=[(RULE_NAMES[r], r) for r in RULE_ORDER], value=rule, description="rule"
        )
        self.order = widgets.Dropdown(options=["index", "total contribution"], description="order")
        self.row = widgets.IntSlider(
            H // 2 if row is None else row, 0, H - 1, description="row", **wide
        )
        self.col = widgets.IntSlider(
            W // 2 if col is None else col, 0, W - 1, description="column", **wide
        )
        left = widgets.VBox([self.layer, self.frame])
        self._bar = widgets.HBox([left, widgets.VBox([self.rule, self.order])])
        self._fit_neurons()

    def _views(self) -> None:
        names = ("frame", "reconstruction", "contribution map", "overlay", "pixel", "painters")
        self.images = {name: widgets.Image(format="png") for name in names}
        self.captions = {name: widgets.HTML(name) for name in names}
        cells = {n: widgets.VBox([self.captions[n], self.images[n]]) for n in names}
        rows = [widgets.HBox([cells[a], cells[b]]) for a, b in (names[0:2], names[2:4])]
        sliders = widgets.HBox([self.row, self.col])
        self.tabs = widgets.Tab(
            [
                widgets.VBox([self.neuron, *rows]),
                widgets.VBox([sliders, widgets.HBox([cells["pixel"], cells["painters"]])]),
            ],
            titles=["neuron → pixels", "pixel → neurons"],
        )
        self.status = widgets.HTML()
        self._quiet = False

    @property
    def canvas(self) -> Canvas:
        """The canvas of the chosen frame and rule; frames seen lately are kept."""
        return self._traced(self.frame.value, self.rule.value)

    @property
    def selected(self) -> int:
        """The neuron's number in its layer, whatever the slider's order."""
        return int(self._sorting()[self.neuron.value])

    def _sorting(self) -> Tensor:
        """Slider position → neuron. By total contribution: of the frame on which the order was
        first asked for.
        """
        layer = self.canvas[self.layer.value]
        if self.order.value == "index":
            return torch.arange(len(layer))
        key = (self.layer.value, self.rule.value)
        if key not in self._orders:
            self.status.value = f"adding up the maps of {key[0]} …"
            self._orders[key] = layer.totals().argsort(descending=True)
            self.status.value = f"{key[0]} is ordered by total contribution in frame {self.frame.value}, largest first"
        return self._orders[key]

    def _fit_neurons(self) -> None:
        self.neuron.max = self.canvas[self.layer.value].shape[0] - 1

    def _moved(self, change) -> None:
        if self._quiet:
            return
        self._quiet = True  # a smaller layer clips the neuron slider, which is a move of its own
        try:
            if change.owner is self.layer:
                self._fit_neurons()
            if change.owner is self.order and self.order.value == "index":
                self.status.value = ""
            self._show()
        finally:
            self._quiet = False

    def _show(self) -> None:
        if self.tabs.selected_index == 1:
            self._show_pixel()
        else:
            self._show_neuron()

    @property
    def _truth(self) -> Tensor:
        """The clip's frame that the canvas stands for, (3, H, W)."""
        return self.clip.frames[self.canvas.frame]

    def _show_neuron(self) -> None:
        n, layer, truth = self.selected, self.canvas[self.layer.value], self._truth
        values = layer[n]
        if self._shown_frame != self.frame.value:
            self._shown_frame = self.frame.value
            picture = render(self.model, self.frame.value).cpu()
            self.images["frame"].value = rgb_png(truth, self._scale)
            self.images["reconstruction"].value = rgb_png(picture, self._scale)
        self.images["contribution map"].value = palette_png(values, self._scale)
        self.images["overlay"].value = overlay_png(truth, values, self._scale)
        self.captions["contribution map"].value = (
            f"<b>{layer.name}, neuron {n}</b> of {len(layer):,}, {RULE_NAMES[self.rule.value]}; "
            f"brightest = {float(values.abs().max()):.3g}"
        )

    def _show_pixel(self) -> None:
        row, col, layer = self.row.value, self.col.value, self.canvas[self.layer.value]
        values = layer.pixel(row, col)
        order, enough = painters(values)
        self.images["pixel"].value = rgb_png(_crosshair(self._truth, row, col), self._scale)
        self.images["painters"].value = palette_png(
            sheet([layer[int(n)].abs() for n in order[:TOP]])
        )
        self.captions["pixel"].value = f"pixel ({row}, {col})"
        total = float(values.abs().sum()) or 1.0
        names = ", ".join(
            f"{int(n)} ({100 * abs(float(values[n])) / total:.1f} %)" for n in order[:TOP]
        )
        found = f"<b>{enough:,} of {len(layer):,} neurons</b> of {layer.name} make up 90 % of this pixel; strongest: {names}"
        self.captions["painters"].value = found


def check(model, clip, canvas, layer=None, neuron=0, rule="paper", row=None, col=None) -> None:
    """Refuse in one sentence what could not be shown."""
    check_clip(model, clip)
    H, W = clip.size
    if rule not in RULE_ORDER:
        raise ValueError(f"the explorer shows rule 'paper' or 'first_order', not {rule!r}")
    maps = canvas[layer or canvas.layers[-1]]
    if not 0 <= neuron < len(maps):
        raise IndexError(f"neuron {neuron} is outside the {len(maps):,} neurons of {maps.name}")
    if not (0 <= (row or 0) < H and 0 <= (col or 0) < W):
        raise IndexError(f"pixel ({row}, {col}) is outside the picture of {H}×{W}")


def sheet(maps: list[Tensor], columns: int = 2, gap: int = 2) -> Tensor:
    """Maps side by side, each on its own scale, with bright lines between them."""
    H, W = maps[0].shape
    rows = -(-len(maps) // columns)
    sheet = maps[0].new_full((rows * (H + gap) - gap, columns * (W + gap) - gap), 0.5)
    for i, values in enumerate(maps):
        top, left = i // columns * (H + gap), i % columns * (W + gap)
        sheet[top : top + H, left : left + W] = values / (values.max() + 1e-30)
    return sheet


def _crosshair(picture: Tensor, row: int, col: int) -> Tensor:
    """The picture with a ring of contrasting pixels round one of them."""
    rows, cols = ((torch.arange(n) - at).abs() for n, at in zip(picture.shape[1:], (row, col)))
    away, marked = torch.maximum(rows[:, None], cols), picture.clone()
    marked[:, away == 3], marked[:, away == 2] = torch.tensor([[1.0], [0.62], [0.0]]), 0.0
    return marked
