"""What surrounds a call, and the state that a network is in, change no number."""

import contextlib
import copy
from functools import cache

import pytest
import torch
from comparing import close
from torch import nn

import xinc_core as xc
from xinc_core.models import FFN, SIREN, HNeRV, NeRV

RULES = ("paper", "first_order", "ablation")


def small(kind):
    torch.manual_seed(3)
    options = dict(
        ffn=lambda: FFN(FFN.Config(size=(6, 9), width=7, scale=2.0)),
        siren=lambda: SIREN(SIREN.Config(size=(5, 8), width=6)),
        nerv=lambda: NeRV(
            NeRV.Config(size=(16, 12), n_frames=3, strides=(2, 2), channels=(2, 2, 2), levels=4)
        ),
        hnerv=lambda: HNeRV(
            HNeRV.Config(
                size=(12, 18),
                n_frames=2,
                embedding=2,
                strides=(3, 2),
                channels=(2, 2, 2),
                kernels=(1, 3),
            )
        ),
    )
    return options[kind]().requires_grad_(False)


KINDS = ("ffn", "siren", "nerv", "hnerv")


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SURROUNDINGS = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "gradients": torch.enable_grad,
    "a default dtype": lambda: default_dtype(torch.float64),
}


def everything(model):
    """Whatever can be asked of a network, as a list of tensors."""
    results = [xc.render(model), xc.render(model, without={model.layers()[0].name: [0]})]
    labels = torch.arange(results[0][0].numel()).view(results[0].shape[1:]) % 40
    for rule in RULES:
        for maps in xc.trace(model, rule=rule):
            few = labels % 2
            maps = maps.only(range(0, len(maps), 3))
            results += [maps.totals(), maps.heatmap(), maps[1], maps.pixel(2, 3)]
            results += [maps.region_sums(labels), maps.region_sums(few)]
            results += [values for _, values in maps.only([0, 1]).chunks()]
    for _, canvas in xc.trace_frames(model):
        results.append(canvas[canvas.layers[-1]].totals())
    scaled = xc.scale_neurons(model, {model.layers()[0].name: {0: 0.1}})
    return [*results, xc.render(scaled)]


@cache
def usual(kind):
    """The same of a network as it comes, asked from a plain line."""
    return everything(small(kind))


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_surroundings_change_no_number(kind, surrounding):
    model, wanted = small(kind), usual(kind)
    with SURROUNDINGS[surrounding]():
        found = everything(model)
    for one, other in zip(wanted, found):
        assert one.equal(other) and one.dtype == other.dtype
        assert not other.requires_grad and not other.is_inference()


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
def test_quality_is_the_same(surrounding, shapes):
    clip = xc.Clip("cut", shapes.frames[:3, :, :16, :12].contiguous())
    model = small("nerv")
    wanted = xc.evaluate(model, clip)
    with SURROUNDINGS[surrounding]():
        assert xc.evaluate(model, clip) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_the_networks_own_state_changes_no_number(kind):
    """In training, with gradients, and made in inference mode."""
    model, wanted = small(kind), usual(kind)
    others = [copy.deepcopy(model).train(), copy.deepcopy(model).eval().requires_grad_(True)]
    with torch.inference_mode():
        others.append(copy.deepcopy(model))
    for other in others:
        for one, found in zip(wanted, everything(other)):
            assert one.equal(found) and not found.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_single_and_double_precision_are_traced_and_half_is_refused(kind):
    model = small(kind)
    double = everything(copy.deepcopy(model).double())
    for one, other in zip(usual(kind), double):
        close(one.double(), other.double(), 1e-4)
    for low in (torch.float16, torch.bfloat16):
        with pytest.raises(ValueError, match=r"model.float\(\)"):
            xc.trace(copy.deepcopy(model).to(low))


def test_a_network_of_two_dtypes_is_refused():
    model = small("nerv")
    model.blocks[0].double()
    with pytest.raises(ValueError, match="a network is of one dtype"):
        xc.trace(model)


def test_a_chain_with_dropout_is_traced_when_it_does_nothing():
    network = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3)).eval()
    chain = xc.models.chain(network, size=(4, 5))
    assert xc.trace(chain).image.equal(xc.render(chain, clamp=False))
    for call in (xc.trace, xc.render):
        with pytest.raises(ValueError, match=r"call model.eval\(\) first"):
            call(chain.train())
    chain.eval()
    assert xc.trace(chain).image.equal(xc.render(chain, clamp=False))


def test_a_generator_leaves_its_callers_surroundings_alone():
    maps = xc.trace(small("nerv"))["block1"]
    with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for _, values in maps.chunks():
            assert torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")
            assert (values.flatten(1) @ values.flatten(1).T).dtype == torch.bfloat16
