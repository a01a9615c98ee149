"""Compression: which neurons can go, how many bits each tensor needs, and the file that comes of
it.

``compress`` prunes, quantises and writes; ``load_model`` reads the file. What is measured with it
is in ``findings/pruning`` and ``findings/bits``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from xinc_core.clips.clip import Clip
from xinc_core.fitting.quality import evaluate, psnr
from xinc_core.fitting.training import refine
from xinc_core.models import Layer, check_registered, render, run
from xinc_core.storage.compressed import LOSSY, pack, rounded, write
from xinc_core.storage.plain import packed, unpacked
from xinc_core.tracing.canvas import trace
from xinc_core.tracing.maps import LayerMaps

from .sampling import frames_to_score

ORDERS = ("first_order", "paper", "weight norm", "activation norm", "random")


def scores(model: nn.Module, order: str, frames: Sequence[int], seed: int = 0) -> dict[str, Tensor]:
    """How much each neuron matters, layer → (n_neurons,), by one of the ``ORDERS``.

    The rules give totals Σ|C| summed over ``frames``; "weight norm" is the norm of a neuron's
    weights, "activation norm" that of its input over frames and pixels, "random" a number drawn
    from ``seed``.
    """
    if order not in ORDERS:
        raise ValueError(f"no order {order!r}; there are {', '.join(ORDERS)}")
    found: dict[str, Tensor] = {}
    random = torch.Generator().manual_seed(seed)
    for frame in frames if order in ("first_order", "paper", "activation norm") else frames[:1]:
        canvas = trace(model, frame, order if order in ("first_order", "paper") else "paper")
        for maps in canvas:
            found[maps.name] = found.get(maps.name, 0) + score(maps, order, random)
    return found


def score(maps: LayerMaps, order: str, random: torch.Generator) -> Tensor:
    """The scores of one layer on one frame, (n_neurons,); for the orders that are rules, by the
    maps' own rule.
    """
    layer = maps.traced.layer
    if order == "weight norm":
        return weights_of_neurons(layer).square().sum(1).sqrt()
    if order == "activation norm":
        loud = maps.traced.x.flatten(1).square().sum(1)
        return loud if layer.neurons == "columns" else loud.repeat_interleave(layer.c_out)
    return torch.rand(len(maps), generator=random) if order == "random" else maps.totals().cpu()


def weights_of_neurons(layer) -> Tensor:
    """(n_neurons, weights of one): rows in the order of the neurons."""
    by_input = layer.weight.detach().transpose(0, 1)
    return by_input.flatten(1) if layer.neurons == "columns" else by_input.flatten(0, 1).flatten(1)


def pruned(model: nn.Module, gone: dict[str, Tensor]) -> nn.Module:
    """A copy of the network with the weights of these neurons, layer → numbers, set to zero."""
    other = copy.deepcopy(model)
    for layer in other.layers():
        if layer.name in gone:
            layer.silence_(gone[layer.name])
    return other


def deletion(
    layers: Sequence[Layer],
    x: Tensor,
    order: Tensor,
    targets: Tensor,
    shares: Sequence[float],
    whole: Tensor,
) -> Tensor:
    """PSNR in dB with the first so many neurons of an order set to zero: (len(shares) + 1,), none
    removed first.

    layers : the layer and those after it; x : (B, c_in, h, w), its input on B frames; targets : (B,
    3, H, W); whole : what all neurons paint, (B, 3, H, W), as the trace has it.
    """
    first, *later = layers
    found = [psnr(whole.clamp(0, 1), targets.to(whole))]
    for share in shares:
        left = first.without(order[: round(share * len(order))])
        found.append(psnr(run([left, *later], x).clamp(0, 1), targets.to(x)))
    return torch.stack(found).cpu()


def least(found: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """The share of all neurons of all layers together that scores lowest: layer → numbers."""
    values = torch.cat([v.double() for v in found.values()])
    order = torch.zeros(len(values), dtype=torch.bool)
    order[values.argsort(stable=True)[: round(share * len(values))]] = True
    return {
        name: part.nonzero()[:, 0]
        for name, part in zip(found, order.split([len(v) for v in found.values()]))
    }


def equal_bits(model: nn.Module, bits: int) -> dict[str, int]:
    """The same bits for every weight tensor; biases keep 16, fixed frequencies 32."""
    fixed = dict(model.named_buffers())
    return {n: 32 if n in fixed else 16 if v.ndim < 2 else bits for n, v in packed(model).items()}


def guided_bits(
    model: nn.Module,
    bits: int,
    rule: str = "first_order",
    frame: int = 0,
    error: dict | None = None,
) -> dict[str, int]:
    """Bits by contribution, at most as many in all as ``equal_bits``.

    A step Δ gives each weight of neuron n an error of variance Δ²/12. Its map answers to its
    weights as a whole, so the picture's squared error grows by about S_n·m·Δ²/(12‖W_n‖²), with S_n
    = Σ_p C_n², m its number of weights. What comes before the first layer is charged with the maps
    of the first layer's neurons in the same way, through their inputs. Bits go one by one to where
    they lower the error most per bit spent. ``error`` is what :func:`sensitivities` found, if it is
    known already.
    """
    tensors, plan = packed(model), equal_bits(model, bits)
    error = error or sensitivities(model, rule, frame)
    lossy = {n: tensors[n] for n, b in plan.items() if b == bits and n in error}
    budget = sum(v.numel() for v in lossy.values()) * bits
    plan |= {n: LOSSY[0] for n in lossy}
    budget -= sum(v.numel() for v in lossy.values()) * LOSSY[0]

    def noise(name: str, b: int) -> float:
        return error[name] * float(lossy[name].abs().max() / (2 ** (b - 1) - 1)) ** 2

    while True:
        gains = {
            n: (noise(n, plan[n]) - noise(n, plan[n] + 1)) / v.numel()
            for n, v in lossy.items()
            if v.numel() <= budget and plan[n] < LOSSY[-1]
        }
        if not gains:
            return plan
        best = max(gains, key=gains.get)
        plan[best] += 1
        budget -= lossy[best].numel()


def sensitivities(
    model: nn.Module, rule: str = "first_order", frame: int = 0, channels: int = 64
) -> dict[str, float]:
    """Squared error of the picture per squared step: tensor → Σ_n S_n·m/(12‖W_n‖²), over a
    seeded sample of output channels.
    """
    where = {v.data_ptr(): n for n, v in model.state_dict().items()}
    before = [
        n for n, v in packed(model).items() if v.ndim > 1 and n not in dict(model.named_buffers())
    ]
    found: dict[str, float] = {}
    for number, maps in enumerate(trace(model, frame, rule)):
        layer, few = maps.traced.layer, maps.sample(channels)
        squares, scale = few.squares().cpu(), len(maps) / len(few)
        weights = weights_of_neurons(layer)[few.neurons].double()
        norm = weights.square().sum(1)
        alive = norm > 1e-12 * norm.mean()
        name = where[layer.weight.data_ptr()]
        if name in before:  # a layer that is fixed has no bits to spend
            found[name] = scale * float((squares / norm)[alive].sum()) * weights.shape[1] / 12
            before.remove(name)
        if number == 0:
            x = maps.traced.x.flatten(1).double()
            i = few.neurons if layer.neurons == "columns" else few.neurons // layer.c_out
            loud = x.square().sum(1)[i]
            first = scale * float((squares / loud)[loud > 0].sum()) * x.shape[1] / 12
    return found | {n: first for n in before}


def quantised(model: nn.Module, plan: dict[str, int]) -> nn.Module:
    """The network as it will be once stored with these bits per tensor."""
    tensors = {n: rounded(v.contiguous(), plan[n]) for n, v in packed(model).items()}
    other = copy.deepcopy(model)
    other.load_state_dict(unpacked(type(model), model.config, tensors))
    return other


def encoded(model: nn.Module, plan: dict[str, int], **facts) -> bytes:
    """The file of ``quantised(model, plan)``, as bytes: weights, steps, counts, configuration."""
    check_registered(model)
    about = dict(family=model.family, config=asdict(model.config)) | facts
    if not model.for_video:
        about["frame"] = model.frame
    return pack({n: v.contiguous() for n, v in packed(model).items()}, plan, about)


def compress(
    model: nn.Module,
    path: str | Path,
    clip: Clip | None = None,
    bits: int = 8,
    guided: bool = False,
    prune: float = 0.0,
    tune: int = 0,
    progress: bool = True,
    **facts,
) -> dict:
    """Write a network as a small file, ``.xinc``, that ``load_model`` reads.

    Parameters
    ----------
    clip : Clip, optional
        What it paints: the stated PSNR is measured on it. Without one, PSNR is that against the
        network's own pictures.
    bits : int
        2 to 12 per weight; ``guided`` spends as many in all, but where contributions say that they
        matter.
    prune : float
        Share of all neurons, 0 to under 1, that are set to zero: those of the smallest first-order
        totals on four frames.
    tune : int
        Epochs of training after pruning; takes a clip. facts : what else the header should say.

    Returns
    -------
    dict
        The header's facts: psnr (dB), bytes, bits_per_pixel, …

    Raises
    ------
    ValueError
        For options out of range, and where ``tune`` has no clip.
    """
    if bits not in LOSSY or not 0 <= prune < 1 or tune < 0:
        raise ValueError(
            f"bits are {LOSSY[0]} to {LOSSY[-1]}, prune a share from 0 to under 1, tune a number of epochs"
        )
    if tune and clip is None:
        raise ValueError("tuning takes the clip that the network paints")
    n = model.config.n_frames if model.for_video else 1
    original = model
    if prune:
        model = pruned(model, least(scores(model, "first_order", frames_to_score(model)), prune))
    if tune:
        model = refine(model, clip, tune, progress=progress)
    plan = guided_bits(model, bits) if guided else equal_bits(model, bits)
    small = quantised(model, plan)
    if clip is None:
        told = dict(psnr_to_original=round(_likeness(small, original, n), 3))
    else:
        told = dict(
            clip=clip.name, clip_checksum=clip.checksum, psnr=round(evaluate(small, clip), 3)
        )
    told |= facts | dict(bits=bits, guided=guided, pruned=prune)
    data = encoded(model, plan, **told)
    write(path, data)
    return told | dict(
        bytes=len(data), bits_per_pixel=round(8 * len(data) / (n * prod(model.config.size)), 4)
    )


def _likeness(a: nn.Module, b: nn.Module, n_frames: int) -> float:
    return sum(psnr(render(a, f), render(b, f)).item() for f in range(n_frames)) / n_frames
