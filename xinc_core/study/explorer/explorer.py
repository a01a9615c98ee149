"""The explorer: sliders over layers, frames and neurons; every move is answered at once.

``Explorer`` works the same without a web browser: set ``explorer.neuron.value`` and read
``explorer.images``.
"""

from __future__ import annotations

from functools import lru_cache, partial

import ipywidgets
import torch
from torch import Tensor, nn

from xinc_core.clips import Clip
from xinc_core.fitting import check_clip
from xinc_core.models import render
from xinc_core.study.findings.browsing import sheet
from xinc_core.tracing import RULE_NAMES, RULE_ORDER, Canvas, LayerMaps, trace

from .png import crosshair, overlay_png, palette_png, rgb_png
from .widgets import caption_html, enlargement, rule_buttons, wide

LABEL_WIDTH = 60  # pixels
PIXEL_TAB = 1  # the place of "pixel → neurons" among the tabs
PICTURES = ("frame", "reconstruction", "contribution map", "overlay", "pixel", "painters")
BY_INDEX, BY_TOTAL = "index", "total contribution"
STRONGEST = 6  # neurons whose maps are shown for a pixel


def explore(model: nn.Module, clip: Clip, **start) -> Explorer:
    """Open the explorer on a model and its clip; ``start`` may name layer, frame, neuron, rule,
    row, col.
    """
    return Explorer(model, clip, **start)


def painters(values: Tensor, share: float = 0.9) -> tuple[Tensor, int]:
    """Which neurons paint a pixel.

    Parameters
    ----------
    values : Tensor
        (n_neurons,) contributions to one pixel; signs are dropped.
    share : float
        Of the sum of all contributions.

    Returns
    -------
    order : Tensor
        (n_neurons,) neurons, strongest first.
    enough : int
        How many of them make up ``share``; 0 where nothing contributes.
    """
    order = values.abs().argsort(descending=True)
    running_sum = values.abs()[order].cumsum(0)
    total = running_sum[-1]
    if total <= 0:
        return order, 0
    return order, int((running_sum < share * total).sum()) + 1


def check_start(
    model: nn.Module,
    clip: Clip,
    canvas: Canvas,
    layer: str | None = None,
    neuron: int = 0,
    rule: str = "paper",
    row: int | None = None,
    col: int | None = None,
) -> None:
    """Refuse in one sentence what could not be shown.

    Raises
    ------
    ValueError
        A clip that is not the model's, or a rule that is too slow for sliders.
    KeyError
        A layer that the model does not have.
    IndexError
        A neuron or a pixel that does not exist.
    """
    check_clip(model, clip)
    H, W = clip.size
    if rule not in RULE_ORDER:
        raise ValueError(f"the explorer shows rule 'paper' or 'first_order', not {rule!r}")
    maps = canvas[layer or canvas.layers[-1]]
    if not 0 <= neuron < len(maps):
        raise IndexError(f"neuron {neuron} is outside the {len(maps):,} neurons of {maps.name}")
    if not (0 <= (row or 0) < H and 0 <= (col or 0) < W):
        raise IndexError(f"pixel ({row}, {col}) is outside the picture of {H}×{W}")


