"""What is wrong with this network? Its worst frames and regions, and the neurons that do
nothing, too much, or harm.
"""

from __future__ import annotations

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xinc_core.clips.clip import Clip
from xinc_core.editing.sampling import sample_layer
from xinc_core.fitting.quality import check_clip, psnr
from xinc_core.models import render
from xinc_core.study.statistics.partitions import Partition, grid_cells, instances
from xinc_core.tracing.canvas import Canvas, trace
from xinc_core.tracing.maps import LayerMaps
from xinc_core.tracing.region_sums import Regional

from . import theme as plots

ALIKE = 0.999  # cosine of two neurons' profiles from which they count as duplicates


class Looked(NamedTuple):
    """What was seen of a layer's maps C, of all neurons or of a large layer's sample.

    neurons : (k,) their numbers; energy : (k,) Σ‖C‖²; profile : (k, 3·8·16) signed colours summed
    over 8×16 cells; due : (k,) Σ⟨target − image, C⟩.
    """

    neurons: Tensor
    energy: Tensor
    profile: Tensor
    due: Tensor


class Diagnosis(NamedTuple):
    """table : columns what, where, value, unit; figure : error per frame and region, neurons per
    layer.
    """

    table: pd.DataFrame
    figure: plt.Figure


def diagnose(model: nn.Module, clip: Clip, frame: int | None = None, worst: int = 3) -> Diagnosis:
    """Say in a short table and a figure where a network fails its clip, and through which neurons.

    Parameters
    ----------
    frame : int, optional
        The frame that is looked at closely; by default the one with the lowest PSNR.
    worst : int
        How many regions, and how many harmful neurons of the whole network, are named.

    Returns
    -------
    Diagnosis
        PSNR per frame (its mean and the worst); the worst regions: cells of a 4×8 grid, and
        instances where the clip has masks, by their error over the picture's; per layer the neurons
        without effect (first-order map zero) and those with a duplicate (profiles with a cosine
        above 0.999; of large layers a seeded sample of 64 output channels); the neurons whose
        removal improves the frame most, found by first-order maps, confirmed by ablation.

    Raises
    ------
    ValueError
        If the model does not fit the clip.
    """
    check_clip(model, clip)
    frames = range(len(clip)) if model.for_video else [model.frame]
    quality = {f: psnr(render(model, f).cpu(), clip.frames[f]).item() for f in frames}
    frame = min(quality, key=quality.get) if frame is None or not model.for_video else frame
    canvas, target = trace(model, frame, "first_order"), clip.frames[frame]
    error = (canvas.image.cpu().clamp(0, 1) - target).square().mean(0)
    regions = worst_regions(error, grid_cells(clip), frame, worst)
    if clip.labels is not None:
        regions += worst_regions(error, instances(clip), frame, worst)
    miss = target.to(canvas.image) - canvas.image
    looked = {maps.name: looked_at(maps, miss) for maps in canvas}
    layers, harm = (
        {name: idle(one) for name, one in looked.items()},
        harmful(canvas, miss, looked, worst),
    )
    rows = [
        (
            "PSNR",
            "mean over frames" if len(quality) > 1 else f"frame {frame}",
            np.mean(list(quality.values())),
            "dB",
        )
    ]
    rows += [("PSNR", f"worst: frame {frame}", quality[frame], "dB")] if len(quality) > 1 else []
    rows += [("error over the picture's", name, value, "×") for name, value in regions]
    for name, (n, dead, twins) in layers.items():
        rows += [("neurons without effect", name, 100 * dead / n, f"% of {n}")]
        rows += [("neurons with a duplicate", name, 100 * twins / n, f"% of {n}")]
    rows += [
        ("removal improves the frame", f"{name}, neuron {n}", gain, "dB") for name, n, gain in harm
    ]
    table = pd.DataFrame(rows, columns=["what", "where", "value", "unit"])
    return Diagnosis(table, _figure(clip, quality, frame, error, layers))


