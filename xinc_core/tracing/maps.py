"""The contribution maps of one layer: computed when asked for, in chunks.

Sums are reduced while the maps stream by, in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor
from tqdm.auto import tqdm

from xinc_core.util.machine import free_bytes
from xinc_core.util.progress import progress_bar

from .region_sums import Regional, side_by_side
from .rules import Box, Rule, Subset, Traced, whole

Groups = Iterator[tuple[Tensor, Tensor]]  # (neurons, values) of one group after the other


class LayerMaps:
    """The contribution maps C_n(p) of one layer's neurons: lazy, streamed, reducible.

    ``canvas["block3"]`` is one. Maps have the model's dtype and device; sums are float64. |C| is
    Σ_c|·| over the colours for the three-channel rules, and the absolute value of the one map for
    ``paper``. Values have the picture's units: 1 is the full range of a colour.

    Parameters
    ----------
    name : str
        The layer's name.
    rule : Rule
        How a contribution is defined, for this layer.

    Examples
    --------
    >>> maps = xc.trace(model, frame=0, rule="first_order")["block3"]
    >>> maps[5]  # one map, (H, W)
    >>> maps.totals().argsort(descending=True)[:10]  # the ten strongest neurons
    """

    def __init__(self, name: str, rule: Rule):
        self.name = name
        self._rule = rule
        self._samples: dict[tuple[int, int], LayerMaps] = {}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_neurons, H, W)."""
        height, width = self._rule.traced.size
        return len(self._rule.neurons), height, width

    def __len__(self) -> int:
        return self.shape[0]

    @torch.no_grad()
    def __getitem__(self, neuron: int) -> Tensor:
        """One neuron's map, (H, W), computed on demand.

        Signed for ``paper`` (as its activation lets it be), a magnitude ≥ 0 for the three-channel
        rules.

        Raises
        ------
        IndexError
            Outside of the layer's neurons.
        TypeError
            For a slice.
        """
        return self._rule.maps(self._index(neuron), self._picture)[0]

    @torch.no_grad()
    def color(self, neuron: int) -> Tensor:
        """One neuron's signed colour channels, (3, H, W); for ``paper`` the last layer only.

        Raises
        ------
        IndexError
            Outside of the layer's neurons.
        ValueError
            Where the rule's maps of this layer have no colours.
        """
        return self._rule.color(self._index(neuron), self._picture)[0]

    @torch.no_grad()
    def pixel(self, row: int, col: int) -> Tensor:
        """Every neuron's map at one pixel, (n_neurons,), without computing the rest of the maps.

        Raises
        ------
        IndexError
            Outside of the picture.
        """
        _, H, W = self.shape
        if not (0 <= row < H and 0 <= col < W):
            raise IndexError(f"pixel ({row}, {col}) is outside the picture of {H}×{W}")
        box = (row, row + 1), (col, col + 1)
        values = self.traced.x.new_empty(len(self))
        for neurons in self._rule.groups(len(self)):
            values[neurons] = self._rule.maps(neurons, box)[:, 0, 0]
        return values

    @torch.no_grad()
    def chunks(self, max_bytes: float = 64e6) -> Groups:
        """Stream the maps, at most ``max_bytes`` bytes of them at a time, each neuron once.

        Yields
        ------
        neurons : LongTensor, (k,)
            In the order that is cheapest for the rule.
        maps : Tensor, (k, H, W)
        """
        max_maps = int(max_bytes // self._map_bytes)
        for neurons in self._rule.groups(max_maps):
            yield neurons, self._rule.maps(neurons, self._picture)

    def totals(self) -> Tensor:
        """A_n = Σ_p |C_n(p)|, (n_neurons,), float64."""
        return self._sums[0].clone()

    def heatmap(self) -> Tensor:
        """Σ_n |C_n(p)|, (H, W), float64."""
        return self._sums[1].clone()

    @torch.no_grad()
    def squares(self) -> Tensor:
        """Σ_p C_n(p)², with |C| of the three-channel rules, (n_neurons,), float64."""
        sums = self._zeros(len(self))
        for _, groups in self.tiles("squares"):
            for neurons, values in groups:
                sums[neurons] += values.square_().sum(1)
        return sums

    @torch.no_grad()
    def region_sums(self, labels: Tensor | Sequence[Tensor]) -> Tensor:
        """A_{n,r} = Σ_{p∈r} |C_n(p)|, (n_neurons, n_regions), float64.

        Parameters
        ----------
        labels : Tensor of integers, (H, W), or several of them
            The region of every pixel, 0..R−1. Several partitions are summed in one pass; their
            regions stand side by side.

        Raises
        ------
        ValueError
            Where labels have another size, are no whole numbers, or are out of range.
        """
        partitions = [labels] if isinstance(labels, Tensor) else labels
        regions, n_regions = side_by_side(partitions, self.shape[1:])
        sums = self._zeros(len(self), n_regions)
        for pixels, groups in self.tiles("region sums"):
            over_regions = Regional(regions[:, pixels], n_regions, like=self.traced.x)
            for neurons, values in groups:
                sums[neurons] += over_regions(values)
        return sums

    @torch.no_grad()
    def tensor(self) -> Tensor:
        """All maps, (n_neurons, H, W), after checking that they fit into memory.

        Raises
        ------
        MemoryError
            With the size, and what to use instead.
        """
        needed, free = len(self) * self._map_bytes, free_bytes(self._device)
        if needed > 0.8 * free:
            raise MemoryError(
                f"all {len(self):,} maps of {self.name} at {self.shape[1]}×{self.shape[2]} "
                f"take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; stream them with "
                ".chunks(), or ask for .totals(), .heatmap() or .region_sums(labels)"
            )
        every = self.traced.x.new_empty(self.shape)
        for neurons, maps in self.chunks():
            every[neurons] = maps
        return every

    @cached_property
    @torch.no_grad()
    def _sums(self) -> tuple[Tensor, Tensor]:
        """Totals and heatmap, in one pass."""
        totals = self._zeros(len(self))
        heatmap = self._zeros(*self.shape[1:])
        for pixels, groups in self.tiles("totals and heatmap"):
            of_tile = self._zeros(len(pixels))
            for neurons, values in groups:
                totals[neurons] += values.sum(1)
                of_tile += values.sum(0)
            heatmap.view(-1)[pixels] = of_tile
        return totals, heatmap

    @torch.no_grad()
    def color_sum(self) -> Tensor:
        """Σ_n of the signed colour channels, (3, H, W), float64; for the three-channel rules."""
        colors = self._zeros(3, *self.shape[1:])
        for pixels, groups in self.tiles("sum", signed=True):
            of_tile = self._zeros(3, len(pixels))
            for _, values in groups:
                of_tile += values.sum(1)
            colors.flatten(1)[:, pixels] = of_tile
        return colors

    def tiles(self, what: str = "maps", signed: bool = False) -> Iterator[tuple[Tensor, Groups]]:
        """The cheapest way to see every |C| once: for tiles of the picture, for groups of neurons.

        Everything that is reduced while streaming is built on it.

        Parameters
        ----------
        what : str
            What is computed, for the progress bar.
        signed : bool
            Yield the signed colour channels of the three-channel rules instead of |C|.

        Yields
        ------
        pixels : LongTensor, (P,)
            The tile's row-major pixel numbers, in the order that is cheapest for the rule.
        groups : iterator of (neurons, values)
            neurons (k,), and their |C| at these pixels, (k, P), or signed colours (3, k, P). Values
            are valid until the next step and free to be overwritten.
        """
        _, _, W = self.shape
        boxes = list(self._tiles())
        with progress_bar(
            total=len(self) * len(boxes),
            desc=f"{self.name} {what}",
            unit="map",
            delay=2,
            leave=False,
        ) as bar:
            for box in boxes:
                (top, _), _ = box  # tiles are whole bands of rows
                order = self._rule.order(box).flatten()
                yield order + top * W, self._groups(box, len(order), signed, bar)
        self._rule.release()

    @torch.no_grad()
    def _groups(self, box: Box, n_pixels: int, signed: bool, bar: tqdm) -> Groups:
        maps_per_step = int(self._rule.budget.stream_bytes // (n_pixels * self._itemsize))
        for neurons in self._rule.groups(max(self._rule.min_group, maps_per_step)):
            if signed:
                yield neurons, self._rule.color_pixels(neurons, box).flatten(2)  # (3, k, P)
            else:
                yield neurons, self._rule.pixels(neurons, box).flatten(1).abs_()  # (k, P)
            bar.update(len(neurons))

    def _tiles(self) -> Iterator[Box]:
        """Bands of rows, made of whole cells, each small enough for the rule's working memory."""
        _, H, W = self.shape
        scale = self.traced.scale
        bytes_per_row = W * self._itemsize * max(1, self._rule.floats_per_pixel())
        rows_in_memory = int(self._rule.budget.work_bytes // bytes_per_row)
        max_rows = min(rows_in_memory, self._rule.max_tile_pixels // W)
        rows = max(1, max_rows // scale) * scale
        for top in range(0, H, rows):
            yield (top, min(top + rows, H)), (0, W)

    def sample(self, channels: int, seed: int = 0) -> LayerMaps:
        """A seeded sample of the layer: the kernels of some pre-shuffle output channels.

        Whole channels, because kernels of one channel share their work.

        Parameters
        ----------
        channels : int
            How many output channels.
        seed : int
            Which ones; a sample that was asked for before is returned again.

        Returns
        -------
        LayerMaps
            Neurons renumbered from 0; ``neurons`` holds their numbers in the layer. The layer
            itself where it has no more channels, and where neurons are columns.
        """
        layer = self.traced.layer
        _, outputs = self.traced.pairs(self.neurons)
        present = outputs.unique()
        if layer.neurons == "columns" or len(present) <= channels:
            return self
        if (channels, seed) not in self._samples:
            generator = torch.Generator().manual_seed(seed)
            chosen = present[torch.randperm(len(present), generator=generator)[:channels]]
            positions = torch.isin(outputs, chosen).nonzero()[:, 0]
            self._samples[channels, seed] = self.only(positions)
        return self._samples[channels, seed]

    def only(self, neurons: Tensor) -> LayerMaps:
        """Some of the layer's neurons, (k,), renumbered from 0.

        ``neurons`` of the result holds their numbers in the layer.
        """
        return LayerMaps(self.name, Subset(self._rule, neurons))

    def _index(self, neuron: int) -> Tensor:
        """A neuron's number, counted from the end where it is negative, as a tensor (1,)."""
        if isinstance(neuron, slice):
            raise TypeError(
                "maps are asked for one at a time, layer[5], or streamed with .chunks()"
            )
        if not -len(self) <= neuron < len(self):
            raise IndexError(f"neuron {neuron} is outside the {len(self):,} neurons of {self.name}")
        return torch.tensor([neuron % len(self)])

    def _zeros(self, *shape: int) -> Tensor:
        """Where sums begin: float64 on the model's device."""
        return torch.zeros(shape, dtype=torch.float64, device=self._device)

    @property
    def neurons(self) -> Tensor:
        """(n_neurons,) their numbers in the layer: 0, 1, 2, … unless this is a sample."""
        return self._rule.neurons

    @property
    def traced(self) -> Traced:
        """The layer itself, those after it, and what they received."""
        return self._rule.traced

    @property
    def _picture(self) -> Box:
        return whole(self.shape[1:])

    @property
    def _device(self) -> torch.device:
        return self.traced.x.device

    @property
    def _itemsize(self) -> int:
        return self.traced.x.element_size()

    @property
    def _map_bytes(self) -> int:
        return self.shape[1] * self.shape[2] * self._itemsize

    def __repr__(self) -> str:
        n, H, W = self.shape
        return f"LayerMaps of {self.name}: {n:,} neurons, {H}×{W} pixels"
