"""Finding: whether neurons follow instances over time. METHOD 6.5, earlier statistic.

Instances differ in colour, edges and place; what counts is what they explain of a map beyond these.
Persistence is the correlation over neurons of the signed δ = (A − E)/E of an instance at t with
that of an instance at t + 5. A neuron that follows an object keeps its δ there; but so does one
that holds on to a colour, hence the size-matched colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from xinc_core.study.statistics.explained import (
    Regions,
    Sums,
    adjusted,
    explained,
    scored,
    shifted_sums,
    sums_of,
)
from xinc_core.study.statistics.partitions import GABOR, GABOR_PAPER, GRID, INSTANCES, RGB
from xinc_core.study.statistics.ranks import unit_rows
from xinc_core.study.statistics.scene import MOVING, Scene, sums_at
from xinc_core.tracing import trace

from .base import Finding, View
from .browsing import BrowserSpec, Opened, Picture, neuron_control, neuron_limit
from .claims import Claim, Condition
from .planted import painted_by, planted, white

HORIZON = 5  # frames over which persistence is measured
BEFORE = (RGB, GABOR, GRID)  # what explains a map before instances are added
SHIFTS = 40  # of the masks, for the null
OTHER = "other"  # the region of everything that is no instance


def measure(view: View) -> dict[str, float]:
    """What instances add to what explains the maps; in a video also how persistent they are."""
    found = added(view)
    if len(view.layers) > 1:
        found |= persistence(view)
    return found


def added(view: View) -> dict[str, float]:
    """What instances add to colour, edges and grid: as it is, with one instance doubled in every
    map, with shifted masks.
    """
    regions = view.scene.regions(view.frame)
    instances = regions.columns[INSTANCES]
    if instances.stop - instances.start < 2:  # nothing but "other"
        return {}
    total = sums_at(view.layer, view.scene, view.frame)
    own = total.of(total.in_sample)
    own_scored = own.of(scored(own))
    doubled = _with_one_instance_doubled(total.sample, view, regions)
    doubled_scored = doubled.of(scored(doubled))
    null = _gains_of_shifted_masks(total.sample, own, regions, view.step) if view.step else []
    return dict(
        instances_last=float(_gain(own_scored, regions).mean()),
        planted_instances_last=float(_gain(doubled_scored, regions).mean()),
        null_instances_last=float(np.quantile(null, 0.975)) if null else float("nan"),
    )


def _gain(sums: Sums, regions: Regions) -> Tensor:
    """What instances add last to the adjusted R², (n,)."""
    return explained(sums, regions, (*BEFORE, INSTANCES)) - explained(sums, regions, BEFORE)


def _with_one_instance_doubled(maps: Tensor, view: View, regions: Regions) -> Sums:
    """The sums of maps (k, H, W) in each of which one instance counts twice, one after the
    other.
    """
    labels = view.scene.labels(INSTANCES, view.frame)  # 0 is "other"
    chosen = 1 + torch.arange(len(maps)) % int(labels.max())  # (k,)
    inside = labels == chosen[:, None, None]  # (k, H, W)
    return sums_of(planted(torch.where(inside, 2 * maps, maps)), regions)


def _gains_of_shifted_masks(maps: Tensor, own: Sums, regions: Regions, step: int) -> list[float]:
    """What masks add that were shifted against everything else: a mean over neurons per shift."""
    varied = scored(own)
    own_scored = own.of(varied)
    fixed = own_scored.sums[:, regions.index(BEFORE)]  # (n, R fixed)
    without = explained(own_scored, regions, BEFORE).mean()
    masks = regions.by_frequency((INSTANCES,), step)
    shifted = shifted_sums(maps, masks, step)[:, varied]  # (S, n, R moved)
    gains = []
    for shift, inverse, rank in regions.shifted_bases(BEFORE, INSTANCES, step, SHIFTS):
        sums = torch.cat([fixed, shifted[shift]], 1)
        gains.append(float(adjusted(sums, own_scored, inverse, rank).mean() - without))
    return gains


@dataclass(frozen=True)
class Delta:
    """δ = (A − E)/E of one region over neurons, (n,), and the region's area in pixels."""

    values: np.ndarray
    area: float


