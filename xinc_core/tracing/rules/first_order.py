"""The first-order rule: what a neuron adds to the picture, to first order. METHOD 3.

Let d_n be the neuron's share of its layer's pre-activation output (weights only, no bias). Its map
is J·d_n, with J the Jacobian of the picture with respect to that pre-activation output: weight ×
gradient, summed over the neuron's weights.

Columns (FFN): J is pixelwise; one backward pass per colour gives x_j(p)·∂I_c(p)/∂x_j(p) for every
neuron at once.

Kernels (NeRV): J is local. A pixel sees a small window of the layer's output grid, the same for all
input channels i. So J is computed once per output channel o' (:mod:`.adjoint`); the map of kernel
(i, o') is Σ_u d_{(i,o')}(u)·J(u) over the few cells u that a pixel sees. Pixels at the same place
of their cells see the same neighbours: maps are kept by place first, cell second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from .adjoint import Adjoint, seen, slopes
from .base import Box, Rule, coarser, crop, extent, whole

PATCH_FLOATS = 1.25e7  # of J, for a batch of output channels
KEPT_FLOATS = 6e7  # of the Jacobians of a pointwise network's tiles
CACHED_FLOATS = 5e5  # of maps in the making: small enough to stay in the processor's cache, with all that they are made of


class FirstOrderColumns(Rule):
    """x_j(p)·∂I_c(p)/∂x_j(p) for the columns of a pointwise network."""

    most_pixels = 2**11

    def __init__(self, traced):
        super().__init__(traced)
        self._kept: dict[Box, Tensor] = {}

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        return self.color_pixels(neurons, box).transpose(0, 1)

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        return self.color_pixels(neurons, box).abs_().sum(0)

    def color_pixels(self, neurons: Tensor, box: Box) -> Tensor:
        if len(neurons) == 1 and box not in self._kept:
            return self._forward(neurons, box)
        weight = self.traced.layer.weight[:, neurons, 0, 0]  # (n_out, k)
        gradient = weight.T @ self.jacobian(box)  # (3, k, h·w)
        return gradient.unflatten(-1, extent(box)).mul_(crop(self.traced.x, box)[neurons])

    def _forward(self, neurons: Tensor, box: Box) -> Tensor:
        """One neuron alone, (3, 1, h, w): its share sent forward is cheaper than the gradients
        of all.
        """
        layers = self.traced.layers
        t = layers[0].weight[:, neurons, 0, 0] * crop(self.traced.x, box)[neurons].flatten(
            1
        )  # (n_out, h·w)
        for layer, slope in zip(layers[1:], self._slopes(box)):
            t = layer.weight[:, :, 0, 0] @ (t * slope)
        return t.unflatten(-1, extent(box))[:, None]

    def _slopes(self, box: Box) -> list[Tensor]:
        """The activations' derivatives of every layer but the last, (k, h·w) each."""
        layers, inputs = self.traced.layers, [crop(x, box) for x in self.traced.inputs]
        return [
            layer.slope(x, out)[0].flatten(1) for layer, x, out in zip(layers, inputs, inputs[1:])
        ]

    def jacobian(self, box: Box) -> Tensor:
        """∂I_c(p)/∂z_k(p), (3, n_out, h·w); those of the last boxes are kept."""
        if box not in self._kept:
            layers = self.traced.layers
            j = torch.eye(layers[-1].c_out, dtype=self.traced.x.dtype, device=self.traced.x.device)[
                :, :, None
            ]
            for layer, slope in zip(layers[:0:-1], self._slopes(box)[::-1]):
                j = layer.weight[:, :, 0, 0].T @ j * slope  # (3, k, h·w)
            j = j.expand(-1, -1, math.prod(extent(box)))
            if sum(kept.numel() for kept in self._kept.values()) + j.numel() > KEPT_FLOATS:
                self._kept = {}
            self._kept[box] = j
        return self._kept[box]

    def floats_per_pixel(self) -> int:
        return 12 * max(
            layer.c_out for layer in self.traced.layers
        )  # J, on its way too, and the gradients of a group


