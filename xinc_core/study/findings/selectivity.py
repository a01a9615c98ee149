"""Finding: neurons care about colour and edges, not about space or objects. METHOD section 5.

How strongly each neuron prefers some regions of a partition to others, in the paper's statistic
(variance of δ over regions) and in shares of explained variance (adjusted R², Shapley, grid last).
All of it follows from region sums, the Gram matrix of the region indicators and Σ C²: one streaming
pass.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from xinc_core.study.statistics.explained import (
    Regions,
    Sums,
    adjusted,
    explained,
    regions_of,
    scored,
    shapley,
    shifted_sums,
    sums_at,
    sums_of,
)
from xinc_core.study.statistics.scene import Scene, View

from .browsing import BrowserSpec, Choice, Control, Opened, Picture, neuron_control, neuron_limit
from .claims import Claim, Condition
from .planted import painted_by, white

NAME, VERSION, OFFSETS, SAMPLED = "selectivity", 2, (0,), True
GRID, COLOR, EDGES, PAPERS_EDGES, THINGS, LATTICE = (
    "grid",
    "RGB",
    "Gabor",
    "Gabor (paper)",
    "instances",
    "lattice",
)
MOVED = (COLOR, EDGES, PAPERS_EDGES)  # the partitions against which maps are shifted
OVER = [("selectivity_RGB", "selectivity_grid"), ("selectivity_Gabor_paper", "selectivity_grid")]
OVER += [(statistic, f"null_{statistic}") for statistic, _ in OVER]
AGNOSTIC = (
    Condition("grid_last", 0.25, above=False),
    Condition("r2_colour_edges", "null_r2_colour_edges", decides=False),
)
BESIDE = ("selectivity_Gabor", "selectivity_instances", "selectivity_lattice", "dead_neurons")
TOLD = (
    "r2_joint",
    "shapley_grid",
    "shapley_RGB",
    "shapley_Gabor",
    "shapley_instances",
    "flat_neurons",
)
TOLD += ("eta2_grid", "eta2_RGB", "eta2_Gabor", "eta2_instances")
CLAIMS = (
    Claim(
        "colour_and_edges_over_space",
        tuple(Condition(*bound) for bound in OVER),
        BESIDE,
        untrained_fails=True,
    ),
    Claim("space_agnostic", (*AGNOSTIC, Condition("twin_content", "twin_position")), TOLD),
)
SEEN = {"colour and texture": True, "cells": False, "white noise": False}
TWINS = {
    "content": True,
    "position": False,
}  # a twin whose maps move with the picture, and one whose maps stay
CASES = {"colour_and_edges_over_space": SEEN, "space_agnostic": SEEN | TWINS}


def measure(view: View) -> dict[str, float]:
    """All of section 5 for one layer: medians over neurons, ratios of sums over the scored ones,
    nulls.
    """
    regions = regions_of(view.scene, view.frame)
    total = sums_at(view.layer, view.scene, view.frame)
    result = {f"selectivity_{_slug(n)}": _median(v) for n, v in selectivity(total, regions).items()}
    result |= explained_shares(total, regions)
    if step := view.step:
        # every second neuron of the sample: nulls cost most
        sums = shifted_sums(total.few[::2], regions.by_frequency(MOVED, step), step)
        moved = dict(
            zip(
                MOVED,
                sums.split([regions.columns[n].stop - regions.columns[n].start for n in MOVED], -1),
            )
        )
        return result | shifted(total.of(total.chosen.nonzero()[::2, 0]), moved, regions)
    return result | dict(
        r2_colour_edges=float(explained(total.of(scored(total)), regions, (COLOR, EDGES)).mean())
    )


def pictures(view: View, points: int = 101) -> dict[str, Tensor]:
    """The paper's figure: selectivity sorted over neurons, one curve per partition, at so many
    quantiles.
    """
    regions = regions_of(view.scene, view.frame)
    at = torch.linspace(0, 1, points, dtype=torch.float64)
    sorted_ = selectivity(sums_of(view.layer, regions), regions)
    return {name: torch.quantile(values, at) for name, values in sorted_.items()}


def browse(
    opened: Opened, layer: str, frame: int, rule: str, neuron: int, partition: str
) -> dict[str, Picture]:
    """What one neuron prefers: its mean contribution in every region of a partition, over its mean
    everywhere.
    """
    canvas = opened.canvas(frame, rule)
    maps = canvas[layer]
    values = maps[neuron].abs()
    labels = opened.scene.labels(partition, canvas.frame)  # (H, W)
    ratios = region_ratios(values, labels)
    about = f"mean per {partition} region / picture's mean; brightest = {float(ratios.max()):.2f}×"
    return {
        f"frame {frame}": Picture.photo(opened.truth(frame)),
        f"<b>{layer}, neuron {neuron}</b> of {len(maps):,}": Picture.magnitude(values),
        about: Picture.magnitude(ratios[labels]),
    }


def region_ratios(values: Tensor, labels: Tensor) -> Tensor:
    """Mean of (H, W) values in every region over their mean in the picture, (R,) float64."""
    areas = torch.bincount(labels.flatten())
    sums = torch.bincount(labels.flatten(), values.flatten().double())
    return sums / areas / values.double().mean().clamp_min(1e-30)


def browser_controls(opened: Opened) -> tuple[Control, ...]:
    """The neuron, and the partition whose regions are averaged."""
    partitions = tuple(opened.scene.partitions)
    return (*neuron_control(opened), Choice("partition", "partition", partitions, COLOR))


BROWSER = BrowserSpec("selectivity", browse, browser_controls, neuron_limit)


def plant(scene: Scene, frame: int, seed: int) -> dict[str, tuple[Tensor, ...]]:
    """Maps painted by colour and texture together, by cells, and by nothing."""
    colour, texture, cells = (scene.labels(n, frame) for n in (COLOR, PAPERS_EDGES, GRID))
    edges = scene.labels(EDGES, frame)
    mixed = (
        painted_by(colour, 48, seed)
        + painted_by(texture, 48, seed + 50)
        + painted_by(edges, 48, seed + 70)
    )
    cases = {"colour and texture": mixed, "cells": painted_by(cells, 48, seed)}
    cases["white noise"] = white(48, scene.clip.size, seed)
    return {name: (maps,) for name, maps in cases.items()}


def selectivity(total: Sums, regions: Regions) -> dict[str, Tensor]:
    """The paper's statistic per partition: the variance over regions of δ = |A − E|/E; dead
    neurons dropped.
    """
    alive = total.sums[total.totals > 0]
    return {name: _spread(alive[:, c], regions.areas[c]) for name, c in regions.columns.items()}


def _spread(sums: Tensor, areas: Tensor) -> Tensor:
    """Variance of δ over the last axis of (…, R)."""
    expected = sums.sum(-1, keepdim=True) * areas / areas.sum()
    return ((sums - expected).abs() / expected).var(-1)


def explained_shares(total: Sums, regions: Regions) -> dict[str, float]:
    """η² of each partition, the joint R², its Shapley shares, and what the grid adds last;
    ratios of sums over neurons.
    """
    names = [n for n in (THINGS, GRID, COLOR, EDGES) if n in regions.columns]
    kept = total.of(scored(total))
    mean = {(): 0.0}  # of the adjusted R² over scored neurons, for every set of partitions
    for size in range(1, len(names) + 1):
        for chosen in combinations(names, size):
            mean[chosen] = float(explained(kept, regions, chosen).mean())
    everything, with_grid, image = tuple(names), (GRID, COLOR, EDGES), (COLOR, EDGES)
    result = dict(
        dead_neurons=float((total.totals == 0).double().mean()), r2_joint=mean[everything]
    )
    result["flat_neurons"] = float(((total.totals > 0) & ~scored(total)).double().mean())
    result |= {f"eta2_{_slug(n)}": mean[(n,)] for n in names}
    result |= {f"shapley_{_slug(n)}": v / mean[everything] for n, v in shapley(mean, names).items()}
    return result | {"grid_last": (mean[with_grid] - mean[image]) / mean[with_grid]}


def shifted(total: Sums, moved: dict[str, Tensor], regions: Regions) -> dict[str, float]:
    """Nulls: 97.5 % over all toroidal shifts of the maps against colours and edges; ``moved``
    begins with no shift.
    """
    alive, result = total.totals > 0, {}
    for name in MOVED:
        spread = _spread(moved[name][1:, alive], regions.areas[regions.columns[name]])
        result[f"null_selectivity_{_slug(name)}"] = _high(spread.nanmedian(1).values)
    kept = scored(total)
    index, inverse, rank = regions.basis((COLOR, EDGES))
    null = adjusted(
        torch.cat([moved[COLOR], moved[EDGES]], -1)[1:, kept], total.of(kept), inverse, rank
    )
    result["null_r2_colour_edges"] = _high(null.mean(1))
    result["r2_colour_edges"] = float(explained(total.of(kept), regions, (COLOR, EDGES)).mean())
    return result


def _high(values: Tensor) -> float:
    return float(torch.quantile(values.double(), 0.975))


def _median(values: Tensor) -> float:
    return float(values.median()) if len(values) else float("nan")


def _slug(name: str) -> str:
    return name.replace(" (paper)", "_paper")
