"""Families: what each describes is what it computes, and one more takes one class."""

import copy

import literal
import pytest
import torch
from comparing import close
from hypothesis import given, settings
from hypothesis import strategies as st
from own_network import GaussianMLP
from torch import nn

import xinc_core as xc
from xinc_core.fitting import training
from xinc_core.models import FAMILIES, SIREN, HNeRV, NeRV, Sine, chain, coordinates, position
from xinc_core.study.figures import theme as plots
from xinc_core.study.findings import laws
from xinc_core.study.findings.registry import finding
from xinc_core.study.measuring import Session
from xinc_core.tracing import RULES
from xinc_core.util.paths import notebooks_folder

TINY = dict(max_examples=20, deadline=None, derandomize=True, database=None)
ACTIVATIONS = {
    "relu": nn.ReLU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(inplace=True),
    "sine": type("Sin", (nn.Module,), {"forward": lambda self, x: torch.sin(1.5 * x)})(),
    "gaussian": type("Bell", (nn.Module,), {"forward": lambda self, x: torch.exp(-(x**2))})(),
}


@pytest.fixture(scope="module")
def clip():
    return xc.Clip("small", xc.load_clip("shapes").frames[:4, :, 32:64, :64].contiguous())


# Networks as they come ----------------------------------------------------------------------------


@st.composite
def perceptrons(draw):
    """A coordinate MLP of 2 to 8 layers on any small grid."""
    depth, widths = draw(st.integers(2, 8)), st.integers(1, 4)
    sizes = [2, *(draw(widths) for _ in range(depth - 1)), 3]
    bias, activation = draw(st.booleans()), ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))]
    torch.manual_seed(draw(st.integers(0, 99)))
    layers = [
        part for a, b in zip(sizes, sizes[1:]) for part in (nn.Linear(a, b, bias), activation)
    ][:-1]
    return chain(
        nn.Sequential(*layers).double(), size=(draw(st.integers(2, 5)), draw(st.integers(2, 6)))
    )


@st.composite
def decoders(draw):
    """A convolutional decoder of 2 to 8 layers, kernels 1, 3, 5, strides 1 to 5, on a grid that
    need not be square.
    """
    depth, scale, layers, a = draw(st.integers(2, 8)), 1, [], draw(st.integers(1, 2))
    bias, grid, first = draw(st.booleans()), (draw(st.integers(1, 3)), draw(st.integers(1, 3))), a
    torch.manual_seed(draw(st.integers(0, 99)))
    for n in range(depth):
        kernel, last = draw(st.sampled_from([1, 3, 5])), n == depth - 1
        s = 1 if last else draw(st.sampled_from([s for s in range(1, 6) if s * scale <= 10]))
        b, scale = 3 if last else draw(st.integers(1, 2)), scale * s
        layers.append(nn.Conv2d(a, b * s * s, kernel, padding=kernel // 2, bias=bias))
        if not last:
            after = [nn.PixelShuffle(s), ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))]]
            layers += after if draw(st.booleans()) else after[::-1]
        a = b
    return chain(
        nn.Sequential(*layers).double(), codes=torch.randn(2, first, *grid, dtype=torch.float64)
    )


def as_a_whole(network):
    """The first picture of the wrapped module, run without the derived description."""
    code = network.codes[:1]
    if isinstance(next(m for m in network.module.modules() if hasattr(m, "weight")), nn.Linear):
        return network.module(code.movedim(1, -1)).movedim(-1, 1)[0]
    return network.module(code)[0]


def agrees_with_the_definitions(network):
    """All three rules against the literal ones on some neurons of every layer; maps add up; sums
    are those of the maps.
    """
    network.requires_grad_(False)
    canvas, seen = xc.trace(network), literal.inputs_of(network)
    close(canvas.image, as_a_whole(network), 1e-10)
    for index, layer in enumerate(network.layers()):
        few = torch.linspace(0, layer.n_neurons - 1, min(4, layer.n_neurons)).long().tolist()
        maps = {rule: canvas.with_rule(rule)[layer.name] for rule in RULES}
        for n in few:
            close(maps["paper"][n], literal.paper_map(network, index, n, seen=seen), 1e-10)
            close(maps["first_order"].color(n), literal.first_order_map(network, index, n), 1e-8)
            gone, rounding = (
                literal.ablation_map(network, index, n),
                1e-13 * canvas.image.abs().max(),
            )
            # the literal map is a difference of two pictures, and knows a small effect no better
            # than they are rounded
            assert (
                maps["ablation"].color(n) - gone
            ).abs().max() <= 1e-8 * gone.abs().max() + rounding
        dense = maps["first_order"].tensor()
        close(maps["first_order"].totals(), dense.abs().sum((1, 2)), 1e-9)
        close(maps["paper"].heatmap(), maps["paper"].tensor().abs().sum(0), 1e-9)
        assert laws.completeness(canvas, layer.name) < 1e-9
        assert laws.additivity(canvas.with_rule("first_order"), layer.name) < 1e-8


