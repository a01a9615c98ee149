"""The implicit neural canvas: the contribution maps of all neurons of a network, for one frame.

``trace`` runs the model once and keeps each layer's input. Maps are computed when asked for, in chunks; sums over maps
are reduced while streaming, in float64. Nothing is left on the model: no hooks, no gradients, no changed weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from .models import check_chain, position
from .rules import RULES, Box, Rule, Traced, crop, make_rule, whole

STREAM_BYTES = 2**23  # maps per step of a reduction: small enough to stay in the processor's cache
MOST_REGIONS = 4096
WORK_BYTES = 256e6  # working memory of a rule, which decides into how many tiles a large picture is cut


@torch.no_grad()
def trace(model: nn.Module, frame: int = 0, rule: str = "paper", baseline: str = "zero") -> Canvas:
    """Run the model on one frame and return its canvas.

    Parameters
    ----------
    model : nn.Module
        Any family; on any device; float32 or float64.
    frame : int
        Frame index; image networks have one picture and ignore it.
    rule : {"paper", "first_order", "ablation"}
        How a contribution is defined, METHOD sections 2 and 9.
    baseline : {"zero", "mean"}
        For ``ablation``: what a removed neuron's input is replaced by.
    """
    if rule not in RULES:
        raise ValueError(f"no rule {rule!r}; there are {', '.join(RULES)}")
    if baseline not in ("zero", "mean"):
        raise ValueError(f"baseline is 'zero' or 'mean', not {baseline!r}")
    if baseline != "zero" and rule != "ablation":
        raise ValueError(f"a baseline is for rule='ablation'; rule {rule!r} removes nothing")
    if not model.for_video:
        frame = getattr(model, "frame", 0)
    device = next(model.parameters()).device
    x = model.stem(model.encode(position(model, frame).to(device))).detach()
    layers, inputs = tuple(model.layers()), []
    check_chain(layers)
    for layer in layers:
        inputs.append(x)
        x = layer(x)
    layers = tuple(layer.detached() for layer in layers)
    return Canvas(layers, tuple(inputs), x[0].detach(), frame, rule, baseline)


class Canvas:
    """All contribution maps of one frame under one rule: ``canvas["block3"]`` is a :class:`LayerMaps`.

    layers : the layers' names, input to output; image : (3, H, W), unclamped; frame, rule, baseline : as asked for.
    """

    def __init__(self, layers, inputs, image: Tensor, frame: int, rule: str, baseline: str):
        self._chain, self._inputs = layers, inputs
        self.layers = tuple(layer.name for layer in layers)
        self.image, self.frame, self.rule, self.baseline = image, frame, rule, baseline
        self._maps: dict[str, LayerMaps] = {}

    def __getitem__(self, name: str) -> LayerMaps:
        if name not in self.layers:
            raise KeyError(f"no layer {name!r}; there are {', '.join(self.layers)}")
        if name not in self._maps:
            n = self.layers.index(name)
            traced = Traced(self._chain[n:], self._inputs[n:], tuple(self.image.shape[-2:]))
            with torch.no_grad():
                self._maps[name] = LayerMaps(name, make_rule(self.rule, traced, self.baseline))
        return self._maps[name]

    def __iter__(self) -> Iterator[LayerMaps]:
        return (self[name] for name in self.layers)

    def with_rule(self, rule: str, baseline: str = "zero") -> Canvas:
        """The same frame under another rule, without running the model again."""
        return Canvas(self._chain, self._inputs, self.image, self.frame, rule, baseline)

    def __repr__(self) -> str:
        counts = ", ".join(f"{layer.name} {layer.n_neurons:,}" for layer in self._chain)
        return f"Canvas of frame {self.frame}, rule {self.rule!r}; neurons per layer: {counts}"


class LayerMaps:
    """The contribution maps of one layer's neurons: lazy, streamed, reducible.

    |C| is Σ_c|·| for the three-channel rules, and the absolute value of the one map for ``paper``.
    """

    def __init__(self, name: str, rule: Rule):
        self.name, self._rule = name, rule
        self._sums: dict[str, Tensor] = {}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_neurons, H, W)."""
        return self._rule.traced.layer.n_neurons, *self._rule.traced.size

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
        """Every neuron's contribution to one pixel, (n_neurons,), without computing the rest of the maps."""
        if not (0 <= row < self.shape[1] and 0 <= col < self.shape[2]):
            raise IndexError(f"pixel ({row}, {col}) is outside the picture of {self.shape[1]}×{self.shape[2]}")
        values = self._rule.traced.x.new_empty(len(self))
        for neurons in self._rule.groups(len(self)):
            values[neurons] = self._rule.maps(neurons, ((row, row + 1), (col, col + 1)))[:, 0, 0]
        return values

    @torch.no_grad()
    def chunks(self, max_bytes: float = 64e6) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (neurons, maps): LongTensor (k,) and (k, H, W), at most ``max_bytes`` of maps at a time, each neuron once."""
        for neurons in self._rule.groups(int(max_bytes // self._map_bytes)):
            yield neurons, self._rule.maps(neurons, whole(self.shape[1:]))

    def totals(self) -> Tensor:
        """(n_neurons,) Σ_p |C_n(p)|, float64."""
        return self._reduced("totals")

    def heatmap(self) -> Tensor:
        """(H, W) Σ_n |C_n(p)|, float64."""
        return self._reduced("heatmap")

    @torch.no_grad()
    def squares(self) -> Tensor:
        """(n_neurons,) Σ_p C_n(p)², float64."""
        out = torch.zeros(len(self), dtype=torch.float64, device=self._device)
        for neurons, _, _, values in self._stream("squares"):
            out[neurons] += values.square_().sum(tuple(range(1, values.ndim)))
        return out

    @torch.no_grad()
    def region_sums(self, labels: Tensor) -> Tensor:
        """(n_neurons, n_regions) Σ_{p∈r} |C_n(p)|, float64, for integer labels (H, W) in 0..R−1."""
        if tuple(labels.shape) != self.shape[1:]:
            raise ValueError(f"labels are {tuple(labels.shape)}, the maps {self.shape[1:]}")
        labels = torch.as_tensor(labels)
        if labels.is_floating_point() or labels.min() < 0 or labels.max() >= MOST_REGIONS:
            raise ValueError(
                f"regions are whole numbers from 0 to at most {MOST_REGIONS - 1}, not {float(labels.min()):g} to "
                f"{float(labels.max()):g}; labels.unique(return_inverse=True)[1] numbers them"
            )
        member = torch.nn.functional.one_hot(labels.long()).to(self._device, self._rule.traced.x.dtype)  # (H, W, R)
        out = torch.zeros(len(self), member.shape[-1], dtype=torch.float64, device=self._device)
        for neurons, box, order, values in self._stream("region sums"):
            part = crop(member.movedim(-1, 0), box).flatten(1)[:, order.flatten()].T
            out[neurons] += values.abs_().flatten(1) @ part
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

    def _reduced(self, what: str) -> Tensor:
        if what not in self._sums:
            self._sum_up()
        return self._sums[what].clone()

    @torch.no_grad()
    def _sum_up(self) -> None:
        """Totals and heatmap, in one pass."""
        totals = torch.zeros(len(self), dtype=torch.float64, device=self._device)
        heatmap = torch.zeros(self.shape[1:], dtype=torch.float64, device=self._device)
        parts: dict[Box, tuple[Tensor, Tensor]] = {}
        for neurons, box, order, values in self._stream("totals and heatmap"):
            values = values.abs_()
            totals[neurons] += values.sum(tuple(range(1, values.ndim)))
            if box not in parts:
                parts[box] = order, torch.zeros(order.shape, dtype=torch.float64, device=self._device)
            parts[box][1].add_(values.sum(0))
        for box, (order, part) in parts.items():
            crop(heatmap, box).view(-1)[order.flatten()] = part.flatten()
        self._sums = dict(totals=totals, heatmap=heatmap)

    def _stream(self, what: str) -> Iterator[tuple[Tensor, Box, Tensor, Tensor]]:
        """(neurons, box, order, values) until every neuron has been seen in every tile; values may be overwritten.

        values : (k, …), the maps inside the box, pixels in the order that is cheapest for the rule; order : (…), where
        each belongs, row-major inside the box. Boxes are whole rows of the picture.
        """
        tiles = list(self._tiles())
        bar = tqdm(total=len(self) * len(tiles), desc=f"{self.name} {what}", unit="map", delay=2, leave=False)
        with bar:
            for box in tiles:
                order = self._rule.order(box)
                most = max(self._rule.together, int(STREAM_BYTES // (order.numel() * self._itemsize)))
                for neurons in self._rule.groups(most):
                    yield neurons, box, order, self._rule.pixels(neurons, box)
                    bar.update(len(neurons))

    def _tiles(self) -> Iterator[Box]:
        """Boxes that cover the picture, each small enough for the rule's working memory; whole bands of rows."""
        _, H, W = self.shape
        per_row = W * self._itemsize * max(1, self._rule.floats_per_pixel())
        scale = self._rule.traced.scale
        rows = max(scale, int(WORK_BYTES // per_row) // scale * scale)
        for top in range(0, H, rows):
            yield (top, min(top + rows, H)), (0, W)

    @torch.no_grad()
    def color_sum(self) -> Tensor:
        """Σ_n of the signed colour channels, (3, H, W), float64; for the three-channel rules."""
        out = torch.zeros(3, *self.shape[1:], dtype=torch.float64, device=self._device)
        for neurons in self._rule.groups(max(self._rule.together, int(STREAM_BYTES // self._map_bytes))):
            out += self._rule.color(neurons, whole(self.shape[1:])).sum(0)
        return out

    def _index(self, neuron: int) -> Tensor:
        if isinstance(neuron, slice):
            raise TypeError("maps are asked for one at a time, layer[5], or streamed with .chunks()")
        if not -len(self) <= neuron < len(self):
            raise IndexError(f"neuron {neuron} is outside the {len(self):,} neurons of {self.name}")
        return torch.tensor([neuron % len(self)])

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


def free_bytes(device: torch.device | str = "cpu") -> float:
    """Memory that can be taken without pushing anything out: the GPU's, or the machine's within its container."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        table = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(table["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return float("inf")
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, limit)
