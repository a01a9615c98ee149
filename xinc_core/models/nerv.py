"""NeRV: a convolutional decoder from frame index to frame (Chen et al., NeurIPS 2021; blocks as in
HNeRV, CVPR 2023).

``t`` → positional encoding → 1×1 convolution → a small grid → blocks (3×3 convolution,
PixelShuffle, GELU) → head.

Trap: the encoding's upper levels (π·1.25^79 ≈ 10^8) are beyond float32's precision, so they are in
effect a fixed hash of t. They are computed in float32 on the CPU for every dtype and device: a
network trained with them knows no others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from math import isqrt, prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Layer, identity, run
from .parts import Recipe, narrowing, widest


@dataclass(frozen=True)
class NeRVConfig:
    """Shape of a NeRV; the defaults are the paper's (978,557 parameters at 128×256).

    size: (H, W) in pixels, equal to grid · Π strides, which fixes the grid; n_frames: T, frame f is
    presented as f/T; channels: one more than strides; kernel: odd; base, levels: positional
    encoding ``sin/cos(π·base^i·t)``.
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
            raise ValueError(
                f"{len(self.strides)} strides need {len(self.strides) + 1} channel counts, not {len(self.channels)}"
            )
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
    def for_clip(
        cls, size: tuple[int, int], n_frames: int, parameters: int | None = None, **options
    ) -> NeRVConfig:
        """The configuration for a clip, widths scaled to a target count of parameters if one is
        given.

        Each block is 1.2 times narrower than the one before, as in the NeRV papers; the widest
        network that does not exceed ``parameters`` is taken.
        """
        config = cls(size=tuple(size), n_frames=n_frames, **options)
        if parameters is None:
            return config
        n = len(config.strides) + 1
        return widest(
            lambda first: replace(config, channels=tuple(islice(narrowing(first), n))),
            parameters,
            f"NeRV of {size[0]}×{size[1]}",
        )


class NeRV(nn.Module):
    """Frame positions (B,) in [0, 1) → frames (B, 3, H, W)."""

    family = "nerv"
    Config = NeRVConfig
    recipe = Recipe(300, 1e-3, warmup=0.2, cosine=True)
    for_video = True

    def __init__(self, config: NeRVConfig):
        super().__init__()
        self.config = config
        c, k = config.channels, config.kernel
        self.expand = nn.Conv2d(2 * config.levels, c[0] * prod(config.grid), 1)
        self.blocks = nn.ModuleList(
            nn.Conv2d(a, b * s * s, k, padding=k // 2) for a, b, s in zip(c, c[1:], config.strides)
        )
        self.head = nn.Conv2d(c[-1], 3, k, padding=k // 2)

    def encode(self, t: Tensor) -> Tensor:
        """[sin(π·b^i·t), cos(π·b^i·t)]: (B,) → (B, 2·levels, 1, 1)."""
        return _encoded(t, self.config).to(self.head.weight)

    def stem(self, code: Tensor) -> Tensor:
        """(B, 2·levels, 1, 1) → the initial grid (B, c, h, w)."""
        return F.gelu(self.expand(code)).reshape(
            len(code), self.config.channels[0], *self.config.grid
        )

    def decode(self, code: Tensor) -> Tensor:
        return run(self.layers(), self.stem(code))

    def forward(self, t: Tensor) -> Tensor:
        return self.decode(self.encode(t))

    def layers(self) -> tuple[Layer, ...]:
        """block1 … blockN and head; their neurons are kernels (i, o')."""
        blocks = [
            Layer(f"block{i}", m.weight, m.bias, s, F.gelu)
            for i, (m, s) in enumerate(zip(self.blocks, self.config.strides), 1)
        ]
        return *blocks, Layer("head", self.head.weight, self.head.bias, 1, identity)

    def packed(self) -> dict[str, Tensor]:
        """What a file must hold to paint all frames: of ``expand`` only what T frames see of it, a
        table (T, c·h·w).

        The encoding spans at most T of its 2·levels dimensions, so nothing is lost; longer videos
        keep the weights.
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
        return {
            "expand.weight": weight[:, :, None, None].contiguous(),
            "expand.bias": torch.zeros(len(weight)),
        } | rest

    @classmethod
    def from_authors(cls, state: dict[str, Tensor], size: tuple[int, int], n_frames: int | None):
        """Configuration and tensors of a file in the authors' layout, or None where it is of
        another kind.
        """
        if not any(k.startswith("head_layer") for k in state) or any(
            k.startswith(("encoder.", "embed")) for k in state
        ):
            return None
        if n_frames is None:
            raise ValueError(
                "it carries no length: say n_frames=…, the number of frames it was fitted to"
            )
        tensors, shape = decoder_of(state)
        kernels = set(shape.pop("kernels")) | {tensors["head.weight"].shape[-1]}
        if len(kernels) > 1:
            raise ValueError(f"it has kernels of several sizes, {sorted(kernels)}; a NeRV has one")
        config = cls.Config(
            size,
            n_frames,
            **shape,
            kernel=kernels.pop(),
            levels=tensors["expand.weight"].shape[1] // 2,
        )
        cells = tensors["expand.weight"].shape[0] / config.channels[0]
        if cells != prod(config.grid):
            raise ValueError(
                f"it starts from {cells:g} grid cells, but {size[0]}×{size[1]} with strides {config.strides} needs "
                f"{prod(config.grid)}; is the size right?"
            )
        return config, tensors


def decoder_of(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict]:
    """A decoder in the authors' layout under this package's names, and its strides, channels and
    kernels.
    """
    rename = {"decoder.0.conv.downconv": "expand", "head_layer": "head"}
    n = 0
    while f"decoder.{n + 1}.conv.upconv.0.weight" in state:
        n += 1
        rename[f"decoder.{n}.conv.upconv.0"] = f"blocks.{n - 1}"
    tensors = {}
    for key, value in state.items():
        stem, _, last = key.rpartition(".")
        tensors[f"{rename[stem]}.{last}" if stem in rename else key] = value
    missing = {"expand.weight", "head.weight"} - tensors.keys()
    if missing:
        raise ValueError(f"it lacks the tensor {missing.pop()!r} of a decoder")
    blocks = [tensors[f"blocks.{i}.weight"].shape for i in range(n)]
    channels = (*(b[1] for b in blocks), tensors["head.weight"].shape[1])
    strides = tuple(isqrt(b[0] // c) for b, c in zip(blocks, channels[1:]))
    return tensors, dict(strides=strides, channels=channels, kernels=tuple(b[-1] for b in blocks))


def _encoded(t: Tensor, config: NeRVConfig) -> Tensor:
    """The positional encoding, float32 on the CPU: (B,) → (B, 2·levels, 1, 1)."""
    t = t.to("cpu", torch.float32)
    phase = t[:, None] * (
        torch.pi * config.base ** torch.arange(config.levels, dtype=torch.float32)
    )
    return torch.cat([phase.sin(), phase.cos()], 1)[:, :, None, None]


def _all_encoded(config: NeRVConfig) -> Tensor:
    """The encodings of all frames; f/T in double precision first, as everywhere: the upper
    levels see the last bit.
    """
    return _encoded(torch.arange(config.n_frames, dtype=torch.float64) / config.n_frames, config)
