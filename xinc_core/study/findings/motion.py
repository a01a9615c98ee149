"""Finding: change over time is dominated by motion. METHOD 6.6, earlier statistic.

The fluctuation F_t(p) = Σ_n ||C_{n,t}(p)| − |C_{n,t−1}(p)|| against optical flow, given what any
map would follow: how much the rendered picture itself changes, and where its edges are.
Contribution maps are blurred, and a blurred change of the picture correlates with flow beyond the
sharp one; so the change is held fixed at several scales.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor

from xinc_core.study.statistics.ranks import Control, auc, correlation, rank_correlation, ranks
from xinc_core.study.statistics.scene import Scene
from xinc_core.tracing import LayerMaps

from .base import Finding, View
from .browsing import BrowserSpec, Opened, Picture
from .claims import Claim, Condition
from .planted import white

APART = 5  # frames that a circular time shift is at least away
BLURS = (5, 9, 17, 33, 65)  # sides in pixels of the windows over which the change is averaged


def measure(view: View) -> dict[str, float]:
    """Correlations of the fluctuation with flow and edges, the null of other times' flow, and how
    well it finds what moves.
    """
    scene, frame = view.scene, view.frame
    picture_before, picture_now = view.pictures
    controls = _controls(picture_now, picture_before, scene, frame)
    fluctuating = fluctuation(*view.layers)
    flow = scene.flow(frame)
    edge = scene.edges(frame)
    given_edges = controls.given_edges.residual(ranks(fluctuating))
    given_flow = controls.given_flow.residual(ranks(fluctuating))
    null = [correlation(given_edges, other) for other in controls.flow_at_other_times]
    found = dict(
        rank_flow=rank_correlation(fluctuating, flow),
        rank_edges=rank_correlation(fluctuating, edge),
        partial_flow=correlation(given_edges, controls.given_edges.residual(ranks(flow))),
        partial_edges=correlation(given_flow, controls.given_flow.residual(ranks(edge))),
        time_null=float(np.quantile(null, 0.975)) if null else float("nan"),
    )
    if scene.has_masks:
        found |= _areas_under_curves(fluctuating, controls.change, scene, frame)
    return found


def _areas_under_curves(
    fluctuating: Tensor, change: Tensor, scene: Scene, frame: int
) -> dict[str, float]:
    """How well fluctuation, and the picture's own change, tell moving and uncovered pixels."""
    moving = scene.moving(frame)
    uncovered = scene.moving(frame - 1) & ~moving
    found = {}
    for suffix, score in (("", fluctuating), ("_change", change)):
        found[f"auc_moving{suffix}"] = auc(score[~uncovered], moving[~uncovered])
        found[f"auc_uncovered{suffix}"] = auc(score[~moving], uncovered[~moving])
    return found


def pictures(view: View) -> dict[str, Tensor]:
    """The fluctuation, its largest value 255: (H, W) bytes."""
    fluctuating = fluctuation(*view.layers)
    largest = fluctuating.max().clamp_min(1e-30)
    return dict(fluctuation=(255 * fluctuating / largest).round().byte())


@dataclass(frozen=True)
class Controls:
    """What is the same for all layers of a network on one frame.

    Attributes
    ----------
    change : Tensor, (H, W)
        Σ_c |I_t − I_{t−1}|.
    given_edges : Control
        Holds the change and the edges fixed.
    given_flow : Control
        Holds the change and the flow fixed.
    flow_at_other_times : list of arrays
        Ranks of the flow at other frames with what ``given_edges`` explains taken off.
    """

    change: Tensor
    given_edges: Control
    given_flow: Control
    flow_at_other_times: list[np.ndarray]


@lru_cache(maxsize=2)  # keyed by the very pictures; all layers of a network ask
def _controls(picture_now: Tensor, picture_before: Tensor, scene: Scene, frame: int) -> Controls:
    """What is held fixed when the fluctuation between two pictures is judged."""
    change = (picture_now - picture_before).abs().sum(0)
    blurred_changes = [blurred(change, side) for side in BLURS]
    given_edges = Control(change, scene.edges(frame), also=blurred_changes)
    given_flow = Control(change, scene.flow(frame), also=blurred_changes)
    n_frames = len(scene.clip)
    at_other_times = []
    for shift in range(APART, n_frames - 1 - APART):
        flow = scene.flow(_later(frame, shift, n_frames))
        at_other_times.append(given_edges.residual(ranks(flow)))
    return Controls(change, given_edges, given_flow, at_other_times)


def _later(frame: int, shift: int, n_frames: int) -> int:
    """The frame that comes ``shift`` after this one, going round; frame 0 has no flow."""
    return (frame - 1 + shift) % (n_frames - 1) + 1


def fluctuation(before: LayerMaps, now: LayerMaps) -> Tensor:
    """F_t, (H, W) float64, from one layer at two frames; both are streamed side by side."""
    _, height, width = now.shape
    total = torch.zeros(height * width, dtype=torch.float64)
    tiles = zip(now.tiles("fluctuation"), before.tiles("fluctuation"))
    for (pixels, maps_now), (_, maps_before) in tiles:
        part = torch.zeros(len(pixels), dtype=torch.float64)
        for (_, values), (_, earlier) in zip(maps_now, maps_before):
            part += values.sub_(earlier).abs_().sum(0).cpu()
        total[pixels] = part
    return total.view(height, width)


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
    size, n_neurons = scene.clip.size, 32
    gain = torch.rand(n_neurons, 1, 1, generator=torch.Generator().manual_seed(seed))
    change = (scene.clip.frames[frame] - scene.clip.frames[frame - 1]).abs().sum(0)
    before = white(n_neurons, size, seed)
    noise = white(n_neurons, size, seed + 1)
    places = {
        "motion": scene.flow(frame),
        "picture's change": change,
        "blurred change": blurred(change, 5),
        "widely blurred change": blurred(change, 25),
    }
    cases = {}
    for name, where in places.items():
        cases[name] = (before, before + gain * where / where.max() + 0.1 * noise)
    cases["white noise"] = (before, noise)
    return cases


FINDING = Finding(
    name="motion",
    version=3,
    question="Is change over time dominated by motion?",
    section="4.6",
    notebook="07",
    claims=(
        Claim(
            "motion_dominates",
            "change over time is dominated by motion",
            conditions=(
                Condition("partial_flow", "time_null"),
                Condition("partial_flow", "partial_edges"),
            ),
            beside=(
                "rank_flow",
                "rank_edges",
                "auc_moving",
                "auc_moving_change",
                "auc_uncovered",
                "auc_uncovered_change",
            ),
            untrained_fails=True,
            cases={
                "motion": True,
                "picture's change": False,
                "blurred change": False,
                "widely blurred change": False,
                "white noise": False,
            },
        ),
    ),
    statistics={
        "partial_flow": "rank correlation with flow, others fixed",
        "partial_edges": "rank correlation with edges, others fixed",
        "time_null": "97.5 % of flow at other times",
        "rank_flow": "rank correlation with flow",
        "rank_edges": "rank correlation with edges",
        "auc_moving": "AUC: moving against static pixels",
        "auc_moving_change": "the same by the picture's own change",
        "auc_uncovered": "AUC: uncovered background",
        "auc_uncovered_change": "the same by the picture's own change",
    },
    measure=measure,
    pictures={"pictures": pictures},
    plant=plant,
    offsets=(-1, 0),
    samples_layers=True,
    captions={
        "07_fluctuation": "A frame, its optical flow, the change of the picture and its edges; "
        "then "
        "where contributions change from one frame to the next, in each layer under both rules."
    },
    browser=BROWSER,
)
