"""The first-order rule for the kernels of a convolution. METHOD 3.

Let d_n be the neuron's share of its layer's pre-activation output (weights only, no bias). Its map
is J·d_n, with J the Jacobian of the picture with respect to that pre-activation output.

Here J is local: a pixel sees a small window of the layer's output grid, the same for all input
channels i. So J is computed once per output channel o' (:mod:`.adjoint`); the map of kernel (i, o')
is ``Σ_u d_{(i,o')}(u)·J(u)`` over the few cells u that a pixel sees. Pixels at the same place of
their cells see the same neighbours.

Trap: maps in the making are ordered by place first, cell second: (…, R, C, Tr, Tc) with R×C places
and Tr×Tc cells, as in :mod:`.adjoint`; ``order`` and ``_natural`` lead back to rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ..budget import DEFAULT_BUDGET, Budget
from .adjoint import Adjoint, Seen, seen, slopes
from .base import Box, Rule, Span, Traced, coarser, crop, extent, finer, magnitude, whole


class FirstOrderKernels(Rule):
    """J·d_n for the kernels (i, o') of a convolution."""

    def __init__(self, traced: Traced, budget: Budget = DEFAULT_BUDGET):
        super().__init__(traced, budget)
        self.min_group = traced.layer.c_in  # the kernels that share an output channel
        self._adjoint: Adjoint | None = None  # of the last box
        self._upcoming: list[int] = []  # output channels in the order in which groups ask for them
        self._own_slopes: tuple[Box, Tensor] | None = None  # of the last cells

    def groups(self, max_size: int, subset: Tensor | None = None) -> Iterator[Tensor]:
        """Kernels that share an output channel, channels of one sub-pixel after each other."""
        layer = self.traced.layer
        neurons = self.neurons if subset is None else subset
        _, outputs = self.traced.pairs(neurons)
        sub_pixels = outputs % layer.stride**2
        by_sub_pixel = (sub_pixels * layer.c_out + outputs).argsort(stable=True)
        neurons = neurons[by_sub_pixel]
        channels, counts = (neurons % layer.c_out).unique_consecutive(return_counts=True)
        self._upcoming = channels.tolist()
        by_channel = neurons.split(counts.tolist())
        n_channels = max(1, max_size // layer.c_in)  # that fit into a group
        for start in range(0, len(by_channel), n_channels):
            group = torch.cat(by_channel[start : start + n_channels])
            yield from group.split(max(1, max_size))

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        if self.traced.is_last:
            return self.traced.shares(neurons, box, self.traced.removed).abs_()
        if len(neurons) == 1 and extent(box) != (1, 1):
            return magnitude(self._forward(neurons, box))
        return self._natural(self._assemble(neurons, box, signed=False, buffers={}), box)

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        if self.traced.is_last:
            return self.traced.in_own_channel(
                neurons, self.traced.shares(neurons, box, self.traced.removed)
            )
        if len(neurons) == 1:
            return self._forward(neurons, box)
        colors = self._assemble(neurons, box, signed=True, buffers={})  # (3, k, R, C, Tr, Tc)
        return self._natural(colors, box).transpose(0, 1)

    def pixels(self, neurons: Tensor, box: Box) -> Tensor:
        if not self._is_aligned(box):
            return self.maps(neurons, box)
        return self._assemble(neurons, box, signed=False, buffers=self._buffers)

    def color_pixels(self, neurons: Tensor, box: Box) -> Tensor:
        if not self._is_aligned(box):
            return super().color_pixels(neurons, box)
        return self._assemble(neurons, box, signed=True, buffers=self._buffers)

    def order(self, box: Box) -> Tensor:
        natural = super().order(box)  # (h, w)
        if not self._is_aligned(box):
            return natural
        scale = self.traced.scale
        by_cell = natural.unflatten(1, (-1, scale)).unflatten(0, (-1, scale))  # (Tr, R, Tc, C)
        return by_cell.permute(1, 3, 0, 2)  # (R, C, Tr, Tc)

    def release(self) -> None:
        super().release()
        self._adjoint, self._own_slopes = None, None

    def floats_per_pixel(self) -> int:
        # What a pixel sees of the layer behind this one, in three colours; slopes and their
        # copies; maps of one channel.
        layers = self.traced.layers
        channels = [layer.c_out // layer.stride**2 for layer in layers]
        gradients = 0
        if len(layers) > 2:
            widest = max(seen(layers, place)[1].size for place in range(self.traced.scale))
            gradients = 3 * channels[1] * widest**2
        return gradients + 6 * sum(channels) + 4 * layers[0].c_in

    def _is_aligned(self, box: Box) -> bool:
        """Whether a box is made of whole cells, so that maps need not be put in order."""
        (top, bottom), (left, right) = box
        whole_cells = all(edge % self.traced.scale == 0 for edge in (top, bottom, left, right))
        return whole_cells and not self.traced.is_last

    @cached_property
    def slopes(self) -> list[Tensor]:
        """The activations' derivatives of every layer but the last, (c, h, w) each.

        They are on the layers' output grids.
        """
        per_layer = []
        for m, output in enumerate(self.traced.inputs[1:]):
            per_layer.append(slopes(self.traced, m, whole(output.shape[-2:])))
        return per_layer

    def _forward(self, neurons: Tensor, box: Box) -> Tensor:
        """One neuron alone, (1, 3, h, w), by sending its share through the linearised tail.

        That takes less time than the rows of J.
        """
        first, *later = self.traced.layers
        grid = self.traced.grid
        _, output = self.traced.pairs(neurons)
        share = self.traced.x.new_zeros(1, first.c_out, *grid)
        share[0, output] = self.traced.shares(neurons, whole(grid), self.traced.removed)
        share = first.shuffle(share)
        for layer, slope in zip(later, self.slopes):
            share = layer.shuffle(F.conv2d(share * slope, layer.weight, padding=layer.pad))
        return crop(share, box)

    def _assemble(self, neurons: Tensor, box: Box, signed: bool, buffers: dict) -> Tensor:
        """Maps J·d by place and cell.

        Magnitudes (k, R, C, Tr, Tc), or with ``signed`` colours (3, k, R, C, Tr, Tc). They cover
        all cells that the box touches, in memory of ``buffers``.
        """
        adjoint = self._adjoint_of(box)
        height, width = extent(adjoint.cells)
        n_places = len(adjoint.places[0]), len(adjoint.places[1])
        shape = (len(neurons), *n_places, height * width)
        maps = _buffer(buffers, "maps", (3, *shape) if signed else shape, self.traced.x)

        _, outputs = self.traced.pairs(neurons)
        n_sub_pixels = self.traced.layer.stride**2
        for channel in sorted(outputs.unique().tolist(), key=lambda o: o % n_sub_pixels):
            self._prepare(adjoint, channel)
            positions = (outputs == channel).nonzero()[:, 0]
            first, last = positions[0], positions[-1]
            if last - first + 1 == len(positions):  # neighbours: written in place
                part = maps[..., first : last + 1, :, :, :]
                self._fill(part, neurons[positions], adjoint, channel, buffers)
            else:
                part = maps[..., positions, :, :, :]  # a copy
                self._fill(part, neurons[positions], adjoint, channel, buffers)
                maps[..., positions, :, :, :] = part
        return maps.unflatten(-1, (height, width))

    def _adjoint_of(self, box: Box) -> Adjoint:
        """The adjoint of the cells that a box touches; inside one cell, of the box's pixels only.

        The last one is stored.
        """
        cells = coarser(box, self.traced.scale)
        places = self._places(box[0], cells[0]), self._places(box[1], cells[1])
        stored = self._adjoint
        if stored is None or (stored.cells, stored.places) != (cells, places):
            stored = self._adjoint = None  # frees its memory before the next takes its own
            self._adjoint = stored = Adjoint(self.traced, cells, places)
        return stored

    def _places(self, pixels: Span, cells: Span) -> range:
        """Places inside a cell, along one side: the pixels' own in one cell, else all."""
        scale = self.traced.scale
        first, last = cells
        if last - first > 1:
            return range(scale)
        start, stop = pixels
        return range(start - scale * first, stop - scale * first)

    def _prepare(self, adjoint: Adjoint, channel: int) -> None:
        """J of one output channel, computed together with those that are asked for next."""
        if channel in adjoint:
            return
        rows, columns = adjoint.places
        n_pixels = len(rows) * len(columns) * math.prod(extent(adjoint.cells))
        n_channels = max(1, int(self.budget.jacobian_batch_floats // (6 * n_pixels)))
        upcoming = [channel]
        if channel in self._upcoming:
            upcoming = self._upcoming[self._upcoming.index(channel) :]
        adjoint.compute(upcoming[:n_channels])

    def _fill(
        self, maps: Tensor, neurons: Tensor, adjoint: Adjoint, channel: int, buffers: dict
    ) -> None:
        """Σ_u d(u)·J(u) over the few cells u that each pixel sees.

        neurons : of one output channel. maps : (3, k, R, C, Tr·Tc) colours, or (k, R, C, Tr·Tc)
        magnitudes; overwritten, a few rows of places at a time, which stay in the processor's
        cache.
        """
        q = channel % self.traced.layer.stride**2
        seen_rows, seen_columns = adjoint.cells_seen(0, q), adjoint.cells_seen(1, q)
        shares = self._shares(neurons, adjoint, seen_rows, seen_columns)
        for columns, across in _runs(seen_columns):
            n_columns = columns.stop - columns.start
            floats_per_row = 3 * len(neurons) * n_columns * maps.shape[-1]
            max_rows = max(1, int(self.budget.assembly_floats // floats_per_row))
            for rows, down in _runs(seen_rows, max_rows):
                part = maps[..., rows, columns, :]
                if down.size <= 0 or across.size <= 0:  # these places see none of the cells
                    part.zero_()
                    continue
                n_cells = down.size * across.size
                jacobian_rows = [  # per cell that is seen: (3, rows, columns, Tr·Tc or 1)
                    adjoint.jacobian_rows(channel, which, rows, columns) for which in range(n_cells)
                ]
                seen_shares = []  # per cell that is seen: (k, 1, 1, Tr·Tc)
                for a in range(down.size):
                    for b in range(across.size):
                        seen_shares.append(shares[down.start + a, across.start + b])
                _add_products(jacobian_rows, seen_shares, part, buffers)

    def _shares(
        self, neurons: Tensor, adjoint: Adjoint, seen_rows: list[Seen], seen_columns: list[Seen]
    ) -> dict[tuple[int, int], Tensor]:
        """The neurons' shares d times the layer's slopes, in the cells around each cell.

        Returns offset (row, column) in cells → (k, 1, 1, Tr·Tc).
        """
        row_offsets, column_offsets = _offsets(seen_rows), _offsets(seen_columns)
        if not row_offsets or not column_offsets:
            return {}
        (top, bottom), (left, right) = adjoint.cells
        source = (  # all cells that are seen
            (top + row_offsets.start, bottom + row_offsets.stop - 1),
            (left + column_offsets.start, right + column_offsets.stop - 1),
        )
        _, outputs = self.traced.pairs(neurons[:1])
        slope = self._slope(int(outputs), source)
        d = (
            self.traced.shares(neurons, source, self.traced.removed) * slope
        )  # (k, h, w) of the source
        height, width = extent(adjoint.cells)
        by_offset = {}
        for row in row_offsets:
            for column in column_offsets:
                shifted = d[
                    :, None, None, row - row_offsets.start :, column - column_offsets.start :
                ]
                by_offset[row, column] = shifted[..., :height, :width].flatten(-2)
        return by_offset

    def _slope(self, channel: int, cells: Box) -> Tensor:
        """Slopes of this layer where its output channel paints: (h, w) of the cells.

        They are zero outside of the grid.
        """
        stride = self.traced.layer.stride
        if self._own_slopes is None or self._own_slopes[0] != cells:
            self._own_slopes = cells, slopes(self.traced, 0, finer(cells, stride))
        shuffled, q = divmod(channel, stride**2)  # channel = shuffled * s² + q
        return self._own_slopes[1][shuffled, q // stride :: stride, q % stride :: stride]

    def _natural(self, maps: Tensor, box: Box) -> Tensor:
        """(…, R, C, Tr, Tc) by place and cell → the pixels of a box in order, (…, h, w).

        Places and cells are those of the last adjoint.
        """
        assert self._adjoint is not None
        scale = self.traced.scale
        by_cell = maps.movedim((-2, -1), (-4, -2))  # (…, Tr, R, Tc, C)
        picture = by_cell.flatten(-2).flatten(-3, -2)  # (…, Tr·R, Tc·C)
        (first_row, _), (first_column, _) = self._adjoint.cells
        rows, columns = self._adjoint.places
        origin = scale * first_row + rows.start, scale * first_column + columns.start
        return crop(picture, box, origin)


def _add_products(
    jacobian_rows: list[Tensor], shares: list[Tensor], out: Tensor, buffers: dict
) -> None:
    """Σ_u J(u)·d(u) over the cells u: colours (3, k, R, C, cells) or magnitudes (k, R, C, cells).

    jacobian_rows : (3, R, C, cells or 1) each; shares : (k, 1, 1, cells) each. Where a pixel sees
    one cell alone, the magnitude is |d|·Σ_c|J_c|: no colour is looked at per neuron.
    """
    signed = out.ndim == 5
    if len(jacobian_rows) == 1 and not signed:
        torch.mul(jacobian_rows[0].abs().sum(0), shares[0].abs(), out=out)
        return
    colors = out
    if not signed:
        colors = _buffer(buffers, "colors", (3, *out.shape), out)
    torch.mul(jacobian_rows[0][:, None], shares[0], out=colors)
    for rows, share in zip(jacobian_rows[1:], shares[1:]):
        colors.addcmul_(rows[:, None], share)
    if not signed:
        red, green, blue = colors.abs_()
        torch.add(red, green, out=out).add_(blue)


def _buffer(buffers: dict, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Uninitialised memory of this shape.

    It is the same as before where that is large enough, because fresh pages cost time.
    """
    size = math.prod(shape)
    if name not in buffers or buffers[name].numel() < size:
        buffers[name] = like.new_empty(size)
    return buffers[name][:size].view(shape)


def _offsets(seen: list[Seen]) -> range:
    """From the first to the last cell that any place sees; empty where none sees any."""
    visible = [cells for cells in seen if cells.size > 0]
    if not visible:
        return range(0)
    return range(
        min(cells.start for cells in visible), max(cells.start + cells.size for cells in visible)
    )


def _runs(seen: list[Seen], max_size: int = 2**31) -> Iterator[tuple[slice, Seen]]:
    """Neighbouring places that see the same cells, at most ``max_size`` at a time.

    Yields slices of places, and what they see.
    """
    start = 0
    while start < len(seen):
        stop = start + 1
        while stop < min(len(seen), start + max_size) and seen[stop] == seen[start]:
            stop += 1
        yield slice(start, stop), seen[start]
        start = stop
