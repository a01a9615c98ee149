"""What the report's player shows: frames, reconstructions, and the maps of each layer's strongest
neurons under both rules.

Single maps cost milliseconds; whole layers are summed up on one frame only, the middle one, to
choose the neurons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xinc_core.clips.clip import Clip
from xinc_core.editing.sampling import sample_layer
from xinc_core.fitting.quality import check_clip, psnr
from xinc_core.models import render
from xinc_core.storage.plain import load_model
from xinc_core.tracing.canvas import trace
from xinc_core.tracing.maps import LayerMaps
from xinc_core.tracing.rules import RULE_ORDER

from .pictures import cell_size, columns, sprites

STRONGEST = 3  # neurons a layer
MOST_TILES = 3000  # pictures in all sequences: what is above is left out frame by frame, evenly
FULL = 0.999  # the quantile of a sequence that is drawn brightest: a single bright pixel does not darken the rest


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
    weight = {family: len(clip) if model.for_video else 1 for family, model in loaded.items()}
    return [
        _show(
            family,
            model,
            clip,
            budget * weight[family] // sum(weight.values()),
            sum(weight.values()) // weight[family],
        )
        for family, model in loaded.items()
    ]


def _show(family: str, model: nn.Module, clip: Clip, budget: int, alike: int) -> dict:
    layers = strongest(model, len(clip) // 2)
    sequences = 2 + len(layers) * STRONGEST * len(RULE_ORDER)
    frames = (
        even(len(clip), MOST_TILES // (sequences * alike)) if model.for_video else [model.frame]
    )
    cell = cell_size(clip.size, len(frames))
    targets, pictures = clip.frames[frames], torch.stack([render(model, f) for f in frames])
    sheets = {"frame": _bytes(targets, cell), "picture": _bytes(pictures, cell)}
    for name, (maps, _) in layers.items():
        for rule in RULE_ORDER:
            for k, values in enumerate(sequence(model, name, maps.neurons, rule, frames, cell)):
                sheets[f"{name}/{rule}/{k}"] = values
    packed, small = sprites(sheets, cell, budget)
    return dict(
        family=family,
        label=type(model).__name__,
        frames=frames,
        psnr=[round(float(psnr(p, t)), 1) for p, t in zip(pictures, targets)],
        cell=small,
        columns=columns(len(frames), small),
        fps=min(max(clip.fps, 2.0), 15.0),
        sprites=packed,
        layers=[
            dict(name=name, neurons=maps.neurons.tolist(), shares=shares, among=among)
            for name, (maps, (shares, among)) in layers.items()
        ],
    )


def strongest(model: nn.Module, frame: int) -> dict[str, tuple[LayerMaps, tuple[list[float], int]]]:
    """Per layer the neurons that contribute most to one frame, by first-order totals, strongest
    first.

    Of a large layer only the study's sample is looked at. With the maps come the neurons' shares of
    that total, and among how many they were chosen.
    """
    found = {}
    for layer in trace(model, frame, "first_order"):
        looked_at = sample_layer(layer)
        totals = looked_at.totals()
        few = totals.topk(min(STRONGEST, len(totals))).indices
        shares = (totals[few] / totals.sum().clamp_min(1e-300)).tolist()
        found[layer.name] = looked_at.only(few), (shares, len(looked_at))
    return found


def even(n: int, most: int) -> list[int]:
    """At most so many frames of n, evenly spaced, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, n - 1, max(1, min(n, most)))})


def sequence(
    model: nn.Module,
    layer: str,
    neurons: Tensor,
    rule: str,
    frames: Sequence[int],
    cell: tuple[int, int],
) -> Iterator[np.ndarray]:
    """Per neuron its magnitude over the frames, uint8 (T, h, w), all frames on one scale."""
    maps = torch.stack(
        [trace(model, f, rule)[layer].only(neurons).tensor().abs() for f in frames]
    )  # (T, k, H, W)
    maps = F.interpolate(maps, cell, mode="area") if tuple(maps.shape[-2:]) != tuple(cell) else maps
    for values in maps.transpose(0, 1).numpy():
        bright = np.quantile(values, FULL) or values.max() or 1.0
        yield (255 * np.clip(values / bright, 0, 1)).round().astype(np.uint8)


def _bytes(pictures: Tensor, cell: tuple[int, int]) -> np.ndarray:
    """(T, 3, H, W) in [0, 1] → uint8 (T, h, w, 3)."""
    small = F.interpolate(pictures, cell, mode="area")
    return (small.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
