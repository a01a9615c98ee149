"""How much of a map partitions explain: region sums, Gram matrix, adjusted R², Shapley shares,
toroidal shifts. METHOD 6.4, earlier statistic.

Everything follows from the region sums, Σ|C|, Σ C² (one streaming pass) and the Gram matrix of the
region indicators. That matrix is singular, since every partition sums to one, so its pseudo-inverse
is used.

Letters: n neurons, P pixels (H·W), R regions of all partitions, S shifts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import factorial

import torch
from torch import Tensor

from xinc_core.tracing import LayerMaps, Regional
from xinc_core.util.memo import cached_per_object

SAMPLED_NEURONS = 192  # of a layer, on which nulls and planted effects are computed
FLAT = 0.01  # maps whose deviation is below this share of their mean are counted, not scored
SMALLEST_EIGENVALUE = 1e-9  # of the largest; below it a direction of a Gram matrix counts as empty


@dataclass(frozen=True, eq=False)
class Regions:
    """Partitions of one frame side by side.

    Attributes
    ----------
    labels : Tensor, (n_partitions, P)
        The column of each pixel under each partition; no two partitions share a column.
    columns : dict of partition to slice
        Whose columns are whose.
    size : (int, int)
        (H, W) in pixels.
    """

    labels: Tensor
    columns: dict[str, slice]
    size: tuple[int, int]

    @classmethod
    def of(cls, labels: dict[str, Tensor]) -> Regions:
        """Put partitions side by side; labels (H, W), numbered from 0 without gaps, by name."""
        parts = []
        columns = {}
        start = 0
        for name, numbers in labels.items():
            stop = start + int(numbers.max()) + 1
            parts.append(numbers.flatten() + start)
            columns[name] = slice(start, stop)
            start = stop
        return cls(torch.stack(parts), columns, tuple(numbers.shape))

    @cached_property
    def areas(self) -> Tensor:
        """Pixels in each region, (R,) float64."""
        return torch.bincount(self.labels.flatten()).double()

    @property
    def member(self) -> Tensor:
        """Indicators, (P, R).

        Computed anew at every call, because they take more memory than all that is made of them.
        """
        n_pixels = self.labels.shape[1]
        return torch.zeros(n_pixels, len(self.areas)).scatter_(1, self.labels.T, 1)

    @cached_property
    def gram(self) -> Tensor:
        """Pixels that two regions share, (R, R) float64; whole numbers, so exact in float32."""
        member = self.member
        return (member.T @ member).double()

    def index(self, names: Sequence[str]) -> Tensor:
        """The columns of these partitions, in the order of the names."""
        every = torch.arange(len(self.gram))
        return torch.cat([every[self.columns[name]] for name in names])

    def pictures(self, names: Sequence[str]) -> Tensor:
        """Indicators of these partitions as pictures, (R, H, W)."""
        return self.member[:, self.index(names)].T.unflatten(1, self.size)

    @cached_per_object
    def by_frequency(self, names: tuple[str, ...], step: int) -> Tensor:
        """These pictures' Fourier transform, see :func:`by_frequency`."""
        return by_frequency(self.pictures(names), step)

    @cached_per_object
    def basis(self, names: tuple[str, ...]) -> tuple[Tensor, Tensor, int]:
        """Columns of these partitions, the pseudo-inverse of their Gram matrix, its rank."""
        index = self.index(names)
        inverse, rank = pseudo_inverse(self.gram[index][:, index])
        return index, inverse, rank

    @cached_per_object
    def shifted_bases(
        self, fixed: tuple[str, ...], moved: str, step: int, n_shifts: int
    ) -> list[tuple[int, Tensor, int]]:
        """The same with one partition shifted against the others.

        Returns (number of the shift, pseudo-inverse, rank) for up to ``n_shifts`` seeded shifts by
        multiples of ``step``.
        """
        # pixels that a fixed region and a shifted one share, for every shift: (S, R fixed, R moved)
        shared = shifted_sums(self.pictures(fixed), self.pictures([moved]), step).round()
        index_fixed = self.index(fixed)
        index_moved = self.index([moved])
        gram_fixed = self.gram[index_fixed][:, index_fixed]
        gram_moved = self.gram[index_moved][:, index_moved]
        order = torch.randperm(len(shared) - 1, generator=torch.Generator().manual_seed(0))
        bases = []
        for shift in (1 + order[:n_shifts]).tolist():  # number 0 is no shift
            upper = torch.cat([gram_fixed, shared[shift]], 1)
            lower = torch.cat([shared[shift].T, gram_moved], 1)
            inverse, rank = pseudo_inverse(torch.cat([upper, lower]))
            bases.append((shift, inverse, rank))
        return bases


@dataclass(frozen=True)
class Sums:
    """What a layer's maps amount to, over one frame's regions.

    Attributes
    ----------
    sums : Tensor, (n, R) float64
        Σ|C| over each region.
    squares, totals : Tensor, (n,) float64
        Σ C² and Σ|C| over all pixels.
    pixels : int
        P.
    sample : Tensor, (k, H, W), optional
        |C| of at most ``SAMPLED_NEURONS`` neurons, which were held while they passed.
    in_sample : Tensor, (n,) bool, optional
        Which neurons these are.
    """

    sums: Tensor
    squares: Tensor
    totals: Tensor
    pixels: int
    sample: Tensor | None = None
    in_sample: Tensor | None = None

    def of(self, which: Tensor) -> Sums:
        """Some of the neurons; ``which`` is a mask or their positions."""
        return Sums(self.sums[which], self.squares[which], self.totals[which], self.pixels)


