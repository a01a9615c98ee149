"""Finding: neurons cluster by contribution profile. METHOD section 8.

A neuron's profile is its map |C_n|, min-max normalised, averaged inside each RGB cluster of the
frame. The clusters belong to the picture, so profiles of different layers, seeds and architectures
live in one space.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xinc_core.study.statistics.scene import Scene, View
from xinc_core.tracing.maps import LayerMaps

from .browsing import BrowserSpec, Control, Opened, Picture, Slider, neuron_control
from .claims import Claim, Condition
from .planted import white
from .selectivity import COLOR

NAME, VERSION, OFFSETS, SAMPLED, FRAMES = "groups", 3, (0,), True, (0,)
DECIDES = (Condition("silhouette", "gaussian_silhouette"), Condition("mixing", 0.9))
CLAIMS = (Claim("clusters", DECIDES, ("best_match", "null_best_match")),)
CASES = {"clusters": {"six kinds": True, "one cloud": False, "a kind per seed": False}}
GROUPS, MOST, NEIGHBOURS, LEVELS = 6, 500, 30, 4095
PASSING = ("numbers", "profiles")  # not kept of variants, once what compares seeds is stored


def measure(view: View) -> dict[str, float | Tensor]:
    """Profiles of up to 500 neurons, their numbers, and the silhouette of six groups against
    Gaussians of the same covariance.
    """
    numbers, vectors = profiles(view.layer, view.scene.labels(COLOR, view.frame))
    return dict(numbers=numbers, profiles=vectors) | clustered(vectors.double().numpy())


def profiles(
    layer: LayerMaps, labels: Tensor, most: int = MOST, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """(k,) numbers in the layer and (k, R) profiles of a seeded sample of the neurons that are
    not dead, int16: 4095 is 1.
    """
    member = torch.nn.functional.one_hot(labels.flatten()).float()
    sums = torch.zeros(len(layer), member.shape[1])
    low, high = torch.full((len(layer),), torch.inf), torch.zeros(len(layer))
    for pixels, maps in layer.tiles("profiles"):
        part = member[pixels].to(layer.traced.x)
        for neurons, values in maps:
            sums[neurons] += (values @ part).cpu().float()
            low[neurons] = low[neurons].minimum(values.amin(1).cpu().float())
            high[neurons] = high[neurons].maximum(values.amax(1).cpu().float())
    varied = (high > low).nonzero()[:, 0]
    kept = (
        varied[torch.randperm(len(varied), generator=torch.Generator().manual_seed(seed))[:most]]
        .sort()
        .values
    )
    means = sums[kept] / member.sum(0)
    return layer.neurons[kept], (
        LEVELS * (means - low[kept, None]) / (high - low)[kept, None]
    ).round().short()


def clustered(vectors: np.ndarray, draws: int = 40, seed: int = 0) -> dict[str, float]:
    """Silhouette of k-means into six groups, and 97.5 % of what Gaussians of the same mean and
    covariance reach.
    """
    if len(vectors) <= GROUPS:
        return {}
    null = [_silhouette(_gaussians(vectors, seed + i), seed) for i in range(draws)]
    return dict(
        silhouette=_silhouette(vectors, seed), gaussian_silhouette=float(np.quantile(null, 0.975))
    )


def grouped(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Group 0..5 of every profile, by k-means; groups in the order of their mean profile,
    darkest first.
    """
    from sklearn.cluster import KMeans

    means = KMeans(min(GROUPS, len(vectors)), n_init=3, random_state=seed).fit(vectors)
    order = means.cluster_centers_.mean(1).argsort().argsort()
    return order[means.labels_]


