"""Fitting and saving as one step: whatever happens in between, nothing is lost."""

import csv
import os
import signal

import pytest
import torch

import xinc_core as xc
from xinc_core.fitting import training
from xinc_core.storage import fit_and_save, read_header
from xinc_core.storage.fitted import mirror

SMALL = dict(epochs=6, lr=5e-3, progress=False)
NERV = dict(strides=(4, 4), channels=(6, 5, 4), levels=8, **SMALL)


@pytest.fixture(scope="module")
def clip():
    return xc.Clip("small", xc.load_clip("shapes").frames[:3, :, 32:64, :64].contiguous())


def same(a, b):
    return all(v.equal(w) for v, w in zip(a.state_dict().values(), b.state_dict().values()))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_saved_model_is_the_fitted_one_and_its_header_says_how(clip, tmp_path):
    path = tmp_path / "mine.safetensors"
    psnr, history = fit_and_save("nerv", clip, path, seed=3, **NERV)
    fitted, _ = xc.fit("nerv", clip, seed=3, checkpoint=False, **NERV)
    saved = xc.load_model(path)
    assert same(saved, fitted) and saved.fitted_to == clip.checksum
    assert psnr == xc.evaluate(saved, clip) and len(history) == 6
    header = read_header(path)
    assert header["psnr"] == round(psnr, 3) and "frame" not in header and "flipped" not in header
    facts = dict(clip="small", clip_checksum=clip.checksum, seed=3, epochs=6)
    assert facts.items() <= header.items()
    assert names(tmp_path) == ["mine.history.csv", "mine.safetensors"]
    with (tmp_path / "mine.history.csv").open() as file:
        assert [float(row["epoch"]) for row in csv.DictReader(file)] == [1, 2, 3, 4, 5, 6]


def test_an_image_network_is_saved_with_its_frame(clip, tmp_path):
    path = tmp_path / "image.safetensors"
    psnr, _ = fit_and_save("ffn", clip, path, frame=2, width=8, scale=2.0, **SMALL)
    assert read_header(path)["frame"] == xc.load_model(path).frame == 2
    assert psnr == xc.evaluate(xc.load_model(path), clip, 2)


def test_a_mirrored_fit_names_the_clip_itself(clip, tmp_path):
    path = tmp_path / "flip.safetensors"
    psnr, _ = fit_and_save("nerv", clip, path, mirrored=True, **NERV)
    header, saved = read_header(path), xc.load_model(path)
    assert header["flipped"] and header["clip_checksum"] == clip.checksum
    assert psnr == xc.evaluate(saved, mirror(clip)) and not hasattr(saved, "fitted_to")
    assert mirror(mirror(clip)).frames.equal(clip.frames)


def test_ctrl_c_loses_nothing(clip, tmp_path, monkeypatch):
    path, step, count = tmp_path / "mine.safetensors", training._step, 0

    def interrupted(*args):
        nonlocal count
        count += 1
        if count == 5:  # in the middle of the third epoch
            os.kill(os.getpid(), signal.SIGINT)
        return step(*args)

    monkeypatch.setattr(training, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt, match="after epoch 3 of 6; the same call continues"):
        fit_and_save("nerv", clip, path, **NERV)
    assert names(tmp_path) == ["mine.fit.pt"]
    fit_and_save("nerv", clip, path, **NERV)
    assert count == 6 * 2  # no step was done twice
    assert names(tmp_path) == ["mine.history.csv", "mine.safetensors"]
    whole, _ = xc.fit("nerv", clip, checkpoint=False, **NERV)
    assert same(xc.load_model(path), whole)


def test_a_disk_that_is_full_when_the_model_is_saved_costs_no_step(clip, tmp_path, monkeypatch):
    path = tmp_path / "mine.safetensors"

    def full(*args, **facts):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("xinc_core.storage.fitted.save_model", full)
        with pytest.raises(OSError, match="No space left"):
            fit_and_save("nerv", clip, path, **NERV)
    assert names(tmp_path) == ["mine.fit.pt"]
    monkeypatch.setattr(training, "_step", None)  # nothing is left to be trained
    fit_and_save("nerv", clip, path, **NERV)
    assert names(tmp_path) == ["mine.history.csv", "mine.safetensors"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_divergence_leaves_the_last_good_weights_and_the_history(
    clip, tmp_path, monkeypatch, elsewhere
):
    path, step, count = tmp_path / "mine.safetensors", training._step, 0

    def harmful(*args):
        nonlocal count
        count += 1
        if count > 8:  # in the fifth epoch
            return [torch.tensor(float("nan"))]
        return step(*args)

    monkeypatch.setattr(training, "_step", harmful)
    rescued = tmp_path / "mine.diverged.safetensors"
    if elsewhere:
        rescued = tmp_path / "diverged" / "mine.safetensors"
    options = dict(NERV, rescue=rescued if elsewhere else None)
    with pytest.raises(RuntimeError, match="not finite after epoch 5.*They are in") as caught:
        fit_and_save("nerv", clip, path, **options)
    assert str(rescued) in str(caught.value)
    assert not path.exists() and not list(tmp_path.glob("*.fit.pt"))
    model = xc.load_model(rescued)
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert read_header(rescued)["clip"] == "small"
    history = rescued.with_suffix(".history.csv").read_text().splitlines()
    assert len(history) == 1 + 5
