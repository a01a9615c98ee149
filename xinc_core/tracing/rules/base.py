"""What every rule sees of a layer, and the arithmetic of picture windows.

A *box* is ``((top, bottom), (left, right))``, half-open, on some layer's grid. Rules compute the
part of a map that a box of the picture shows, exactly: what lies outside the box but within reach
of a filter is computed too and cut off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xinc_core.models import Layer

Box = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Traced:
    """A layer, all that follow it, and what each received when the model ran.

    layers : this layer first; inputs : one (1, c_in, h, w) per layer; size : (H, W) of the picture.
    """

    layers: tuple[Layer, ...]
    inputs: tuple[Tensor, ...]
    size: tuple[int, int]

    @property
    def layer(self) -> Layer:
        return self.layers[0]

    @property
    def x(self) -> Tensor:
        """The layer's input, (c_in, h, w)."""
        return self.inputs[0][0]

    @property
    def is_last(self) -> bool:
        return len(self.layers) == 1

    @property
    def scale(self) -> int:
        """Picture pixels per cell of the layer's input grid, along each side."""
        return self.size[0] // self.x.shape[-2]

    def pairs(self, neurons: Tensor) -> tuple[Tensor, Tensor]:
        """Kernel numbers → (input channels, pre-shuffle output channels): row-major, input
        channel first.
        """
        return neurons // self.layer.c_out, neurons % self.layer.c_out

    def shares(self, neurons: Tensor, box: Box, x: Tensor | None = None) -> Tensor:
        """``conv(x_i, W[o', i])`` of kernels (i, o'), no bias, in a box of the layer's input
        grid: (k, h, w).
        """
        i, o = self.pairs(neurons)
        around = tuple((lo - self.layer.pad, hi + self.layer.pad) for lo, hi in box)
        x = window(self.x if x is None else x, around)
        if (i == i[0]).all():
            return F.conv2d(x[i[0]][None, None], self.layer.weight[o, i[:1]][:, None])[0]
        return F.conv2d(x[i][None], self.layer.weight[o, i][:, None], groups=len(neurons))[0]

    def in_own_channel(self, neurons: Tensor, maps: Tensor) -> Tensor:
        """Maps of the last layer's kernels (i, k), each in its colour channel k, the others
        zero: (n, c_out, h, w).
        """
        out = maps.new_zeros(len(maps), self.layer.c_out, *maps.shape[1:])
        out[torch.arange(len(maps)), self.pairs(neurons)[1]] = maps
        return out


class Rule:
    """How a contribution is defined, for one layer. Subclasses give ``maps``; three-channel
    rules give ``color``.
    """

    together = 1  # neurons that share work: a reduction keeps at least so many in a group
    most_pixels = (
        2**31
    )  # that are best computed together: tiles which stay in the processor's cache take less time

    def __init__(self, traced: Traced):
        self.traced = traced
        self.neurons = torch.arange(traced.layer.n_neurons)
        self._buffers: dict = {}  # memory that the steps of a pass overwrite: fresh pages are dear

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        """Contribution maps C_n(p), or their magnitudes Σ_c|·|, of these neurons inside a
        picture box: (k, h, w).
        """
        raise NotImplementedError

    def pixels(self, neurons: Tensor, box: Box) -> Tensor:
        """The values of ``maps`` with the pixels in whatever ``order`` is cheapest: (k, …),
        valid until the next call.
        """
        return self.maps(neurons, box)

    def order(self, box: Box) -> Tensor:
        """Where the values of ``pixels`` belong: row-major pixel numbers inside the box, shaped
        like one of them.
        """
        height, width = extent(box)
        return torch.arange(height * width).view(height, width)

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        """Signed colour channels: (k, 3, h, w)."""
        raise ValueError(
            "this rule's maps of this layer have no colour channels; use rule='first_order' or 'ablation'"
        )

    def color_pixels(self, neurons: Tensor, box: Box) -> Tensor:
        """The values of ``color`` in the same order, colours first: (3, k, …), valid until the
        next call.
        """
        return self.color(neurons, box).transpose(0, 1)

    def groups(self, most: int, among: Tensor | None = None) -> Iterator[Tensor]:
        """All neurons, or those of ``among``, at most ``most`` at a time, in the groups that are
        cheapest to compute together.
        """
        return iter((self.neurons if among is None else among).split(max(1, most)))

    def forget(self) -> None:
        """Give up what was kept for a pass over the layer."""
        self._buffers = {}

    def floats_per_pixel(self) -> int:
        """Working memory of ``maps`` besides the maps: how many numbers per picture pixel; used
        to choose tiles.
        """
        return 0


class Subset(Rule):
    """Some of the neurons of another rule, renumbered 0..k−1; ``neurons`` keeps their numbers in
    the layer.
    """

    def __init__(self, rule: Rule, positions: Tensor):
        self.rule, self.traced, self.together = rule, rule.traced, rule.together
        self.positions, self.neurons = positions, rule.neurons[positions]
        self.order, self.forget, self.floats_per_pixel = (
            rule.order,
            rule.forget,
            rule.floats_per_pixel,
        )
        self.most_pixels = rule.most_pixels

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        return self.rule.maps(self.positions[neurons], box)

    def pixels(self, neurons: Tensor, box: Box) -> Tensor:
        return self.rule.pixels(self.positions[neurons], box)

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        return self.rule.color(self.positions[neurons], box)

    def color_pixels(self, neurons: Tensor, box: Box) -> Tensor:
        return self.rule.color_pixels(self.positions[neurons], box)

    def groups(self, most: int, among: Tensor | None = None) -> Iterator[Tensor]:
        number = torch.full((len(self.rule.neurons),), -1)
        number[self.positions] = torch.arange(len(self.positions))
        chosen = self.positions if among is None else self.positions[among]
        return (number[group] for group in self.rule.groups(most, chosen))


def whole(size: Sequence[int]) -> Box:
    """The box that holds a whole grid."""
    return ((0, size[0]), (0, size[1]))


def coarser(box: Box, s: int) -> Box:
    """The cells of an s times coarser grid that cover a box."""
    return tuple((lo // s, -(-hi // s)) for lo, hi in box)


def grown(box: Box, by: int, size: Sequence[int]) -> Box:
    """A box with a margin, cut at the grid's edges."""
    return tuple((max(lo - by, 0), min(hi + by, n)) for (lo, hi), n in zip(box, size))


def extent(box: Box) -> tuple[int, int]:
    """(height, width) of a box."""
    return tuple(hi - lo for lo, hi in box)


def crop(x: Tensor, box: Box, origin: Sequence[int] = (0, 0)) -> Tensor:
    """The part of x (…, h, w) inside a box; ``origin`` is where x's corner lies on the grid."""
    (top, bottom), (left, right) = box
    return x[..., top - origin[0] : bottom - origin[0], left - origin[1] : right - origin[1]]


def window(x: Tensor, box: Box) -> Tensor:
    """x (…, h, w) inside a box that may stick out of the grid; zero there."""
    (t, b), (l, r) = inner = grown(box, 0, x.shape[-2:])
    (top, bottom), (left, right) = box
    return F.pad(crop(x, inner), (l - left, right - r, t - top, bottom - b))
