"""Finding: the representation is distributed. METHOD section 3.

The share of neuron n in pixel p is f_n(p) = |C_n(p)| / Σ_m |C_m(p)|. All of it streams: no layer is materialised.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..maps import LayerMaps
from .planted import white
from .scene import Scene, View
from .verdicts import Claim, Condition

NAME, VERSION, OFFSETS = "distributed", 1, (0,)
CLAIMS = (
    Claim("distributed", (Condition("effective_neurons", 0.25),), ("effective_pixels",)),
    Claim("distributed_learned", (Condition("effective_neurons", "untrained_effective_neurons"),)),
)
CASES = {"distributed": {"all alike": True, "one neuron per pixel": False}, "distributed_learned": {}}
CURVE = 101  # points of a sorted curve
SHARES = (0.1, 0.5)


def measure(view: View) -> dict[str, float]:
    """Median effective share of neurons over pixels, and of pixels over neurons."""
    of_pixels, of_neurons = effective_shares(view.layer)
    return dict(effective_neurons=float(of_pixels.nanmedian()), effective_pixels=float(of_neurons.nanmedian()))


def plant(scene: Scene, frame: int, seed: int) -> dict[str, tuple[Tensor, ...]]:
    """Every neuron everywhere; every pixel painted by one neuron."""
    size, n = scene.clip.size, 64
    owner = torch.randint(n, size, generator=torch.Generator().manual_seed(seed))
    owned = torch.nn.functional.one_hot(owner, n).permute(2, 0, 1).float()
    return {"all alike": (0.5 + white(n, size, seed),), "one neuron per pixel": (owned,)}


def pictures(view: View) -> dict[str, Tensor]:
    """What the notebook draws of one layer: the sorted curve of pixels per neuron and the heatmaps of neurons per pixel."""
    layer = view.layer
    counts = pixels_per_neuron(layer).double() / layer.shape[1] / layer.shape[2]
    curve = torch.quantile(counts, torch.linspace(0, 1, CURVE, dtype=torch.float64))
    return dict(curve=curve, neurons_per_pixel=neurons_per_pixel(layer, SHARES)[0])


def pixels_per_neuron(layer: LayerMaps) -> Tensor:
    """For each neuron the number of pixels with f_n(p) > 1/N: (n_neurons,) int64."""
    bar = (layer.heatmap() / len(layer)).flatten()
    counts = torch.zeros(len(layer), dtype=torch.int64)
    for pixels, maps in layer.tiles("pixels per neuron"):
        for neurons, values in maps:
            counts[neurons] += (values > bar[pixels]).sum(1).cpu()
    return counts


def neurons_per_pixel(layer: LayerMaps, shares: tuple[float, ...] = SHARES) -> tuple[Tensor, Tensor]:
    """Heatmaps #{n : |C_n(p)| ≥ τ_a} / N, (len(shares), H, W), and the thresholds τ_a, (len(shares),).

    τ_a is the value at which the layer's |C|, summed from the largest down, reach a share 1 − a of their total; exact to
    1e-4 of the total, in bounded memory.
    """
    total, top = float(layer.totals().sum()), max(float(v.max()) for _, maps in layer.tiles() for _, v in maps)
    thresholds = torch.tensor([_threshold(layer, 1 - a, total, top) for a in shares], dtype=torch.float64)
    heat = torch.zeros(len(shares), layer.shape[1] * layer.shape[2], dtype=torch.float64)
    for pixels, maps in layer.tiles("neurons per pixel"):
        for _, values in maps:
            for i, threshold in enumerate(thresholds):
                heat[i, pixels] += (values >= threshold.to(values)).sum(0).cpu()
    return heat.unflatten(1, layer.shape[1:]) / len(layer), thresholds


def effective_shares(layer: LayerMaps) -> tuple[Tensor, Tensor]:
    """Effective number of neurons per pixel, exp(entropy)/N, (H, W); and of pixels per neuron, exp(entropy)/HW, (N,).

    1 where all contribute alike, 1/N (1/HW) where one does all; NaN where nothing contributes.
    """
    _, H, W = layer.shape
    by_pixel = torch.zeros(2, H * W, dtype=torch.float64)  # Σ −x·log x and Σ x
    by_neuron = torch.zeros(2, len(layer), dtype=torch.float64)
    for pixels, maps in layer.tiles("effective shares"):
        part = torch.zeros(2, len(pixels), dtype=torch.float64)
        for neurons, values in maps:
            logs = values.clamp_min(1e-38).log_().mul_(values)  # as −torch.special.entr, in half its time
            part += torch.stack([-logs.sum(0), values.sum(0)]).cpu()
            by_neuron[:, neurons] += torch.stack([-logs.sum(1), values.sum(1)]).double().cpu()
        by_pixel[:, pixels] = part
    return (_effective(*by_pixel) / len(layer)).view(H, W), _effective(*by_neuron) / (H * W)


def _effective(minus_x_log_x: Tensor, total: Tensor) -> Tensor:
    """exp(H) of shares x/S from Σ −x·log x and S: H = log S + (Σ −x·log x)/S."""
    return (total.log() + minus_x_log_x / total).exp().where(total > 0, torch.nan)


def _threshold(layer: LayerMaps, share: float, total: float, top: float, bins: int = 4096) -> float:
    """The value at which the sum of all |C| from the largest down reaches a share of the total.

    Each pass sorts the values into steps between two bounds, equal in their fourth root because maps have long tails,
    and keeps the step that holds the threshold, until that step holds less than 1e-4 of the total.
    """
    low, high, above = 0.0, top, 0.0
    while high - low > 1e-6 * high:
        sums = _histogram(layer, low, high, bins)
        steps = torch.linspace(low**0.25, high**0.25, bins + 1, dtype=torch.float64) ** 4
        held = above + sums.flip(0).cumsum(0).flip(0)  # of everything at or above each step's lower edge
        reached = (held >= share * total).nonzero()
        step = int(reached[-1]) if len(reached) else 0
        low, high, above = float(steps[step]), float(steps[step + 1]), float(held[step] - sums[step])
        if sums[step] <= 1e-4 * total:
            break
    return low


def _histogram(layer: LayerMaps, low: float, high: float, bins: int) -> Tensor:
    """Sums of the |C| in steps between two bounds that are equal in their fourth root."""
    first, last = low**0.25, high**0.25
    sums = torch.zeros(bins, dtype=torch.float64)
    for _, maps in layer.tiles("distribution of contributions"):
        for _, values in maps:
            inside = values[(values >= low) & (values <= high)].double()
            index = ((inside.sqrt().sqrt() - first) * (bins / (last - first))).long().clamp_(0, bins - 1)
            sums += torch.bincount(index, inside, bins).cpu()
    return sums
