"""How much of a map partitions explain: region sums, Gram matrix, adjusted R², Shapley shares,
toroidal shifts. METHOD 5.

Everything follows from the region sums, Σ|C|, Σ C² (one streaming pass) and the Gram matrix of the
region indicators. That matrix is singular, since every partition sums to one, so its pseudo-inverse
is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from math import factorial

import torch
from torch import Tensor

from xinc_core.tracing.maps import LayerMaps
from xinc_core.tracing.region_sums import Regional
from xinc_core.util.memo import cached_per_object

from .scene import Scene

FEW = 192  # neurons of the sample on which nulls and planted effects are computed
FLAT = 0.01  # maps whose deviation is below this share of their mean are counted, not scored


@dataclass(frozen=True, eq=False)
class Regions:
    """Partitions of one frame side by side: the column of each pixel under each, (n_partitions,
    P); whose columns; the size.
    """

    labels: Tensor
    columns: dict[str, slice]
    size: tuple[int, int]

    @classmethod
    def of(cls, labels: dict[str, Tensor]) -> Regions:
        parts, columns, start = [], {}, 0
        for name, numbers in labels.items():
            parts.append(numbers.flatten() + start)
            columns[name] = slice(start, start := start + int(numbers.max()) + 1)
        return cls(torch.stack(parts), columns, tuple(numbers.shape))

    @cached_property
    def areas(self) -> Tensor:
        return torch.bincount(self.labels.flatten()).double()

    @property
    def member(self) -> Tensor:
        """Indicators, (P, R); not kept, because they take more memory than all that is made of
        them.
        """
        return torch.zeros(self.labels.shape[1], len(self.areas)).scatter_(1, self.labels.T, 1)

    @cached_property
    def gram(self) -> Tensor:
        return ((member := self.member).T @ member).double()  # counts: exact in float32

    def index(self, names: Sequence[str]) -> Tensor:
        """The columns of these partitions."""
        return torch.cat([torch.arange(len(self.gram))[self.columns[n]] for n in names])

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
        return index, *pseudo_inverse(self.gram[index][:, index])

    @cached_per_object
    def shifted_bases(
        self, fixed: tuple[str, ...], moved: str, step: int, n: int
    ) -> list[tuple[int, Tensor, int]]:
        """The same with one partition shifted against the others: (number of the shift, inverse,
        rank), for up to n shifts.
        """
        across = shifted_sums(
            self.pictures(fixed), self.pictures([moved]), step
        ).round()  # (S, R fixed, R moved)
        inner, own = (self.gram[i][:, i] for i in (self.index(fixed), self.index([moved])))
        numbers = (
            1 + torch.randperm(len(across) - 1, generator=torch.Generator().manual_seed(0))[:n]
        )
        joined = (
            torch.cat([torch.cat([inner, g], 1), torch.cat([g.T, own], 1)]) for g in across[numbers]
        )
        return [(int(i), *pseudo_inverse(gram)) for i, gram in zip(numbers, joined)]


@lru_cache(maxsize=8)
def regions_of(scene: Scene, frame: int) -> Regions:
    """All partitions of one frame of a clip."""
    return Regions.of({name: scene.labels(name, frame) for name in scene.partitions})


@dataclass(frozen=True)
class Sums:
    """What a layer's maps amount to: sums (n, R) of |C| over regions; squares (n,) Σ C²; totals
    (n,) Σ |C|; pixels HW.

    few : (k, H, W), |C| of a sample of at most ``FEW`` neurons, which were kept while they passed;
    chosen : (n,) which ones.
    """

    sums: Tensor
    squares: Tensor
    totals: Tensor
    pixels: int
    few: Tensor | None = None
    chosen: Tensor | None = None

    def of(self, which: Tensor) -> Sums:
        """Some of the neurons."""
        return Sums(self.sums[which], self.squares[which], self.totals[which], self.pixels)


def sums_of(layer: LayerMaps, regions: Regions, keep: bool = False) -> Sums:
    """Region sums, squares and totals in one pass, all partitions at once; ``keep`` a sample of
    the maps as well.
    """
    sums = torch.zeros(len(layer), len(regions.areas), dtype=torch.float64)
    squares, totals = torch.zeros(2, len(layer), dtype=torch.float64)
    sample = (
        layer.sample(max(1, FEW // layer.traced.layer.c_in)).neurons[:FEW]
        if keep
        else layer.neurons[:0]
    )
    place = (chosen := torch.isin(layer.neurons, sample)).cumsum(0) - 1
    few = torch.zeros(len(sample), layer.shape[1] * layer.shape[2])
    for pixels, maps in layer.tiles("region sums"):
        over = Regional(regions.labels[:, pixels], sums.shape[1], like=layer.traced.x)
        part = few.new_empty(len(sample), len(pixels))
        for neurons, values in maps:
            if (mine := chosen[neurons]).any():
                part[place[neurons[mine]]] = values[mine].to(part)
            sums[neurons] += over(values).cpu()
            totals[neurons] += values.sum(1).double().cpu()
            squares[neurons] += values.square_().sum(1).double().cpu()
        few[:, pixels.min() : pixels.max() + 1] = part.index_select(
            1, pixels.argsort()
        )  # a tile is a band of rows
    return Sums(sums, squares, totals, few.shape[1], few.unflatten(1, layer.shape[1:]), chosen)


@cached_per_object
def sums_at(layer: LayerMaps, scene: Scene, frame: int) -> Sums:
    """``sums_of`` all partitions of a frame, with a sample of the maps; kept, because several
    findings ask for the same.
    """
    return sums_of(layer, regions_of(scene, frame), keep=True)


def explained(total: Sums, regions: Regions, names: tuple[str, ...]) -> Tensor:
    """Adjusted R², (n,): the share of the variance of |C_n| over pixels that these partitions
    explain together.
    """
    index, inverse, rank = regions.basis(names)
    return adjusted(total.sums[:, index], total, inverse, rank)


def adjusted(sums: Tensor, total: Sums, inverse: Tensor, rank: int) -> Tensor:
    """1 − (1 − R²)(HW − 1)/(HW − K) from sums (…, n, R) over the regions whose inverse Gram
    matrix is given.
    """
    pixels, around_mean = total.pixels, total.totals**2 / total.pixels
    r2 = (((sums @ inverse) * sums).sum(-1) - around_mean) / (total.squares - around_mean)
    return 1 - (1 - r2) * (pixels - 1) / (pixels - rank)


def pseudo_inverse(gram: Tensor) -> tuple[Tensor, int]:
    """Of a symmetric matrix, without eigenvalues below 1e-9 of the largest; and its rank."""
    values, vectors = torch.linalg.eigh(gram)
    kept = values > 1e-9 * values[-1]
    vectors = vectors[:, kept]
    return vectors / values[kept] @ vectors.T, int(kept.sum())


def shapley(value: dict[tuple, float], names: Sequence[str]) -> dict[str, float]:
    """Each name's average gain over the orders in which the names can be added; ``value`` of
    every subset, in order.
    """
    n, shares = len(names), {}
    for name in names:
        others = [m for m in names if m != name]
        shares[name] = 0.0
        for size in range(n):
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            for chosen in combinations(others, size):
                joined = tuple(m for m in names if m in (*chosen, name))
                shares[name] += weight * (value[joined] - value[chosen])
    return shares


def scored(total: Sums) -> Tensor:
    """Which neurons' maps vary by at least 1 % of their mean: the others are counted, not
    scored.
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
    rows, cols = (n // step for n in maps.shape[1:])
    a, b = (by_frequency(x, step) if x.ndim == 3 else x for x in (maps, members))
    product = a.conj() @ b.transpose(-1, -2)
    return torch.fft.irfft2(product, s=(rows, cols), dim=(0, 1)).flatten(0, 1).double()


def by_frequency(maps: Tensor, step: int) -> Tensor:
    """Fourier transform of (n, H, W) maps on the grid of every ``step``-th pixel, for each of its
    step² phases.

    (rows, frequencies, n, step²). What ``step`` does not divide is cut off.
    """
    rows, cols = (n // step for n in maps.shape[1:])
    cells = (
        maps[:, : rows * step, : cols * step].unflatten(2, (cols, step)).unflatten(1, (rows, step))
    )
    return torch.fft.rfft2(cells.permute(0, 2, 4, 1, 3).flatten(1, 2)).permute(2, 3, 0, 1)
