"""The flipped twin: does a neuron of a coordinate network hold content or position? METHOD section
5.

The twin is fitted from the same seed to the mirrored frame. If neuron n's map in the twin is its
own map, it holds a place; if it is its own map mirrored, it holds what the picture shows there.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from xinc_core.study.statistics.explained import Regions, sums_of
from xinc_core.study.statistics.scene import Scene, View

from .planted import painted_by
from .selectivity import GRID

NAME, VERSION, OFFSETS, TWIN = "twin", 1, (0,), True


def measure(view: View) -> dict[str, float]:
    """Median over neurons of the correlation of their cell profiles in the twin with their own,
    in place and mirrored.
    """
    regions = Regions.of({GRID: view.scene.labels(GRID, view.frame)})
    mirrored = Regions.of({GRID: view.scene.labels(GRID, view.frame).flip(-1)})
    own, own_mirrored = (sums_of(view.layers[0], r).sums for r in (regions, mirrored))
    twin = sums_of(view.layers[1], regions).sums
    alive = (own.sum(1) > 0) & (twin.sum(1) > 0)
    position, content = (_correlations(twin[alive], x[alive]) for x in (own, own_mirrored))
    return dict(twin_position=float(np.median(position)), twin_content=float(np.median(content)))


def plant(scene: Scene, frame: int, seed: int) -> dict[str, tuple[Tensor, ...]]:
    """A network and its twin: maps that move with the mirrored picture, and maps that stay where
    they are.
    """
    maps = painted_by(scene.labels(GRID, frame), 48, seed)
    return {"content": (maps, maps.flip(-1)), "position": (maps, maps + 0.1)}


def _correlations(a: Tensor, b: Tensor) -> np.ndarray:
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    return ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)).numpy()
