"""Can the maps find what is broken? Planted faults, and where the error of a sound network lies.

A fault changes one neuron's weights: sign flipped, times four, or one exponent bit of one weight
flipped in half precision. From the faulty network and the clean frame alone every neuron of the
layer is scored; the rank of the true one counts. Where pixels know nothing of each other, behind
columns, a seeded sample of them is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from xinc_core.editing import weights_of_neurons
from xinc_core.editing.sampling import sample_layer
from xinc_core.models import Layer
from xinc_core.study.statistics.ranks import rank_correlation
from xinc_core.study.statistics.scene import Scene, at_audited_pixels
from xinc_core.tracing import RULE_ORDER, Canvas, LayerMaps, trace
from xinc_core.util.memo import cached_per_object

from .base import Finding, NetworkView, Values
from .browsing import BrowserSpec, Control, Opened, Picture, Slider, sheet
from .claims import Claim, Condition
from .distributed import effective_shares

KINDS = ("sign", "times four", "bit")
FAULTS = 67  # per network and layer, in columns and in the last layer
FAULTS_IN_KERNELS = 7  # in each inner layer of kernels
FIRST, AMONG = 1, 10  # suspects among which the broken neuron has to be
VISIBLE_DB = 0.1  # fall of PSNR from which a fault counts as visible
DAMAGED = 0.1  # the share of pixels that differ most from the clean frame


def measure_network(network: NetworkView) -> dict[str, Values]:
    """Per layer: shares of faults whose neuron comes first, or among the first ten, by the rule's
    maps; among the first ten by weight norm and by chance; how many damage the picture visibly.
    And rank correlations of the error.
    """
    by_rule = _by_rule(network.model, network.scene, network.seed, network.frame)
    return by_rule[network.rule]


@cached_per_object
def _by_rule(model: nn.Module, scene: Scene, seed: int, frame: int) -> dict[str, dict[str, Values]]:
    """Rule → layer → statistics; the rules are tried on the same faults, which cost most."""
    canvas = trace(model, frame)
    clean = scene.clip.frames[canvas.frame]
    error = (canvas.image.clamp(0, 1) - clean).abs().sum(0)  # (H, W)
    audited, clean_there = at_audited_pixels(canvas, clean)
    found: dict[str, dict[str, Values]] = {rule: {} for rule in RULE_ORDER}
    for number, name in enumerate(canvas.layers):
        sampled = sample_layer(audited[name])
        by_rule = _faults(clean_there, audited, sampled, seed=seed * 10 + number)
        for rule in RULE_ORDER:
            maps = sample_layer(canvas.with_rule(rule)[name])
            effective, _ = effective_shares(maps)
            correlations = dict(
                rank_error_heatmap=rank_correlation(maps.heatmap(), error),
                rank_error_effective=rank_correlation(effective.nan_to_num(0), error),
            )
            found[rule][name] = by_rule[rule] | correlations
    return found


@dataclass
class Trials:
    """What came of the faults of one layer, a number each: how many neurons rank above the true one
    under each rule and by weight norm, and whether the fault is visible.
    """

    ranks: dict[str, list[int]] = field(default_factory=lambda: {rule: [] for rule in RULE_ORDER})
    norm_ranks: list[int] = field(default_factory=list)
    visible: list[bool] = field(default_factory=list)

    def statistics(self, rule: str, n_neurons: int) -> Values:
        """Shares of the faults."""
        ranks = np.array(self.ranks[rule])
        norm_ranks = np.array(self.norm_ranks)
        visible = np.array(self.visible)
        shares: Values = dict(
            fault_top1=float(np.mean(ranks < FIRST)),
            fault_top10=float(np.mean(ranks < AMONG)),
            norm_fault_top10=float(np.mean(norm_ranks < AMONG)),
            faults_visible=float(np.mean(visible)),
            chance_fault_top10=min(1.0, AMONG / n_neurons),
        )
        if visible.any():
            shares["visible_fault_top10"] = float(np.mean(ranks[visible] < AMONG))
        return shares


def _faults(clean: Tensor, canvas: Canvas, maps: LayerMaps, seed: int) -> dict[str, Values]:
    """Break one neuron after the other of those that ``maps`` holds; rule → statistics."""
    layer = maps.traced.layer
    random = torch.Generator().manual_seed(seed)
    inner_kernels = layer.neurons == "kernels" and not maps.traced.is_last
    error_before = (canvas.image.clamp(0, 1) - clean).square().mean()
    trials = Trials()
    for number in range(FAULTS_IN_KERNELS if inner_kernels else FAULTS):
        true = int(torch.randint(len(maps), (1,), generator=random))  # position among the maps
        faulty = broken(layer, int(maps.neurons[true]), KINDS[number % len(KINDS)], random)
        now = canvas.with_layer(faulty)
        for rule in RULE_ORDER:
            suspects = now.with_rule(rule)[maps.name].only(maps.neurons)
            trials.ranks[rule].append(place(suspicion(suspects, now.image, clean), true))
        norms = weights_of_neurons(faulty)[maps.neurons].norm(dim=1)
        trials.norm_ranks.append(place(norms, true))
        error_now = (now.image.clamp(0, 1) - clean).square().mean()
        trials.visible.append(float(error_now / error_before) > 10 ** (VISIBLE_DB / 10))
    return {rule: trials.statistics(rule, len(maps)) for rule in RULE_ORDER}


def broken(layer: Layer, neuron: int, kind: str, random: torch.Generator) -> Layer:
    """A copy of the layer with one neuron's weights changed; kind : one of ``KINDS``."""
    weight = layer.weight.detach().clone()
    if layer.neurons == "columns":
        at = (slice(None), neuron)
    else:  # neuron = i * c_out + o
        at = (neuron % layer.c_out, neuron // layer.c_out)
    if kind == "sign":
        weight[at] = -weight[at]
    elif kind == "times four":
        weight[at] = 4 * weight[at]
    else:
        weight[at] = _with_flipped_bit(weight[at], random)
    return replace(layer, weight=weight)


def _with_flipped_bit(weights: Tensor, random: torch.Generator) -> Tensor:
    """One of the weights with one exponent bit flipped in half precision; not the top one, whose
    flip is no longer a number.
    """
    values = weights.clone().flatten()
    which = int(torch.randint(len(values), (1,), generator=random))
    bit = 1 << int(torch.randint(10, 14, (1,), generator=random))
    half = np.array([values[which].item()], np.float16)
    flipped = half.view(np.uint16) ^ np.uint16(bit)
    values[which] = float(flipped.view(np.float16)[0])
    return values.view_as(weights)


def suspicion(maps: LayerMaps, image: Tensor, clean: Tensor, where: Tensor | None = None) -> Tensor:
    """How well each neuron's map explains the damage e = image − clean: |⟨e, C_n⟩| / ‖C_n‖,
    (n_neurons,).

    Only the pixels of ``where`` (H, W) count in the product, by default the tenth where Σ_c|e| is
    largest. A rule without colour channels has no sign to compare: there both are magnitudes,
    Σ_c|e| and |C_n|.
    """
    e = image.clamp(0, 1) - clean.to(image)
    magnitude = e.abs().sum(0)  # (H, W)
    if where is None:
        rank = max(1, round((1 - DAMAGED) * magnitude.numel()))
        where = magnitude >= magnitude.flatten().kthvalue(rank).values
    try:
        return _explained(maps, e * where, signed=True)
    except ValueError:  # a rule without colours
        return _explained(maps, (magnitude * where)[None], signed=False)


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


FINDING = Finding(
    name="faults",
    version=2,
    question="Which neuron is broken?",
    section="beyond the paper",
    notebook="11",
    claims=(
        Claim(
            "faults_found",
            "contributions find a broken neuron",
            conditions=(
                Condition("fault_top10", 0.5),
                Condition("fault_top10", "norm_fault_top10"),
            ),
            beside=("fault_top1", "visible_fault_top10", "chance_fault_top10", "faults_visible"),
        ),
        Claim(
            "errors_under_strong_maps",
            "the error lies where the maps are strong",
            conditions=(Condition("rank_error_heatmap", 0.1),),
            beside=("rank_error_effective",),
        ),
    ),
    statistics={
        "fault_top1": "share of faults whose neuron is the first suspect",
        "fault_top10": "share of faults whose neuron is among ten suspects",
        "visible_fault_top10": "the same of faults that cost 0.1 dB or more",
        "norm_fault_top10": "the same, suspects by weight norm",
        "chance_fault_top10": "the same, suspects by chance",
        "faults_visible": "share of faults that cost 0.1 dB or more",
        "rank_error_heatmap": "rank correlation of the error with the heatmap",
        "rank_error_effective": "rank correlation of the error with effective neurons",
    },
    measure_network=measure_network,
    frames=(3,),
    captions={
        "11_faults": "How often a neuron broken on purpose is found among ten suspects, in each "
        "layer.",
        "11_report": "Quality per frame; the error of the worst frame; neurons without effect, or "
        "with a duplicate.",
    },
    browser=BROWSER,
)
