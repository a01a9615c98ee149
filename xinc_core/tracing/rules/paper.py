"""The paper's rule (XINC, section 3): a neuron's own term, its activation, then box filters and
upsampling to the picture.

Columns (FFN):   C_j(p) = act( x_j(p)·Σ_k W[k, j] + Σ_k b_k / n_in )
Kernels (NeRV):  act( conv(x_i, W[o', i]) + b_{o'}/c_in ) on its own sub-pixel of every s×s cell;
then, through every later
                 layer, a box filter of that layer's kernel size, nearest upsampling by its stride,
                 and its activation.

What is *not* propagated: the weights downstream. Whether the maps are true all the same is what
rule ``ablation`` tells.

Nothing is computed at a finer grid than it needs: a pointwise activation commutes with nearest
upsampling, and a box filter over an upsampled map is a weighted sum of a few coarse neighbours, one
set of weights per phase.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor

from .base import Box, Rule, coarser, crop, grown


class PaperColumns(Rule):
    """Contribution maps of a linear layer's columns, METHOD 2, the closed form."""

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        layer, x = self.traced.layer, crop(self.traced.x, box)
        weight = layer.weight[:, :, 0, 0].sum(0)[neurons]  # (k,)
        bias = 0 if layer.bias is None else layer.bias.sum() / layer.c_in
        return layer.activation(x[neurons] * weight[:, None, None] + bias)

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        """c_jk apart; last layer only."""
        layer = self.traced.layer
        if not self.traced.is_last:
            return super().color(neurons, box)
        x = crop(self.traced.x, box)[neurons][:, None]  # (k, 1, h, w)
        bias = 0 if layer.bias is None else layer.bias[:, None, None] / layer.c_in
        return x * layer.weight[:, neurons].transpose(0, 1) + bias


