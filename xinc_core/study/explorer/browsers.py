"""The findings' browsers as widgets: controls on top, pictures that follow below.

Which controls and which pictures is said in each finding's file as a
:class:`~xinc_core.study.findings.browsing.BrowserSpec`; here it becomes sliders and images.
"""

from __future__ import annotations

import ipywidgets
from torch import nn

from xinc_core.clips import Clip
from xinc_core.study.findings.browsing import (
    BrowserSpec,
    Choice,
    Control,
    Kind,
    Opened,
    Picture,
    Slider,
)
from xinc_core.study.findings.registry import FINDINGS

from .png import overlay_png, palette_png, rgb_png
from .widgets import caption_html, enlargement, rule_buttons, wide

LABEL_WIDTH = 80  # pixels
VIEWS = {one.browser.title: one.browser for one in FINDINGS if one.browser is not None}


def browse(model: nn.Module, clip: Clip, view: str, **start) -> Browser:
    """Open a finding's browser on a model and its clip.

    Parameters
    ----------
    view : str
        A title, one of ``VIEWS``.
    **start
        Where it opens: layer, frame, rule, and the view's own controls by name.

    Raises
    ------
    ValueError
        If there is no such view, if the model does not fit the clip, or if the view takes a video
        network and this is none.
    """
    if view not in VIEWS:
        raise ValueError(f"no view {view!r}; there are {', '.join(VIEWS)}")
    return Browser(VIEWS[view], Opened(model, clip), start)


class Browser(ipywidgets.VBox):
    """A browser's controls, and below them the pictures that it shows for their values.

    controls : name → widget; images and captions : widgets, in the order in which ``spec.show``
    returns them.
    """

    def __init__(self, spec: BrowserSpec, opened: Opened, start: dict):
        if spec.needs_video and not opened.model.for_video:
            family = opened.model.family
            raise ValueError(f"{family} paints one frame; a {spec.title} takes a video network")
        self.spec, self.opened = spec, opened
        self.controls = _common_controls(spec, opened, start)
        for control in spec.controls(opened):
            self.controls[control.name] = _widget(control, start.get(control.name, control.start))
        self.images: list[ipywidgets.Image] = []
        self.captions: list[ipywidgets.HTML] = []
        self._scale = enlargement(opened.clip.size[1])
        # A long caption wraps at the picture's width; it must not stretch its picture.
        self._cell = ipywidgets.Layout(width=f"{self._scale * opened.clip.size[1]}px")
        self._grid = ipywidgets.GridBox(
            layout=ipywidgets.Layout(grid_template_columns="repeat(2, max-content)", grid_gap="4px")
        )
        super().__init__([*self.controls.values(), self._grid])
        self._drawing = False
        for widget in self.controls.values():
            widget.observe(self._moved, "value")
        self._moved()

    def _values(self) -> dict:
        return {name: widget.value for name, widget in self.controls.items()}

    def _moved(self, change=None) -> None:
        """Draw once a move; a slider that is cut to a new end is part of the move that cut it."""
        if self._drawing:
            return
        self._drawing = True
        try:
            for name, highest in self.spec.limits(self.opened, **self._values()).items():
                self.controls[name].max = highest
            self._draw(self.spec.show(self.opened, **self._values()))
        finally:
            self._drawing = False

    def _draw(self, pictures: dict[str, Picture]) -> None:
        if len(self.images) != len(pictures):
            self._make_cells(len(pictures))
        for caption, image, (text, picture) in zip(self.captions, self.images, pictures.items()):
            caption.value = caption_html(text)
            image.value = as_png(picture, self._scale)

    def _make_cells(self, n: int) -> None:
        self.images = [ipywidgets.Image(format="png", layout=self._cell) for _ in range(n)]
        self.captions = [ipywidgets.HTML(layout=self._cell) for _ in range(n)]
        self._grid.children = [
            ipywidgets.VBox([caption, image]) for caption, image in zip(self.captions, self.images)
        ]


def as_png(picture: Picture, scale: int) -> bytes:
    """A browser's picture as PNG, each pixel repeated ``scale`` times in both directions."""
    if picture.kind is Kind.PHOTO:
        return rgb_png(picture.values, scale)
    if picture.kind is Kind.OVERLAY:
        return overlay_png(picture.under, picture.values, scale)
    return palette_png(picture.values, scale, picture.vmax)


def _common_controls(
    spec: BrowserSpec, opened: Opened, start: dict
) -> dict[str, ipywidgets.Widget]:
    """Layer, frame and, unless the browser shows every rule, rule."""
    layers = opened.layers
    second_last = layers[-2:][0]  # the last layer's maps are linear in the picture; or the only one
    first = spec.first_frame
    last = len(opened.clip) - 1 if opened.model.for_video else first
    frame = min(max(start.get("frame", first), first), last)
    look = wide(LABEL_WIDTH)
    controls = {
        "layer": ipywidgets.SelectionSlider(
            options=layers, value=start.get("layer", second_last), description="layer", **look
        ),
        "frame": ipywidgets.IntSlider(
            frame, first, last, description="frame", disabled=last == first, **look
        ),
    }
    if spec.rules:
        controls["rule"] = rule_buttons(start.get("rule", "paper"))
    return controls


def _widget(control: Control, start: int | str) -> ipywidgets.Widget:
    """A slider or a choice that opens at ``start``."""
    look = wide(LABEL_WIDTH)
    if isinstance(control, Slider):
        return ipywidgets.IntSlider(
            start, control.low, control.high, control.step, description=control.label, **look
        )
    return _choice(control, start, look)


def _choice(control: Choice, start: str, look: dict) -> ipywidgets.Widget:
    kind = ipywidgets.ToggleButtons if control.buttons else ipywidgets.SelectionSlider
    return kind(options=control.options, value=start, description=control.label, **look)