@settings(**TINY)
@given(perceptrons())
def test_any_perceptron_is_traced_exactly(network):
    agrees_with_the_definitions(network)


@settings(**TINY)
@given(decoders())
def test_any_decoder_is_traced_exactly(network):
    agrees_with_the_definitions(network)


# A network of one's own ---------------------------------------------------------------------------


@pytest.fixture
def own(clip, tmp_path, monkeypatch):
    """A fitted network of a family that was added at run time, saved where networks are found by
    name.
    """
    monkeypatch.setitem(FAMILIES, "gaussian", GaussianMLP)
    monkeypatch.setenv("XINC_RUN", str(tmp_path))
    model, history = xc.fit(
        "gaussian", clip, frame=2, epochs=30, width=12, checkpoint=False, progress=False
    )
    assert history["psnr"][-1] > history["psnr"][0] + 2
    (tmp_path / "models").mkdir()
    facts = dict(clip=clip.name, clip_checksum=clip.checksum, seed=1, epochs=30, frame=2)
    xc.save_model(model, tmp_path / "models" / "gaussian-small.safetensors", **facts)
    return model


def test_an_added_family_is_fitted_saved_loaded_traced_and_measured(own, clip):
    model = xc.load_model("gaussian-small")
    assert xc.render(model).equal(xc.render(own)) and model.frame == 2
    with pytest.raises(ValueError, match="another clip"):
        xc.fitting.check_clip(model, xc.Clip("other", clip.frames.flip(-1).contiguous()))
    exact = copy.deepcopy(model).double()
    canvas = xc.trace(exact)
    for index, name in enumerate(canvas.layers):
        for rule, want in (
            ("paper", literal.paper_map),
            ("first_order", literal.first_order_map),
            ("ablation", literal.ablation_map),
        ):
            maps = canvas.with_rule(rule)[name]
            close(maps[5] if rule == "paper" else maps.color(5), want(exact, index, 5), 1e-9)
    findings = [finding("distributed"), finding("edges")]
    rules = ["paper", "first_order"]
    table = Session().measure(findings, clip, ["gaussian"], [1], rules, progress=False)
    own_rows = table[table.family == "gaussian"]
    assert set(own_rows.layer) == {"layer1", "layer2", "layer3"} and {
        "trained",
        "untrained",
        "no bias",
    } <= set(own_rows.variant)
    assert {"effective_neurons", "partial_edges"} <= set(
        own_rows.statistic
    ) and own_rows.value.notna().all()


def test_an_added_family_resumes_compresses_and_has_colours_of_its_own(own, clip, tmp_path):
    again, _ = xc.fit(
        "gaussian", clip, frame=2, epochs=30, width=12, checkpoint=False, progress=False
    )
    assert xc.render(again).equal(xc.render(own))
    xc.compress(own, tmp_path / "small.xinc", clip, bits=8)
    assert xc.evaluate(xc.load_model(tmp_path / "small.xinc"), clip) > xc.evaluate(own, clip) - 1
    colors = [plots.family_color(name) for name in FAMILIES]
    assert len(set(colors)) == len(colors) and plots.family_color("of nobody").startswith("#")


def test_layers_of_any_name_have_colours_that_brightness_alone_tells_apart():
    for names in (
        ["layer1", "layer2", "layer3"],
        ["block1", "block2", "block10", "head"],
        ["up_a", "up_b"],
        ["stage1", "stage2"],
    ):
        colors = plots.layer_colors(names[::-1])
        light = [sum(w * c for w, c in zip((0.299, 0.587, 0.114), colors[n])) for n in names]
        assert (
            set(colors) == set(names) and min(abs(a - b) for a, b in zip(light, light[1:])) > 0.03
        )


