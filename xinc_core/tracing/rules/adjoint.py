"""The Jacobian of the picture by one layer's output, row by row. METHOD 3.

A pixel's row is computed backwards, through the transposed convolutions and the slopes of the later
layers: it has three colours, the layer many channels. A pixel sees a small window of every earlier
grid. Pixels at the same *place* of their cell of the layer's input grid (a cell is S×S pixels, see
``Traced.scale``) see windows of one shape, so all cells go back together, in one matrix product per
layer.

Letters in the comments: R, C places along rows and columns; Tr, Tc cells along rows and columns;
q a sub-pixel of the layer's stride×stride cells; m a layer, 0 for the traced one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from xinc_core.models import Layer
from xinc_core.util.memo import cached_per_object

from .base import Box, Span, Traced, coarser, corner, crop, finer, grown, window


class Seen(NamedTuple):
    """A run of pixels or cells along one side that a pixel sees: the first one, and how many."""

    start: int
    size: int


@dataclass(frozen=True)
class Slopes:
    """An activation's derivatives in a part of a layer's output grid.

    values : (c, h, w); origin : (row, column) of their corner on the grid.
    """

    values: Tensor
    origin: tuple[int, int]


@dataclass(frozen=True)
class Product:
    """A matrix product that is not carried out yet, because few of its rows are needed.

    It is ``left @ right``, or ``right`` alone where ``left`` is None.
    """

    left: Tensor | None
    right: Tensor

    def all_rows(self) -> Tensor:
        """The whole product."""
        return self.right if self.left is None else self.left @ self.right

    def factor_with_rows(self) -> Tensor:
        """The factor whose rows are those of the product."""
        return self.right if self.left is None else self.left

    def rows_from(self, rows: Tensor) -> Tensor:
        """Some rows of the product, from these rows of :meth:`factor_with_rows`."""
        return rows if self.left is None else rows @ self.right


class Adjoint:
    """∂I_c(p)/∂x_o(u), x the layer's activated output, for the pixels at some places of some cells.

    It is exact whatever the cells: what a pixel sees outside of them is looked at too.

    Parameters
    ----------
    traced : Traced
        The layer; it must not be the last.
    cells : Box
        Cells of the layer's input grid.
    places : (range, range)
        Rows and columns of pixels inside each cell, each within 0..S−1.
    """

    def __init__(self, traced: Traced, cells: Box, places: tuple[range, range]):
        self.traced = traced
        self.cells = cells
        self.places = places
        # Computed channels by sub-pixel, and their Jacobian rows by sub-pixel:
        # (R, C, cells seen · channels, 3·Tr·Tc, or 3 where all cells are alike).
        self._channels: dict[int, list[int]] = {}
        self._rows: dict[int, Tensor] = {}
        # Per axis and place: what a pixel there sees of every layer's output grid.
        self._seen = [{place: seen(traced.layers, place) for place in axis} for axis in places]
        later_slopes = {m: self._slopes_seen(m) for m in range(1, len(traced.layers) - 1)}
        self._behind = {}
        for i in places[0]:
            for j in places[1]:
                self._behind[i, j] = self._gradient_behind(i, j, later_slopes)

    def __contains__(self, channel: int) -> bool:
        sub_pixel = channel % self.traced.layer.stride**2
        return channel in self._channels.get(sub_pixel, ())

    def compute(self, channels: Sequence[int]) -> None:
        """Compute and store what :meth:`jacobian_rows` gives.

        channels : pre-shuffle output channels of the layer. Those that were stored before are
        dropped.
        """
        self._channels, self._rows = {}, {}  # free their memory before the next is taken
        by_sub_pixel = self._by_sub_pixel(channels)
        self._rows = {q: self._empty_rows(q, len(same)) for q, same in by_sub_pixel.items()}
        for place, product in self._behind.items():
            self._compute_place(place, product, by_sub_pixel)
        self._channels = by_sub_pixel

    def jacobian_rows(self, channel: int, which: int, rows: slice, columns: slice) -> Tensor:
        """∂I_c(p)/∂x(u) of one computed channel, for places that see the same number of cells.

        Parameters
        ----------
        channel : int
            Pre-shuffle output channel o'.
        which : int
            ``a·(cells seen along columns) + b``: for the pixel at a place of cell T, u lies in cell
            ``T + first + (a, b)``; :meth:`cells_seen` gives ``first`` and how many cells are seen
            along each axis.
        rows, columns : slice
            Places, counted from the first of ``places``.

        Returns
        -------
        Tensor, (3, R, C, Tr·Tc), or (3, R, C, 1) where all cells are alike
        """
        q = channel % self.traced.layer.stride**2
        same = self._channels[q]
        row = same.index(channel) + which * len(same)
        return self._rows[q][rows, columns, row].unflatten(-1, (3, -1)).movedim(2, 0)

    @cached_per_object
    def cells_seen(self, axis: int, q: int) -> list[Seen]:
        """For each place along an axis: the cells whose sub-pixel q it sees.

        Cells are counted from the pixel's own.
        """
        stride = self.traced.layer.stride
        offset = divmod(q, stride)[axis]  # of the sub-pixel inside a cell
        cells = []
        for windows in self._seen[axis].values():
            start, size = windows[0]  # on the layer's output grid
            first = -((offset - start) // stride)
            last = (start + size - 1 - offset) // stride
            cells.append(Seen(first, last - first + 1))
        return cells

    def _by_sub_pixel(self, channels: Sequence[int]) -> dict[int, list[int]]:
        """Channels by their sub-pixel, sub-pixels ascending."""
        n_sub_pixels = self.traced.layer.stride**2
        by_sub_pixel: dict[int, list[int]] = {}
        for q in sorted({channel % n_sub_pixels for channel in channels}):
            by_sub_pixel[q] = [channel for channel in channels if channel % n_sub_pixels == q]
        return by_sub_pixel

    def _empty_rows(self, q: int, n_channels: int) -> Tensor:
        """Memory for the rows of channels with sub-pixel q, shaped as ``_rows`` says."""
        any_product = next(iter(self._behind.values()))
        width = any_product.right.shape[1]  # 3·Tr·Tc; 3 where nothing tells the cells apart
        most_down = max(1, *(cells.size for cells in self.cells_seen(0, q)))
        most_across = max(1, *(cells.size for cells in self.cells_seen(1, q)))
        n_places = len(self.places[0]), len(self.places[1])
        return self.traced.x.new_empty(*n_places, most_down * most_across * n_channels, width)

    def _compute_place(
        self, place: tuple[int, int], product: Product, by_sub_pixel: dict[int, list[int]]
    ) -> None:
        """The rows of all pixels at one place, into ``_rows``."""
        layer = self.traced.layer
        i, j = place
        window_size = self._seen[0][i][0].size, self._seen[1][j][0].size
        n_channels = layer.c_out // layer.stride**2
        factor = product.factor_with_rows().unflatten(0, (*window_size, n_channels))
        chosen = [self._rows_of(factor, place, q, same) for q, same in by_sub_pixel.items()]
        rows = product.rows_from(torch.cat(chosen))
        row, column = i - self.places[0].start, j - self.places[1].start
        for q, part in zip(by_sub_pixel, rows.split([len(some) for some in chosen])):
            self._rows[q][row, column, : len(part)] = part

    def _rows_of(
        self, factor: Tensor, place: tuple[int, int], q: int, channels: list[int]
    ) -> Tensor:
        """The rows of sub-pixel q of the cells that a place sees, (a·b·channels, …).

        factor : (window row, window column, channel, …).
        """
        stride = self.traced.layer.stride
        row, column = divmod(q, stride)  # of the sub-pixel inside a cell
        rows = self._steps_of(0, place[0], q, row)
        columns = self._steps_of(1, place[1], q, column)
        output_channels = [channel // stride**2 for channel in channels]
        return factor[rows, columns][:, :, output_channels].flatten(0, 2)

    def _steps_of(self, axis: int, at: int, q: int, offset: int) -> slice:
        """Where along an axis of its window a place finds sub-pixel q: every stride-th pixel."""
        stride = self.traced.layer.stride
        first, n_cells = self.cells_seen(axis, q)[at - self.places[axis].start]
        if n_cells <= 0:
            return slice(0, 0)
        start = stride * first + offset - self._seen[axis][at][0].start
        return slice(start, start + stride * (n_cells - 1) + 1, stride)

    def _pixels_per_cell(self, m: int) -> int:
        """How many pixels of layer m's output grid a cell has along each side."""
        return self.traced.inputs[m + 1].shape[-2] // self.traced.x.shape[-2]

    def _slopes_seen(self, m: int) -> Slopes:
        """Slopes of layer m wherever a pixel of these places and cells sees its output."""
        per_cell = self._pixels_per_cell(m)
        rows = self._span_seen(0, m, per_cell)
        columns = self._span_seen(1, m, per_cell)
        return Slopes(slopes(self.traced, m, (rows, columns)), (rows[0], columns[0]))

    def _span_seen(self, axis: int, m: int, per_cell: int) -> Span:
        """From the first to the last pixel of layer m's output grid that is seen along an axis."""
        first_cell, last_cell = self.cells[axis]
        windows = [per_grid[m] for per_grid in self._seen[axis].values()]
        start = min(run.start for run in windows)
        stop = max(run.start + run.size for run in windows)
        return first_cell * per_cell + start, (last_cell - 1) * per_cell + stop

    def _windows(self, slopes: Slopes, m: int, place: tuple[int, int]) -> Tensor:
        """What the pixels at a place see of layer m's slopes: (rows, columns, c, Tr, Tc)."""
        per_cell = self._pixels_per_cell(m)
        values = slopes.values  # (c, h, w)
        for axis in (0, 1):
            first_cell, last_cell = self.cells[axis]
            start, size = self._seen[axis][place[axis]][m]
            begin = first_cell * per_cell + start - slopes.origin[axis]
            length = per_cell * (last_cell - first_cell - 1) + size
            values = values.narrow(axis + 1, begin, length)
        rows, columns = self._seen[0][place[0]][m].size, self._seen[1][place[1]][m].size
        by_cell = values.unfold(1, rows, per_cell).unfold(2, columns, per_cell)
        return by_cell.permute(3, 4, 0, 1, 2)  # from (c, Tr, Tc, rows, columns)

    def _gradient_behind(self, i: int, j: int, later_slopes: dict[int, Slopes]) -> Product:
        """∂I/∂(output of this layer) for the pixels at one place, from the last layer backwards.

        Rows of the product are (row, column, c) of the window that the place sees of the layer's
        output grid; its columns are (colour, Tr, Tc), or the colour alone where no slope tells the
        cells apart.
        """
        *between, last = self.traced.layers[1:]
        # (k, k, c, 3) → (k·k·c, 3): the last layer's kernels, the same for all cells.
        product = Product(None, last.weight.permute(2, 3, 1, 0).flatten(0, 2))
        for m in range(len(between), 0, -1):
            layer_slopes = self._windows(later_slopes[m], m, (i, j))  # (rows, columns, c, Tr, Tc)
            window_shape, cells = layer_slopes.shape[:3], layer_slopes.shape[3:]
            gradient = product.all_rows()
            cells_before = cells if gradient.shape[1] > 3 else (1, 1)
            gradient = gradient.view(*window_shape, 3, *cells_before)
            before = gradient.new_empty(*window_shape, 3, *cells)  # before the activation
            torch.mul(gradient, layer_slopes[:, :, :, None], out=before)
            right = before.view(window_shape.numel(), -1)  # (rows·columns·c, 3·Tr·Tc)
            stride = self.traced.layers[m].stride
            rows, columns = self._seen[0][i][m], self._seen[1][j][m]
            left = self._transposed(
                m, Seen(rows.start % stride, rows.size), Seen(columns.start % stride, columns.size)
            )
            product = Product(left, right)
        return product

    @cached_per_object
    def _transposed(self, m: int, rows: Seen, columns: Seen) -> Tensor:
        """Layer m's transposed convolution as a matrix.

        It leads from a window of the layer's output grid to the window of its input grid that it
        sees. rows, columns : where in a cell of the input grid the window starts, and its size.
        Returns (input rows·columns·c_in, output rows·columns·c).
        """
        layer = self.traced.layers[m]
        stride, k = layer.stride, layer.kernel
        inner_rows = (rows.start + rows.size - 1) // stride + k
        inner_columns = (columns.start + columns.size - 1) // stride + k
        weight = layer.weight.unflatten(
            0, (-1, stride, stride)
        )  # (o, q div s, q mod s, c_in, k, k)
        matrix = weight.new_zeros(
            inner_rows, inner_columns, layer.c_in, rows.size, columns.size, weight.shape[0]
        )
        for row in range(rows.size):
            for column in range(columns.size):
                cell_row, sub_row = divmod(row + rows.start, stride)
                cell_column, sub_column = divmod(column + columns.start, stride)
                kernels = weight[:, sub_row, sub_column].permute(2, 3, 1, 0)  # (k, k, c_in, o)
                inner = slice(cell_row, cell_row + k), slice(cell_column, cell_column + k)
                matrix[inner[0], inner[1], :, row, column] = kernels
        return matrix.flatten(3).flatten(0, 2)


