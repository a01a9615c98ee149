"""Finding: the representation is distributed. METHOD section 3.

The share of neuron n in pixel p is f_n(p) = |C_n(p)| / Σ_m |C_m(p)|. All of it streams: no layer is
materialised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xinc_core.study.statistics.scene import Scene, View
from xinc_core.tracing.maps import LayerMaps

from .browsing import BrowserSpec, Control, Opened, Picture, Slider
from .claims import Claim, Condition
from .planted import planted, white

NAME, VERSION, OFFSETS = "distributed", 2, (0,)
CLAIMS = (
    Claim("distributed", (Condition("effective_neurons", 0.25),), ("effective_pixels",)),
    Claim("distributed_learned", (Condition("effective_neurons", "untrained_effective_neurons"),)),
)
CASES = {
    "distributed": {"all alike": True, "one neuron per pixel": False},
    "distributed_learned": {},
}
CURVE = 101  # points of a sorted curve
LOWER = 11  # bits of a float32 that the first pass of a threshold leaves out
SHARES = (0.1, 0.5)
HELD = 1e9  # bytes of maps up to which they are computed once for several passes


def measure(view: View) -> dict[str, float]:
    """Median effective share of neurons over pixels, and of pixels over neurons."""
    of_pixels, of_neurons = effective_shares(view.layer)
    return dict(
        effective_neurons=float(of_pixels.nanmedian()),
        effective_pixels=float(of_neurons.nanmedian()),
    )


def browse(opened: Opened, layer: str, frame: int, rule: str, share: int) -> dict[str, Picture]:
    """How many neurons a pixel needs: those whose |C| is among the largest that make up ``share``
    percent of all contributions.
    """
    sample = opened.sampled_maps(frame, rule, layer)
    values, running_sum = opened.remembered(_sorted_contributions, frame, rule, layer)
    reached = int((running_sum < share / 100 * running_sum[-1]).sum())
    threshold = values[min(reached, len(values) - 1)]
    heat = (sample.maps >= threshold).float().mean(0)  # (H, W), share of the neurons
    caption = (
        f"<b>{layer}</b>: share of neurons that make up {share} % of all contributions, 0 to 1; "
        f"{len(sample.maps)} of {sample.n_neurons:,} neurons, "
        f"on average {100 * float(heat.mean()):.0f} %"
    )
    return {
        f"frame {frame}": Picture.photo(opened.truth(frame)),
        caption: Picture.magnitude(heat, vmax=1.0),
    }


def _sorted_contributions(
    opened: Opened, frame: int, rule: str, layer: str
) -> tuple[Tensor, Tensor]:
    """|C| at every other row and column, from the largest down, and their running sum."""
    maps = opened.sampled_maps(frame, rule, layer).maps
    values = maps[:, ::2, ::2].flatten().sort(descending=True).values
    return values, values.double().cumsum(0)


def share_control(opened: Opened) -> tuple[Control, ...]:
    """The share of all contributions that the counted neurons make up, in percent."""
    return (Slider("share", "share (%)", 5, 95, step=5, start=50),)


BROWSER = BrowserSpec("neurons per pixel", browse, share_control)


def plant(scene: Scene, frame: int, seed: int) -> dict[str, tuple[Tensor, ...]]:
    """Every neuron everywhere; every pixel painted by one neuron."""
    size, n = scene.clip.size, 64
    owner = torch.randint(n, size, generator=torch.Generator().manual_seed(seed))
    owned = torch.nn.functional.one_hot(owner, n).permute(2, 0, 1).float()
    return {"all alike": (0.5 + white(n, size, seed),), "one neuron per pixel": (owned,)}


def pictures(view: View) -> dict[str, Tensor]:
    """What the notebook draws of one layer: the sorted curve of pixels per neuron and the heatmaps
    of neurons per pixel, in percent."""
    layer = view.layer
    if 4 * layer.shape[0] * layer.shape[1] * layer.shape[2] <= HELD:
        layer = planted(layer.tensor().abs())
    counts = pixels_per_neuron(layer).double() / layer.shape[1] / layer.shape[2]
    curve = torch.quantile(counts, torch.linspace(0, 1, CURVE, dtype=torch.float64))
    return dict(
        curve=curve, neurons_per_pixel=(100 * neurons_per_pixel(layer, SHARES)[0]).round().byte()
    )


def pixels_per_neuron(layer: LayerMaps) -> Tensor:
    """For each neuron the number of pixels with f_n(p) > 1/N: (n_neurons,) int64."""
    bar = (layer.heatmap() / len(layer)).flatten()
    counts = torch.zeros(len(layer), dtype=torch.int64)
    for pixels, maps in layer.tiles("pixels per neuron"):
        for neurons, values in maps:
            counts[neurons] += (values > bar[pixels]).sum(1).cpu()
    return counts


def neurons_per_pixel(
    layer: LayerMaps, shares: tuple[float, ...] = SHARES
) -> tuple[Tensor, Tensor]:
    """Heatmaps #{n : |C_n(p)| ≥ τ_a} / N, (len(shares), H, W), and the thresholds τ_a,
    (len(shares),).

    τ_a is the value at which the layer's |C|, summed from the largest down, reach a share 1 − a of
    their total; exact to 1e-4 of the total, in bounded memory.
    """
    thresholds, n = _thresholds(layer, [1 - a for a in shares]), len(layer)
    heat = torch.zeros(len(shares), layer.shape[1] * layer.shape[2], dtype=torch.float64)
    for pixels, maps in layer.tiles("neurons per pixel"):
        for _, values in maps:
            for i, threshold in enumerate(thresholds):
                heat[i, pixels] += (values >= threshold.to(values)).sum(0).cpu()
    return heat.unflatten(1, layer.shape[1:]) / n, thresholds


def effective_shares(layer: LayerMaps) -> tuple[Tensor, Tensor]:
    """Effective number of neurons per pixel, exp(entropy)/N, (H, W); and of pixels per neuron,
    exp(entropy)/HW, (N,).

    1 where all contribute alike, 1/N (1/HW) where one does all; NaN where nothing contributes.
    """
    _, H, W = layer.shape
    by_pixel = torch.zeros(2, H * W, dtype=torch.float64)  # Σ x·log₂ x and Σ x
    by_neuron = torch.zeros(2, len(layer), dtype=torch.float64)
    for pixels, maps in layer.tiles("effective shares"):
        part = torch.zeros(2, len(pixels), dtype=torch.float64)
        for neurons, values in maps:
            values = values.cpu()
            logs = torch.from_numpy(np.log2(values.clamp_min(1e-38).numpy())).mul_(
                values
            )  # a third of torch.log's time
            part += torch.stack([logs.sum(0), values.sum(0)])
            by_neuron[:, neurons] += torch.stack([logs.sum(1), values.sum(1)]).double()
        by_pixel[:, pixels] = part
    return (_effective(*by_pixel) / len(layer)).view(H, W), _effective(*by_neuron) / (H * W)


def _effective(x_log_x: Tensor, total: Tensor) -> Tensor:
    """exp(H) of shares x/S from Σ x·log₂ x and S: H = log S − (Σ x·log x)/S."""
    return (total.log2() - x_log_x / total).exp2().where(total > 0, torch.nan)


def _thresholds(layer: LayerMaps, shares: Sequence[float], within: float = 1e-4) -> Tensor:
    """The values at which the sum of all |C|, from the largest down, reaches each share of the
    total, (len(shares),) float64.

    A radix selection: the bits of a positive float32, read as an integer, sort as the float does.
    One pass sums the values by their upper 20 bits (steps of 0.02 %); where such a step holds more
    than ``within`` of the total, another one sums it by the lower bits.
    """
    sums = _by_bits(layer)
    total, reached = (
        sums.sum(),
        sums.flip(0).cumsum(0).flip(0),
    )  # the sum of everything at or above each step
    found = torch.zeros(len(shares), dtype=torch.float64)
    for i, share in enumerate(shares):
        step, lower = int((reached >= share * total).nonzero()[-1]) if total > 0 else 0, 0
        if sums[step] > within * total:
            fine = _by_bits(layer, step)
            held = reached[step] - sums[step] + fine.flip(0).cumsum(0).flip(0)
            at = (held >= share * total).nonzero()
            lower = int(at[-1]) if len(at) else 0
        bits = torch.tensor((step << LOWER) + lower, dtype=torch.int32)
        found[i] = bits.view(torch.float32).double()
    return found


def _by_bits(layer: LayerMaps, of: int | None = None) -> Tensor:
    """Sums of the |C| that share their upper 20 bits, (2^20,) float64; or of one such step by
    their lower 11 bits, (2^11,).
    """
    sums = torch.zeros(1 << (31 - LOWER if of is None else LOWER), dtype=torch.float64)
    for _, maps in layer.tiles("distribution of contributions"):
        for _, values in maps:
            values = values.flatten().float().cpu()
            step = values.view(torch.int32) >> LOWER
            if of is not None:
                values = values[step == of]
                step = values.view(torch.int32) & (1 << LOWER) - 1
            if len(values):
                first, last = step.min(), step.max()
                sums[first : last + 1] += torch.bincount(step - first, values)
    return sums
