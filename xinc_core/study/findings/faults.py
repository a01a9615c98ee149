"""Can the maps find what is broken? Planted faults, and where the error of a sound network lies.

A fault changes one neuron's weights: sign flipped, times four, or one exponent bit of one weight
flipped in half precision. From the faulty network and the clean frame alone every neuron of the
layer is scored; the rank of the true one counts. Where pixels know nothing of each other, behind
columns, a seeded sample of them is looked at.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from xinc_core.editing.compression import weights_of_neurons
from xinc_core.editing.sampling import sample_layer
from xinc_core.models import Layer
from xinc_core.study.statistics.ranks import rank_correlation
from xinc_core.study.statistics.scene import Scene, at_some_pixels
from xinc_core.tracing.canvas import trace
from xinc_core.tracing.maps import LayerMaps
from xinc_core.tracing.rules import RULE_ORDER

from .browsing import BrowserSpec, Control, Opened, Picture, Slider, sheet
from .claims import Claim, Condition
from .distributed import effective_shares

NAME, VERSION, OFFSETS, FRAMES = "faults", 2, (0,), (3,)
CLAIMS = (
    Claim(
        "faults_found",
        (Condition("fault_top10", 0.5), Condition("fault_top10", "norm_fault_top10")),
        ("fault_top1", "visible_fault_top10", "chance_fault_top10", "faults_visible"),
    ),
    Claim(
        "errors_under_strong_maps",
        (Condition("rank_error_heatmap", 0.1),),
        ("rank_error_effective",),
    ),
)
CASES: dict = {"faults_found": {}, "errors_under_strong_maps": {}}
KINDS = ("sign", "times four", "bit")
FAULTS, FEW = 67, 7  # per network: in columns and the last layer, in each inner layer of kernels
DAMAGED = 0.1  # the share of pixels that differ most from the clean frame


def of_network(
    model: nn.Module, scene: Scene, rule: str, seed: int, frame: int
) -> dict[str, dict[str, float]]:
    """Per layer: shares of faults whose neuron comes first, or among the first ten, by the rule's
    maps; among the first ten by weight norm and by chance; how many damage the picture visibly (by
    0.1 dB). And rank correlations of the error."""
    return _by_rule(model, scene, seed, frame)[rule]


@lru_cache(maxsize=1)
def _by_rule(
    model: nn.Module, scene: Scene, seed: int, frame: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Rule → what it says; the rules are tried on the same faults, which cost most."""
    canvas, found = trace(model, frame), {rule: {} for rule in RULE_ORDER}
    clean = scene.clip.frames[canvas.frame]
    error = (canvas.image.clamp(0, 1) - clean).abs().sum(0)
    seen, shown = at_some_pixels(canvas, clean)
    for number, name in enumerate(canvas.layers):
        told = _faults(shown, seen, sample_layer(seen[name]), seed * 10 + number)
        for rule in RULE_ORDER:
            maps = sample_layer(canvas.with_rule(rule)[name])
            heat, effective = maps.heatmap(), effective_shares(maps)[0]
            told[rule] |= dict(rank_error_heatmap=rank_correlation(heat, error))
            told[rule] |= dict(
                rank_error_effective=rank_correlation(effective.nan_to_num(0), error)
            )
            found[rule][name] = told[rule]
    return found


def _faults(clean: Tensor, canvas, maps: LayerMaps, seed: int) -> dict[str, dict[str, float]]:
    random = torch.Generator().manual_seed(seed)
    kernels = maps.traced.layer.neurons == "kernels" and not maps.traced.is_last
    places, norms, visible = {rule: [] for rule in RULE_ORDER}, [], []
    before = (canvas.image.clamp(0, 1) - clean).square().mean()
    for number in range(FEW if kernels else FAULTS):
        true = int(torch.randint(len(maps), (1,), generator=random))
        now = canvas.with_layer(
            broken(maps.traced.layer, int(maps.neurons[true]), KINDS[number % 3], random)
        )
        for rule in RULE_ORDER:
            among = now.with_rule(rule)[maps.name].only(maps.neurons)
            places[rule].append(place(suspicion(among, now.image, clean), true))
        norms.append(place(weights_of_neurons(among.traced.layer)[maps.neurons].norm(dim=1), true))
        visible.append(float((now.image.clamp(0, 1) - clean).square().mean() / before) > 10**0.01)
    norms, seen = np.array(norms), np.array(visible)
    told = {}
    for rule, found in zip(places, map(np.array, places.values())):
        shares = dict(
            fault_top1=found < 1,
            fault_top10=found < 10,
            norm_fault_top10=norms < 10,
            faults_visible=seen,
        )
        shares |= dict(visible_fault_top10=found[seen] < 10) if seen.any() else {}
        told[rule] = {k: float(np.mean(v)) for k, v in shares.items()} | dict(
            chance_fault_top10=min(1.0, 10 / len(maps))
        )
    return told


