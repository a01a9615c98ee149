"""Sums of maps over regions of the picture, several partitions at once, while the maps stream by.

A product with the regions' indicators takes as long per region as adding a map up; gathering each
region's pixels takes as long per partition, however many regions it has. The first is cheaper for a
few regions, the second for many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xinc_core.util.checks import brief

LARGEST_LABEL = 4095
PRODUCT_UP_TO_REGIONS = 32  # regions up to which the product with indicators takes less time
MAPS_AT_ONCE = 32  # maps that are transposed together: what stays in the processor's cache
RUN_PIXELS = 512  # pixels that are added in the maps' own precision, before float64 takes over


class Regional:
    """Callable: values (k, P) → their sums over regions, (k, n_regions), float64.

    Parameters
    ----------
    labels : Tensor of integers, (n_partitions, P)
        The region of each of the P pixels under each partition; no two partitions share a number,
        see :func:`side_by_side`.
    n_regions : int
        Of all partitions together.
    like : Tensor
        Gives dtype and device of the values.
    """

    def __init__(self, labels: Tensor, n_regions: int, like: Tensor):
        labels = labels.to(like.device)
        self._indicators: Tensor | None = None
        if n_regions <= PRODUCT_UP_TO_REGIONS:
            indicators = like.new_zeros(labels.shape[1], n_regions)  # (P, n_regions)
            self._indicators = indicators.scatter_(1, labels.T, 1)
        else:
            self._cut_into_runs(labels, n_regions)

    def _cut_into_runs(self, labels: Tensor, n_regions: int) -> None:
        """Sort the pixels by region, and cut each region's pixels into runs of ``RUN_PIXELS``."""
        device, n_pixels = labels.device, labels.shape[1]
        regions, order = labels.flatten().sort(stable=True)
        self._pixels = (order % n_pixels).int()
        counts = torch.bincount(regions, minlength=n_regions)
        first_of_region = counts.cumsum(0) - counts
        place_in_region = torch.arange(len(regions), device=device) - first_of_region[regions]
        self._run_starts = (place_in_region % RUN_PIXELS == 0).nonzero()[:, 0].int()
        region_of_run = regions[self._run_starts]
        # (n_runs, n_regions): 1 where a run belongs to a region
        self._membership = torch.zeros(
            len(region_of_run), n_regions, dtype=torch.float64, device=device
        )
        self._membership.scatter_(1, region_of_run[:, None], 1)

    def __call__(self, values: Tensor) -> Tensor:
        if self._indicators is not None:
            return (values @ self._indicators).double()
        run_sums = []
        for maps in values.split(MAPS_AT_ONCE):
            by_pixel = maps.T.contiguous()  # (P, maps)
            run_sums.append(F.embedding_bag(self._pixels, by_pixel, self._run_starts, mode="sum"))
        return torch.cat(run_sums, 1).double().T @ self._membership


Labels = Tensor | np.ndarray  # of one partition, (H, W)


def side_by_side(labels: Labels | Sequence[Labels], size: Sequence[int]) -> tuple[Tensor, int]:
    """Partitions renumbered so that no two share a number.

    Parameters
    ----------
    labels : Tensor or ndarray of integers or bools, (H, W), or several of them
        Regions from 0 to at most ``LARGEST_LABEL``; of a mask, 0 is outside and 1 inside.
    size : (int, int)
        (H, W) of the maps.

    Returns
    -------
    labels : Tensor, (n_partitions, H·W)
    n_regions : int

    Raises
    ------
    TypeError
        Where labels are no tensors or arrays.
    ValueError
        Where labels have another size, are no whole numbers, or are out of range.
    """
    partitions = [labels] if isinstance(labels, Tensor | np.ndarray) else labels
    if not isinstance(partitions, list | tuple) or not partitions:
        raise TypeError(
            f"labels are a tensor (H, W) of whole numbers, or a list of them, not {brief(labels)}"
        )
    regions = []
    n_regions = 0
    for partition in partitions:
        renumbered = _whole_labels(partition, tuple(size)) + n_regions
        n_regions = int(renumbered.max()) + 1
        regions.append(renumbered)
    return torch.stack(regions), n_regions


def _whole_labels(partition: Any, size: tuple[int, ...]) -> Tensor:
    """One partition's labels after checking them, (H·W,), int64 on the CPU."""
    labels = partition
    if isinstance(labels, np.ndarray):
        labels = torch.from_numpy(labels.copy())  # torch reads no negative strides
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels are a tensor (H, W) of whole numbers, not {brief(partition)}")
    if tuple(labels.shape) != size:
        hint = ""
        if tuple(labels.shape[1:]) == size:
            hint = "; several partitions are a list, list(labels)"
        raise ValueError(f"labels are {tuple(labels.shape)}, the maps {size}{hint}")
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"regions are whole numbers, not {labels.dtype}; labels.long() makes them so"
        )
    labels = labels.long()
    lowest, highest = (int(bound) for bound in labels.aminmax())
    if lowest < 0 or highest > LARGEST_LABEL:
        raise ValueError(
            f"regions are whole numbers from 0 to at most {LARGEST_LABEL}, "
            f"not {lowest} to {highest}; labels.unique(return_inverse=True)[1] numbers them"
        )
    return labels.flatten().cpu()
