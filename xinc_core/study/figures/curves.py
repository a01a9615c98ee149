"""Curves: over epochs, and sorted over neurons."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from torch import Tensor

from xinc_core.tracing import RULE_NAMES

from .maps import Stored
from .pictures import image
from .theme import PARTITION_COLORS, family_color, layer_colors, set_theme


def training(histories: dict[str, object], ax: plt.Axes | None = None) -> plt.Axes:
    """PSNR over epochs, one curve per family and its :class:`~xinc_core.History`."""
    ax = ax or plt.gca()
    for name, history in histories.items():
        ax.plot(history["epoch"], history["psnr"], label=name, color=family_color(name))
    ax.set(xlabel="epochs (of an image: full steps)", ylabel="PSNR of the training batches (dB)")
    ax.legend(frameon=False)
    return ax


def fits(
    truth: Tensor, pictures: dict[str, tuple[Tensor, Tensor]], histories: dict[str, object]
) -> plt.Figure:
    """How networks learned: PSNR over the epochs of a brief fit; beside it, per family, the frame,
    what the brief fit paints and what the study's network paints.

    Parameters
    ----------
    truth : Tensor
        (3, H, W), the frame.
    pictures
        family → (brief fit's picture, study's picture), each (3, H, W).
    histories
        family → the brief fit's :class:`~xinc_core.History`.
    """
    set_theme()
    fig = plt.figure(figsize=(11, 1.4 * len(pictures) + 0.5))
    left, right = fig.subfigures(1, 2, width_ratios=(1, 1.9))
    training(histories, left.subplots())
    rows = right.subplots(len(pictures), 3, squeeze=False)
    for row, (family, (brief, study)) in zip(rows, pictures.items()):
        image(truth, row[0], "frame")
        image(brief, row[1], f"{family}, brief fit")
        image(study, row[2], f"{family}, the study's")
    return fig


def totals(layers: dict[str, Tensor], ax: plt.Axes | None = None) -> plt.Axes:
    """How a layer's contribution is spread over its neurons: the share that the largest x percent
    of them hold, a curve per layer.

    layers : name → (n_neurons,) totals.
    """
    ax, colors = ax or plt.gca(), layer_colors(layers)
    for name, values in layers.items():
        held = values.sort(descending=True).values.cumsum(0) / values.sum()
        share = np.arange(1, len(held) + 1) / len(held)
        label = f"{name} ({len(held):,})"
        ax.plot(100 * share, 100 * held.numpy(), label=label, color=colors[name])
    ax.plot([0, 100], [0, 100], color="0.7", lw=1, ls=":", label="all alike")
    ax.set(xlabel="neurons, largest first (%)", ylabel="share of the layer's contribution (%)")
    ax.legend(frameon=False)
    return ax


def totals_of_families(families: dict[str, dict[str, Tensor]]) -> plt.Figure:
    """:func:`totals`, a panel per family.

    families : the panel's title → layer → (n_neurons,) totals.
    """
    set_theme()
    size = (3.4 * len(families), 3.3)
    fig, axes = plt.subplots(1, len(families), figsize=size, sharey=True, squeeze=False)
    for ax, (title, layers) in zip(axes[0], families.items()):
        totals(layers, ax)
        ax.set_title(title)
    return fig


def sorted_curves(
    values: dict[str, np.ndarray], colors: dict, ax: plt.Axes | None = None, title: str = "", **axes
) -> plt.Axes:
    """Curves over neurons, smallest value first; x in percent of the neurons.

    Parameters
    ----------
    values
        The curve's name → its values, sorted.
    colors
        The curve's name → its colour.
    **axes
        Of ``ax.set``.
    """
    ax = ax or plt.gca()
    for name, curve in values.items():
        style = "--" if name == "lattice" else "-"
        share = np.linspace(0, 100, len(curve))
        ax.plot(share, curve, color=colors[name], label=name, ls=style)
    ax.set(xlabel="neurons, sorted (%)", title=title, **axes)
    return ax


def pixels_per_neuron(stored: dict[str, Stored]) -> plt.Figure:
    """On how many pixels a neuron contributes more than the average neuron: a row per rule, a
    column per family, a curve per layer.

    stored : family → rule → layer → what ``findings.distributed`` stores.
    """
    set_theme()
    rules = list(next(iter(stored.values())))
    figsize = (2.9 * len(stored), 2.6 * len(rules) + 0.2)
    shape = (len(rules), len(stored))
    fig, axes = plt.subplots(*shape, figsize=figsize, sharex=True, sharey=True, squeeze=False)
    for row, rule in zip(axes, rules):
        for ax, (family, by_rule) in zip(row, stored.items()):
            layers = by_rule[rule].items()
            percent = {layer: 100 * found["curve"].astype(float) for layer, found in layers}
            title = f"{family}, {RULE_NAMES[rule]}"
            sorted_curves(percent, layer_colors(percent), ax, title)
            ax.legend(frameon=False, fontsize="x-small")
        row[0].set_ylabel("pixels above average (%)")
    return fig


def selectivity_curves(stored: Stored) -> plt.Figure:
    """Selectivity sorted over neurons, one curve per partition: a row per rule, a column per layer.

    stored : rule → layer → what ``findings.selectivity`` stores.
    """
    set_theme()
    rules = list(stored)
    layers = list(stored[rules[0]])
    figsize = (2.7 * len(layers), 2.6 * len(rules) + 0.4)
    shape = (len(rules), len(layers))
    fig, axes = plt.subplots(*shape, figsize=figsize, sharey=True, squeeze=False)
    for row, rule in zip(axes, rules):
        for ax, layer in zip(row, layers):
            title = f"{layer}, {RULE_NAMES[rule]}"
            sorted_curves(stored[rule][layer], PARTITION_COLORS, ax, title, yscale="log")
            # Panels share their axes; only the outer ones show them.
            ax.xaxis.set_visible(rule == rules[-1])
            ax.yaxis.set_visible(layer == layers[0])
        row[0].set_ylabel("selectivity (variance of δ)")
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=6,
        frameon=False,
        fontsize="small",
    )
    return fig
