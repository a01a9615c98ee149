"""NeRV: a convolutional decoder from frame index to frame (Chen et al., NeurIPS 2021).

METHOD 1; blocks as in HNeRV (CVPR 2023). ``t`` → positional encoding → 1×1 convolution → a small
grid → blocks (3×3 convolution, PixelShuffle, GELU) → head.

Trap: the encoding's upper levels (π·1.25^79 ≈ 10^8) are beyond float32's precision, so they are in
effect a fixed hash of t. They are computed in float32 on the CPU for every dtype and device: a
network that was fitted with them decodes no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import isqrt, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Layer, identity, run
from .parts import Recipe, narrowing, one_line, widest

MOST_LEVELS = 400  # of the encoding: above, π·1.25^levels is beyond float32


@dataclass(frozen=True)
class NeRVConfig:
    """Shape of a NeRV; the defaults are the paper's (978,557 parameters at 128×256).

    Attributes
    ----------
    size : (int, int)
        (H, W) in pixels, equal to grid · Π strides, which fixes the grid.
    n_frames : int
        T; frame f is presented as f/T.
    strides : tuple of int
        PixelShuffle factor of each block.
    channels : tuple of int
        Of the initial grid and behind each block: one more than strides.
    kernel : int
        Side of all kernels, odd.
    base, levels : float, int
        Positional encoding ``sin/cos(π·base^i·t)``, i < levels.

    Raises
    ------
    ValueError
        Where size, strides, channels or kernel do not fit together.
    """

    size: tuple[int, int]
    n_frames: int
    strides: tuple[int, ...] = (4, 2, 2)
    channels: tuple[int, ...] = (37, 31, 26, 22)
    kernel: int = 3
    base: float = 1.25
    levels: int = 80

    def __post_init__(self) -> None:
        check_size("a NeRV", self.size, self.strides)
        if len(self.channels) != len(self.strides) + 1:
            raise ValueError(
                f"{len(self.strides)} strides need {len(self.strides) + 1} channel counts, "
                f"not {len(self.channels)}"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel sizes are odd, not {self.kernel}")
        if self.levels > MOST_LEVELS:
            raise ValueError(f"an encoding has at most {MOST_LEVELS} levels, not {self.levels:,}")

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the initial grid."""
        return grid_of(self.size, self.strides)

    @property
    def n_parameters(self) -> int:
        """Of the whole network."""
        channels, kernel_area = self.channels, self.kernel**2
        expand = (2 * self.levels + 1) * channels[0] * prod(self.grid)
        blocks = 0
        for c_in, c_out, stride in zip(channels, channels[1:], self.strides):
            blocks += (c_in * kernel_area + 1) * c_out * stride * stride
        head = (channels[-1] * kernel_area + 1) * 3
        return expand + blocks + head

    @classmethod
    def for_clip(
        cls, size: tuple[int, int], n_frames: int, parameters: int | None = None, **options: Any
    ) -> NeRVConfig:
        """The configuration for a clip, as wide as a target count of parameters allows, if given.

        Each block is 1.2 times narrower than the one before, as in the NeRV papers; the widest
        network that does not exceed ``parameters`` is taken.
        """
        height, width = size
        config = cls(size=(height, width), n_frames=n_frames, **options)
        if parameters is None:
            return config
        n_widths = len(config.strides) + 1

        def of_width(first: int) -> NeRVConfig:
            return replace(config, channels=tuple(islice(narrowing(first), n_widths)))

        return widest(of_width, parameters, f"NeRV of {height}×{width}")


