"""What every rule sees of a layer, and the arithmetic of picture windows.

A *box* is ``((top, bottom), (left, right))``, half-open, on some layer's grid. Rules compute the
part of a map that a box of the picture shows, exactly: what lies outside the box but within reach
of a filter is computed too and cut off.

Trap: one network has several grids. A *cell* is a point of the traced layer's input grid; a cell
covers ``scale × scale`` pixels of the picture. Boxes of different grids look alike, so every
function says which grid it means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xinc_core.models import Layer

from ..budget import DEFAULT_BUDGET, Budget

Span = tuple[int, int]
Buffers = dict  # shape or name → memory that the steps of a pass overwrite
Box = tuple[Span, Span]


@dataclass(frozen=True)
class Traced:
    """A layer, all that follow it, and what each received when the model ran.

    Attributes
    ----------
    layers : tuple of Layer
        This layer first, the last layer of the network at the end.
    inputs : tuple of Tensor
        What each of these layers received, (1, c_in, h, w) per layer: the state at which slopes
        are taken.
    size : (int, int)
        (H, W) of the picture in pixels.
    source : Tensor, (c_in, h, w), or None
        ``x − x₀``, where it is not the layer's input itself; see :attr:`removed`.
    """

    layers: tuple[Layer, ...]
    inputs: tuple[Tensor, ...]
    size: tuple[int, int]
    source: Tensor | None = None

    @property
    def layer(self) -> Layer:
        """The traced layer itself."""
        return self.layers[0]

    @property
    def x(self) -> Tensor:
        """The layer's input, (c_in, h, w)."""
        return self.inputs[0][0]

    @property
    def removed(self) -> Tensor:
        """``x − x₀``: what a neuron's weights no longer see when it is removed, (c_in, h, w).

        x is the layer's input when the whole network ran, also where slopes are taken elsewhere.
        """
        return self.x if self.source is None else self.source

    @property
    def is_last(self) -> bool:
        """Whether the layer's output is the picture."""
        return len(self.layers) == 1

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the layer's input grid, in cells."""
        height, width = self.x.shape[-2:]
        return height, width

    @property
    def scale(self) -> int:
        """Picture pixels per cell of the layer's input grid, along each side."""
        return self.size[0] // self.grid[0]

    def pairs(self, neurons: Tensor) -> tuple[Tensor, Tensor]:
        """Kernel numbers → (input channels i, pre-shuffle output channels o'), (k,) each.

        Kernels are numbered row-major, input channel first: ``neuron = i * c_out + o'``.
        """
        return neurons // self.layer.c_out, neurons % self.layer.c_out

    def shares(self, neurons: Tensor, box: Box, x: Tensor | None = None) -> Tensor:
        """``conv(x_i, W[o', i])`` of kernels (i, o'), no bias, in a box of the layer's input grid.

        Parameters
        ----------
        neurons : Tensor, (k,)
            Kernel numbers.
        box : Box
            On the layer's input grid; outside of the grid the input is zero.
        x : Tensor, (c_in, h, w), optional
            What the kernels read instead of the layer's input.

        Returns
        -------
        Tensor, (k, height, width) of the box
        """
        inputs, outputs = self.pairs(neurons)
        (top, bottom), (left, right) = box
        pad = self.layer.pad
        around = (top - pad, bottom + pad), (left - pad, right + pad)
        seen = window(self.x if x is None else x, around)  # (c_in, height + 2·pad, width + 2·pad)
        if (inputs == inputs[0]).all():
            # One input channel: kernels are the output channels of one plain convolution.
            kernels = self.layer.weight[outputs, inputs[:1]][:, None]  # (k, 1, kernel, kernel)
            return F.conv2d(seen[inputs[0]][None, None], kernels)[0]
        kernels = self.layer.weight[outputs, inputs][:, None]  # (k, 1, kernel, kernel)
        return F.conv2d(seen[inputs][None], kernels, groups=len(neurons))[0]

    def in_own_channel(self, neurons: Tensor, maps: Tensor) -> Tensor:
        """Maps of the last layer's kernels (i, k), each in its colour channel k, the others zero.

        maps : (n, h, w) → (n, c_out, h, w).
        """
        colors = maps.new_zeros(len(maps), self.layer.c_out, *maps.shape[1:])
        _, outputs = self.pairs(neurons)
        colors[torch.arange(len(maps)), outputs] = maps
        return colors


