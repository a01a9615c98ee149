"""Rank statistics on pictures where the answer is known."""

import numpy as np
import pytest
import torch
from scipy import stats

import xinc_core as xc
from xinc_core.study.statistics import ranks
from xinc_core.study.statistics.scene import Scene


@pytest.fixture(scope="module")
def scene(real_clip):
    return Scene(xc.load_clip(real_clip))


@pytest.fixture
def light(scene):
    return scene.light(5)


@pytest.fixture
def edge(scene):
    return scene.edges(5)


def noise(seed=0, size=(128, 256)):
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


def test_rank_correlation_is_spearmans():
    a, b = noise(0), noise(1) + noise(0)
    assert ranks.rank_correlation(a, b) == pytest.approx(
        stats.spearmanr(a.flatten(), b.flatten())[0]
    )
    assert ranks.rank_correlation(a, torch.ones_like(a)) == 0


def test_partial_correlation_equals_the_loop_over_bins(light, edge):
    a, b, given = edge + 0.1 * noise(size=tuple(edge.shape)), edge, light
    levels = [stats.rankdata(x.flatten().numpy()) for x in (a, b, given)]
    number = np.minimum(((levels[2] - 1) * 50 / levels[2].size).astype(int), 49)
    left = [
        np.concatenate(
            [r[number == k] - r[number == k].mean() for k in range(50) if (number == k).any()]
        )
        for r in levels
    ]
    want = np.corrcoef(left[0], left[1])[0, 1]
    assert ranks.partial_rank_correlation(a, b, given) == pytest.approx(want, abs=1e-9)


def test_a_map_of_edges_passes_and_maps_of_intensity_or_noise_do_not(light, edge):
    """The curved map of intensity is the control: a linear partial correlation would call it an
    edge bias.
    """

    def statistic(heatmap):
        return ranks.partial_rank_correlation(heatmap, edge, light)

    size = tuple(light.shape)
    assert statistic(edge + 0.2 * noise(size=size) * edge.max()) > 0.5
    assert abs(statistic((light - 0.5).abs())) < 0.05
    assert abs(statistic(noise(size=size))) < 0.02


def test_what_two_fixed_maps_explain_is_taken_off(light, edge):
    """A map that is any function of the fixed ones has almost nothing left; one that adds something
    of its own has. (Almost: levels of two fixed maps are taken off one after the other, so where
    both act together up to a tenth stays, on any of the clips.)
    """
    size = tuple(light.shape)
    own = noise(3, size)
    for function in (light, edge**2, (light - 0.5).abs() + edge):
        assert (
            abs(
                ranks.partial_rank_correlation(
                    function + 1e-3 * noise(4, size), own + function, light, edge
                )
            )
            < 0.15
        )
    assert ranks.partial_rank_correlation(light + own, edge + own, light, edge) > 0.5


def test_the_shift_null_is_the_statistic_of_shifted_maps(light, edge):
    null = ranks.partial_shift_null(edge, edge, light, step=16, n=10)
    want = [
        ranks.partial_rank_correlation(edge.roll(s, (0, 1)), edge, light)
        for s in ranks.shifts(tuple(light.shape), 16, 10)
    ]
    assert np.allclose(null, want)
    assert ranks.partial_rank_correlation(edge, edge, light) > np.quantile(null, 0.975)


def test_shifts_keep_the_lattice_differ_and_never_stay_in_place():
    found = ranks.shifts((32, 64), 4, 1000)
    assert len(found) == len(set(found)) == 8 * 16 - 1 and (0, 0) not in found
    assert all(r % 4 == 0 and c % 4 == 0 for r, c in found) and found == ranks.shifts(
        (32, 64), 4, 1000
    )


def test_auc_is_scikit_learns():
    from sklearn.metrics import roc_auc_score

    score, mask = noise(1).round(decimals=2), noise(2) > 0.9
    assert ranks.auc(score, mask) == pytest.approx(roc_auc_score(mask.flatten(), score.flatten()))
    assert np.isnan(ranks.auc(score, mask & False))


def test_normalised_pictures():
    flat = xc.Clip("flat", torch.zeros(1, 3, 8, 8))
    assert Scene(flat).light(0).eq(0).all() and Scene(flat).edges(0).eq(0).all()
    flat.frames[:, :, :, 4:] = 1
    assert Scene(flat).edges(0).max() == 1 and Scene(flat).edges(0)[:, :2].max() == 0