class Explorer(ipywidgets.VBox):
    """Two views of one canvas: *neuron → pixels* and *pixel → neurons*.

    layer, frame, neuron, rule, order, row, col : the controls; images and captions : name → widget;
    tabs : the two views; status : a line of text below.
    """

    def __init__(
        self,
        model: nn.Module,
        clip: Clip,
        layer: str | None = None,
        frame: int = 0,
        neuron: int = 0,
        rule: str = "paper",
        row: int | None = None,
        col: int | None = None,
    ):
        canvas = trace(model, frame)
        check_start(model, clip, canvas, layer, neuron, rule, row, col)
        self.model, self.clip = model, clip
        self._traced = lru_cache(8)(partial(trace, model))  # (frame, rule) → canvas
        self._by_total: dict[tuple[str, str], Tensor] = {}  # (layer, rule) → neurons
        self._scale = enlargement(clip.size[1])
        self._frame_on_view: int | None = None
        self._drawing = False
        self._make_controls(canvas.layers, layer or canvas.layers[-1], frame, rule)
        self._make_pixel_sliders(row, col)
        self._make_pictures()
        super().__init__([self._top_bar(), self._make_tabs(), self.status])
        self._fit_neuron_slider()
        self.neuron.value = neuron
        self._observe()
        self._show()

    # The widgets.

    def _make_controls(self, layers: tuple[str, ...], layer: str, frame: int, rule: str) -> None:
        look = wide(LABEL_WIDTH)
        n_frames = len(self.clip) if self.model.for_video else 1
        last = max(n_frames - 1, 0)
        self.layer = ipywidgets.SelectionSlider(
            options=layers, value=layer, description="layer", **look
        )
        self.frame = ipywidgets.IntSlider(
            frame, 0, last, description="frame", disabled=n_frames < 2, **look
        )
        self.neuron = ipywidgets.IntSlider(0, 0, 0, description="neuron", **look)
        self.rule = rule_buttons(rule)
        self.order = ipywidgets.Dropdown(options=[BY_INDEX, BY_TOTAL], description="order")
        self.status = ipywidgets.HTML()

    def _make_pixel_sliders(self, row: int | None, col: int | None) -> None:
        """Row and column of the pixel; by default the picture's middle."""
        H, W = self.clip.size
        row = H // 2 if row is None else row
        col = W // 2 if col is None else col
        look = wide(LABEL_WIDTH)
        self.row = ipywidgets.IntSlider(row, 0, H - 1, description="row", **look)
        self.col = ipywidgets.IntSlider(col, 0, W - 1, description="column", **look)

    def _make_pictures(self) -> None:
        self.images = {name: ipywidgets.Image(format="png") for name in PICTURES}
        self.captions = {name: ipywidgets.HTML(caption_html(name)) for name in PICTURES}

    def _top_bar(self) -> ipywidgets.HBox:
        left = ipywidgets.VBox([self.layer, self.frame])
        return ipywidgets.HBox([left, ipywidgets.VBox([self.rule, self.order])])

    def _make_tabs(self) -> ipywidgets.Tab:
        of_neuron = [self.neuron, self._side_by_side("frame", "reconstruction")]
        of_neuron.append(self._side_by_side("contribution map", "overlay"))
        of_pixel = [ipywidgets.HBox([self.row, self.col]), self._side_by_side("pixel", "painters")]
        self.tabs = ipywidgets.Tab(
            [ipywidgets.VBox(of_neuron), ipywidgets.VBox(of_pixel)],
            titles=["neuron → pixels", "pixel → neurons"],
        )
        return self.tabs

    def _side_by_side(self, *names: str) -> ipywidgets.HBox:
        """Pictures in a row, each under its caption."""
        cells = [ipywidgets.VBox([self.captions[name], self.images[name]]) for name in names]
        return ipywidgets.HBox(cells)

    def _observe(self) -> None:
        controls = (self.layer, self.frame, self.neuron, self.rule, self.order, self.row, self.col)
        for control in controls:
            control.observe(self._moved, "value")
        self.tabs.observe(self._moved, "selected_index")

    # What is chosen.

    @property
    def canvas(self) -> Canvas:
        """The canvas of the chosen frame and rule; the last eight are remembered."""
        return self._traced(self.frame.value, self.rule.value)

    @property
    def selected(self) -> int:
        """The neuron's number in its layer, whatever the slider's order."""
        return int(self._slider_order()[self.neuron.value])

    @property
    def _maps(self) -> LayerMaps:
        return self.canvas[self.layer.value]

    @property
    def _truth(self) -> Tensor:
        """The clip's frame that the canvas stands for, (3, H, W)."""
        return self.clip.frames[self.canvas.frame]

    def _slider_order(self) -> Tensor:
        """Slider position → neuron, (n_neurons,).

        By total contribution: that of the frame on which the order was first chosen.
        """
        maps = self._maps
        if self.order.value == BY_INDEX:
            return torch.arange(len(maps))
        key = (maps.name, self.rule.value)
        if key not in self._by_total:
            self._say(f"adding up the maps of {maps.name} …")
            self._by_total[key] = maps.totals().argsort(descending=True)
            self._say(
                f"{maps.name} is ordered by total contribution in frame {self.frame.value}, "
                "largest first"
            )
        return self._by_total[key]

    # What follows a move.

    def _moved(self, change) -> None:
        """Draw once a move; a smaller layer cuts the neuron slider, which is part of the move."""
        if self._drawing:
            return
        self._drawing = True
        try:
            if change.owner is self.layer:
                self._fit_neuron_slider()
            if change.owner is self.order and self.order.value == BY_INDEX:
                self._say("")
            self._show()
        finally:
            self._drawing = False

    def _fit_neuron_slider(self) -> None:
        self.neuron.max = len(self._maps) - 1

    def _say(self, text: str) -> None:
        self.status.value = caption_html(text)

    def _show(self) -> None:
        if self.tabs.selected_index == PIXEL_TAB:
            self._show_pixel()
        else:
            self._show_neuron()

    def _show_neuron(self) -> None:
        self._show_frame()
        neuron, maps = self.selected, self._maps
        values = maps[neuron]
        self.images["contribution map"].value = palette_png(values, self._scale)
        self.images["overlay"].value = overlay_png(self._truth, values, self._scale)
        self.captions["contribution map"].value = caption_html(
            f"<b>{maps.name}, neuron {neuron}</b> of {len(maps):,}, {RULE_NAMES[self.rule.value]}; "
            f"brightest = {float(values.abs().max()):.3g}"
        )

    def _show_frame(self) -> None:
        """Frame and reconstruction, drawn anew only where the frame is another one."""
        if self._frame_on_view == self.frame.value:
            return
        self._frame_on_view = self.frame.value
        reconstruction = render(self.model, self.frame.value).cpu()
        self.images["frame"].value = rgb_png(self._truth, self._scale)
        self.images["reconstruction"].value = rgb_png(reconstruction, self._scale)

    def _show_pixel(self) -> None:
        row, col, maps = self.row.value, self.col.value, self._maps
        values = maps.pixel(row, col)
        order, enough = painters(values)
        strongest = order[:STRONGEST].tolist()
        marked = crosshair(self._truth, row, col)
        self.images["pixel"].value = rgb_png(marked, self._scale)
        self.images["painters"].value = palette_png(sheet([maps[n].abs() for n in strongest]))
        self.captions["pixel"].value = caption_html(f"pixel ({row}, {col})")
        self.captions["painters"].value = caption_html(
            f"<b>{enough:,} of {len(maps):,} neurons</b> of {maps.name} make up 90 % of this "
            f"pixel; strongest: {_shares(values, strongest)}"
        )


def _shares(values: Tensor, neurons: list[int]) -> str:
    """The neurons with their shares of the pixel's contributions, in percent."""
    total = float(values.abs().sum()) or 1.0
    shares = [100 * abs(float(values[n])) / total for n in neurons]
    return ", ".join(f"{n} ({share:.1f} %)" for n, share in zip(neurons, shares))
