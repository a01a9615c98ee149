"""The families of networks, one file each, and what a family offers (``protocol.py``).

What lives here: plain modules, their layers, and where a pixel and a frame lie (``position``).
What does not: fitting, files, and every choice that belongs to a study. To add a family, write its
file as ``protocol.py`` describes and name its class in ``FAMILIES``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .chain import Chain, chain
from .ffn import FFN, FFNConfig
from .hnerv import HNeRV, HNeRVConfig
from .layers import Layer, check_chain, column_layer, identity, run
from .nerv import NeRV, NeRVConfig
from .parts import Recipe, coordinates
from .protocol import (
    Family,
    TracedModel,
    family_name,
    frame_of,
    new_encoder,
    packed,
    position,
    readers,
    recipe_of,
    unpacked,
)
from .siren import SIREN, Sine, SIRENConfig

# Any: a family is a subclass of nn.Module that offers what protocol.Family lists.
FAMILIES: dict[str, Any] = {kind.family: kind for kind in (FFN, NeRV, SIREN, HNeRV)}

__all__ = [
    "FAMILIES",
    "FFN",
    "FFNConfig",
    "Chain",
    "Family",
    "HNeRV",
    "HNeRVConfig",
    "Layer",
    "NeRV",
    "NeRVConfig",
    "Recipe",
    "SIREN",
    "SIRENConfig",
    "Sine",
    "TracedModel",
    "author_readers",
    "chain",
    "check_chain",
    "check_registered",
    "column_layer",
    "coordinates",
    "family",
    "frame_of",
    "identity",
    "new_encoder",
    "packed",
    "position",
    "recipe",
    "render",
    "run",
    "unpacked",
]


def family(name: str) -> Any:
    """The class of a family by its name, e.g. ``"nerv"``.

    Raises
    ------
    ValueError
        Naming the families, where there is none of this name.
    """
    if name not in FAMILIES:
        raise ValueError(f"no family {name!r}; there are {', '.join(FAMILIES)}")
    return FAMILIES[name]


def recipe(name: str) -> Recipe:
    """How the family of this name is fitted: by its own recipe, or the usual one."""
    return recipe_of(family(name))


def author_readers() -> list[Any]:
    """The families that read the files which their authors publish."""
    return readers(FAMILIES)


def check_registered(model: object) -> None:
    """Refuse to write what could not be read back.

    Raises
    ------
    ValueError
        For a network that is of no family.
    """
    name = family_name(model)
    if name is None or FAMILIES.get(name) is not type(model):
        raise ValueError(
            f"a {type(model).__name__} is of no family, so its file could not be read back; "
            "put its class into models.FAMILIES under its family's name, "
            "or save the state_dict of the network itself"
        )


@torch.no_grad()
def render(model: TracedModel, frame: int = 0, clamp: bool = True) -> Tensor:
    """The network's picture of one frame.

    Parameters
    ----------
    model : TracedModel
        Any family, or a chain of your own.
    frame : int
        Frame index, 0..T−1; image networks ignore it.
    clamp : bool
        Whether values are clamped to [0, 1].

    Returns
    -------
    Tensor, (3, H, W)
        In the model's dtype and on its device.

    Raises
    ------
    IndexError
        For a frame outside of the model's video.
    """
    device = next(model.parameters()).device
    image = model(position(model, frame).to(device))[0]
    return image.clamp(0, 1) if clamp else image
