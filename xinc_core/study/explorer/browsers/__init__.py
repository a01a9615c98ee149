"""The browsers of the findings: sliders on one side, pictures that follow on the other.

What lives here: one view per finding that has one, and what they share. What does not: how the
numbers are computed, which is the finding's.
"""

from __future__ import annotations

from torch import nn

from xinc_core.clips.clip import Clip

from . import uses, views
from .base import Browser, Opened

VIEWS = {
    "neurons per pixel": views.neurons_per_pixel,
    "intensity and edges": views.intensity_and_edges,
    "selectivity": views.selectivity,
    "objects": views.objects,
    "fluctuation": views.fluctuation,
    "groups": views.kinds,
    "faithfulness": views.faithfulness,
    "pruning": uses.pruning,
    "region": uses.region,
}


def browse(model: nn.Module, clip: Clip, view: str, **start) -> Browser:
    """Open one of the ``VIEWS`` on a model and its clip; ``start`` may name layer, frame, rule
    and the view's own controls.
    """
    if view not in VIEWS:
        raise ValueError(f"no view {view!r}; there are {', '.join(VIEWS)}")
    return VIEWS[view](Opened(model, clip), **start)
