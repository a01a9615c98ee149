"""The two uses: smaller files, and what is wrong with a network."""

import copy
import itertools

import numpy as np
import pytest
import torch
from conftest import Chain

import xinc_core as xc
from xinc_core import editing
from xinc_core.fitting import check_clip, refine
from xinc_core.models import FFN, NeRV, identity, render
from xinc_core.models.protocol import packed, unpacked
from xinc_core.storage import compressed as packing
from xinc_core.study.findings import bits, diagnosis, faults, pruning
from xinc_core.study.findings.base import NetworkView
from xinc_core.study.statistics.ranks import rank_correlation
from xinc_core.study.statistics.scene import Scene


@pytest.fixture(scope="module")
def clip():
    return xc.load_clip("courtyard")


@pytest.fixture(scope="module", params=["ffn-courtyard", "nerv-courtyard"])
def model(request):
    return xc.load_model(request.param)


@pytest.fixture(scope="module")
def small():
    """A NeRV of a few frames, untrained: laws hold for any weights."""
    torch.manual_seed(0)
    config = NeRV.Config(size=(16, 32), n_frames=6, strides=(2, 2), channels=(6, 5, 4), levels=20)
    return NeRV(config).requires_grad_(False)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("n_bits", [2, 4, 8, 12])
def test_quantisation_is_rounding_to_whole_steps(n_bits):
    values = torch.randn(500)
    got, most = packing.rounded(values, n_bits), 2 ** (n_bits - 1) - 1
    step = values.abs().max() / most
    assert torch.allclose(got, (values / step).round() * step, atol=1e-6)
    assert (got - values).abs().max() <= step / 2 * 1.0001 and len(got.unique()) <= 2 * most + 1
    assert packing.rounded(torch.tensor([0.0, 3.0]), n_bits)[0] == 0  # what is pruned stays pruned


def test_a_compressed_and_decoded_model_equals_the_quantised_one_bit_for_bit(model, tmp_path):
    for plan in (editing.equal_bits(model, 5), editing.guided_bits(model, 6, "paper")):
        packing.write(tmp_path / "a.xinc", editing.encoded(model, plan))
        want, got = (
            editing.quantised(model, plan).state_dict(),
            xc.load_model(tmp_path / "a.xinc").state_dict(),
        )
        assert want.keys() == got.keys() and all(torch.equal(want[k], got[k]) for k in want)


def test_a_file_decodes_to_the_stated_psnr(model, clip, tmp_path):
    told = xc.compress(model, tmp_path / "a.xinc", clip, bits=7)
    again = xc.load_model(tmp_path / "a.xinc")
    assert xc.evaluate(again, clip) == pytest.approx(told["psnr"], abs=0.01)
    assert told["bytes"] == (tmp_path / "a.xinc").stat().st_size
    n = len(clip) if model.for_video else 1
    assert told["bits_per_pixel"] == pytest.approx(8 * told["bytes"] / (n * 128 * 256), abs=1e-3)
    assert (
        packing.read_facts(tmp_path / "a.xinc")["psnr"] == told["psnr"]
        and getattr(again, "frame", 0) == 0
    )


def test_the_table_of_grids_paints_what_the_weights_painted(clip):
    model = xc.load_model("nerv-courtyard")
    tensors = packed(model)
    assert tensors["table"].shape == (40, 37 * 8 * 16) and "expand.weight" not in tensors
    other = copy.deepcopy(model)
    other.load_state_dict(unpacked(NeRV, model.config, tensors))
    for frame in (0, 17, 39):
        assert (
            render(model, frame, clamp=False) - render(other, frame, clamp=False)
        ).abs().max() < 1e-4
    long = NeRV(
        NeRV.Config(size=(16, 32), n_frames=50, strides=(2, 2), channels=(6, 5, 4), levels=20)
    )
    assert "table" not in packed(
        long
    )  # 50 frames span all 40 dimensions of the encoding: nothing to save


def test_the_coder_comes_near_the_entropy():
    codes = torch.distributions.Laplace(0.0, 1.0).sample((200_000,))
    size = len(packing.pack({"w": codes}, {"w": 8}, {}))
    counts = torch.bincount(packing.quantise(codes, 8)[0] + 127).double()
    share = counts[counts > 0] / counts.sum()
    entropy = float(-(share * share.log2()).sum()) * len(codes) / 8
    assert entropy < size < 1.01 * entropy + 500