def test_the_notebook_shows_the_example_as_it_stands_in_the_tests():
    import json
    from pathlib import Path

    import own_network

    lines = Path(own_network.__file__).read_text().strip().splitlines()
    assert len(lines) < 60
    book = json.loads((notebooks_folder() / "13_your_own_network.ipynb").read_text())
    shown = [
        line
        for c in book["cells"]
        if c["cell_type"] == "code"
        for line in "".join(c["source"]).splitlines()
        if line.strip()
    ]
    wanted = [line for line in lines[1:] if line.strip()]
    start = shown.index(wanted[0])
    assert shown[start : start + len(wanted)] == wanted


# What is refused ----------------------------------------------------------------------------------


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return x + self.inner(x)


def odd(**options):
    return nn.Conv2d(4, 4, **({"kernel_size": 3, "padding": 1} | options))


@pytest.mark.parametrize(
    "part, sentence",
    [
        (Skip(), "layer '1' is a Skip, which no rule here covers"),
        (nn.BatchNorm2d(4), "BatchNorm2d"),
        (nn.LayerNorm(3, elementwise_affine=False), "LayerNorm"),
        (nn.InstanceNorm2d(4), "InstanceNorm2d"),
        (nn.MultiheadAttention(4, 2), "MultiheadAttention"),
        (nn.Softmax(1), "Softmax"),
        (nn.Dropout(0.5), "Dropout"),
        (nn.Upsample(scale_factor=2), "Upsample, which no rule here follows exactly"),
        (nn.Sequential(nn.ReLU(), nn.Upsample(scale_factor=2)), "layer '1.1' is an Upsample"),
        (nn.ConvTranspose2d(4, 4, 3, padding=1), "ConvTranspose2d"),
        (nn.Linear(3, 3), "a Linear among others"),
        (odd(stride=2), "no convolution that the rules cover"),
        (odd(padding=0), "no convolution that the rules cover"),
        (odd(padding_mode="reflect"), "no convolution that the rules cover"),
        (odd(dilation=2, padding=2), "no convolution that the rules cover"),
        (odd(groups=2), "no convolution that the rules cover"),
        (odd(kernel_size=(1, 3), padding=(0, 1)), "no convolution that the rules cover"),
        (nn.utils.parametrizations.weight_norm(odd()), "computed from others"),
    ],
)
def test_what_the_rules_do_not_cover_is_refused_by_name(part, sentence):
    network = nn.Sequential(nn.Conv2d(4, 4, 1), part, nn.Conv2d(4, 3, 1))
    with pytest.raises(ValueError, match=sentence):
        chain(network, codes=torch.randn(1, 4, 3, 3))


def test_chains_that_cannot_be_are_refused():
    shared = nn.Linear(4, 4)
    ends = [nn.Linear(2, 4), nn.Tanh()]
    cases = [
        (
            nn.Sequential(*ends, shared, shared, nn.Linear(4, 3)),
            dict(size=(3, 4)),
            "was there before",
        ),
        (nn.Sequential(*ends), dict(size=(3, 4)), "must be linear"),
        (
            nn.Sequential(*ends, nn.Linear(4, 1)),
            dict(size=(3, 4)),
            "paints 1 channels; a picture has 3",
        ),
        (nn.Sequential(*ends, nn.Linear(4, 3)), {}, "takes either size"),
        (
            nn.Sequential(*ends, nn.Linear(4, 3)),
            dict(codes=torch.zeros(1, 5, 3, 4)),
            "reads 2 channels",
        ),
        (nn.Sequential(nn.ReLU()), dict(size=(3, 4)), "ReLU"),
        (nn.Sequential(), dict(size=(3, 4)), "no Linear or Conv2d layer"),
        (
            nn.TransformerEncoderLayer(4, 2),
            dict(size=(3, 4)),
            "the network is a TransformerEncoderLayer",
        ),
    ]
    for network, options, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            chain(network, **options)


def test_one_activation_may_be_used_twice_and_parameters_are_the_networks_own():
    relu = nn.ReLU(inplace=True)
    network = nn.Sequential(nn.Linear(2, 5), relu, nn.Linear(5, 4), relu, nn.Linear(4, 3))
    model = chain(network, size=(3, 4))
    model.layers()[0].silence_(torch.tensor([1]))
    assert not network[2].weight[:, 1].any() and network[2].weight[:, 0].any()
    assert [layer.name for layer in model.layers()] == ["layer1", "layer2"]
    assert xc.render(model, clamp=False).equal(
        xc.render(chain(copy.deepcopy(network), size=(3, 4)), clamp=False)
    )