def worst_regions(error: Tensor, part: Partition, frame: int, most: int) -> list[tuple[str, float]]:
    """The regions of largest mean error over the picture's mean: name and ratio; error : (H, W)."""
    labels = part.labels[frame].flatten()
    area = torch.bincount(labels, minlength=part.n_regions)
    mean = (
        torch.bincount(labels, error.flatten().double(), part.n_regions)
        / area.clamp_min(1)
        / error.double().mean()
    )
    return [
        (part.names[i], float(mean[i])) for i in mean.argsort(descending=True)[:most] if area[i]
    ]


def looked_at(maps: LayerMaps, miss: Tensor) -> Looked:
    """A layer's first-order maps beside what the picture misses, target − image (3, H, W), in
    one pass.
    """
    maps, (_, H, W) = sample_layer(maps), maps.shape
    cells = (torch.arange(H)[:, None] * 8 // H * 16 + torch.arange(W) * 16 // W).flatten()
    energy, due = torch.zeros(2, len(maps), dtype=torch.float64)
    profile = torch.zeros(len(maps), 3 * 8 * 16)
    for pixels, parts in maps.tiles("profiles", signed=True):
        sums, missing = (
            Regional(cells[None, pixels], 8 * 16, like=maps.traced.x),
            miss.flatten(1)[:, pixels],
        )
        for neurons, colors in parts:
            due[neurons] += sum(map(torch.mv, colors, missing)).double().cpu()
            profile[neurons] += torch.cat([sums(plane) for plane in colors], 1).float().cpu()
            energy[neurons] += colors.square_().sum((0, 2)).double().cpu()
    return Looked(maps.neurons, energy, profile, due)


def idle(looked: Looked) -> tuple[int, int, int]:
    """How many neurons were looked at, how many have no effect, and how many of the others have
    a duplicate.
    """
    alive = looked.energy > 1e-12 * looked.energy.max()
    profile = F.normalize(looked.profile[alive], dim=1)
    alike = (profile @ profile.T).fill_diagonal_(0) > ALIKE
    return len(alive), int((~alive).sum()), int(alike.any(1).sum())


def harmful(
    canvas: Canvas, miss: Tensor, looked: dict[str, Looked], most: int
) -> list[tuple[str, int, float]]:
    """The neurons whose removal raises the frame's PSNR most: (layer, neuron, gain in dB by
    ablation), best first.

    Removing a neuron changes the squared error by about Σ_p (2⟨target − image, C⟩ + ‖C‖²), C its
    first-order map; the best candidates of each layer are removed in fact.
    """
    before, found = miss.square().mean(), []
    for name, one in looked.items():
        tried = one.neurons[(2 * one.due + one.energy).argsort()[: 2 * most]]
        truth = canvas.with_rule("ablation")[name]
        for n in tried.tolist():
            after = (miss + truth.color(n)).square().mean()
            found.append((name, n, float(10 * (before / after).log10())))
    return [f for f in sorted(found, key=lambda f: -f[2])[:most] if f[2] > 0]


def _figure(
    clip: Clip, quality: dict[int, float], frame: int, error: Tensor, layers: dict
) -> plt.Figure:
    plots.theme()
    fig, axes = plt.subplots(1, 3, figsize=(13, 2.9), width_ratios=(1, 1.4, 1))
    axes[0].plot(list(quality), list(quality.values()), "o-", ms=3, color="0.3")
    axes[0].plot(
        frame,
        quality[frame],
        "o",
        color=plots.VERDICT_COLORS["not reproduced"],
        label=f"frame {frame}",
    )
    axes[0].set(xlabel="frame", ylabel="PSNR (dB)", title="quality per frame")
    axes[0].legend(frameon=False)
    plots.magnitude(
        error.sqrt(),
        axes[1],
        f"error of frame {frame}, brightest = {float(error.max().sqrt()):.2f}",
    )
    shares = np.array([[100 * dead / n, 100 * twins / n] for n, dead, twins in layers.values()])
    for k, (name, color) in enumerate((("without effect", "0.3"), ("with a duplicate", "0.65"))):
        axes[2].bar(
            np.arange(len(layers)) + 0.36 * k - 0.18, shares[:, k], 0.34, color=color, label=name
        )
    axes[2].set_xticks(range(len(layers)), layers)
    axes[2].set(ylabel="neurons (%)", title="idle neurons", ylim=(0, max(1.0, 1.25 * shares.max())))
    axes[2].legend(frameon=False)
    return fig
