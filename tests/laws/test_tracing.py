"""The canvas against the literal definitions, the laws, and the authors' own values."""

import copy
import doctest
from dataclasses import replace

import literal
import numpy as np
import pytest
import torch
from comparing import close
from conftest import Chain

import xinc_core as xc
from xinc_core.models import NeRV, position
from xinc_core.tracing import RULES, Budget, Traced, whole
from xinc_core.tracing import canvas as canvas_module
from xinc_core.tracing import maps as maps_module

# These networks are small, so their Jacobians would all be computed forwards, by impulses.
BACKWARDS = Budget(impulses_up_to_cells=0)
FORWARDS = Budget(impulses_up_to_cells=10**9)
BOTH_WAYS = pytest.mark.parametrize("budget", [BACKWARDS, FORWARDS], ids=["backwards", "forwards"])


def all_maps(network, rule, index, budget=BACKWARDS, **options):
    canvas = xc.trace(network, rule=rule, budget=budget, **options)
    return canvas[network.layers()[index].name]


def test_reference_values_of_the_authors_code(reference):
    size = dict(size=(128, 256))
    cases = [("ffn_cityscapes_0005.ckpt", "ffn_values.npz", "", size)]
    cases += [("nerv_bunny.pth", "nerv_values.npz", "frame0.", size | {"n_frames": 30})]
    for checkpoint, values, prefix, options in cases:
        canvas = xc.trace(xc.load_model(reference / checkpoint, **options))
        table = {k: torch.from_numpy(v) for k, v in np.load(reference / values).items()}
        for name in {k.removeprefix(prefix).split(".")[0] for k in table}:
            want = {
                k.rsplit(".", 1)[1]: v for k, v in table.items() if k.startswith(f"{prefix}{name}.")
            }
            maps = torch.stack([canvas[name][int(n)] for n in want["neurons"]])
            close(maps, want["maps"], 1e-5)
            close(canvas[name].totals(), want["total"].double(), 1e-5)
            close(canvas[name].heatmap(), want["heatmap"].double(), 1e-5)


def test_the_canvas_runs_the_network_itself(network):
    close(xc.trace(network).image, network(position(network, 0))[0], 1e-12)


