"""Finding: the representation is distributed. METHOD section 3.

The share of neuron n in pixel p is f_n(p) = |C_n(p)| / Σ_m |C_m(p)|. All of it streams: no layer is materialised.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..canvas import LayerMaps


def pixels_per_neuron(layer: LayerMaps) -> Tensor:
    """For each neuron the number of pixels with f_n(p) > 1/N: (n_neurons,) int64."""
    bar = layer.heatmap() / len(layer)  # (H, W)
    counts = torch.zeros(len(layer), dtype=torch.int64)
    for neurons, maps in _magnitudes(layer):
        counts[neurons] = (maps > bar).sum((1, 2)).cpu()
    return counts


def neurons_per_pixel(layer: LayerMaps, shares: tuple[float, ...] = (0.1, 0.5)) -> tuple[Tensor, Tensor]:
    """Heatmaps #{n : |C_n(p)| ≥ τ_a} / N, (len(shares), H, W), and the thresholds τ_a, (len(shares),).

    τ_a is the value at which the layer's |C|, summed from the largest down, reach a share 1 − a of their total; exact to
    1e-4 of the total, in bounded memory.
    """
    thresholds = torch.tensor([_threshold(layer, 1 - a) for a in shares], dtype=torch.float64)
    heat = torch.zeros(len(shares), *layer.shape[1:], dtype=torch.float64)
    for _, maps in _magnitudes(layer):
        for i, threshold in enumerate(thresholds):
            heat[i] += (maps >= threshold.to(maps)).sum(0).cpu()
    return heat / len(layer), thresholds


def effective_shares(layer: LayerMaps) -> tuple[Tensor, Tensor]:
    """Effective number of neurons per pixel, exp(entropy)/N, (H, W); and of pixels per neuron, exp(entropy)/HW, (N,).

    1 where all contribute alike, 1/N (1/HW) where one does all; NaN where nothing contributes.
    """
    totals, heatmap = layer.totals(), layer.heatmap()
    of_pixels = torch.zeros_like(heatmap)
    of_neurons = torch.zeros_like(totals)
    for neurons, maps in _magnitudes(layer):
        logs = torch.special.entr(maps)  # −x·log x
        of_pixels += logs.sum(0)
        of_neurons[neurons] = logs.sum((1, 2), dtype=torch.float64)
    pixels, neurons = heatmap.numel(), len(layer)
    return _effective(of_pixels, heatmap) / neurons, _effective(of_neurons, totals) / pixels


def _effective(minus_x_log_x: Tensor, total: Tensor) -> Tensor:
    """exp(H) of shares x/S from Σ −x·log x and S: H = log S + (Σ −x·log x)/S."""
    return (total.log() + minus_x_log_x / total).exp().where(total > 0, torch.nan)


def _threshold(layer: LayerMaps, share: float, bins: int = 4096) -> float:
    """The value at which the sum of all |C| from the largest down reaches a share of the total.

    The values' own distribution is narrowed down: each pass sorts them into equal steps between two bounds and keeps the
    step that holds the threshold, until that step holds less than 1e-4 of the total.
    """
    total = float(layer.totals().sum())
    low, high, above = 0.0, max(float(maps.max()) for _, maps in _magnitudes(layer)), 0.0
    while high > low:
        sums = torch.zeros(bins, dtype=torch.float64)
        edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
        for _, maps in _magnitudes(layer):
            values = maps[(maps >= low) & (maps <= high)].double().cpu()
            index = (torch.searchsorted(edges, values, right=True) - 1).clamp_(0, bins - 1)
            sums += torch.bincount(index, values, bins)
        held = above + sums.flip(0).cumsum(0).flip(0)  # of everything at or above each edge
        step = int((held >= share * total).nonzero()[-1]) if (held >= share * total).any() else 0
        if sums[step] <= 1e-4 * total or (edges[step + 1] - edges[step]) <= 1e-7 * edges[step + 1]:
            return float(edges[step])
        above = float(held[step + 1]) if step + 1 < bins else above
        low, high = float(edges[step]), float(edges[step + 1])
    return low


def _magnitudes(layer: LayerMaps) -> Iterator[tuple[Tensor, Tensor]]:
    """(neurons, |C|) in chunks that fit the cache."""
    for neurons, maps in layer.chunks(8e6):
        yield neurons, maps.abs_()
