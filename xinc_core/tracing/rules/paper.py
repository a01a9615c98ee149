"""The paper's rule (XINC, section 3): a neuron's own term, carried to the picture. METHOD 2.

Columns (FFN):   C_j(p) = act( x_j(p)·Σ_k W[k, j] + Σ_k b_k / n_in )
Kernels (NeRV):  act( conv(x_i, W[o', i]) + b_{o'}/c_in ) on its own sub-pixel of every s×s cell;
then, through every later layer, a box filter of that layer's kernel size, nearest upsampling by its
stride, and its activation.

Trap: the weights of later layers are *not* propagated. Whether the maps are faithful nevertheless
is measured against rule ``ablation``.

Nothing is computed at a finer grid than it needs: a pointwise activation commutes with nearest
upsampling, and a box filter over an upsampled map is a weighted sum of a few coarse neighbours, one
set of weights per phase. A *phase* is a pixel's column modulo the upsampling factor; maps are
stored as one *plane* per phase.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor

from .base import Box, Rule, coarser, corner, crop, finer, grown


class PaperColumns(Rule):
    """Contribution maps of a linear layer's columns, in the closed form of METHOD 2."""

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        layer = self.traced.layer
        x = crop(self.traced.x, box)  # (c_in, h, w)
        weight = layer.weight[:, :, 0, 0].sum(0)[neurons]  # (k,) Σ_k W[k, j]
        bias = 0 if layer.bias is None else layer.bias.sum() / layer.c_in
        return layer.activation(x[neurons] * weight[:, None, None] + bias)

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        """The terms c_jk of the three colours k apart, (k, 3, h, w); last layer only."""
        layer = self.traced.layer
        if not self.traced.is_last:
            return super().color(neurons, box)
        x = crop(self.traced.x, box)[neurons][:, None]  # (k, 1, h, w)
        weight = layer.weight[:, neurons].transpose(0, 1)  # (k, 3, 1, 1)
        bias = 0 if layer.bias is None else layer.bias[:, None, None] / layer.c_in
        return x * weight + bias


