"""Sheets of maps: one row per layer of a network."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from xinc_core.editing.sampling import is_huge, sample_layer
from xinc_core.study.statistics.scene import Scene
from xinc_core.tracing import RULE_NAMES, Canvas

from .pictures import grid, image, magnitude

# What a finding stores of a network to be drawn: rule → layer → name → array.
Stored = dict[str, dict[str, dict]]


def canvas_sheet(model: nn.Module, paper: Canvas, first_order: Canvas) -> plt.Figure:
    """The canvas of a network: a row per layer with the maps of all neurons and of the one that
    contributes most under the paper's rule, under both rules.

    Of a huge network the first-order maps of all neurons are those of a sample of each large layer.
    """
    fig, axes = grid(len(paper.layers), 4, tuple(paper.image.shape[1:]), width=2.0)
    for row, layer in zip(axes, paper.layers):
        by_paper, by_first_order = paper[layer], first_order[layer]
        strongest = int(by_paper.totals().argmax())
        summed = sample_layer(by_first_order) if is_huge(model) else by_first_order
        everything, one = f"{layer}, all neurons", f"{layer}, neuron {strongest}"
        shown = (
            (by_paper.heatmap(), everything, "paper"),
            (summed.heatmap(), everything, "first_order"),
            (by_paper[strongest], one, "paper"),
            (by_first_order[strongest], one, "first_order"),
        )
        for ax, (values, what, rule) in zip(row, shown):
            magnitude(values, ax, f"{what}\n{RULE_NAMES[rule]}")
    return fig


def neurons_per_pixel(stored: Stored, size: tuple[int, int]) -> plt.Figure:
    """How many neurons a pixel needs: a row per layer, per rule the heatmaps for 90 % and 50 % of
    all contributions.

    stored : rule → layer → what ``findings.distributed`` stores; size : (H, W) of the clip.
    """
    rules = list(stored)
    layers = list(stored[rules[0]])
    note = "share of neurons, on average in the title: black = 0, bright = 1"
    fig, axes = grid(len(layers), 2 * len(rules), size, width=1.75, note=note)
    for row, layer in zip(axes, layers):
        for number, rule in enumerate(rules):
            for k, share in enumerate((90, 50)):
                heat = stored[rule][layer]["neurons_per_pixel"][k].astype("float32") / 100
                about = f"{layer}, {RULE_NAMES[rule]}\n{share} %: {100 * heat.mean():.0f} %"
                magnitude(torch.tensor(heat), row[2 * number + k], about, vmax=1.0)
    return fig


def heatmaps(stored: Stored, scene: Scene, frame: int) -> plt.Figure:
    """Frame, intensity and edges; below them a row per layer with its heatmap and the heatmap's
    difference from intensity, under each rule.

    stored : rule → layer → what ``findings.edges`` stores; frame : the frame that the network
    paints.
    """
    rules = list(stored)
    layers = list(stored[rules[0]])
    columns = max(3, 2 * len(rules))
    note = "black = 0, bright = largest"
    fig, axes = grid(len(layers) + 1, columns, scene.clip.size, width=1.8, note=note)
    intensity = scene.light(frame)
    image(scene.clip.frames[frame], axes[0, 0], "frame")
    magnitude(intensity, axes[0, 1], "intensity")
    magnitude(scene.edges(frame), axes[0, 2], "edges (Sobel)")
    _empty(axes[0, 3:])
    for row, layer in zip(axes[1:], layers):
        for k, rule in enumerate(rules):
            heat = torch.tensor(stored[rule][layer]["heatmap"] / 100)
            magnitude(heat, row[2 * k], f"{layer}, {RULE_NAMES[rule]}")
            magnitude(heat - intensity, row[2 * k + 1], "its difference")
        _empty(row[2 * len(rules) :])
    return fig


def fluctuation(
    stored: Stored, scene: Scene, frame: int, before: Tensor, now: Tensor
) -> plt.Figure:
    """Frame, optical flow, change of the picture and edges; below them the fluctuation of each
    layer under each rule.

    Parameters
    ----------
    stored
        rule → layer → what ``findings.motion`` stores.
    before, now : Tensor
        (3, H, W), what the network painted at the frame before and at this one.
    """
    rules = list(stored)
    panels = [(layer, rule) for layer in stored[rules[0]] for rule in rules]
    rows = 1 + -(-len(panels) // 4)
    note = "black = no change, bright = most"
    fig, axes = grid(rows, 4, scene.clip.size, width=1.8, note=note)
    image(scene.clip.frames[frame], axes[0, 0], "frame")
    magnitude(scene.flow(frame), axes[0, 1], "optical flow")
    magnitude((now - before).abs().sum(0), axes[0, 2], "change of the picture")
    magnitude(scene.edges(frame), axes[0, 3], "edges")
    _empty(axes[1:].flat[len(panels) :])
    for ax, (layer, rule) in zip(axes[1:].flat, panels):
        values = torch.tensor(stored[rule][layer]["fluctuation"])
        magnitude(values, ax, f"{layer}, {RULE_NAMES[rule]}")
    return fig


def _empty(axes) -> None:
    """Hide axes that hold nothing."""
    for ax in axes:
        ax.axis("off")
