"""Weights on disk: what goes in comes out, and nothing in a file is ever executed."""

import pickle

import pytest
import torch

import xinc_core as xc
from xinc_core.models import FFN, NeRV


def small_nerv():
    torch.manual_seed(0)
    return NeRV(
        NeRV.Config(size=(16, 32), n_frames=3, strides=(4, 2), channels=(3, 4, 2), levels=5)
    )


@pytest.mark.parametrize("model", [small_nerv(), FFN(FFN.Config(size=(5, 8), width=6))])
def test_a_saved_model_loads_alone_and_paints_the_same(model, tmp_path):
    xc.save_model(model, tmp_path / "m.safetensors", clip="mine", seed=3, psnr=30.5)
    loaded = xc.load_model(tmp_path / "m.safetensors")
    assert loaded.config == model.config and not any(p.requires_grad for p in loaded.parameters())
    assert xc.render(loaded, clamp=False).equal(xc.render(model, clamp=False))
    header = xc.storage.read_header(tmp_path / "m.safetensors")
    assert (header["clip"], header["seed"], header["psnr"]) == ("mine", 3, 30.5)


def test_shipped_models_reach_the_psnr_in_their_headers():
    for name, facts in xc.list_models().items():
        clip = xc.load_clip(facts["clip"])
        if facts.get("flipped"):
            clip = xc.Clip(clip.name, clip.frames.flip(-1).contiguous())
        if facts["recipe"] == "paper":
            assert facts["epochs"] >= (300 if facts["family"] == "hnerv" else 1000), name
        if "frame" in facts:
            assert (
                abs(xc.evaluate(xc.load_model(name), clip, facts["frame"]) - facts["psnr"]) < 0.01
            ), name
        else:
            model = xc.load_model(name)
            values = [
                xc.psnr(xc.render(model, f), clip.frames[f]).item() for f in range(0, len(clip), 6)
            ]
            assert abs(sum(values) / len(values) - facts["psnr"]) < 1.5, name
    assert {"siren-courtyard", "siren-bunny", "hnerv-courtyard", "hnerv-bunny"} <= set(
        xc.list_models()
    )
    assert {
        "nerv-courtyard",
        "nerv-bunny",
        "ffn-courtyard",
        "ffn-bunny",
        "ffn-astronaut",
        "ffn-cat",
    } <= set(xc.list_models())


def test_the_papers_networks_have_the_papers_size():
    assert sum(p.numel() for p in FFN(FFN.Config(size=(128, 256))).parameters()) == 32_971
    config = NeRV.Config.for_clip((128, 256), 40)
    assert config.n_parameters == sum(p.numel() for p in NeRV(config).parameters()) == 978_557


@pytest.mark.parametrize("target", [150_000, 350_000, 3_000_000])
def test_a_nerv_is_sized_from_a_parameter_count(target):
    config = NeRV.Config.for_clip((128, 256), 40, parameters=target)
    wider = tuple(c + 2 for c in config.channels)
    assert 0.8 * target < config.n_parameters <= target
    assert NeRV.Config(size=(128, 256), n_frames=40, channels=wider).n_parameters > target


def test_authors_files_load_and_paint_their_pictures(reference):
    nerv = xc.load_model(reference / "nerv_bunny.pth", size=(128, 256), n_frames=30)
    assert xc.evaluate(nerv, xc.load_clip("bunny")) == pytest.approx(26.8, abs=0.05)
    ffn = xc.load_model(reference / "ffn_cityscapes_0005.ckpt", size=(128, 256))
    picture = xc.render(ffn, clamp=False)
    assert picture.min() > -0.2 and picture.max() < 1.2 and picture.std() > 0.05


def authors_nerv(model, prefix=""):
    state = {"decoder.0.conv.downconv": model.expand, "head_layer": model.head}
    state |= {f"decoder.{i}.conv.upconv.0": block for i, block in enumerate(model.blocks, 1)}
    return {
        f"{prefix}{k}.{p}": getattr(m, p).detach()
        for k, m in state.items()
        for p in ("weight", "bias")
    }


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_in_the_authors_layout_is_understood(prefix, tmp_path):
    model = small_nerv()
    torch.save({"state_dict": authors_nerv(model, prefix), "epoch": 7}, tmp_path / "m.pth")
    loaded = xc.load_model(tmp_path / "m.pth", size=(16, 32), n_frames=3)
    assert xc.render(loaded).equal(xc.render(model))


