"""NeRV: a convolutional decoder from frame index to frame (Chen et al., NeurIPS 2021; blocks as in HNeRV, CVPR 2023).

``t`` → positional encoding → 1×1 convolution → a small grid → blocks (3×3 convolution, PixelShuffle, GELU) → head.

Trap: the encoding's upper levels (π·1.25^79 ≈ 10^8) are beyond float32's precision, so they are in effect a fixed hash
of t. They are computed in float32 on the CPU for every dtype and device: a network trained with them knows no others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Layer, identity


@dataclass(frozen=True)
class NeRVConfig:
    """Shape of a NeRV; the defaults are the paper's (978,557 parameters at 128×256).

    size: (H, W) in pixels, equal to grid · Π strides, which fixes the grid; n_frames: T, frame f is presented as f/T;
    channels: one more than strides; kernel: odd; base, levels: positional encoding ``sin/cos(π·base^i·t)``.
    """

    size: tuple[int, int]
    n_frames: int
    strides: tuple[int, ...] = (4, 2, 2)
    channels: tuple[int, ...] = (37, 31, 26, 22)
    kernel: int = 3
    base: float = 1.25
    levels: int = 80

    def __post_init__(self):
        step = prod(self.strides)
        if self.size[0] % step or self.size[1] % step:
            raise ValueError(
                f"a NeRV with strides {self.strides} paints sizes that are multiples of {step}, not "
                f"{self.size[0]}×{self.size[1]}; crop the clip, or choose other strides"
            )
        if len(self.channels) != len(self.strides) + 1:
            raise ValueError(f"{len(self.strides)} strides need {len(self.strides) + 1} channel counts, not {len(self.channels)}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel sizes are odd, not {self.kernel}")

    @property
    def grid(self) -> tuple[int, int]:
        step = prod(self.strides)
        return self.size[0] // step, self.size[1] // step

    @property
    def n_parameters(self) -> int:
        c, k2 = self.channels, self.kernel**2
        n = (2 * self.levels + 1) * c[0] * prod(self.grid)
        n += sum((a * k2 + 1) * b * s * s for a, b, s in zip(c, c[1:], self.strides))
        return n + (c[-1] * k2 + 1) * 3

    @classmethod
    def for_clip(cls, size: tuple[int, int], n_frames: int, parameters: int | None = None, **options) -> NeRVConfig:
        """The configuration for a clip, widths scaled to a target count of parameters if one is given.

        Each block is 1.2 times narrower than the one before, as in the NeRV papers; the widest network that does not
        exceed ``parameters`` is taken.
        """
        config = cls(size=tuple(size), n_frames=n_frames, **options)
        if parameters is None:
            return config
        first, best = 1, None
        while True:
            widths = [first]
            for _ in config.strides:
                widths.append(max(round(widths[-1] / 1.2), 1))
            wider = replace(config, channels=tuple(widths))
            if wider.n_parameters > parameters:
                break
            first, best = first + 1, wider
        if best is None:
            raise ValueError(f"no NeRV of {size[0]}×{size[1]} has as few as {parameters:,} parameters")
        return best


class NeRV(nn.Module):
    """Frame positions (B,) in [0, 1) → frames (B, 3, H, W)."""

    family = "nerv"
    Config = NeRVConfig
    for_video = True

    def __init__(self, config: NeRVConfig):
        super().__init__()
        self.config = config
        c, k = config.channels, config.kernel
        self.expand = nn.Conv2d(2 * config.levels, c[0] * prod(config.grid), 1)
        self.blocks = nn.ModuleList(nn.Conv2d(a, b * s * s, k, padding=k // 2) for a, b, s in zip(c, c[1:], config.strides))
        self.head = nn.Conv2d(c[-1], 3, k, padding=k // 2)

    def encode(self, t: Tensor) -> Tensor:
        """[sin(π·b^i·t), cos(π·b^i·t)]: (B,) → (B, 2·levels, 1, 1)."""
        return _encoded(t, self.config).to(self.head.weight)

    def stem(self, code: Tensor) -> Tensor:
        """(B, 2·levels, 1, 1) → the initial grid (B, c, h, w)."""
        return F.gelu(self.expand(code)).reshape(len(code), self.config.channels[0], *self.config.grid)

    def decode(self, code: Tensor) -> Tensor:
        x = self.stem(code)
        for block, s in zip(self.blocks, self.config.strides):
            x = F.gelu(F.pixel_shuffle(block(x), s))
        return self.head(x)

    def forward(self, t: Tensor) -> Tensor:
        return self.decode(self.encode(t))

    def layers(self) -> tuple[Layer, ...]:
        """block1 … blockN and head; their neurons are kernels (i, o')."""
        blocks = [
            Layer(f"block{i}", m.weight, m.bias, s, F.gelu) for i, (m, s) in enumerate(zip(self.blocks, self.config.strides), 1)
        ]
        return *blocks, Layer("head", self.head.weight, self.head.bias, 1, identity)

    def packed(self) -> dict[str, Tensor]:
        """What a file must hold to paint all frames: of ``expand`` only what T frames see of it, a table (T, c·h·w).

        The encoding spans at most T of its 2·levels dimensions, so nothing is lost; longer videos keep the weights.
        """
        state = self.state_dict()
        if self.config.n_frames >= 2 * self.config.levels:
            return state
        table = self.expand(_all_encoded(self.config).to(self.head.weight)).detach().flatten(1)
        return {"table": table} | {k: v for k, v in state.items() if not k.startswith("expand.")}

    @staticmethod
    def unpacked(config: NeRVConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The parameters again: for ``expand`` the smallest weights that give the table."""
        if "table" not in tensors:
            return tensors
        table = tensors["table"].double()
        weight = (torch.linalg.pinv(_all_encoded(config).flatten(1).double()) @ table).T.float()
        rest = {k: v for k, v in tensors.items() if k != "table"}
        return {"expand.weight": weight[:, :, None, None].contiguous(), "expand.bias": torch.zeros(len(weight))} | rest


def _encoded(t: Tensor, config: NeRVConfig) -> Tensor:
    """The positional encoding, float32 on the CPU: (B,) → (B, 2·levels, 1, 1)."""
    t = t.to("cpu", torch.float32)
    phase = t[:, None] * (torch.pi * config.base ** torch.arange(config.levels, dtype=torch.float32))
    return torch.cat([phase.sin(), phase.cos()], 1)[:, :, None, None]


def _all_encoded(config: NeRVConfig) -> Tensor:
    """The encodings of all frames; f/T in double precision first, as everywhere: the upper levels see the last bit."""
    return _encoded(torch.arange(config.n_frames, dtype=torch.float64) / config.n_frames, config)
