"""The laws that make a map more than a picture: terms that add up to the layer, maps that add up to
the image.
"""

from __future__ import annotations

import torch

from xinc_core.models import run
from xinc_core.tracing import Canvas

from .base import Finding
from .claims import Claim

LARGEST_ERROR = 1e-5  # of the largest value, up to which a law holds


@torch.no_grad()
def completeness(canvas: Canvas, name: str) -> float:
    """How far a layer's terms are from adding up to its own pre-activation output, relative to its
    largest value. METHOD 2.

    Kernels (i, ·) are summed over i for every output channel; columns over all, against Σ_k z_k.
    """
    traced = canvas[name].traced
    layer = traced.layer
    z = layer.linear(traced.inputs[0])[0]  # (c_out, h, w)
    if layer.neurons == "columns":
        terms = traced.x * layer.weight.sum(0)  # (c_in, h, w)
        if layer.bias is not None:
            terms = terms + layer.bias.sum() / layer.c_in
        return _distance(terms.sum(0), z.sum(0))
    total = torch.zeros_like(z)
    grid = ((0, z.shape[-2]), (0, z.shape[-1]))
    for i in range(layer.c_in):
        neurons = torch.arange(i * layer.c_out, (i + 1) * layer.c_out)  # (i, ·)
        total += traced.shares(neurons, grid)
        if layer.bias is not None:
            total += (layer.bias / layer.c_in)[:, None, None]
    return _distance(total, z)


@torch.no_grad()
def additivity(canvas: Canvas, name: str) -> float:
    """How far a layer's first-order maps are from adding up to J applied to its weight part,
    relative to the largest value. METHOD 3.

    J is applied by forward-mode differentiation, independently of how the maps are made.
    """
    layer = canvas[name]
    first, *later = layer.traced.layers
    z = first.linear(layer.traced.inputs[0])  # (1, c_out, h, w)
    weight_part = z if first.bias is None else z - first.bias[:, None, None]

    def picture(z):
        return run(later, first.activation(first.shuffle(z)))[0]

    wanted = torch.func.jvp(picture, (z,), (weight_part,))[1]  # (3, H, W)
    return _distance(layer.color_sum(), wanted)


def _distance(got: torch.Tensor, wanted: torch.Tensor) -> float:
    largest = wanted.abs().max().clamp_min(1e-30)  # nothing adds up to nothing
    return ((got - wanted).abs().max() / largest).item()


def law_row(law: str, family: str, layer: str, clip: str, seed: int, error: float) -> dict:
    """A law's row of the findings table: it holds when the error is below ``LARGEST_ERROR``."""
    holds = error < LARGEST_ERROR
    return dict(
        finding="decomposition",
        family=family,
        layer=layer,
        rule="paper" if law == "completeness" else "first_order",
        clip=clip,
        seed=seed,
        statistic=f"{law}_error_below",
        value=LARGEST_ERROR,
        n_units=1,
        holds=holds,
        verdict="reproduced" if holds else "not reproduced",
    )


FINDING = Finding(
    name="laws",
    version=1,
    question="Do the maps add up?",
    section="3",
    notebook="02",
    claims=(Claim("decomposition", "the maps are a decomposition of what a layer computes"),),
    statistics={
        "completeness_error_below": "how far a layer's terms are from adding up, at most",
        "additivity_error_below": "how far first-order maps are from adding up, at most",
    },
)
