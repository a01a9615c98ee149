"""Do the maps say what a neuron does to the picture? The rules against ablation, the picture
without the neuron. METHOD 6.8, earlier statistic.

Per neuron, the rank correlation over pixels of its map with its ablation map; per layer, that of
the totals over neurons. In the last layer the picture is linear in the neurons, so only inner
layers decide.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from xinc_core.editing import deletion, score
from xinc_core.study.statistics.ranks import correlation, rank_correlation, ranks
from xinc_core.study.statistics.scene import Scene, audited_pixels
from xinc_core.tracing import RULE_NAMES, RULE_ORDER, LayerMaps, trace
from xinc_core.util.memo import cached_per_object

from .base import Finding, NetworkView, Values, View
from .browsing import BrowserSpec, Choice, Control, Opened, Picture, neuron_control, neuron_limit
from .claims import Claim, Condition
from .planted import white

BASELINES = ("zero", "mean")
MOST = 200  # kernels of a layer that are removed one by one
EFFECT = 1e-6  # change of a pixel, from which a removal counts as seen
SHUFFLED_NEURONS = 40  # whose maps are compared before and after later weights are shuffled
REMOVED = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)  # shares along a deletion curve
ORDERS = ("weight norm", "activation norm", "random")  # beside the rule's own


def measure(view: View) -> dict[str, float | np.ndarray]:
    """Medians (and quartiles) over neurons of the correlation over pixels, the correlation of
    totals, under both baselines.

    dead_yet_effective : share of the neurons whose map is zero while their removal changes the
    picture by more than ``EFFECT``.
    """
    maps, *truths = view.layers
    is_last = maps.traced.is_last and maps.name != "planted"
    prefix = "last_" if is_last else ""
    own = _audited(maps)
    result = {}
    for truth, baseline in zip(truths, BASELINES):
        true = _audited_truth(truth)
        correlations = np.array([correlation(a, b) for a, b in zip(own.ranks, true.ranks)])
        totals = correlation(ranks(own.totals), ranks(true.totals))
        result[f"{prefix}pixels_{baseline}"] = float(np.median(correlations))
        result[f"{prefix}totals_{baseline}"] = totals
        result[f"quartiles_{baseline}"] = np.quantile(correlations, [0.25, 0.75])
        if baseline == "zero":
            missed = (own.totals == 0) & (true.largest > EFFECT)
            result["dead_yet_effective"] = float(missed.double().mean())
    return result


@dataclass(frozen=True)
class Audited:
    """What is compared of the audited neurons' maps.

    totals : (k,) Σ_p |C|; ranks : (k, P) of |C| over the audited pixels; largest : (k,) |C|.
    """

    totals: Tensor
    ranks: np.ndarray
    largest: Tensor


def _audited(layer: LayerMaps) -> Audited:
    maps = layer.only(audited_neurons(layer)).tensor().abs().flatten(1)  # (k, P)
    seen = maps[:, audited_pixels(maps.shape[1])].cpu().numpy()
    return Audited(maps.sum(1), rankdata(seen, axis=1).astype(np.float32), maps.amax(1))


# The truth is dear, and every rule is compared with the same.
_audited_truth = cached_per_object(_audited)


def audited_neurons(layer: LayerMaps, most: int = MOST, seed: int = 0) -> Tensor:
    """All columns, all kernels of a small layer, or a seeded sample of the kernels: positions."""
    order = torch.randperm(len(layer), generator=torch.Generator().manual_seed(seed))
    whole = len(layer) <= 2 * most or layer.traced.layer.neurons == "columns"
    chosen = order if whole else order[:most]
    return chosen.sort().values


def pictures(view: View) -> dict[str, Tensor]:
    """Deletion curves, most important neuron first: by this rule's totals, by weight norm, by
    activation norm, at random.
    """
    maps = view.layer
    target = view.scene.clip.frames[view.frame]
    random = torch.Generator().manual_seed(0)
    scores = {"totals": maps.totals()}
    for order in ORDERS:
        scores[order] = score(maps, order, random)
    curves = {}
    for name, values in scores.items():
        curves[name] = deletion(
            maps.traced.layers,
            x=maps.traced.inputs[0],
            order=values.cpu().argsort(descending=True),
            targets=target[None],
            shares=REMOVED,
            whole=view.pictures[0][None],
        )
    return curves


def after_shuffling(network: NetworkView) -> dict[str, Values]:
    """Per inner layer the median rank correlation over pixels of some neurons' maps before and
    after all weights behind the layer are shuffled: 1 for maps that do not depend on them.
    """
    model, frame, rule = network.model, network.frame, network.rule
    canvas = trace(model, frame, rule)
    found: dict[str, Values] = {}
    for number, name in enumerate(canvas.layers[:-1]):
        random = torch.Generator().manual_seed(0)
        shuffled = _with_later_weights_shuffled(model, number, random)
        chosen = torch.randperm(len(canvas[name]), generator=random)[:SHUFFLED_NEURONS]
        before = canvas[name].only(chosen).tensor().abs()
        after = trace(shuffled, frame, rule)[name].only(chosen).tensor().abs()
        alike = []
        for a, b in zip(before, after):
            if a.any():
                alike.append(correlation(ranks(a), ranks(b)))
        found[name] = dict(rank_correlation=float(np.median(alike)))
    return found


def _with_later_weights_shuffled(
    model: nn.Module, number: int, random: torch.Generator
) -> nn.Module:
    """A copy of the network in which every layer behind this one has its weights in random
    order.
    """
    other = copy.deepcopy(model)
    for layer in other.layers()[number + 1 :]:
        weight = layer.weight.detach()
        order = torch.randperm(weight.numel(), generator=random)
        weight.copy_(weight.flatten()[order].view_as(weight))
    return other


def browse(
    opened: Opened, layer: str, frame: int, neuron: int, baseline: str
) -> dict[str, Picture]:
    """One neuron's map under both rules beside its ablation."""
    ablation = opened.canvas(frame, "paper").with_rule("ablation", baseline)[layer][neuron]
    about = f"<b>{layer}, neuron {neuron}</b>: ablation, {baseline} baseline"
    pictures = {
        f"frame {frame}": Picture.photo(opened.truth(frame)),
        about: Picture.magnitude(ablation),
    }
    for rule in RULE_ORDER:
        values = opened.canvas(frame, rule)[layer][neuron].abs()
        agreement = rank_correlation(values, ablation)
        caption = f"{RULE_NAMES[rule]}; rank correlation with ablation {agreement:.2f}"
        pictures[caption] = Picture.magnitude(values)
    return pictures


