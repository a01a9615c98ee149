"""The first-order rule where the layer's grid has few cells: the Jacobian forwards. METHOD 3.

There, a pixel sees most of the cells, and impulses are fewer than windows of pixels. So J of an
output channel is one impulse per cell, sent through the linearised tail inside the box that it
reaches; a kernel's map is its shares times these.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Box, crop, extent, grown, whole
from .first_order import FirstOrderKernels, magnitude

FEW = 16  # cells of a grid that is small
TOGETHER = 4  # output channels whose impulses travel together


class Impulses(FirstOrderKernels):
    """J·d_n for the kernels of a convolution on a small grid; the maps are those of
    :class:`FirstOrderKernels`.
    """

    def __init__(self, traced):
        super().__init__(traced)
        self._kept: dict[int, Tensor] = {}

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        if len(neurons) == 1 or extent(box) == (1, 1):
            return super().maps(neurons, box)
        return magnitude(self._colors(neurons, box))

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        return super().color(neurons, box) if len(neurons) == 1 else self._colors(neurons, box)

    def forget(self) -> None:
        super().forget()
        self._kept = {}

    def floats_per_pixel(self) -> int:
        cells = self.traced.x.shape[-2] * self.traced.x.shape[-1]
        return 3 * (TOGETHER * cells + 2 * self.together)

    def _aligned(self, box: Box) -> bool:
        return False

    def _colors(self, neurons: Tensor, box: Box) -> Tensor:
        """(k, 3, h, w)."""
        outputs, cells = self.traced.pairs(neurons)[1], whole(self.traced.x.shape[-2:])
        colors = self.traced.x.new_empty(len(neurons), 3, *extent(box))
        for o in outputs.unique().tolist():
            mine = (outputs == o).nonzero()[:, 0]
            shares = self.traced.shares(neurons[mine], cells) * self._slope(o, cells)  # (k, cells)
            colors[mine] = (shares.flatten(1) @ crop(self._jacobian(o), box).flatten(1)).unflatten(
                1, colors.shape[1:]
            )
        return colors

    def _jacobian(self, o: int) -> Tensor:
        """∂I_c(p)/∂x_o(u) for the output channel o at every cell u: (cells, 3, H, W)."""
        if o not in self._kept:
            n = self.traced.layer.stride**2
            soon = self._next[self._next.index(o) :] if o in self._next else [o]
            soon = [other for other in soon if other % n == o % n][:TOGETHER]
            self._kept = dict(zip(soon, self._sent(soon)))
        return self._kept[o]

    def _sent(self, channels: list[int]) -> Tensor:
        """Impulses of channels that share a sub-pixel, from every cell to the picture:
        (channels, cells, 3, H, W).
        """
        first, *later = self.traced.layers
        s, (height, width) = first.stride, self.traced.x.shape[-2:]
        row, col = divmod(channels[0] % s**2, s)
        start = F.one_hot(torch.tensor(channels) // s**2, first.c_out // s**2)[:, :, None, None].to(
            self.traced.x
        )
        found = start.new_zeros(len(channels), height * width, 3, *self.traced.size)
        sizes = [x.shape[-2:] for x in self.traced.inputs[2:]] + [self.traced.size]
        for cell, (r, c) in enumerate(product(range(height), range(width))):
            t, box = start, ((s * r + row, s * r + row + 1), (s * c + col, s * c + col + 1))
            for m, (layer, size) in enumerate(zip(later, sizes)):
                t = (
                    t * crop(self.slopes[m], box) if m else t
                )  # this layer's own slope goes with the shares
                t = layer.shuffle(F.conv2d(t, layer.weight, padding=2 * layer.pad))
                reached = tuple(
                    ((lo - layer.pad) * layer.stride, (hi + layer.pad) * layer.stride)
                    for lo, hi in box
                )
                box = grown(reached, 0, size)  # what reaches out of the grid is lost
                t = crop(t, box, [lo for lo, _ in reached])
            crop(found[:, cell], box)[:] = t
        return found
