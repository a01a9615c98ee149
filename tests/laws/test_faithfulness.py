"""The audit: rules against ablation, deletion curves, shuffled weights, and Captum as an outside
reference.
"""

import copy

import numpy as np
import pytest
import torch
from comparing import close
from conftest import Chain
from scipy.stats import spearmanr

import xinc_core as xc
from xinc_core.editing import deletion
from xinc_core.models import identity
from xinc_core.study.findings import faithfulness
from xinc_core.study.findings.base import NetworkView, View
from xinc_core.study.measuring import Session, Unit
from xinc_core.study.measuring.compute import canvases_of
from xinc_core.study.statistics.scene import Scene, audited_pixels


@pytest.fixture(scope="module")
def ffn():
    return xc.load_model("ffn-cat")


def view(model, rule, name, frame=0):
    canvas = xc.trace(model, frame, rule)
    truths = (canvas.with_rule("ablation", b)[name] for b in ("zero", "mean"))
    return View(
        (canvas[name], *truths), (canvas.image,) * 3, Scene(xc.load_clip("cat")), canvas.frame
    )


@pytest.mark.parametrize("rule", ["paper", "first_order"])
def test_agreement_is_spearmans_over_pixels_and_over_totals(ffn, rule):
    seen = view(ffn, rule, "layer3")
    got = faithfulness.measure(seen)
    maps, zero, mean = (layer.tensor().abs().flatten(1) for layer in seen.layers)  # (n, P)
    pixels = audited_pixels(maps.shape[1])
    for baseline, truth in (("zero", zero), ("mean", mean)):
        pairs = zip(maps[:, pixels], truth[:, pixels])
        each = [spearmanr(a, b).statistic for a, b in pairs]
        assert got[f"last_pixels_{baseline}"] == pytest.approx(np.median(each), abs=1e-6)
        assert got[f"last_totals_{baseline}"] == pytest.approx(
            spearmanr(maps.sum(1), truth.sum(1)).statistic, abs=1e-6
        )


@pytest.mark.parametrize("layer", ["layer1", "layer2"])
def test_a_sample_of_an_image_networks_pixels_says_what_all_say(ffn, layer, tmp_path):
    unit = Unit("cat", "ffn", 1, "first_order", "trained", 0)
    canvases = canvases_of(Session(tmp_path), faithfulness.FINDING, unit)
    assert [canvas.image.shape for canvas in canvases] == [(3, 1, 8192)] * 3

    layers = tuple(canvas[layer] for canvas in canvases)
    few = faithfulness.measure(View(layers, (), Scene(xc.load_clip("cat")), 0))
    whole = faithfulness.measure(view(ffn, "first_order", layer))
    assert few["pixels_zero"] == pytest.approx(whole["pixels_zero"], abs=1e-4)  # the same pixels
    for name in ("totals_zero", "totals_mean", "pixels_mean"):
        assert few[name] == pytest.approx(whole[name], abs=0.02), name


def test_in_the_last_layer_first_order_is_the_truth(ffn):
    got = faithfulness.measure(view(ffn, "first_order", "layer3"))
    assert got["last_pixels_zero"] == pytest.approx(1, abs=1e-3) and got[
        "last_totals_zero"
    ] == pytest.approx(1, abs=1e-6)


def test_the_dead_are_those_whose_removal_changes_the_picture_all_the_same(ffn):
    seen = view(ffn, "paper", "layer2")
    maps, zero, _ = (layer.tensor().abs().flatten(1) for layer in seen.layers)
    want = float(((maps.amax(1) == 0) & (zero.amax(1) > 1e-6)).double().mean())
    assert faithfulness.measure(seen)["dead_yet_effective"] == pytest.approx(want) and want > 0.1


def test_deleting_in_the_order_of_ablation_is_optimal_in_a_linear_layer_without_overlap():
    """Neurons that paint apart: what is lost is the sum of their squares, so the order of
    ablation loses fastest.
    """
    torch.manual_seed(0)
    model = Chain(
        (4, 6), (24, 3), (1,), (1,), (identity,), bias=False, neurons="columns"
    ).requires_grad_(False)
    model.x.data = torch.eye(24).view(1, 24, 4, 6) * torch.linspace(0.02, 0.2, 24).view(1, 24, 1, 1)
    model.convs[0].weight.data.fill_(1.0)
    canvas = xc.trace(model, rule="ablation")
    maps, target = canvas["l1"], canvas.image
    at = maps.traced.layers, maps.traced.inputs[0]
    best = deletion(
        *at,
        maps.totals().argsort(descending=True),
        target[None],
        faithfulness.REMOVED,
        target[None],
    )
    for seed in range(20):
        order = torch.randperm(24, generator=torch.Generator().manual_seed(seed))
        assert (
            deletion(*at, order, target[None], faithfulness.REMOVED, target[None])[1:]
            >= best[1:] - 1e-4
        ).all()


def test_the_papers_maps_do_not_notice_shuffled_weights_and_first_order_maps_do(ffn):
    before = {k: v.clone() for k, v in ffn.state_dict().items()}
    scene = Scene(xc.load_clip("cat"))
    paper, first = (
        faithfulness.after_shuffling(NetworkView(ffn, scene, rule, 1, 0))
        for rule in ("paper", "first_order")
    )
    for layer in ("layer1", "layer2"):
        assert paper[layer]["rank_correlation"] == pytest.approx(1)
    assert first["layer1"]["rank_correlation"] < 0.8
    assert all(v.equal(before[k]) for k, v in ffn.state_dict().items())


@pytest.mark.parametrize("number", [1, 2, 3])
def test_captums_gradient_times_activation_is_the_first_order_rule(ffn, number):
    """In float64: in float32 a pre-activation may lie within rounding of 0, where two ways to
    compute it find two slopes of the ReLU, and either is right.
    """
    from captum.attr import LayerGradientXActivation

    model = copy.deepcopy(ffn).double()
    layer = xc.trace(model, rule="first_order")[f"layer{number}"]
    model.requires_grad_(True)
    method = LayerGradientXActivation(
        lambda code: model.decode(code).sum((2, 3)), model.linears[number - 1]
    )
    code = model.encode(torch.zeros(1)).requires_grad_()
    ours = {neuron: layer.color(neuron) for neuron in (0, 17, len(layer) - 1)}
    for channel in range(3):
        got = method.attribute(code, target=channel, attribute_to_layer_input=True)
        if isinstance(got, tuple):
            got = got[0]
        got = got[0].T.detach().unflatten(1, model.config.size)  # (1, HW, n) → (n, H, W)
        for neuron, colors in ours.items():
            close(got[neuron], colors[channel], 1e-9)


def test_captums_conductance_sides_with_the_first_order_rule(ffn):
    """Another attribution method, by other people: over neurons of an inner layer its totals
    rank as ablation does.
    """
    from captum.attr import LayerConductance

    model = copy.deepcopy(ffn).requires_grad_(True)
    canvas, code = xc.trace(ffn, rule="ablation"), model.encode(torch.zeros(1))
    method = LayerConductance(lambda code: model.decode(code).sum((2, 3)), model.linears[1])
    total = torch.zeros(104)
    for channel in range(3):
        got = method.attribute(code, target=channel, n_steps=8, attribute_to_layer_input=True)
        total += (got[0] if isinstance(got, tuple) else got)[0].detach().abs().sum(0)
    truth = canvas["layer2"].totals()
    rank = {
        rule: spearmanr(canvas.with_rule(rule)["layer2"].totals(), truth).statistic
        for rule in ("paper", "first_order")
    }
    assert rank["paper"] < spearmanr(total, truth).statistic and rank["first_order"] > 0.9
