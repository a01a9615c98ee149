"""The flipped twin: does a neuron of a coordinate network hold content or position?

METHOD 6.3, earlier statistic.

The twin is fitted from the same seed to the mirrored frame. If neuron n's map in the twin is its
own map, it holds a place; if it is its own map mirrored, it holds what the picture shows there.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from xinc_core.study.statistics.explained import Regions, sums_of
from xinc_core.study.statistics.partitions import GRID
from xinc_core.study.statistics.scene import Scene

from .base import Finding, View
from .planted import painted_by


def measure(view: View) -> dict[str, float]:
    """Median over neurons of the correlation of their cell profiles in the twin with their own, in
    place and mirrored.
    """
    own_layer, twin_layer = view.layers
    labels = view.scene.labels(GRID, view.frame)
    cells = Regions.of({GRID: labels})
    mirrored_cells = Regions.of({GRID: labels.flip(-1)})
    own = sums_of(own_layer, cells).sums  # (n, cells)
    own_mirrored = sums_of(own_layer, mirrored_cells).sums
    twin = sums_of(twin_layer, cells).sums
    alive = (own.sum(1) > 0) & (twin.sum(1) > 0)
    position = _correlations(twin[alive], own[alive])
    content = _correlations(twin[alive], own_mirrored[alive])
    return dict(twin_position=float(np.median(position)), twin_content=float(np.median(content)))


def _correlations(a: Tensor, b: Tensor) -> np.ndarray:
    """Correlation of each row of a with the same row of b, (n,)."""
    a = a - a.mean(1, keepdim=True)
    b = b - b.mean(1, keepdim=True)
    norms = (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)
    return ((a * b).sum(1) / norms).numpy()


def plant(scene: Scene, frame: int, seed: int) -> dict[str, tuple[Tensor, ...]]:
    """A network and its twin: maps that move with the mirrored picture, and maps that stay where
    they are.
    """
    maps = painted_by(scene.labels(GRID, frame), 48, seed)
    return {"content": (maps, maps.flip(-1)), "position": (maps, maps + 0.1)}


FINDING = Finding(
    name="twin",
    version=1,
    question="Does a neuron's map move when the picture is mirrored?",
    section="beyond the paper",
    notebook="05",
    statistics={
        "twin_content": "correlation with the mirrored own map",
        "twin_position": "correlation with the own map in place",
    },
    measure=measure,
    plant=plant,
    compares_twin=True,
)
