"""Fitting: deterministic, resumable to the same bytes, and honest when it falls apart."""

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
    return xc.fit("nerv", clip, epochs=12, lr=5e-3, progress=False, **SMALL, **options)


def test_fitting_learns_and_history_tells(clip, tmp_path):
    model, history = fit_nerv(clip, checkpoint=False)
    assert history["epoch"] == list(range(1, 13)) and history["psnr"][-1] > history["psnr"][0] + 2
    assert xc.evaluate(model, clip) == pytest.approx(history["psnr"][-1], abs=2)
    assert not any(p.requires_grad for p in model.parameters())
    history.to_csv(tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text().startswith("epoch,psnr,lr,seconds\n1,")
    image, _ = xc.fit(
        "ffn", clip, epochs=60, lr=1e-2, width=16, scale=2.0, checkpoint=False, progress=False
    )
    assert xc.evaluate(image, clip) > 10


def test_same_seed_same_bytes_and_the_global_random_state_is_left_alone(clip):
    state = torch.get_rng_state()
    one, two, other = (fit_nerv(clip, seed=s, checkpoint=False)[0] for s in (5, 5, 6))
    assert same(one, two) and not same(one, other)
    assert torch.get_rng_state().equal(state)


def test_ctrl_c_saves_and_the_same_call_reaches_the_same_bytes(clip, tmp_path, monkeypatch):
    whole, _ = fit_nerv(clip, checkpoint=False)
    path, step, count = tmp_path / "fit.pt", training._step, 0

    def interrupted(*args):
        nonlocal count
        count += 1
        if count == 9:  # in the middle of the fifth epoch
            os.kill(os.getpid(), signal.SIGINT)
        return step(*args)

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(training, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt, match="after epoch 5 of 12; the same call continues"):
        fit_nerv(clip, checkpoint=path)
    assert signal.getsignal(signal.SIGINT) is handler
    resumed, history = fit_nerv(clip, checkpoint=path)
    assert count == 9 + 14 + 1 and same(whole, resumed) and len(history) == 12
    again, _ = fit_nerv(clip, checkpoint=path)  # a finished fit is kept until its file is deleted
    assert count == 9 + 14 + 1 and same(whole, again)
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        count = 0
        fit_nerv(clip, checkpoint=path)
    with pytest.raises(ValueError, match="belongs to another fit"):
        fit_nerv(clip, checkpoint=path, seed=2)


def test_fitting_works_in_a_thread_where_no_signal_handler_can_be_set(clip):
    done = []
    thread = threading.Thread(target=lambda: done.append(fit_nerv(clip, checkpoint=False)[0]))
    thread.start()
    thread.join()
    assert same(done[0], fit_nerv(clip, checkpoint=False)[0])


@pytest.mark.parametrize("harm", ["nan", "collapse"])
def test_divergence_is_caught_and_the_last_good_weights_kept(clip, monkeypatch, harm, tmp_path):
    step, count = training._step, 0

    def harmful(run, codes, target, lr):
        nonlocal count
        count += 1
        if count > 14:
            with torch.no_grad():
                run.model.head.bias.add_(float("nan") if harm == "nan" else 5.0)
        return step(run, codes, target, lr)

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
    ):
        with pytest.raises(ValueError, match=sentence):
            xc.fit("ffn", clip, checkpoint=False, **options)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="not available here"):
            xc.fit("ffn", clip, device="cuda")
    with pytest.raises(ValueError, match="multiples of 48"):
        xc.fit("nerv", clip, strides=(4, 4, 3))
