"""How distributed a representation is: streamed numbers against full sorts, and layers whose
answer is known.
"""

import pytest
import torch

import xinc_core as xc
from xinc_core.study.findings import distributed
from xinc_core.study.findings.planted import planted


@pytest.fixture(params=["paper", "first_order"])
def layers(network, request):
    return list(xc.trace(network, rule=request.param))


def maps_of(layer):
    return layer.tensor()


def heavy_tailed(n=50, size=(24, 32)):
    values = torch.randn(n, *size, generator=torch.Generator().manual_seed(0))
    return values.sign() * values.abs() ** 4


def literal_threshold(maps, share):
    values = maps.abs().flatten().double().sort(descending=True).values
    held = values.cumsum(0)
    return values, held, values[int((held < share * held[-1]).sum())]


def test_pixels_per_neuron_equal_the_definition(layers):
    for layer in layers:
        maps = layer.tensor().abs()
        excess, got = maps / maps.sum(0) - 1 / len(maps), distributed.pixels_per_neuron(layer)
        assert (
            (excess > 1e-9).sum((1, 2)) <= got
        ).all()  # an exact tie may fall either way in rounding
        assert (got <= (excess > -1e-9).sum((1, 2))).all()


@pytest.mark.parametrize("a", [0.1, 0.5, 0.9])
def test_the_threshold_is_that_of_a_full_sort(a):
    layer = planted(heavy_tailed())
    (heat,), (threshold,) = distributed.neurons_per_pixel(layer, (a,))
    values, held, want = literal_threshold(maps_of(layer), 1 - a)
    share = float(values[values >= threshold].sum() / held[-1])
    assert abs(share - (1 - a)) <= 1e-4 + float(want / held[-1])
    exact = (maps_of(layer).abs() >= want).double().mean(0)
    assert (heat - exact).abs().mean() < 1e-3


def test_the_threshold_survives_ties_and_zeros():
    assert distributed.neurons_per_pixel(planted(torch.ones(4, 3, 3)), (0.5,))[0].eq(1).all()
    half = torch.cat([torch.ones(2, 3, 3), torch.zeros(2, 3, 3)])
    assert distributed.neurons_per_pixel(planted(half), (0.1,))[0].eq(0.5).all()


def test_effective_shares_equal_the_definition(layers):
    for layer in layers:
        maps = layer.tensor().abs().double()
        for axis, got in zip(((0,), (1, 2)), distributed.effective_shares(layer)):
            share = maps / maps.sum(axis, keepdim=True)
            count = maps.numel() // got.numel()
            want = torch.special.entr(share).sum(axis).exp() / count
            assert torch.allclose(got, want, atol=1e-9, equal_nan=True)


def test_one_neuron_per_pixel_is_not_distributed_and_equal_neurons_are():
    owner = torch.randint(0, 40, (16, 16), generator=torch.Generator().manual_seed(0))
    owned = planted(torch.nn.functional.one_hot(owner, 40).permute(2, 0, 1).float())
    assert distributed.effective_shares(owned)[0].median() == pytest.approx(1 / 40)
    assert distributed.effective_shares(planted(torch.ones(40, 16, 16)))[
        0
    ].median() == pytest.approx(1)
