"""The horizon rule and matched baselines, against forward-mode differentiation; METHOD 3."""

import literal
import numpy as np
import pytest
import torch
from comparing import close

import xinc_core as xc
from xinc_core.tracing import Budget

BASELINES = pytest.mark.parametrize("baseline", ["zero", "mean"])
BUDGETS = pytest.mark.parametrize(
    "budget",
    [Budget(impulses_up_to_cells=0), Budget(impulses_up_to_cells=10**9)],
    ids=["backwards", "forwards"],
)


def colors(layer):
    """(n_neurons, 3, H, W)"""
    return torch.stack([layer.color(n) for n in range(len(layer))])


@BUDGETS
@BASELINES
@pytest.mark.parametrize("share", [0.5])
def test_maps_are_the_jacobian_at_the_scaled_state_times_the_neurons_share(
    network, baseline, share, budget
):
    canvas = xc.trace(network, rule="horizon", baseline=baseline, share=share, budget=budget)
    for index, layer in enumerate(canvas):
        want = torch.stack(
            [
                literal.first_order_map(network, index, n, baseline=baseline, horizon=share)
                for n in range(len(layer))
            ]
        )
        close(colors(layer), want, 1e-9)
        close(layer.tensor(), want.abs().sum(1), 1e-9)
        close(layer.totals(), want.abs().sum((1, 2, 3)), 1e-9)
        close(layer.heatmap(), want.abs().sum((0, 1)), 1e-9)


@BASELINES
def test_first_order_takes_a_baseline(network, baseline):
    for index, layer in enumerate(xc.trace(network, rule="first_order", baseline=baseline)):
        for n in range(0, len(layer), 5):
            close(
                layer.color(n), literal.first_order_map(network, index, n, baseline=baseline), 1e-9
            )


@BASELINES
def test_without_a_share_the_horizon_is_the_first_order(network, baseline):
    first_order = xc.trace(network, rule="first_order", baseline=baseline)
    nothing = first_order.with_rule("horizon", baseline, share=0)
    little = first_order.with_rule("horizon", baseline, share=1e-9)
    for layer, at_zero, near_zero in zip(first_order, nothing, little):
        close(at_zero.tensor(), layer.tensor(), 1e-12)
        close(near_zero.tensor(), layer.tensor(), 1e-6)


@BASELINES
@pytest.mark.parametrize("rule", ["first_order", "horizon"])
def test_in_the_last_layer_both_rules_are_ablation(network, rule, baseline):
    last = network.layers()[-1].name
    truth = xc.trace(network, rule="ablation", baseline=baseline)[last]
    close(xc.trace(network, rule=rule, baseline=baseline)[last].tensor(), truth.tensor(), 1e-12)


@BASELINES
def test_the_mean_over_all_states_is_what_the_layers_weights_paint(network, baseline):
    """Gauss–Legendre over s/2 in [0, 1]: the complete (Aumann–Shapley) decomposition."""
    canvas = xc.trace(network, rule="first_order", baseline=baseline)
    for index, name in enumerate(canvas.layers):
        x = literal.inputs_of(network)[index]
        removed = literal.removed_input(x, baseline)
        picture, z = literal.tail(network, index), network.layers()[index].linear(x)
        without = picture(z - literal.weight_part(network, index, removed))
        painted = picture(z) - without
        errors = []
        for n_nodes in (4, 16, 64):
            nodes, weights = np.polynomial.legendre.leggauss(n_nodes)  # on [−1, 1]
            total = 0
            for node, weight in zip(nodes, weights):
                state = canvas.with_rule("horizon", baseline, share=float(node + 1))
                total = total + weight / 2 * state[name].color_sum()
            errors.append(float((total - painted).abs().max() / painted.abs().max()))
        # Smooth activations: the error vanishes. At the kinks of ReLU it falls like 1/nodes.
        assert errors[2] <= max(errors[0], 1e-12) and errors[2] < 0.05, (name, errors)


def test_a_share_is_a_number_that_the_rule_can_use(network):
    for share, kind in (
        (-0.1, ValueError),
        (2.5, ValueError),
        (True, TypeError),
        ("all", TypeError),
    ):
        with pytest.raises(kind, match="share is a number from 0 to 1"):
            xc.trace(network, rule="horizon", share=share)
    with pytest.raises(ValueError, match="a share is for rule='horizon', not for 'paper'"):
        xc.trace(network, share=0.5)
    assert xc.trace(network, rule="horizon").share == 0.5
