"""What all browsers share: controls before pictures, and an opened model with its clip.

A browser is a function of plain values that returns captions and pictures; ``Browser`` puts
controls before it. What would take seconds for all neurons of a layer is shown for a seeded sample
of them, and the caption says so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import ipywidgets as widgets
from torch import Tensor, nn

from xinc_core.clips.clip import Clip
from xinc_core.study.explorer.explorer import WIDTH, check, palette_png, rgb_png
from xinc_core.study.figures.theme import RULE_NAMES
from xinc_core.study.statistics.scene import Scene
from xinc_core.tracing.canvas import trace
from xinc_core.tracing.maps import LayerMaps
from xinc_core.tracing.rules import RULE_ORDER

FEW = 128  # neurons of a layer that a browser adds up


class Browser(widgets.VBox):
    """Controls, and the pictures that ``show(**values)`` returns for them: caption → PNG."""

    def __init__(
        self,
        controls: dict[str, widgets.Widget],
        show: Callable[..., dict[str, bytes]],
        width: int = WIDTH,
    ):
        self.controls, self._show, self._quiet = controls, show, False
        self._cell = widgets.Layout(
            width=f"{width}px"
        )  # a long caption wraps; it must not stretch its picture
        self.images: list[widgets.Image] = []
        self.captions: list[widgets.HTML] = []
        self._cells = widgets.GridBox(
            layout=widgets.Layout(grid_template_columns="repeat(2, max-content)", grid_gap="4px")
        )
        super().__init__([*controls.values(), self._cells])
        for control in controls.values():
            control.observe(self._moved, "value")
        self._draw()

    def _moved(self, change) -> None:
        if not self._quiet:
            self._quiet = True  # a control that clips another is one move, not two
            try:
                self._draw()
            finally:
                self._quiet = False

    def _draw(self) -> None:
        found = self._show(**{name: control.value for name, control in self.controls.items()})
        if len(self.images) != len(found):
            self.images = [widgets.Image(format="png", layout=self._cell) for _ in found]
            self.captions = [widgets.HTML(layout=self._cell) for _ in found]
            self._cells.children = [
                widgets.VBox([c, i]) for c, i in zip(self.captions, self.images)
            ]
        for caption, picture, (text, png) in zip(self.captions, self.images, found.items()):
            caption.value, picture.value = text, png


class Opened:
    """A model and its clip, with what the browsers share: canvases, a few maps of a layer,
    controls, sizes.
    """

    def __init__(self, model: nn.Module, clip: Clip):
        self.model, self.clip, self.scene = model, clip, Scene(clip)
        self.scale = max(1, WIDTH // clip.size[1])
        self.canvas = lru_cache(8)(lambda frame, rule: trace(model, frame, rule))
        check(model, clip, self.canvas(0, "paper"))
        self.few = lru_cache(16)(self._few)

    def _few(self, frame: int, rule: str, layer: str) -> tuple[Tensor, Tensor, int]:
        """(numbers, |C| of a seeded sample of neurons (k, H, W), how many neurons the layer
        has).
        """
        whole = self.canvas(frame, rule)[layer]
        part = whole.sample(max(1, -(-FEW // whole.traced.layer.c_in)))
        return part.neurons[:FEW], part.tensor()[:FEW].abs(), len(whole)

    def sampled(self, frame: int, rule: str, layer: str) -> tuple[LayerMaps, int]:
        """(a seeded sample of a few hundred neurons of a layer, how many it has)."""
        whole = self.canvas(frame, rule)[layer]
        return whole.sample(max(1, -(-2 * FEW // whole.traced.layer.c_in))), len(whole)

    def truth(self, frame: int) -> Tensor:
        return self.clip.frames[self.canvas(frame, "paper").frame]

    def controls(self, start: dict, first: int = 0, **more) -> dict[str, widgets.Widget]:
        """layer, frame, rule and what a browser adds; ``start`` says where they begin, ``first``
        which frame is the first.
        """
        layers = self.canvas(first, "paper").layers
        last = len(self.clip) - 1 if self.model.for_video else first
        wide = dict(layout=widgets.Layout(width="420px"), style={"description_width": "80px"})
        frame = min(max(start.get("frame", first), first), last)
        usual = dict(
            layer=widgets.SelectionSlider(
                options=layers,
                value=start.get("layer", layers[-2:][0]),
                description="layer",
                **wide,
            ),
            frame=widgets.IntSlider(
                frame, first, last, description="frame", disabled=last == first, **wide
            ),
            rule=widgets.ToggleButtons(
                options=[(RULE_NAMES[r], r) for r in RULE_ORDER],
                value=start.get("rule", "paper"),
                description="rule",
            ),
        )
        for control in more.values():
            control.layout, control.style = wide["layout"], wide["style"]
        return usual | more

    def browser(
        self, controls: dict[str, widgets.Widget], show: Callable[..., dict[str, bytes]]
    ) -> Browser:
        return Browser(controls, show, self.scale * self.clip.size[1])

    def picture(self, values: Tensor, vmax: float | None = None) -> bytes:
        return palette_png(values, self.scale, vmax)

    def photo(self, picture: Tensor) -> bytes:
        return rgb_png(picture, self.scale)