def broken(layer: Layer, neuron: int, kind: str, random: torch.Generator) -> Layer:
    """A copy of the layer with one neuron's weights changed; kind : one of ``KINDS``."""
    weight = layer.weight.detach().clone()
    at = (
        (slice(None), neuron)
        if layer.neurons == "columns"
        else (neuron % layer.c_out, neuron // layer.c_out)
    )
    if kind == "bit":
        values = weight[at].clone().flatten()
        which = int(torch.randint(len(values), (1,), generator=random))
        bit = 1 << int(
            torch.randint(10, 14, (1,), generator=random)
        )  # not the top one, whose flip is no longer a number
        flipped = np.array([values[which].item()], np.float16).view(np.uint16) ^ np.uint16(bit)
        values[which] = float(flipped.view(np.float16)[0])
        weight[at] = values.view_as(weight[at])
    else:
        weight[at] = weight[at] * {"sign": -1, "times four": 4}[kind]
    return replace(layer, weight=weight)


def suspicion(maps: LayerMaps, image: Tensor, clean: Tensor, where: Tensor | None = None) -> Tensor:
    """How well each neuron's map explains the damage e = image − clean: |⟨e, C_n⟩| / ‖C_n‖,
    (n_neurons,).

    Only the pixels of ``where`` (H, W) count in the product, by default the tenth where Σ_c|e| is
    largest. A rule without colour channels has no sign to compare: there both are magnitudes,
    Σ_c|e| and |C_n|.
    """
    e = image.clamp(0, 1) - clean.to(image)
    d = e.abs().sum(0)
    damaged = (
        where
        if where is not None
        else d >= d.flatten().kthvalue(max(1, round((1 - DAMAGED) * d.numel()))).values
    )
    try:
        return _explained(maps, e * damaged, signed=True)
    except ValueError:
        return _explained(maps, (d * damaged)[None], signed=False)


def _explained(maps: LayerMaps, damage: Tensor, signed: bool) -> Tensor:
    """|⟨e, C_n⟩| / ‖C_n‖ for damage e (colours, H, W), (n_neurons,); without colours, of
    magnitudes.
    """
    inside, squares = torch.zeros(2, len(maps), dtype=torch.float64)
    for pixels, parts in maps.tiles("suspects", signed):
        seen = damage.flatten(1)[:, pixels]
        for neurons, values in parts:
            planes = values if signed else values[None]
            inside[neurons] += sum(map(torch.mv, planes, seen)).double().cpu()
            squares[neurons] += (
                torch.linalg.vector_norm(planes, dim=2).square().sum(0).double().cpu()
            )
    return inside.abs() / squares.sqrt().clamp_min(1e-30)


def place(score: Tensor, true: int) -> int:
    """How many neurons score higher, or as high: 0 for the first alone; a tie counts against."""
    return int((score >= score[true]).sum()) - 1


def browse(
    opened: Opened, layer: str, frame: int, rule: str, row: int, col: int, side: int
) -> dict[str, Picture]:
    """The error inside a square window of the picture, and the neurons whose maps explain it best.

    row, col : the window's middle; side : its side, in pixels.
    """
    canvas, truth = opened.canvas(frame, rule), opened.truth(frame)
    maps, n_neurons = opened.sampled_layer(frame, rule, layer)
    window = window_around(opened.clip.size, row, col, side)
    error = canvas.image.clamp(0, 1) - truth
    squared = error.square().mean(0)
    ratio = float(squared[window].mean() / squared.mean().clamp_min(1e-30))
    scores = suspicion(maps, canvas.image, truth, window)
    suspects = scores.argsort(descending=True)[:4]
    numbers = ", ".join(str(int(maps.neurons[i])) for i in suspects)
    halves = [maps[int(i)].abs()[::2, ::2] for i in suspects]  # at every other row and column
    about = (
        f"<b>{layer}</b>: the neurons ({len(maps):,} of {n_neurons:,} asked) "
        f"that explain it best: {numbers}"
    )
    return {
        f"frame {frame}, the window": Picture.photo(torch.where(window, truth, 0.35 * truth)),
        f"error; in the window {ratio:.1f}× the picture's": Picture.magnitude(error.abs().sum(0)),
        about: Picture.magnitude(sheet(halves, gap=0)),
    }


def window_around(size: tuple[int, int], row: int, col: int, side: int) -> Tensor:
    """A mask (H, W) of the square window around a pixel, cut off at the picture's edges."""
    window = torch.zeros(size, dtype=torch.bool)
    top, left = max(0, row - side // 2), max(0, col - side // 2)
    window[top : row + side // 2, left : col + side // 2] = True
    return window


def browser_controls(opened: Opened) -> tuple[Control, ...]:
    """Where the window is, and how large."""
    H, W = opened.clip.size
    return (
        Slider("row", "row", 0, H - 1, start=H // 2),
        Slider("col", "column", 0, W - 1, start=W // 2),
        Slider("side", "side (px)", 4, min(H, W), step=4, start=min(32, H)),
    )


BROWSER = BrowserSpec("region", browse, browser_controls)
