"""Some of a layer's neurons: what is computed of them is what the rows of its tensor give."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from comparing import close

import xinc_core as xc
from xinc_core.tracing import RULES, Budget

BUDGETS = [
    Budget(impulses_up_to_cells=0, stream_bytes=5000),
    Budget(impulses_up_to_cells=10**9, stream_bytes=1),
]


def choices(n):
    """Numbers of neurons: repeated in disorder and from the end; none."""
    random = torch.Generator().manual_seed(n)
    some = torch.randint(0, n, (4,), generator=random)
    return {
        "repeated, negative": torch.cat([some, some.flip(0), some[:1] - n, torch.tensor([-1])]),
        "distinct": torch.randperm(n, generator=random)[:4],
        "empty": [],
    }


def forms(n):
    """Forms in which a caller may have them."""
    return {
        "a list": [-1, 0, -n, n - 1],
        "numpy, backwards": np.arange(n)[::-1][:4],
        "a range": range(0, n, 2),
        "int32": torch.tensor([n - 1, 0], dtype=torch.int32),
        "numbers of numpy": [np.int64(0), np.uint8(0)],
        "numbers of torch": [torch.tensor(0), torch.tensor(n - 1)],
        "empty, as torch has it": torch.tensor([]),
    }


def reductions(maps, labels):
    """Everything that a layer can be asked for, and the same from its tensor (k, H, W)."""
    H, W = maps.shape[1:]
    return {
        "totals": (lambda: maps.totals(), lambda t: t.abs().sum((1, 2))),
        "heatmap": (lambda: maps.heatmap(), lambda t: t.abs().sum(0)),
        "squares": (lambda: maps.squares(), lambda t: t.square().sum((1, 2))),
        "regions": (
            lambda: maps.region_sums(labels),
            lambda t: torch.stack([t.abs()[:, labels == r].sum(1) for r in range(3)], 1),
        ),
        "pixel": (lambda: maps.pixel(H - 1, W // 2), lambda t: t[:, H - 1, W // 2]),
        "tensor": (lambda: maps.tensor(), lambda t: t),
        "one by one": (lambda: torch.stack([maps[n] for n in range(len(maps))]), lambda t: t),
    }


@pytest.mark.parametrize("budget", BUDGETS, ids=["backwards", "forwards"])
@pytest.mark.parametrize("rule", RULES)
def test_a_reduction_of_some_neurons_is_that_of_their_rows(network, rule, budget):
    for whole in xc.trace(network, rule=rule, budget=budget):
        every = whole.tensor()
        labels = torch.arange(every[0].numel()).view(every[0].shape) % 3
        for what, chosen in choices(len(whole)).items():
            numbers = torch.from_numpy(np.array(chosen, dtype=np.int64))
            rows = every[numbers]
            part = whole.only(chosen)
            assert part.neurons.tolist() == (numbers % len(whole)).tolist()
            for name, (compute, of_rows) in reductions(part, labels).items():
                if len(part) == 0:
                    assert name == "one by one" or compute().equal(of_rows(rows)), (what, name)
                    continue
                close(compute(), of_rows(rows), 1e-9)


def test_numbers_come_in_many_forms(network):
    for whole in xc.trace(network):
        every = whole.totals()
        for what, chosen in forms(len(whole)).items():
            numbers = np.array(chosen, dtype=np.int64)
            part = whole.only(chosen)
            assert part.neurons.tolist() == (numbers % len(whole)).tolist(), what
            if len(part):
                close(part.totals(), every[numbers], 1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_chunks_of_repeated_neurons_are_bounded_and_complete(network, rule):
    for whole in xc.trace(network, rule=rule):
        chosen = torch.tensor([0, -1, 0, 0, -1])
        part, rows = whole.only(chosen), whole.tensor()[chosen]
        for at_once in (1, 2, 100):
            seen = []
            for neurons, maps in part.chunks(at_once * maps_bytes(whole)):
                assert len(neurons) <= at_once
                close(maps, rows[neurons], 1e-9)
                seen += neurons.tolist()
            assert sorted(seen) == [0, 1, 2, 3, 4]


def maps_bytes(layer):
    return layer.shape[1] * layer.shape[2] * layer.traced.x.element_size()


def test_parts_of_parts_and_colours(network):
    for whole in xc.trace(network, rule="first_order"):
        some = whole.only([-1, 0, 0, -1]).only([1, -1, 1])
        assert some.neurons.tolist() == [0, len(whole) - 1, 0]
        close(some.tensor(), whole.tensor()[[0, -1, 0]], 1e-9)
        close(some.color(1), whole.color(-1), 1e-9)
        close(some.color_sum(), 2 * whole.color(0).double() + whole.color(-1), 1e-9)


REFUSED = [
    ([10**6], IndexError, "outside the"),
    ([-(10**6)], IndexError, "outside the"),
    (torch.tensor([0.0]), TypeError, "whole numbers, not torch.float32"),
    ([0.5], TypeError, "whole numbers"),
    ([True, False], TypeError, "mask of bools"),
    (torch.tensor([True]), TypeError, "mask of bools"),
    ([[0, 1]], ValueError, "not \\(1, 2\\)"),
    (0, ValueError, "a single one is"),
    ({0, 1}, TypeError, "a sequence"),
    ("01", TypeError, "a sequence"),
    (slice(0, 2), TypeError, "a sequence"),
    ([[0], [1, 2]], TypeError, "a sequence"),
    (None, TypeError, "whole numbers"),
]


@pytest.mark.parametrize("chosen, kind, said", REFUSED, ids=[str(row[0]) for row in REFUSED])
def test_what_are_no_neurons_is_refused(network, chosen, kind, said):
    layer = next(iter(xc.trace(network)))
    for call in (layer.only, layer.traced.layer.without):
        with pytest.raises(kind, match=said) as refused:
            call(chosen)
        assert "\n" not in str(refused.value)


# From a number to a neuron and back ---------------------------------------------------------------


def test_a_neuron_leads_to_its_weights_and_back(network):
    """The kernel holds the weights that ablation sets to zero, and no others are."""
    for layer in network.layers():
        for n in range(layer.n_neurons):
            neuron = layer.neuron(n)
            gone = layer.weight - layer.without([n]).weight
            assert gone.count_nonzero() == neuron.kernel.count_nonzero()
            if layer.neurons == "columns":
                assert gone[:, neuron.input, 0, 0].equal(neuron.kernel)
                assert layer.index(neuron.input) == n
            else:
                assert gone[neuron.output, neuron.input].equal(neuron.kernel)
                assert layer.index(neuron.input, neuron.output) == n
                assert layer.index(neuron.input, neuron.channel, neuron.sub_pixel) == n
            assert layer.index(neuron) == n and layer.neuron(n - layer.n_neurons) == neuron
            assert "\n" not in repr(neuron) and f"{n:,} of {layer.name}" in repr(neuron)


def test_the_sub_pixel_is_where_the_neuron_paints(network):
    """Of the layer's own output, one channel changes, on one sub-pixel of every cell."""
    for maps in xc.trace(network):
        layer, x = maps.traced.layer, maps.traced.x[None]
        if layer.neurons == "columns":
            continue
        for n in range(0, layer.n_neurons, 3):
            neuron = maps.neuron(n)
            changed = layer.shuffle(layer.linear(x) - layer.without([n]).linear(x))[0] != 0
            row, column = neuron.sub_pixel
            changed[neuron.channel, row :: layer.stride, column :: layer.stride] = False
            assert not changed.any()


