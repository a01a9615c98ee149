"""The families of networks, one file each, and what a family tells the tracer (``layers.py``).

What lives here: plain modules, their layers, and where a pixel and a frame lie (``position``).
What does not: fitting, files, and every choice that belongs to a study. To add a family, write its
file as ``layers.py`` describes and name its class in ``FAMILIES``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .chain import chain
from .ffn import FFN, FFNConfig
from .hnerv import HNeRV, HNeRVConfig
from .layers import Layer, check_chain, identity, run
from .nerv import NeRV, NeRVConfig
from .parts import Recipe, coordinates
from .siren import SIREN, Sine, SIRENConfig

FAMILIES: dict[str, type[nn.Module]] = {c.family: c for c in (FFN, NeRV, SIREN, HNeRV)}

__all__ = [
    "FAMILIES",
    "FFN",
    "FFNConfig",
    "HNeRV",
    "HNeRVConfig",
    "Layer",
    "NeRV",
    "NeRVConfig",
    "Recipe",
    "SIREN",
    "SIRENConfig",
    "Sine",
    "chain",
    "check_chain",
    "check_registered",
    "coordinates",
    "family",
    "identity",
    "position",
    "recipe",
    "render",
    "run",
]


def family(name: str) -> type[nn.Module]:
    """The class of a family by its name, e.g. ``"nerv"``."""
    if name not in FAMILIES:
        raise ValueError(f"no family {name!r}; there are {', '.join(FAMILIES)}")
    return FAMILIES[name]


def recipe(name: str) -> Recipe:
    """How a family is fitted: by its own recipe, or the usual one."""
    return getattr(family(name), "recipe", Recipe())


def check_registered(model: nn.Module) -> None:
    """Refuse to write what could not be read back: a network that is of no family."""
    if FAMILIES.get(getattr(model, "family", None)) is not type(model):
        raise ValueError(
            f"a {type(model).__name__} is of no family, so its file could not be read back; put its class into models.FAMILIES "
            "under its family's name, or save the state_dict of the network itself"
        )


def position(model: nn.Module, frame: int) -> Tensor:
    """Frame index → position f/T in [0, 1), shape (1,); refuses an index outside the clip.
    Images have one position.
    """
    if not model.for_video:
        return torch.zeros(1)
    n = model.config.n_frames
    if not 0 <= frame < n:
        raise IndexError(f"frame {frame} is outside this model's {n} frames (0 to {n - 1})")
    return torch.tensor([frame / n], dtype=torch.float64)


@torch.no_grad()
def render(model: nn.Module, frame: int = 0, clamp: bool = True) -> Tensor:
    """The network's picture of one frame, (3, H, W), clamped to [0, 1] unless ``clamp=False``.
    FFN ignores ``frame``.
    """
    device = next(model.parameters()).device
    image = model(position(model, frame).to(device))[0]
    return image.clamp(0, 1) if clamp else image
