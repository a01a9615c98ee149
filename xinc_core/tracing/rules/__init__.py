"""The rules: three answers to "what does this neuron contribute to this pixel?".

What lives here: one class per rule and kind of neuron, behind one interface (``base.Rule``), and
``make_rule``. What does not: loops over a whole layer, which are in ``maps.LayerMaps``.
"""

from __future__ import annotations

from .ablation import Ablation
from .base import Box, Rule, Subset, Traced, crop, whole
from .first_order import FirstOrderColumns, FirstOrderKernels, magnitude
from .impulses import FEW, Impulses
from .paper import PaperColumns, PaperKernels

RULE_ORDER = ("paper", "first_order")  # which are cheap enough for every neuron, and are judged
RULES = (*RULE_ORDER, "ablation")
RULE_NAMES = {"paper": "paper's rule", "first_order": "first-order rule", "ablation": "ablation"}
_BY_NEURONS = {
    "paper": {"columns": PaperColumns, "kernels": PaperKernels},
    "first_order": {"columns": FirstOrderColumns, "kernels": FirstOrderKernels},
}

__all__ = [
    "RULE_NAMES",
    "RULE_ORDER",
    "RULES",
    "Box",
    "Rule",
    "Subset",
    "Traced",
    "crop",
    "magnitude",
    "make_rule",
    "whole",
]


def make_rule(name: str, traced: Traced, baseline: str = "zero") -> Rule:
    """The rule of this name for a traced layer; ``baseline`` is for ``ablation``."""
    if name not in RULES:
        raise ValueError(f"no rule {name!r}; there are {', '.join(RULES)}")
    if name == "ablation":
        return Ablation(traced, baseline)
    kind = _BY_NEURONS[name][traced.layer.neurons]
    few = traced.x.shape[-2] * traced.x.shape[-1] <= FEW and not traced.is_last
    return Impulses(traced) if kind is FirstOrderKernels and few else kind(traced)