def persistence(view: View) -> dict[str, float]:
    """Persistence of instances, of different instances, of moving ones, and of colour clusters of
    the instances' sizes.
    """
    now, later = signed(view, 0), signed(view, 1)
    names = sorted(now[INSTANCES].keys() & later[INSTANCES].keys())
    across = _correlations(
        [now[INSTANCES][name] for name in names], [later[INSTANCES][name] for name in names]
    )
    colours = _colours_of_equal_size(now, later, names)
    same_colour = _correlations(
        [now[RGB][name] for name in colours], [later[RGB][name] for name in colours]
    ).diagonal()
    numbers = {segment.name: segment.id for segment in view.scene.clip.segments.values()}
    speeds = [view.scene.speed(numbers[name], view.frame) for name in names]
    moves = np.array(speeds, dtype=float) >= MOVING
    same = across.diagonal()
    different = across[~np.eye(len(names), dtype=bool)]
    return dict(
        persistence_same=_mean(same),
        persistence_different=_mean(different),
        persistence_moving=_mean(same[moves]),
        persistence_colour=_mean(same_colour),
    )


def _colours_of_equal_size(now: dict, later: dict, instances: list[str]) -> list[str]:
    """For each instance the colour cluster, seen at both frames, whose area is nearest to its."""
    colours = sorted(now[RGB].keys() & later[RGB].keys())
    matched = []
    for name in instances:
        area = now[INSTANCES][name].area
        matched.append(min(colours, key=lambda colour: abs(now[RGB][colour].area - area)))
    return matched


def signed(view: View, which: int) -> dict[str, dict[str, Delta]]:
    """Signed δ of every instance and colour cluster that a frame shows: partition → name → δ.

    which : position among the finding's offsets.
    """
    frame = view.frame + (0, HORIZON)[which]
    regions = view.scene.regions(frame)
    sums = sums_at(view.layers[which], view.scene, frame)
    found: dict[str, dict[str, Delta]] = {}
    for partition in (INSTANCES, RGB):
        part = view.scene.partitions[partition]
        shown = [part.names[number] for number in part.labels[frame].unique()]
        columns = regions.columns[partition]
        areas = regions.areas[columns]
        expected = sums.totals[:, None] * areas / sums.pixels  # (n, R)
        delta = ((sums.sums[:, columns] - expected) / expected).nan_to_num().numpy()
        found[partition] = {}
        for column, name in enumerate(shown):
            if name != OTHER:
                found[partition][name] = Delta(delta[:, column], float(areas[column]))
    return found


def over_time(
    model: nn.Module, scene: Scene, layer: str, neurons: Sequence[int], rule: str
) -> Tensor:
    """Mean contribution per instance and frame, over its sum for that neuron: (n, T, instances);
    NaN where an instance is absent.
    """
    part = scene.partitions[INSTANCES]
    n_frames = len(scene.clip)
    shares = torch.full((len(neurons), n_frames, part.n_regions), torch.nan, dtype=torch.float64)
    for t in range(n_frames):
        maps = trace(model, t, rule)[layer]
        labels = part.labels[t].flatten()  # (P,)
        area = torch.bincount(labels, minlength=part.n_regions).double()
        for row, neuron in enumerate(neurons):
            values = maps[neuron].abs().flatten().double()
            sums = torch.bincount(labels, values, part.n_regions)
            shares[row, t] = torch.where(area > 0, sums / area, torch.nan)
    return shares / shares.nansum((1, 2), keepdim=True)


def _correlations(now: list[Delta], later: list[Delta]) -> np.ndarray:
    """Correlation over neurons of every region now with every region later, (n, n)."""
    return unit_rows(_stacked(now)) @ unit_rows(_stacked(later)).T


