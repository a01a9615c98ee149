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


class FirstOrderColumns(Rule):
    """x_j(p)·∂I_c(p)/∂x_j(p) for the columns of a pointwise network."""

    has_color = True

    def __init__(self, traced):
        super().__init__(traced)
        self._box, self._jacobian = None, None

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        weight = self.traced.layer.weight[:, neurons, 0, 0]  # (n_out, k)
        gradient = torch.einsum("ok,cohw->kchw", weight, self.jacobian(box))
        return gradient.mul_(crop(self.traced.x, box)[neurons][:, None])

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        return magnitude(self.color(neurons, box))

    def jacobian(self, box: Box) -> Tensor:
        """∂I_c(p)/∂z_k(p), (3, n_out, h, w); the last box's is kept."""
        if self._box != box:
            layers, inputs = self.traced.layers, self.traced.inputs
            j = torch.eye(layers[-1].c_out, dtype=self.traced.x.dtype, device=self.traced.x.device)[:, :, None, None]
            for before, layer, x in zip(layers[-2::-1], layers[:0:-1], inputs[-2::-1]):
                slope = before.slope(before.linear(crop(x, box)))  # (1, k, h, w)
                j = torch.einsum("cohw,ok->ckhw", j, layer.weight[:, :, 0, 0]) * slope
            self._box, self._jacobian = box, j.expand(-1, -1, *extent(box))
        return self._jacobian

    def floats_per_pixel(self) -> int:
        return 3 * max(layer.c_out for layer in self.traced.layers)


