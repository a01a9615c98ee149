"""The browsers of the findings, one function each."""

from __future__ import annotations

from functools import lru_cache

import ipywidgets as widgets
import numpy as np
import torch
from torch import Tensor

from xinc_core.study.explorer.explorer import overlay_png
from xinc_core.study.figures.theme import RULE_NAMES
from xinc_core.study.findings import groups
from xinc_core.study.statistics.ranks import normalised, rank_correlation
from xinc_core.tracing.rules import RULE_ORDER

from .base import Browser, Opened


def neurons_per_pixel(o: Opened, **start) -> Browser:
    """How many neurons a pixel needs: those whose |C| belongs to the largest that make up the
    chosen share.
    """
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
        at, heat = o.canvas(frame, rule).frame, normalised(maps.sum(0))
        light, edge = o.scene.light(at), o.scene.edges(at)
        return {
            f"<b>{layer}</b>, heatmap of {len(maps)} of {n:,} neurons": o.picture(heat),
            f"intensity; rank correlation {rank_correlation(heat, light):.2f}": o.picture(light),
            "|heatmap − intensity|": o.picture(heat - light),
            f"edges (Sobel); rank correlation {rank_correlation(heat, edge):.2f}": o.picture(edge),
        }

    return o.browser(o.controls(start), show)


def selectivity(o: Opened, **start) -> Browser:
    """What one neuron prefers: its mean contribution in every region of a partition, over its
    mean everywhere.
    """
    neuron = widgets.IntSlider(start.get("neuron", 0), 0, 10**6, description="neuron")
    parts = widgets.SelectionSlider(
        options=list(o.scene.partitions),
        value=start.get("partition", "RGB"),
        description="partition",
    )
    controls = o.controls(start, neuron=neuron, partition=parts)

    def show(layer, frame, rule, neuron, partition):
        maps = o.canvas(frame, rule)[layer]
        controls["neuron"].max = len(maps) - 1
        neuron, labels = (
            min(neuron, len(maps) - 1),
            o.scene.labels(partition, o.canvas(frame, rule).frame),
        )
        values = maps[neuron].abs()
        area = torch.bincount(labels.flatten())
        ratio = (
            torch.bincount(labels.flatten(), values.flatten().double())
            / area
            / values.double().mean().clamp_min(1e-30)
        )
        return {
            f"frame {frame}": o.photo(o.truth(frame)),
            f"<b>{layer}, neuron {neuron}</b> of {len(maps):,}": o.picture(values),
            f"mean per {partition} region / picture's mean; brightest = {float(ratio.max()):.2f}×": o.picture(
                ratio[labels]
            ),
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
            names = ", ".join(
                f"{part.names[i]} {float(means[i] / values.mean().clamp_min(1e-30)):.1f}×"
                for i in best
            )
            found[f"mean per instance; most over the picture's mean: {names}"] = o.picture(
                means[labels] * (labels > 0)
            )
        return found

    return o.browser(controls, show)


def fluctuation(o: Opened, **start) -> Browser:
    """How the maps changed since the frame before, beside optical flow and the change of the
    picture.
    """
    if not o.model.for_video:
        raise ValueError(f"{o.model.family} paints one frame; a fluctuation takes a video network")

    def show(layer, frame, rule):
        (_, now, n), (_, before, _) = o.few(frame, rule, layer), o.few(frame - 1, rule, layer)
        f, flow = (now - before).abs().sum(0), o.scene.flow(frame)
        change = (o.canvas(frame, rule).image - o.canvas(frame - 1, rule).image).abs().sum(0)
        return {
            f"<b>{layer}</b>, fluctuation of {len(now)} of {n:,} neurons": o.picture(f),
            f"flow up to {float(flow.max()):.1f} pixels; rank correlation {rank_correlation(f, flow):.2f}": o.picture(
                flow
            ),
            f"frame {frame}": o.photo(o.truth(frame)),
            f"change of the picture; rank correlation {rank_correlation(f, change):.2f}": o.picture(
                change
            ),
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
        member = torch.nn.functional.one_hot(
            o.scene.labels("RGB", o.canvas(frame, rule).frame).flatten()
        ).float()
        return scaled, groups.grouped(
            ((scaled.flatten(1) @ member) / member.sum(0)).double().numpy()
        )

    def show(layer, frame, rule, group, neuron):
        numbers, maps, n = o.few(frame, rule, layer)
        scaled, group_of = sorted_out(frame, rule, layer)
        mine = np.flatnonzero(group_of == min(group, group_of.max()))
        controls["neuron"].max = len(mine) - 1
        chosen = mine[min(neuron, len(mine) - 1)]
        mean = scaled[mine].mean(0)
        return {
            f"frame {frame}": o.photo(o.truth(frame)),
            f"<b>{layer}, group {group}</b>: mean map of {len(mine)} of {len(maps)} neurons ({n:,} in all)": o.picture(
                mean
            ),
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
        for rule in RULE_ORDER:
            values = o.canvas(frame, rule)[layer][neuron].abs()
            text = f"{RULE_NAMES[rule]}; rank correlation with ablation {rank_correlation(values, truth):.2f}"
            found[text] = o.picture(values)
        return found

    return o.browser(controls, show)


def _cumulative(maps: Tensor) -> tuple[Tensor, Tensor]:
    """|C| at every other row and column, from the largest down, and their running sum."""
    values = maps[:, ::2, ::2].flatten().sort(descending=True).values
    return values, values.double().cumsum(0)