class PaperKernels(Rule):
    """Contribution maps of a convolution's kernels (i, o')."""

    max_tile_pixels = 2**18

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        planes, origin = self._planes(neurons, box, {})
        return crop(interleaved(planes), box, origin)

    def pixels(self, neurons: Tensor, box: Box) -> Tensor:
        if not self._is_aligned(box):
            return super().pixels(neurons, box)
        planes, (top, left) = self._planes(neurons, box, self._buffers)
        rows, (first, last) = box
        columns = first // self._phases, last // self._phases  # of each plane
        return crop(planes, (rows, columns), (top, left // self._phases))

    def order(self, box: Box) -> Tensor:
        natural = super().order(box)  # (h, w)
        if not self._is_aligned(box):
            return natural
        return natural.unflatten(1, (-1, self._phases)).permute(2, 0, 1)  # (phase, h, w / phases)

    @property
    def _phases(self) -> int:
        """Into how many planes the last box filter sorts the columns."""
        layers = self.traced.layers
        return layers[-2].stride if len(layers) > 2 else 1

    def _is_aligned(self, box: Box) -> bool:
        """Whether every plane has the same columns of the box."""
        _, (left, right) = box
        return left % self._phases == 0 and right % self._phases == 0

    def groups(self, max_size: int, subset: Tensor | None = None) -> Iterator[Tensor]:
        """Kernels that read the same input channel together."""
        neurons = self.neurons if subset is None else subset.sort().values
        inputs, _ = self.traced.pairs(neurons)
        _, counts = inputs.unique_consecutive(return_counts=True)
        for same_input in neurons.split(counts.tolist()):
            yield from same_input.split(max(1, max_size))

    def _planes(self, neurons: Tensor, box: Box, buffers: dict) -> tuple[Tensor, tuple[int, int]]:
        """The maps around a box, columns apart by phase, and where their corner lies.

        Parameters
        ----------
        neurons : Tensor, (k,)
        box : Box
            In the picture.
        buffers : dict
            Memory for the planes, which a next call with the same dict overwrites.

        Returns
        -------
        planes : Tensor, (k, phases, h, w / phases)
        origin : (int, int)
            (row, column) of the planes' corner in the picture.
        """
        own_box, *later_boxes = self._needed_boxes(box)
        planes = self._own_term(neurons, own_box, buffers)[:, None]  # (k, 1, h, w)
        factor = 1  # by how much the next box filter sees its map enlarged
        top, left = corner(own_box)  # on the grid of the planes, before enlarging
        last_layer = self.traced.layers[-1]
        for layer, (rows, columns) in zip(self.traced.layers[1:], later_boxes):
            planes = box_filter(planes, layer.kernel, factor, buffers)  # (k, factor, h, w / factor)
            if layer is last_layer:
                break
            first, last = columns[0] // factor, -(-columns[1] // factor)  # whole phases
            planes = crop(planes, (rows, (first, last)), (top, left // factor))
            planes = layer.activate_(planes)
            top, left = rows[0] * layer.stride, first * factor * layer.stride
            factor = layer.stride
        return planes, (top, left)

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        """Last layer only: kernel (i, k) paints channel k."""
        if not self.traced.is_last:
            return super().color(neurons, box)
        return self.traced.in_own_channel(neurons, self.maps(neurons, box))

    def _needed_boxes(self, box: Box) -> list[Box]:
        """For each layer, the box of its output before upsampling that the picture box needs.

        The traced layer's box is on its own output grid and stands first.
        """
        boxes = []
        later = zip(self.traced.layers[1:], self.traced.inputs[1:])
        for layer, x in reversed(list(later)):
            box = coarser(box, layer.stride)
            boxes.append(box)
            box = grown(box, layer.pad, x.shape[-2:])
        boxes.append(box)
        return boxes[::-1]

    def _own_term(self, neurons: Tensor, box: Box, buffers: dict) -> Tensor:
        """The activated term in a box of the layer's output grid: (k, h, w).

        Off its sub-pixel, a kernel's term is the activation of zero.
        """
        layer = self.traced.layer
        stride = layer.stride
        cells = coarser(box, stride)
        z = self.traced.shares(neurons, cells)  # (k, h, w) on the input grid
        _, outputs = self.traced.pairs(neurons)
        if layer.bias is not None:
            z += (layer.bias[outputs] / layer.c_in)[:, None, None]
        z = layer.activation(z)
        if stride > 1:
            z = self._on_own_sub_pixel(z, outputs % stride**2, buffers)
        return crop(z, box, corner(finer(cells, stride)))

    def _on_own_sub_pixel(self, z: Tensor, sub_pixels: Tensor, buffers: dict) -> Tensor:
        """(k, h, w) → (k, h·s, w·s): each map on sub-pixel (q div s, q mod s) of every cell."""
        layer, stride = self.traced.layer, self.traced.layer.stride
        k, h, w = z.shape
        q = sub_pixels.to(z.device)
        elsewhere = layer.activation(z.new_zeros(()))
        shape = k, h, stride, w, stride
        if shape not in buffers:
            buffers[shape] = z.new_empty(shape)
        spread = buffers[shape].fill_(elsewhere)
        spread[torch.arange(k, device=z.device), :, q // stride, :, q % stride] = z
        return spread.view(k, h * stride, w * stride)


def interleaved(planes: Tensor) -> Tensor:
    """(k, phases, h, w) column phases → (k, h, w·phases)."""
    return planes.movedim(1, -1).flatten(-2)


def box_filter(planes: Tensor, kernel: int, factor: int, buffers: dict) -> Tensor:
    """Mean over kernel×kernel windows, zero padding, of maps enlarged ``factor`` times.

    With t the map before enlarging, output ``factor·a + r`` along a side is
    ``Σ_δ count_r(δ)·t[a + δ] / kernel``, where ``count_r(δ)`` is how many of the window's pixels
    fall into coarse cell a + δ. Phases of columns stay apart, because interleaving them takes more
    time than everything else.

    Parameters
    ----------
    planes : Tensor, (k, phases, h, w / phases)
        The map t, columns apart by phase. Where t is a crop, its edges come out wrong, because
        what surrounds it is taken to be zero.
    kernel : int
        Side of the window in pixels of the enlarged map, odd.
    factor : int
        By how much t is enlarged, nearest neighbour.
    buffers : dict
        Memory that the next call overwrites.

    Returns
    -------
    Tensor, (k, factor, h·factor, w)
        In ``buffers``: columns apart by their new phase.
    """
    k, phases, h, columns_per_plane = planes.shape
    w = columns_per_plane * phases
    reach = -(-(kernel // 2) // factor)  # coarse cells that a window reaches to each side
    padded_shape = k, h + 2 * reach, w + 2 * reach
    column_sums_shape = k, h + 2 * reach, w
    filtered_shape = k, factor, h * factor, w
    shapes = padded_shape, column_sums_shape, filtered_shape
    if shapes not in buffers:
        buffers[shapes] = [planes.new_zeros(shape) for shape in shapes]
    padded, column_sums, filtered = buffers[shapes]  # the margin of `padded` stays zero

    inside = padded[:, reach : reach + h, reach : reach + w]
    inside = inside.unflatten(-1, (-1, phases)).movedim(-1, 1)  # (k, phases, h, w / phases)
    torch.mul(planes, 1 / kernel**2, out=inside)
    for column in range(factor):
        _window_sum(padded, -1, kernel, factor, column, out=column_sums)
        for row in range(factor):
            rows_of_phase = filtered[:, column, row::factor]  # (k, h, w)
            _window_sum(column_sums, -2, kernel, factor, row, out=rows_of_phase)
    return filtered


def _window_sum(
    padded: Tensor, dim: int, kernel: int, factor: int, phase: int, out: Tensor
) -> None:
    """One phase of the window sums along one side: ``out[a] = Σ_δ count(δ)·padded[a + δ]``.

    padded has ``reach`` more cells than ``out`` at both ends of ``dim``.
    """
    length = out.shape[dim]
    reach = (padded.shape[dim] - length) // 2
    half = kernel // 2
    # coarse offset δ → how many pixels of the window fall into that cell
    counts = Counter((phase + pixel) // factor for pixel in range(-half, half + 1))
    by_count = sorted(counts.items(), key=lambda item: item[1])
    shifted = [padded.narrow(dim, reach + offset, length) for offset, _ in by_count]
    weights = [count for _, count in by_count]

    if len(shifted) == 1 or weights[0] > 1:
        torch.mul(shifted[0], weights[0], out=out)
        rest = 1
    else:  # the first weight is 1: its product is saved
        torch.add(shifted[0], shifted[1], alpha=weights[1], out=out)
        rest = 2
    for term, weight in zip(shifted[rest:], weights[rest:]):
        torch.add(out, term, alpha=weight, out=out)