def sums_of(layer: LayerMaps, regions: Regions, sample_size: int = 0) -> Sums:
    """Region sums, squares and totals in one pass over the maps, all partitions at once.

    sample_size : of at most so many neurons the maps are held as well, a seeded sample.
    """
    n_neurons, height, width = layer.shape
    n_regions = len(regions.areas)
    sums = torch.zeros(n_neurons, n_regions, dtype=torch.float64)
    squares = torch.zeros(n_neurons, dtype=torch.float64)
    totals = torch.zeros(n_neurons, dtype=torch.float64)
    held_neurons = _sampled_neurons(layer, sample_size)
    in_sample = torch.isin(layer.neurons, held_neurons)  # (n,)
    row_in_sample = in_sample.cumsum(0) - 1  # position in the layer → row of the sample
    sample = torch.zeros(len(held_neurons), height * width)
    for pixels, maps in layer.tiles("region sums"):
        sum_over_regions = Regional(regions.labels[:, pixels], n_regions, like=layer.traced.x)
        part = sample.new_empty(len(held_neurons), len(pixels))
        for neurons, values in maps:  # (k,), (k, pixels of the tile)
            mine = in_sample[neurons]
            if mine.any():
                part[row_in_sample[neurons[mine]]] = values[mine].to(part)
            sums[neurons] += sum_over_regions(values).cpu()
            totals[neurons] += values.sum(1).double().cpu()
            squares[neurons] += values.square_().sum(1).double().cpu()
        # a tile is a band of rows, whose pixels come in the order that is cheapest for the rule
        sample[:, pixels.min() : pixels.max() + 1] = part.index_select(1, pixels.argsort())
    pictures = sample.unflatten(1, (height, width))
    return Sums(sums, squares, totals, height * width, pictures, in_sample)


def _sampled_neurons(layer: LayerMaps, size: int) -> Tensor:
    """The numbers of at most ``size`` neurons, of whole output channels: these share work."""
    if not size:
        return layer.neurons[:0]
    channels = max(1, size // layer.traced.layer.c_in)
    return layer.sample(channels).neurons[:size]


def explained(total: Sums, regions: Regions, names: tuple[str, ...]) -> Tensor:
    """Adjusted R², (n,): the share of the variance of |C_n| over pixels that these partitions
    explain together.
    """
    index, inverse, rank = regions.basis(names)
    return adjusted(total.sums[:, index], total, inverse, rank)


def adjusted(sums: Tensor, total: Sums, inverse: Tensor, rank: int) -> Tensor:
    """1 − (1 − R²)(P − 1)/(P − K), K the rank, from sums (…, n, R) over the regions whose inverse
    Gram matrix is given.
    """
    pixels = total.pixels
    around_zero = total.totals**2 / pixels  # P·mean²
    explained_squares = ((sums @ inverse) * sums).sum(-1)
    r2 = (explained_squares - around_zero) / (total.squares - around_zero)
    return 1 - (1 - r2) * (pixels - 1) / (pixels - rank)


def pseudo_inverse(gram: Tensor) -> tuple[Tensor, int]:
    """The pseudo-inverse of a symmetric matrix, and its rank."""
    values, vectors = torch.linalg.eigh(gram)
    large = values > SMALLEST_EIGENVALUE * values[-1]
    vectors = vectors[:, large]
    return vectors / values[large] @ vectors.T, int(large.sum())


def shapley(value: dict[tuple, float], names: Sequence[str]) -> dict[str, float]:
    """Each name's average gain over the orders in which the names can be added.

    value : of every subset of ``names``, as a tuple in the order of ``names``.
    """
    n = len(names)
    shares = {}
    for name in names:
        others = [other for other in names if other != name]
        share = 0.0
        for size in range(n):
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            for chosen in combinations(others, size):
                joined = tuple(other for other in names if other in (*chosen, name))
                share += weight * (value[joined] - value[chosen])
        shares[name] = share
    return shares


def scored(total: Sums) -> Tensor:
    """Which neurons' maps vary by at least 1 % of their mean, (n,) bool.

    The others are counted, not scored.
    """
    mean = total.totals / total.pixels
    deviation = (total.squares / total.pixels - mean**2).clamp_min(0).sqrt()
    return (total.totals > 0) & (deviation >= FLAT * mean)


def shifted_sums(maps: Tensor, members: Tensor, step: int) -> Tensor:
    """Σ_p maps(p − shift)·member(p) for every toroidal shift by multiples of ``step``: (S, n, R),
    no shift first.

    maps (n, H, W), members (R, H, W), or as :func:`by_frequency` gives them. A circular correlation
    on the coarse grid, summed over the step² phases: a few matrix products in Fourier space instead
    of one per shift.
    """
    rows, cols = maps.shape[1] // step, maps.shape[2] // step
    transformed_maps = by_frequency(maps, step)
    transformed_members = members if members.ndim == 4 else by_frequency(members, step)
    product = transformed_maps.conj() @ transformed_members.transpose(-1, -2)  # (rows, freq, n, R)
    correlations = torch.fft.irfft2(product, s=(rows, cols), dim=(0, 1))  # (rows, cols, n, R)
    return correlations.flatten(0, 1).double()


def by_frequency(maps: Tensor, step: int) -> Tensor:
    """Fourier transform of (n, H, W) maps on the grid of every ``step``-th pixel, for each of its
    step² phases: (rows, frequencies, n, step²).

    What ``step`` does not divide is cut off.
    """
    rows, cols = maps.shape[1] // step, maps.shape[2] // step
    whole = maps[:, : rows * step, : cols * step]
    cells = whole.unflatten(2, (cols, step)).unflatten(1, (rows, step))  # (n, rows, s, cols, s)
    phases = cells.permute(0, 2, 4, 1, 3).flatten(1, 2)  # (n, step², rows, cols)
    return torch.fft.rfft2(phases).permute(2, 3, 0, 1)