def test_a_network_of_no_family_is_not_written(tmp_path):
    model = chain(
        nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)),
        size=(3, 4),
    )
    for write in (
        lambda: xc.save_model(model, tmp_path / "m.safetensors"),
        lambda: xc.compress(model, tmp_path / "m.xinc"),
    ):
        with pytest.raises(ValueError, match="is of no family"):
            write()
    assert not list(tmp_path.iterdir())


def test_columns_before_a_wider_kernel_are_refused():
    from xinc_core.models import Layer, check_chain

    layers = [
        Layer("a", torch.ones(4, 2, 1, 1), None, neurons="columns"),
        Layer("b", torch.ones(3, 4, 3, 3), None),
    ]
    with pytest.raises(ValueError, match=r"a has columns as neurons, .* \(b\)"):
        check_chain(layers)
    with pytest.raises(ValueError, match="b has kernels of 2×2"):
        check_chain([Layer("b", torch.ones(3, 4, 2, 2), None)])


# SIREN and HNeRV ----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 4])
def test_a_siren_is_its_formula(depth):
    torch.manual_seed(0)
    model = SIREN(SIREN.Config(size=(4, 7), width=5, depth=depth, first_w0=11.0, w0=3.0)).double()
    x = coordinates((4, 7), dtype=torch.float64).flatten(1).T  # (HW, 2)
    assert x[0].tolist() == [-1.0, -1.0] and x[:, 1].max() == 1.0 and x[:, 0].max() == 0.0
    x = torch.sin(11 * (x @ model.first.weight.T + model.first.bias))
    for linear in model.linears[:-1]:
        x = torch.sin(3 * (x @ linear.weight.T + linear.bias))
    want = (x @ model.linears[-1].weight.T + model.linears[-1].bias).T.unflatten(1, (4, 7))
    close(model(position(model, 0))[0], want, 1e-12)
    names = [f"layer{i}" for i in range(1, depth + 2)]
    assert [(layer.name, layer.n_neurons) for layer in model.layers()] == [(n, 5) for n in names]
    x = torch.randn(3, 4, dtype=torch.float64)
    sine = model.layers()[0].activation
    assert sine == Sine(3.0) and torch.allclose(sine.in_place_(x.clone()), sine(x))


