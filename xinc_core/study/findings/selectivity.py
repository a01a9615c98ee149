"""Finding: neurons prefer colours and edges to places and objects.

METHOD 6.3 and METHOD 6.4, earlier statistic.

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
    scored,
    shapley,
    shifted_sums,
    sums_of,
)
from xinc_core.study.statistics.partitions import GABOR, GABOR_PAPER, GRID, INSTANCES, RGB
from xinc_core.study.statistics.scene import Scene, sums_at

from .base import Finding, View
from .browsing import BrowserSpec, Choice, Control, Opened, Picture, neuron_control, neuron_limit
from .claims import Claim, Condition
from .planted import painted_by, white

SHIFTED = (RGB, GABOR, GABOR_PAPER)  # the partitions against which maps are shifted
COLOUR_AND_EDGES = (RGB, GABOR)
CURVE_POINTS = 101  # of a sorted curve


def measure(view: View) -> dict[str, float]:
    """All of section 5 for one layer: medians over neurons, ratios of sums over the scored ones,
    nulls.
    """
    regions = view.scene.regions(view.frame)
    total = sums_at(view.layer, view.scene, view.frame)
    result = {}
    for name, values in selectivity(total, regions).items():
        result[f"selectivity_{_slug(name)}"] = _median(values)
    result |= explained_shares(total, regions)
    step = view.step
    if not step:
        share = explained(total.of(scored(total)), regions, COLOUR_AND_EDGES).mean()
        return result | dict(r2_colour_edges=float(share))
    # every second neuron of the sample: nulls cost most
    sums = shifted_sums(total.sample[::2], regions.by_frequency(SHIFTED, step), step)  # (S, n, R)
    widths = [regions.columns[name].stop - regions.columns[name].start for name in SHIFTED]
    shifted_by_name = dict(zip(SHIFTED, sums.split(widths, -1)))
    looked_at = total.in_sample.nonzero()[::2, 0]
    return result | shift_nulls(total.of(looked_at), shifted_by_name, regions)


def pictures(view: View) -> dict[str, Tensor]:
    """The paper's figure: selectivity sorted over neurons, one curve per partition, at
    ``CURVE_POINTS`` quantiles.
    """
    regions = view.scene.regions(view.frame)
    quantiles = torch.linspace(0, 1, CURVE_POINTS, dtype=torch.float64)
    by_partition = selectivity(sums_of(view.layer, regions), regions)
    return {name: torch.quantile(values, quantiles) for name, values in by_partition.items()}


def selectivity(total: Sums, regions: Regions) -> dict[str, Tensor]:
    """The paper's statistic per partition: the variance over regions of δ = |A − E|/E; neurons
    without any contribution dropped.
    """
    alive = total.sums[total.totals > 0]
    return {
        name: _variance_of_delta(alive[:, columns], regions.areas[columns])
        for name, columns in regions.columns.items()
    }


def _variance_of_delta(sums: Tensor, areas: Tensor) -> Tensor:
    """Variance of δ over the last axis of (…, R)."""
    expected = sums.sum(-1, keepdim=True) * areas / areas.sum()
    return ((sums - expected).abs() / expected).var(-1)


def explained_shares(total: Sums, regions: Regions) -> dict[str, float]:
    """η² of each partition, the joint R², its Shapley shares, and what the grid adds last; ratios
    of sums over neurons.
    """
    names = [name for name in (INSTANCES, GRID, RGB, GABOR) if name in regions.columns]
    alive = total.totals > 0
    scored_neurons = scored(total)
    of_scored = total.of(scored_neurons)
    r2 = {(): 0.0}  # mean adjusted R² over scored neurons, for every set of partitions
    for size in range(1, len(names) + 1):
        for chosen in combinations(names, size):
            r2[chosen] = float(explained(of_scored, regions, chosen).mean())
    joint = r2[tuple(names)]
    with_grid = r2[(GRID, RGB, GABOR)]
    result = dict(
        dead_neurons=float((total.totals == 0).double().mean()),
        r2_joint=joint,
        flat_neurons=float((alive & ~scored_neurons).double().mean()),
    )
    for name in names:
        result[f"eta2_{_slug(name)}"] = r2[(name,)]
    for name, share in shapley(r2, names).items():
        result[f"shapley_{_slug(name)}"] = share / joint
    result["grid_last"] = (with_grid - r2[COLOUR_AND_EDGES]) / with_grid
    return result


def shift_nulls(total: Sums, shifted: dict[str, Tensor], regions: Regions) -> dict[str, float]:
    """Nulls: 97.5 % over all toroidal shifts of the maps against colours and edges.

    shifted : partition → sums (S, n, R) of the shifted maps, no shift first.
    """
    alive = total.totals > 0
    result = {}
    for name in SHIFTED:
        areas = regions.areas[regions.columns[name]]
        variances = _variance_of_delta(shifted[name][1:, alive], areas)  # (S − 1, n)
        result[f"null_selectivity_{_slug(name)}"] = _high(variances.nanmedian(1).values)
    of_scored = total.of(scored(total))
    _, inverse, rank = regions.basis(COLOUR_AND_EDGES)
    both = torch.cat([shifted[RGB], shifted[GABOR]], -1)[1:, scored(total)]
    null = adjusted(both, of_scored, inverse, rank)  # (S − 1, n)
    result["null_r2_colour_edges"] = _high(null.mean(1))
    result["r2_colour_edges"] = float(explained(of_scored, regions, COLOUR_AND_EDGES).mean())
    return result


def _high(values: Tensor) -> float:
    return float(torch.quantile(values.double(), 0.975))


def _median(values: Tensor) -> float:
    return float(values.median()) if len(values) else float("nan")


def _slug(name: str) -> str:
    return name.replace(" (paper)", "_paper")


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
    return (*neuron_control(opened), Choice("partition", "partition", partitions, RGB))


BROWSER = BrowserSpec("selectivity", browse, browser_controls, neuron_limit)


def plant(scene: Scene, frame: int, seed: int) -> dict[str, tuple[Tensor, ...]]:
    """Maps painted by colour and texture together, by cells, and by nothing."""
    n_neurons = 48
    colours = painted_by(scene.labels(RGB, frame), n_neurons, seed)
    textures = painted_by(scene.labels(GABOR_PAPER, frame), n_neurons, seed + 50)
    edges = painted_by(scene.labels(GABOR, frame), n_neurons, seed + 70)
    return {
        "colour and texture": (colours + textures + edges,),
        "cells": (painted_by(scene.labels(GRID, frame), n_neurons, seed),),
        "white noise": (white(n_neurons, scene.clip.size, seed),),
    }


_PLANTED = {"colour and texture": True, "cells": False, "white noise": False}
_PLANTED_TWINS = {"content": True, "position": False}  # see twin.py
_SHIFT_NULL = "97.5 % of shifts: selectivity for"

FINDING = Finding(
    name="selectivity",
    version=2,
    question="What do neurons prefer: colour, edges or place?",
    section="4.4",
    notebook="05",
    claims=(
        Claim(
            "colour_and_edges_over_space",
            "colour and edges over space, by the paper's statistic",
            conditions=(
                Condition("selectivity_RGB", "selectivity_grid"),
                Condition("selectivity_Gabor_paper", "selectivity_grid"),
                Condition("selectivity_RGB", "null_selectivity_RGB"),
                Condition("selectivity_Gabor_paper", "null_selectivity_Gabor_paper"),
            ),
            beside=(
                "selectivity_Gabor",
                "selectivity_instances",
                "selectivity_lattice",
                "dead_neurons",
            ),
            untrained_fails=True,
            cases=_PLANTED,
        ),
        Claim(
            "space_agnostic",
            "space-agnostic, once colour and edges are controlled for",
            conditions=(
                Condition("grid_last", 0.25, above=False),
                Condition("r2_colour_edges", "null_r2_colour_edges", decides=False),
                Condition("twin_content", "twin_position"),
            ),
            beside=(
                "r2_joint",
                "shapley_grid",
                "shapley_RGB",
                "shapley_Gabor",
                "shapley_instances",
                "flat_neurons",
                "eta2_grid",
                "eta2_RGB",
                "eta2_Gabor",
                "eta2_instances",
            ),
            cases=_PLANTED | _PLANTED_TWINS,
        ),
    ),
    statistics={
        "selectivity_instances": "median selectivity for instances regions",
        "selectivity_grid": "median selectivity for grid regions",
        "selectivity_RGB": "median selectivity for RGB regions",
        "selectivity_Gabor": "median selectivity for Gabor regions",
        "selectivity_Gabor_paper": "median selectivity for Gabor_paper regions",
        "selectivity_lattice": "median selectivity for lattice regions",
        "null_selectivity_RGB": f"{_SHIFT_NULL} RGB regions",
        "null_selectivity_Gabor": f"{_SHIFT_NULL} Gabor regions",
        "null_selectivity_Gabor_paper": f"{_SHIFT_NULL} Gabor_paper regions",
        "eta2_instances": "adjusted share of variance that instances explains alone",
        "eta2_grid": "adjusted share of variance that grid explains alone",
        "eta2_RGB": "adjusted share of variance that RGB explains alone",
        "eta2_Gabor": "adjusted share of variance that Gabor explains alone",
        "shapley_instances": "Shapley share of instances in the joint R²",
        "shapley_grid": "Shapley share of grid in the joint R²",
        "shapley_RGB": "Shapley share of RGB in the joint R²",
        "shapley_Gabor": "Shapley share of Gabor in the joint R²",
        "grid_last": "what the grid adds last, share of R²",
        "r2_joint": "adjusted R² of all partitions",
        "r2_colour_edges": "adjusted R² of colour and edges",
        "null_r2_colour_edges": "97.5 % of shifts: R² of colour and edges",
        "dead_neurons": "share of neurons without any contribution",
        "flat_neurons": "share of neurons with a flat map",
    },
    measure=measure,
    pictures={"pictures": pictures},
    plant=plant,
    samples_layers=True,
    captions={
        "05_partitions": "The ways in which the picture is cut into regions, every region in its "
        "mean colour.",
        "05_selectivity": "How strongly neurons prefer some regions to others, on a logarithmic "
        "scale; a curve for each way of cutting the picture, neurons sorted.",
        "05_shapley": "How much of a map's variance each way of cutting the picture explains: a "
        "bar "
        "per layer and rule, its parts shared out by Shapley's rule.",
    },
    browser=BROWSER,
)