def test_neurons_of_a_sample_keep_their_place(network):
    for whole in xc.trace(network):
        part = whole.only([-1, 0])
        assert part.neuron(0) == whole.neuron(-1) and part.index(whole.neuron(0)) == 1
        assert part.index(part.neuron(0)) == 0
        if len(whole) > 2:
            with pytest.raises(IndexError, match="not among these 2"):
                part.index(whole.neuron(1))


def test_a_copy_of_the_kernel_is_no_way_into_the_network(network):
    layer = network.layers()[0]
    before = layer.weight.clone()
    layer.neuron(0).kernel.zero_()
    assert layer.weight.equal(before)


def test_places_that_do_not_exist_are_refused(network):
    for layer in network.layers():
        for wrong in (layer.n_neurons, -layer.n_neurons - 1):
            with pytest.raises(IndexError, match="outside the"):
                layer.neuron(wrong)
        with pytest.raises(TypeError, match="one whole number"):
            layer.neuron(1.0)
        with pytest.raises(IndexError, match="input channel"):
            layer.index(layer.c_in, 0 if layer.neurons == "kernels" else None)
        if layer.neurons == "columns":
            with pytest.raises(ValueError, match="input unit alone"):
                layer.index(0, 0)
            continue
        with pytest.raises(ValueError, match="with the output channel"):
            layer.index(0)
        with pytest.raises(IndexError, match="output channel"):
            layer.index(0, layer.c_out)
        with pytest.raises(IndexError, match="row of the sub-pixel"):
            layer.index(0, 0, (layer.stride, 0))
        with pytest.raises(ValueError, match="is none of"):
            layer.index(replace(layer.neuron(0), layer="block9"))
