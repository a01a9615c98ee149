"""Finding: the representation is distributed. METHOD 6.1, earlier statistic.

The share of neuron n in pixel p is f_n(p) = |C_n(p)| / Σ_m |C_m(p)|. All of it streams: no layer is
materialised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xinc_core.study.statistics.scene import Scene
from xinc_core.tracing import LayerMaps

from .base import Finding, View
from .browsing import BrowserSpec, Control, Opened, Picture, Slider
from .claims import Claim, Condition
from .planted import planted, white

CURVE_POINTS = 101  # of a sorted curve
SHARES = (0.1, 0.5)  # a: neurons count that together make up 1 − a of all contributions
HELD_BYTES = 1e9  # maps of a layer up to which they are computed once for several passes

# The radix selection of thresholds: a positive float32 has 31 bits below its sign.
LOWER_BITS = 11  # that the first pass leaves out
UPPER_BITS = 31 - LOWER_BITS


def measure(view: View) -> dict[str, float]:
    """Median effective share of neurons over pixels, and of pixels over neurons."""
    neurons_of_pixels, pixels_of_neurons = effective_shares(view.layer)
    return dict(
        effective_neurons=float(neurons_of_pixels.nanmedian()),
        effective_pixels=float(pixels_of_neurons.nanmedian()),
    )


def pictures(view: View) -> dict[str, Tensor]:
    """What the notebook draws of one layer: the sorted curve of pixels per neuron and the heatmaps
    of neurons per pixel, in percent.
    """
    layer = view.layer
    n_neurons, height, width = layer.shape
    if 4 * n_neurons * height * width <= HELD_BYTES:
        layer = planted(layer.tensor().abs())
    counts = pixels_per_neuron(layer).double() / (height * width)
    quantiles = torch.linspace(0, 1, CURVE_POINTS, dtype=torch.float64)
    heatmaps, _ = neurons_per_pixel(layer, SHARES)
    return dict(
        curve=torch.quantile(counts, quantiles), neurons_per_pixel=(100 * heatmaps).round().byte()
    )


def pixels_per_neuron(layer: LayerMaps) -> Tensor:
    """For each neuron the number of pixels with f_n(p) > 1/N: (n_neurons,) int64."""
    average = (layer.heatmap() / len(layer)).flatten()  # (P,)
    counts = torch.zeros(len(layer), dtype=torch.int64)
    for pixels, maps in layer.tiles("pixels per neuron"):
        for neurons, values in maps:
            counts[neurons] += (values > average[pixels]).sum(1).cpu()
    return counts


def neurons_per_pixel(
    layer: LayerMaps, shares: tuple[float, ...] = SHARES
) -> tuple[Tensor, Tensor]:
    """Heatmaps #{n : |C_n(p)| ≥ τ_a} / N, (len(shares), H, W), and the thresholds τ_a,
    (len(shares),).

    τ_a is the value at which the layer's |C|, summed from the largest down, reach a share 1 − a of
    their total; exact to 1e-4 of the total, in bounded memory.
    """
    n_neurons, height, width = layer.shape
    thresholds = _thresholds(layer, [1 - share for share in shares])
    counts = torch.zeros(len(shares), height * width, dtype=torch.float64)
    for pixels, maps in layer.tiles("neurons per pixel"):
        for _, values in maps:
            for number, threshold in enumerate(thresholds):
                counts[number, pixels] += (values >= threshold.to(values)).sum(0).cpu()
    return counts.unflatten(1, (height, width)) / n_neurons, thresholds


def effective_shares(layer: LayerMaps) -> tuple[Tensor, Tensor]:
    """Effective number of neurons per pixel, exp(entropy)/N, (H, W); and of pixels per neuron,
    exp(entropy)/HW, (N,).

    1 where all contribute alike, 1/N (1/HW) where one does all; NaN where nothing contributes.
    """
    n_neurons, height, width = layer.shape
    by_pixel = torch.zeros(2, height * width, dtype=torch.float64)  # Σ x·log₂ x and Σ x
    by_neuron = torch.zeros(2, n_neurons, dtype=torch.float64)
    for pixels, maps in layer.tiles("effective shares"):
        part = torch.zeros(2, len(pixels), dtype=torch.float64)
        for neurons, values in maps:
            values = values.cpu()
            # numpy's logarithm takes a third of torch's time
            logs = torch.from_numpy(np.log2(values.clamp_min(1e-38).numpy()))
            x_log_x = logs.mul_(values)
            part += torch.stack([x_log_x.sum(0), values.sum(0)])
            by_neuron[:, neurons] += torch.stack([x_log_x.sum(1), values.sum(1)]).double()
        by_pixel[:, pixels] = part
    neurons_of_pixels = _effective(*by_pixel) / n_neurons
    pixels_of_neurons = _effective(*by_neuron) / (height * width)
    return neurons_of_pixels.view(height, width), pixels_of_neurons


def _effective(x_log_x: Tensor, total: Tensor) -> Tensor:
    """exp(H) of shares x/S from Σ x·log₂ x and S: H = log S − (Σ x·log x)/S."""
    return (total.log2() - x_log_x / total).exp2().where(total > 0, torch.nan)


def _thresholds(layer: LayerMaps, shares: Sequence[float], within: float = 1e-4) -> Tensor:
    """The values at which the sum of all |C|, from the largest down, reaches each share of the
    total, (len(shares),) float64.

    A radix selection: the bits of a positive float32, read as an integer, sort as the float does.
    One pass sums the values by their upper 20 bits (steps of 0.02 %). Where such a step holds more
    than ``within`` of the total, another pass sums the step's values by their lower 11 bits.
    """
    sums = _sums_by_upper_bits(layer)
    total = sums.sum()
    from_top = _sums_from_top(sums)
    thresholds = torch.zeros(len(shares), dtype=torch.float64)
    for number, share in enumerate(shares):
        wanted = share * total
        upper = _last_reaching(from_top, wanted) if total > 0 else 0
        lower = 0
        if sums[upper] > within * total:
            fine = _sums_by_lower_bits(layer, upper)
            above = from_top[upper] - sums[upper]  # what lies in higher steps
            lower = _last_reaching(above + _sums_from_top(fine), wanted)
        bits = torch.tensor((upper << LOWER_BITS) + lower, dtype=torch.int32)
        thresholds[number] = bits.view(torch.float32).double()
    return thresholds


def _sums_from_top(sums: Tensor) -> Tensor:
    """Of each step, the sum of everything in it and in all higher steps."""
    return sums.flip(0).cumsum(0).flip(0)


def _last_reaching(from_top: Tensor, wanted: Tensor) -> int:
    """The highest step from which on the sums reach what is wanted; 0 where none does."""
    reaching = (from_top >= wanted).nonzero()
    return int(reaching[-1]) if len(reaching) else 0


def _sums_by_upper_bits(layer: LayerMaps) -> Tensor:
    """Sums of the |C| that share their upper 20 bits, (2^20,) float64."""
    sums = torch.zeros(1 << UPPER_BITS, dtype=torch.float64)
    for values in _all_values(layer):
        _add_at(sums, values.view(torch.int32) >> LOWER_BITS, values)
    return sums


def _sums_by_lower_bits(layer: LayerMaps, upper: int) -> Tensor:
    """Sums of the |C| whose upper 20 bits are ``upper``, by their lower 11 bits: (2^11,)
    float64.
    """
    sums = torch.zeros(1 << LOWER_BITS, dtype=torch.float64)
    lower_mask = (1 << LOWER_BITS) - 1
    for values in _all_values(layer):
        inside = values[values.view(torch.int32) >> LOWER_BITS == upper]
        _add_at(sums, inside.view(torch.int32) & lower_mask, inside)
    return sums


def _all_values(layer: LayerMaps):
    """All |C| of a layer as flat float32 tensors, piece by piece."""
    for _, maps in layer.tiles("distribution of contributions"):
        for _, values in maps:
            yield values.flatten().float().cpu()


def _add_at(sums: Tensor, steps: Tensor, values: Tensor) -> None:
    """Add each value to the sum of its step, in place."""
    if len(values):
        first, last = steps.min(), steps.max()
        sums[first : last + 1] += torch.bincount(steps - first, values)


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
    n_neurons, size = 64, scene.clip.size
    owner = torch.randint(n_neurons, size, generator=torch.Generator().manual_seed(seed))
    owned = torch.nn.functional.one_hot(owner, n_neurons).permute(2, 0, 1).float()  # (n, H, W)
    return {"all alike": (0.5 + white(n_neurons, size, seed),), "one neuron per pixel": (owned,)}


FINDING = Finding(
    name="distributed",
    version=2,
    question="How many neurons paint a pixel?",
    section="4.2",
    notebook="03",
    claims=(
        Claim(
            "distributed",
            "the representation is distributed",
            conditions=(Condition("effective_neurons", 0.25),),
            beside=("effective_pixels",),
            cases={"all alike": True, "one neuron per pixel": False},
        ),
        Claim(
            "distributed_learned",
            "it is more distributed than before training",
            conditions=(Condition("effective_neurons", "untrained_effective_neurons"),),
        ),
    ),
    statistics={
        "effective_neurons": "effective share of neurons per pixel",
        "effective_pixels": "effective share of pixels per neuron",
    },
    measure=measure,
    pictures={"pictures": pictures},
    plant=plant,
    captions={
        "03_neurons_per_pixel": "The share of a layer's neurons that count at every pixel, "
        "together "
        "making up 90 % or 50 % of the layer's contribution. Black is none, bright is all.",
        "03_pixels_per_neuron": "In how many pixels each neuron contributes more than the average "
        "neuron; neurons sorted.",
    },
    browser=BROWSER,
)
