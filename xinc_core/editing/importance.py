"""How much each neuron matters: by a rule's totals, by its weights, by its input, or by chance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xinc_core.models import Layer
from xinc_core.tracing import LayerMaps, trace

RULES = ("first_order", "paper")
ORDERS = (*RULES, "weight norm", "activation norm", "random")
OVER_FRAMES = (*RULES, "activation norm")  # the others are the same on every frame


def scores(model: nn.Module, order: str, frames: Sequence[int], seed: int = 0) -> dict[str, Tensor]:
    """How much each neuron matters, layer → (n_neurons,), by one of the ``ORDERS``.

    Parameters
    ----------
    model : nn.Module
    order : str
        The rules give totals Σ|C| summed over ``frames``; "weight norm" is the norm of a neuron's
        weights, "activation norm" that of its input over frames and pixels, "random" a number drawn
        from ``seed``.
    frames : sequence of int
    seed : int

    Raises
    ------
    ValueError
        For an order that does not exist.
    """
    if order not in ORDERS:
        raise ValueError(f"no order {order!r}; there are {', '.join(ORDERS)}")
    if order not in OVER_FRAMES:
        frames = frames[:1]
    rule = order if order in RULES else "paper"
    random = torch.Generator().manual_seed(seed)
    by_layer: dict[str, Tensor] = {}
    for frame in frames:
        for maps in trace(model, frame, rule):
            of_frame = score(maps, order, random)
            by_layer[maps.name] = by_layer.get(maps.name, 0) + of_frame
    return by_layer


def score(maps: LayerMaps, order: str, random: torch.Generator) -> Tensor:
    """The scores of one layer on one frame, (n_neurons,).

    Parameters
    ----------
    maps : LayerMaps
        For the orders that are rules, of that rule.
    order : str
        One of ``ORDERS``.
    random : torch.Generator
        Where "random" draws from.
    """
    layer = maps.traced.layer
    if order == "weight norm":
        return weights_of_neurons(layer).square().sum(1).sqrt()
    if order == "activation norm":
        squares = maps.traced.x.flatten(1).square().sum(1)  # (c_in,)
        if layer.neurons == "columns":  # neuron = i
            return squares
        return squares.repeat_interleave(layer.c_out)  # neuron = i * c_out + o
    if order == "random":
        return torch.rand(len(maps), generator=random)
    return maps.totals().cpu()


def weights_of_neurons(layer: Layer) -> Tensor:
    """A layer's weights, (n_neurons, weights of one neuron), rows in the order of the neurons."""
    by_input = layer.weight.detach().transpose(0, 1)  # (c_in, c_out, k, k)
    if layer.neurons == "columns":
        return by_input.flatten(1)  # neuron = i
    return by_input.flatten(0, 1).flatten(1)  # neuron = i * c_out + o
