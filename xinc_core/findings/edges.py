"""Finding: contributions follow intensity and edges. METHOD section 4.

How a layer's heatmap ranks its pixels, against the frame's intensity, its Sobel edges, and its edges among pixels of equal
intensity. A null of toroidal shifts tells what two unrelated smooth pictures reach.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BINS = 50


def intensity(frame: Tensor) -> Tensor:
    """Sum of the colour channels, min-max normalised: (3, H, W) → (H, W)."""
    return normalised(frame.sum(0))


def edges(frame: Tensor) -> Tensor:
    """Sobel magnitude of the intensity, min-max normalised: (3, H, W) → (H, W)."""
    from skimage.filters import sobel

    return normalised(torch.from_numpy(sobel(intensity(frame).double().numpy())))


def normalised(values: Tensor) -> Tensor:
    """Min-max to [0, 1]; zeros where all values are equal."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else torch.zeros_like(values)


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's correlation over pixels; 0 if either is constant."""
    return _correlation(_ranks(a), _ranks(b))


def partial_rank_correlation(a: Tensor, b: Tensor, given: Tensor, bins: int = BINS) -> float:
    """Spearman's correlation of a and b among pixels whose ``given`` falls into the same of ``bins`` equally full bins.

    Ranks minus their mean within each bin, then correlated. A linear control would leave a curved dependence in place.
    """
    bin_of = (_ranks(given) * bins / given.numel()).clip(0, bins - 1e-9).astype(int)
    count = np.bincount(bin_of, minlength=bins).clip(1)

    def within(x):
        ranks = _ranks(x)
        return ranks - (np.bincount(bin_of, ranks, bins) / count)[bin_of]

    return _correlation(within(a), within(b))


def shift_null(statistic, moved: Tensor, step: int = 1, n: int = 200, seed: int = 0) -> np.ndarray:
    """``statistic(shifted)`` for n toroidal shifts of ``moved`` (H, W) by multiples of ``step``, none of them zero.

    step : for a convolutional network its total stride, so that the lattice of its sub-pixels stays in place.
    """
    H, W = moved.shape
    rng = np.random.default_rng(seed)
    numbers = rng.choice(np.arange(1, (H // step) * (W // step)), n)
    shifts = ((int(i) // (W // step) * step, int(i) % (W // step) * step) for i in numbers)
    return np.array([statistic(moved.roll(shift, (0, 1))) for shift in shifts])


def _ranks(values: Tensor) -> np.ndarray:
    """Ranks from 0, ties averaged."""
    from scipy.stats import rankdata

    return rankdata(values.flatten().cpu().numpy()) - 1


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0
