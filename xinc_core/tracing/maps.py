"""The contribution maps of one layer: computed when asked for, in chunks; sums are reduced while
streaming, in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from xinc_core.util.machine import free_bytes
from xinc_core.util.progress import progress_bar

from .region_sums import Regional, side_by_side
from .rules import Box, Rule, Subset, Traced, whole

STREAM_BYTES = 2**22  # maps per step of a reduction: small enough to stay in the processor's cache
WORK_BYTES = (
    256e6  # working memory of a rule, which decides into how many tiles a large picture is cut
)


class LayerMaps:
    """The contribution maps of one layer's neurons: lazy, streamed, reducible.

    |C| is Σ_c|·| for the three-channel rules, and the absolute value of the one map for ``paper``.
    """

    def __init__(self, name: str, rule: Rule):
        self.name, self._rule = name, rule
        self._samples: dict[tuple[int, int], LayerMaps] = {}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_neurons, H, W)."""
        return len(self._rule.neurons), *self._rule.traced.size

    def __len__(self) -> int:
        return self.shape[0]

    @torch.no_grad()
    def __getitem__(self, neuron: int) -> Tensor:
        """One neuron's map, (H, W), computed on demand."""
        return self._rule.maps(self._index(neuron), whole(self.shape[1:]))[0]

    @torch.no_grad()
    def color(self, neuron: int) -> Tensor:
        """One neuron's signed colour channels, (3, H, W); for ``paper`` the last layer only."""
        return self._rule.color(self._index(neuron), whole(self.shape[1:]))[0]

    @torch.no_grad()
    def pixel(self, row: int, col: int) -> Tensor:
        """Every neuron's contribution to one pixel, (n_neurons,), without computing the rest of
        the maps.
        """
        if not (0 <= row < self.shape[1] and 0 <= col < self.shape[2]):
            raise IndexError(
                f"pixel ({row}, {col}) is outside the picture of {self.shape[1]}×{self.shape[2]}"
            )
        values = self._rule.traced.x.new_empty(len(self))
        for neurons in self._rule.groups(len(self)):
            values[neurons] = self._rule.maps(neurons, ((row, row + 1), (col, col + 1)))[:, 0, 0]
        return values

    @torch.no_grad()
    def chunks(self, max_bytes: float = 64e6) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (neurons, maps): LongTensor (k,) and (k, H, W), at most ``max_bytes`` of maps at
        a time, each neuron once.
        """
        for neurons in self._rule.groups(int(max_bytes // self._map_bytes)):
            yield neurons, self._rule.maps(neurons, whole(self.shape[1:]))

    def totals(self) -> Tensor:
        """(n_neurons,) Σ_p |C_n(p)|, float64."""
        return self._sums[0].clone()

    def heatmap(self) -> Tensor:
        """(H, W) Σ_n |C_n(p)|, float64."""
        return self._sums[1].clone()

    @torch.no_grad()
    def squares(self) -> Tensor:
        """(n_neurons,) Σ_p C_n(p)², float64."""
        out = torch.zeros(len(self), dtype=torch.float64, device=self._device)
        for _, maps in self.tiles("squares"):
            for neurons, values in maps:
                out[neurons] += values.square_().sum(1)
        return out

    @torch.no_grad()
    def region_sums(self, labels: Tensor | Sequence[Tensor]) -> Tensor:
        """(n_neurons, n_regions) Σ_{p∈r} |C_n(p)|, float64, for integer labels (H, W) in 0..R−1.

        Several partitions are summed in one pass; their regions stand side by side.
        """
        regions, n_regions = side_by_side(
            [labels] if isinstance(labels, Tensor) else labels, self.shape[1:]
        )
        out = torch.zeros(len(self), n_regions, dtype=torch.float64, device=self._device)
        for pixels, maps in self.tiles("region sums"):
            sums = Regional(regions[:, pixels], n_regions, like=self.traced.x)
            for neurons, values in maps:
                out[neurons] += sums(values)
        return out

    @torch.no_grad()
    def tensor(self) -> Tensor:
        """All maps, (n_neurons, H, W), after checking that they fit into memory.

        Raises
        ------
        MemoryError
            With the size, and what to use instead.
        """
        need, free = len(self) * self._map_bytes, free_bytes(self._device)
        if need > 0.8 * free:
            raise MemoryError(
                f"all {len(self):,} maps of {self.name} at {self.shape[1]}×{self.shape[2]} take {need / 1e9:.1f} GB, and "
                f"{free / 1e9:.1f} GB are free; stream them with .chunks(), or ask for .totals(), .heatmap() or "
                ".region_sums(labels)"
            )
        out = self._rule.traced.x.new_empty(self.shape)
        for neurons, maps in self.chunks():
            out[neurons] = maps
        return out

    @cached_property
    @torch.no_grad()
    def _sums(self) -> tuple[Tensor, Tensor]:
        """Totals and heatmap, in one pass."""
        totals = torch.zeros(len(self), dtype=torch.float64, device=self._device)
        heatmap = torch.zeros(self.shape[1:], dtype=torch.float64, device=self._device)
        for pixels, maps in self.tiles("totals and heatmap"):
            part = torch.zeros(len(pixels), dtype=torch.float64, device=self._device)
            for neurons, values in maps:
                totals[neurons] += values.sum(1)
                part += values.sum(0)
            heatmap.view(-1)[pixels] = part
        return totals, heatmap

    def tiles(
        self, what: str = "maps", signed: bool = False
    ) -> Iterator[tuple[Tensor, Iterator[tuple[Tensor, Tensor]]]]:
        """The cheapest way to see every |C| once: for tiles of the picture, for groups of neurons.

        Yields (pixels, maps): LongTensor (P,), row-major pixel numbers in the order that is
        cheapest for the rule, and an iterator of (neurons, values): (k,) and (k, P), |C| of these
        neurons at these pixels, valid until the next step and free to be overwritten; with
        ``signed`` they are the signed colour channels, (3, k, P), of the three-channel rules.
        Everything that is reduced while streaming is built on it.
        """
        tiles = list(self._tiles())
        with progress_bar(
            total=len(self) * len(tiles),
            desc=f"{self.name} {what}",
            unit="map",
            delay=2,
            leave=False,
        ) as bar:
            for box in tiles:
                order = self._rule.order(box).flatten()
                yield order + box[0][0] * self.shape[2], self._groups(box, len(order), signed, bar)
        self._rule.forget()

    @torch.no_grad()
    def _groups(
        self, box: Box, n_pixels: int, signed: bool, bar
    ) -> Iterator[tuple[Tensor, Tensor]]:
        most = max(self._rule.together, int(STREAM_BYTES // (n_pixels * self._itemsize)))
        for neurons in self._rule.groups(most):
            if signed:
                yield neurons, self._rule.color_pixels(neurons, box).flatten(2)
            else:
                yield neurons, self._rule.pixels(neurons, box).flatten(1).abs_()
            bar.update(len(neurons))

    def _tiles(self) -> Iterator[Box]:
        """Boxes that cover the picture, each small enough for the rule's working memory; whole
        bands of rows.
        """
        _, H, W = self.shape
        per_row = W * self._itemsize * max(1, self._rule.floats_per_pixel())
        scale = self._rule.traced.scale
        rows = max(1, min(int(WORK_BYTES // per_row), self._rule.most_pixels // W) // scale) * scale
        for top in range(0, H, rows):
            yield (top, min(top + rows, H)), (0, W)

    @torch.no_grad()
    def color_sum(self) -> Tensor:
        """Σ_n of the signed colour channels, (3, H, W), float64; for the three-channel rules."""
        out = torch.zeros(3, *self.shape[1:], dtype=torch.float64, device=self._device)
        for pixels, maps in self.tiles("sum", signed=True):
            part = torch.zeros(3, len(pixels), dtype=torch.float64, device=self._device)
            for _, colors in maps:
                part += colors.sum(1)
            out.flatten(1)[:, pixels] = part
        return out

    def sample(self, channels: int, seed: int = 0) -> LayerMaps:
        """A seeded sample of the layer: the kernels of so many pre-shuffle output channels,
        renumbered from 0.

        Whole channels, because kernels of one channel share their work. ``neurons`` holds their
        numbers in the layer; the layer itself where it has no more channels, and where neurons are
        columns.
        """
        layer, of = self.traced.layer, self.neurons % self.traced.layer.c_out
        present = of.unique()
        if layer.neurons == "columns" or len(present) <= channels:
            return self
        if (channels, seed) in self._samples:
            return self._samples[channels, seed]
        chosen = present[
            torch.randperm(len(present), generator=torch.Generator().manual_seed(seed))[:channels]
        ]
        return self._samples.setdefault(
            (channels, seed), self.only(torch.isin(of, chosen).nonzero()[:, 0])
        )

    def only(self, neurons: Tensor) -> LayerMaps:
        """Some of the layer's neurons, renumbered from 0; ``neurons`` of the result holds their
        numbers in the layer.
        """
        return LayerMaps(self.name, Subset(self._rule, neurons))

    def _index(self, neuron: int) -> Tensor:
        if isinstance(neuron, slice):
            raise TypeError(
                "maps are asked for one at a time, layer[5], or streamed with .chunks()"
            )
        if not -len(self) <= neuron < len(self):
            raise IndexError(f"neuron {neuron} is outside the {len(self):,} neurons of {self.name}")
        return torch.tensor([neuron % len(self)])

    @property
    def neurons(self) -> Tensor:
        """(n_neurons,) their numbers in the layer: 0, 1, 2, … but for a sample."""
        return self._rule.neurons

    @property
    def traced(self) -> Traced:
        """The layer itself, those after it, and what they received."""
        return self._rule.traced

    @property
    def _device(self) -> torch.device:
        return self._rule.traced.x.device

    @property
    def _itemsize(self) -> int:
        return self._rule.traced.x.element_size()

    @property
    def _map_bytes(self) -> int:
        return self.shape[1] * self.shape[2] * self._itemsize

    def __repr__(self) -> str:
        n, H, W = self.shape
        return f"LayerMaps of {self.name}: {n:,} neurons, {H}×{W} pixels"
