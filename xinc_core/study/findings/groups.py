"""Finding: neurons cluster by contribution profile. METHOD 6.7, earlier statistic.

A neuron's profile is its map |C_n|, min-max normalised, averaged inside each RGB cluster of the
frame. The clusters belong to the picture, so profiles of different layers, seeds and architectures
lie in one space.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xinc_core.study.statistics.partitions import RGB
from xinc_core.study.statistics.ranks import unit_rows
from xinc_core.study.statistics.scene import Scene
from xinc_core.tracing import LayerMaps

from .base import Finding, Values, View
from .browsing import BrowserSpec, Control, Opened, Picture, Slider, neuron_control
from .claims import Claim, Condition
from .planted import white

GROUPS = 6  # of k-means
MOST = 500  # neurons of a layer whose profiles are taken
NEIGHBOURS = 30  # among which seeds or architectures mix
LEVELS = 4095  # the whole number that stands for 1 in a stored profile


def measure(view: View) -> dict[str, float | Tensor]:
    """Profiles of up to 500 neurons, their numbers, and the silhouette of six groups against
    Gaussians of the same covariance.
    """
    numbers, vectors = profiles(view.layer, view.scene.labels(RGB, view.frame))
    return dict(numbers=numbers, profiles=vectors) | clustered(vectors.double().numpy())


def profiles(
    layer: LayerMaps, labels: Tensor, most: int = MOST, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """(k,) numbers in the layer and (k, R) profiles of a seeded sample of the neurons that are not
    dead, int16: ``LEVELS`` is 1.
    """
    member = torch.nn.functional.one_hot(labels.flatten()).float()  # (P, R)
    n_neurons = len(layer)
    sums = torch.zeros(n_neurons, member.shape[1])
    low = torch.full((n_neurons,), torch.inf)
    high = torch.zeros(n_neurons)
    for pixels, maps in layer.tiles("profiles"):
        part = member[pixels].to(layer.traced.x)
        for neurons, values in maps:
            sums[neurons] += (values @ part).cpu().float()
            low[neurons] = low[neurons].minimum(values.amin(1).cpu().float())
            high[neurons] = high[neurons].maximum(values.amax(1).cpu().float())
    varied = (high > low).nonzero()[:, 0]
    order = torch.randperm(len(varied), generator=torch.Generator().manual_seed(seed))
    chosen = varied[order[:most]].sort().values
    means = sums[chosen] / member.sum(0)
    vectors = LEVELS * (means - low[chosen, None]) / (high - low)[chosen, None]
    return layer.neurons[chosen], vectors.round().short()


def clustered(vectors: np.ndarray, draws: int = 40, seed: int = 0) -> dict[str, float]:
    """Silhouette of k-means into six groups, and 97.5 % of what Gaussians of the same mean and
    covariance reach.
    """
    if len(vectors) <= GROUPS:
        return {}
    null = [_silhouette(_gaussians(vectors, seed + draw), seed) for draw in range(draws)]
    return dict(
        silhouette=_silhouette(vectors, seed), gaussian_silhouette=float(np.quantile(null, 0.975))
    )


def grouped(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Group 0..5 of every profile, by k-means; groups in the order of their mean profile, darkest
    first.
    """
    from sklearn.cluster import KMeans

    means = KMeans(min(GROUPS, len(vectors)), n_init=3, random_state=seed).fit(vectors)
    rank = means.cluster_centers_.mean(1).argsort().argsort()  # k-means' number → place
    return rank[means.labels_]


