"""Networks without some of their neurons."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xinc_core.fitting import psnr
from xinc_core.models import Layer, check_layer_names, run


def pruned(model: nn.Module, neurons: dict[str, Tensor]) -> nn.Module:
    """A copy of the network with the weights of these neurons set to zero.

    neurons : layer → numbers of neurons.

    Raises
    ------
    KeyError, IndexError, TypeError, ValueError
        For layers and neurons that do not exist.
    """
    check_layer_names(neurons, model.layers())
    other = copy.deepcopy(model)
    for layer in other.layers():
        if layer.name in neurons:
            layer.silence_(neurons[layer.name])
    return other


def least(scores: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """The share of all neurons of all layers together that scores lowest.

    Parameters
    ----------
    scores : dict of layer to Tensor, (n_neurons,)
    share : float
        0 to 1.

    Returns
    -------
    dict of layer to Tensor
        Numbers of neurons, rising.
    """
    values = torch.cat([of_layer.double() for of_layer in scores.values()])
    lowest = values.argsort(stable=True)[: round(share * len(values))]
    is_low = torch.zeros(len(values), dtype=torch.bool)
    is_low[lowest] = True
    parts = is_low.split([len(of_layer) for of_layer in scores.values()])
    return {name: part.nonzero()[:, 0] for name, part in zip(scores, parts)}


def deletion(
    layers: Sequence[Layer],
    x: Tensor,
    order: Tensor,
    targets: Tensor,
    shares: Sequence[float],
    whole: Tensor,
) -> Tensor:
    """PSNR in dB with the first so many neurons of an order set to zero.

    Parameters
    ----------
    layers : sequence of Layer
        The layer that loses neurons, and those after it.
    x : Tensor, (B, c_in, h, w)
        Its input on B frames.
    order : Tensor, (n_neurons,)
        Neurons in the order in which they go.
    targets : Tensor, (B, 3, H, W)
        What is to be painted.
    shares : sequence of float
        How many are gone, as shares of all.
    whole : Tensor, (B, 3, H, W)
        What all neurons paint, as the trace has it.

    Returns
    -------
    Tensor, (len(shares) + 1,)
        With none removed first.
    """
    first, *later = layers
    curve = [psnr(whole.clamp(0, 1), targets.to(whole))]
    for share in shares:
        gone = order[: round(share * len(order))]
        image = run([first.without(gone), *later], x).clamp(0, 1)
        curve.append(psnr(image, targets.to(x)))
    return torch.stack(curve).cpu()
