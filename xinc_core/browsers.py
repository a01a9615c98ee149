"""The browsers of the findings: sliders on one side, pictures that follow on the other.

Each is a function of plain values that returns captions and pictures; ``Browser`` puts controls before it. What would take
seconds for all neurons of a layer is shown for a seeded sample of them, and the caption says so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import ipywidgets as widgets
import numpy as np
import torch
from torch import Tensor, nn

from .canvas import trace
from .clips import Clip
from .explorer import WIDTH, check, overlay_png, palette_png, rgb_png
from .findings import groups
from .findings.ranks import rank_correlation
from .findings.scene import Scene
from .plots import RULE_NAMES

FEW = 128  # neurons of a layer that a browser adds up


class Browser(widgets.VBox):
    """Controls, and the pictures that ``show(**values)`` returns for them: caption → PNG."""

    def __init__(self, controls: dict[str, widgets.Widget], show: Callable[..., dict[str, bytes]], width: int = WIDTH):
        self.controls, self._show, self._quiet = controls, show, False
        self._cell = widgets.Layout(width=f"{width}px")  # a long caption wraps; it must not stretch its picture
        self.images: list[widgets.Image] = []
        self.captions: list[widgets.HTML] = []
        self._cells = widgets.GridBox(layout=widgets.Layout(grid_template_columns="repeat(2, max-content)", grid_gap="4px"))
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
            self._cells.children = [widgets.VBox([c, i]) for c, i in zip(self.captions, self.images)]
        for caption, picture, (text, png) in zip(self.captions, self.images, found.items()):
            caption.value, picture.value = text, png


class Opened:
    """A model and its clip, with what the browsers share: canvases, a few maps of a layer, controls, sizes."""

    def __init__(self, model: nn.Module, clip: Clip):
        self.model, self.clip, self.scene = model, clip, Scene(clip)
        self.scale = max(1, WIDTH // clip.size[1])
        self.canvas = lru_cache(8)(lambda frame, rule: trace(model, frame, rule))
        check(model, clip, self.canvas(0, "paper"))
        self.few = lru_cache(16)(self._few)

    def _few(self, frame: int, rule: str, layer: str) -> tuple[Tensor, Tensor, int]:
        """(numbers, |C| of a seeded sample of neurons (k, H, W), how many neurons the layer has)."""
        whole = self.canvas(frame, rule)[layer]
        part = whole.sample(max(1, -(-FEW // whole.traced.layer.c_in)))
        return part.neurons[:FEW], part.tensor()[:FEW].abs(), len(whole)

    def truth(self, frame: int) -> Tensor:
        return self.clip.frames[self.canvas(frame, "paper").frame]

    def controls(self, start: dict, first: int = 0, **more) -> dict[str, widgets.Widget]:
        """layer, frame, rule and what a browser adds; ``start`` says where they begin, ``first`` which frame is the first."""
        layers = self.canvas(first, "paper").layers
        last = len(self.clip) - 1 if self.model.for_video else first
        wide = dict(layout=widgets.Layout(width="420px"), style={"description_width": "80px"})
        frame = min(max(start.get("frame", first), first), last)
        usual = dict(
            layer=widgets.SelectionSlider(options=layers, value=start.get("layer", layers[-2]), description="layer", **wide),
            frame=widgets.IntSlider(frame, first, last, description="frame", disabled=last == first, **wide),
            rule=widgets.ToggleButtons(
                options=[(RULE_NAMES[r], r) for r in ("paper", "first_order")],
                value=start.get("rule", "paper"),
                description="rule",
            ),
        )
        for control in more.values():
            control.layout, control.style = wide["layout"], wide["style"]
        return usual | more

    def browser(self, controls: dict[str, widgets.Widget], show: Callable[..., dict[str, bytes]]) -> Browser:
        return Browser(controls, show, self.scale * self.clip.size[1])

    def picture(self, values: Tensor, vmax: float | None = None) -> bytes:
        return palette_png(values, self.scale, vmax)

    def photo(self, picture: Tensor) -> bytes:
        return rgb_png(picture, self.scale)


def neurons_per_pixel(o: Opened, **start) -> Browser:
    """How many neurons a pixel needs: those whose |C| belongs to the largest that make up the chosen share."""
    sort = lru_cache(8)(lambda *key: _cumulative(o.few(*key)[1]))

    def show(layer, frame, rule, share):
        _, maps, n = o.few(frame, rule, layer)
        values, held = sort(frame, rule, layer)
        threshold = values[int((held < share / 100 * held[-1]).sum().clamp(max=len(values) - 1))]
        heat = (maps >= threshold).float().mean(0)
        return {
            f"frame {frame}": o.photo(o.truth(frame)),
            f"<b>{layer}</b>: share of neurons that make up {share} % of all contributions, 0 to 1; {len(maps)} of {n:,} "
            f"neurons, on average {100 * float(heat.mean()):.0f} %": o.picture(heat, 1.0),
        }

    share = widgets.IntSlider(start.get("share", 50), 5, 95, 5, description="share (%)")
    return o.browser(o.controls(start, share=share), show)


def intensity_and_edges(o: Opened, **start) -> Browser:
    """The heatmap of a layer beside intensity, edges and the difference from intensity."""

    def show(layer, frame, rule):
        _, maps, n = o.few(frame, rule, layer)
        at, heat = o.canvas(frame, rule).frame, maps.sum(0)
        heat, light, edge = (
            (heat - heat.min()) / (heat.max() - heat.min()).clamp_min(1e-12),
            o.scene.light(at),
            o.scene.edges(at),
        )
        return {
            f"<b>{layer}</b>, heatmap of {len(maps)} of {n:,} neurons": o.picture(heat),
            f"intensity; rank correlation {rank_correlation(heat, light):.2f}": o.picture(light),
            "|heatmap − intensity|": o.picture(heat - light),
            f"edges (Sobel); rank correlation {rank_correlation(heat, edge):.2f}": o.picture(edge),
        }

    return o.browser(o.controls(start), show)


def selectivity(o: Opened, **start) -> Browser:
    """What one neuron prefers: its mean contribution in every region of a partition, over its mean everywhere."""
    neuron = widgets.IntSlider(start.get("neuron", 0), 0, 10**6, description="neuron")
    parts = widgets.SelectionSlider(
        options=list(o.scene.partitions), value=start.get("partition", "RGB"), description="partition"
    )
    controls = o.controls(start, neuron=neuron, partition=parts)

    def show(layer, frame, rule, neuron, partition):
        maps = o.canvas(frame, rule)[layer]
        controls["neuron"].max = len(maps) - 1
        neuron, labels = min(neuron, len(maps) - 1), o.scene.labels(partition, o.canvas(frame, rule).frame)
        values = maps[neuron].abs()
        area = torch.bincount(labels.flatten())
        ratio = torch.bincount(labels.flatten(), values.flatten().double()) / area / values.double().mean().clamp_min(1e-30)
        return {
            f"frame {frame}": o.photo(o.truth(frame)),
            f"<b>{layer}, neuron {neuron}</b> of {len(maps):,}": o.picture(values),
            f"mean per {partition} region / picture's mean; brightest = {float(ratio.max()):.2f}×": o.picture(ratio[labels]),
        }

    return o.browser(controls, show)


def objects(o: Opened, **start) -> Browser:
    """What each instance receives from one neuron, frame by frame."""
    neuron = widgets.IntSlider(start.get("neuron", 0), 0, 10**6, description="neuron")
    controls = o.controls(start, neuron=neuron)

    def show(layer, frame, rule, neuron):
        maps = o.canvas(frame, rule)[layer]
        controls["neuron"].max = len(maps) - 1
        neuron, at = min(neuron, len(maps) - 1), o.canvas(frame, rule).frame
        values = maps[neuron].abs()
        found = {
            f"frame {frame}": o.photo(o.truth(frame)),
            f"<b>{layer}, neuron {neuron}</b> of {len(maps):,}": o.picture(values),
        }
        if o.scene.has_masks:
            part = o.scene.partitions["instances"]
            labels = part.labels[at]
            means = torch.zeros(part.n_regions).index_add_(0, labels.flatten(), values.flatten())
            means = means / torch.bincount(labels.flatten(), minlength=part.n_regions).clamp_min(1)
            best = means[1:].argsort(descending=True)[:3] + 1
            names = ", ".join(f"{part.names[i]} {float(means[i] / values.mean().clamp_min(1e-30)):.1f}×" for i in best)
            found[f"mean per instance; most over the picture's mean: {names}"] = o.picture(means[labels] * (labels > 0))
        return found

    return o.browser(controls, show)


def fluctuation(o: Opened, **start) -> Browser:
    """How the maps changed since the frame before, beside optical flow and the change of the picture."""
    if not o.model.for_video:
        raise ValueError(f"{o.model.family} paints one frame; a fluctuation takes a video network")

    def show(layer, frame, rule):
        (_, now, n), (_, before, _) = o.few(frame, rule, layer), o.few(frame - 1, rule, layer)
        f, flow = (now - before).abs().sum(0), o.scene.flow(frame)
        change = (o.canvas(frame, rule).image - o.canvas(frame - 1, rule).image).abs().sum(0)
        return {
            f"<b>{layer}</b>, fluctuation of {len(now)} of {n:,} neurons": o.picture(f),
            f"flow up to {float(flow.max()):.1f} pixels; rank correlation {rank_correlation(f, flow):.2f}": o.picture(flow),
            f"frame {frame}": o.photo(o.truth(frame)),
            f"change of the picture; rank correlation {rank_correlation(f, change):.2f}": o.picture(change),
        }

    return o.browser(o.controls(start, first=1), show)


def kinds(o: Opened, **start) -> Browser:
    """Groups of neurons by profile: the mean map of a group, and one of its neurons."""
    group = widgets.IntSlider(start.get("group", 0), 0, groups.GROUPS - 1, description="group")
    member = widgets.IntSlider(start.get("neuron", 0), 0, 10**6, description="neuron")
    controls = o.controls(start, group=group, neuron=member)

    @lru_cache(8)
    def sorted_out(frame, rule, layer):
        _, maps, _ = o.few(frame, rule, layer)
        low, high = maps.amin((1, 2)), maps.amax((1, 2))
        scaled = (maps - low[:, None, None]) / (high - low).clamp_min(1e-30)[:, None, None]
        member = torch.nn.functional.one_hot(o.scene.labels("RGB", o.canvas(frame, rule).frame).flatten()).float()
        return scaled, groups.grouped(((scaled.flatten(1) @ member) / member.sum(0)).double().numpy())

    def show(layer, frame, rule, group, neuron):
        numbers, maps, n = o.few(frame, rule, layer)
        scaled, group_of = sorted_out(frame, rule, layer)
        mine = np.flatnonzero(group_of == min(group, group_of.max()))
        controls["neuron"].max = len(mine) - 1
        chosen = mine[min(neuron, len(mine) - 1)]
        mean = scaled[mine].mean(0)
        return {
            f"frame {frame}": o.photo(o.truth(frame)),
            f"<b>{layer}, group {group}</b>: mean map of {len(mine)} of {len(maps)} neurons ({n:,} in all)": o.picture(mean),
            f"its neuron {int(numbers[chosen])}": o.picture(maps[chosen]),
            "the same over the frame": overlay_png(o.truth(frame), maps[chosen], o.scale),
        }

    return o.browser(controls, show)


def faithfulness(o: Opened, **start) -> Browser:
    """One neuron under both rules and as the truth has it."""
    neuron = widgets.IntSlider(start.get("neuron", 0), 0, 10**6, description="neuron")
    baseline = widgets.ToggleButtons(options=["zero", "mean"], description="baseline")
    controls = o.controls(start, neuron=neuron, baseline=baseline)
    del controls["rule"]

    def show(layer, frame, neuron, baseline):
        canvas = o.canvas(frame, "paper")
        controls["neuron"].max = len(canvas[layer]) - 1
        neuron = min(neuron, len(canvas[layer]) - 1)
        truth = canvas.with_rule("ablation", baseline)[layer][neuron]
        found = {f"frame {frame}": o.photo(o.truth(frame))}
        found[f"<b>{layer}, neuron {neuron}</b>: ablation, {baseline} baseline"] = o.picture(truth)
        for rule in ("paper", "first_order"):
            values = o.canvas(frame, rule)[layer][neuron].abs()
            text = f"{RULE_NAMES[rule]}; rank correlation with ablation {rank_correlation(values, truth):.2f}"
            found[text] = o.picture(values)
        return found

    return o.browser(controls, show)


VIEWS = {
    "neurons per pixel": neurons_per_pixel,
    "intensity and edges": intensity_and_edges,
    "selectivity": selectivity,
    "objects": objects,
    "fluctuation": fluctuation,
    "groups": kinds,
    "faithfulness": faithfulness,
}


def browse(model: nn.Module, clip: Clip, view: str, **start) -> Browser:
    """Open one of the ``VIEWS`` on a model and its clip; ``start`` may name layer, frame, rule and the view's own controls."""
    if view not in VIEWS:
        raise ValueError(f"no view {view!r}; there are {', '.join(VIEWS)}")
    return VIEWS[view](Opened(model, clip), **start)


def _cumulative(maps: Tensor) -> tuple[Tensor, Tensor]:
    """|C| at every other row and column, from the largest down, and their running sum."""
    values = maps[:, ::2, ::2].flatten().sort(descending=True).values
    return values, values.double().cumsum(0)