def browser_controls(opened: Opened) -> tuple[Control, ...]:
    """The neuron, and what its input is replaced by."""
    baseline = Choice("baseline", "baseline", ("zero", "mean"), "zero", buttons=True)
    return (*neuron_control(opened), baseline)


BROWSER = BrowserSpec("faithfulness", browse, browser_controls, neuron_limit, rules=False)


def plant(scene: Scene, frame: int, seed: int) -> dict[str, tuple[Tensor, ...]]:
    """Maps beside their truth: a bent copy of it, that of the next neuron, and nothing to do with
    it.
    """
    n_neurons, size = 24, scene.clip.size
    sizes = 1 + torch.arange(float(n_neurons))[:, None, None]
    truth = white(n_neurons, size, seed) * sizes
    return {
        "the truth, bent": (truth**3, truth, truth),
        "the truth of another neuron": (truth.roll(7, 0), truth, truth),
        "white noise": (white(n_neurons, size, seed + 1), truth, truth),
    }


FINDING = Finding(
    name="faithfulness",
    version=3,
    question="Do the maps say what a neuron does to the picture?",
    section="beyond the paper",
    notebook="09",
    claims=(
        Claim(
            "faithful",
            "the maps tell what a neuron does to the picture",
            conditions=(
                Condition("pixels_zero", 0.9),
                Condition("totals_zero", 0.9),
                Condition("pixels_mean", 0.9),
                Condition("totals_mean", 0.9),
            ),
            beside=(
                "dead_yet_effective",
                "last_pixels_zero",
                "last_totals_zero",
                "last_pixels_mean",
                "last_totals_mean",
            ),
            cases={
                "the truth, bent": True,
                "the truth of another neuron": False,
                "white noise": False,
            },
        ),
    ),
    statistics={
        "pixels_zero": "rank correlation with ablation over pixels, zero baseline",
        "totals_zero": "the same of totals over neurons, zero baseline",
        "pixels_mean": "rank correlation with ablation over pixels, mean baseline",
        "totals_mean": "the same of totals over neurons, mean baseline",
        "last_pixels_zero": "rank correlation with ablation over pixels, zero baseline (last "
        "layer)",
        "last_totals_zero": "the same of totals over neurons, zero baseline (last layer)",
        "last_pixels_mean": "rank correlation with ablation over pixels, mean baseline (last "
        "layer)",
        "last_totals_mean": "the same of totals over neurons, mean baseline (last layer)",
        "dead_yet_effective": "share of neurons with an empty map whose removal changes the "
        "picture",
    },
    measure=measure,
    pictures={"pictures": pictures},
    network_pictures={"after_shuffling": after_shuffling},
    plant=plant,
    frames=(3,),
    compares_truth=True,
    samples_layers=True,
    draws_whole_layers=True,
    captions={
        "09_agreement": "The neuron whose map under the paper's rule agrees best with its removal, "
        "and the one that agrees worst: frame, paper's rule, first-order rule, and the truth.",
        "09_deletion": "How quality falls as neurons are removed, the most important first: the "
        "faster, the better the ranking.",
    },
    browser=BROWSER,
)
