"""Planted maps: layers whose answer is known, to try a finding's statistic on.

METHOD 4, earlier form.

A planted layer has the interface of a traced one, so it goes through the very code that judges the
networks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xinc_core.models import Layer
from xinc_core.tracing import Box, LayerMaps, Rule, Traced


class Painted(Rule):
    """Maps that are given."""

    def __init__(self, given: Tensor):
        layer = Layer("planted", given.new_zeros(1, len(given), 1, 1), None, neurons="columns")
        super().__init__(Traced((layer,), (given[None],), tuple(given.shape[1:])))
        self.given = given

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        (top, bottom), (left, right) = box
        return self.given[neurons, top:bottom, left:right].clone()


def planted(given: Tensor) -> LayerMaps:
    """A layer of the given maps, (n, H, W)."""
    return LayerMaps("planted", Painted(given.float()))


def painted_by(labels: Tensor, n: int, seed: int, noise: float = 0.3) -> Tensor:
    """n maps that are constant inside each region of (H, W) labels, at levels in [0, 1], plus
    noise: (n, H, W).
    """
    random = torch.Generator().manual_seed(seed)
    levels = torch.rand(n, int(labels.max()) + 1, generator=random)
    return levels[:, labels] + white(n, labels.shape, seed + 1) * noise


def white(n: int, size: tuple[int, int], seed: int) -> Tensor:
    """n maps of white noise in [0, 1]."""
    return torch.rand(n, *size, generator=torch.Generator().manual_seed(seed + 1000))
