"""What can be removed? PSNR against the share of neurons set to zero, least important first, by
each rule's totals.

Totals come from four frames (of a network of more than 25,000 neurons, one), PSNR from two others,
of an image from a sample of its pixels. Under the family's name stand all layers together, ordered
by the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xinc_core.editing import ORDERS, deletion, least, pruned, score, scores
from xinc_core.editing.sampling import frames_to_score, spread_frames
from xinc_core.fitting import DivergenceError, evaluate, psnr, refine
from xinc_core.models import run
from xinc_core.study.statistics.scene import Scene, at_audited_pixels
from xinc_core.tracing import RULE_ORDER, trace
from xinc_core.util.memo import cached_per_object

from .base import Finding, NetworkView, Values
from .browsing import BrowserSpec, Choice, Control, Opened, Picture, Slider
from .claims import Claim, Condition

SHARES = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)  # of the neurons that are removed
TUNED_SHARES = (0.2, 0.4, 0.6)  # after which the network is also trained further
TOLD_SHARE = TUNED_SHARES.index(0.4)  # whose PSNR stands in the table
VIDEO_EPOCHS = 3  # of further training: passes over the video
IMAGE_STEPS = 10  # of further training: full-image steps
RATE = 1e-3  # of further training
OTHER_ORDERS = ("weight norm", "activation norm", "random")  # beside the rule's own
TUNED_ORDERS = ("weight norm", "random")


def measure_network(network: NetworkView) -> dict[str, Values]:
    """Mean PSNR over ``SHARES`` in the rule's order and in others, and the curves: per layer, and
    for the whole network.

    Under ``first_order`` the first seed's network is also trained further after pruning, in the
    rule's order and in two others.
    """
    model, scene, rule, seed = network.model, network.scene, network.rule, network.seed
    curves = {order: _curves(model, scene, order, seed) for order in (rule, *OTHER_ORDERS)}
    found: dict[str, Values] = {}
    for name in curves[rule]:
        found[name] = _statistics({order: curves[order][name] for order in curves}, rule)
    if seed == 1 and rule == "first_order":
        for order in (rule, *TUNED_ORDERS):
            after = [_tuned_psnr(model, scene, order, seed, share) for share in TUNED_SHARES]
            prefix = _prefix(order, rule)
            found[model.family][f"{prefix}tuned_psnr"] = after[TOLD_SHARE]
            found[model.family][f"{prefix}tuned"] = torch.tensor(after)
    return found


def _statistics(curves: dict[str, Tensor], rule: str) -> Values:
    """Of one layer's curves, an order each: the mean PSNR of each, and the curve itself."""
    found: Values = dict(unpruned_psnr=float(curves[rule][0]))
    for order, values in curves.items():
        prefix = _prefix(order, rule)
        found[f"{prefix}pruned_psnr"] = float(values[1:].mean())
        found[f"{prefix}curve"] = values
    return found


def _prefix(order: str, rule: str) -> str:
    """What the statistics of an order's curve begin with; those of the rule's own are bare."""
    return "" if order == rule else f"{order.replace(' ', '_')}_"


def _frames_of_psnr(model: nn.Module) -> list[int]:
    """The frames on which PSNR is taken."""
    return spread_frames(model.config.n_frames if model.for_video else 1, 2)


@cached_per_object
def ranked(model: nn.Module, order: str, seed: int) -> dict[str, Tensor]:
    """The neurons' scores, layer → (n_neurons,); remembered, because several findings ask."""
    return scores(model, order, frames_to_score(model), seed)


@cached_per_object
def _curves(model: nn.Module, scene: Scene, order: str, seed: int) -> dict[str, Tensor]:
    """PSNR after 0 and each of ``SHARES`` are removed, of every layer and, under the family's name,
    of all together.
    """
    score = ranked(model, order, seed)
    canvases = []
    shown = []
    for frame in _frames_of_psnr(model):
        traced = trace(model, frame)
        canvas, picture = at_audited_pixels(traced, scene.clip.frames[traced.frame])
        canvases.append(canvas)
        shown.append(picture)
    targets = torch.stack(shown)  # (frames, 3, H, W), or (frames, 3, 1, P)
    whole = torch.stack([canvas.image for canvas in canvases])
    found = {}
    for name in canvases[0].layers:
        received = torch.cat([canvas[name].traced.inputs[0] for canvas in canvases])
        layers = canvases[0][name].traced.layers
        found[name] = deletion(
            layers, received, score[name].cpu().argsort(), targets, SHARES, whole
        )
    first = canvases[0].layers[0]
    received = torch.cat([canvas[first].traced.inputs[0] for canvas in canvases])
    together = [float(found[first][0])]
    for share in SHARES:
        remaining = pruned(model, least(score, share))
        painted = run(remaining.layers(), received).clamp(0, 1)
        together.append(float(psnr(painted, targets)))
    found[model.family] = torch.tensor(together)
    return found


def _tuned_psnr(model: nn.Module, scene: Scene, order: str, seed: int, share: float) -> float:
    tuned = further(model, scene, order, seed, share)
    return evaluate(tuned, scene.clip, frames=_frames_of_psnr(model))


@cached_per_object
def further(model: nn.Module, scene: Scene, order: str, seed: int, share: float) -> nn.Module:
    """The network without the share that scores lowest, trained a little further; as it is where a
    whole layer is gone.
    """
    remaining = pruned(model, least(ranked(model, order, seed), share))
    has_every_layer = all(layer.weight.any() for layer in remaining.layers())
    if not has_every_layer:
        return remaining  # it paints one colour, and nothing else can be learned
    epochs = VIDEO_EPOCHS if model.for_video else IMAGE_STEPS
    try:
        return refine(remaining, scene.clip, epochs, lr=RATE, progress=False)
    except DivergenceError as error:
        return error.model  # as good as it became


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


FINDING = Finding(
    name="pruning",
    version=4,
    question="Which neurons can be removed?",
    section="beyond the paper",
    notebook="10",
    claims=(
        Claim(
            "prunable_by_contribution",
            "contributions tell which neurons can go",
            conditions=(
                Condition("pruned_psnr", "weight_norm_pruned_psnr"),
                Condition("pruned_psnr", "random_pruned_psnr"),
            ),
            beside=(
                "activation_norm_pruned_psnr",
                "unpruned_psnr",
                "tuned_psnr",
                "weight_norm_tuned_psnr",
                "random_tuned_psnr",
            ),
        ),
    ),
    statistics={
        "pruned_psnr": "mean PSNR (dB) with 10 to 80 % of the neurons gone, least contribution "
        "first",
        "weight_norm_pruned_psnr": "mean PSNR (dB) with 10 to 80 % of the neurons gone, least "
        "weight "
        "norm first",
        "activation_norm_pruned_psnr": "mean PSNR (dB) with 10 to 80 % of the neurons gone, least "
        "activation norm first",
        "random_pruned_psnr": "mean PSNR (dB) with 10 to 80 % of the neurons gone, random ones "
        "first",
        "unpruned_psnr": "PSNR (dB) with all neurons",
        "tuned_psnr": "PSNR (dB) with 40 % gone, least contribution first, then tuned",
        "weight_norm_tuned_psnr": "PSNR (dB) with 40 % gone, least weight norm first, then tuned",
        "random_tuned_psnr": "PSNR (dB) with 40 % gone, random ones first, then tuned",
    },
    measure_network=measure_network,
    frames=(3,),
    captions={
        "10_pruning": "How quality falls as neurons are removed, the least important first: the "
        "slower, the better the ranking."
    },
    browser=BROWSER,
)
