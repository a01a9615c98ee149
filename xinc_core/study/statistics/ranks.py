"""Rank statistics over pixels: correlation, correlation given others, and their null of toroidal
shifts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

BINS = 50


def normalised(values: Tensor) -> Tensor:
    """Min-max to [0, 1]; zeros where all values are equal."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else torch.zeros_like(values)


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's correlation over pixels; 0 if either is constant."""
    return correlation(ranks(a), ranks(b))


class Control:
    """Ranks within equally full bins of what is held fixed: 50 bins of one map, or 16 × 16 of two.

    A linear control would leave a curved dependence in place. With two maps the bins are wide, so
    what is left within a bin of the maps' own ranks is regressed out, together with the ranks of
    those in ``also``.
    """

    def __init__(self, *maps: Tensor, also: Sequence[Tensor] = (), bins: int | None = None):
        bins = bins or (BINS if len(maps) == 1 else 16)
        levels = [ranks(m) for m in (*maps, *also)]
        number = np.zeros(levels[0].size, int)
        for level in levels[: len(maps)]:
            number = number * bins + (level * bins / level.size).clip(0, bins - 1e-9).astype(int)
        self._bin = np.unique(number, return_inverse=True)[1]
        self._count = np.bincount(self._bin)
        self._slopes = np.stack([self._centred(r) for r in levels], 1) if len(levels) > 1 else None

    def residual(self, values: np.ndarray) -> np.ndarray:
        """Ranks with what the fixed maps explain taken off."""
        left = self._centred(values)
        if self._slopes is not None:
            left = left - self._slopes @ np.linalg.lstsq(self._slopes, left, rcond=None)[0]
        return left

    def _centred(self, values: np.ndarray) -> np.ndarray:
        return values - (np.bincount(self._bin, values) / self._count)[self._bin]


def partial_rank_correlation(a: Tensor, b: Tensor, *given: Tensor) -> float:
    """Spearman's correlation of a and b among pixels where what is ``given`` is alike, see
    :class:`Control`.
    """
    control = Control(*given)
    return correlation(control.residual(ranks(a)), control.residual(ranks(b)))


def partial_shift_null(
    moved: Tensor, b: Tensor, given: Tensor, step: int = 1, n: int = 200, seed: int = 0
) -> np.ndarray:
    """``partial_rank_correlation(shifted, b, given)`` for up to n toroidal shifts of ``moved``
    (H, W), none of them zero.
    """
    control, (H, W) = Control(given), moved.shape
    fixed, values = control.residual(ranks(b)), ranks(moved).reshape(H, W)
    rolled = (np.roll(values, shift, (0, 1)).ravel() for shift in shifts((H, W), step, n, seed))
    return np.array([correlation(control.residual(r), fixed) for r in rolled])


def shifts(
    size: tuple[int, int], step: int = 1, n: int = 200, seed: int = 0
) -> list[tuple[int, int]]:
    """Up to n different toroidal shifts by multiples of ``step``, none of them zero, in a seeded
    order.

    step : for a convolutional network its total stride, so that the lattice of its sub-pixels stays
    in place.
    """
    across, count = size[1] // step, (size[0] // step) * (size[1] // step)
    numbers = np.random.default_rng(seed).permutation(np.arange(1, count))[:n]
    return [(int(i) // across * step, int(i) % across * step) for i in numbers]


def auc(score: Tensor, positive: Tensor) -> float:
    """Area under the ROC curve with which a score tells positive pixels (a mask) from the
    others; NaN if there are none.
    """
    r, mask = ranks(score), positive.flatten().cpu().numpy().astype(bool)
    n, m = mask.sum(), (~mask).sum()
    return float((r[mask].sum() - n * (n - 1) / 2) / (n * m)) if n and m else float("nan")


def ranks(values: Tensor) -> np.ndarray:
    """Ranks from 0, ties averaged, flat."""
    from scipy.stats import rankdata

    return rankdata(values.flatten().cpu().numpy()) - 1


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 1e-9 * a.size else 0.0


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows (n, k) without their mean and of length 1: their products are correlations."""
    rows = rows - rows.mean(1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