def seen(layers: Sequence[Layer], at: int) -> list[Seen]:
    """What a pixel sees of every layer's output grid but the last's, along one side.

    at : the pixel's place, counted from the corner of its cell. Starts are counted from the cell's
    corner on the respective grid; the traced layer's window stands first.
    """
    *between, last = layers[1:]
    windows = [Seen(at - last.pad, last.kernel)]
    for layer in reversed(between):
        start, size = windows[0]
        first = start // layer.stride
        n_cells = (start + size - 1) // layer.stride - first + 1
        windows.insert(0, Seen(first - layer.pad, n_cells + 2 * layer.pad))
    return windows


def slopes(traced: Traced, m: int, box: Box) -> Tensor:
    """The activation's derivatives of the m-th layer in a box of its output grid: (c, h, w).

    Outside of the grid they are zero.
    """
    layer, x, output = traced.layers[m], traced.inputs[m], traced.inputs[m + 1]
    on_grid = grown(box, 0, output.shape[-2:])
    # With a margin, because the convolution's values at the edges of a crop are wrong.
    cells = grown(coarser(on_grid, layer.stride), layer.pad, x.shape[-2:])
    wide = finer(cells, layer.stride)
    values = layer.slope(crop(x, cells), crop(output, wide))[0]
    row, column = corner(wide)
    (top, bottom), (left, right) = box
    return window(values, ((top - row, bottom - row), (left - column, right - column)))
