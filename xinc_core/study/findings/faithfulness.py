"""Does the map tell the truth? The rules against ablation, the picture without the neuron. METHOD
section 9.

Per neuron, the rank correlation over pixels of its map with its ablation map; per layer, that of
the totals over neurons. In the last layer the picture is linear in the neurons, so only inner
layers decide.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from xinc_core.editing.compression import deletion, score
from xinc_core.study.statistics.ranks import correlation, rank_correlation, ranks
from xinc_core.study.statistics.scene import Scene, View, some_pixels
from xinc_core.tracing.canvas import trace
from xinc_core.tracing.maps import LayerMaps
from xinc_core.tracing.rules import RULE_NAMES, RULE_ORDER
from xinc_core.util.memo import cached_per_object

from .browsing import BrowserSpec, Choice, Control, Opened, Picture, neuron_control, neuron_limit
from .claims import Claim, Condition
from .planted import white

NAME, VERSION, OFFSETS, TRUTH, FRAMES = "faithfulness", 2, (0,), True, (3,)
DECIDES = tuple(
    Condition(f"{what}_{baseline}", 0.9)
    for baseline in ("zero", "mean")
    for what in ("pixels", "totals")
)
TOLD = (
    "dead_yet_effective",
    "last_pixels_zero",
    "last_totals_zero",
    "last_pixels_mean",
    "last_totals_mean",
)
CLAIMS = (Claim("faithful", DECIDES, TOLD),)
CASES = {
    "faithful": {
        "the truth, bent": True,
        "the truth of another neuron": False,
        "white noise": False,
    }
}
SAMPLED, WHOLE = (
    True,
    True,
)  # of block 1, 64 output channels are audited; deletion curves take all of them
MOST = 200  # kernels of a layer that are removed one by one
REMOVED = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)  # shares of the neurons along a deletion curve


def measure(view: View) -> dict[str, float | Tensor]:
    """Medians (and quartiles) over neurons of the correlation over pixels, the correlation of
    totals, under both baselines.

    dead_yet_effective : share of the neurons whose map is zero while their removal changes the
    picture by more than 1e-6.
    """
    maps, *truths = view.layers
    last, result = maps.traced.is_last and maps.name != "planted", {}
    totals, own, _ = _seen(maps)
    for truth, baseline in zip(truths, ("zero", "mean")):
        effects, levels, most = _kept(truth)
        found = np.array([correlation(a, b) for a, b in zip(own, levels)])
        name = f"{'last_' if last else ''}{{}}_{baseline}"
        result[name.format("pixels")] = float(np.median(found))
        result[name.format("totals")] = correlation(ranks(totals), ranks(effects))
        result[f"quartiles_{baseline}"] = np.quantile(found, [0.25, 0.75])
        if baseline == "zero":
            result["dead_yet_effective"] = float(((totals == 0) & (most > 1e-6)).double().mean())
    return result


def _seen(layer: LayerMaps) -> tuple[Tensor, np.ndarray, Tensor]:
    """Of the audited neurons: totals (k,), ranks of |C| at the sampled pixels (k, P), largest
    |C| (k,).
    """
    maps = layer.only(sampled(layer)).tensor().abs().flatten(1)
    return (
        maps.sum(1),
        rankdata(maps[:, some_pixels(maps.shape[1])].cpu().numpy(), axis=1).astype(np.float32),
        maps.amax(1),
    )


_kept = cached_per_object(_seen)  # the truth is dear, and every rule is compared with the same


def sampled(layer: LayerMaps, most: int = MOST, seed: int = 0) -> Tensor:
    """All columns, all kernels of a small layer, or a seeded sample of the kernels: their
    positions.
    """
    order = torch.randperm(len(layer), generator=torch.Generator().manual_seed(seed))
    few = len(layer) <= 2 * most or layer.traced.layer.neurons == "columns"
    return (order if few else order[:most]).sort().values


def pictures(view: View) -> dict[str, Tensor]:
    """Deletion curves, most important neuron first: by this rule's totals, by weight norm, by
    activation norm, at random.
    """
    maps, target = view.layer, view.scene.clip.frames[view.frame]
    random = torch.Generator().manual_seed(0)
    orders = {"totals": maps.totals()} | {
        o: score(maps, o, random) for o in ("weight norm", "activation norm", "random")
    }
    about = dict(
        x=maps.traced.inputs[0], targets=target[None], shares=REMOVED, whole=view.pictures[0][None]
    )
    return {
        n: deletion(maps.traced.layers, order=s.cpu().argsort(descending=True), **about)
        for n, s in orders.items()
    }


def after_shuffling(
    model: nn.Module, scene: Scene, rule: str, frame: int
) -> dict[str, dict[str, float]]:
    """Per inner layer the median rank correlation over pixels of 40 neurons' maps before and after
    all weights behind the layer are shuffled: 1 for maps that do not depend on them."""
    canvas, found = trace(model, frame, rule), {}
    for number, name in enumerate(canvas.layers[:-1]):
        random = torch.Generator().manual_seed(0)
        other = copy.deepcopy(model)
        for layer in other.layers()[number + 1 :]:
            flat = layer.weight.detach().flatten()
            layer.weight.detach().copy_(
                flat[torch.randperm(len(flat), generator=random)].view_as(layer.weight)
            )
        chosen = torch.randperm(len(canvas[name]), generator=random)[:40]
        before, after = (
            c[name].only(chosen).tensor().abs() for c in (canvas, trace(other, frame, rule))
        )
        alike = [correlation(ranks(a), ranks(b)) for a, b in zip(before, after) if a.any()]
        found[name] = dict(rank_correlation=float(np.median(alike)))
    return found


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
    """Maps beside their truth: a bent copy of it, that of the next neuron, and nothing to do
    with it.
    """
    truth = white(24, scene.clip.size, seed) * (1 + torch.arange(24.0)[:, None, None])
    cases = {"the truth, bent": truth**3, "the truth of another neuron": truth.roll(7, 0)}
    cases["white noise"] = white(24, scene.clip.size, seed + 1)
    return {name: (maps, truth, truth) for name, maps in cases.items()}
