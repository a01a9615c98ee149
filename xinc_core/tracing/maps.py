"""The contribution maps of one layer: computed when asked for, in chunks.

Sums are reduced while the maps stream by, in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from xinc_core.models import Neuron, Numbers, neuron_numbers
from xinc_core.util.checks import whole_number
from xinc_core.util.exact import exactly
from xinc_core.util.machine import free_bytes
from xinc_core.util.progress import progress_bar

from .region_sums import Labels, Regional, side_by_side
from .rules import Box, Rule, Subset, Traced, whole

Groups = Iterator[tuple[Tensor, Tensor]]  # (neurons, values) of one group after the other


class LayerMaps:
    """The contribution maps C_n(p) of one layer's neurons: lazy, streamed, reducible.

    ``canvas["block3"]`` is one. Maps have the model's dtype and device; sums are float64 on the
    same device; numbers of neurons are int64 on the CPU. |C| is Σ_c|·| over the colours for the
    three-channel rules, and the absolute value of the one map for ``paper``. Values have the
    picture's units: 1 is the full range of a colour.

    Sign: a colour (:meth:`color`) of ``first_order`` and ``ablation`` is what the picture would
    lose without the neuron, positive where the neuron brightens it. A map of ``paper`` is one
    number a pixel, an activation's value: never negative behind ReLU, of either sign behind sine,
    down to −0.17 behind GELU. How maps add up is said and shown in ``xinc_core.tracing.canvas``.

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
        self._sums: tuple[Tensor, Tensor] | None = None  # totals and heatmap, once computed

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_neurons, H, W).

        Along the first axis stand the neurons: :meth:`neuron` says what each reads and paints, and
        :meth:`index` gives its place here.
        """
        height, width = self._rule.traced.size
        return len(self._rule.neurons), height, width

    def __len__(self) -> int:
        return self.shape[0]

    def neuron(self, number: int) -> Neuron:
        """What a neuron reads and paints, and a copy of its weights; see ``Layer.neuron``.

        Parameters
        ----------
        number : int
            Its place here, 0..n_neurons−1, or negative, counted from the end.

        Raises
        ------
        IndexError
            Outside of the layer's neurons.

        Examples
        --------
        >>> strongest = int(maps.totals().argmax())
        >>> maps.neuron(strongest).kernel  # (k, k)
        """
        place = self._index(number)
        return self.traced.layer.neuron(int(self.neurons[place]))

    def index(
        self, i: int | Neuron, o: int | None = None, sub_pixel: tuple[int, int] | None = None
    ) -> int:
        """A neuron's place here, from what it reads and paints; the inverse of :meth:`neuron`.

        Parameters
        ----------
        i : int or Neuron
            The input channel, or the unit of a column; or what :meth:`neuron` returned, alone.
        o : int
            For kernels: the pre-shuffle output channel, or with ``sub_pixel`` the channel behind
            the pixel shuffle.
        sub_pixel : (int, int), optional
            (row, column) of the shuffle, each 0..s−1.

        Raises
        ------
        IndexError
            For what does not exist, and for neurons that a sample leaves out.
        ValueError
            Where an output channel is missing, or a column is given one.
        """
        number = self.traced.layer.index(i, o, sub_pixel)
        places = (self.neurons == number).nonzero()[:, 0]
        if len(places) == 0:
            raise IndexError(f"neuron {number} of {self.name} is not among these {len(self):,}")
        return int(places[0])

    @exactly
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

    @exactly
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

    @exactly
    def pixel(self, row: int, col: int) -> Tensor:
        """Every neuron's map at one pixel, (n_neurons,), without computing the rest of the maps.

        Raises
        ------
        IndexError
            Outside of the picture.
        """
        _, H, W = self.shape
        row, col = whole_number(row, "a row"), whole_number(col, "a column")
        if not (0 <= row < H and 0 <= col < W):
            raise IndexError(f"pixel ({row}, {col}) is outside the picture of {H}×{W}")
        box = (row, row + 1), (col, col + 1)
        values = self.traced.x.new_empty(len(self))
        for neurons in self._rule.groups(len(self)):
            values[neurons] = self._rule.maps(neurons, box)[:, 0, 0]
        return values

    @exactly
    def chunks(self, max_bytes: float = 64e6) -> Groups:
        """Stream the maps, at most ``max_bytes`` bytes of them at a time, each neuron once.

        Yields
        ------
        neurons : LongTensor, (k,)
            In the order that is cheapest for the rule.
        maps : Tensor, (k, H, W)
        """
        max_maps = int(min(max_bytes / self._map_bytes, len(self)))
        for neurons in self._rule.groups(max_maps):
            yield neurons, self._rule.maps(neurons, self._picture)

    @exactly
    def totals(self, progress: bool = True) -> Tensor:
        """A_n = Σ_p |C_n(p)|, (n_neurons,), float64, ≥ 0, on the model's device.

        In units of the picture times pixels: a neuron that paints one colour of one pixel by its
        full range has 1.

        Parameters
        ----------
        progress : bool
            Whether a bar is shown where this takes more than two seconds.
        """
        return self._totals_and_heatmap(progress)[0].clone()

    @exactly
    def heatmap(self, progress: bool = True) -> Tensor:
        """Σ_n |C_n(p)|, (H, W), float64, ≥ 0, on the model's device."""
        return self._totals_and_heatmap(progress)[1].clone()

    @exactly
    def squares(self, progress: bool = True) -> Tensor:
        """Σ_p C_n(p)², with |C| of the three-channel rules, (n_neurons,), float64."""
        sums = self._zeros(len(self))
        for _, groups in self.tiles("squares", progress=progress):
            for neurons, values in groups:
                sums[neurons] += values.square_().sum(1)
        return sums

    @exactly
    def region_sums(self, labels: Labels | Sequence[Labels], progress: bool = True) -> Tensor:
        """A_{n,r} = Σ_{p∈r} |C_n(p)|, (n_neurons, n_regions), float64.

        Parameters
        ----------
        labels : Tensor or ndarray of integers or bools, (H, W), or a list of several
            The region of every pixel, 0..R−1, R at most 4,096; of a mask, 0 is outside and 1
            inside. Several partitions are summed in one pass; their regions stand side by side.
        progress : bool
            Whether a bar is shown where this takes more than two seconds.

        Raises
        ------
        TypeError
            Where labels are no tensors or arrays.
        ValueError
            Where labels have another size, are no whole numbers, or are out of range.
        """
        regions, n_regions = side_by_side(labels, self.shape[1:])
        sums = self._zeros(len(self), n_regions)
        for pixels, groups in self.tiles("region sums", progress=progress):
            over_regions = Regional(regions[:, pixels], n_regions, like=self.traced.x)
            for neurons, values in groups:
                sums[neurons] += over_regions(values)
        return sums

    @exactly
    def tensor(self) -> Tensor:
        """All maps, (n_neurons, H, W), after checking that they fit into memory.

        In the model's dtype and on its device, in the order of the neurons.

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

    def _totals_and_heatmap(self, progress: bool) -> tuple[Tensor, Tensor]:
        """Both, computed in one pass when first asked for."""
        if self._sums is None:
            self._sums = self._compute_sums(progress)
        return self._sums

    @exactly
    def _compute_sums(self, progress: bool) -> tuple[Tensor, Tensor]:
        totals = self._zeros(len(self))
        heatmap = self._zeros(*self.shape[1:])
        for pixels, groups in self.tiles("totals and heatmap", progress=progress):
            of_tile = self._zeros(len(pixels))
            for neurons, values in groups:
                totals[neurons] += values.sum(1)
                of_tile += values.sum(0)
            heatmap.view(-1)[pixels] = of_tile
        return totals, heatmap

    @exactly
    def color_sum(self, progress: bool = True) -> Tensor:
        """Σ_n of the signed colour channels, (3, H, W), float64; for the three-channel rules."""
        colors = self._zeros(3, *self.shape[1:])
        for pixels, groups in self.tiles("sum", signed=True, progress=progress):
            of_tile = self._zeros(3, len(pixels))
            for _, values in groups:
                of_tile += values.sum(1)
            colors.flatten(1)[:, pixels] = of_tile
        return colors

    def tiles(
        self, what: str = "maps", signed: bool = False, progress: bool = True
    ) -> Iterator[tuple[Tensor, Groups]]:
        """The cheapest way to see every |C| once: for tiles of the picture, for groups of neurons.

        Everything that is reduced while streaming is built on it.

        Parameters
        ----------
        what : str
            What is computed, for the progress bar.
        signed : bool
            Yield the signed colour channels of the three-channel rules instead of |C|.
        progress : bool
            Whether a bar is shown where this takes more than two seconds.

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
        self._rule.borrow()
        with progress_bar(
            total=len(self) * len(boxes),
            desc=f"{self.name} {what}",
            unit="map",
            delay=2,
            leave=False,
            disable=not progress,
        ) as bar:
            for box in boxes:
                (top, _), _ = box  # tiles are whole bands of rows
                order = self._rule.order(box).flatten()
                yield order + top * W, self._groups(box, len(order), signed, bar)
        self._rule.release()

    @exactly
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
            How many output channels, at least 1.
        seed : int
            Which ones; a sample that was asked for before is returned again.

        Returns
        -------
        LayerMaps
            Neurons renumbered from 0; ``neurons`` holds their numbers in the layer. The layer
            itself where it has no more channels, and where neurons are columns.
        """
        channels = whole_number(channels, "the number of channels", least=1)
        seed = whole_number(seed, "a seed")
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

    def only(self, neurons: Numbers) -> LayerMaps:
        """Some of the layer's neurons, (k,), renumbered from 0.

        ``neurons`` of the result holds their numbers in the layer. All that it computes is what
        ``tensor()[neurons]`` would give.

        Parameters
        ----------
        neurons : Tensor, ndarray or sequence of int, (k,)
            0..n_neurons−1, or negative, counted from the end; repeated ones stand repeatedly.

        Raises
        ------
        IndexError
            For a neuron that does not exist.
        TypeError, ValueError
            For fractions, masks and other shapes.
        """
        numbers = neuron_numbers(neurons, len(self), self.name)
        return LayerMaps(self.name, Subset(self._rule, numbers))

    def _index(self, neuron: int) -> Tensor:
        """A neuron's number, counted from the end where it is negative, as a tensor (1,)."""
        if isinstance(neuron, slice):
            raise TypeError(
                "maps are asked for one at a time, layer[5], or streamed with .chunks()"
            )
        number = whole_number(neuron, "a neuron", instead="several are layer.only([…])")
        if not -len(self) <= number < len(self):
            raise IndexError(f"neuron {number} is outside the {len(self):,} neurons of {self.name}")
        return torch.tensor([number % len(self)])

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
        return (
            f"LayerMaps of {self.name}: {n:,} {self.traced.layer.neurons}, {H}×{W} pixels, "
            f"{str(self.traced.x.dtype).removeprefix('torch.')} on {self._device}"
        )
