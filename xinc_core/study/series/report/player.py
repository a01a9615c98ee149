"""What the report's player shows: frames, reconstructions, and the maps of each layer's strongest
neurons under both rules.

Single maps cost milliseconds; whole layers are summed up on one frame only, the middle one, to
choose the neurons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xinc_core.clips import Clip
from xinc_core.editing.sampling import sample_layer
from xinc_core.fitting import check_clip, psnr
from xinc_core.models import render
from xinc_core.storage import load_model
from xinc_core.tracing import RULE_ORDER, LayerMaps, trace

from .pictures import cell_size, columns, sprites

STRONGEST = 3  # neurons a layer
MOST_TILES = 3000  # pictures in all sequences: what is above is left out frame by frame, evenly
# The quantile of a sequence that is drawn brightest: one bright pixel does not darken the rest.
FULL = 0.999
SLOWEST, FASTEST = 2.0, 15.0  # frames a second


@dataclass(frozen=True)
class Strongest:
    """The neurons of a layer that contribute most, strongest first.

    Attributes
    ----------
    maps : LayerMaps
        Of these neurons only.
    shares : list of float
        Their shares of the contributions of all that were looked at.
    among : int
        How many were looked at.
    """

    maps: LayerMaps
    shares: list[float]
    among: int


def shows(models: dict[str, Path], clip: Clip, budget: int) -> list[dict]:
    """The player's data, a show per network.

    Parameters
    ----------
    models : dict of family to the file of its weights
    clip : Clip
    budget : int
        Bytes that all sprites together may take in the page.

    Raises
    ------
    ValueError
        If the weights belong to another clip.
    """
    loaded = {family: load_model(path) for family, path in models.items()}
    for model in loaded.values():
        check_clip(model, clip)
    n_frames = {}  # that each network paints: its share of the budget
    for family, model in loaded.items():
        n_frames[family] = len(clip) if model.for_video else 1
    total = sum(n_frames.values())
    return [
        _show(family, model, clip, budget * n // total, total // n)
        for (family, model), n in zip(loaded.items(), n_frames.values())
    ]


def _show(family: str, model: nn.Module, clip: Clip, budget: int, alike: int) -> dict:
    """One network's show.

    budget : bytes of its sprites; alike : so many shows of this length would fill the page
    """
    layers = strongest(model, len(clip) // 2)
    n_sequences = 2 + len(layers) * STRONGEST * len(RULE_ORDER)
    if model.for_video:
        frames = even(len(clip), MOST_TILES // (n_sequences * alike))
    else:
        frames = [model.frame]
    cell = cell_size(clip.size, len(frames))
    targets = clip.frames[frames]  # (T, 3, H, W)
    painted = torch.stack([render(model, frame) for frame in frames])
    sheets = {"frame": _bytes(targets, cell), "picture": _bytes(painted, cell)}
    for name, layer in layers.items():
        for rule in RULE_ORDER:
            maps = sequence(model, name, layer.maps.neurons, rule, frames, cell)
            for number, values in enumerate(maps):
                sheets[f"{name}/{rule}/{number}"] = values
    packed, small = sprites(sheets, cell, budget)
    return dict(
        family=family,
        label=type(model).__name__,
        frames=frames,
        psnr=[round(float(psnr(p, t)), 1) for p, t in zip(painted, targets)],
        cell=small,
        columns=columns(len(frames), small),
        fps=min(max(clip.fps, SLOWEST), FASTEST),
        sprites=packed,
        layers=[_facts(name, layer) for name, layer in layers.items()],
    )


def _facts(name: str, layer: Strongest) -> dict:
    """What the page says of a layer."""
    neurons = layer.maps.neurons.tolist()
    return dict(name=name, neurons=neurons, shares=layer.shares, among=layer.among)


def strongest(model: nn.Module, frame: int) -> dict[str, Strongest]:
    """Per layer the neurons that contribute most to one frame, by first-order totals.

    Of a large layer only the study's sample is looked at.
    """
    found = {}
    for layer in trace(model, frame, "first_order"):
        sample = sample_layer(layer)
        totals = sample.totals()
        first = totals.topk(min(STRONGEST, len(totals))).indices
        shares = totals[first] / totals.sum().clamp_min(1e-300)
        found[layer.name] = Strongest(sample.only(first), shares.tolist(), len(sample))
    return found


def even(n: int, most: int) -> list[int]:
    """At most so many frames of n, evenly spaced, the first and the last among them."""
    number = max(1, min(n, most))
    return sorted({round(position) for position in np.linspace(0, n - 1, number)})


def sequence(
    model: nn.Module,
    layer: str,
    neurons: Tensor,
    rule: str,
    frames: Sequence[int],
    cell: tuple[int, int],
) -> Iterator[np.ndarray]:
    """Per neuron its magnitude over the frames, uint8 (T, h, w), all frames on one scale."""
    traced = [trace(model, frame, rule)[layer].only(neurons) for frame in frames]
    maps = torch.stack([one.tensor().abs() for one in traced])  # (T, k, H, W)
    if tuple(maps.shape[-2:]) != tuple(cell):
        maps = F.interpolate(maps, cell, mode="area")
    for values in maps.transpose(0, 1).numpy():  # (T, h, w) of one neuron
        bright = np.quantile(values, FULL) or values.max() or 1.0
        yield (255 * np.clip(values / bright, 0, 1)).round().astype(np.uint8)


def _bytes(pictures: Tensor, cell: tuple[int, int]) -> np.ndarray:
    """(T, 3, H, W) in [0, 1] → uint8 (T, h, w, 3)."""
    small = F.interpolate(pictures, cell, mode="area")
    return (small.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