@pytest.mark.parametrize(
    "values",
    [torch.zeros(7, 3), torch.ones(4), torch.tensor([[-2.0, 0.0, 2.0]]), torch.zeros(0, 4)],
)
def test_odd_tensors_survive(values, tmp_path):
    packing.write(tmp_path / "a.xinc", packing.pack({"w": values}, {"w": 3}, {"family": "ffn"}))
    facts, tensors = packing.unpack(tmp_path / "a.xinc")
    assert facts["family"] == "ffn" and torch.equal(tensors["w"], packing.rounded(values, 3))


def test_damaged_files_are_refused_in_one_sentence(small, tmp_path):
    data = editing.encoded(small, editing.equal_bits(small, 6))
    file, random = tmp_path / "a.xinc", np.random.default_rng(0)
    for _ in range(200):
        bad = bytearray(data)
        if random.random() < 0.3:
            bad = bad[: random.integers(len(bad))]
        else:
            bad[random.integers(len(bad))] ^= 1 << random.integers(8)
        file.write_bytes(bad)
        with pytest.raises(ValueError):
            xc.load_model(file)


def test_options_out_of_range_are_refused(small, tmp_path):
    for wrong in (dict(bits=1), dict(bits=16), dict(prune=1.0), dict(tune=3)):
        with pytest.raises(ValueError):
            xc.compress(small, tmp_path / "a.xinc", **wrong)
    with pytest.raises(ValueError, match=".xinc"):
        xc.compress(small, tmp_path / "a.bin")
    assert not list(tmp_path.iterdir())


def test_guided_bits_spend_no_more_and_go_where_the_error_shows(small):
    plan, equal = editing.guided_bits(small, 5), editing.equal_bits(small, 5)
    size = {n: v.numel() for n, v in packed(small).items() if v.ndim > 1}
    assert sum(size[n] * plan[n] for n in size) <= sum(size[n] * equal[n] for n in size)
    assert (
        plan["head.weight"] > plan["table"]
    )  # few weights, each of which paints the whole picture


def test_noise_in_a_linear_layer_costs_what_the_sensitivity_says():
    torch.manual_seed(0)
    chain = Chain((16, 16), (8, 3), (1,), (3,), (identity,)).requires_grad_(False)
    chain.state = None
    told = editing.sensitivities(chain, "first_order", 0, 64)
    weight, clean = chain.convs[0].weight, chain(torch.zeros(1))
    before, step, costs = weight.clone(), 0.05, []
    for _ in range(50):
        weight.copy_(before + step * (torch.rand_like(weight) - 0.5))
        costs.append(float((chain(torch.zeros(1)) - clean).square().sum()))
    weight.copy_(before)
    assert np.mean(costs) == pytest.approx(told["convs.0.weight"] * step**2, rel=0.25)


# ---------------------------------------------------------------- pruning


def test_a_curve_is_the_psnr_of_the_pruned_network(model, clip):
    canvas = xc.trace(model, 3)
    name = canvas.layers[-2]
    traced, target = canvas[name].traced, clip.frames[canvas.frame]
    order = torch.randperm(len(canvas[name]))
    curve = editing.deletion(
        traced.layers, traced.inputs[0], order, target[None], (0.25, 1.0), canvas.image[None]
    )
    for value, share in zip(curve, (0, 0.25, 1.0)):
        bare = editing.pruned(model, {name: order[: round(share * len(order))]})
        assert float(value) == pytest.approx(
            xc.psnr(render(bare, canvas.frame), target).item(), abs=1e-3
        )


def test_the_least_of_all_layers_together(small):
    found = editing.scores(small, "first_order", [0, 3])
    assert all(
        torch.allclose(
            found[m.name], m.totals() + xc.trace(small, 3, "first_order")[m.name].totals()
        )
        for m in xc.trace(small, 0, "first_order")
    )
    gone = editing.least(found, 0.3)
    n = sum(map(len, found.values()))
    assert sum(map(len, gone.values())) == round(0.3 * n)
    worst = max(float(found[k][v].max()) for k, v in gone.items() if len(v))
    kept = min(float(np.delete(found[k].numpy(), gone[k].numpy()).min()) for k in found)
    assert worst <= kept


def test_scores_of_norms_and_chance(small):
    maps = xc.trace(small, 0)["block2"]
    i, o = maps.traced.pairs(torch.arange(len(maps)))
    want = maps.traced.layer.weight[o, i].flatten(1).norm(dim=1)
    assert torch.allclose(editing.scores(small, "weight norm", [0])["block2"], want)
    first, other = (editing.scores(small, "random", [0], seed)["block1"] for seed in (0, 1))
    assert abs(rank_correlation(first, other)) < 0.2
    with pytest.raises(ValueError, match="no order"):
        editing.scores(small, "size", [0])


