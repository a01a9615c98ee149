"""The first-order rule where the layer's grid has few cells: the Jacobian forwards. METHOD 3.

There, a pixel sees most of the cells, and impulses are fewer than windows of pixels. So J of an
output channel is one impulse per cell, sent through the linearised tail inside the box that it
reaches; a kernel's map is its shares times these.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..budget import DEFAULT_BUDGET, Budget
from .base import Box, Traced, corner, crop, extent, finer, grown, magnitude, whole
from .first_order_kernels import FirstOrderKernels


class Impulses(FirstOrderKernels):
    """J·d_n for the kernels of a convolution on a small grid.

    The maps are those of :class:`FirstOrderKernels`.
    """

    def __init__(self, traced: Traced, budget: Budget = DEFAULT_BUDGET):
        super().__init__(traced, budget)
        self._responses: dict[int, Tensor] = {}  # output channel → (cells, 3, H, W)

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        if len(neurons) == 1 or extent(box) == (1, 1):
            return super().maps(neurons, box)
        return magnitude(self._colors(neurons, box))

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        if len(neurons) == 1:
            return super().color(neurons, box)
        return self._colors(neurons, box)

    def release(self) -> None:
        super().release()
        self._responses = {}

    def floats_per_pixel(self) -> int:
        height, width = self.traced.grid
        return 3 * (self.budget.impulse_channels * height * width + 2 * self.min_group)

    def _is_aligned(self, box: Box) -> bool:
        return False  # maps come out in the pixels' own order

    def _colors(self, neurons: Tensor, box: Box) -> Tensor:
        """(k, 3, h, w)."""
        cells = whole(self.traced.grid)
        _, outputs = self.traced.pairs(neurons)
        colors = self.traced.x.new_empty(len(neurons), 3, *extent(box))
        for channel in outputs.unique().tolist():
            positions = (outputs == channel).nonzero()[:, 0]
            shares = self.traced.shares(
                neurons[positions], cells, self.traced.removed
            )  # (k, h, w) of the grid
            shares = shares * self._slope(channel, cells)
            responses = crop(self._responses_of(channel), box)  # (cells, 3, h, w) of the box
            painted = shares.flatten(1) @ responses.flatten(1)  # (k, 3·h·w)
            colors[positions] = painted.unflatten(1, colors.shape[1:])
        return colors

    def _responses_of(self, channel: int) -> Tensor:
        """∂I_c(p)/∂x_o(u) for the output channel o at every cell u: (cells, 3, H, W).

        Channels that share its sub-pixel and are asked for next are computed with it.
        """
        if channel not in self._responses:
            n_sub_pixels = self.traced.layer.stride**2
            upcoming = [channel]
            if channel in self._upcoming:
                upcoming = self._upcoming[self._upcoming.index(channel) :]
            same = [other for other in upcoming if other % n_sub_pixels == channel % n_sub_pixels]
            batch = same[: self.budget.impulse_channels]
            self._responses = dict(zip(batch, self._send(batch)))
        return self._responses[channel]

    def _send(self, channels: list[int]) -> Tensor:
        """Impulses from every cell, as the picture shows them: (channels, cells, 3, H, W).

        channels : they share a sub-pixel.
        """
        layer = self.traced.layer
        n_sub_pixels = layer.stride**2
        row, column = divmod(channels[0] % n_sub_pixels, layer.stride)  # of the sub-pixel
        shuffled = torch.tensor(channels) // n_sub_pixels
        unit = F.one_hot(shuffled, layer.c_out // n_sub_pixels)  # (channels, c)
        impulse = unit[:, :, None, None].to(self.traced.x)
        height, width = self.traced.grid
        responses = impulse.new_zeros(len(channels), height * width, 3, *self.traced.size)
        for cell in range(height * width):
            cell_row, cell_column = divmod(cell, width)
            top, left = layer.stride * cell_row + row, layer.stride * cell_column + column
            response, box = self._through_tail(impulse, ((top, top + 1), (left, left + 1)))
            crop(responses[:, cell], box)[:] = response
        return responses

    def _through_tail(self, impulse: Tensor, box: Box) -> tuple[Tensor, Box]:
        """An impulse as the picture shows it, (channels, 3, h, w), and the box that it reaches.

        impulse : (channels, c, 1, 1); box : its one pixel of the layer's output grid.
        """
        later = self.traced.layers[1:]
        output_sizes = [x.shape[-2:] for x in self.traced.inputs[2:]] + [self.traced.size]
        t = impulse
        for m, (layer, size) in enumerate(zip(later, output_sizes)):
            if m > 0:  # this layer's own slope goes with the shares
                t = t * crop(self.slopes[m], box)
            t = layer.shuffle(F.conv2d(t, layer.weight, padding=2 * layer.pad))
            (top, bottom), (left, right) = box
            pad = layer.pad
            reached = finer(((top - pad, bottom + pad), (left - pad, right + pad)), layer.stride)
            box = grown(reached, 0, size)  # what reaches out of the grid is lost
            t = crop(t, box, corner(reached))
        return t, box
