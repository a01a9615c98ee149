"""The first-order rule: what a neuron adds to the picture, to first order. METHOD section 9.

Let d_n be the neuron's share of its layer's pre-activation output (weights only, no bias). Its map is J·d_n, with J the
Jacobian of the picture with respect to that pre-activation output: weight × gradient, summed over the neuron's weights.

Columns (FFN): J is pixelwise; one backward pass per colour gives x_j(p)·∂I_c(p)/∂x_j(p) for every neuron at once.

Kernels (NeRV): J is local. A cell u of pre-shuffle channel o' reaches a small window of the picture, whose content does
not depend on the input channel i. So the windows of all cells are computed once per o', as a batch of patches sent
through the linearised tail (every later convolution times the activation's slope); then the map of kernel (i, o') is
Σ_u d_{(i,o')}(u)·window(u). Cells whose windows overlap are summed by one small matrix product per cell of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Box, Rule, coarser, crop, extent, window

PATCH_FLOATS = 4e6  # working size of a batch of patches


class FirstOrderColumns(Rule):
    """x_j(p)·∂I_c(p)/∂x_j(p) for the columns of a pointwise network."""

    def __init__(self, traced):
        super().__init__(traced)
        self._box, self._jacobian = None, None

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        return self._by_channel(neurons, box).transpose(0, 1)

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        return self._by_channel(neurons, box).abs_().sum(0)

    def _by_channel(self, neurons: Tensor, box: Box) -> Tensor:
        """(3, k, h, w)."""
        if len(neurons) == 1 and self._box != box:
            return self._forward(neurons, box)
        weight = self.traced.layer.weight[:, neurons, 0, 0]  # (n_out, k)
        gradient = weight.T @ self.jacobian(box)  # (3, k, h·w)
        return gradient.unflatten(-1, extent(box)).mul_(crop(self.traced.x, box)[neurons])

    def _forward(self, neurons: Tensor, box: Box) -> Tensor:
        """One neuron alone, (3, 1, h, w): its share sent forward is cheaper than the gradients of all."""
        layers = self.traced.layers
        t = layers[0].weight[:, neurons, 0, 0] * crop(self.traced.x, box)[neurons].flatten(1)  # (n_out, h·w)
        for layer, slope in zip(layers[1:], self._slopes(box)):
            t = layer.weight[:, :, 0, 0] @ (t * slope)
        return t.unflatten(-1, extent(box))[:, None]

    def _slopes(self, box: Box) -> list[Tensor]:
        """The activations' derivatives of every layer but the last, (k, h·w) each."""
        layers, inputs = self.traced.layers, [crop(x, box) for x in self.traced.inputs]
        return [layer.slope(x, out)[0].flatten(1) for layer, x, out in zip(layers, inputs, inputs[1:])]

    def jacobian(self, box: Box) -> Tensor:
        """∂I_c(p)/∂z_k(p), (3, n_out, h·w); the last box's is kept."""
        if self._box != box:
            layers = self.traced.layers
            j = torch.eye(layers[-1].c_out, dtype=self.traced.x.dtype, device=self.traced.x.device)[:, :, None]
            for layer, slope in zip(layers[:0:-1], self._slopes(box)[::-1]):
                j = layer.weight[:, :, 0, 0].T @ j * slope  # (3, k, h·w)
            pixels = extent(box)[0] * extent(box)[1]
            self._box, self._jacobian = box, j.expand(-1, -1, pixels)
        return self._jacobian

    def floats_per_pixel(self) -> int:
        return 3 * max(layer.c_out for layer in self.traced.layers)