def test_what_is_pruned_stays_so_while_the_rest_is_tuned(clip):
    model = xc.load_model("ffn-courtyard")
    gone = editing.least(editing.scores(model, "first_order", [0]), 0.2)
    bare = editing.pruned(model, gone)
    better = refine(bare, clip, 30, progress=False)
    assert xc.evaluate(better, clip) > xc.evaluate(bare, clip) + 1
    for layer in better.layers():
        assert not layer.weight[:, gone[layer.name]].any()
    assert not any(p.requires_grad for p in better.parameters()) and not torch.equal(
        better.linears[0].weight, bare.linears[0].weight
    )


def test_contribution_wins_where_norm_misleads_and_loses_where_it_means_nothing():
    """Positive: half of the neurons have large weights and no input. Negative: maps of a network
    with shuffled neurons.
    """
    torch.manual_seed(0)
    model = FFN(FFN.Config(size=(16, 16), width=16)).requires_grad_(False)
    model.linears[1].weight[:, ::2] = 0  # the second layer hears only every other unit …
    model.linears[1].weight[:, ::2] += 1e-6
    model.linears[0].weight[::2] *= 10
    model.linears[2].weight[:, ::2] *= 10
    model.linears[1].bias[
        ::2
    ] = -100  # … and half of its own are silent, however large their outgoing weights
    target = render(model, clamp=False)
    maps = xc.trace(model, 0, "first_order")["layer3"]
    at = (maps.traced.layers, maps.traced.inputs[0])
    random = torch.Generator().manual_seed(0)
    own, norm, chance = (
        float(((run_without(at, s.argsort()[:8]) - target) ** 2).sum())
        for s in (
            maps.totals(),
            editing.score(maps, "weight norm", random),
            maps.totals()[torch.randperm(16)],
        )
    )
    assert own < 1e-9 < norm and own < chance


def run_without(at, gone):
    (layer,), x = at
    return layer.without(gone)(x)[0]


def test_pruning_and_bits_report_what_their_claims_ask(small):
    frames = torch.stack([render(small, frame) for frame in range(6)])
    network = NetworkView(small, Scene(xc.Clip("made", frames)), "first_order", 10, 3)
    measured = pruning.FINDING.measure_network(network)
    assert set(measured) == {"block1", "block2", "head", "nerv"}
    head = measured["head"]
    assert head["pruned_psnr"] == pytest.approx(float(head["curve"][1:].mean()))
    (claim,) = pruning.FINDING.claims
    for condition in claim.conditions:
        assert {condition.statistic, condition.against} <= set(measured["nerv"])
    rates = bits.FINDING.measure_network(network)["nerv"]
    assert {"guided_psnr", "equal_psnr", "size_over_codec"} <= set(rates)
    assert rates["equal"][0] > rates["equal"][-1]


def test_a_codec_gets_better_with_more_bits(clip):
    for name, frames in (
        ("H.264", clip.frames[:4]),
        ("JPEG", clip.frames[:1]),
        ("WebP", clip.frames[:1]),
    ):
        size, quality = bits.codec(frames, name)
        order = size.argsort()
        assert (quality[order].diff() > 0).all() and quality.max() > 36 and (size > 0.001).all()


# ---------------------------------------------------------------- diagnosis


@pytest.mark.parametrize("name, layer", [("ffn-courtyard", "layer3"), ("nerv-courtyard", "head")])
def test_a_fault_in_the_last_layer_is_found_first(name, layer):
    """In the last layer the first-order map is the damage itself, up to a factor."""
    model, random = xc.load_model(name), torch.Generator().manual_seed(1)
    sound = xc.trace(model, 3, "first_order")
    clean = sound.image
    for kind in ("sign", "times four"):
        for neuron in (0, 7, 40):
            canvas = sound.with_layer(
                faults.broken(sound[layer].traced.layer, neuron, kind, random)
            )
            everywhere = torch.ones(canvas.image.shape[1:], dtype=torch.bool)
            e = canvas.image - clean
            literal = torch.stack(
                [
                    (e * c).sum().abs() / c.norm()
                    for c in map(canvas[layer].color, range(len(canvas[layer])))
                ]
            )
            assert faults.place(literal.nan_to_num(0), neuron) == 0
            inside = 0.5 + e * (
                0.4 / e.abs().max()
            )  # a picture that is not clamped shows the damage as it is
            score = faults.suspicion(canvas[layer], inside, torch.full_like(e, 0.5), everywhere)
            assert faults.place(score, neuron) == 0


def test_a_fault_changes_one_neuron_only(model):
    random = torch.Generator().manual_seed(0)
    for kind, before in itertools.product(faults.KINDS, model.layers()):
        after = faults.broken(before, 11, kind, random)
        changed = (editing.weights_of_neurons(before) != editing.weights_of_neurons(after)).any(1)
        assert changed.nonzero().flatten().tolist() == [11] and after.weight.isfinite().all()