class FirstOrderKernels(Rule):
    """J·d_n for the kernels (i, o') of a convolution."""

    def __init__(self, traced):
        super().__init__(traced)
        self._adjoint: Adjoint | None = None
        self._next: list[int] = []  # output channels that are asked for together
        self._own: tuple[Box, Tensor] | None = None
        self.together = traced.layer.c_in

    def groups(self, most: int, among: Tensor | None = None) -> Iterator[Tensor]:
        """Kernels that share an output channel together, channels of one sub-pixel after each
        other.
        """
        layer, q = self.traced.layer, self.traced.layer.stride**2
        neurons = self.neurons if among is None else among
        neurons = neurons[
            (neurons % layer.c_out % q * layer.c_out + neurons % layer.c_out).argsort(stable=True)
        ]
        outputs, counts = (neurons % layer.c_out).unique_consecutive(return_counts=True)
        self._next = outputs.tolist()
        channels = max(1, most // layer.c_in)
        together = neurons.split(counts.tolist())
        for start in range(0, len(together), channels):
            yield from torch.cat(together[start : start + channels]).split(max(1, most))

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        if self.traced.is_last:
            return self.traced.shares(neurons, box).abs_()
        if len(neurons) == 1 and extent(box) != (1, 1):
            return magnitude(self._forward(neurons, box))
        return self._natural(self._assemble(neurons, box), box)

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        if self.traced.is_last:
            return self.traced.in_own_channel(neurons, self.traced.shares(neurons, box))
        if len(neurons) == 1:
            return self._forward(neurons, box)
        return self._natural(self._assemble(neurons, box, signed=True), box).transpose(0, 1)

    def pixels(self, neurons: Tensor, box: Box) -> Tensor:
        return (
            self._assemble(neurons, box, buffers=self._buffers)
            if self._aligned(box)
            else self.maps(neurons, box)
        )

    def color_pixels(self, neurons: Tensor, box: Box) -> Tensor:
        return (
            self._assemble(neurons, box, True, self._buffers)
            if self._aligned(box)
            else super().color_pixels(neurons, box)
        )

    def order(self, box: Box) -> Tensor:
        natural, scale = super().order(box), self.traced.scale
        if not self._aligned(box):
            return natural
        return (
            natural.unflatten(1, (-1, scale)).unflatten(0, (-1, scale)).permute(1, 3, 0, 2)
        )  # places, then cells

    def forget(self) -> None:
        super().forget()
        self._adjoint, self._own = None, None

    def floats_per_pixel(self) -> int:
        """What a pixel sees of the layer behind this one, in three colours; slopes and their
        copies; maps of one channel.
        """
        layers, channels = (
            self.traced.layers,
            [layer.c_out // layer.stride**2 for layer in self.traced.layers],
        )
        kept = (
            0
            if len(layers) < 3
            else 3
            * channels[1]
            * max(seen(layers, at)[1][1] for at in range(self.traced.scale)) ** 2
        )
        return kept + 6 * sum(channels) + 4 * layers[0].c_in

    def _aligned(self, box: Box) -> bool:
        """Whether a box is made of whole cells, so that maps need not be put in order."""
        return not self.traced.is_last and all(
            edge % self.traced.scale == 0 for side in box for edge in side
        )

    @cached_property
    def slopes(self) -> list[Tensor]:
        """The activations' derivatives on every layer's output grid but the last's: (c, h, w)
        each.
        """
        return [
            slopes(self.traced, m, whole(x.shape[-2:]))
            for m, x in enumerate(self.traced.inputs[1:])
        ]

    def _forward(self, neurons: Tensor, box: Box) -> Tensor:
        """One neuron alone, (1, 3, h, w): its share sent through the linearised tail is cheaper
        than the rows of J.
        """
        first, *later = self.traced.layers
        t = self.traced.x.new_zeros(1, first.c_out, *self.traced.x.shape[-2:])
        t[0, self.traced.pairs(neurons)[1]] = self.traced.shares(neurons, whole(t.shape[-2:]))
        t = first.shuffle(t)
        for layer, slope in zip(later, self.slopes):
            t = layer.shuffle(F.conv2d(t * slope, layer.weight, padding=layer.pad))
        return crop(t, box)

    def _assemble(
        self, neurons: Tensor, box: Box, signed: bool = False, buffers: dict | None = None
    ) -> Tensor:
        """Maps J·d in the pixels' cells: (k, R, C, Tr, Tc) magnitudes, or (3, k, R, C, Tr, Tc),
        by place and cell.
        """
        adjoint = self._rows_of(box)
        outputs, (height, width) = self.traced.pairs(neurons)[1], extent(adjoint.cells)
        places, cells = tuple(map(len, adjoint.places)), height * width
        kept = {} if buffers is None else buffers
        result = _buffer(
            kept, "result", (3,) * signed + (len(neurons), *places, cells), self.traced.x
        )
        for o in sorted(outputs.unique().tolist(), key=lambda o: o % self.traced.layer.stride**2):
            mine = (outputs == o).nonzero()[:, 0]
            self._prepare(adjoint, o)
            if mine[-1] - mine[0] + 1 == len(mine):
                self._fill(
                    result[..., mine[0] : mine[-1] + 1, :, :, :], neurons[mine], adjoint, o, kept
                )
            else:
                result[..., mine, :, :, :] = self._fill(
                    result[..., mine, :, :, :], neurons[mine], adjoint, o, kept
                )
        return result.unflatten(-1, (height, width))

    def _rows_of(self, box: Box) -> Adjoint:
        """The adjoint of the cells that a box touches; inside one cell, of the box's pixels
        only. The last one is kept.
        """
        cells, scale = coarser(box, self.traced.scale), self.traced.scale
        places = tuple(
            range(lo - scale * first, hi - scale * first) if last - first == 1 else range(scale)
            for (lo, hi), (first, last) in zip(box, cells)
        )
        if self._adjoint is None or (self._adjoint.cells, self._adjoint.places) != (cells, places):
            self._adjoint = None  # its memory goes to the next
            self._adjoint = Adjoint(self.traced, cells, places)
        return self._adjoint

    def _prepare(self, adjoint: Adjoint, o: int) -> None:
        """J of one output channel, computed together with those that are asked for next."""
        if o not in adjoint:
            per_channel = 6 * math.prod(map(len, adjoint.places)) * math.prod(extent(adjoint.cells))
            soon = self._next[self._next.index(o) :] if o in self._next else [o]
            adjoint.paint(soon[: max(1, int(PATCH_FLOATS // per_channel))])

    def _fill(self, into: Tensor, neurons: Tensor, adjoint: Adjoint, o: int, kept: dict) -> Tensor:
        """Σ_u d(u)·J(u) over the few cells u that each pixel sees, for neurons of one output
        channel.

        into : (3, k, R, C, Tr·Tc) colours, or (k, R, C, Tr·Tc) magnitudes. A few rows of places at
        a time, which stay in the processor's cache. Where a pixel sees one cell alone, the
        magnitude is |d|·Σ_c|J_c|: no colour is looked at per neuron.
        """
        seen = [adjoint.cells_seen(axis, o % self.traced.layer.stride**2) for axis in (0, 1)]
        shares, cells, signed = self._shares(neurons, adjoint, seen), into.shape[-1], into.ndim == 5
        for cols, (first_col, across) in _runs(seen[1]):
            most = max(
                1, int(CACHED_FLOATS // (3 * len(neurons) * (cols.stop - cols.start) * cells))
            )
            for rows, (first_row, down) in _runs(seen[0], most):
                part = into[..., rows, cols, :]
                if down <= 0 or across <= 0:
                    part.zero_()
                    continue
                j = [
                    adjoint.window(o, which, rows, cols) for which in range(down * across)
                ]  # (3, rows, cols, cells or 1)
                own = [
                    shares[first_row + a, first_col + b] for a in range(down) for b in range(across)
                ]  # (k, 1, 1, cells)
                if len(j) == 1 and not signed:
                    torch.mul(j[0].abs().sum(0), own[0].abs(), out=part)
                    continue
                colors = part if signed else _buffer(kept, "colors", (3, *part.shape), part)
                torch.mul(j[0][:, None], own[0], out=colors)
                for a, b in zip(j[1:], own[1:]):
                    colors.addcmul_(a[:, None], b)
                if not signed:
                    torch.add(colors.abs_()[0], colors[1], out=part).add_(colors[2])
        return into

    def _shares(
        self, neurons: Tensor, adjoint: Adjoint, seen: list
    ) -> dict[tuple[int, int], Tensor]:
        """The neurons' shares times the layer's slopes in the cells around each cell: offset →
        (k, 1, 1, Tr·Tc).
        """
        ends = [[end for f, n in axis if n > 0 for end in (f, f + n)] for axis in seen]
        if not all(ends):
            return {}
        source = tuple((lo + min(e), hi + max(e) - 1) for (lo, hi), e in zip(adjoint.cells, ends))
        d = self.traced.shares(neurons, source) * self._slope(
            int(self.traced.pairs(neurons[:1])[1]), source
        )
        height, width = extent(adjoint.cells)
        offsets = product(*(range(min(e), max(e)) for e in ends))
        top, left = (min(e) for e in ends)
        return {
            (r, c): d[:, None, None, r - top :, c - left :][..., :height, :width].flatten(-2)
            for r, c in offsets
        }

    def _slope(self, o: int, cells: Box) -> Tensor:
        """Slopes of this layer where its output channel o paints, zero outside the grid: (h, w)."""
        s = self.traced.layer.stride
        channel, q = divmod(o, s**2)
        if self._own is None or self._own[0] != cells:
            self._own = cells, slopes(self.traced, 0, tuple((lo * s, hi * s) for lo, hi in cells))
        return self._own[1][channel, q // s :: s, q % s :: s]

    def _natural(self, maps: Tensor, box: Box) -> Tensor:
        """(…, R, C, Tr, Tc) places and cells → the pixels of a box in order, (…, h, w)."""
        adjoint, scale = self._adjoint, self.traced.scale
        picture = maps.movedim((-2, -1), (-4, -2)).flatten(-2).flatten(-3, -2)
        return crop(
            picture,
            box,
            [scale * lo + at.start for (lo, _), at in zip(adjoint.cells, adjoint.places)],
        )


def magnitude(color: Tensor) -> Tensor:
    """Σ_c |·| over the third axis from the end: (…, 3, h, w) → (…, h, w); ``color`` is overwritten.

    Plane by plane, since summing over an axis with few elements behind it takes three times as
    long.
    """
    first, *others = color.abs_().unbind(-3)
    total = first.clone()
    for plane in others:
        total += plane
    return total


def _buffer(kept: dict, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Uninitialised memory of this shape, the same as before if there was some: fresh pages are
    dear.
    """
    if name not in kept or kept[name].numel() < math.prod(shape):
        kept[name] = like.new_empty(math.prod(shape))
    return kept[name][: math.prod(shape)].view(shape)


def _runs(
    seen: list[tuple[int, int]], most: int = 2**31
) -> Iterator[tuple[slice, tuple[int, int]]]:
    """Neighbouring places that see the same cells, at most so many at a time: slices of places,
    and what they see.
    """
    start = 0
    while start < len(seen):
        stop = start + 1
        while stop < min(len(seen), start + most) and seen[stop] == seen[start]:
            stop += 1
        yield slice(start, stop), seen[start]
        start = stop
