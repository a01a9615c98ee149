"""FFN: a coordinate network with random Fourier features (Tancik et al., NeurIPS 2020).

It represents one image; METHOD 1. Coordinates are (row, col), row first, the longer side spanning
[−1, 1]: ``2·(i/(max(H, W) − 1) − 0.5)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Layer, column_layer, identity
from .parts import Recipe, coordinates, one_line


@dataclass(frozen=True)
class FFNConfig:
    """Shape of an FFN.

    Attributes
    ----------
    size : (int, int)
        (H, W) in pixels.
    width : int
        d, units per hidden layer and number of frequencies.
    scale : float
        Standard deviation of the frequencies, in cycles per unit of the coordinates.
    """

    size: tuple[int, int]
    width: int = 104
    scale: float = 10.0

    @classmethod
    def for_clip(cls, size: tuple[int, int], n_frames: int, **options: Any) -> FFNConfig:
        """The configuration for one frame of a clip; the number of frames does not matter."""
        height, width = size
        return cls(size=(height, width), **options)


class FFN(nn.Module):
    """``γ(x) = [sin 2πBx, cos 2πBx] → d → d → 3``, ReLU between, identity last.

    ``forward`` ignores the frame position and returns (B, 3, H, W) for B positions.

    Parameters
    ----------
    config : FFNConfig
    """

    family = "ffn"
    Config = FFNConfig
    recipes = {
        "fast": Recipe(300, 0.1, warmup=0.05, decay=0.4, adam_lr=4e-3),
        "paper": Recipe(1000, 9e-4),
    }
    for_video = False
    frame = 0  # of its clip, that it was fitted to

    B: Tensor  # the frequencies, (d, 2), fixed

    def __init__(self, config: FFNConfig):
        super().__init__()
        self.config = config
        d = config.width
        # torch.empty and normal_ draw what torch.randn draws, which on the meta device takes a
        # second to import what it needs.
        frequencies = torch.empty(d, 2)
        if not frequencies.is_meta:
            frequencies = frequencies.normal_() * config.scale
        self.register_buffer("B", frequencies)
        self.linears = nn.ModuleList([nn.Linear(2 * d, d), nn.Linear(d, d), nn.Linear(d, 3)])

    def __repr__(self) -> str:
        return one_line(self)

    def encode(self, t: Tensor) -> Tensor:
        """Fourier features of every pixel, the same for all frames: (1, 2d, H, W)."""
        grid = coordinates(self.config.size, device=self.B.device, dtype=self.B.dtype)  # (2, H, W)
        phase = torch.einsum("dk,khw->dhw", self.B, 2 * torch.pi * grid)
        return torch.cat([phase.sin(), phase.cos()])[None]

    def stem(self, code: Tensor) -> Tensor:
        """The features themselves: (1, 2d, H, W)."""
        return code

    def decode(self, code: Tensor) -> Tensor:
        """(1, 2d, H, W) → (1, 3, H, W)."""
        first, *others = self.linears
        x = first(code.flatten(2).transpose(1, 2))  # (1, HW, 2d) → (1, HW, d)
        for linear in others:
            x = linear(F.relu(x))
        return x.transpose(1, 2).unflatten(2, self.config.size)

    def forward(self, t: Tensor) -> Tensor:
        """(B,) → (B, 3, H, W), the same picture B times."""
        return self.decode(self.encode(t)).expand(len(t), -1, -1, -1)

    def layers(self) -> tuple[Layer, ...]:
        """layer1, layer2, layer3 with 2d, d and d neurons (columns)."""
        layers: list[Layer] = []
        for number, linear in enumerate(self.linears, 1):
            activation = F.relu if number < len(self.linears) else identity
            layers.append(column_layer(f"layer{number}", linear, activation))
        return tuple(layers)

    @classmethod
    def from_authors(
        cls, state: dict[str, Tensor], size: tuple[int, int], n_frames: int | None
    ) -> tuple[FFNConfig, dict[str, Tensor]] | None:
        """Configuration and tensors of a file in the authors' layout; None for other files."""
        if "model.positional_encoding.B" not in state:
            return None
        rename = {"model.positional_encoding.B": "B"}
        for number in range(3):
            for kind in ("weight", "bias"):
                rename[f"model.net.{number}.linear.{kind}"] = f"linears.{number}.{kind}"
        tensors = {rename.get(name, name): value for name, value in state.items()}
        return cls.Config(size=size, width=len(tensors["B"])), tensors
