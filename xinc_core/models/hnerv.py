"""HNeRV: a video network whose codes are learned from the frames (Chen et al., CVPR 2023).

METHOD 1. An encoder (ConvNeXt) turns a frame into a small *embedding*; a 1×1 convolution, blocks
(convolution, PixelShuffle, GELU) and a head turn the embedding back into the frame. Both are fitted
together; then the embeddings of all frames are stored, and the encoder is thrown away. So a network
on disk is decoder and embeddings, as in the paper's count of parameters.

Traps: frame f is row f of the embeddings, whatever the frame shows; an unfitted network holds
random ones. With ``output="tanh"`` the picture is (1 + tanh)/2, as the authors' code paints it;
then a fixed layer behind the head, ``picture``, does the halving, and only three of its nine
kernels are not zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Layer, run
from .nerv import block_layers, check_size, decoder_of, grid_of, make_blocks
from .parts import Recipe, narrowing, one_line, widest

# Strides by stage, the coarsest initial grid first; the first that fits a picture is taken.
STRIDES = ((4, 4, 2, 2), (4, 2, 2, 2), (4, 2, 2), (2, 2, 2), (2, 2), (2,))
OUTPUTS = ("linear", "tanh")
HALF = 0.5  # a tanh output is scaled and lifted by this much: [−1, 1] → [0, 1]
LEAST_WIDTH = 12  # channels below which a decoder does not narrow
LARGEST_KERNEL = 5


@dataclass(frozen=True)
class HNeRVConfig:
    """Shape of an HNeRV.

    Attributes
    ----------
    size : (int, int)
        (H, W) in pixels, equal to grid · Π strides, which fixes the grid.
    n_frames : int
        T.
    strides : tuple of int
        PixelShuffle factor of each block, 1 for a block that does not enlarge.
    channels : tuple of int
        Of the initial grid and behind each block: one more than strides.
    kernels : tuple of int
        Side of each block's kernels, odd.
    embedding : int
        Channels of an embedding, which has the grid's size.
    encoder : int
        Width of the encoder, for fitting only.
    output : {"linear", "tanh"}

    Raises
    ------
    ValueError
        Where size, strides, channels or kernels do not fit together.
    """

    size: tuple[int, int]
    n_frames: int
    strides: tuple[int, ...] = STRIDES[0]
    channels: tuple[int, ...] = (45, 38, 32, 27, 22)
    kernels: tuple[int, ...] = (1, 3, 5, 5)
    embedding: int = 16
    encoder: int = 64
    output: str = "linear"

    def __post_init__(self) -> None:
        n = len(self.strides)
        check_size("an HNeRV", self.size, self.strides)
        if (len(self.channels), len(self.kernels)) != (n + 1, n):
            raise ValueError(
                f"{n} strides need {n + 1} channel counts and {n} kernel sizes, "
                f"not {len(self.channels)} and {len(self.kernels)}"
            )
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernel sizes are odd, not {self.kernels}")
        if self.output not in OUTPUTS:
            raise ValueError(f"an output is one of {', '.join(OUTPUTS)}, not {self.output!r}")

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the initial grid, and of an embedding."""
        return grid_of(self.size, self.strides)

    @property
    def n_parameters(self) -> int:
        """Of decoder and embeddings, as the paper counts."""
        channels = self.channels
        embeddings = self.n_frames * self.embedding * prod(self.grid)
        expand = (self.embedding + 1) * channels[0]
        blocks = 0
        for c_in, c_out, kernel, stride in zip(channels, channels[1:], self.kernels, self.strides):
            blocks += (c_in * kernel * kernel + 1) * c_out * stride * stride
        head = (channels[-1] * 9 + 1) * 3
        return embeddings + expand + blocks + head

    @classmethod
    def for_clip(
        cls,
        size: tuple[int, int],
        n_frames: int,
        parameters: int = 350_000,
        strides: tuple[int, ...] | None = None,
        blocks: int = 1,
        **options: Any,
    ) -> HNeRVConfig:
        """The configuration for a clip: the widest decoder with at most ``parameters``.

        The embeddings count as parameters. Unless named, strides are those of ``STRIDES`` that fit
        the picture, the coarsest grid first, with ``blocks`` − 1 blocks of stride 1 behind each;
        kernels 1, 3, 5, 5, … by stage; and about as many numbers per embedding on every grid.
        """
        height, width = size
        stages = tuple(strides or _fitting_strides(size))
        block_strides: list[int] = []
        kernels: list[int] = []
        for stage, stride in enumerate(stages):
            block_strides += [stride] + [1] * (blocks - 1)
            kernels += [min(1 + 2 * stage, LARGEST_KERNEL)] * blocks
        usual: dict[str, Any] = dict(
            channels=(1,) * (len(block_strides) + 1),
            kernels=tuple(kernels),
            embedding=max(1, round(16 * (prod(stages) / 64) ** 2)),
        )
        start = cls((height, width), n_frames, tuple(block_strides), **usual | options)
        if "channels" in options:
            return start

        def of_width(first: int) -> HNeRVConfig:
            _, *later = islice(narrowing(first, LEAST_WIDTH), len(stages) + 1)
            channels = [first]
            for stage_width in later:
                channels += [stage_width] * blocks
            return replace(start, channels=tuple(channels))

        return widest(of_width, parameters, f"HNeRV of {height}×{width} and {n_frames} frames")