def embedded(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """UMAP to the plane, (n, 2); for the eye only, no statistic is taken from it."""
    from umap import UMAP

    plane = UMAP(n_neighbors=15, min_dist=0.1, random_state=seed, n_jobs=1)
    return plane.fit_transform(vectors)


def across(seeds: dict[int, Values]) -> dict[str, dict[str, float]]:
    """For each seed of one layer: how evenly seeds mix around its neurons, and how well they find a
    match in other seeds.

    mixing: label entropy among the 30 nearest neighbours, equal numbers per seed, as a share of
    that with permuted labels; best_match: mean over neurons of the best correlation with a neuron
    of another seed; its null: Gaussians instead.
    """
    vectors = {seed: np.asarray(found["profiles"], float) for seed, found in seeds.items()}
    compared: dict[str, dict[str, float]] = {str(seed): {} for seed in seeds}
    for seed, share in mixing(vectors).items():
        compared[str(seed)]["mixing"] = share
    can_be_matched = len(vectors) > 1 and min(map(len, vectors.values())) > 1
    if not can_be_matched:
        return compared
    for seed, own in vectors.items():
        others = [vectors[other] for other in vectors if other != seed]
        clouds = [_gaussians(other, seed=number) for number, other in enumerate(others)]
        best = [_best_match(own, other) for other in others]
        best_of_clouds = [_best_match(own, cloud) for cloud in clouds]
        compared[str(seed)]["best_match"] = float(np.mean(best))
        compared[str(seed)]["null_best_match"] = float(np.mean(best_of_clouds))
    return compared


def mixing(profiles_of: dict, seed: int = 0) -> dict:
    """Per label: entropy of the labels among its points' 30 nearest neighbours, over that with
    permuted labels. Nothing where there is one label, or one with fewer points than neighbours.
    """
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(seed)
    smallest = min(map(len, profiles_of.values()))
    if len(profiles_of) < 2 or smallest < NEIGHBOURS:
        return {}
    parts = [vectors[rng.permutation(len(vectors))[:smallest]] for vectors in profiles_of.values()]
    vectors = np.concatenate(parts)
    labels = np.repeat(np.arange(len(parts)), smallest)
    search = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(vectors)
    near = search.kneighbors(vectors, return_distance=False)[:, 1:]  # the first is itself
    permuted = [_entropy(rng.permutation(labels)[near]).mean() for _ in range(10)]
    entropy = _entropy(labels[near]) / np.mean(permuted)
    return {name: float(entropy[labels == i].mean()) for i, name in enumerate(profiles_of)}


def _silhouette(vectors: np.ndarray, seed: int) -> float:
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    labels = KMeans(GROUPS, n_init=3, random_state=seed).fit_predict(vectors)
    return float(silhouette_score(vectors, labels))


def _gaussians(vectors: np.ndarray, seed: int) -> np.ndarray:
    """As many draws from a Gaussian of the same mean and covariance."""
    rng = np.random.default_rng(seed)
    covariance = np.cov(vectors.T)
    return rng.multivariate_normal(vectors.mean(0), covariance, len(vectors), check_valid="ignore")


def _best_match(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over rows of a of the best correlation with a row of b."""
    return float((unit_rows(a) @ unit_rows(b).T).max(1).mean())


def _entropy(labels: np.ndarray) -> np.ndarray:
    """Entropy of each row's labels, (n,)."""
    every = np.arange(labels.max() + 1)
    shares = (labels[:, :, None] == every).mean(1)  # (n, labels)
    logs = np.log(np.where(shares > 0, shares, 1))
    return -(shares * logs).sum(1)


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
    labels = opened.scene.labels(RGB, opened.canvas(frame, rule).frame)
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
    n_neurons = 240
    labels = scene.labels(RGB, frame)
    n_regions = int(labels.max()) + 1
    of_seed = torch.Generator().manual_seed(seed)
    of_all_seeds = torch.Generator().manual_seed(0)
    kinds = torch.rand(GROUPS, n_regions, generator=of_all_seeds)
    wobble = torch.randn(n_neurons, n_regions, generator=of_seed)
    levels = {
        "six kinds": kinds[torch.arange(n_neurons) % GROUPS] + 0.05 * wobble,
        "one cloud": 0.5 + 0.1 * wobble,
        "a kind per seed": torch.rand(n_regions, generator=of_seed) + 0.05 * wobble,
    }
    noise = 0.1 * white(n_neurons, labels.shape, seed)
    return {name: (level.clamp_min(0)[:, labels] + noise,) for name, level in levels.items()}


FINDING = Finding(
    name="groups",
    version=3,
    question="Do neurons come in kinds?",
    section="4.7",
    notebook="08",
    claims=(
        Claim(
            "clusters",
            "neurons cluster by contribution profile",
            conditions=(Condition("silhouette", "gaussian_silhouette"), Condition("mixing", 0.9)),
            beside=("best_match", "null_best_match"),
            cases={"six kinds": True, "one cloud": False, "a kind per seed": False},
        ),
    ),
    statistics={
        "silhouette": "silhouette of six groups",
        "gaussian_silhouette": "97.5 % of Gaussians of equal covariance",
        "mixing": "how evenly seeds mix (1 = fully)",
        "mixing_of_families": "how evenly the architectures mix (1 = fully)",
        "best_match": "best correlation with a neuron of another seed",
        "null_best_match": "the same with Gaussians",
    },
    measure=measure,
    plant=plant,
    frames=(0,),
    samples_layers=True,
    across=across,
    passing=("numbers", "profiles"),
    embed=embedded,
    captions={
        "08_groups": "Neurons laid out by the likeness of their maps (UMAP) and sorted into six "
        "groups; each group's mean map, and one of its neurons.",
        "08_one_space": "Neurons of all networks in one plane by the likeness of their maps "
        "(UMAP), "
        "coloured by network, seed and layer.",
    },
    browser=BROWSER,
)