@pytest.mark.parametrize("dtype, rtol", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_paper_maps_equal_the_literal_ones(network, dtype, rtol):
    network = network.to(dtype)
    exact = copy.deepcopy(network).double()
    for index, layer in enumerate(network.layers()):
        want = torch.stack([literal.paper_map(exact, index, n) for n in range(layer.n_neurons)])
        close(all_maps(network, "paper", index).tensor().double(), want, rtol)


def test_the_jacobian_forwards_equals_the_jacobian_backwards(network):
    H, W = network.config.size if hasattr(network, "config") else xc.trace(network).image.shape[1:]
    box = ((1, H - 1), (2, W))
    backwards = xc.trace(network, rule="first_order", budget=BACKWARDS)
    forwards = xc.trace(network, rule="first_order", budget=FORWARDS)
    for slow, fast in zip(backwards, forwards):
        some = torch.randperm(len(slow), generator=torch.Generator().manual_seed(0))[:7]
        for a, b in (
            (slow.tensor(), fast.tensor()),
            (slow.totals(), fast.totals()),
            (slow.heatmap(), fast.heatmap()),
            (slow.pixel(H // 2, W - 1), fast.pixel(H // 2, W - 1)),
            (slow.only(some).tensor(), fast.only(some).tensor()),
            (slow._rule.color(some, box), fast._rule.color(some, box)),
            (slow.color(0), fast.color(0)),
        ):
            close(b, a, 1e-11)
        if slow.traced.layer.neurons == "kernels" and not slow.traced.is_last:
            assert type(fast._rule).__name__ == "Impulses" != type(slow._rule).__name__


@BOTH_WAYS
@pytest.mark.parametrize("dtype, rtol", [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_first_order_maps_equal_forward_mode_differentiation(network, dtype, rtol, budget):
    network = network.to(dtype)
    exact = copy.deepcopy(network).double()
    for index, layer in enumerate(network.layers()):
        maps = all_maps(network, "first_order", index, budget)
        want = torch.stack(
            [literal.first_order_map(exact, index, n) for n in range(layer.n_neurons)]
        )
        close(torch.stack([maps.color(n) for n in range(len(maps))]).double(), want, rtol)
        close(maps.tensor().double(), want.abs().sum(1), rtol)


@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_ablation_maps_equal_the_literal_ones(network, baseline):
    for index, layer in enumerate(network.layers()):
        maps = all_maps(network, "ablation", index, baseline=baseline)
        for n in range(0, layer.n_neurons, 3):
            want = literal.ablation_map(network, index, n, baseline=baseline)
            close(maps.color(n), want, 1e-10)
            close(maps[n], want.abs().sum(0), 1e-10)


def test_ablation_is_the_picture_without_the_kernels_weights():
    torch.manual_seed(0)
    model = NeRV(
        NeRV.Config(size=(16, 16), n_frames=2, strides=(2, 2), channels=(3, 2, 2), levels=3)
    )
    model.requires_grad_(False)
    maps, whole = xc.trace(model, rule="ablation")["block1"], xc.render(model, clamp=False)
    for i, o in ((0, 0), (2, 5)):
        lesioned = copy.deepcopy(model)
        lesioned.blocks[0].weight[o, i] = 0
        close(maps.color(i * 8 + o), whole - xc.render(lesioned, clamp=False), 1e-5)


def test_on_the_last_layer_first_order_is_ablation_and_paper_is_both_up_to_the_bias_share(network):
    name = network.layers()[-1].name
    maps = {
        rule: xc.trace(network, rule=rule)[name] for rule in ("paper", "first_order", "ablation")
    }
    layer = network.layers()[-1]
    for n in range(len(maps["paper"])):
        truth = maps["ablation"].color(n)
        close(maps["first_order"].color(n), truth, 1e-10)
        bias = torch.zeros(3, dtype=truth.dtype) if layer.bias is None else layer.bias / layer.c_in
        painted = slice(None) if layer.neurons == "columns" else n % layer.c_out
        close(
            maps["paper"].color(n)[painted] - bias[painted, ..., None, None], truth[painted], 1e-10
        )


def test_completeness_terms_add_up_to_the_layers_own_output(network):
    """Before the activation, the terms of a layer sum to its pre-activation output (METHOD 2)."""
    for layer, x in zip(network.layers(), literal.inputs_of(network)):
        traced = Traced((layer,), (x,), tuple(x.shape[-2:]))
        z = layer.linear(x)[0]
        if layer.neurons == "columns":
            columns = (
                layer.weight[:, :, 0, 0].sum(0)[:, None, None] * x[0]
                + layer.bias.sum() / layer.c_in
            )
            close(columns.sum(0), z.sum(0), 1e-10)
            continue
        box = whole(x.shape[-2:])
        terms = traced.shares(torch.arange(layer.n_neurons), box).unflatten(
            0, (layer.c_in, layer.c_out)
        )
        bias = 0 if layer.bias is None else layer.bias[:, None, None] / layer.c_in
        close((terms + bias).sum(0), z, 1e-10)


def test_first_order_maps_of_a_layer_add_up(network):
    """To J applied to the whole weight part; piecewise linear, with the later bias shares too,
    to the picture.
    """
    seen, layers = literal.inputs_of(network), network.layers()
    piecewise_linear = all(
        layer.activation in (torch.nn.functional.relu, xc.models.identity) for layer in layers
    )
    for index, layer in enumerate(layers):
        maps = all_maps(network, "first_order", index)
        total = sum(maps.color(n) for n in range(len(maps)))
        z = layer.linear(seen[index])
        weights_only = z if layer.bias is None else z - layer.bias[:, None, None]
        close(total, torch.func.jvp(literal.tail(network, index), (z,), (weights_only,))[1], 1e-9)
        if piecewise_linear:
            for later in range(index, len(layers)):
                z = layers[later].linear(seen[later])
                bias = layers[later].bias[:, None, None].expand_as(z)
                total = total + torch.func.jvp(literal.tail(network, later), (z,), (bias,))[1]
            close(total, network(position(network, 0))[0], 1e-9)


@pytest.mark.parametrize("rule", ["paper", "first_order", "ablation"])
def test_results_do_not_depend_on_chunks_or_tiles(network, rule):
    generator = torch.Generator().manual_seed(0)
    for index in range(len(network.layers())):
        layer = all_maps(network, rule, index)
        maps, (n, H, W) = layer.tensor(), layer.shape
        labels = torch.randint(0, 3, (H, W), generator=generator)
        want = dict(
            totals=maps.abs().sum((1, 2)),
            heatmap=maps.abs().sum(0),
            squares=maps.square().sum((1, 2)),
            region_sums=torch.stack([maps.abs()[:, labels == r].sum(1) for r in range(3)], 1),
        )
        for stream, work in ((4e6, 256e6), (1, 1), (3 * H * W * 8, 5 * W * 8)):
            budget = Budget(
                stream_bytes=stream,
                work_bytes=work,
                jacobian_batch_floats=work,
                impulses_up_to_cells=0,
            )
            layer = all_maps(network, rule, index, budget)
            got = dict(totals=layer.totals(), heatmap=layer.heatmap(), squares=layer.squares())
            for name, value in (got | dict(region_sums=layer.region_sums(labels))).items():
                close(value, want[name], 1e-10)
            seen = torch.cat([neurons for neurons, _ in layer.chunks(stream)])
            assert seen.sort().values.equal(torch.arange(n))
        for row, col in ((0, 0), (H - 1, W // 2)):
            close(layer.pixel(row, col), maps[:, row, col], 1e-10)


def test_nothing_is_left_on_the_model(network, monkeypatch):
    network.requires_grad_(True)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    for rule in ("paper", "first_order", "ablation"):
        canvas = xc.trace(network, rule=rule)
        assert not canvas[canvas.layers[0]].totals().requires_grad

    def broken(*args):
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(maps_module.LayerMaps, "_tiles", broken)
    with pytest.raises(RuntimeError, match="on purpose"):
        xc.trace(network)[canvas.layers[0]].totals()
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert all(v.equal(before[k]) for k, v in network.state_dict().items())
    assert not any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in network.modules()
    )
    assert (
        torch.is_grad_enabled()
        and torch.get_num_threads() == threads
        and torch.get_rng_state().equal(state)
    )


def test_more_than_fits_is_refused_with_a_sentence(network, monkeypatch):
    monkeypatch.setattr(maps_module, "free_bytes", lambda device: 10.0)
    canvas = xc.trace(network)
    with pytest.raises(MemoryError, match=r"are free; stream them with .chunks\(\)"):
        canvas[canvas.layers[0]].tensor()


def test_bad_questions_get_one_sentence(network):
    canvas = xc.trace(network)
    layer = canvas[canvas.layers[0]]
    with pytest.raises(KeyError, match="no layer 'block9'; there are"):
        canvas["block9"]
    with pytest.raises(IndexError, match="outside the"):
        layer[len(layer)]
    with pytest.raises(IndexError, match="outside the picture"):
        layer.pixel(-1, 0)
    with pytest.raises(ValueError, match="no rule 'papre'"):
        xc.trace(network, rule="papre")
    with pytest.raises(ValueError, match="baseline is"):
        xc.trace(network, rule="ablation", baseline="median")
    with pytest.raises(ValueError, match="rule 'paper' removes nothing"):
        xc.trace(network, baseline="mean")
    with pytest.raises(TypeError, match="one at a time"):
        layer[0:2]
    for labels in (
        torch.full(layer.shape[1:], 26_001),
        torch.rand(layer.shape[1:]),
        torch.full(layer.shape[1:], -1),
    ):
        with pytest.raises(ValueError, match="regions are whole numbers"):
            layer.region_sums(labels)
    with pytest.raises(ValueError, match="labels are"):
        layer.region_sums(torch.zeros(2, 2, dtype=torch.long))
    if len(network.layers()) > 1:
        with pytest.raises(ValueError, match="no colour channels"):
            layer.color(0)


@pytest.mark.parametrize(
    "last, sentence",
    [
        (dict(stride=2), "must be linear and of stride 1"),
        (dict(activation=torch.sigmoid), "must be linear"),
    ],
)
def test_a_chain_whose_maps_would_mislead_is_refused(last, sentence):
    options = dict(
        grid=(3, 4), channels=(2, 2, 3), strides=(2, last.get("stride", 1)), kernels=(3, 3)
    )
    model = Chain(**options, activations=(torch.relu, last.get("activation", xc.models.identity)))
    with pytest.raises(ValueError, match=sentence):
        xc.trace(model)
    columns = Chain((3, 4), (2, 3), (1,), (3,), (xc.models.identity,), neurons="columns")
    with pytest.raises(ValueError, match="columns as neurons"):
        xc.trace(columns)


def test_frames_differ_and_frames_outside_the_clip_are_refused():
    torch.manual_seed(0)
    model = NeRV(
        NeRV.Config(size=(16, 16), n_frames=3, strides=(2, 2), channels=(3, 2, 2), levels=3)
    )
    assert not xc.trace(model, 0).image.equal(xc.trace(model, 1).image)
    with pytest.raises(IndexError, match="outside this model's 3 frames"):
        xc.trace(model, 3)


@pytest.mark.parametrize("rule", RULES)
def test_some_of_the_neurons_are_the_same_neurons(network, rule):
    """A sample keeps whole output channels; it may be sampled again; its maps and sums are those
    of the layer.
    """
    for layer in xc.trace(network, rule=rule, budget=BACKWARDS):
        whole, few = layer.tensor(), layer.only(torch.randperm(len(layer))[: len(layer) // 2 + 1])
        part = layer.sample(2, seed=1)
        for some in (few, part, part.sample(1), few.only(torch.tensor([0]))):
            want = whole[some.neurons]
            assert some.tensor().equal(want) or torch.allclose(some.tensor(), want, atol=1e-12)
            assert torch.allclose(some.totals(), want.abs().sum((1, 2)).double())
            assert torch.allclose(some.heatmap(), want.abs().sum(0).double())
        kernels = layer.traced.layer.neurons == "kernels" and layer.traced.layer.c_out > 2
        assert len(part) == (2 * layer.traced.layer.c_in if kernels else len(layer))


def test_several_partitions_are_summed_in_one_pass(network):
    layer = next(iter(xc.trace(network)))
    parts = [torch.randint(4, layer.shape[1:]) for _ in range(3)]
    parts = [p.unique(return_inverse=True)[1] for p in parts]
    assert torch.allclose(
        layer.region_sums(parts), torch.cat([layer.region_sums(p) for p in parts], 1)
    )


def test_without_bias_only_the_bias_shares_are_gone(network):
    canvas = xc.trace(network)
    for name in canvas.layers:
        layer, bare = canvas[name].traced, canvas.without_bias()[name].traced
        assert bare.layer.bias is None and bare.layer.weight.equal(layer.layer.weight)
        assert all(a.equal(b) for a, b in zip(bare.inputs, layer.inputs))


def test_pixels_of_the_jacobian_do_not_depend_on_what_else_is_computed(network):
    """A pixel, a cell, a band or all of the picture; a channel alone or with others; two passes
    at once; a second pass.
    """
    for layer in list(xc.trace(network, rule="first_order", budget=BACKWARDS))[:-1]:
        rule, (_, H, W), scale = layer._rule, layer.shape, layer.traced.scale
        whole = layer.tensor()
        for box in (
            ((H - 1, H), (1, 2)),
            ((0, scale), (0, scale)),
            ((0, scale), (0, W)),
            ((1, H), (0, W - 1)),
        ):
            (top, bottom), (left, right) = box
            for neurons in (
                torch.arange(len(layer)),
                torch.arange(len(layer)).flip(0)[::3],
                torch.tensor([1]),
            ):
                close(rule.maps(neurons, box), whole[neurons, top:bottom, left:right], 1e-12)
                close(
                    rule.color(neurons, box).abs().sum(1),
                    whole[neurons, top:bottom, left:right],
                    1e-12,
                )
        totals = torch.zeros(2, len(layer), dtype=torch.float64)
        for (_, ours), (_, theirs) in zip(layer.tiles(), layer.tiles()):
            for (neurons, values), (others, more) in zip(ours, theirs):
                totals[0, neurons] += values.sum(1)
                totals[1, others] += more.sum(1)
        for found in totals:
            close(found, whole.sum((1, 2)).double(), 1e-12)
        before = layer.squares()
        assert layer.squares().equal(before)


def test_a_changed_canvas_has_rows_of_its_own(network):
    """What is kept between groups belongs to one network at one frame: nothing of another shows."""
    other = copy.deepcopy(network)
    other.layers()[-1].weight.detach().mul_(2)
    ours = xc.trace(network, rule="first_order", budget=BACKWARDS)
    theirs = xc.trace(other, rule="first_order", budget=BACKWARDS)
    for name in ours.layers[:-1]:
        mine, doubled = (canvas[name].chunks(1) for canvas in (ours, theirs))
        for (neurons, maps), (same, more) in zip(mine, doubled):
            assert neurons.equal(same)
            close(more, 2 * maps, 1e-12)


def test_a_canvas_with_one_layer_exchanged_is_the_changed_networks(network):
    for number in range(len(xc.trace(network).layers)):
        other = copy.deepcopy(network)
        layer = other.layers()[number]
        layer.weight.detach().mul_(-1.5)
        ours, theirs = xc.trace(network).with_layer(layer), xc.trace(other)
        assert ours.image.equal(theirs.image)
        for mine, its in zip(ours, theirs):
            assert all(map(torch.equal, mine.traced.inputs, its.traced.inputs))
            assert mine.traced.layer.weight.equal(its.traced.layer.weight)


@pytest.mark.parametrize("rule", ["paper", "first_order", "ablation"])
def test_pixels_behind_columns_can_be_looked_at_alone(network, rule):
    canvas, pixels = xc.trace(network, rule=rule), torch.tensor([11, 3, 17])
    if canvas[canvas.layers[0]].traced.layer.neurons != "columns":
        with pytest.raises(ValueError, match="neighbours"):
            canvas.at(pixels)
        return
    few = canvas.at(pixels)
    assert few.image.equal(canvas.image.flatten(1)[:, None, pixels])
    for layer in canvas:
        close(few[layer.name].tensor(), layer.tensor().flatten(1)[:, None, pixels], 1e-12)
        close(
            few.with_layer(layer.traced.layer)[layer.name].totals(), few[layer.name].totals(), 1e-12
        )


def test_signed_tiles_are_the_colours(network):
    for layer in xc.trace(network, rule="first_order", budget=BACKWARDS):
        found = torch.full(
            (3, len(layer), layer.shape[1] * layer.shape[2]), torch.nan, dtype=layer.traced.x.dtype
        )
        for pixels, parts in layer.tiles(signed=True):
            for neurons, colors in parts:
                found[:, neurons[:, None], pixels] = colors
        want = torch.stack([layer.color(n) for n in range(len(layer))], 1).flatten(2)
        close(found, want, 1e-12)


@pytest.mark.parametrize("family", ["ffn", "nerv"])
def test_ablation_is_exactly_zero_where_nothing_changes(family):
    """In single precision too: ranks of a map would tell roundings apart."""
    torch.manual_seed(0)
    config = (
        dict(size=(16, 32), width=24)
        if family == "ffn"
        else dict(size=(32, 32), n_frames=2, channels=(3, 4, 2), strides=(4, 2))
    )
    model = (
        xc.models.FFN(xc.models.FFN.Config(**config))
        if family == "ffn"
        else NeRV(NeRV.Config(**config, levels=3))
    )
    for layer in model.requires_grad_(False).layers():
        layer.weight.detach()[:, 1] = 0  # a dead input channel
    for layer in xc.trace(model, rule="ablation"):
        traced, maps = layer.traced, layer.tensor()
        if traced.layer.neurons == "columns":
            assert maps[1].eq(0).all() and maps[:, :].gt(0).any()
            idle = traced.x == 0
            assert maps[idle].eq(0).all()
        else:
            assert (
                maps[traced.layer.c_out : 2 * traced.layer.c_out].eq(0).all() and maps.gt(0).any()
            )


@pytest.mark.parametrize("family", ["ffn", "siren"])
def test_in_a_last_layer_of_columns_ablation_is_the_share_to_the_bit(family):
    """The picture loses W·x and no rounding of z − (z − W·x)."""
    *_, layer = xc.trace(pointwise(family), rule="ablation")
    weight, x = layer.traced.layer.weight[:, :, 0, 0], layer.traced.x  # (3, n), (n, H, W)
    for n in range(len(layer)):
        assert layer.color(n).equal(weight[:, n, None, None] * x[n])


@pytest.mark.parametrize("baseline", ["zero", "mean"])
@pytest.mark.parametrize("family", ["ffn", "siren"])
def test_ablation_at_some_pixels_is_that_of_the_whole_picture(family, baseline):
    """The mean that replaces an input is over all pixels of the picture (METHOD 3)."""
    canvas = xc.trace(pointwise(family).double(), rule="ablation", baseline=baseline)
    pixels = torch.tensor([400, 3, 17, 111])
    sampled = canvas.at(pixels)
    for layer in canvas:
        whole_picture = torch.stack([layer.color(n) for n in range(len(layer))]).flatten(2)
        part = torch.stack([sampled[layer.name].color(n) for n in range(len(layer))])
        close(part[:, :, 0], whole_picture[..., pixels], 1e-13)
    assert sampled.with_rule("ablation", baseline).baseline == baseline


def test_a_changed_layer_changes_the_means_of_sampled_pixels_too():
    model = pointwise("ffn").double()
    canvas, pixels = xc.trace(model, rule="ablation", baseline="mean"), torch.tensor([400, 3, 17])
    changed = replace(model.layers()[0], weight=model.layers()[0].weight * 1.5)
    whole_picture, part = canvas.with_layer(changed), canvas.at(pixels).with_layer(changed)
    for layer in whole_picture:
        want = layer.tensor().flatten(1)[:, None, pixels]
        close(part[layer.name].tensor(), want, 1e-13)


def pointwise(family):
    """A small image network, float32."""
    torch.manual_seed(5)
    kind = xc.models.FAMILIES[family]
    return kind(kind.Config(size=(16, 32), width=20)).requires_grad_(False)


@pytest.mark.parametrize("rule", RULES)
def test_frames_traced_in_a_row_are_those_traced_alone(network, rule):
    for frame, canvas in xc.trace_frames(network, rule=rule):
        alone = xc.trace(network, frame, rule)
        assert canvas.frame == alone.frame == frame and canvas.image.equal(alone.image)
        for maps, other in zip(canvas, alone):
            assert maps.totals().equal(other.totals()) and maps.heatmap().equal(other.heatmap())
            assert maps[0].equal(other[0])


@pytest.mark.parametrize("rule", RULES)
def test_frames_in_a_row_can_be_streamed_at_once(rule):
    """They share working memory, but never the same at the same time."""
    torch.manual_seed(0)
    config = NeRV.Config(size=(16, 24), n_frames=2, strides=(2, 2), channels=(3, 4, 2), levels=3)
    model = NeRV(config)
    budget = Budget(stream_bytes=1, impulses_up_to_cells=0)
    (_, first), (_, second) = xc.trace_frames(model, [0, 1], rule, budget=budget)
    first["block1"].totals(), second["block1"].totals()  # leaves memory behind
    both = zip(first["block1"].tiles(), second["block1"].tiles())
    for (_, groups), (_, others) in both:
        for (neurons, values), (_, other_values) in zip(groups, others):
            close(values.sum(1).double(), first["block1"].totals()[neurons], 1e-5)
            close(other_values.sum(1).double(), second["block1"].totals()[neurons], 1e-5)


def test_frames_that_do_not_exist_are_refused_before_any_is_traced():
    config = NeRV.Config(size=(8, 8), n_frames=2, strides=(2,), channels=(2, 2), levels=2)
    for frames, kind in (
        ([0, 2], IndexError),
        (3, TypeError),
        ([0.5], TypeError),
        ("01", TypeError),
    ):
        with pytest.raises(kind):
            xc.trace_frames(NeRV(config), frames)


def test_maps_add_up_as_the_tracers_own_example_says():
    example = doctest.DocTestParser().get_doctest(canvas_module.__doc__, {}, "canvas", None, None)
    assert len(example.examples) >= 8
    assert doctest.DocTestRunner().run(example).failed == 0