def _stacked(deltas: list[Delta]) -> np.ndarray:
    """δ as rows, (regions, neurons)."""
    if not deltas:
        return np.zeros((0, 2))
    return np.stack([delta.values for delta in deltas])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def browse(opened: Opened, layer: str, frame: int, rule: str, neuron: int) -> dict[str, Picture]:
    """One neuron's map, and, where the clip has masks, its mean in every instance of the frame."""
    maps = opened.canvas(frame, rule)[layer]
    values = maps[neuron].abs()
    pictures = {
        f"frame {frame}": Picture.photo(opened.truth(frame)),
        f"<b>{layer}, neuron {neuron}</b> of {len(maps):,}": Picture.magnitude(values),
    }
    if opened.scene.has_masks:
        caption, means = _means_of_instances(opened.scene, values, opened.canvas(frame, rule).frame)
        pictures[caption] = Picture.magnitude(means)
    return pictures


def _means_of_instances(scene: Scene, values: Tensor, frame: int) -> tuple[str, Tensor]:
    """A caption that names the three instances of largest mean, and the means drawn in their
    masks, (H, W), 0 where there is no instance.
    """
    part = scene.partitions[INSTANCES]
    labels = part.labels[frame]  # (H, W); region 0 is "other"
    sums = torch.zeros(part.n_regions).index_add_(0, labels.flatten(), values.flatten())
    areas = torch.bincount(labels.flatten(), minlength=part.n_regions)
    means = sums / areas.clamp_min(1)
    ratios = means / values.mean().clamp_min(1e-30)
    largest = 1 + means[1:].argsort(descending=True)[:3]
    names = ", ".join(f"{part.names[i]} {float(ratios[i]):.1f}×" for i in largest)
    caption = f"mean per instance; most over the picture's mean: {names}"
    return caption, means[labels] * (labels > 0)


BROWSER = BrowserSpec("objects", browse, neuron_control, neuron_limit)


def plant(scene: Scene, frame: int, seed: int) -> dict[str, tuple[Tensor, ...]]:
    """Maps at both frames, or the one there is: painted by colour and texture; painted on one
    object each, wherever it is.
    """
    n_neurons = 48
    instances = scene.partitions[INSTANCES]
    number = 1 + torch.arange(n_neurons) % max(1, instances.n_regions - 1)  # an object per neuron
    by_look = []
    by_object = []
    for t in range(frame, len(scene.clip), HORIZON)[:2]:
        layers = []
        for place, name in enumerate((RGB, GABOR, GABOR_PAPER)):
            labels = scene.partitions[name].labels[t]
            layers.append(painted_by(labels, n_neurons, seed + 50 * place))
        by_look.append(sum(layers))
        labels = instances.labels[t]
        inside = (labels == number[:, None, None]).float()  # (n, H, W)
        by_object.append(inside + 0.3 * white(n_neurons, labels.shape, seed + t))
    return {"colour and texture": tuple(by_look), "one object each": tuple(by_object)}


FINDING = Finding(
    name="objects",
    version=2,
    question="Do neurons follow objects?",
    section="4.5",
    notebook="06",
    claims=(
        Claim(
            "no_object_semantics",
            "neurons do not care about objects",
            conditions=(
                Condition("instances_last", "planted_instances_last", above=False),
                Condition("instances_last", "null_instances_last", above=False),
                Condition("persistence_same", "persistence_colour", above=False),
            ),
            beside=("persistence_different", "persistence_moving"),
            cases={"colour and texture": True, "one object each": False},
        ),
    ),
    statistics={
        "instances_last": "what instances add last to R²",
        "planted_instances_last": "the same with one instance doubled",
        "null_instances_last": "97.5 % of shifted masks",
        "persistence_same": "persistence of an instance's δ over 5 frames",
        "persistence_different": "the same between different instances",
        "persistence_moving": "the same for moving instances",
        "persistence_colour": "the same for colours of the instances' size",
    },
    measure=measure,
    plant=plant,
    offsets=(0, HORIZON),
    needs_masks=True,
    on_stills=True,
    samples_layers=True,
    captions={
        "06_over_time": "What each annotated object receives from a neuron, frame by frame: a "
        "panel "
        "per neuron, a line per object.",
        "06_per_instance": "What each annotated object receives from two neurons of a layer; 1 is "
        "the picture's mean.",
    },
    browser=BROWSER,
)
