"""What is wrong with a network: its worst frames and regions, and the neurons that do nothing, that
repeat others, or that do harm. Numbers only; ``study.figures.diagnosis`` makes a table and a figure
of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xinc_core.clips import Clip
from xinc_core.editing.sampling import sample_layer
from xinc_core.fitting import check_clip, psnr
from xinc_core.models import render
from xinc_core.study.statistics.partitions import Partition, grid_cells, instances
from xinc_core.tracing import Canvas, LayerMaps, Regional, trace

DUPLICATE_COSINE = 0.999  # of two neurons' profiles: from here on they count as duplicates
NO_EFFECT = 1e-12  # of a layer's largest energy: below it a neuron has no effect
CELLS = (8, 16)  # rows and columns of the cells over which a profile sums its map


class LayerSums(NamedTuple):
    """Sums over the first-order maps C of a layer's neurons, or of a large layer's sample.

    neurons : (k,) their numbers; energy : (k,) Σ‖C‖²; profile : (k, 3·8·16) signed colours summed
    over 8×16 cells; due : (k,) Σ⟨target − image, C⟩.
    """

    neurons: Tensor
    energy: Tensor
    profile: Tensor
    due: Tensor


class IdleNeurons(NamedTuple):
    """How many neurons of a layer were examined, how many have no effect, and how many of the
    others have a duplicate.
    """

    examined: int
    without_effect: int
    with_duplicate: int


class HarmfulNeuron(NamedTuple):
    """A neuron whose removal raises the frame's PSNR by ``gain`` dB."""

    layer: str
    neuron: int
    gain: float


@dataclass(frozen=True)
class Weaknesses:
    """What was found.

    Attributes
    ----------
    quality : dict
        Frame → PSNR in dB.
    frame : int
        The frame that is examined closely.
    error : Tensor
        (H, W), its squared error, mean over colours.
    regions : list
        Name and error over the picture's mean of the worst regions.
    idle : dict
        Layer → :class:`IdleNeurons`.
    harmful : list
        The worst :class:`HarmfulNeuron`, best gain first.
    """

    quality: dict[int, float]
    frame: int
    error: Tensor
    regions: list[tuple[str, float]]
    idle: dict[str, IdleNeurons]
    harmful: list[HarmfulNeuron]


def find_weaknesses(
    model: nn.Module, clip: Clip, frame: int | None = None, worst: int = 3
) -> Weaknesses:
    """Where a network fails its clip, and through which neurons.

    Parameters
    ----------
    frame : int, optional
        The frame that is examined closely; by default the one with the lowest PSNR.
    worst : int
        How many regions, and how many harmful neurons of the whole network, are named.

    Raises
    ------
    ValueError
        If the model does not fit the clip.
    """
    check_clip(model, clip)
    frames = range(len(clip)) if model.for_video else [model.frame]
    quality = {t: psnr(render(model, t).cpu(), clip.frames[t]).item() for t in frames}
    if frame is None or not model.for_video:
        frame = min(quality, key=quality.get)
    canvas, target = trace(model, frame, "first_order"), clip.frames[frame]
    error = (canvas.image.cpu().clamp(0, 1) - target).square().mean(0)
    regions = worst_regions(error, grid_cells(clip), frame, worst)
    if clip.labels is not None:
        regions += worst_regions(error, instances(clip), frame, worst)
    miss = target.to(canvas.image) - canvas.image
    sums = {maps.name: layer_sums(maps, miss) for maps in canvas}
    idle = {name: idle_neurons(of_layer) for name, of_layer in sums.items()}
    harmful = harmful_neurons(canvas, miss, sums, worst)
    return Weaknesses(quality, frame, error, regions, idle, harmful)


def worst_regions(error: Tensor, part: Partition, frame: int, most: int) -> list[tuple[str, float]]:
    """The regions of largest mean error over the picture's mean: name and ratio; error : (H, W)."""
    labels = part.labels[frame].flatten()
    area = torch.bincount(labels, minlength=part.n_regions)
    total = torch.bincount(labels, error.flatten().double(), part.n_regions)
    ratio = total / area.clamp_min(1) / error.double().mean()
    largest = ratio.argsort(descending=True)[:most]
    return [(part.names[i], float(ratio[i])) for i in largest if area[i]]


def layer_sums(maps: LayerMaps, miss: Tensor) -> LayerSums:
    """Sums over a layer's first-order maps, in one pass; of a large layer over a sample of 64
    output channels.

    miss : (3, H, W), what the picture misses, target − image.
    """
    _, H, W = maps.shape
    maps = sample_layer(maps)
    cells = _cells(H, W)
    energy, due = torch.zeros(2, len(maps), dtype=torch.float64)
    profile = torch.zeros(len(maps), 3 * CELLS[0] * CELLS[1])
    for pixels, parts in maps.tiles("profiles", signed=True):
        sums = Regional(cells[None, pixels], CELLS[0] * CELLS[1], like=maps.traced.x)
        missing = miss.flatten(1)[:, pixels]
        for neurons, colors in parts:  # colors : (3, k, P)
            due[neurons] += sum(map(torch.mv, colors, missing)).double().cpu()
            profile[neurons] += torch.cat([sums(plane) for plane in colors], 1).float().cpu()
            energy[neurons] += colors.square_().sum((0, 2)).double().cpu()
    return LayerSums(maps.neurons, energy, profile, due)


def _cells(H: int, W: int) -> Tensor:
    """The cell of every pixel, (H·W,), row-major."""
    rows, columns = CELLS
    row = torch.arange(H)[:, None] * rows // H
    column = torch.arange(W) * columns // W
    return (row * columns + column).flatten()


def idle_neurons(sums: LayerSums) -> IdleNeurons:
    """The neurons of a layer whose first-order map is zero, and those that have a duplicate:
    another neuron whose profile has a cosine above 0.999 with theirs.
    """
    active = sums.energy > NO_EFFECT * sums.energy.max()
    profile = F.normalize(sums.profile[active], dim=1)
    duplicate = (profile @ profile.T).fill_diagonal_(0) > DUPLICATE_COSINE
    return IdleNeurons(len(active), int((~active).sum()), int(duplicate.any(1).sum()))


def harmful_neurons(
    canvas: Canvas, miss: Tensor, sums: dict[str, LayerSums], most: int
) -> list[HarmfulNeuron]:
    """The neurons whose removal raises the frame's PSNR most, best first.

    Removing a neuron changes the squared error by about Σ_p (2⟨target − image, C⟩ + ‖C‖²), C its
    first-order map; the best candidates of each layer are then removed by ablation, which gives the
    gain.
    """
    before = miss.square().mean()
    harmful = []
    for name, of_layer in sums.items():
        change = 2 * of_layer.due + of_layer.energy
        candidates = of_layer.neurons[change.argsort()[: 2 * most]]
        ablation = canvas.with_rule("ablation")[name]
        for neuron in candidates.tolist():
            after = (miss + ablation.color(neuron)).square().mean()
            harmful.append(HarmfulNeuron(name, neuron, float(10 * (before / after).log10())))
    harmful.sort(key=lambda one: -one.gain)
    return [one for one in harmful[:most] if one.gain > 0]