def embedded(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """UMAP to the plane, (n, 2); for the eye only, no statistic is taken from it."""
    from umap import UMAP

    return UMAP(n_neighbors=15, min_dist=0.1, random_state=seed, n_jobs=1).fit_transform(vectors)


def across(seeds: dict[int, dict]) -> dict[str, dict[str, float]]:
    """For each seed of one layer: how evenly seeds mix around its neurons, and how well they find a
    match in other seeds.

    mixing: label entropy among the 30 nearest neighbours, equal numbers per seed, as a share of
    that with permuted labels; best_match: mean over neurons of the best correlation with a neuron
    of another seed; its null: Gaussians instead.
    """
    vectors = {seed: np.asarray(found["profiles"], float) for seed, found in seeds.items()}
    found = {str(seed): dict(mixing=share) for seed, share in mixing(vectors).items()}
    for a in vectors:
        others = [vectors[b] for b in vectors if b != a]
        if others and all(len(v) > 1 for v in vectors.values()):
            found.setdefault(str(a), {})["best_match"] = float(
                np.mean([_best(vectors[a], v) for v in others])
            )
            clouds = [_gaussians(v, seed=i) for i, v in enumerate(others)]
            found[str(a)]["null_best_match"] = float(
                np.mean([_best(vectors[a], v) for v in clouds])
            )
    return {str(seed): found.get(str(seed), {}) for seed in seeds}


def mixing(profiles_of: dict, seed: int = 0) -> dict:
    """Per label: entropy of the labels among its points' 30 nearest neighbours, over that with
    permuted labels.
    """
    from sklearn.neighbors import NearestNeighbors

    rng, least = np.random.default_rng(seed), min(map(len, profiles_of.values()))
    if len(profiles_of) < 2 or least < NEIGHBOURS:
        return {}
    parts = [v[rng.permutation(len(v))[:least]] for v in profiles_of.values()]
    vectors, labels = np.concatenate(parts), np.repeat(np.arange(len(parts)), least)
    near = (
        NearestNeighbors(n_neighbors=NEIGHBOURS + 1)
        .fit(vectors)
        .kneighbors(vectors, return_distance=False)[:, 1:]
    )
    usual = np.mean([_entropy(rng.permutation(labels)[near]).mean() for _ in range(10)])
    found = _entropy(labels[near]) / usual
    return {name: float(found[labels == i].mean()) for i, name in enumerate(profiles_of)}


def browse(
    opened: Opened, layer: str, frame: int, rule: str, group: int, neuron: int
) -> dict[str, Picture]:
    """Groups of neurons by profile: the mean map of a group, and one of its neurons."""
    sample = opened.sampled_maps(frame, rule, layer)
    scaled, _ = opened.remembered(_grouped_maps, frame, rule, layer)
    members = _members(opened, layer, frame, rule, group)
    chosen = members[neuron]
    truth = opened.truth(frame)
    about = (
        f"<b>{layer}, group {group}</b>: mean map of {len(members)} of {len(sample.maps)} neurons "
        f"({sample.n_neurons:,} in all)"
    )
    return {
        f"frame {frame}": Picture.photo(truth),
        about: Picture.magnitude(scaled[members].mean(0)),
        f"its neuron {int(sample.neurons[chosen])}": Picture.magnitude(sample.maps[chosen]),
        "the same over the frame": Picture.overlay(sample.maps[chosen], truth),
    }


def _grouped_maps(opened: Opened, frame: int, rule: str, layer: str) -> tuple[Tensor, np.ndarray]:
    """The sampled maps, each min-max normalised, (k, H, W), and their groups, (k,)."""
    maps = opened.sampled_maps(frame, rule, layer).maps
    low, high = maps.amin((1, 2)), maps.amax((1, 2))
    scaled = (maps - low[:, None, None]) / (high - low).clamp_min(1e-30)[:, None, None]
    labels = opened.scene.labels(COLOR, opened.canvas(frame, rule).frame)
    in_region = torch.nn.functional.one_hot(labels.flatten()).float()  # (H·W, R)
    profiles_of_sample = scaled.flatten(1) @ in_region / in_region.sum(0)  # (k, R)
    return scaled, grouped(profiles_of_sample.double().numpy())


def _members(opened: Opened, layer: str, frame: int, rule: str, group: int) -> np.ndarray:
    """Which of the sampled neurons are in a group; of the last one if there are fewer groups."""
    _, groups = opened.remembered(_grouped_maps, frame, rule, layer)
    return np.flatnonzero(groups == min(group, groups.max()))


def browser_controls(opened: Opened) -> tuple[Control, ...]:
    """The group, and which of its neurons."""
    return (Slider("group", "group", 0, GROUPS - 1), *neuron_control(opened))


def member_limit(
    opened: Opened, layer: str, frame: int, rule: str, group: int, **others
) -> dict[str, int]:
    """The last neuron of the chosen group."""
    return {"neuron": len(_members(opened, layer, frame, rule, group)) - 1}


BROWSER = BrowserSpec("groups", browse, browser_controls, member_limit)


def plant(scene: Scene, frame: int, seed: int) -> dict[str, tuple[Tensor, ...]]:
    """Maps painted by colour: six kinds of neurons; one cloud of kinds; one kind, but another in
    every seed.
    """
    labels, n = scene.labels(COLOR, frame), 240
    random, shared = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(0)
    regions = int(labels.max()) + 1
    kinds, wobble = (
        torch.rand(GROUPS, regions, generator=shared),
        torch.randn(n, regions, generator=random),
    )
    levels = {
        "six kinds": kinds[torch.arange(n) % GROUPS] + 0.05 * wobble,
        "one cloud": 0.5 + 0.1 * wobble,
        "a kind per seed": torch.rand(regions, generator=random) + 0.05 * wobble,
    }
    noise = 0.1 * white(n, labels.shape, seed)
    return {name: (value.clamp_min(0)[:, labels] + noise,) for name, value in levels.items()}


def _silhouette(vectors: np.ndarray, seed: int) -> float:
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    return float(
        silhouette_score(vectors, KMeans(GROUPS, n_init=3, random_state=seed).fit_predict(vectors))
    )


def _gaussians(vectors: np.ndarray, seed: int) -> np.ndarray:
    covariance = np.cov(vectors.T)
    return np.random.default_rng(seed).multivariate_normal(
        vectors.mean(0), covariance, len(vectors), check_valid="ignore"
    )


def _best(a: np.ndarray, b: np.ndarray) -> float:
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) for x in (a, b))
    return float((a @ b.T).max(1).mean())


def _entropy(labels: np.ndarray) -> np.ndarray:
    """Entropy of each row's labels, (n,)."""
    shares = (labels[:, :, None] == np.arange(labels.max() + 1)).mean(1)
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(1)
