"""A family in one file: a coordinate network with Gaussian activations (Ramasinghe & Lucey, ECCV 2022)."""

from dataclasses import dataclass

import torch
from torch import nn

from xinc_core.models import FAMILIES, Layer, Recipe, coordinates, identity, run


def bell(x):
    return torch.exp(-((x / 0.1) ** 2) / 2)


@dataclass(frozen=True)
class GaussianConfig:
    size: tuple[int, int]
    width: int = 64
    depth: int = 3

    @classmethod
    def for_clip(cls, size, n_frames, **options):
        return cls(tuple(size), **options)


class GaussianMLP(nn.Module):
    family, Config, recipe = "gaussian", GaussianConfig, Recipe(epochs=1000, lr=5e-3)
    for_video, frame = False, 0

    def __init__(self, config):
        super().__init__()
        self.config = config
        widths = [2, *[config.width] * config.depth, 3]
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def encode(self, t):  # what the network reads: (1, 2, H, W)
        weight = self.linears[0].weight
        return coordinates(self.config.size, device=weight.device, dtype=weight.dtype)[None]

    def chain(self):  # every layer: a linear map of columns, then the activation
        follows = [bell] * (len(self.linears) - 1) + [identity]
        for n, (m, activation) in enumerate(zip(self.linears, follows)):
            yield Layer(f"layer{n}", m.weight[:, :, None, None], m.bias, 1, activation, "columns")

    def stem(self, code):  # the first layer makes features of two coordinates; it is not traced
        return next(self.chain())(code)

    def layers(self):  # the traced layers, input to output
        return tuple(self.chain())[1:]

    def decode(self, code):  # (1, 2, H, W) → (1, 3, H, W)
        return run(self.chain(), code)

    def forward(self, t):
        return self.decode(self.encode(t)).expand(len(t), -1, -1, -1)


FAMILIES[GaussianMLP.family] = GaussianMLP
