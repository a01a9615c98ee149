"""What can be removed? PSNR against the share of neurons set to zero, least important first, by
each rule's totals.

Totals come from four frames (of a network of more than 25,000 neurons, one), PSNR from two others,
of an image from a sample of its pixels. Under the family's name stand all layers together, ordered
by the same numbers.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from xinc_core.editing.compression import ORDERS, deletion, least, pruned, score, scores
from xinc_core.editing.sampling import frames_to_score, spread_frames
from xinc_core.fitting.quality import evaluate, psnr
from xinc_core.fitting.training import DivergenceError, refine
from xinc_core.models import run
from xinc_core.study.statistics.scene import Scene, at_some_pixels
from xinc_core.tracing.canvas import trace
from xinc_core.tracing.rules import RULE_ORDER

from .browsing import BrowserSpec, Choice, Control, Opened, Picture, Slider
from .claims import Claim, Condition

NAME, VERSION, OFFSETS, FRAMES = "pruning", 4, (0,), (3,)
DECIDES = (
    Condition("pruned_psnr", "weight_norm_pruned_psnr"),
    Condition("pruned_psnr", "random_pruned_psnr"),
)
TOLD = (
    "activation_norm_pruned_psnr",
    "unpruned_psnr",
    "tuned_psnr",
    "weight_norm_tuned_psnr",
    "random_tuned_psnr",
)
CLAIMS = (Claim("prunable_by_contribution", DECIDES, TOLD),)
CASES: dict = {"prunable_by_contribution": {}}
SHARES = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
TUNED = (0.2, 0.4, 0.6)  # shares that are also trained further
EPOCHS, RATE = (
    {True: 3, False: 10},
    1e-3,
)  # of further training: passes over a video, steps on an image; the learning rate
OTHERS = ("weight norm", "activation norm", "random")


def of_network(model: nn.Module, scene: Scene, rule: str, seed: int) -> dict[str, dict]:
    """Mean PSNR over ``SHARES`` in the rule's order and in others, and the curves: per layer, and
    for the whole network.

    With ``first_order`` the first seed's network is also trained further after pruning, in the
    rule's order and in two others.
    """
    orders = (rule, *OTHERS)
    curves = {order: _curves(model, scene, order, seed) for order in orders}
    found = {
        name: _told({order: curves[order][name] for order in orders}, rule) for name in curves[rule]
    }
    if seed == 1 and rule == "first_order":
        for order in (rule, "weight norm", "random"):
            after = [
                evaluate(further(model, scene, order, seed, s), scene.clip, frames=_held(model))
                for s in TUNED
            ]
            prefix = _prefix(order, rule)
            found[model.family] |= {
                f"{prefix}tuned_psnr": after[1],
                f"{prefix}tuned": torch.tensor(after),
            }
    return found


def _frames(model: nn.Module) -> int:
    return model.config.n_frames if model.for_video else 1


def _held(model: nn.Module) -> list[int]:
    """The frames on which PSNR is taken."""
    return spread_frames(_frames(model), 2)


@lru_cache(maxsize=8)
def ranked(model: nn.Module, order: str, seed: int) -> dict[str, Tensor]:
    """The neurons' scores, layer → (n_neurons,); kept, because several findings ask."""
    return scores(model, order, frames_to_score(model), seed)


@lru_cache(maxsize=8)
def _curves(model: nn.Module, scene: Scene, order: str, seed: int) -> dict[str, Tensor]:
    """PSNR after 0 and each of ``SHARES`` are removed, of every layer and, under the family's
    name, of all together.
    """
    score, found = ranked(model, order, seed), {}
    traced = (trace(model, f) for f in _held(model))
    canvases, shown = zip(*(at_some_pixels(c, scene.clip.frames[c.frame]) for c in traced))
    targets, whole = torch.stack(shown), torch.stack([c.image for c in canvases])
    received = {
        name: torch.cat([c[name].traced.inputs[0] for c in canvases]) for name in canvases[0].layers
    }
    for name, x in received.items():
        found[name] = deletion(
            canvases[0][name].traced.layers, x, score[name].cpu().argsort(), targets, SHARES, whole
        )
    left, x = (
        (pruned(model, least(score, share)) for share in SHARES),
        received[canvases[0].layers[0]],
    )
    after = [float(psnr(run(network.layers(), x).clamp(0, 1), targets)) for network in left]
    return found | {model.family: torch.tensor([float(found[name][0]), *after])}


@lru_cache(maxsize=16)
def further(model: nn.Module, scene: Scene, order: str, seed: int, share: float) -> nn.Module:
    """The network without the share that scores lowest, trained a little further; as it is where
    a whole layer is gone.
    """
    left = pruned(model, least(ranked(model, order, seed), share))
    if not all(layer.weight.any() for layer in left.layers()):
        return left  # it paints one colour, and nothing else can be learned
    try:
        return refine(left, scene.clip, EPOCHS[model.for_video], lr=RATE, progress=False)
    except DivergenceError as error:
        return error.model  # as good as it became


def _prefix(order: str, rule: str) -> str:
    """What the statistics of an order's curve begin with; those of the rule's own are bare."""
    return "" if order == rule else f"{order.replace(' ', '_')}_"


def _told(curves: dict[str, Tensor], rule: str) -> dict:
    told: dict = dict(unpruned_psnr=float(curves[rule][0]))
    for order, values in curves.items():
        prefix = _prefix(order, rule)
        told |= {f"{prefix}pruned_psnr": float(values[1:].mean()), f"{prefix}curve": values}
    return told


def browse(opened: Opened, layer: str, frame: int, order: str, share: int) -> dict[str, Picture]:
    """The picture without ``share`` percent of a layer's neurons: those that score lowest in the
    chosen order.
    """
    traced, truth = opened.canvas(frame, "paper")[layer].traced, opened.truth(frame)
    first, *later = traced.layers
    ordered = opened.remembered(_least_first, frame, layer, order, most=32)
    removed = ordered[: round(share / 100 * first.n_neurons)]
    picture = run([first.without(removed), *later], traced.inputs[0])[0].clamp(0, 1)
    whole = opened.canvas(frame, "paper").image.clamp(0, 1)
    about_whole = f"all neurons: {float(psnr(whole, truth)):.1f} dB"
    about_pruned = (
        f"<b>{layer}</b> without {len(removed):,} of {first.n_neurons:,} neurons: "
        f"{float(psnr(picture, truth)):.1f} dB"
    )
    return {
        f"frame {frame}": Picture.photo(truth),
        about_whole: Picture.photo(whole),
        about_pruned: Picture.photo(picture),
        "what is lost": Picture.magnitude((picture - whole).abs().sum(0)),
    }


def _least_first(opened: Opened, frame: int, layer: str, order: str) -> Tensor:
    """The neurons of a layer from the lowest score up, (n_neurons,)."""
    rule = order if order in RULE_ORDER else "paper"  # the other scores depend on no rule
    random = torch.Generator().manual_seed(0)
    return score(opened.canvas(frame, rule)[layer], order, random).cpu().argsort()


def browser_controls(opened: Opened) -> tuple[Control, ...]:
    """The score that orders the neurons, and how many of them are removed, in percent."""
    return (
        Choice("order", "order", ORDERS, "first_order"),
        Slider("share", "removed (%)", 0, 100, step=5, start=20),
    )


BROWSER = BrowserSpec("pruning", browse, browser_controls, rules=False)
