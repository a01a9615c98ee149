"""SIREN: a coordinate network with sine activations (Sitzmann et al., NeurIPS 2020).

It represents one image; METHOD 1. Coordinates are FFN's: (row, col), the longer side spanning [−1,
1]. Then ``sin(ω·(Wx + b))`` layer after layer, and a linear one at the end.

Trap: the first sine layer is the *stem*, as Fourier features are FFN's. It reads two numbers, so it
would have two neurons, and a finding about two neurons says nothing. The frequency ω belongs to the
activation and not to the weights, so that a layer's weight is the parameter itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .layers import Layer, column_layer, identity
from .parts import Recipe, coordinates, one_line


@dataclass(frozen=True)
class Sine:
    """x ↦ sin(ω·x), pointwise; ``w0`` is ω in radians per unit of x."""

    w0: float = 30.0

    def __call__(self, x: Tensor) -> Tensor:
        """A new tensor, shaped like x."""
        return torch.sin(self.w0 * x)

    def in_place_(self, x: Tensor) -> Tensor:
        """The same, into x."""
        return x.mul_(self.w0).sin_()

    def slope_(self, x: Tensor) -> Tensor:
        """Its derivative ω·cos(ω·x), into x."""
        return x.mul_(self.w0).cos_().mul_(self.w0)


@dataclass(frozen=True)
class SIRENConfig:
    """Shape of a SIREN.

    Attributes
    ----------
    size : (int, int)
        (H, W) in pixels.
    width : int
        Units per sine layer.
    depth : int
        Sine layers behind the stem, at least 1.
    first_w0, w0 : float
        Frequency ω of the stem (the paper's 30 learns small pictures slowly) and of the others.

    Raises
    ------
    ValueError
        Where there would be no unit, no sine layer or a frequency that is not positive.
    """

    size: tuple[int, int]
    width: int = 128
    depth: int = 2
    first_w0: float = 60.0
    w0: float = 30.0

    def __post_init__(self) -> None:
        if self.depth < 1 or self.width < 1 or min(self.first_w0, self.w0) <= 0:
            raise ValueError(
                "a SIREN has at least one sine layer behind its stem, one unit and positive "
                f"frequencies, not depth={self.depth}, width={self.width}, "
                f"first_w0={self.first_w0:g}, w0={self.w0:g}"
            )

    @classmethod
    def for_clip(cls, size: tuple[int, int], n_frames: int, **options: Any) -> SIRENConfig:
        """The configuration for one frame of a clip; the number of frames does not matter."""
        height, width = size
        return cls(size=(height, width), **options)


class SIREN(nn.Module):
    """(row, col) → sine layers → colour.

    ``forward`` ignores the frame position and returns (B, 3, H, W) for B positions.

    Parameters
    ----------
    config : SIRENConfig
    """

    family = "siren"
    Config = SIRENConfig
    recipes = {
        "fast": Recipe(300, 0.016, warmup=0.05, decay=0.95, adam_lr=1e-3),
        "paper": Recipe(1000, 1e-3),
    }
    for_video = False
    frame = 0  # of its clip, that it was fitted to

    def __init__(self, config: SIRENConfig):
        super().__init__()
        self.config = config
        d = config.width
        self.first = nn.Linear(2, d)
        self.linears = nn.ModuleList(nn.Linear(d, d) for _ in range(config.depth))
        self.linears.append(nn.Linear(d, 3))
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Weights that keep the spread of what the sines see alike from layer to layer.

        Section 3.2 of the paper.
        """
        self.first.weight.uniform_(-1 / 2, 1 / 2)
        bound = (6 / self.config.width) ** 0.5 / self.config.w0
        for linear in self.linears:
            nn.init.uniform_(linear.get_parameter("weight"), -bound, bound)

    def __repr__(self) -> str:
        return one_line(self)

    def encode(self, t: Tensor) -> Tensor:
        """Coordinates of every pixel, the same for all frames: (1, 2, H, W)."""
        weight = self.first.weight
        return coordinates(self.config.size, device=weight.device, dtype=weight.dtype)[None]

    def stem(self, code: Tensor) -> Tensor:
        """The first sine layer: (1, 2, H, W) → (1, d, H, W)."""
        return _pointwise(self.first, code, Sine(self.config.first_w0))

    def decode(self, code: Tensor) -> Tensor:
        """(1, 2, H, W) → (1, 3, H, W)."""
        x = self.stem(code)
        for linear, activation in zip(self.linears, self._activations()):
            x = _pointwise(linear, x, activation)
        return x

    def forward(self, t: Tensor) -> Tensor:
        """(B,) → (B, 3, H, W), the same picture B times."""
        return self.decode(self.encode(t)).expand(len(t), -1, -1, -1)

    def layers(self) -> tuple[Layer, ...]:
        """layer1 … layerN, all but the stem, with d neurons (columns) each."""
        layers: list[Layer] = []
        for linear, activation in zip(self.linears, self._activations()):
            layers.append(column_layer(f"layer{len(layers) + 1}", linear, activation))
        return tuple(layers)

    def _activations(self) -> list[Callable[[Tensor], Tensor]]:
        """One per linear layer behind the stem."""
        return [Sine(self.config.w0)] * self.config.depth + [identity]


def _pointwise(linear: nn.Module, x: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """A linear layer at every pixel: (B, c, H, W) → (B, c', H, W)."""
    by_pixel = x.flatten(2).transpose(1, 2)  # (B, HW, c)
    y = activation(linear(by_pixel))  # (B, HW, c')
    return y.transpose(1, 2).unflatten(2, x.shape[2:])