def test_a_fitted_hnerv_stands_alone_and_a_resumed_fit_is_the_same(clip, tmp_path, monkeypatch):
    options = dict(
        epochs=8,
        lr=5e-3,
        progress=False,
        strides=(4, 4),
        channels=(8, 6, 5),
        encoder=8,
        kernels=(1, 5),
    )
    options["recipe"] = "paper"
    whole, history = xc.fit("hnerv", clip, checkpoint=False, **options)
    assert history["psnr"][-1] > history["psnr"][0] + 2
    assert xc.evaluate(whole, clip) == pytest.approx(history["psnr"][-1], abs=1.5)
    step, count, path = training._step, 0, tmp_path / "fit.pt"

    def interrupted(*args):
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(training, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        xc.fit("hnerv", clip, checkpoint=path, save_every=0.0, **options)
    resumed, _ = xc.fit("hnerv", clip, checkpoint=path, **options)
    assert all(
        v.equal(w) for v, w in zip(whole.state_dict().values(), resumed.state_dict().values())
    )
    xc.save_model(whole, tmp_path / "m.safetensors")
    alone = xc.load_model(tmp_path / "m.safetensors")
    assert xc.render(alone, 3).equal(xc.render(whole, 3)) and not any(
        "encoder" in k for k in alone.state_dict()
    )
    stored = sum(v.numel() for v in alone.state_dict().values())
    assert stored == whole.config.n_parameters
    refined = training.refine(whole, clip, 3, progress=False)
    assert refined.embeddings.equal(whole.embeddings) and not refined.head.weight.equal(
        whole.head.weight
    )
    xc.compress(whole, tmp_path / "m.xinc", clip, bits=10)
    assert (
        abs(xc.evaluate(xc.load_model(tmp_path / "m.xinc"), clip) - xc.evaluate(whole, clip)) < 0.5
    )


def test_an_hnerv_that_diverges_keeps_embeddings_that_belong_to_its_weights(clip, monkeypatch):
    step, count = training._step, 0

    def harmful(run, codes, target):
        nonlocal count
        count += 1
        if count > 12:
            run.model.head.bias.data.add_(float("nan"))
        return step(run, codes, target)

    monkeypatch.setattr(training, "_step", harmful)
    with pytest.raises(training.DivergenceError) as caught:
        xc.fit(
            "hnerv",
            clip,
            epochs=9,
            progress=False,
            checkpoint=False,
            strides=(4, 4),
            channels=(8, 6, 5),
            encoder=8,
            kernels=(1, 3),
        )
    assert xc.evaluate(caught.value.model, clip) > max(caught.value.history["psnr"][:6]) - 3


@pytest.mark.parametrize(
    "size, blocks", [((128, 256), 1), ((64, 96), 2), ((48, 80), 1), ((40, 60), 1)]
)
def test_an_hnerv_is_sized_for_any_clip(size, blocks):
    config = HNeRV.Config.for_clip(size, 5, parameters=120_000, blocks=blocks)
    model = HNeRV(config)
    counted = sum(p.numel() for p in model.parameters()) + model.embeddings.numel()
    assert 0.85 * 120_000 < config.n_parameters == counted <= 120_000
    assert config.strides.count(1) == (blocks - 1) * len([s for s in config.strides if s > 1])
    assert (
        xc.render(model, 4).shape == (3, *size)
        and model.new_encoder()(torch.rand(2, 3, *size)).shape == model.embeddings[:2].shape
    )


def authors_hnerv(model):
    names = {"expand": "decoder.0.conv.downconv", "head": "head_layer"}
    names |= {f"blocks.{i}": f"decoder.{i + 1}.conv.upconv.0" for i in range(len(model.blocks))}
    tensors = {}
    for key, value in model.state_dict().items():
        stem, _, last = key.rpartition(".")
        if stem in names:
            tensors[f"{names[stem]}.{last}"] = value
    return tensors


def steps(values, bits=16):
    low = values.amin()
    scale = (values.amax() - low) / 2**bits
    return dict(
        quant=((values - low) / scale).round(),
        min=low.expand(1).clone(),
        scale=scale.expand(1).clone(),
    )


@pytest.mark.parametrize("output", ["linear", "tanh"])
def test_the_authors_quantised_videos_load(output, tmp_path):
    torch.manual_seed(1)
    shape = dict(strides=(3, 1, 2), channels=(5, 4, 4, 3), kernels=(1, 3, 5), embedding=2)
    model = HNeRV(HNeRV.Config((12, 18), 4, output=output, **shape)).requires_grad_(False)
    if output == "linear":
        model.head.bias.copy_(torch.tensor([0.4, 0.5, 0.6]))
    else:
        model.head.weight.mul_(60)
    state = authors_hnerv(model)
    quantised = {"embed": steps(model.embeddings), "model": {k: steps(v) for k, v in state.items()}}
    torch.save(quantised, tmp_path / "quant_vid.pth")
    loaded = xc.load_model(tmp_path / "quant_vid.pth", size=(12, 18))
    assert loaded.config == HNeRV.Config(
        (12, 18), 4, output=output, encoder=loaded.config.encoder, **shape
    )
    close(xc.render(loaded, 3, clamp=False), xc.render(model, 3, clamp=False), 1e-2)
    torch.save(
        {"state_dict": state | {"encoder.stages.0.gamma": torch.ones(2)}, "epoch": 3},
        tmp_path / "model.pth",
    )
    cases = [
        ("model.pth", dict(size=(12, 18), n_frames=4), "not the embeddings of the frames"),
        ("quant_vid.pth", dict(size=(12, 24)), "paints 12×18 pixels, not 12×24"),
        ("quant_vid.pth", dict(size=(12, 18), n_frames=5), "embeddings of 4 frames, not of 5"),
    ]
    for name, options, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            xc.load_model(tmp_path / name, **options)


def test_bad_shapes_get_one_sentence():
    cases = [
        (lambda: SIREN.Config((4, 4), depth=0), "at least one sine layer"),
        (lambda: HNeRV.Config((20, 20), 2), "multiples of 64"),
        (lambda: HNeRV.Config((64, 64), 2, kernels=(1, 3)), "4 kernel sizes, not 5 and 2"),
        (lambda: HNeRV.Config((64, 64), 2, kernels=(1, 3, 4, 5)), "kernel sizes are odd"),
        (lambda: HNeRV.Config((64, 64), 2, output="softmax"), "an output is one of"),
        (lambda: HNeRV.Config.for_clip((64, 64), 2, parameters=10), "has as few as 10 parameters"),
        (lambda: NeRV.Config.for_clip((64, 64), 2, parameters=10), "has as few as 10 parameters"),
    ]
    for make, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            make()
