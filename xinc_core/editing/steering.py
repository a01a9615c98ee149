"""Networks whose neurons are turned up, down or off."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xinc_core.models import Layer, check_layer_names, neuron_numbers
from xinc_core.util.checks import brief, check_is_model
from xinc_core.util.exact import exactly

Gains = Mapping[int, float] | Tensor  # of one layer


@exactly
def scale_neurons(model: nn.Module, gains: Mapping[str, Gains]) -> nn.Module:
    """A copy of the network with the weights of some neurons multiplied by gains; biases stay.

    Parameters
    ----------
    model : nn.Module
        Any family, or a chain of your own; it stays as it is.
    gains : mapping of layer's name to gains
        Of a layer, a mapping neuron → gain (numbers count from the end where they are negative), or
        the gains of all its neurons, a tensor (n_neurons,). 1 leaves a neuron as it is, 0 switches
        it off: what the picture loses then is the neuron's map under rule ``ablation``.

    Returns
    -------
    nn.Module
        Of the same family, in the model's dtype and on its device; it can be traced and saved.

    Raises
    ------
    KeyError, IndexError
        For a layer or a neuron that does not exist.
    TypeError, ValueError
        For gains that are no finite numbers, too few or too many, or of weights that the family
        holds fixed.

    Examples
    --------
    >>> quieter = xc.scale_neurons(model, {"block3": {175: 0.5, 1701: 0.0}})
    """
    check_is_model(model)
    check_layer_names(gains, model.layers())
    scaled = copy.deepcopy(model)
    for layer, again in zip(scaled.layers(), scaled.layers()):
        if layer.name in gains:
            layer.scale_(_all_gains(layer, gains[layer.name]))
            _check_kept(layer, again)
    return scaled


def _all_gains(layer: Layer, gains: Gains) -> Tensor:
    """The gain of each of a layer's neurons, (n_neurons,), float64 on the CPU."""
    if isinstance(gains, Mapping):
        return _from_mapping(layer, gains)
    if not isinstance(gains, Tensor) or gains.dtype == torch.bool or gains.is_complex():
        raise TypeError(
            f"gains of {layer.name} are a dict neuron → gain or a tensor (n_neurons,), "
            f"not {brief(gains)}"
        )
    if tuple(gains.shape) != (layer.n_neurons,):
        raise ValueError(
            f"{layer.name} has {layer.n_neurons:,} neurons, the gains are {tuple(gains.shape)}; "
            "a few of them are a dict neuron → gain"
        )
    if not gains.isfinite().all():
        raise ValueError(f"gains of {layer.name} are finite, and some of these are not")
    return gains.detach().double().cpu()


def _from_mapping(layer: Layer, gains: Mapping[int, float]) -> Tensor:
    """The same from a mapping; neurons that it leaves out have gain 1."""
    numbers = neuron_numbers(list(gains), layer.n_neurons, layer.name)
    if len(numbers.unique()) < len(numbers):
        raise ValueError(f"a neuron of {layer.name} is given two gains, counted from both ends")
    values = torch.ones(layer.n_neurons, dtype=torch.float64)
    for number, gain in zip(numbers.tolist(), gains.values()):
        values[number] = _finite(gain, f"the gain of neuron {number} of {layer.name}")
    return values


def _finite(value: float, what: str) -> float:
    """A finite number as Python's own."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{what} is a finite number, not {brief(value)}")
    return number


def _check_kept(scaled: Layer, again: Layer) -> None:
    """Refuse weights that a family makes anew whenever it is asked: their gains would be lost."""
    if not torch.equal(scaled.weight, again.weight):
        raise ValueError(
            f"the weights of {scaled.name} are no parameters of the network; "
            "their gains would be lost"
        )
