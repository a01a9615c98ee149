"""Fitting: deterministic, resumable to the same bytes, and honest when it falls apart."""

import functools
import os
import signal
import threading

import pytest
import torch

import xinc_core as xc
from xinc_core.fitting import training

SMALL = dict(strides=(4, 4), channels=(6, 5, 4), levels=8)


@pytest.fixture(scope="module")
def clip():
    return xc.Clip("small", xc.load_clip("shapes").frames[:4, :, 32:64, :64].contiguous())


def same(a, b):
    return all(v.equal(w) for v, w in zip(a.state_dict().values(), b.state_dict().values()))


def fit_nerv(clip, **options):
    settings = dict(recipe="paper", epochs=12, lr=5e-3) | options
    return xc.fit("nerv", clip, progress=False, **SMALL, **settings)


def test_fitting_learns_and_history_tells(clip, tmp_path):
    model, history = fit_nerv(clip, checkpoint=False)
    assert history["epoch"] == list(range(1, 13)) and history["psnr"][-1] > history["psnr"][0] + 2
    assert xc.evaluate(model, clip) == pytest.approx(history["psnr"][-1], abs=2)
    assert not any(p.requires_grad for p in model.parameters())
    history.to_csv(tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text().startswith("epoch,psnr,lr,seconds\n1,")
    options = dict(epochs=60, lr=1e-2, width=16, scale=2.0)
    image, _ = xc.fit("ffn", clip, recipe="paper", checkpoint=False, progress=False, **options)
    assert xc.evaluate(image, clip) > 10


def test_same_seed_same_bytes_and_the_global_random_state_is_left_alone(clip):
    state = torch.get_rng_state()
    one, two, other = (fit_nerv(clip, seed=s, checkpoint=False)[0] for s in (5, 5, 6))
    assert same(one, two) and not same(one, other)
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("recipe", ["fast", "paper"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_saves_and_the_same_call_reaches_the_same_bytes(
    clip, tmp_path, monkeypatch, name, recipe
):
    number = getattr(signal, name)
    fit_it = functools.partial(fit_nerv, clip, recipe=recipe)
    whole, _ = fit_it(checkpoint=False)
    path, step, count = tmp_path / "fit.pt", training._step, 0

    def interrupted(*args):
        nonlocal count
        count += 1
        if count == 9:  # in the middle of the fifth epoch
            os.kill(os.getpid(), number)
        return step(*args)

    handler = signal.getsignal(number)
    monkeypatch.setattr(training, "_step", interrupted)
    sentence = "after epoch 5 of 12; the same call continues"
    with pytest.raises(training.Stopped, match=sentence) as stopped:
        fit_it(checkpoint=path)
    assert stopped.value.signal == number
    assert signal.getsignal(number) is handler
    resumed, history = fit_it(checkpoint=path)
    assert count == 9 + 14 + 1 and same(whole, resumed) and len(history) == 12
    again, _ = fit_it(checkpoint=path)  # a finished fit is kept until its file is deleted
    assert count == 9 + 14 + 1 and same(whole, again)
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        count = 0
        fit_it(checkpoint=path)
    with pytest.raises(ValueError, match="belongs to another fit"):
        fit_it(checkpoint=path, seed=2)


def test_an_ignored_signal_stays_ignored(clip, monkeypatch):
    step = training._step

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGHUP)
        return step(*args)

    monkeypatch.setattr(training, "_step", interrupted)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        _, history = fit_nerv(clip, checkpoint=False)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert len(history) == 12


@pytest.mark.parametrize("recipe", ["fast", "paper"])
def test_a_fit_stops_at_the_psnr_that_is_enough(clip, recipe, tmp_path):
    path = tmp_path / "fit.pt"
    whole, history = fit_nerv(clip, recipe=recipe, checkpoint=False)
    enough = history["psnr"][5] - 1e-3
    reached = next(n for n, psnr in enumerate(history["psnr"], 1) if psnr >= enough)
    _, short = fit_nerv(clip, recipe=recipe, checkpoint=path, psnr=enough)
    assert short["psnr"] == history["psnr"][:reached]
    _, again = fit_nerv(clip, recipe=recipe, checkpoint=path, psnr=enough)
    assert again["psnr"] == short["psnr"]
    resumed, _ = fit_nerv(clip, recipe=recipe, checkpoint=path)  # asked for more: it goes on
    assert same(whole, resumed)
    with pytest.raises(ValueError, match="a positive number of dB"):
        fit_nerv(clip, psnr=-3)


def test_fitting_works_in_a_thread_where_no_signal_handler_can_be_set(clip):
    done = []
    thread = threading.Thread(target=lambda: done.append(fit_nerv(clip, checkpoint=False)[0]))
    thread.start()
    thread.join()
    assert same(done[0], fit_nerv(clip, checkpoint=False)[0])


@pytest.mark.parametrize("harm", ["nan", "collapse"])
def test_divergence_is_caught_and_the_last_good_weights_kept(clip, monkeypatch, harm, tmp_path):
    step, count = training._step, 0

    def harmful(run, codes, target):
        nonlocal count
        count += 1
        if count > 14:
            with torch.no_grad():
                run.model.head.bias.add_(float("nan") if harm == "nan" else 5.0)
        return step(run, codes, target)

    monkeypatch.setattr(training, "_step", harmful)
    with pytest.raises(training.DivergenceError, match="Try a lower learning rate") as caught:
        fit_nerv(clip, checkpoint=tmp_path / "fit.pt")
    error = caught.value
    assert xc.evaluate(error.model, clip) > max(error.history["psnr"][:7]) - 3
    assert all(v.isfinite().all() for v in error.model.state_dict().values())


def test_divergence_right_after_a_resume_keeps_the_resumed_weights(clip, monkeypatch, tmp_path):
    path, step = tmp_path / "fit.pt", training._step

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return step(*args)

    monkeypatch.setattr(training, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_nerv(clip, checkpoint=path)
    monkeypatch.setattr(training, "_step", lambda *args: [torch.tensor(float("nan"))])
    with pytest.raises(training.DivergenceError) as caught:
        fit_nerv(clip, checkpoint=path)
    assert (
        all(v.isfinite().all() for v in caught.value.model.state_dict().values()) and path.exists()
    )


def test_psnr_is_the_mean_over_frames_of_each_frames_own():
    target = torch.zeros(2, 3, 4, 4)
    image = target + torch.tensor([0.1, 0.01])[:, None, None, None]
    assert xc.psnr(image, target).item() == pytest.approx((20 + 40) / 2, abs=1e-4)


def test_bad_requests_get_one_sentence(clip):
    with pytest.raises(ValueError, match="no family 'nerf'; there are"):
        xc.fit("nerf", clip)
    with pytest.raises(IndexError, match="outside the clip's 4 frames"):
        xc.fit("ffn", clip, frame=4)
    for options, sentence in (
        (dict(epochs=0), "at least one epoch"),
        (dict(lr=-1.0), "positive rate"),
        (dict(depth=4), "no such option: .*'depth'"),
        (dict(recipe="slow"), "ffn has no recipe 'slow'; it has fast, paper"),
    ):
        with pytest.raises(ValueError, match=sentence):
            xc.fit("ffn", clip, checkpoint=False, **options)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="not available here"):
            xc.fit("ffn", clip, device="cuda")
    with pytest.raises(ValueError, match="parameters is at most .*; this machine has room for no"):
        xc.fit("nerv", clip, parameters=10**12)
    with pytest.raises(TypeError, match=r"load it first: xc.load_clip\('courtyard'\)"):
        xc.fit("nerv", "courtyard")
    with pytest.raises(ValueError, match="no device 'gpu'"):
        xc.fit("nerv", clip, device="gpu")
    with pytest.raises(ValueError, match="multiples of 48"):
        xc.fit("nerv", clip, strides=(4, 4, 3))


@pytest.mark.parametrize("family", ["nerv", "ffn"])
def test_a_refit_is_the_same_network_on_another_way(clip, family):
    options = SMALL if family == "nerv" else dict(width=16, scale=2.0)
    options = options | dict(epochs=30, lr=5e-3, recipe="paper", checkpoint=False, progress=False)
    own, refit, again = (
        xc.fit(family, clip, refit=refit, **options)[0] for refit in (False, True, True)
    )
    other, _ = xc.fit(family, clip, seed=2, **options)
    assert same(refit, again) and not same(own, refit)

    def distance(a, b):
        weights = zip(a.parameters(), b.parameters())
        return sum((one - two).pow(2).sum() for one, two in weights) ** 0.5

    assert distance(own, refit) < distance(own, other) / 3  # it begins where its own fit began


def test_a_refit_of_a_whole_picture_begins_from_weights_that_moved_a_thousandth(clip):
    network = training.untrained("ffn", training.family_class("ffn").Config((32, 64), width=40))
    moved = training.untrained("ffn", network.config)
    training._move_weights(moved, 1)
    for before, after in zip(network.parameters(), moved.parameters()):
        if before.numel() > 100:
            assert 0.8e-3 < (after - before).std() / before.std() < 1.2e-3