class FirstOrderKernels(Rule):
    """J·d_n for the kernels (i, o') of a convolution."""

    has_color = True

    def __init__(self, traced):
        super().__init__(traced)
        self._slopes: list[Tensor] | None = None

    def groups(self, most: int) -> Iterator[Tensor]:
        """Kernels that share an output channel together."""
        layer = self.traced.layer
        channels = max(1, most // layer.c_in)
        for o in torch.arange(layer.c_out).split(channels):
            yield from (o[:, None] + torch.arange(layer.c_in) * layer.c_out).flatten().split(max(1, most))

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        if self.traced.is_last:
            return self.traced.shares(neurons, box).abs_()
        return self._assemble(neurons, box, magnitude)

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        if self.traced.is_last:
            maps = self.traced.shares(neurons, box)
            out = maps.new_zeros(len(maps), self.traced.layer.c_out, *extent(box))
            out[torch.arange(len(maps)), self.traced.pairs(neurons)[1]] = maps
            return out
        return self._assemble(neurons, box, lambda c: c)

    def floats_per_pixel(self) -> int:
        """A patch batch holds each layer's output about twice per pixel, windows overlapping."""
        return 4 * max(layer.c_out for layer in self.traced.layers)

    @property
    def slopes(self) -> list[Tensor]:
        """The activations' derivatives on every layer's output grid but the last's: (c, h, w) each."""
        if self._slopes is None:
            pairs = zip(self.traced.layers[:-1], self.traced.inputs[:-1])
            self._slopes = [layer.slope(layer.shuffle(layer.linear(x)))[0] for layer, x in pairs]
        return self._slopes

    def _assemble(self, neurons: Tensor, box: Box, finish) -> Tensor:
        """Shares times windows, summed over cells; ``finish`` turns (…, 3, S, S) blocks of cells into what is kept."""
        scale = self.traced.scale
        target = coarser(box, scale)  # the cells that the picture box touches
        outputs = self.traced.pairs(neurons)[1]
        result: Tensor | None = None
        for o in outputs.unique().tolist():
            mine = (outputs == o).nonzero()[:, 0]
            windows, offsets, source = self._windows(o, target)  # (Tr, Tc, J, 3·S·S)
            d = self.traced.shares(neurons[mine], source).permute(1, 2, 0)  # (nr, nc, k)
            shares = d.new_zeros(*windows.shape[:2], len(mine), len(offsets))
            for j, offset in enumerate(offsets):
                place, have = _overlap(target, source, offset)
                shares[(*place, slice(None), j)] = d[tuple(have)]
            blocks = shares @ windows  # (Tr, Tc, k, 3·S·S)
            part = _tiled(finish(blocks.unflatten(-1, (-1, scale, scale))))  # (k, …, Tr·S, Tc·S)
            if result is None:
                result = part.new_empty(len(neurons), *part.shape[1:])
            result[mine] = part
        return crop(result, box, [lo * scale for lo, _ in target])

    def _windows(self, o: int, target: Box) -> tuple[Tensor, list[tuple[int, int]], Box]:
        """What the cells around each target cell paint into it.

        Returns (Tr, Tc, J, 3·S·S) windows, the J offsets from painting to target cell, and the box of painting cells.
        """
        scale, grid = self.traced.scale, self.traced.x.shape[-2:]
        start, size = self._reach(o)
        spans = [range(a // scale, (a + n - 1) // scale + 1) for a, n in zip(start, size)]
        source = tuple(
            (max(lo - span[-1], 0), min(hi - span[0], n)) for (lo, hi), span, n in zip(target, spans, grid)
        )
        response = self._responses(o, source)  # (nr, nc, 3, height, width)
        (top, left) = (a - span[0] * scale for a, span in zip(start, spans))
        (bottom, right) = (len(span) * scale - a - n for a, n, span in zip((top, left), size, spans))
        response = F.pad(response, (left, right, top, bottom))
        response = response.unflatten(-1, (-1, scale)).unflatten(-3, (-1, scale))  # (nr, nc, 3, jr, S, jc, S)
        offsets = [(r, c) for r in range(len(spans[0])) for c in range(len(spans[1]))]
        parts = response.permute(3, 5, 0, 1, 2, 4, 6).flatten(4).flatten(0, 1)  # (J, nr, nc, 3·S·S)
        offsets = [(r + spans[0][0], c + spans[1][0]) for r, c in offsets]
        (height, width) = extent(target)
        windows = parts.new_zeros(height, width, len(offsets), parts.shape[-1])
        for j, offset in enumerate(offsets):
            place, have = _overlap(target, source, offset)
            windows[(*place, j)] = parts[(j, *have)]
        return windows, offsets, source

    def _reach(self, o: int) -> tuple[list[int], list[int]]:
        """Where the window of cell u begins, in picture pixels from S·u, and how large it is, along rows and columns."""
        q, s = o % self.traced.layer.stride**2, self.traced.layer.stride
        start, size = [q // s, q % s], 1
        for layer in self.traced.layers[1:]:
            start = [(a - layer.pad) * layer.stride for a in start]
            size = (size + layer.kernel - 1) * layer.stride
        return start, [size, size]

    def _responses(self, o: int, cells: Box) -> Tensor:
        """Windows of the columns of J that belong to output channel o: (rows, columns of cells, 3, height, width)."""
        first, slopes = self.traced.layer, self.slopes
        q, channel = o % first.stride**2, o // first.stride**2
        start, step = [q // first.stride, q % first.stride], first.stride
        own = _patches(slopes[0][channel : channel + 1], cells, start, step, 1)  # (nr, nc, 1, 1, 1)
        patch = own.new_ones(1, 1, 1, 1)
        for n, layer in enumerate(self.traced.layers[1:], 1):
            weight = layer.weight[:, channel : channel + 1] if n == 1 else layer.weight
            patch = layer.shuffle(F.conv2d(patch, weight, padding=layer.kernel - 1))
            start, step = [(a - layer.pad) * layer.stride for a in start], step * layer.stride
            if n < len(slopes):
                slope = _patches(slopes[n], cells, start, step, patch.shape[-1])  # (nr, nc, c, n, n)
                patch = (slope * patch.unflatten(0, slope.shape[:2] if len(patch) > 1 else (1, 1))).flatten(0, 1)
        return patch.unflatten(0, own.shape[:2] if len(patch) > 1 else (1, 1)) * own


def magnitude(color: Tensor) -> Tensor:
    """Σ_c |·| over the third axis from the end: (…, 3, h, w) → (…, h, w)."""
    return color.abs().sum(-3)


def _tiled(blocks: Tensor) -> Tensor:
    """(Tr, Tc, k, …, S, S) blocks of cells → (k, …, Tr·S, Tc·S) pictures."""
    n = blocks.ndim
    order = (*range(2, n - 2), 0, n - 2, 1, n - 1)
    return blocks.permute(order).flatten(-2).flatten(-3, -2)


def _patches(x: Tensor, cells: Box, start: list[int], step: int, size: int) -> Tensor:
    """For every cell u the square of x (c, H, W) that begins at start + step·u, zero outside: (nr, nc, c, size, size)."""
    box = tuple((a + step * lo, a + step * (hi - 1) + size) for (lo, hi), a in zip(cells, start))
    return window(x, box).unfold(-2, size, step).unfold(-2, size, step).permute(1, 2, 0, 3, 4)


def _overlap(target: Box, source: Box, offset: tuple[int, int]) -> tuple[list[slice], list[slice]]:
    """Slices of the target cells whose cell ``offset`` before lies in the source box, and of those source cells."""
    place, have = [], []
    for (lo, hi), (a, b), j in zip(target, source, offset):
        first, last = max(lo, a + j), min(hi, b + j)
        place.append(slice(first - lo, max(last, first) - lo))
        have.append(slice(first - j - a, max(last, first) - j - a))
    return place, have
