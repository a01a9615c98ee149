"""A family in one file: a network with Gaussian activations (Ramasinghe & Lucey, ECCV 2022)."""

from dataclasses import dataclass

import torch
from torch import nn

from xinc_core.models import FAMILIES, Recipe, column_layer, coordinates, identity, run


@dataclass(frozen=True)
class GaussianConfig:  # all that it takes to build the network again from a file
    size: tuple[int, int]
    width: int = 48
    depth: int = 3

    @classmethod
    def for_clip(cls, size, n_frames, **options):
        return cls(tuple(size), **options)


def bell(x):
    return torch.exp(-((x / 0.1) ** 2) / 2)


# each layer: a linear map whose columns are the neurons, then its activation
def described(linears):
    follows = [bell] * (len(linears) - 1) + [identity]
    parts = enumerate(zip(linears, follows))
    return [column_layer(f"layer{n}", linear, after) for n, (linear, after) in parts]


class GaussianMLP(nn.Module):
    family, Config, recipes = "gaussian", GaussianConfig, {"adam": Recipe(1000, lr=5e-3)}
    for_video, frame = False, 0

    def __init__(self, config):
        super().__init__()
        self.config = config
        widths = [2, *[config.width] * config.depth, 3]
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def encode(self, t):  # what the network reads: (1, 2, H, W)
        return coordinates(self.config.size).to(self.linears[0].weight)[None]

    def stem(self, code):  # the first layer makes features of two coordinates; it is not traced
        return described(self.linears)[0](code)

    def layers(self):  # the traced layers, input to output
        return described(self.linears)[1:]

    def decode(self, code):  # (1, 2, H, W) → (1, 3, H, W)
        return run(described(self.linears), code)

    def forward(self, t):
        return self.decode(self.encode(t)).expand(len(t), -1, -1, -1)


FAMILIES[GaussianMLP.family] = GaussianMLP