def test_wrong_files_get_one_sentence(tmp_path):
    model = small_nerv()
    state = authors_nerv(model)
    torch.save({"state_dict": state}, tmp_path / "ok.pth")
    torch.save(
        {"state_dict": {k: v for k, v in state.items() if "head" not in k}},
        tmp_path / "headless.pth",
    )
    torch.save(
        {"state_dict": state | {"decoder.1.extra.weight": torch.ones(2)}}, tmp_path / "extra.pth"
    )
    torch.save(
        {"state_dict": state | {"head_layer.bias": torch.full((3,), float("nan"))}},
        tmp_path / "nan.pth",
    )
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "noise.pth").write_bytes(b"noise" * 100)
    (tmp_path / "noise.safetensors").write_bytes(b"noise" * 100)
    size = dict(size=(16, 32), n_frames=3)
    cases = [
        ("gone.pth", size, FileNotFoundError, "no model"),
        ("ok.pth", {}, ValueError, "carries no picture size"),
        ("ok.pth", dict(size=(16, 32)), ValueError, "carries no length"),
        ("ok.pth", dict(size=16, n_frames=3), ValueError, "all whole and positive"),
        ("ok.pth", dict(size=(16, 32), n_frames=0), ValueError, "all whole and positive"),
        ("nerv-bunny", size, ValueError, "carries its own size"),
        ("ok.pth", dict(size=(32, 32), n_frames=3), ValueError, "is the size right"),
        ("headless.pth", size, ValueError, "a checkpoint of none of FFN, NeRV, HNeRV"),
        ("extra.pth", size, ValueError, "expected none, found"),
        ("nan.pth", size, ValueError, "not finite, in 'head.bias'"),
        ("list.pth", size, ValueError, "holds no tensors"),
        ("noise.pth", size, ValueError, "cannot be read as a checkpoint"),
        ("noise.safetensors", {}, ValueError, "cannot be read as a .safetensors file"),
    ]
    for name, options, kind, sentence in cases:
        with pytest.raises(kind, match=sentence):
            xc.load_model(tmp_path / name if "." in name else name, **options)
    with pytest.raises(ValueError, match="ends in .safetensors"):
        xc.save_model(model, tmp_path / "model.pt")


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (exec, (f"open({str(self.target)!r}, 'w').close()",))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_crafted_pickle_is_refused_and_nothing_runs(tmp_path, legacy):
    bait, path = tmp_path / "ran", tmp_path / "evil.pth"
    content = {"state_dict": authors_nerv(small_nerv()), "config": Malicious(bait)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match="not loaded|cannot be read"):
        xc.load_model(path, size=(16, 32), n_frames=3)
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="cannot be read"):
        xc.load_model(path, size=(16, 32), n_frames=3)
    assert not bait.exists()


def test_the_bait_works_when_the_file_is_trusted(tmp_path):
    """A control: the crafted file does run code when it is loaded carelessly."""
    torch.save(Malicious(tmp_path / "ran"), tmp_path / "evil.pth")
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "ran").exists()


def test_the_checksum_of_weights_is_that_of_the_network_alone(tmp_path):
    model, file = small_nerv(), tmp_path / "m.safetensors"
    xc.save_model(model, file, seed=3)
    before = xc.storage.weights_checksum(file)
    xc.save_model(model, file, seed=3, psnr=30.5, note="another header")
    assert xc.storage.weights_checksum(file) == before
    xc.save_model(model, file, seed=4)  # before its first step it was another network
    assert xc.storage.weights_checksum(file) != before
    with torch.no_grad():
        model.head.bias[0] += 1e-6
    xc.save_model(model, file, seed=3)
    assert xc.storage.weights_checksum(file) != before


def test_shipped_models_say_by_which_recipe_they_were_fitted():
    for name, facts in xc.list_models().items():
        assert facts["recipe"] in ("fast", "paper"), name