class Rule:
    """How a contribution is defined, for one layer.

    A subclass gives ``maps``; a rule whose maps have three signed colour channels also gives
    ``color``. ``pixels`` and ``color_pixels`` hold the same values in the order of pixels that is
    cheapest for the rule; ``order`` says where they belong.

    Parameters
    ----------
    traced : Traced
        The layer and what follows it.
    budget : Budget
        Sizes of the pieces into which the work is cut.

    Attributes
    ----------
    neurons : Tensor, (n_neurons,)
        The neurons' numbers in the layer.
    min_group : int
        How many neurons share work: a reduction keeps at least so many in a group.
    max_tile_pixels : int
        Pixels of the largest tile that is computed at once; smaller tiles stay in the processor's
        cache and take less time.
    """

    min_group = 1
    max_tile_pixels = 2**31

    def __init__(self, traced: Traced, budget: Budget = DEFAULT_BUDGET):
        self.traced = traced
        self.budget = budget
        self.neurons = torch.arange(traced.layer.n_neurons)
        # Memory that the steps of a pass overwrite, because fresh pages cost time.
        self._buffers: Buffers = {}
        # What passes over the same layer of other frames have left, where frames share memory.
        self.pool: list[Buffers] | None = None

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        """Contribution maps C_n(p), or magnitudes Σ_c|·| of the three-channel rules.

        neurons : (k,) positions in ``self.neurons``; box : in the picture. Returns (k, h, w).
        """
        raise NotImplementedError

    def pixels(self, neurons: Tensor, box: Box) -> Tensor:
        """The values of ``maps`` in the order of ``order(box)``: (k, …).

        They are valid until the next call.
        """
        return self.maps(neurons, box)

    def order(self, box: Box) -> Tensor:
        """Where the values of ``pixels`` belong: row-major pixel numbers inside the box.

        Shaped like one neuron's values.
        """
        height, width = extent(box)
        return torch.arange(height * width).view(height, width)

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        """Signed colour channels: (k, 3, h, w).

        Raises
        ------
        ValueError
            Where the rule's maps of this layer have no colours.
        """
        raise ValueError(
            "this rule's maps of this layer have no colour channels; "
            "use rule='first_order' or 'ablation'"
        )

    def color_pixels(self, neurons: Tensor, box: Box) -> Tensor:
        """The values of ``color`` in the order of ``order(box)``, colours first: (3, k, …).

        They are valid until the next call.
        """
        return self.color(neurons, box).transpose(0, 1)

    def groups(self, max_size: int, subset: Tensor | None = None) -> Iterator[Tensor]:
        """All neurons, or those of ``subset``, in the groups that are cheapest to compute together.

        Yields (k,) positions, k ≤ ``max_size``; every neuron once.
        """
        neurons = self.neurons if subset is None else subset
        return iter(neurons.split(max(1, max_size)))

    def borrow(self) -> None:
        """Take memory for a pass over the layer: what an earlier pass has left, or new.

        Two passes at once never have the same.
        """
        self._buffers = self.pool.pop() if self.pool else {}

    def release(self) -> None:
        """Free the memory that a pass over the layer used, or leave it to the next frame."""
        if self.pool is not None:
            self.pool.append(self._buffers)
        self._buffers = {}

    def floats_per_pixel(self) -> int:
        """Working memory of ``maps`` besides the maps: how many floats per picture pixel.

        It decides the size of the tiles.
        """
        return 0


