"""The families of networks, one file each, and what a family offers (``protocol.py``).

What lives here: plain modules, their layers, and where a pixel and a frame lie (``position``).
What does not: fitting, files, and every choice that belongs to a study. To add a family, write its
file as ``protocol.py`` describes and name its class in ``FAMILIES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from xinc_core.util.checks import check_is_model
from xinc_core.util.exact import exactly

from .chain import Chain, chain
from .ffn import FFN, FFNConfig
from .hnerv import HNeRV, HNeRVConfig
from .layers import (
    Layer,
    check_chain,
    check_layer_names,
    column_layer,
    identity,
    layers_without,
    run,
)
from .nerv import NeRV, NeRVConfig
from .neurons import Neuron, Numbers, neuron_numbers
from .parts import Recipe, coordinates
from .protocol import (
    Family,
    TracedModel,
    family_name,
    frame_of,
    n_frames_of,
    new_encoder,
    packed,
    position,
    readers,
    recipes_of,
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
    "Neuron",
    "Numbers",
    "Recipe",
    "SIREN",
    "SIRENConfig",
    "Sine",
    "TracedModel",
    "author_readers",
    "chain",
    "check_chain",
    "check_layer_names",
    "check_registered",
    "column_layer",
    "coordinates",
    "family",
    "frame_of",
    "identity",
    "layers_without",
    "n_frames_of",
    "neuron_numbers",
    "new_encoder",
    "packed",
    "position",
    "recipe",
    "render",
    "run",
    "unpacked",
    "usual_recipe",
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


def recipe(name: str, which: str | None = None) -> Recipe:
    """How the family of this name is fitted.

    Parameters
    ----------
    name : str
        Of the family.
    which : str, optional
        Of the recipe: "fast" or "paper" for the families that come with the package. By default
        the one that the family names first.

    Raises
    ------
    ValueError
        Naming the recipes, where the family has none of this name.
    """
    recipes = recipes_of(family(name))
    if which is None:
        which = usual_recipe(name)
    if which not in recipes:
        raise ValueError(f"{name} has no recipe {which!r}; it has {', '.join(recipes)}")
    return recipes[which]


def usual_recipe(name: str, wanted: str | None = None) -> str:
    """The name of the recipe by which a family is fitted unless another is asked for.

    wanted : the one that several families are to have, if this one has it.
    """
    recipes = recipes_of(family(name))
    return wanted if wanted in recipes else next(iter(recipes))


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


@exactly
def render(
    model: TracedModel,
    frame: int = 0,
    clamp: bool = True,
    without: Mapping[str, Numbers] | None = None,
) -> Tensor:
    """The network's picture of one frame.

    Parameters
    ----------
    model : TracedModel
        Any family, or a chain of your own.
    frame : int
        Frame index, 0..T−1; image networks ignore it.
    clamp : bool
        Whether values are clamped to [0, 1].
    without : mapping of layer's name to numbers of neurons, optional
        Neurons whose weights are zero in this picture; biases stay, and so does the model. What
        the picture loses, unclamped, is the neuron's map under rule ``ablation``.

    Returns
    -------
    Tensor, (3, H, W)
        Red, green and blue, 0 to 1 the full range; in the model's dtype and on its device. Autocast
        and inference mode around the call change nothing.

    Raises
    ------
    TypeError
        For what is no model, or no whole number.
    IndexError
        For a frame outside of the model's video, or a neuron that does not exist.
    KeyError
        For a layer that does not exist.

    Examples
    --------
    >>> xc.render(model, frame=3, without={"block3": [1701]})
    """
    check_is_model(model)
    device = next(model.parameters()).device
    t = position(model, frame).to(device)
    if without:
        layers = layers_without(model.layers(), without)
        image = run(layers, model.stem(model.encode(t)))[0]
    else:
        image = model(t)[0]
    return image.clamp(0, 1) if clamp else image
