"""How many bits each tensor gets, and the network that results.

A plan is a dict: name of a tensor → bits, 2 to 12 for steps, 16 or 32 for floats.
"""

from __future__ import annotations

import copy
from dataclasses import asdict

from torch import Tensor, nn

from xinc_core.models import check_registered, packed, unpacked
from xinc_core.storage.compressed import LOSSY, pack, rounded
from xinc_core.tracing import LayerMaps, trace

from .importance import weights_of_neurons

BIAS_BITS, FIXED_BITS = 16, 32
DEAD = 1e-12  # a neuron whose squared norm is below this share of the mean has no weights to spoil


def equal_bits(model: nn.Module, bits: int) -> dict[str, int]:
    """The same bits for every weight tensor; biases keep 16, fixed frequencies 32."""
    fixed = dict(model.named_buffers())
    plan = {}
    for name, values in packed(model).items():
        if name in fixed:
            plan[name] = FIXED_BITS
        elif values.ndim < 2:
            plan[name] = BIAS_BITS
        else:
            plan[name] = bits
    return plan


def guided_bits(
    model: nn.Module,
    bits: int,
    rule: str = "first_order",
    frame: int = 0,
    error: dict[str, float] | None = None,
) -> dict[str, int]:
    """Bits by contribution, at most as many in all as ``equal_bits``.

    A step Δ gives each weight of neuron n an error of variance Δ²/12. Its map answers to its
    weights as a whole, so the picture's squared error grows by about S_n·m·Δ²/(12‖W_n‖²), with S_n
    = Σ_p C_n², m its number of weights. What comes before the first layer is charged with the maps
    of the first layer's neurons in the same way, through their inputs. Bits go one by one to where
    they lower the error most per bit spent.

    Parameters
    ----------
    model : nn.Module
    bits : int
        For each weight, on average; 2 to 12.
    rule : str
        Whose maps are summed.
    frame : int
    error : dict, optional
        What :func:`sensitivities` gave, if it is computed already.
    """
    tensors, plan = packed(model), equal_bits(model, bits)
    error = error or sensitivities(model, rule, frame)
    lossy = {}
    for name, tensor_bits in plan.items():
        if tensor_bits == bits and name in error:
            lossy[name] = tensors[name]
    n_values = sum(values.numel() for values in lossy.values())
    budget = n_values * (bits - LOSSY[0])  # bits left to give when each tensor has the fewest
    plan |= {name: LOSSY[0] for name in lossy}
    while True:
        gains = _gains(lossy, plan, error, budget)
        if not gains:
            return plan
        best = max(gains, key=gains.get)
        plan[best] += 1
        budget -= lossy[best].numel()


def _gains(
    tensors: dict[str, Tensor], plan: dict[str, int], error: dict[str, float], budget: int
) -> dict[str, float]:
    """By how much one more bit lowers the picture's squared error, per bit spent.

    Only of the tensors that can have one more within the budget.
    """
    gains = {}
    for name, values in tensors.items():
        if values.numel() > budget or plan[name] >= LOSSY[-1]:
            continue
        now = error[name] * _step(values, plan[name]) ** 2
        then = error[name] * _step(values, plan[name] + 1) ** 2
        gains[name] = (now - then) / values.numel()
    return gains


def _step(values: Tensor, bits: int) -> float:
    """The size of a quantisation step at so many bits."""
    return float(values.abs().max() / (2 ** (bits - 1) - 1))


def sensitivities(
    model: nn.Module, rule: str = "first_order", frame: int = 0, channels: int = 64
) -> dict[str, float]:
    """Squared error of the picture per squared step: tensor → Σ_n S_n·m/(12‖W_n‖²).

    See :func:`guided_bits` for the symbols.

    Parameters
    ----------
    model : nn.Module
    rule : str
        Whose maps are summed.
    frame : int
    channels : int
        The sum is estimated from a seeded sample of so many output channels of each layer.
    """
    name_of = {values.data_ptr(): name for name, values in model.state_dict().items()}
    fixed = dict(model.named_buffers())
    # weight tensors whose layer was not met yet; what is left comes before the first layer
    remaining = []
    for name, values in packed(model).items():
        if values.ndim > 1 and name not in fixed:
            remaining.append(name)
    error: dict[str, float] = {}
    before_first = 0.0
    for number, maps in enumerate(trace(model, frame, rule)):
        sample = maps.sample(channels)
        squares = sample.squares().cpu()  # S_n, (k,)
        scale = len(maps) / len(sample)  # from the sample to all neurons
        name = name_of[maps.traced.layer.weight.data_ptr()]
        if name in remaining:  # a layer that is fixed has no bits to spend
            error[name] = _through_weights(sample, squares, scale)
            remaining.remove(name)
        if number == 0:
            before_first = _through_inputs(sample, squares, scale)
    return error | {name: before_first for name in remaining}


def _through_weights(sample: LayerMaps, squares: Tensor, scale: float) -> float:
    """A layer's squared error per squared step of its own weights."""
    weights = weights_of_neurons(sample.traced.layer)[sample.neurons].double()  # (k, m)
    norm = weights.square().sum(1)  # ‖W_n‖², (k,)
    alive = norm > DEAD * norm.mean()
    return scale * float((squares / norm)[alive].sum()) * weights.shape[1] / 12


def _through_inputs(sample: LayerMaps, squares: Tensor, scale: float) -> float:
    """The first layer's squared error per squared step of what comes before it."""
    layer = sample.traced.layer
    x = sample.traced.x.flatten(1).double()  # (c_in, pixels)
    channel = sample.neurons
    if layer.neurons != "columns":
        channel = sample.neurons // layer.c_out  # neuron = i * c_out + o
    norm = x.square().sum(1)[channel]  # (k,)
    return scale * float((squares / norm)[norm > 0].sum()) * x.shape[1] / 12


def quantised(model: nn.Module, plan: dict[str, int]) -> nn.Module:
    """A copy of the network as it will be once stored with these bits for each tensor."""
    tensors = {}
    for name, values in packed(model).items():
        tensors[name] = rounded(values.contiguous(), plan[name])
    other = copy.deepcopy(model)
    other.load_state_dict(unpacked(type(model), model.config, tensors))
    return other


def encoded(model: nn.Module, plan: dict[str, int], **facts) -> bytes:
    """The file of ``quantised(model, plan)``, as bytes: weights, steps, counts, configuration.

    facts : what else the header should say.
    """
    check_registered(model)
    header = dict(family=model.family, config=asdict(model.config)) | facts
    if not model.for_video:
        header["frame"] = model.frame
    tensors = {name: values.contiguous() for name, values in packed(model).items()}
    return pack(tensors, plan, header)
