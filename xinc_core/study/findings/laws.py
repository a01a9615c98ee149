"""The laws that make a map more than a picture: terms that add up to the layer, maps that add up
to the image.
"""

from __future__ import annotations

import torch

from xinc_core.models import run
from xinc_core.tracing.canvas import Canvas


@torch.no_grad()
def completeness(canvas: Canvas, name: str) -> float:
    """How far a layer's terms are from adding up to its own pre-activation output, relative to its
    largest value.

    Kernels (i, ·) are summed over i for every output channel; columns over all, against Σ_k z_k.
    METHOD section 2.
    """
    traced = canvas[name].traced
    layer, z = traced.layer, traced.layer.linear(traced.inputs[0])[0]
    bias = 0 if layer.bias is None else layer.bias / layer.c_in
    if layer.neurons == "columns":
        terms = traced.x * layer.weight.sum(0) + (0 if layer.bias is None else bias.sum())
        return _distance(terms.sum(0), z.sum(0))
    total = torch.zeros_like(z)
    for i in range(layer.c_in):
        neurons = torch.arange(i * layer.c_out, (i + 1) * layer.c_out)
        total += traced.shares(neurons, ((0, z.shape[-2]), (0, z.shape[-1])))
        total += 0 if layer.bias is None else bias[:, None, None]
    return _distance(total, z)


@torch.no_grad()
def additivity(canvas: Canvas, name: str) -> float:
    """How far a layer's first-order maps are from adding up to J applied to its weight part,
    relative to the largest value.

    J is applied by forward-mode differentiation, independently of how the maps are made. METHOD
    section 9.
    """
    layer, traced = canvas[name], canvas[name].traced
    z = traced.layer.linear(traced.inputs[0])
    weights_only = z if traced.layer.bias is None else z - traced.layer.bias[:, None, None]
    first, *later = traced.layers

    def picture(z):
        return run(later, first.activation(first.shuffle(z)))[0]

    want = torch.func.jvp(picture, (z,), (weights_only,))[1]
    return _distance(layer.color_sum(), want)


def _distance(got: torch.Tensor, want: torch.Tensor) -> float:
    return (
        (got - want).abs().max() / want.abs().max().clamp_min(1e-30)
    ).item()  # nothing adds up to nothing


def law_row(law: str, family: str, layer: str, clip: str, seed: int, error: float) -> dict:
    """A law's row of the findings table: it holds when the error is below 1e-5 of the largest
    value.
    """
    holds = error < 1e-5
    return dict(
        finding="decomposition",
        family=family,
        layer=layer,
        rule="paper" if law == "completeness" else "first_order",
        clip=clip,
        seed=seed,
        statistic=f"{law}_error_below",
        value="1e-05",
        n_units=1,
        holds=holds,
        verdict="reproduced" if holds else "not reproduced",
    )
