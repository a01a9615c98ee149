"""Finding: whether neurons care about instances, and follow them over time. METHOD sections 5 and
6.

Instances differ in colour, edges and place; what counts is what they explain of a map beyond these.
Persistence is the correlation over neurons of the signed δ = (A − E)/E of an instance at t with
that of an instance at t + 5. A neuron that follows an object keeps its δ there; but so does one
that holds on to a colour, hence the size-matched colours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from xinc_core.study.statistics.explained import (
    Sums,
    adjusted,
    explained,
    regions_of,
    scored,
    shifted_sums,
    sums_at,
    sums_of,
)
from xinc_core.study.statistics.scene import MOVING, Scene, View
from xinc_core.tracing.canvas import trace

from .browsing import BrowserSpec, Opened, Picture, neuron_control, neuron_limit
from .claims import Claim, Condition
from .planted import painted_by, planted, white
from .selectivity import COLOR, EDGES, GRID, MOVED, THINGS

NAME, VERSION, OFFSETS, STILLS, NEEDS_MASKS, SAMPLED = "objects", 2, (0, 5), True, True, True
BOUNDS = (("instances_last", "planted_instances_last"), ("instances_last", "null_instances_last"))
BOUNDS += (("persistence_same", "persistence_colour"),)
DECIDES = tuple(Condition(*bound, above=False) for bound in BOUNDS)
CLAIMS = (Claim("no_object_semantics", DECIDES, ("persistence_different", "persistence_moving")),)
CASES = {"no_object_semantics": {"colour and texture": True, "one object each": False}}


def measure(view: View) -> dict[str, float]:
    """What instances add to what explains the maps; in a video also how long the neurons hold on
    to them.
    """
    return added(view) | (persistence(view) if len(view.layers) > 1 else {})


def added(view: View) -> dict[str, float]:
    """What instances add to colour, edges and grid: as it is, with one instance doubled in every
    map, with shifted masks.
    """
    regions, total = regions_of(view.scene, view.frame), sums_at(view.layer, view.scene, view.frame)
    before, things = (COLOR, EDGES, GRID), regions.columns[THINGS]
    if things.stop - things.start < 2:  # nothing but "other"
        return {}

    def gain(sums: Sums) -> Tensor:
        return explained(sums, regions, (*before, THINGS)) - explained(sums, regions, before)

    few, own, labels = total.few, total.of(total.chosen), view.scene.labels(THINGS, view.frame)
    number = 1 + torch.arange(len(few)) % int(labels.max())
    doubled = sums_of(planted(torch.where(labels == number[:, None, None], 2 * few, few)), regions)
    mine, null, step = own.of(scored(own)), [], view.step
    if step:
        fixed, without = (
            mine.sums[:, regions.index(before)],
            explained(mine, regions, before).mean(),
        )
        moved = shifted_sums(few, regions.by_frequency((THINGS,), step), step)[:, scored(own)]
        for shift, inverse, rank in regions.shifted_bases(before, THINGS, step, 40):
            null.append(
                float(
                    adjusted(torch.cat([fixed, moved[shift]], 1), mine, inverse, rank).mean()
                    - without
                )
            )
    return dict(
        instances_last=float(gain(mine).mean()),
        planted_instances_last=float(gain(doubled.of(scored(doubled))).mean()),
        null_instances_last=float(np.quantile(null, 0.975)) if null else float("nan"),
    )


def persistence(view: View) -> dict[str, float]:
    """Persistence of instances, of different instances, of moving ones, and of colour clusters
    of the instances' sizes.
    """
    now, later = (signed(view, n) for n in (0, 1))
    both = sorted(now[THINGS].keys() & later[THINGS].keys())
    across = _correlations([now[THINGS][i] for i in both], [later[THINGS][i] for i in both])
    colours = sorted(now[COLOR].keys() & later[COLOR].keys())
    matched = [min(colours, key=lambda c: abs(now[COLOR][c][1] - now[THINGS][i][1])) for i in both]
    same_colour = _correlations(
        [now[COLOR][c] for c in matched], [later[COLOR][c] for c in matched]
    ).diagonal()
    ids = {s.name: s.id for s in view.scene.clip.segments.values()}
    moves = np.array([view.scene.speed(ids[i], view.frame) >= MOVING for i in both], dtype=bool)
    same, different = across.diagonal(), across[~np.eye(len(both), dtype=bool)]
    return dict(
        persistence_same=_mean(same),
        persistence_different=_mean(different),
        persistence_moving=_mean(same[moves]),
        persistence_colour=_mean(same_colour),
    )


def signed(view: View, which: int) -> dict[str, dict[str, tuple[np.ndarray, int]]]:
    """Signed δ over neurons and area of every instance and colour cluster that the frame shows,
    by its name.
    """
    frame = view.frame + OFFSETS[which]
    regions, sums = regions_of(view.scene, frame), sums_at(view.layers[which], view.scene, frame)
    found = {}
    for part in (THINGS, COLOR):
        names = [
            view.scene.partitions[part].names[i]
            for i in view.scene.partitions[part].labels[frame].unique()
        ]
        columns = regions.columns[part]
        expected = sums.totals[:, None] * regions.areas[columns] / sums.pixels
        delta = ((sums.sums[:, columns] - expected) / expected).nan_to_num().numpy()
        areas = regions.areas[columns].tolist()
        found[part] = {n: (delta[:, i], areas[i]) for i, n in enumerate(names) if n != "other"}
    return found


def over_time(
    model: nn.Module, scene: Scene, layer: str, neurons: Sequence[int], rule: str
) -> Tensor:
    """Mean contribution per instance and frame, over its sum for that neuron: (n, T, instances);
    NaN where it is absent.
    """
    part = scene.partitions[THINGS]
    shares = torch.full(
        (len(neurons), len(scene.clip), part.n_regions), torch.nan, dtype=torch.float64
    )
    for t in range(len(scene.clip)):
        maps, labels = trace(model, t, rule)[layer], part.labels[t].flatten()
        area = torch.bincount(labels, minlength=part.n_regions).double()
        for i, neuron in enumerate(neurons):
            sums = torch.bincount(labels, maps[neuron].abs().flatten().double(), part.n_regions)
            shares[i, t] = torch.where(area > 0, sums / area, torch.nan)
    return shares / shares.nansum((1, 2), keepdim=True)


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
    part = scene.partitions[THINGS]
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
    cases = {"colour and texture": [], "one object each": []}
    things = scene.partitions[THINGS]
    for t in range(frame, len(scene.clip), OFFSETS[1])[:2]:
        looks = (scene.partitions[name].labels[t] for name in MOVED)
        cases["colour and texture"].append(
            sum(painted_by(part, 48, seed + 50 * i) for i, part in enumerate(looks))
        )
        shown = things.labels[t]
        number = 1 + torch.arange(48) % max(1, things.n_regions - 1)
        cases["one object each"].append(
            (shown == number[:, None, None]).float() + 0.3 * white(48, shown.shape, seed + t)
        )
    return {name: tuple(maps) for name, maps in cases.items()}


def _correlations(now: list, later: list) -> np.ndarray:
    """Correlation over neurons of every region now with every region later, (n, n)."""
    a, b = (np.stack([d for d, _ in x]) if x else np.zeros((0, 2)) for x in (now, later))

    def unit(x):
        x = x - x.mean(1, keepdims=True)
        return x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12)

    return unit(a) @ unit(b).T


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
