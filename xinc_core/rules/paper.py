"""The paper's rule (XINC, section 3): a neuron's own term, its activation, then box filters and upsampling to the picture.

Columns (FFN):   C_j(p) = act( x_j(p)·Σ_k W[k, j] + Σ_k b_k / n_in )
Kernels (NeRV):  act( conv(x_i, W[o', i]) + b_{o'}/c_in ) on its own sub-pixel of every s×s cell; then, through every later
                 layer, a box filter of that layer's kernel size, nearest upsampling by its stride, and its activation.

What is *not* propagated: the weights downstream. Whether the maps are true all the same is what rule ``ablation`` tells.

Nothing is computed at a finer grid than it needs: a pointwise activation commutes with nearest upsampling, and a box
filter over an upsampled map is a weighted sum of a few coarse neighbours, one set of weights per phase.
"""

from __future__ import annotations

from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Box, Rule, coarser, crop, grown


class PaperColumns(Rule):
    """Contribution maps of a linear layer's columns, METHOD closed form."""

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

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        needed = self._needed(box)
        t, origin = self._own_term(neurons, needed[0])
        factor = 1
        for layer, seen in zip(self.traced.layers[1:], needed[1:]):
            t = crop(box_filter(t, layer.kernel, factor), seen, origin)
            t = layer.activation(t)
            origin, factor = tuple(lo for lo, _ in seen), layer.stride
            origin = tuple(o * factor for o in origin)
        return crop(enlarge(t, factor), box, origin)

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        """Last layer only: kernel (i, k) paints channel k."""
        if not self.traced.is_last:
            return super().color(neurons, box)
        maps = self.maps(neurons, box)
        out = maps.new_zeros(len(maps), self.traced.layer.c_out, *maps.shape[1:])
        out[torch.arange(len(maps)), self.traced.pairs(neurons)[1]] = maps
        return out

    def _needed(self, box: Box) -> list[Box]:
        """For each layer, the box of its output before upsampling that the picture box needs; this layer's first."""
        needed = []
        for layer, x in zip(reversed(self.traced.layers[1:]), reversed(self.traced.inputs[1:])):
            box = coarser(box, layer.stride)
            needed.append(box)
            box = grown(box, layer.pad, x.shape[-2:])
        return [box, *reversed(needed)]

    def _own_term(self, neurons: Tensor, box: Box) -> tuple[Tensor, tuple[int, int]]:
        """The activated term on the layer's output grid, zero (activated) off its sub-pixel: (k, s·h, s·w), and its origin."""
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
            spread = rest.expand(k, h, s, w, s).clone()
            spread[torch.arange(k, device=z.device), :, q // s, :, q % s] = z
            z = spread.view(k, h * s, w * s)
        origin = tuple(lo * s for lo, _ in cells)
        return crop(z, box, origin), tuple(lo for lo, _ in box)


def enlarge(t: Tensor, factor: int) -> Tensor:
    """Nearest-neighbour upsampling of (…, h, w)."""
    return t if factor == 1 else t.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def box_filter(t: Tensor, kernel: int, factor: int = 1) -> Tensor:
    """Mean over kernel×kernel windows, zero padding, of t enlarged ``factor`` times: (k, h, w) → (k, h·factor, w·factor).

    Output ``factor·a + r`` along a side is Σ_δ count_r(δ)·t[a + δ] / kernel, where ``count_r(δ)`` is how many of the
    window's pixels fall into coarse cell a + δ. Edges of a cropped t are as wrong as its missing surroundings.
    """
    if kernel == 1:
        return enlarge(t, factor)
    reach = -(-(kernel // 2) // factor)
    t = F.pad(t * (1 / kernel**2), (reach,) * 4)
    return _sum_windows(_sum_windows(t, kernel, factor, reach, -1), kernel, factor, reach, -2)


def _sum_windows(t: Tensor, kernel: int, factor: int, reach: int, dim: int) -> Tensor:
    """Window sums along one side of a padded t; that side shrinks by the padding and grows by the factor."""
    n = t.shape[dim] - 2 * reach
    shape = list(t.shape)
    shape[dim] = n * factor
    out = t.new_empty(shape)
    part: list[slice] = [slice(None)] * t.ndim
    for phase in range(factor):
        counts = Counter((phase + j) // factor for j in range(-(kernel // 2), kernel // 2 + 1))
        (first, weight), *others = [(t.narrow(dim, reach + d, n), c) for d, c in sorted(counts.items())]
        part[dim] = slice(phase, None, factor)
        target = out[tuple(part)]
        if not others:
            torch.mul(first, weight, out=target)
            continue
        (second, alpha), *others = others
        if weight != 1:
            first = first * weight
        torch.add(first, second, alpha=alpha, out=target)
        for other, alpha in others:
            target.add_(other, alpha=alpha)
    return out