class Subset(Rule):
    """Some of the neurons of another rule, renumbered 0..k−1.

    Parameters
    ----------
    rule : Rule
        The rule of all neurons.
    positions : Tensor, (k,)
        Which of its neurons, 0..n−1, some perhaps more than once; ``neurons`` of the subset holds
        their numbers in the layer.
    """

    def __init__(self, rule: Rule, positions: Tensor):
        super().__init__(rule.traced, rule.budget)
        self.rule = rule
        self.positions = positions
        self.neurons = rule.neurons[positions]
        self.min_group = rule.min_group
        self.max_tile_pixels = rule.max_tile_pixels

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        return self.rule.maps(self.positions[neurons], box)

    def pixels(self, neurons: Tensor, box: Box) -> Tensor:
        return self.rule.pixels(self.positions[neurons], box)

    def order(self, box: Box) -> Tensor:
        return self.rule.order(box)

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        return self.rule.color(self.positions[neurons], box)

    def color_pixels(self, neurons: Tensor, box: Box) -> Tensor:
        return self.rule.color_pixels(self.positions[neurons], box)

    def groups(self, max_size: int, subset: Tensor | None = None) -> Iterator[Tensor]:
        ours = torch.arange(len(self.positions)) if subset is None else subset
        if len(ours) == 0:
            return
        chosen = self.positions[ours]  # the rule's numbers
        groups = self.rule.groups(max_size, chosen)
        if len(chosen.unique()) < len(chosen):
            yield from self._renumbered_repeatedly(groups, chosen, ours)
            return
        renumbered = torch.full((len(self.rule.neurons),), -1)  # the rule's number → ours
        renumbered[chosen] = ours
        for group in groups:
            yield renumbered[group]

    def _renumbered_repeatedly(
        self, groups: Iterator[Tensor], chosen: Tensor, ours: Tensor
    ) -> Iterator[Tensor]:
        """Groups of the rule's numbers as ours, where a number stands for several of ours.

        chosen, ours : (k,) each, the rule's numbers and ours. Of equal ones, each is given once.
        """
        sorted_numbers, by_number = chosen.sort(stable=True)
        # The rule's number → where in `by_number` the next of ours stands that has this number.
        upcoming = torch.searchsorted(sorted_numbers, torch.arange(len(self.rule.neurons)))
        for group in groups:
            sorted_group, order = group.sort(stable=True)
            first_of_run = torch.searchsorted(sorted_group, sorted_group)
            repetition = torch.arange(len(group)) - first_of_run
            places = upcoming[sorted_group] + repetition
            renumbered = torch.empty_like(group)
            renumbered[order] = ours[by_number[places]]
            upcoming.scatter_add_(0, group, torch.ones_like(group))
            yield renumbered

    def borrow(self) -> None:
        self.rule.borrow()

    def release(self) -> None:
        self.rule.release()

    def floats_per_pixel(self) -> int:
        return self.rule.floats_per_pixel()


def magnitude(color: Tensor) -> Tensor:
    """Σ_c |·| over the colours: (…, 3, h, w) → (…, h, w); ``color`` is overwritten.

    Plane by plane, since summing over an axis with few elements behind it takes three times as
    long.
    """
    first, *others = color.abs_().unbind(-3)
    total = first.clone()
    for plane in others:
        total += plane
    return total


def whole(size: Sequence[int]) -> Box:
    """The box that holds a whole grid of ``size`` (h, w)."""
    height, width = size
    return (0, height), (0, width)


def coarser(box: Box, factor: int) -> Box:
    """The cells of a ``factor`` times coarser grid that cover a box."""
    rows, columns = box
    return _coarser_span(rows, factor), _coarser_span(columns, factor)


def finer(box: Box, factor: int) -> Box:
    """The box of a ``factor`` times finer grid that the cells of a box cover."""
    (top, bottom), (left, right) = box
    return (top * factor, bottom * factor), (left * factor, right * factor)


def grown(box: Box, margin: int, size: Sequence[int]) -> Box:
    """A box with a margin, cut at the edges of a grid of ``size`` (h, w)."""
    rows, columns = box
    height, width = size
    return _grown_span(rows, margin, height), _grown_span(columns, margin, width)


def extent(box: Box) -> tuple[int, int]:
    """(height, width) of a box."""
    (top, bottom), (left, right) = box
    return bottom - top, right - left


def corner(box: Box) -> tuple[int, int]:
    """(top, left) of a box."""
    (top, _), (left, _) = box
    return top, left


def crop(x: Tensor, box: Box, origin: Sequence[int] = (0, 0)) -> Tensor:
    """The part of x (…, h, w) inside a box; ``origin`` is where x's corner lies on the grid."""
    (top, bottom), (left, right) = box
    return x[..., top - origin[0] : bottom - origin[0], left - origin[1] : right - origin[1]]


def window(x: Tensor, box: Box) -> Tensor:
    """The part of x (…, h, w) inside a box that may stick out of the grid; zero there."""
    inside = grown(box, 0, x.shape[-2:])
    (top, bottom), (left, right) = box
    (first_row, end_row), (first_column, end_column) = inside
    margins = (first_column - left, right - end_column, first_row - top, bottom - end_row)
    return F.pad(crop(x, inside), margins)


def _coarser_span(span: Span, factor: int) -> Span:
    start, stop = span
    return start // factor, -(-stop // factor)  # the stop is rounded up


def _grown_span(span: Span, margin: int, length: int) -> Span:
    start, stop = span
    return max(start - margin, 0), min(stop + margin, length)
