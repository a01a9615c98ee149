"""Finding: neurons care about more than intensity; they follow edges. METHOD section 4.

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
from xinc_core.study.statistics.scene import Scene, View

from .browsing import BrowserSpec, Opened, Picture
from .claims import Claim, Condition
from .planted import white

NAME, VERSION, OFFSETS = "edges", 1, (0,)
DECIDES = (Condition("partial_edges", 0.10), Condition("partial_edges", "shift_null"))
CLAIMS = (Claim("edge_bias", DECIDES, ("rank_intensity", "rank_edges"), untrained_fails=True),)
CASES = {"edge_bias": {"edges": True, "intensity": False, "white noise": False}}


def measure(view: View) -> dict[str, float]:
    """Rank correlations of the heatmap Σ_n |C_n(p)| with intensity and edges; the partial one
    and its null's 97.5 %.
    """
    heatmap, light, edge = (
        view.layer.heatmap(),
        view.scene.light(view.frame),
        view.scene.edges(view.frame),
    )
    null = partial_shift_null(heatmap, edge, light, max(view.stride, 4))
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
    noise, size = white(32, scene.clip.size, seed), scene.clip.size
    gain = torch.rand(32, 1, 1, generator=torch.Generator().manual_seed(seed))
    cases = {
        "edges": scene.edges(frame) * gain + 0.2 * noise,
        "intensity": (scene.light(frame) - 0.5).abs() * gain + 0.2 * noise,
        "white noise": white(32, size, seed),
    }
    return {name: (maps,) for name, maps in cases.items()}
