"""Finding: change over time is dominated by motion. METHOD section 7.

The fluctuation F_t(p) = Σ_n ||C_{n,t}(p)| − |C_{n,t−1}(p)|| against optical flow, given what any
map would follow: how much the rendered picture itself changes, and where its edges are.
Contribution maps are blurred, and a blurred change of the picture correlates with flow beyond the
sharp one; so the change is held fixed at several scales.
"""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor

from xinc_core.study.statistics.ranks import Control, auc, correlation, rank_correlation, ranks
from xinc_core.study.statistics.scene import Scene, View

from .browsing import BrowserSpec, Opened, Picture
from .claims import Claim, Condition
from .planted import white

NAME, VERSION, OFFSETS, SAMPLED = "motion", 3, (-1, 0), True
DECIDES = (Condition("partial_flow", "time_null"), Condition("partial_flow", "partial_edges"))
TOLD = (
    "rank_flow",
    "rank_edges",
    "auc_moving",
    "auc_moving_change",
    "auc_uncovered",
    "auc_uncovered_change",
)
CLAIMS = (Claim("motion_dominates", DECIDES, TOLD, untrained_fails=True),)
FAIL = ("picture's change", "blurred change", "widely blurred change", "white noise")
CASES = {"motion_dominates": {"motion": True} | dict.fromkeys(FAIL, False)}
APART = 5  # frames that a circular time shift is at least away
BLURS = (
    5,
    9,
    17,
    33,
    65,
)  # sides, in pixels, of the windows over which the picture's change is averaged


def measure(view: View) -> dict[str, float]:
    """Correlations of the fluctuation with flow and edges, the null of other times' flow, and
    how well it finds what moves.
    """
    scene, t = view.scene, view.frame
    fixed = _held_fixed(scene, t, *view.pictures)
    f, flow, edge, change = fluctuation(*view.layers), scene.flow(t), scene.edges(t), fixed.change
    left = fixed.given_edges.residual(ranks(f))
    null = [correlation(left, other) for other in fixed.other_times]
    given_flow = (fixed.given_flow.residual(ranks(x)) for x in (f, edge))
    found = dict(
        rank_flow=rank_correlation(f, flow),
        rank_edges=rank_correlation(f, edge),
        partial_flow=correlation(left, fixed.given_edges.residual(ranks(flow))),
        partial_edges=correlation(*given_flow),
        time_null=float(np.quantile(null, 0.975)) if null else float("nan"),
    )
    if scene.has_masks:
        now, before = scene.moving(t), scene.moving(t - 1)
        uncovered = before & ~now
        for name, score in (("", f), ("_change", change)):
            found[f"auc_moving{name}"] = auc(score[~uncovered], now[~uncovered])
            found[f"auc_uncovered{name}"] = auc(score[~now], uncovered[~now])
    return found


def pictures(view: View) -> dict[str, Tensor]:
    """The fluctuation, its largest value 255: (H, W) bytes."""
    f = fluctuation(*view.layers)
    return dict(fluctuation=(255 * f / f.max().clamp_min(1e-30)).round().byte())


@lru_cache(maxsize=2)
def _held_fixed(scene: Scene, t: int, before: Tensor, now: Tensor) -> SimpleNamespace:
    """What is the same for all layers of a network: the picture's change, what is held fixed,
    the flow at other times.
    """
    change = (now - before).abs().sum(0)
    around = [blurred(change, side) for side in BLURS]
    given_edges = Control(change, scene.edges(t), also=around)
    times = (_later(t, k, scene) for k in range(APART, len(scene.clip) - 1 - APART))
    other_times = [given_edges.residual(ranks(scene.flow(other))) for other in times]
    given_flow = Control(change, scene.flow(t), also=around)
    return SimpleNamespace(
        change=change, given_edges=given_edges, given_flow=given_flow, other_times=other_times
    )


def _later(t: int, k: int, scene: Scene) -> int:
    """The frame k after t, going round; frame 0 has no flow."""
    return (t - 1 + k) % (len(scene.clip) - 1) + 1


def fluctuation(before, now) -> Tensor:
    """F_t, (H, W) float64, from one layer at two frames; both are streamed side by side."""
    total = torch.zeros(now.shape[1] * now.shape[2], dtype=torch.float64)
    for (pixels, maps), (_, earlier) in zip(now.tiles("fluctuation"), before.tiles("fluctuation")):
        part = torch.zeros(len(pixels), dtype=torch.float64)
        for (_, values), (_, old) in zip(maps, earlier):
            part += values.sub_(old).abs_().sum(0).cpu()
        total[pixels] = part
    return total.view(now.shape[1:])


def blurred(values: Tensor, side: int) -> Tensor:
    """Mean over square windows of so many pixels, (H, W)."""
    return torch.from_numpy(uniform_filter(values.double().cpu().numpy(), side))


def browse(opened: Opened, layer: str, frame: int, rule: str) -> dict[str, Picture]:
    """How the maps changed since the frame before, beside optical flow and the change of the
    picture.
    """
    now = opened.sampled_maps(frame, rule, layer)
    before = opened.sampled_maps(frame - 1, rule, layer)
    f = (now.maps - before.maps).abs().sum(0)
    flow = opened.scene.flow(frame)
    painted = [opened.canvas(t, rule).image for t in (frame, frame - 1)]
    change = (painted[0] - painted[1]).abs().sum(0)
    about = f"<b>{layer}</b>, fluctuation of {len(now.maps)} of {now.n_neurons:,} neurons"
    about_flow = (
        f"flow up to {float(flow.max()):.1f} pixels; "
        f"rank correlation {rank_correlation(f, flow):.2f}"
    )
    about_change = f"change of the picture; rank correlation {rank_correlation(f, change):.2f}"
    return {
        about: Picture.magnitude(f),
        about_flow: Picture.magnitude(flow),
        f"frame {frame}": Picture.photo(opened.truth(frame)),
        about_change: Picture.magnitude(change),
    }


BROWSER = BrowserSpec("fluctuation", browse, first_frame=1, needs_video=True)


def plant(scene: Scene, frame: int, seed: int) -> dict[str, tuple[Tensor, ...]]:
    """Maps at t−1 and t that change where things move; where the picture changes, sharply or
    blurred; anywhere.
    """
    size, n = scene.clip.size, 32
    gain = torch.rand(n, 1, 1, generator=torch.Generator().manual_seed(seed))
    change = (scene.clip.frames[frame] - scene.clip.frames[frame - 1]).abs().sum(0)
    base, after = white(n, size, seed), white(n, size, seed + 1)
    cases = {"motion": scene.flow(frame), "picture's change": change}
    cases |= {"blurred change": blurred(change, 5), "widely blurred change": blurred(change, 25)}
    made = {name: (base, base + gain * by / by.max() + 0.1 * after) for name, by in cases.items()}
    return made | {"white noise": (base, after)}
