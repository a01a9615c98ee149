"""Muon against its definition: singular vectors stay, singular values become one; METHOD 5."""

import pytest
import torch
from torch import nn

from xinc_core.fitting.muon import ITERATIONS, MOMENTUM, Muon, orthogonal
from xinc_core.fitting.state import FitState
from xinc_core.fitting.training import untrained
from xinc_core.models import FAMILIES, recipe


@pytest.mark.parametrize("shape", [(5, 5), (24, 7), (7, 24)])
def test_singular_vectors_stay_and_singular_values_become_about_one(shape):
    matrix = torch.randn(shape, dtype=torch.float64)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ orthogonal(matrix) @ vh.T  # diagonal, where the singular vectors are the same
    values = inside.diagonal()
    assert (inside - values.diag()).abs().max() < 1e-9
    # a square random matrix has singular values near 0, which the iteration lifts less
    assert values.max() < 1.25 and values.median() > 0.65
    assert torch.allclose(orthogonal(1e4 * matrix), orthogonal(matrix), atol=1e-5)


def test_the_iteration_is_its_polynomial_of_the_singular_values():
    values = torch.tensor([3.0, 2.0, 0.5, 0.1], dtype=torch.float64)
    expected = values / values.norm()
    for _ in range(ITERATIONS):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    assert torch.allclose(orthogonal(values.diag()).diagonal(), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (8, 2, 3, 3)])
def test_steps_are_those_of_the_literal_loop(shape):
    weight = nn.Parameter(torch.randn(shape, dtype=torch.float64))
    literal = weight.detach().clone()
    momentum = torch.zeros_like(literal)
    muon = Muon([weight], lr=0.1)
    rows, columns = literal.flatten(1).shape
    for _ in range(4):
        gradient = torch.randn(shape, dtype=torch.float64)
        weight.grad = gradient
        muon.step()
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        ahead = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        step = orthogonal(ahead.reshape(rows, columns)).reshape(shape)
        literal = literal - 0.1 * max(1, rows / columns) ** 0.5 * step
    assert torch.allclose(weight.detach(), literal, atol=1e-12)


@pytest.mark.parametrize("family", ["ffn", "siren", "nerv", "hnerv"])
def test_muon_trains_the_inner_layers_weights_and_adam_everything_else(family):
    kind = FAMILIES[family]
    model = untrained(family, kind.Config.for_clip((32, 64), 2)).requires_grad_(True)
    state = FitState(model, recipe(family, "fast"), torch.zeros(2, 3, 32, 64))
    muon, adam = state.optimizers
    by_muon = [weight for group in muon.param_groups for weight in group["params"]]
    by_adam = [weight for group in adam.param_groups for weight in group["params"]]
    everything = {id(weight) for weight in model.parameters()}
    assert {id(weight) for weight in by_muon + by_adam} == everything
    assert len(by_muon) + len(by_adam) == len(everything)
    inner = [layer.weight.data_ptr() for layer in model.layers()[:-1]]
    assert sorted(weight.data_ptr() for weight in by_muon) == sorted(inner)