class NeRV(nn.Module):
    """Frame positions (B,) in [0, 1) → frames (B, 3, H, W), unclamped.

    Parameters
    ----------
    config : NeRVConfig
    """

    family = "nerv"
    Config = NeRVConfig
    recipes = {
        "fast": Recipe(60, 0.03, warmup=0.05, decay=0.4, adam_lr=5e-3),
        "paper": Recipe(300, 1e-3, warmup=0.2, cosine=True),
    }
    for_video = True

    def __init__(self, config: NeRVConfig):
        super().__init__()
        self.config = config
        channels, kernel = config.channels, config.kernel
        self.expand = nn.Conv2d(2 * config.levels, channels[0] * prod(config.grid), 1)
        kernels = [kernel] * len(config.strides)
        self.blocks = make_blocks(channels, config.strides, kernels)
        self.head = nn.Conv2d(channels[-1], 3, kernel, padding=kernel // 2)

    def __repr__(self) -> str:
        return one_line(self)

    def encode(self, t: Tensor) -> Tensor:
        """[sin(π·b^i·t), cos(π·b^i·t)]: (B,) → (B, 2·levels, 1, 1)."""
        return _encoded(t, self.config).to(self.head.weight)

    def stem(self, code: Tensor) -> Tensor:
        """(B, 2·levels, 1, 1) → the initial grid (B, c, h, w)."""
        values = F.gelu(self.expand(code))  # (B, c·h·w, 1, 1)
        return values.reshape(len(code), self.config.channels[0], *self.config.grid)

    def decode(self, code: Tensor) -> Tensor:
        """(B, 2·levels, 1, 1) → (B, 3, H, W)."""
        return run(self.layers(), self.stem(code))

    def forward(self, t: Tensor) -> Tensor:
        """(B,) → (B, 3, H, W)."""
        return self.decode(self.encode(t))

    def layers(self) -> tuple[Layer, ...]:
        """block1 … blockN and head; their neurons are kernels (i, o')."""
        head = Layer("head", self.head.weight, self.head.bias, 1, identity)
        return *block_layers(self.blocks, self.config.strides), head

    def packed(self) -> dict[str, Tensor]:
        """What a file must hold to paint all frames.

        Of ``expand`` it is only what T frames see of it, a table (T, c·h·w). The encoding spans at
        most T of its 2·levels dimensions, so nothing is lost; longer videos keep the weights.
        """
        state = self.state_dict()
        if self.config.n_frames >= 2 * self.config.levels:
            return state
        encoded = _all_encoded(self.config).to(self.head.weight)
        tensors = {"table": self.expand(encoded).detach().flatten(1)}
        for name, value in state.items():
            if not name.startswith("expand."):
                tensors[name] = value
        return tensors

    @staticmethod
    def unpacked(config: NeRVConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The parameters again: for ``expand`` the smallest weights that give the table."""
        if "table" not in tensors:
            return tensors
        wanted = (config.n_frames, config.channels[0] * prod(config.grid))
        if tuple(tensors["table"].shape) != wanted or config.n_frames >= 2 * config.levels:
            found = tuple(tensors["table"].shape)
            raise ValueError(f"its table of frames is {found}, where {wanted} is wanted")
        table = tensors["table"].double()  # (T, c·h·w)
        encoded = _all_encoded(config).flatten(1).double()  # (T, 2·levels)
        weight = (torch.linalg.pinv(encoded) @ table).T.float()  # (c·h·w, 2·levels)
        state = {
            "expand.weight": weight[:, :, None, None].contiguous(),
            "expand.bias": torch.zeros(len(weight)),
        }
        for name, value in tensors.items():
            if name != "table":
                state[name] = value
        return state

    @classmethod
    def from_authors(
        cls, state: dict[str, Tensor], size: tuple[int, int], n_frames: int | None
    ) -> tuple[NeRVConfig, dict[str, Tensor]] | None:
        """Configuration and tensors of a file in the authors' layout; None for other files.

        Raises
        ------
        ValueError
            Where it is a NeRV's, but ``size`` or ``n_frames`` do not fit, or a tensor is missing.
        """
        has_head = any(name.startswith("head_layer") for name in state)
        has_embeddings = any(name.startswith(("encoder.", "embed")) for name in state)
        if not has_head or has_embeddings:
            return None
        if n_frames is None:
            raise ValueError(
                "it carries no length: say n_frames=…, the number of frames it was fitted to"
            )
        tensors, shape = decoder_of(state)
        kernels = {*shape.kernels, tensors["head.weight"].shape[-1]}
        if len(kernels) > 1:
            raise ValueError(f"it has kernels of several sizes, {sorted(kernels)}; a NeRV has one")
        rows, columns = tensors["expand.weight"].shape[:2]
        config = cls.Config(
            size, n_frames, shape.strides, shape.channels, kernels.pop(), levels=columns // 2
        )
        cells = rows / config.channels[0]
        if cells != prod(config.grid):
            raise ValueError(
                f"it starts from {cells:g} grid cells, but {size[0]}×{size[1]} with strides "
                f"{config.strides} needs {prod(config.grid)}; is the size right?"
            )
        return config, tensors


def check_size(what: str, size: tuple[int, int], strides: Sequence[int]) -> None:
    """Raise ValueError where a picture's sides are no multiples of the product of the strides."""
    step = prod(strides)
    height, width = size
    if height % step or width % step:
        raise ValueError(
            f"{what} with strides {strides} paints sizes that are multiples of {step}, "
            f"not {height}×{width}; crop the clip, or choose other strides"
        )


def grid_of(size: tuple[int, int], strides: Sequence[int]) -> tuple[int, int]:
    """(h, w) of the initial grid of a decoder."""
    step = prod(strides)
    return size[0] // step, size[1] // step


def make_blocks(
    channels: Sequence[int], strides: Sequence[int], kernels: Sequence[int]
) -> nn.ModuleList:
    """The convolutions of a decoder's blocks, each with c_out·s² outputs for its PixelShuffle."""
    blocks = nn.ModuleList()
    for c_in, c_out, stride, kernel in zip(channels, channels[1:], strides, kernels):
        blocks.append(nn.Conv2d(c_in, c_out * stride * stride, kernel, padding=kernel // 2))
    return blocks


def block_layers(blocks: Iterable[Any], strides: Sequence[int]) -> list[Layer]:
    """block1 … blockN, with GELU; their neurons are kernels (i, o')."""
    layers = []
    for number, (block, stride) in enumerate(zip(blocks, strides), 1):
        layers.append(Layer(f"block{number}", block.weight, block.bias, stride, F.gelu))
    return layers


@dataclass(frozen=True)
class DecoderShape:
    """Shape of a decoder.

    strides, kernels : of its blocks; channels : of the initial grid and behind each block.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]
    kernels: tuple[int, ...]


def decoder_of(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], DecoderShape]:
    """A decoder in the authors' layout: its tensors under this package's names, and its shape.

    Raises
    ------
    ValueError
        Where the tensors of a decoder are missing.
    """
    rename = {"decoder.0.conv.downconv": "expand", "head_layer": "head"}
    n_blocks = 0
    while f"decoder.{n_blocks + 1}.conv.upconv.0.weight" in state:
        n_blocks += 1
        rename[f"decoder.{n_blocks}.conv.upconv.0"] = f"blocks.{n_blocks - 1}"
    tensors = {}
    for name, value in state.items():
        module, _, kind = name.rpartition(".")
        tensors[f"{rename[module]}.{kind}" if module in rename else name] = value
    missing = {"expand.weight", "head.weight"} - tensors.keys()
    if missing:
        raise ValueError(f"it lacks the tensor {missing.pop()!r} of a decoder")

    shapes = [tensors[f"blocks.{number}.weight"].shape for number in range(n_blocks)]
    channels = *(shape[1] for shape in shapes), tensors["head.weight"].shape[1]
    # A block has c_out·s² output channels.
    strides = tuple(isqrt(shape[0] // c_out) for shape, c_out in zip(shapes, channels[1:]))
    kernels = tuple(shape[-1] for shape in shapes)
    return tensors, DecoderShape(strides, channels, kernels)


def _encoded(t: Tensor, config: NeRVConfig) -> Tensor:
    """The positional encoding, float32 on the CPU: (B,) → (B, 2·levels, 1, 1)."""
    t = t.to("cpu", torch.float32)
    levels = torch.arange(config.levels, dtype=torch.float32)
    phase = t[:, None] * (torch.pi * config.base**levels)  # (B, levels)
    return torch.cat([phase.sin(), phase.cos()], 1)[:, :, None, None]


def _all_encoded(config: NeRVConfig) -> Tensor:
    """The encodings of all frames, (T, 2·levels, 1, 1).

    f/T in double precision first, as everywhere: the upper levels see the last bit.
    """
    frames = torch.arange(config.n_frames, dtype=torch.float64)
    return _encoded(frames / config.n_frames, config)
