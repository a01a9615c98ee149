"""HNeRV: a video network whose codes are learned from the frames (Chen et al., CVPR 2023).

An encoder (ConvNeXt) turns a frame into a small *embedding*; a 1×1 convolution, blocks
(convolution, PixelShuffle, GELU) and a head turn the embedding back into the frame. Both are fitted
together; then the embeddings of all frames are kept, and the encoder is thrown away. So a network
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

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Layer, run
from .nerv import decoder_of
from .parts import Recipe, narrowing, widest

STRIDES = (
    (4, 4, 2, 2),
    (4, 2, 2, 2),
    (4, 2, 2),
    (2, 2, 2),
    (2, 2),
    (2,),
)  # the first that fits a picture is taken
OUTPUTS = ("linear", "tanh")
HALF = 0.5  # a tanh output is scaled by and lifted by


@dataclass(frozen=True)
class HNeRVConfig:
    """Shape of an HNeRV.

    size: (H, W) in pixels, equal to grid · Π strides, which fixes the grid; n_frames: T; strides:
    of the blocks, 1 for a block that does not enlarge; channels: one more than strides; kernels:
    one per block, odd; embedding: channels of an embedding, which has the grid's size; encoder:
    width of the encoder, for fitting only; output: "linear" or "tanh".
    """

    size: tuple[int, int]
    n_frames: int
    strides: tuple[int, ...] = STRIDES[0]
    channels: tuple[int, ...] = (45, 38, 32, 27, 22)
    kernels: tuple[int, ...] = (1, 3, 5, 5)
    embedding: int = 16
    encoder: int = 64
    output: str = "linear"

    def __post_init__(self):
        step, n = prod(self.strides), len(self.strides)
        if self.size[0] % step or self.size[1] % step:
            raise ValueError(
                f"an HNeRV with strides {self.strides} paints sizes that are multiples of {step}, not "
                f"{self.size[0]}×{self.size[1]}; crop the clip, or choose other strides"
            )
        if (len(self.channels), len(self.kernels)) != (n + 1, n):
            raise ValueError(
                f"{n} strides need {n + 1} channel counts and {n} kernel sizes, not {len(self.channels)} and {len(self.kernels)}"
            )
        if any(k % 2 == 0 for k in self.kernels):
            raise ValueError(f"kernel sizes are odd, not {self.kernels}")
        if self.output not in OUTPUTS:
            raise ValueError(f"an output is one of {', '.join(OUTPUTS)}, not {self.output!r}")

    @property
    def grid(self) -> tuple[int, int]:
        step = prod(self.strides)
        return self.size[0] // step, self.size[1] // step

    @property
    def n_parameters(self) -> int:
        """Of decoder and embeddings, as the paper counts."""
        c = self.channels
        n = (
            self.n_frames * self.embedding * prod(self.grid)
            + (self.embedding + 1) * c[0]
            + (c[-1] * 9 + 1) * 3
        )
        return n + sum(
            (a * k * k + 1) * b * s * s for a, b, k, s in zip(c, c[1:], self.kernels, self.strides)
        )

    @classmethod
    def for_clip(
        cls,
        size: tuple[int, int],
        n_frames: int,
        parameters: int = 350_000,
        strides: tuple[int, ...] | None = None,
        blocks: int = 1,
        **options,
    ) -> HNeRVConfig:
        """The configuration for a clip: the widest decoder that, with the embeddings, does not
        exceed ``parameters``.

        Unless named, strides are those of ``STRIDES`` that fit the picture, the coarsest grid
        first, with ``blocks`` − 1 blocks of stride 1 behind each; kernels 1, 3, 5, 5, … by stage;
        and about as many numbers per embedding on every grid.
        """
        stages = tuple(
            strides
            or next(
                (s for s in STRIDES if size[0] % prod(s) == size[1] % prod(s) == 0), STRIDES[-1]
            )
        )
        flat = tuple(s if not n else 1 for s in stages for n in range(blocks))
        kernels = tuple(min(1 + 2 * i, 5) for i in range(len(stages)) for _ in range(blocks))
        usual = dict(
            channels=(1,) * (len(flat) + 1),
            kernels=kernels,
            embedding=max(1, round(16 * (prod(stages) / 64) ** 2)),
        )
        start = cls(tuple(size), n_frames, flat, **usual | options)
        if "channels" in options:
            return start

        def widths(first: int) -> HNeRVConfig:
            per_stage = list(islice(narrowing(first, 12), len(stages) + 1))
            return replace(
                start, channels=(first, *(w for w in per_stage[1:] for _ in range(blocks)))
            )

        return widest(widths, parameters, f"HNeRV of {size[0]}×{size[1]} and {n_frames} frames")


class HNeRV(nn.Module):
    """Frame positions (B,) in [0, 1) → frames (B, 3, H, W)."""

    family = "hnerv"
    Config = HNeRVConfig
    recipe = Recipe(300, 1e-3, warmup=0.2, cosine=True)
    for_video = True

    def __init__(self, config: HNeRVConfig):
        super().__init__()
        self.config, c = config, config.channels
        self.expand = nn.Conv2d(config.embedding, c[0], 1)
        shapes = zip(c, c[1:], config.strides, config.kernels)
        self.blocks = nn.ModuleList(
            nn.Conv2d(a, b * s * s, k, padding=k // 2) for a, b, s, k in shapes
        )
        self.head = nn.Conv2d(c[-1], 3, 3, padding=1)
        codes = torch.empty(
            config.n_frames, config.embedding, *config.grid
        )  # like torch.randn, see FFN
        self.register_buffer("embeddings", codes if codes.is_meta else codes.normal_())
        if config.output == "tanh":
            self.register_buffer("scale", HALF * torch.eye(3)[:, :, None, None])
            self.register_buffer("offset", torch.full((3,), HALF))

    def new_encoder(self) -> nn.Module:
        """A new encoder, frames (B, 3, H, W) → embeddings (B, c, h, w), to be fitted together
        with the network.
        """
        strides = [s for s in self.config.strides if s > 1]
        return Encoder(
            strides, [self.config.encoder] * (len(strides) - 1) + [self.config.embedding]
        )

    def keep_codes(self, codes: Tensor) -> None:
        """Store the embeddings of all frames, (T, c, h, w)."""
        self.embeddings.copy_(codes)

    def encode(self, t: Tensor) -> Tensor:
        """The embeddings of these frames: (B,) → (B, c, h, w)."""
        return self.embeddings[(t.double() * self.config.n_frames).round().long()]

    def stem(self, code: Tensor) -> Tensor:
        """(B, c, h, w) → the blocks' input, (B, c', h, w)."""
        return F.gelu(self.expand(code))

    def decode(self, code: Tensor) -> Tensor:
        return run(self.layers(), self.stem(code))

    def forward(self, t: Tensor) -> Tensor:
        return self.decode(self.encode(t))

    def layers(self) -> tuple[Layer, ...]:
        """block1 … blockN and head (and picture, see above); their neurons are kernels (i, o')."""
        blocks = [
            Layer(f"block{i}", m.weight, m.bias, s, F.gelu)
            for i, (m, s) in enumerate(zip(self.blocks, self.config.strides), 1)
        ]
        if self.config.output == "linear":
            return *blocks, Layer("head", self.head.weight, self.head.bias)
        head = Layer("head", self.head.weight, self.head.bias, 1, torch.tanh)
        return *blocks, head, Layer("picture", self.scale, self.offset)

    def packed(self) -> dict[str, Tensor]:
        """What a compressed file holds; the embeddings under a name of their own, so that they
        are quantised like weights.
        """
        return {"codes" if k == "embeddings" else k: v for k, v in self.state_dict().items()}

    @staticmethod
    def unpacked(config: HNeRVConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """A state from ``packed``."""
        return {"embeddings" if k == "codes" else k: v for k, v in tensors.items()}

    @classmethod
    def from_authors(cls, state: dict[str, Tensor], size: tuple[int, int], n_frames: int | None):
        """Configuration and tensors of a file in the authors' layout, or None: its embeddings are
        the tensor ``embed``.

        Whether the picture goes through a tanh is not written there: it does unless the first one
        is a picture without it.
        """
        if not any(k.startswith(("encoder.", "embed")) for k in state):
            return None
        if "embed" not in state:
            raise ValueError(
                "it holds an HNeRV's encoder but not the embeddings of the frames, without which nothing can be painted; load "
                "the quant_vid.pth that the authors' evaluation writes beside it, which holds them"
            )
        tensors, shape = decoder_of(
            {k: v for k, v in state.items() if not k.startswith(("encoder.", "embed"))}
        )
        embeddings = tensors["embeddings"] = state["embed"]
        if n_frames not in (None, len(embeddings)):
            raise ValueError(
                f"it holds the embeddings of {len(embeddings)} frames, not of {n_frames}; leave n_frames out"
            )
        cells = len(tensors["expand.weight"]) // shape["channels"][0]
        if cells != 1:
            raise ValueError(
                f"it lays {cells} cells out of each cell of an embedding, which HNeRV does not do here"
            )
        config = cls.Config(size, len(embeddings), **shape, embedding=embeddings.shape[1])
        if tuple(embeddings.shape[2:]) != config.grid:
            h, w = (n * prod(config.strides) for n in embeddings.shape[2:])
            raise ValueError(
                f"it paints {h}×{w} pixels, not {size[0]}×{size[1]}; is the size right?"
            )
        return cls._with_output(config, tensors)

    @classmethod
    def _with_output(cls, config: HNeRVConfig, tensors: dict[str, Tensor]):
        """The output under which the first frame is a picture."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model = cls(config)
            if model.load_state_dict(tensors, strict=False).unexpected_keys:
                return config, tensors
            raw = model(torch.zeros(1))
        if raw.min() > -0.25 and raw.max() < 1.25:
            return config, tensors
        squashed = cls(replace(config, output="tanh"))
        return squashed.config, tensors | dict(scale=squashed.scale, offset=squashed.offset)


class Encoder(nn.Sequential):
    """ConvNeXt (Liu et al., CVPR 2022) with one block per stage: every stage shrinks the picture
    by its stride.
    """

    def __init__(self, strides: list[int], widths: list[int]):
        parts: list[nn.Module] = []
        for i, (a, b, s) in enumerate(zip([3, *widths], widths, strides)):
            shrink = (
                [nn.Conv2d(a, b, s, s), ChannelNorm(b)]
                if i == 0
                else [ChannelNorm(a), nn.Conv2d(a, b, s, s)]
            )
            parts += [*shrink, Residual(b)]
        super().__init__(*parts)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
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
