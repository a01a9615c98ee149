"""Sums of maps over regions of the picture, several partitions at once, while the maps stream by.

A product with the regions' indicators takes as long per region as adding a map up; gathering each
region's pixels takes as long per partition, however many regions it has. The first is cheaper for a
few regions, the second for many.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_REGIONS = 4096
FEW = 32  # regions up to which the product is cheaper
TURNED = 32  # maps that are turned pixel by pixel together: what stays in the cache
RUN = 512  # pixels that are added in the maps' own precision, before float64 takes over


class Regional:
    """values (k, P) → their sums over regions, (k, n_regions), float64.

    labels : (n_partitions, P), the region of each of the P pixels under each partition; no two
    partitions share a number.
    """

    def __init__(self, labels: Tensor, n_regions: int, like: Tensor):
        labels = labels.to(like.device)
        if n_regions <= FEW:
            self.member = like.new_zeros(labels.shape[1], n_regions).scatter_(1, labels.T, 1)
            return
        self.member = None
        regions, order = labels.flatten().sort(stable=True)
        self.pixels = (order % labels.shape[1]).int()
        counts = torch.bincount(regions, minlength=n_regions)
        within = (
            torch.arange(len(regions), device=like.device) - (counts.cumsum(0) - counts)[regions]
        )
        self.starts = (within % RUN == 0).nonzero()[:, 0].int()
        owners = regions[self.starts]
        self.owned = torch.zeros(len(owners), n_regions, dtype=torch.float64, device=like.device)
        self.owned.scatter_(1, owners[:, None], 1)  # which run is whose

    def __call__(self, values: Tensor) -> Tensor:
        if self.member is not None:
            return (values @ self.member).double()
        turned = (few.T.contiguous() for few in values.split(TURNED))
        runs = [F.embedding_bag(self.pixels, few, self.starts, mode="sum") for few in turned]
        return torch.cat(runs, 1).double().T @ self.owned


def side_by_side(partitions: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, int]:
    """Partitions of integer labels (H, W), renumbered so that no two share a number:
    (n_partitions, H·W), how many regions.
    """
    regions, n_regions = [], 0
    for labels in partitions:
        if tuple(labels.shape) != size:
            raise ValueError(f"labels are {tuple(labels.shape)}, the maps {size}")
        if labels.is_floating_point() or labels.min() < 0 or labels.max() >= MOST_REGIONS:
            raise ValueError(
                f"regions are whole numbers from 0 to at most {MOST_REGIONS - 1}, not {float(labels.min()):g} to "
                f"{float(labels.max()):g}; labels.unique(return_inverse=True)[1] numbers them"
            )
        regions.append(labels.flatten().long().cpu() + n_regions)
        n_regions = int(regions[-1].max()) + 1
    return torch.stack(regions), n_regions