def _fitting_strides(size: tuple[int, int]) -> tuple[int, ...]:
    """The first of ``STRIDES`` whose product divides both sides; the last where none does."""
    height, width = size
    for strides in STRIDES:
        step = prod(strides)
        if height % step == 0 and width % step == 0:
            return strides
    return STRIDES[-1]


class HNeRV(nn.Module):
    """Frame positions (B,) in [0, 1) → frames (B, 3, H, W), unclamped.

    Parameters
    ----------
    config : HNeRVConfig
    """

    family = "hnerv"
    Config = HNeRVConfig
    recipes = {
        "fast": Recipe(80, 0.03, warmup=0.05, decay=0.4, adam_lr=1e-3),
        "paper": Recipe(300, 1e-3, warmup=0.2, cosine=True),
    }
    for_video = True

    embeddings: Tensor  # (T, c, h, w)
    scale: Tensor  # (3, 3, 1, 1), with output="tanh" only
    offset: Tensor  # (3,), with output="tanh" only

    def __init__(self, config: HNeRVConfig):
        super().__init__()
        self.config = config
        channels = config.channels
        self.expand = nn.Conv2d(config.embedding, channels[0], 1)
        self.blocks = make_blocks(channels, config.strides, config.kernels)
        self.head = nn.Conv2d(channels[-1], 3, 3, padding=1)
        codes = torch.empty(config.n_frames, config.embedding, *config.grid)
        if not codes.is_meta:  # as in FFN
            codes = codes.normal_()
        self.register_buffer("embeddings", codes)
        if config.output == "tanh":
            scale, offset = torch.empty(3, 3, 1, 1), torch.empty(3)
            if not scale.is_meta:
                scale.copy_(HALF * torch.eye(3)[:, :, None, None])
                offset.fill_(HALF)
            self.register_buffer("scale", scale)
            self.register_buffer("offset", offset)

    def new_encoder(self) -> nn.Module:
        """A new encoder, frames (B, 3, H, W) → embeddings (B, c, h, w), to be fitted as well."""
        strides = [stride for stride in self.config.strides if stride > 1]
        widths = [self.config.encoder] * (len(strides) - 1) + [self.config.embedding]
        return Encoder(strides, widths)

    def keep_codes(self, codes: Tensor) -> None:
        """Store the embeddings of all frames, (T, c, h, w)."""
        self.embeddings.copy_(codes)

    def __repr__(self) -> str:
        return one_line(self)

    def encode(self, t: Tensor) -> Tensor:
        """The embeddings of these frames: (B,) → (B, c, h, w)."""
        frames = (t.double() * self.config.n_frames).round().long()
        return self.embeddings[frames]

    def stem(self, code: Tensor) -> Tensor:
        """(B, c, h, w) → the blocks' input, (B, c', h, w)."""
        return F.gelu(self.expand(code))

    def decode(self, code: Tensor) -> Tensor:
        """(B, c, h, w) → (B, 3, H, W)."""
        return run(self.layers(), self.stem(code))

    def forward(self, t: Tensor) -> Tensor:
        """(B,) → (B, 3, H, W)."""
        return self.decode(self.encode(t))

    def layers(self) -> tuple[Layer, ...]:
        """block1 … blockN and head; with ``output="tanh"`` also picture, which halves and lifts.

        Their neurons are kernels (i, o').
        """
        blocks = block_layers(self.blocks, self.config.strides)
        if self.config.output == "linear":
            return *blocks, Layer("head", self.head.weight, self.head.bias)
        head = Layer("head", self.head.weight, self.head.bias, 1, torch.tanh)
        return *blocks, head, Layer("picture", self.scale, self.offset)

    def packed(self) -> dict[str, Tensor]:
        """What a compressed file holds.

        The embeddings have a name of their own, so that they are quantised like weights.
        """
        return _renamed(self.state_dict(), "embeddings", "codes")

    @staticmethod
    def unpacked(config: HNeRVConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """A state from ``packed``."""
        return _renamed(tensors, "codes", "embeddings")

    @classmethod
    def from_authors(
        cls, state: dict[str, Tensor], size: tuple[int, int], n_frames: int | None
    ) -> tuple[HNeRVConfig, dict[str, Tensor]] | None:
        """Configuration and tensors of a file in the authors' layout; None for other files.

        The embeddings are its tensor ``embed``. Whether the picture goes through a tanh is not
        written there: it does unless the first one is a picture without it.

        Raises
        ------
        ValueError
            Where it is an HNeRV's, but the embeddings are missing or ``size`` or ``n_frames`` do
            not fit.
        """
        of_encoder = {name for name in state if name.startswith(("encoder.", "embed"))}
        if not of_encoder:
            return None
        if "embed" not in state:
            raise ValueError(
                "it holds an HNeRV's encoder but not the embeddings of the frames, without which "
                "nothing can be painted; load the quant_vid.pth that the authors' evaluation "
                "writes beside it, which holds them"
            )
        of_decoder = {name: value for name, value in state.items() if name not in of_encoder}
        tensors, shape = decoder_of(of_decoder)
        embeddings = tensors["embeddings"] = state["embed"]  # (T, c, h, w)
        if n_frames not in (None, len(embeddings)):
            raise ValueError(
                f"it holds the embeddings of {len(embeddings)} frames, not of {n_frames}; "
                "leave n_frames out"
            )
        cells = len(tensors["expand.weight"]) // shape.channels[0]
        if cells != 1:
            raise ValueError(
                f"it lays {cells} cells out of each cell of an embedding, "
                "which HNeRV does not do here"
            )
        config = cls.Config(
            size,
            len(embeddings),
            shape.strides,
            shape.channels,
            shape.kernels,
            embedding=embeddings.shape[1],
        )
        _check_grid(embeddings, config)
        return cls._with_output(config, tensors)

    @classmethod
    def _with_output(
        cls, config: HNeRVConfig, tensors: dict[str, Tensor]
    ) -> tuple[HNeRVConfig, dict[str, Tensor]]:
        """The output under which the first frame is a picture: values about [0, 1]."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model = cls(config)
            if model.load_state_dict(tensors, strict=False).unexpected_keys:
                return config, tensors
            raw = model(torch.zeros(1))
        if raw.min() > -0.25 and raw.max() < 1.25:
            return config, tensors
        squashed = cls(replace(config, output="tanh"))
        return squashed.config, tensors | dict(scale=squashed.scale, offset=squashed.offset)


def _check_grid(embeddings: Tensor, config: HNeRVConfig) -> None:
    """Refuse embeddings (T, c, h, w) of another grid than the configuration's."""
    grid = tuple(embeddings.shape[2:])
    if grid != config.grid:
        step = prod(config.strides)
        height, width = config.size
        raise ValueError(
            f"it paints {grid[0] * step}×{grid[1] * step} pixels, not {height}×{width}; "
            "is the size right?"
        )


def _renamed(tensors: dict[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    """The same tensors in the same order, one of them under another name."""
    return {new if name == old else name: value for name, value in tensors.items()}


class Encoder(nn.Sequential):
    """ConvNeXt (Liu et al., CVPR 2022) with one block per stage: (B, 3, H, W) → (B, c, h, w).

    strides : by which each stage shrinks the picture; widths : channels behind each stage.
    """

    def __init__(self, strides: list[int], widths: list[int]):
        parts: list[nn.Module] = []
        for stage, (c_in, c_out, stride) in enumerate(zip([3, *widths], widths, strides)):
            shrink = nn.Conv2d(c_in, c_out, stride, stride)
            if stage == 0:
                parts += [shrink, ChannelNorm(c_out)]
            else:
                parts += [ChannelNorm(c_in), shrink]
            parts.append(Residual(c_out))
        super().__init__(*parts)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)


class Residual(nn.Module):
    """x + γ · (depthwise 7×7, norm, four times wider with GELU, back), γ from 1e-6 on."""

    def __init__(self, width: int):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            ChannelNorm(width),
            nn.Conv2d(width, 4 * width, 1),
            nn.GELU(),
            nn.Conv2d(4 * width, width, 1),
        )
        self.gamma = nn.Parameter(torch.full((width, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gamma * self.inner(x)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel."""

    def __init__(self, width: int):
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)