class FirstOrderKernels(Rule):
    """J·d_n for the kernels (i, o') of a convolution."""

    def __init__(self, traced):
        super().__init__(traced)
        self._slopes: list[Tensor] | None = None
        self.together = traced.layer.c_in

    def groups(self, most: int) -> Iterator[Tensor]:
        """Kernels that share an output channel together."""
        layer = self.traced.layer
        channels = max(1, most // layer.c_in)
        for o in torch.arange(layer.c_out).split(channels):
            yield from (o[:, None] + torch.arange(layer.c_in) * layer.c_out).flatten().split(max(1, most))

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        if self.traced.is_last:
            return self.traced.shares(neurons, box).abs_()
        blocks, origin = self._assemble(neurons, box, magnitude)
        return crop(_tiled(blocks), box, origin)

    def pixels(self, neurons: Tensor, box: Box) -> Tensor:
        return self._assemble(neurons, box, magnitude)[0] if self._aligned(box) else self.maps(neurons, box)

    def order(self, box: Box) -> Tensor:
        natural, scale = super().order(box), self.traced.scale
        if not self._aligned(box):
            return natural
        return natural.unflatten(1, (-1, scale)).unflatten(0, (-1, scale)).transpose(1, 2)

    def _aligned(self, box: Box) -> bool:
        """Whether a box is made of whole cells, so that blocks of cells need not be put in order."""
        return not self.traced.is_last and all(edge % self.traced.scale == 0 for side in box for edge in side)

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        if self.traced.is_last:
            return self.traced.in_own_channel(neurons, self.traced.shares(neurons, box))
        blocks, origin = self._assemble(neurons, box, lambda c: c)
        return crop(_tiled(blocks), box, origin)

    def floats_per_pixel(self) -> int:
        """A batch of patches, with the convolution's own copies."""
        return 4 * self._patch_floats // self.traced.scale**2 + 1

    @property
    def _patch_floats(self) -> int:
        """The largest patch of one cell and one channel on its way through the tail."""
        size, largest = 1, 1
        for layer in self.traced.layers[1:]:
            size += layer.kernel - 1
            largest = max(largest, layer.c_out * size**2)
            size *= layer.stride
        return largest

    @property
    def slopes(self) -> list[Tensor]:
        """The activations' derivatives on every layer's output grid but the last's: (c, h, w) each."""
        if self._slopes is None:
            layers, inputs = self.traced.layers, self.traced.inputs
            self._slopes = [layer.slope(x, out)[0] for layer, x, out in zip(layers, inputs, inputs[1:])]
        return self._slopes

    def _assemble(self, neurons: Tensor, box: Box, finish) -> tuple[Tensor, list[int]]:
        """Shares times windows, summed over cells, and where the first of the cells lies in the picture.

        ``finish`` turns (Tr, Tc, k, 3, S, S) blocks of cells into what is kept; the result is (k, …, Tr, Tc, S, S).
        """
        target = coarser(box, self.traced.scale)  # the cells that the picture box touches
        cells = extent(target)[0] * extent(target)[1]
        at_once = max(1, int(PATCH_FLOATS // (self._patch_floats * cells)))
        outputs, result = self.traced.pairs(neurons)[1], None
        subpixels = outputs % self.traced.layer.stride**2
        for q in subpixels.unique():
            same = outputs[subpixels == q].unique()
            for channels in same.split(at_once):
                windows, offsets, source = self._windows(channels, target)
                for o, painting in zip(channels, windows):
                    mine = (outputs == o).nonzero()[:, 0]
                    shares = self._gathered(neurons[mine], offsets, source, target)
                    blocks = (shares @ painting).unflatten(-1, (-1, *[self.traced.scale] * 2))  # (Tr, Tc, k, 3, S, S)
                    part = finish(blocks).movedim((0, 1), (-4, -3))
                    if len(mine) == len(neurons):
                        result = part
                        continue
                    if result is None:
                        result = part.new_empty(len(neurons), *part.shape[1:])
                    result[mine] = part
        return result, [lo * self.traced.scale for lo, _ in target]

    def _gathered(self, neurons: Tensor, offsets: list[tuple[int, int]], source: Box, target: Box) -> Tensor:
        """For each target cell the shares d of the J cells that paint into it: (Tr, Tc, k, J)."""
        d = self.traced.shares(neurons, source).permute(1, 2, 0)  # (nr, nc, k)
        shares = d.new_zeros(*extent(target), len(neurons), len(offsets))
        for j, offset in enumerate(offsets):
            place, have = _overlap(target, source, offset)
            shares[(*place, slice(None), j)] = d[tuple(have)]
        return shares

    def _windows(self, channels: Tensor, target: Box) -> tuple[Tensor, list[tuple[int, int]], Box]:
        """What the cells around each target cell paint into it, for output channels of one sub-pixel q.

        Returns windows (n, Tr, Tc, J, 3·S·S), the J offsets from painting to target cell, the box of painting cells.
        """
        scale, grid = self.traced.scale, self.traced.x.shape[-2:]
        start, size = self._reach(int(channels[0]))
        spans = [range(a // scale, (a + size - 1) // scale + 1) for a in start]
        source = tuple((max(lo - span[-1], 0), min(hi - span[0], n)) for (lo, hi), span, n in zip(target, spans, grid))
        before = [a - span[0] * scale for a, span in zip(start, spans)]
        after = [len(span) * scale - b - size for b, span in zip(before, spans)]
        response = self._responses(channels, source)  # (n, nr, nc, 3, size, size)
        response = F.pad(response, (before[1], after[1], before[0], after[0]))
        response = response.unflatten(-1, (-1, scale)).unflatten(-3, (-1, scale))  # (n, nr, nc, 3, jr, S, jc, S)
        parts = response.permute(4, 6, 0, 1, 2, 3, 5, 7).flatten(5).flatten(0, 1)  # (J, n, nr, nc, 3·S·S)
        offsets = [(r, c) for r in spans[0] for c in spans[1]]
        windows = parts.new_zeros(len(channels), *extent(target), len(offsets), parts.shape[-1])
        for j, offset in enumerate(offsets):
            (rows, cols), (have_rows, have_cols) = _overlap(target, source, offset)
            windows[:, rows, cols, j] = parts[j, :, have_rows, have_cols]
        return windows, offsets, source

    def _reach(self, o: int) -> tuple[list[int], int]:
        """Where the window of cell u begins, in picture pixels from S·u along rows and columns, and its side."""
        s = self.traced.layer.stride
        start, size = [o % s**2 // s, o % s], 1
        for layer in self.traced.layers[1:]:
            start = [(a - layer.pad) * layer.stride for a in start]
            size = (size + layer.kernel - 1) * layer.stride
        return start, size

    def _responses(self, channels: Tensor, cells: Box) -> Tensor:
        """Windows of J's columns for output channels of one sub-pixel: (n, rows, columns of cells, 3, size, size)."""
        first, slopes = self.traced.layer, self.slopes
        q, channels = int(channels[0]) % first.stride**2, channels // first.stride**2
        start, step = [q // first.stride, q % first.stride], first.stride
        own = _patches(slopes[0][channels], cells, start, step, 1)  # (n, nr, nc, 1, 1)
        rows, cols = extent(cells)
        patch: Tensor | None = None  # (n·nr·nc, c, size, size); cells apart only once slopes have told them apart
        for m, layer in enumerate(self.traced.layers[1:], 1):
            if patch is None:  # the kernels that read these channels, seen from the pixel they read
                patch = layer.weight[:, channels].transpose(0, 1).flip(-2, -1)
            else:
                patch = F.conv2d(patch, layer.weight, padding=layer.kernel - 1)
            patch = layer.shuffle(patch)
            start, step = [(a - layer.pad) * layer.stride for a in start], step * layer.stride
            if m < len(slopes):
                slope = _patches(slopes[m], cells, start, step, patch.shape[-1]).permute(1, 2, 0, 3, 4)
                apart = patch.unflatten(0, (len(channels), rows if m > 1 else 1, cols if m > 1 else 1))
                patch = (apart * slope).flatten(0, 2)
        apart = patch.unflatten(0, (len(channels), *((rows, cols) if len(slopes) > 1 else (1, 1))))
        return apart * own[:, :, :, None]


def magnitude(color: Tensor) -> Tensor:
    """Σ_c |·| over the third axis from the end: (…, 3, h, w) → (…, h, w); ``color`` is overwritten.

    Plane by plane, since summing over an axis with few elements behind it takes three times as long.
    """
    first, *others = color.abs_().unbind(-3)
    total = first.clone()
    for plane in others:
        total += plane
    return total


def _tiled(blocks: Tensor) -> Tensor:
    """(…, Tr, Tc, S, S) blocks of cells → (…, Tr·S, Tc·S) pictures."""
    return blocks.transpose(-3, -2).flatten(-2).flatten(-3, -2)


def _patches(x: Tensor, cells: Box, start: list[int], step: int, size: int) -> Tensor:
    """For every cell u the square of x (c, H, W) that begins at start + step·u, zero outside: (c, nr, nc, size, size)."""
    box = tuple((a + step * lo, a + step * (hi - 1) + size) for (lo, hi), a in zip(cells, start))
    return window(x, box).unfold(-2, size, step).unfold(-2, size, step)


def _overlap(target: Box, source: Box, offset: tuple[int, int]) -> tuple[list[slice], list[slice]]:
    """Slices of the target cells whose cell ``offset`` before lies in the source box, and of those source cells."""
    place, have = [], []
    for (lo, hi), (a, b), j in zip(target, source, offset):
        first, last = max(lo, a + j), min(hi, b + j)
        place.append(slice(first - lo, max(last, first) - lo))
        have.append(slice(first - j - a, max(last, first) - j - a))
    return place, have
