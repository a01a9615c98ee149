"""Contribution tracing: which neuron paints which pixel of one frame.

What lives here: ``trace``, ``Canvas``, ``LayerMaps``, sums over regions, and the rules that define
a contribution (METHOD 2 and METHOD 3). What does not: what is concluded from the maps, which is
the study's.
"""

from __future__ import annotations

from .budget import Budget
from .canvas import Canvas, trace, trace_frames
from .maps import LayerMaps
from .region_sums import Regional
from .rules import RULE_NAMES, RULE_ORDER, RULES, Box, Rule, Traced, whole

__all__ = [
    "RULES",
    "RULE_NAMES",
    "RULE_ORDER",
    "Box",
    "Budget",
    "Canvas",
    "LayerMaps",
    "Regional",
    "Rule",
    "Traced",
    "trace",
    "trace_frames",
    "whole",
]
