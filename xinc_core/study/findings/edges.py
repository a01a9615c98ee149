"""Finding: contributions follow more than intensity; they follow edges.

METHOD 6.2, earlier statistic.

How a layer's heatmap ranks its pixels, against the frame's intensity, its Sobel edges, and its
edges among pixels of equal intensity. A null of toroidal shifts tells what two unrelated smooth
pictures reach.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xinc_core.study.statistics.ranks import (
    normalised,
    partial_rank_correlation,
    partial_shift_null,
    rank_correlation,
)
from xinc_core.study.statistics.scene import Scene

from .base import Finding, View
from .browsing import BrowserSpec, Opened, Picture
from .claims import Claim, Condition
from .planted import white


def measure(view: View) -> dict[str, float]:
    """Rank correlations of the heatmap Σ_n |C_n(p)| with intensity and edges; the partial one and
    its null's 97.5 %.
    """
    heatmap = view.layer.heatmap()
    light = view.scene.light(view.frame)
    edge = view.scene.edges(view.frame)
    null = partial_shift_null(heatmap, edge, light, step=max(view.stride, 4))
    return dict(
        rank_intensity=rank_correlation(heatmap, light),
        rank_edges=rank_correlation(heatmap, edge),
        partial_edges=partial_rank_correlation(heatmap, edge, light),
        shift_null=float(np.quantile(null, 0.975)),
    )


def pictures(view: View) -> dict[str, Tensor]:
    """The heatmap, min-max normalised, in percent: (H, W) bytes."""
    return dict(heatmap=(100 * normalised(view.layer.heatmap())).round().byte())


def browse(opened: Opened, layer: str, frame: int, rule: str) -> dict[str, Picture]:
    """The heatmap of a layer beside intensity, edges and the difference from intensity."""
    sample = opened.sampled_maps(frame, rule, layer)
    painted = opened.canvas(frame, rule).frame
    heatmap = normalised(sample.maps.sum(0))
    intensity, sobel = opened.scene.light(painted), opened.scene.edges(painted)
    with_intensity = rank_correlation(heatmap, intensity)
    with_edges = rank_correlation(heatmap, sobel)
    about = f"<b>{layer}</b>, heatmap of {len(sample.maps)} of {sample.n_neurons:,} neurons"
    return {
        about: Picture.magnitude(heatmap),
        f"intensity; rank correlation {with_intensity:.2f}": Picture.magnitude(intensity),
        "|heatmap − intensity|": Picture.magnitude(heatmap - intensity),
        f"edges (Sobel); rank correlation {with_edges:.2f}": Picture.magnitude(sobel),
    }


BROWSER = BrowserSpec("intensity and edges", browse)


def plant(scene: Scene, frame: int, seed: int) -> dict[str, tuple[Tensor, ...]]:
    """Maps that follow edges; that follow intensity, along a curve; that follow nothing."""
    n_neurons, size = 32, scene.clip.size
    noise = white(n_neurons, size, seed)
    gain = torch.rand(n_neurons, 1, 1, generator=torch.Generator().manual_seed(seed))
    along_a_curve = (scene.light(frame) - 0.5).abs()
    return {
        "edges": (scene.edges(frame) * gain + 0.2 * noise,),
        "intensity": (along_a_curve * gain + 0.2 * noise,),
        "white noise": (noise,),
    }


FINDING = Finding(
    name="edges",
    version=1,
    question="Do contributions follow more than brightness?",
    section="4.3",
    notebook="04",
    claims=(
        Claim(
            "edge_bias",
            "contributions follow edges, not only intensity",
            conditions=(Condition("partial_edges", 0.10), Condition("partial_edges", "shift_null")),
            beside=("rank_intensity", "rank_edges"),
            untrained_fails=True,
            cases={"edges": True, "intensity": False, "white noise": False},
        ),
    ),
    statistics={
        "partial_edges": "rank correlation with edges, others fixed",
        "shift_null": "97.5 % of toroidal shifts",
        "rank_intensity": "rank correlation with intensity",
        "rank_edges": "rank correlation with edges",
    },
    measure=measure,
    pictures={"pictures": pictures},
    plant=plant,
    captions={
        "04_heatmaps": "The frame, its brightness and its edges; then the contribution of each "
        "layer "
        "under both rules, and how it differs from brightness."
    },
    browser=BROWSER,
)
