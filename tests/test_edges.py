"""Correlations with intensity and edges on pictures where the answer is known."""

import numpy as np
import pytest
import torch
from scipy import stats

import xinc_core as xc
from xinc_core.findings import edges


@pytest.fixture(scope="module")
def frame():
    return xc.load_clip("courtyard").frames[5]


def noise(seed=0, size=(128, 256)):
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


def test_rank_correlation_is_spearmans():
    a, b = noise(0), noise(1) + noise(0)
    assert edges.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a.flatten(), b.flatten())[0])
    assert edges.rank_correlation(a, torch.ones_like(a)) == 0


def test_partial_correlation_equals_the_loop_over_bins(frame):
    a, b, given = edges.edges(frame) + 0.1 * noise(), edges.edges(frame), edges.intensity(frame)
    ranks = [stats.rankdata(x.flatten().numpy()) for x in (a, b, given)]
    number = np.minimum(((ranks[2] - 1) * 50 / ranks[2].size).astype(int), 49)
    left = [
        np.concatenate([r[number == k] - r[number == k].mean() for k in range(50) if (number == k).any()])
        for r in ranks
    ]
    want = np.corrcoef(left[0], left[1])[0, 1]
    assert edges.partial_rank_correlation(a, b, given) == pytest.approx(want, abs=1e-9)


def test_a_map_of_edges_passes_and_maps_of_intensity_or_noise_do_not(frame):
    """The curved map of intensity is the control: a linear partial correlation would call it an edge bias."""
    light, edge = edges.intensity(frame), edges.edges(frame)

    def statistic(heatmap):
        return edges.partial_rank_correlation(heatmap, edge, light)

    assert statistic(edge + 0.2 * noise() * edge.max()) > 0.5
    assert abs(statistic((light - 0.5).abs())) < 0.05
    assert abs(statistic(noise())) < 0.02


def test_the_shift_null_keeps_the_lattice_and_never_stays_in_place(frame):
    lattice = torch.zeros(32, 64)
    lattice[::4, ::4] = 1
    assert (edges.shift_null(lambda m: float((m - lattice).abs().sum()), lattice, step=4) == 0).all()
    spot = torch.zeros(32, 64)
    spot[3, 5] = 1
    assert (edges.shift_null(lambda m: float(m[3, 5]), spot) == 0).all()
    light, edge = edges.intensity(frame), edges.edges(frame)
    null = edges.shift_null(lambda m: edges.partial_rank_correlation(m, edge, light), edge, n=20)
    assert edges.partial_rank_correlation(edge, edge, light) > np.quantile(null, 0.975)
    again = edges.shift_null(lambda m: edges.partial_rank_correlation(m, edge, light), edge, n=20)
    assert (null == again).all()


def test_normalised_pictures():
    frame = torch.zeros(3, 8, 8)
    assert edges.intensity(frame).eq(0).all() and edges.edges(frame).eq(0).all()
    frame[:, :, 4:] = 1
    assert edges.edges(frame).max() == 1 and edges.edges(frame)[:, :2].max() == 0
