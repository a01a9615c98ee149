"""The rules: four answers to "what does this neuron contribute to this pixel?" (METHOD 3).

What lives here: one class per rule and kind of neuron, behind one interface (``base.Rule``),
``make_rule``, and the names of the rules, which are listed nowhere else. What does not: loops over
a whole layer, which are in ``maps.LayerMaps``.
"""

from __future__ import annotations

from ..budget import DEFAULT_BUDGET, Budget
from .ablation import Ablation
from .base import Box, Rule, Subset, Traced, crop, magnitude, whole
from .first_order_columns import FirstOrderColumns
from .first_order_kernels import FirstOrderKernels
from .impulses import Impulses
from .paper import PaperColumns, PaperKernels

# How each rule is called in sentences, figures and menus.
RULE_NAMES = {
    "paper": "paper's rule",
    "first_order": "first-order rule",
    "horizon": "horizon rule",
    "ablation": "ablation",
}

# All rules, and those that are cheap enough for every neuron, in the order in which they are shown.
RULES = tuple(RULE_NAMES)
RULE_ORDER = ("paper", "first_order")

__all__ = [
    "RULES",
    "RULE_NAMES",
    "RULE_ORDER",
    "Box",
    "Rule",
    "Subset",
    "Traced",
    "check_rule",
    "crop",
    "magnitude",
    "make_rule",
    "whole",
]


def check_rule(name: str) -> None:
    """Raise ValueError, naming the rules, where there is none of this name."""
    if name not in RULES:
        raise ValueError(f"no rule {name!r}; there are {', '.join(RULES)}")


def make_rule(name: str, traced: Traced, budget: Budget = DEFAULT_BUDGET) -> Rule:
    """The rule of this name for a traced layer, in the form that fits its kind of neurons.

    Raises
    ------
    ValueError
        Where there is no rule of this name.
    """
    check_rule(name)
    return _kind(name, traced, budget)(traced, budget)


def _kind(name: str, traced: Traced, budget: Budget) -> type[Rule]:
    """The class of a rule.

    ``horizon`` is ``first_order`` with slopes at another state, which is what ``traced`` holds.
    """
    if name == "ablation":
        return Ablation
    columns = traced.layer.neurons == "columns"
    if name == "paper":
        return PaperColumns if columns else PaperKernels
    if columns:
        return FirstOrderColumns
    height, width = traced.grid
    if height * width <= budget.impulses_up_to_cells and not traced.is_last:
        return Impulses
    return FirstOrderKernels
