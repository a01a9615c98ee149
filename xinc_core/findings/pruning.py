"""What can be removed? PSNR against the share of neurons set to zero, least important first, by each rule's totals.

Totals come from four frames (of a network of more than 25,000 neurons, one), PSNR from four others. Under the family's name
stand all layers together, ordered by the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..canvas import trace
from ..compression import asked, deletion, least, pruned, scores, spread
from ..quality import evaluate
from ..training import refine
from .scene import Scene
from .verdicts import Claim, Condition

NAME, VERSION, OFFSETS, FRAMES = "pruning", 1, (0,), (3,)
CLAIMS = (
    Claim(
        "prunable_by_contribution",
        (Condition("pruned_psnr", "weight_norm_pruned_psnr"), Condition("pruned_psnr", "random_pruned_psnr")),
        ("activation_norm_pruned_psnr", "unpruned_psnr", "tuned_psnr", "weight_norm_tuned_psnr", "random_tuned_psnr"),
    ),
)
CASES: dict = {"prunable_by_contribution": {}}
SHARES = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
TUNED = (0.2, 0.4, 0.6)  # shares that are also trained further
EPOCHS = {True: 5, False: 100}  # of further training: passes over a video, steps on an image
OTHERS = ("weight norm", "activation norm", "random")


def of_network(model: nn.Module, scene: Scene, rule: str, seed: int) -> dict[str, dict]:
    """Mean PSNR over ``SHARES`` in the rule's order and in others, and the curves: per layer, and for the whole network.

    The first seed's network is also trained further after pruning: in the rule's order, and (with ``first_order``) two others.
    """
    clip, n = scene.clip, len(scene.clip) if model.for_video else 1
    used, held = asked(model, n), spread(n, 4, 0.25)
    orders = {order: scores(model, order, used, seed) for order in (rule, *OTHERS)}
    found = {}
    canvases = [trace(model, f) for f in held]
    targets = torch.stack([clip.frames[c.frame] for c in canvases])
    for name in canvases[0].layers:
        traced = [c[name].traced for c in canvases]
        x = torch.cat([t.inputs[0] for t in traced])
        curves = {o: deletion(traced[0].layers, x, s[name].cpu().argsort(), targets, SHARES) for o, s in orders.items()}
        found[name] = _told(curves, rule)
    whole = {
        o: [evaluate(pruned(model, least(s, share)), clip, frames=held) for share in (0, *SHARES)] for o, s in orders.items()
    }
    found[model.family] = _told({o: torch.tensor(values) for o, values in whole.items()}, rule)
    if seed == 1:
        compared = (rule, "weight norm", "random") if rule == "first_order" else (rule,)
        for order in compared:
            after = [tuned(model, least(orders[order], share), clip, held) for share in TUNED]
            prefix = "" if order == rule else f"{order.replace(' ', '_')}_"
            found[model.family] |= {f"{prefix}tuned_psnr": after[1], f"{prefix}tuned": torch.tensor(after)}
    return found


def tuned(model: nn.Module, gone: dict[str, Tensor], clip, held: list[int]) -> float:
    """PSNR in dB after removing neurons and training the rest a little further."""
    return evaluate(refine(pruned(model, gone), clip, EPOCHS[model.for_video], progress=False), clip, frames=held)


def _told(curves: dict[str, Tensor], rule: str) -> dict:
    told: dict = dict(unpruned_psnr=float(curves[rule][0]))
    for order, values in curves.items():
        prefix = "" if order == rule else f"{order.replace(' ', '_')}_"
        told |= {f"{prefix}pruned_psnr": float(values[1:].mean()), f"{prefix}curve": values}
    return told
