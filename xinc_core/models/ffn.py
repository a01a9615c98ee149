"""FFN: a coordinate network with random Fourier features (Tancik et al., NeurIPS 2020). Represents
one image.

Coordinates are (row, col), row first, the longer side spanning [−1, 1]: ``2·(i/(max(H, W) − 1) −
0.5)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Layer, identity
from .parts import Recipe, coordinates


@dataclass(frozen=True)
class FFNConfig:
    """size: (H, W) in pixels; width: d, units per hidden layer and number of frequencies; scale:
    their std.
    """

    size: tuple[int, int]
    width: int = 104
    scale: float = 10.0

    @classmethod
    def for_clip(cls, size: tuple[int, int], n_frames: int, **options) -> FFNConfig:
        """The configuration for one frame of a clip; the number of frames does not matter."""
        return cls(size=tuple(size), **options)


class FFN(nn.Module):
    """γ(x) = [sin 2πBx, cos 2πBx] → d → d → 3, ReLU between, identity last.

    ``forward`` ignores the frame position and returns (B, 3, H, W) for B positions.
    """

    family = "ffn"
    Config = FFNConfig
    recipe = Recipe(1000, 9e-4)
    for_video = False
    frame = 0  # of its clip, that it was fitted to

    def __init__(self, config: FFNConfig):
        super().__init__()
        self.config, d = config, config.width
        B = torch.empty(
            d, 2
        )  # like torch.randn, which on the meta device takes a second to import what it needs
        self.register_buffer("B", B if B.is_meta else B.normal_() * config.scale)
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in ((2 * d, d), (d, d), (d, 3)))

    def encode(self, t: Tensor) -> Tensor:
        """Fourier features of every pixel, the same for all frames: (1, 2d, H, W)."""
        grid = coordinates(self.config.size, device=self.B.device, dtype=self.B.dtype)  # (2, H, W)
        phase = torch.einsum("dk,khw->dhw", self.B, 2 * torch.pi * grid)
        return torch.cat([phase.sin(), phase.cos()])[None]

    def stem(self, code: Tensor) -> Tensor:
        return code

    def decode(self, code: Tensor) -> Tensor:
        """(1, 2d, H, W) → (1, 3, H, W)."""
        x = code.flatten(2).transpose(1, 2)  # (1, HW, 2d)
        for i, linear in enumerate(self.linears):
            x = linear(F.relu(x) if i else x)
        return x.transpose(1, 2).unflatten(2, self.config.size)

    def forward(self, t: Tensor) -> Tensor:
        return self.decode(self.encode(t)).expand(len(t), -1, -1, -1)

    @classmethod
    def from_authors(cls, state: dict[str, Tensor], size: tuple[int, int], n_frames: int | None):
        """Configuration and tensors of a file in the authors' layout, or None where it is of
        another kind.
        """
        if "model.positional_encoding.B" not in state:
            return None
        rename = {"model.positional_encoding.B": "B"}
        rename |= {
            f"model.net.{i}.linear.{p}": f"linears.{i}.{p}"
            for i in range(3)
            for p in ("weight", "bias")
        }
        tensors = {rename.get(k, k): v for k, v in state.items()}
        return cls.Config(size=size, width=len(tensors["B"])), tensors

    def layers(self) -> tuple[Layer, ...]:
        """layer1, layer2, layer3 with 2d, d and d neurons (columns)."""
        return tuple(
            Layer(
                f"layer{i}",
                m.weight[:, :, None, None],
                m.bias,
                1,
                F.relu if i < 3 else identity,
                "columns",
            )
            for i, m in enumerate(self.linears, 1)
        )
