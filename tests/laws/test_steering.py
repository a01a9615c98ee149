"""Neurons switched off and scaled, against ablation and against the plain product."""

import pytest
import torch
from comparing import close
from torch import nn

import xinc_core as xc


@pytest.fixture
def model(network):
    return network


def random_gains(layer, seed):
    return torch.rand(layer.n_neurons, generator=torch.Generator().manual_seed(seed)) + 0.5


def test_a_gain_of_one_leaves_every_byte(model):
    for layer in model.layers():
        for gains in ({0: 1.0}, torch.ones(layer.n_neurons)):
            same = xc.scale_neurons(model, {layer.name: gains})
            assert xc.render(same, clamp=False).equal(xc.render(model, clamp=False))
            for name, value in same.state_dict().items():
                assert value.equal(model.state_dict()[name])


def test_what_a_gain_of_zero_takes_away_is_the_ablation_map(model):
    whole = xc.render(model, clamp=False)
    for maps in xc.trace(model, rule="ablation"):
        for n in range(0, len(maps), 5):
            off = xc.scale_neurons(model, {maps.name: {n: 0.0}})
            without = xc.render(model, clamp=False, without={maps.name: [n]})
            close(whole - xc.render(off, clamp=False), maps.color(n), 1e-9)
            close(without, xc.render(off, clamp=False), 1e-12)


def test_several_neurons_of_several_layers(model):
    first, *_, last = model.layers()
    gone = {first.name: [0, -1], last.name: range(2)}
    off = {name: dict.fromkeys(numbers, 0) for name, numbers in gone.items()}
    painted = xc.render(model, clamp=False, without=gone)
    close(painted, xc.render(xc.scale_neurons(model, off), clamp=False), 1e-12)
    close(painted, xc.render(xc.editing.pruned(model, gone), clamp=False), 1e-12)
    assert xc.render(model, without={}).equal(xc.render(model))
    assert xc.render(model, without={first.name: []}).sub(xc.render(model)).abs().max() < 1e-12


def test_gains_multiply(model):
    for layer in model.layers():
        one, other = random_gains(layer, 1), random_gains(layer, 2)
        twice = xc.scale_neurons(xc.scale_neurons(model, {layer.name: one}), {layer.name: other})
        once = xc.scale_neurons(model, {layer.name: one.double() * other.double()})
        close(xc.render(twice, clamp=False), xc.render(once, clamp=False), 1e-12)


def test_gains_by_neuron_are_the_gains_of_all(model):
    for layer in model.layers():
        gains = torch.ones(layer.n_neurons)
        gains[0], gains[-1] = 3.0, -2.0
        by_neuron = xc.scale_neurons(model, {layer.name: {0: 3, -1: -2.0}})
        of_all = xc.scale_neurons(model, {layer.name: gains})
        assert xc.render(by_neuron, clamp=False).equal(xc.render(of_all, clamp=False))
        for n, kernel in ((0, 3.0), (layer.n_neurons - 1, -2.0)):
            scaled = {other.name: other for other in of_all.layers()}[layer.name]
            close(scaled.neuron(n).kernel, kernel * layer.neuron(n).kernel, 1e-12)


def test_on_the_last_layer_pictures_are_linear_in_the_gains(model):
    last = model.layers()[-1]
    maps = xc.trace(model, rule="first_order")[last.name]
    louder = xc.scale_neurons(model, {last.name: {0: 4.0}})
    change = xc.render(louder, clamp=False) - xc.render(model, clamp=False)
    close(change, 3 * maps.color(0), 1e-9)


def test_the_network_stays_as_it_is(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for layer in model.layers():
        xc.scale_neurons(model, {layer.name: {0: 0.0}})
        xc.render(model, without={layer.name: [0]})
    for name, value in model.state_dict().items():
        assert value.equal(before[name])


def test_chains_of_torchs_layers(shapes):
    network = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    model = xc.models.chain(network.double(), size=(5, 7))
    maps = xc.trace(model, rule="ablation")["layer1"]
    off = xc.scale_neurons(model, {"layer1": {2: 0.0}})
    lost = xc.render(model, clamp=False) - xc.render(off, clamp=False)
    close(lost, maps.color(2), 1e-10)
    assert off.module[2].weight[:, 2].eq(0).all() and network[2].weight[:, 2].ne(0).all()


def test_a_scaled_network_can_be_saved(tmp_path):
    model = xc.load_model("ffn-cat")
    quieter = xc.scale_neurons(model, {"layer2": {5: 0.25}})
    xc.save_model(quieter, tmp_path / "quieter.safetensors")
    again = xc.load_model(tmp_path / "quieter.safetensors")
    assert xc.render(again).equal(xc.render(quieter))


REFUSED = [
    ({"block9": {0: 1.0}}, KeyError, "no layer 'block9'; there are"),
    ({"l": {10**6: 1.0}}, IndexError, "outside the"),
    ({"l": {0.5: 1.0}}, TypeError, "whole numbers"),
    ({"l": {0: float("nan")}}, ValueError, "is a finite number, not nan"),
    ({"l": {0: "loud"}}, ValueError, "is a finite number, not 'loud'"),
    ({"l": {0: True}}, ValueError, "is a finite number, not True"),
    ({"l": [0, 1]}, TypeError, "a dict neuron → gain or a tensor"),
    ({"l": torch.ones(10**5)}, ValueError, "a few of them are a dict"),
    ([0, 1], TypeError, "said by layer"),
]


@pytest.mark.parametrize("gains, kind, said", REFUSED, ids=[str(row[0])[:30] for row in REFUSED])
def test_gains_that_make_no_sense_are_refused(model, gains, kind, said):
    first = model.layers()[0]
    if isinstance(gains, dict) and "l" in gains:
        gains = {first.name: gains["l"]}
    with pytest.raises(kind, match=said):
        xc.scale_neurons(model, gains)


def test_two_gains_of_one_neuron_are_refused(model):
    first = model.layers()[0]
    with pytest.raises(ValueError, match="two gains"):
        xc.scale_neurons(model, {first.name: {0: 2.0, -first.n_neurons: 3.0}})
