"""Region sums, explained variance and shifts against literal loops and ordinary regression."""

import numpy as np
import pytest
import torch
from conftest import Chain, gaussian

import xinc_core as xc
from xinc_core.models import identity
from xinc_core.study.findings import selectivity
from xinc_core.study.findings.planted import painted_by, planted, white
from xinc_core.study.statistics import explained


@pytest.fixture
def regions():
    random = torch.Generator().manual_seed(0)
    cells = (torch.arange(16)[:, None] // 8 * 4 + torch.arange(32) // 8).contiguous()
    colours = torch.randint(5, (16, 32), generator=random)
    edges = torch.randint(4, (16, 32), generator=random)
    things = torch.zeros(16, 32, dtype=torch.long)
    things[:8, :8] = 1  # exactly a grid cell: the Gram matrix is singular twice over
    things[10:14, 20:25] = 2
    return explained.Regions.of(
        {"instances": things, "grid": cells, "RGB": colours, "Gabor": edges}
    )


@pytest.fixture
def maps():
    return white(7, (16, 32), 3) ** 3


def regression(maps, members):
    """Adjusted R² by least squares, one map at a time, in float64."""
    found, pixels = [], members.shape[0]
    for values in maps.flatten(1).double().numpy():
        fit, _, rank, _ = np.linalg.lstsq(members.double().numpy(), values, rcond=1e-9)
        left = ((values - members.double().numpy() @ fit) ** 2).sum() / (
            (values - values.mean()) ** 2
        ).sum()
        found.append(1 - left * (pixels - 1) / (pixels - rank))
    return np.array(found)


@pytest.mark.parametrize(
    "names", [("grid",), ("RGB", "Gabor"), ("instances", "grid", "RGB", "Gabor")]
)
def test_explained_variance_is_that_of_a_regression(regions, maps, names):
    got = explained.explained(explained.sums_of(planted(maps), regions), regions, names)
    assert np.allclose(got, regression(maps, regions.member[:, regions.index(names)]), atol=1e-6)


def test_region_sums_squares_and_totals_in_one_pass(regions, maps):
    found = explained.sums_of(planted(maps), regions)
    for name, columns in regions.columns.items():
        masks = regions.pictures([name])
        want = torch.stack([(maps * mask).sum((1, 2)) for mask in masks], 1)
        assert torch.allclose(found.sums[:, columns].float(), want, rtol=1e-5), name
    assert torch.allclose(found.squares, maps.double().square().sum((1, 2)), rtol=1e-6)
    assert torch.allclose(found.totals, maps.double().sum((1, 2)), rtol=1e-6)


def test_a_sample_of_the_maps_is_held_while_they_pass(regions):
    layer = planted(white(400, (16, 32), 5))
    found = explained.sums_of(layer, regions, sample_size=192)
    alone = explained.sums_of(planted(found.sample), regions)
    assert found.in_sample.sum() == len(found.sample) == 192
    assert torch.equal(found.sample, layer.tensor()[found.in_sample])
    assert torch.allclose(found.of(found.in_sample).sums, alone.sums)
    assert explained.sums_of(layer, regions).sample.numel() == 0


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_the_held_maps_of_a_large_layer_are_its_own(rule):
    """Kernels pass in the rule's order, pixels in places and cells; what is held stands in the
    layer's and the picture's.
    """
    torch.manual_seed(0)
    activations = (gaussian, torch.sin, identity)
    network = Chain((4, 8), (3, 4, 3, 3), (2, 2, 1), (3, 3, 3), activations)
    layer = xc.trace(network, rule=rule)["l1"]
    regions = explained.Regions.of({"grid": torch.arange(16 * 32).view(16, 32) // 64})
    found = explained.sums_of(layer, regions, sample_size=8)
    assert len(found.sample) == 6  # two whole channels
    wanted = layer.tensor()[found.in_sample].abs()
    assert torch.allclose(found.sample, wanted, rtol=1e-5, atol=1e-7)


def test_selectivity_is_the_variance_of_delta(regions, maps):
    maps[2] = 0  # a dead neuron is dropped
    found = selectivity.selectivity(explained.sums_of(planted(maps), regions), regions)["RGB"]
    masks, want = regions.pictures(["RGB"]), []
    for values in maps:
        if values.sum() > 0:
            deltas = []
            for mask in masks:
                inside, expected = (values * mask).sum(), values.sum() * mask.mean()
                deltas.append(float((inside - expected).abs() / expected))
            want.append(np.var(deltas, ddof=1))
    assert np.allclose(found, want, rtol=1e-4)


def test_shifted_sums_are_sums_of_shifted_maps(maps):
    members = torch.nn.functional.one_hot(torch.randint(3, (16, 32))).permute(2, 0, 1).float()
    found = explained.shifted_sums(maps, members, 4)
    assert found.shape == (4 * 8, 7, 3)
    for row in range(4):
        for column in range(8):
            moved = maps.roll((4 * row, 4 * column), (1, 2))
            want = torch.einsum("nhw,rhw->nr", moved, members)
            assert torch.allclose(found[row * 8 + column].float(), want, atol=1e-4)


def test_bases_of_shifted_masks_equal_those_of_the_masks_drawn_anew(regions):
    for number, inverse, rank in regions.shifted_bases(("RGB", "grid"), "instances", 4, 6):
        shift = (number // 8 * 4, number % 8 * 4)
        # maps shifted one way meet masks shifted the other way
        masks = regions.pictures(["instances"]).roll([-s for s in shift], (1, 2))
        fixed = regions.pictures(("RGB", "grid"))
        members = torch.cat([fixed, masks]).flatten(1).T.double()
        got = members @ inverse @ members.T
        want = members @ torch.linalg.pinv(members, rtol=1e-5)
        assert torch.allclose(got, want, atol=1e-6) and rank == torch.linalg.matrix_rank(members)


def test_shapley_shares_add_up_and_know_two_simple_games():
    names = ("a", "b", "c")
    worth = {"a": 1.0, "b": 2.0, "c": 0.0}
    subsets = [tuple(n for n, keep in zip(names, f"{k:03b}") if keep == "1") for k in range(8)]
    assert explained.shapley(
        {s: sum(worth[n] for n in s) for s in subsets}, names
    ) == pytest.approx(worth)
    together = explained.shapley({s: float("a" in s and "b" in s) for s in subsets}, names)
    assert together == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.0})


def test_maps_painted_by_a_partition_are_explained_by_it(regions):
    for name in ("grid", "RGB", "Gabor"):
        labels = regions.pictures([name]).argmax(0)
        total = explained.sums_of(planted(painted_by(labels, 6, 0, noise=0.0)), regions)
        assert torch.allclose(
            explained.explained(total, regions, (name,)), torch.ones(6).double(), atol=1e-5
        )
        noise = explained.sums_of(planted(white(400, (16, 32), 1)), regions)
        assert (
            abs(float(explained.explained(noise, regions, (name,)).mean())) < 0.005
        )  # adjusted: no reward for regions


def test_flat_and_dead_maps_are_not_scored(regions, maps):
    maps[1], maps[4] = 0, 1
    assert explained.scored(explained.sums_of(planted(maps), regions)).tolist() == [
        True,
        False,
        True,
        True,
        False,
        True,
        True,
    ]