def test_suspects_by_signed_maps_is_the_literal_product(model):
    clean, canvas = torch.rand(3, 128, 256), xc.trace(model, 0, "first_order")
    maps = canvas[canvas.layers[-1]]
    damage = canvas.image.clamp(0, 1) - clean
    magnitude = damage.abs().sum(0)
    least = magnitude.flatten().sort().values[round(0.9 * magnitude.numel()) - 1]
    damage = damage.double() * (magnitude >= least)  # the tenth that differs most
    wanted = []
    for neuron in range(20):
        color = maps.color(neuron).double()
        wanted.append((damage * color).sum().abs() / color.norm())
    wanted = torch.stack(wanted).nan_to_num(0)
    got = faults.suspicion(maps, canvas.image, clean)[:20]
    assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-4 * float(wanted.max()))


def test_without_a_fault_nobody_is_found():
    """The control: the wrong network's maps name the broken neuron no more often than chance."""
    sound, other = xc.trace(xc.load_model("ffn-courtyard")), xc.load_model("ffn-courtyard-s10")
    clean, random, places = sound.image, torch.Generator().manual_seed(0), []
    for neuron in range(0, 100, 5):
        faulty = sound.with_layer(
            faults.broken(sound["layer2"].traced.layer, neuron, "sign", random)
        )
        wrong = xc.trace(other, 0, "first_order")["layer2"]
        places.append(faults.place(faults.suspicion(wrong, faulty.image, clean), neuron) < 10)
    assert np.mean(places) < 0.4


def looked_at(model, clip):
    canvas = xc.trace(model, 0, "first_order")
    return {maps.name: diagnosis.layer_sums(maps, clip.frames[0] - canvas.image) for maps in canvas}


def test_idle_neurons_are_counted(clip):
    model = copy.deepcopy(xc.load_model("ffn-courtyard"))
    weight = model.linears[2].weight
    weight[:, :5] = 0  # five without effect …
    model.linears[1].weight[60:63] = model.linears[1].weight[59]  # … and four units that are one
    model.linears[1].bias[60:63] = model.linears[1].bias[59]
    weight[:, 60:63] = weight[:, 59:60]
    looked, dead, twins = diagnosis.idle_neurons(looked_at(model, clip)["layer3"])
    assert looked == 104 and dead >= 5 and twins >= 4
    sound = looked_at(xc.load_model("ffn-courtyard"), clip)["layer3"]
    assert diagnosis.idle_neurons(sound).without_effect < dead


def test_a_neuron_that_harms_is_named_with_what_its_removal_gains(clip):
    model = copy.deepcopy(xc.load_model("ffn-courtyard"))
    before = xc.evaluate(model, clip)
    model.linears[2].weight[:, 33] += 0.3
    canvas = xc.trace(model, 0, "first_order")
    (layer, neuron, gain), *_ = diagnosis.harmful_neurons(
        canvas, clip.frames[0] - canvas.image, looked_at(model, clip), 3
    )
    assert (layer, neuron) == ("layer3", 33) and gain > 1
    assert xc.evaluate(model, clip) < before


def test_the_worst_region_is_where_the_error_was_put(clip):
    error = torch.full((128, 256), 0.01)
    error[32:64, 96:128] = 1  # cell (1, 3) of 4×8
    found = diagnosis.worst_regions(error, diagnosis.grid_cells(clip), 0, 2)
    assert found[0][0] == "cell 1,3" and found[0][1] == pytest.approx(
        float(1 / error.mean()), rel=1e-5
    )


def test_a_diagnosis_of_both_families(model, clip):
    table, figure = xc.diagnose(model, clip)
    said = table.set_index("what")["value"]
    assert {
        "PSNR",
        "error over the picture's",
        "neurons without effect",
        "neurons with a duplicate",
    } <= set(said.index)
    quality = said["PSNR"]
    if model.for_video:  # a line for the mean over frames, and one for the worst
        quality = quality.iloc[0]
    assert quality == pytest.approx(xc.evaluate(model, clip), abs=0.01)
    assert len(figure.axes) == 3


def test_a_clip_that_the_network_does_not_paint_is_refused(clip):
    model = xc.load_model("nerv-courtyard")
    for wrong, said in ((clip[:20], "40 frames"), (xc.load_clip("astronaut"), "pixels")):
        with pytest.raises(ValueError, match=said):
            check_clip(model, wrong)
    with pytest.raises(ValueError, match="another clip"):
        xc.diagnose(model, xc.clips.Clip(clip.name, clip.frames.flip(0)))