class PaperKernels(Rule):
    """Contribution maps of a convolution's kernels (i, o')."""

    most_pixels = 2**18

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        planes, origin = self._planes(neurons, box)
        return crop(interleaved(planes), box, origin)

    def pixels(self, neurons: Tensor, box: Box) -> Tensor:
        if not self._aligned(box):
            return super().pixels(neurons, box)
        planes, (top, left) = self._planes(neurons, box, self._buffers)
        rows, (first, last) = box
        return crop(
            planes,
            (rows, (first // self._phases, last // self._phases)),
            (top, left // self._phases),
        )

    def order(self, box: Box) -> Tensor:
        natural = super().order(box)
        return (
            natural.unflatten(1, (-1, self._phases)).permute(2, 0, 1)
            if self._aligned(box)
            else natural
        )

    @property
    def _phases(self) -> int:
        """Into how many planes the last box filter sorts the columns."""
        layers = self.traced.layers
        return layers[-2].stride if len(layers) > 2 else 1

    def _aligned(self, box: Box) -> bool:
        return all(edge % self._phases == 0 for edge in box[1])

    def groups(self, most: int, among: Tensor | None = None) -> Iterator[Tensor]:
        """Kernels that read the same input channel together."""
        neurons = self.neurons if among is None else among.sort().values
        counts = (neurons // self.traced.layer.c_out).unique_consecutive(return_counts=True)[1]
        for same in neurons.split(counts.tolist()):
            yield from same.split(max(1, most))

    def _planes(
        self, neurons: Tensor, box: Box, buffers: dict | None = None
    ) -> tuple[Tensor, tuple[int, ...]]:
        """The maps around a box, columns apart by phase (see :func:`box_filter`), and where their
        corner lies.

        With ``buffers`` they live in memory that the next call overwrites: fresh pages cost as much
        as the arithmetic.
        """
        own, *needed = self._needed(box)
        buffers = {} if buffers is None else buffers
        planes, factor = self._own_term(neurons, own, buffers)[:, None], 1
        (top, _), (left, _) = own
        for layer, (rows, columns) in zip(self.traced.layers[1:], needed):
            planes = box_filter(planes, layer.kernel, factor, buffers)
            if layer is self.traced.layers[-1]:
                break
            first, last = columns[0] // factor, -(-columns[1] // factor)  # whole phases
            planes = layer.activate_(crop(planes, (rows, (first, last)), (top, left // factor)))
            top, left, factor = rows[0] * layer.stride, first * factor * layer.stride, layer.stride
        return planes, (top, left)

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        """Last layer only: kernel (i, k) paints channel k."""
        if not self.traced.is_last:
            return super().color(neurons, box)
        return self.traced.in_own_channel(neurons, self.maps(neurons, box))

    def _needed(self, box: Box) -> list[Box]:
        """For each layer, the box of its output before upsampling that the picture box needs;
        this layer's first.
        """
        needed = []
        for layer, x in zip(reversed(self.traced.layers[1:]), reversed(self.traced.inputs[1:])):
            box = coarser(box, layer.stride)
            needed.append(box)
            box = grown(box, layer.pad, x.shape[-2:])
        return [box, *reversed(needed)]

    def _own_term(self, neurons: Tensor, box: Box, buffers: dict) -> Tensor:
        """The activated term in a box of the layer's output grid, zero (activated) off its
        sub-pixel: (k, h, w).
        """
        layer, s = self.traced.layer, self.traced.layer.stride
        cells = coarser(box, s)
        z = self.traced.shares(neurons, cells)
        _, o = self.traced.pairs(neurons)
        if layer.bias is not None:
            z += (layer.bias[o] / layer.c_in)[:, None, None]
        z = layer.activation(z)
        if s > 1:
            (k, h, w), rest = z.shape, layer.activation(z.new_zeros(()))
            q = (o % s**2).to(z.device)
            spread = buffers.setdefault((k, h, s, w), z.new_empty(k, h, s, w, s)).fill_(rest)
            spread[torch.arange(k, device=z.device), :, q // s, :, q % s] = z
            z = spread.view(k, h * s, w * s)
        origin = tuple(lo * s for lo, _ in cells)
        return crop(z, box, origin)


def interleaved(planes: Tensor) -> Tensor:
    """(k, f, h, w) column phases → (k, h, w·f)."""
    return planes.movedim(1, -1).flatten(-2)


def box_filter(planes: Tensor, kernel: int, factor: int, buffers: dict) -> Tensor:
    """Mean over kernel×kernel windows, zero padding, of maps t enlarged ``factor`` times, columns
    apart by phase.

    t as (k, f, h, w / f) planes → (k, factor, h·factor, w) planes, in ``buffers``. Output
    ``factor·a + r`` along a side is Σ_δ count_r(δ)·t[a + δ] / kernel, where ``count_r(δ)`` is how
    many of the window's pixels fall into coarse cell a + δ. Phases of columns stay apart because
    interleaving them is dearer than everything else. Edges of a cropped t are as wrong as its
    missing surroundings.
    """
    (k, f, h, w), reach = planes.shape, -(-(kernel // 2) // factor)
    w *= f
    shapes = (k, h + 2 * reach, w + 2 * reach), (k, h + 2 * reach, w), (k, factor, h * factor, w)
    if shapes not in buffers:
        buffers[shapes] = [planes.new_zeros(shape) for shape in shapes]
    around, columns, filtered = buffers[shapes]  # the margin of `around` stays zero
    inside = around[:, reach : reach + h, reach : reach + w].unflatten(-1, (-1, f)).movedim(-1, 1)
    torch.mul(planes, 1 / kernel**2, out=inside)
    for column in range(factor):
        _window_sum(around, -1, kernel, factor, column, out=columns)
        for row in range(factor):
            _window_sum(columns, -2, kernel, factor, row, out=filtered[:, column, row::factor])
    return filtered


def _window_sum(t: Tensor, dim: int, kernel: int, factor: int, phase: int, out: Tensor) -> None:
    """One phase of the window sums along one padded side of t."""
    n, reach = out.shape[dim], (t.shape[dim] - out.shape[dim]) // 2
    counts = Counter((phase + j) // factor for j in range(-(kernel // 2), kernel // 2 + 1))
    (first, weight), *others = sorted(
        ((t.narrow(dim, reach + d, n), c) for d, c in counts.items()), key=lambda tc: tc[1]
    )
    torch.mul(first, weight, out=out) if weight > 1 or not others else None
    for i, (other, alpha) in enumerate(others):
        torch.add(out if i or weight > 1 else first, other, alpha=alpha, out=out)
