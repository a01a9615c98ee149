"""The Jacobian of the picture by one layer's output, row by row. METHOD 3.

A pixel's row is computed backwards, through the transposed convolutions and the slopes of the later
layers: it has three colours, the layer many channels. A pixel sees a small window of every earlier
grid. Pixels at the same place of their cell of the layer's input grid (S×S pixels, see
``Traced.scale``) see windows of one shape, so all cells go back together, in one matrix product per
layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from xinc_core.models import Layer
from xinc_core.util.memo import cached_per_object

from .base import Box, Traced, coarser, crop, grown, window


class Adjoint:
    """∂I_c(p)/∂x_o(u), x the layer's activated output, for the pixels at places ``rows`` × ``cols``
    of some cells.

    It is exact whatever the cells: what a pixel sees outside of them is looked at too.
    """

    def __init__(self, traced: Traced, cells: Box, places: tuple[range, range]):
        self.traced, self.cells, self.places = traced, cells, places
        self._channels, self._painted = {}, {}
        self.seen = [
            {at: seen(traced.layers, at) for at in axis} for axis in places
        ]  # per axis, per place: a window per grid
        bent = [None, *(self._slope(m) for m in range(1, len(traced.layers) - 1))]
        self._behind = {(i, j): self._back(i, j, bent) for i in places[0] for j in places[1]}

    def __contains__(self, channel: int) -> bool:
        return channel in self._channels.get(channel % self.traced.layer.stride**2, ())

    def paint(self, channels: Sequence[int]) -> None:
        """Compute and keep what :meth:`window` gives, for these pre-shuffle output channels of
        the layer.
        """
        s = self.traced.layer.stride
        same = {
            q: [o for o in channels if o % s**2 == q] for q in sorted({o % s**2 for o in channels})
        }
        width = next(iter(self._behind.values()))[1].shape[
            1
        ]  # 3·Tr·Tc; 3 where nothing tells the cells apart
        self._channels, self._painted = {}, {}  # their memory goes to the next
        for q, outputs in same.items():
            most = math.prod(max(1, *(n for _, n in self.cells_seen(axis, q))) for axis in (0, 1))
            self._painted[q] = self.traced.x.new_empty(
                *map(len, self.places), most * len(outputs), width
            )
        for (i, j), (matrix, found) in self._behind.items():
            sizes = [axis[at][0][1] for axis, at in zip(self.seen, (i, j))]
            by_place = (found if matrix is None else matrix).unflatten(
                0, (*sizes, self.traced.layer.c_out // s**2)
            )
            mine = [self._reading(by_place, i, j, q, outputs) for q, outputs in same.items()]
            rows = torch.cat(mine) if matrix is None else torch.cat(mine) @ found
            for q, part in zip(same, rows.split([len(m) for m in mine])):
                self._painted[q][
                    i - self.places[0].start, j - self.places[1].start, : len(part)
                ] = part
        self._channels = same

    def window(self, channel: int, which: int, rows: slice, cols: slice) -> Tensor:
        """∂I_c(p)/∂x(u) of one painted channel, (3, R, C, Tr·Tc or 1), for places that see the same
        number of cells.

        For the pixel at a place of cell T, u lies in cell T + first + (a, b); ``which`` = a·(cells
        seen along columns) + b, and :meth:`cells_seen` gives ``first`` and how many cells are seen
        along each axis.
        """
        q = channel % self.traced.layer.stride**2
        row = self._channels[q].index(channel) + which * len(self._channels[q])
        return self._painted[q][rows, cols, row].unflatten(-1, (3, -1)).movedim(2, 0)

    def _reading(self, by_place: Tensor, i: int, j: int, q: int, outputs: list[int]) -> Tensor:
        """The rows of a (row, column, c, …) matrix that belong to a sub-pixel of the cells a
        place sees: (a·b·n, …).
        """
        s, cut = self.traced.layer.stride, []
        for axis, at, mine in zip((0, 1), (i, j), divmod(q, s)):
            first, n = self.cells_seen(axis, q)[at - self.places[axis].start]
            skip = s * first + mine - self.seen[axis][at][0][0]
            cut.append(slice(skip, skip + s * (n - 1) + 1, s) if n > 0 else slice(0, 0))
        return by_place[cut[0], cut[1]][:, :, [o // s**2 for o in outputs]].flatten(0, 2)

    @cached_per_object
    def cells_seen(self, axis: int, q: int) -> list[tuple[int, int]]:
        """For each place along an axis: the first cell, from the pixel's own, whose sub-pixel q
        it sees, and how many.
        """
        s, found = self.traced.layer.stride, []
        mine = divmod(q, s)[axis]
        for windows in self.seen[axis].values():
            start, size = windows[0]
            first = -((mine - start) // s)
            found.append((first, (start + size - 1 - mine) // s - first + 1))
        return found

    def _steps(self, m: int) -> int:
        """How many pixels of layer m's output grid a cell has along each side."""
        return self.traced.inputs[m + 1].shape[-2] // self.traced.x.shape[-2]

    def _slope(self, m: int) -> tuple[Tensor, list[int]]:
        """Slopes of layer m where its output is seen: (c, h, w), and where their corner lies."""
        box, step = [], self._steps(m)
        for (lo, hi), axis in zip(self.cells, self.seen):
            starts, ends = zip(*((windows[m][0], sum(windows[m])) for windows in axis.values()))
            box.append((lo * step + min(starts), (hi - 1) * step + max(ends)))
        return slopes(self.traced, m, tuple(box)), [lo for lo, _ in box]

    def _patches(self, bent: tuple[Tensor, list[int]], m: int, i: int, j: int) -> Tensor:
        """What pixels at place (i, j) see of layer m's slopes: (rows, columns, c, Tr, Tc)."""
        (values, origin), step, sizes = bent, self._steps(m), []
        for dim, (at, axis, (lo, hi)) in enumerate(zip((i, j), self.seen, self.cells)):
            start, size = axis[at][m]
            values = values.narrow(
                dim + 1, lo * step + start - origin[dim], step * (hi - lo - 1) + size
            )
            sizes.append(size)
        return values.unfold(1, sizes[0], step).unfold(2, sizes[1], step).permute(3, 4, 0, 1, 2)

    def _back(self, i: int, j: int, bent: list) -> tuple[Tensor | None, Tensor]:
        """Pixels at one place as seen from the layer behind this one: a matrix and what it is yet
        to be multiplied by.

        The product is ∂I/∂(output of this layer): rows (row, column, c) of the window, (3·Tr·Tc)
        columns.
        """
        *between, last = self.traced.layers[1:]
        matrix, found = (
            None,
            last.weight.permute(2, 3, 1, 0).flatten(0, 2),
        )  # (k·k·c, 3): all cells alike
        for m in range(len(between), 0, -1):
            patches = self._patches(bent[m], m, i, j)  # (rows, columns, c, Tr, Tc)
            window, cells = patches.shape[:3], patches.shape[3:]
            apart = found if matrix is None else matrix @ found
            apart = apart.view(*window, 3, *(cells if apart.shape[1] > 3 else (1, 1)))
            found = apart.new_empty(*window, 3, *cells)
            torch.mul(apart, patches[:, :, :, None], out=found)
            found = found.view(window.numel(), -1)
            s, sees = (
                self.traced.layers[m].stride,
                [axis[at][m] for at, axis in zip((i, j), self.seen)],
            )
            matrix = self._transposed(m, *((start % s, size) for start, size in sees))
        return matrix, found

    @cached_per_object
    def _transposed(self, m: int, rows: tuple[int, int], cols: tuple[int, int]) -> Tensor:
        """Layer m's transposed convolution from a window of its output grid to the window of its
        input grid that it sees.

        rows, cols : where in an input cell the window starts, and its size.
        """
        layer = self.traced.layers[m]
        s, k = layer.stride, layer.kernel
        inner = [(start + size - 1) // s + k for start, size in (rows, cols)]
        weight = layer.weight.unflatten(0, (-1, s, s))  # (o, q, q, c_in, k, k)
        matrix = weight.new_zeros(*inner, layer.c_in, rows[1], cols[1], weight.shape[0])
        for r in range(rows[1]):
            for c in range(cols[1]):
                (u, q), (v, p) = divmod(r + rows[0], s), divmod(c + cols[0], s)
                matrix[u : u + k, v : v + k, :, r, c] = weight[:, q, p].permute(2, 3, 1, 0)
        return matrix.flatten(3).flatten(0, 2)


def seen(layers: Sequence[Layer], at: int) -> list[tuple[int, int]]:
    """(start, size) of what a pixel sees of every layer's output grid but the last's, along one
    side, from its cell's corner.
    """
    *between, last = layers[1:]
    found = [(at - last.pad, last.kernel)]
    for layer in reversed(between):
        start, size = found[0]
        first = start // layer.stride
        found.insert(
            0, (first - layer.pad, (start + size - 1) // layer.stride - first + 1 + 2 * layer.pad)
        )
    return found


def slopes(traced: Traced, m: int, box: Box) -> Tensor:
    """Slopes of the m-th layer in a box of its output grid, zero outside the grid: (c, h, w)."""
    layer, x, out = traced.layers[m], traced.inputs[m], traced.inputs[m + 1]
    around = grown(
        coarser(grown(box, 0, out.shape[-2:]), layer.stride), layer.pad, x.shape[-2:]
    )  # edges of a cut one are wrong
    wide = tuple((lo * layer.stride, hi * layer.stride) for lo, hi in around)
    found = layer.slope(crop(x, around), crop(out, wide))[0]
    return window(found, tuple((lo - o, hi - o) for (lo, hi), (o, _) in zip(box, wide)))
