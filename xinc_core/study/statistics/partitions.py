"""Partitions of a picture into regions: instances, grid cells, colour clusters, Gabor clusters.

METHOD 6.3.

A partition gives every pixel of every frame one label in 0..R−1. Clusters are found once per clip,
on the true frames, so that they belong to the picture and not to a network.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xinc_core.clips import Clip
from xinc_core.util.files import locked, replace_file
from xinc_core.util.paths import results
from xinc_core.util.text import as_file_name

# Names of the partitions.
INSTANCES = "instances"
GRID = "grid"
RGB = "RGB"
GABOR = "Gabor"
GABOR_PAPER = "Gabor (paper)"
LATTICE = "lattice"

# The Gabor bank: orientations, standard deviations in pixels, frequencies in cycles per pixel.
ORIENTATIONS = 4
SIGMAS = (1.0, 3.0)
FREQUENCIES = (0.05, 0.25, 0.5)

CLUSTERS_VERSION = 1  # raise it, and the version of every finding that reads the clusters
SAMPLED_PIXELS = 100_000  # of the clip, on which clusters are found


@dataclass(frozen=True)
class Partition:
    """labels : (T, H, W) int64 in 0..R−1; names : what each region is called."""

    name: str
    labels: Tensor
    names: tuple[str, ...]

    @property
    def n_regions(self) -> int:
        return len(self.names)


def instances(clip: Clip, least: int = 16) -> Partition:
    """Things by instance; stuff, void and instances under ``least`` pixels in a frame are one
    region, "other" (label 0).

    Raises
    ------
    ValueError
        If the clip has no masks.
    """
    if clip.labels is None:
        raise ValueError(f"the clip {clip.name!r} has no masks, so it has no instances")
    things = sorted(i for i, s in clip.segments.items() if s.is_thing)
    labels = torch.zeros_like(clip.labels)
    for number, ident in enumerate(things, 1):
        mask = clip.labels == ident
        large = mask.sum((1, 2), keepdim=True) >= least
        labels[mask & large] = number
    return Partition(INSTANCES, labels, ("other", *(clip.segments[i].name for i in things)))


def grid_cells(clip: Clip, rows: int = 4, columns: int = 8) -> Partition:
    """Contiguous cells, row by row; sides that do not divide evenly differ by a pixel."""
    H, W = clip.size
    row = torch.arange(H) * rows // H
    column = torch.arange(W) * columns // W
    labels = (row[:, None] * columns + column).expand(len(clip), H, W)
    names = tuple(f"cell {r},{c}" for r in range(rows) for c in range(columns))
    return Partition(GRID, labels, names)


def lattice(clip: Clip, rows: int = 4, columns: int = 8) -> Partition:
    """What the authors' released code calls a grid cell: all pixels with the same row mod 4 and
    column mod 8.

    It is spread over the whole picture and says nothing about place. Shown once, beside the
    contiguous cells.
    """
    H, W = clip.size
    labels = (torch.arange(H) % rows)[:, None] * columns + torch.arange(W) % columns
    names = tuple(f"phase {number}" for number in range(rows * columns))
    return Partition(LATTICE, labels.expand(len(clip), H, W), names)


def color_clusters(clip: Clip, k: int = 32, seed: int = 0) -> Partition:
    """k-means on RGB."""
    return _clusters(RGB, clip.frames, k, seed)


def gabor_clusters(clip: Clip, k: int = 32, seed: int = 0, controlled: bool = True) -> Partition:
    """k-means on the responses of a Gabor bank: 4 orientations × 2 sigmas × 3 frequencies.

    controlled : kernels without DC, complex magnitude, standardised responses: edges and texture.
    Otherwise the paper's: real part, not standardised, which mostly follows luminance.
    """
    features = torch.cat([gabor_responses(frame, controlled)[None] for frame in clip.frames])
    if controlled:
        flat = features.transpose(0, 1).flatten(1)  # (24, T·H·W)
        mean = flat.mean(1)[None, :, None, None]
        deviation = flat.std(1)[None, :, None, None]
        features = (features - mean) / deviation.clamp_min(1e-8)
    return _clusters(GABOR if controlled else GABOR_PAPER, features, k, seed)


CLUSTERS = {
    RGB: color_clusters,
    GABOR: gabor_clusters,
    GABOR_PAPER: partial(gabor_clusters, controlled=False),
}


def clusters(clip: Clip, folder: Path | None = None) -> tuple[Partition, ...]:
    """RGB, Gabor and the paper's Gabor clusters of a clip, stored in ``folder``.

    k-means may end elsewhere on another machine; with stored labels all machines measure the same
    regions. A clip that is not there yet is clustered once; other processes wait for it.

    folder : by default that of stored measurements.
    """
    folder = results() if folder is None else folder
    path = folder / f"partitions-{as_file_name(clip.name)}.npz"
    key = f"{clip.checksum} {CLUSTERS_VERSION}"
    stored = _stored_clusters(path, key)
    if stored:
        return stored
    with locked(path.with_name(f".{path.stem}.lock")):  # who comes second waits for the first
        stored = _stored_clusters(path, key)
        if stored:
            return stored
        computed = tuple(make(clip) for make in CLUSTERS.values())
        labels = {part.name: part.labels.numpy().astype(np.uint8) for part in computed}
        replace_file(path, lambda file: np.savez_compressed(file, key=key, **labels))
    return computed


def _stored_clusters(path: Path, key: str) -> tuple[Partition, ...]:
    """What is stored under this key; nothing where it is not there, or not whole."""
    try:
        with np.load(path) as file:
            if str(file["key"]) != key:
                return ()
            parts = []
            for name in CLUSTERS:
                labels = torch.from_numpy(file[name].astype(np.int64))
                parts.append(_named(name, labels, int(labels.max()) + 1))
            return tuple(parts)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return ()


def gabor_responses(frame: Tensor, controlled: bool = True) -> Tensor:
    """Responses of the bank on the grey image in [0, 1], reflected borders: (3, H, W) → (24, H,
    W).
    """
    grey = (frame * torch.tensor([0.2125, 0.7154, 0.0721])[:, None, None]).sum(0)
    responses = []
    for kernel in gabor_bank(controlled):
        reach = kernel.shape[-1] // 2
        image = torch.from_numpy(np.pad(grey.numpy(), reach, mode="symmetric"))[None, None]
        real, imaginary = F.conv2d(image, kernel)[0]  # (H, W) each
        response = torch.hypot(real, imaginary) if controlled else real
        responses.append(response)
    return torch.stack(responses)


@lru_cache
def gabor_bank(controlled: bool) -> tuple[Tensor, ...]:
    """The 24 kernels, real and imaginary part: (2, 1, n, n) each; without DC if ``controlled``."""
    from skimage.filters import gabor_kernel

    bank = []
    for turn in range(ORIENTATIONS):
        for sigma in SIGMAS:
            for frequency in FREQUENCIES:
                kernel = gabor_kernel(
                    frequency, np.pi * turn / ORIENTATIONS, sigma_x=sigma, sigma_y=sigma
                )
                if controlled:
                    envelope = np.abs(kernel)
                    kernel = kernel - envelope * kernel.sum() / envelope.sum()
                side = max(kernel.shape) // 2
                pad = [(side - n // 2, side - n // 2) for n in kernel.shape]
                kernel = np.pad(kernel, pad)
                bank.append(torch.from_numpy(np.stack([kernel.real, kernel.imag])[:, None]).float())
    return tuple(bank)


def _clusters(name: str, features: Tensor, k: int, seed: int) -> Partition:
    """k-means on (T, C, H, W): found on a seeded sample of the clip's pixels, then given to all
    of them.
    """
    from sklearn.cluster import KMeans

    T, C, H, W = features.shape
    pixels = features.movedim(1, -1).reshape(-1, C).numpy()
    rng = np.random.default_rng(seed)
    sample = rng.choice(len(pixels), min(SAMPLED_PIXELS, len(pixels)), replace=False)
    means = KMeans(k, n_init=3, random_state=seed).fit(pixels[np.sort(sample)])
    labels = torch.from_numpy(means.predict(pixels)).long().view(T, H, W)
    return _named(name, labels, k)


def _named(name: str, labels: Tensor, k: int) -> Partition:
    return Partition(name, labels, tuple(f"{name} {i}" for i in range(k)))
