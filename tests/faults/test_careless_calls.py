"""What a careless researcher calls: a table of what works, and a table of what is refused, each
with its sentence.

A row calls with ``o``, which holds a small network for a video, ``o.model``, its clip, the maps of
a layer, and what else a session has at hand.
"""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from comparing import close
from torch import nn

import xinc_core as xc
from xinc_core.models import FFN, NeRV
from xinc_core.util import checks


@pytest.fixture(scope="module")
def o(shapes):
    torch.manual_seed(0)
    config = NeRV.Config(size=(16, 24), n_frames=4, strides=(2, 2), channels=(3, 4, 2), levels=3)
    model = NeRV(config).requires_grad_(False)
    image_model = FFN(FFN.Config(size=(16, 24), width=5)).requires_grad_(False)
    clip = xc.Clip("cut", shapes.frames[:4, :, 40:56, :24].contiguous())
    canvas = xc.trace(model, 1)
    layer = canvas["block2"]
    history = xc.History([dict(epoch=1, psnr=20.0, lr=1e-3, seconds=2.5)])
    labels = torch.arange(16 * 24).view(16, 24) % 3
    return SimpleNamespace(
        model=model,
        image_model=image_model,
        clip=clip,
        frames=clip.frames,
        canvas=canvas,
        layer=layer,
        history=history,
        labels=labels,
        plain=nn.Sequential(nn.Linear(2, 3)),
    )


# What works ---------------------------------------------------------------------------------------
# what is called | the call | what it must equal

WORKS = [
    (
        "a frame number of numpy",
        lambda o: xc.render(o.model, np.int64(2)),
        lambda o: xc.render(o.model, 2),
    ),
    (
        "a frame number in a tensor",
        lambda o: xc.trace(o.model, torch.tensor(2)).image,
        lambda o: xc.trace(o.model, 2).image,
    ),
    (
        "the strongest neuron, as argmax gives it",
        lambda o: o.layer[o.layer.totals().argmax()],
        lambda o: o.layer[int(o.layer.totals().argmax())],
    ),
    (
        "the five strongest, numpy's way",
        lambda o: o.layer.only(np.argsort(o.layer.totals().numpy())[::-1][:5]).totals(),
        lambda o: o.layer.totals().sort(descending=True).values[:5],
    ),
    (
        "one neuron twice",
        lambda o: o.layer.only([3, 3]).heatmap(),
        lambda o: 2 * o.layer[3].abs().double(),
    ),
    (
        "labels of numpy",
        lambda o: o.layer.region_sums(o.labels.numpy().astype(np.uint16)),
        lambda o: o.layer.region_sums(o.labels),
    ),
    (
        "labels that numpy turned round",
        lambda o: o.layer.region_sums(o.labels.numpy()[::-1]),
        lambda o: o.layer.region_sums(o.labels.flip(0)),
    ),
    (
        "a mask as labels",
        lambda o: o.layer.region_sums(o.labels == 1)[:, 1],
        lambda o: o.layer.region_sums(o.labels)[:, 1],
    ),
    (
        "chunks without a bound",
        lambda o: next(o.layer.only([0, 1]).chunks(float("inf")))[1],
        lambda o: o.layer.tensor()[:2],
    ),
    (
        "the quality of one frame of a video",
        lambda o: xc.evaluate(o.model, o.clip, frame=3),
        lambda o: xc.evaluate(o.model, o.clip, frames=[3]),
    ),
    (
        "frames in a tensor",
        lambda o: xc.evaluate(o.model, o.clip, frames=torch.tensor([0, 2])),
        lambda o: (xc.evaluate(o.model, o.clip, 0) + xc.evaluate(o.model, o.clip, 2)) / 2,
    ),
    (
        "the only picture of an image network, by its number",
        lambda o: xc.evaluate(o.image_model, o.clip, frames=[0]),
        lambda o: xc.evaluate(o.image_model, o.clip),
    ),
    (
        "frames of numpy, in double precision",
        lambda o: xc.Clip("mine", o.frames.double().numpy()).frames,
        lambda o: o.frames,
    ),
    (
        "labels of bytes",
        lambda o: xc.Clip("mine", o.frames, labels=o.frames[:, 0].round().byte()).labels,
        lambda o: o.frames[:, 0].round().long(),
    ),
    (
        "frames that carry gradients",
        lambda o: xc.Clip("mine", o.frames.clone().requires_grad_()).frames,
        lambda o: o.frames,
    ),
    (
        "a clip of one frame, counted from the end",
        lambda o: o.clip[-1:].frames,
        lambda o: o.frames[-1:],
    ),
    (
        "a picture without nobody",
        lambda o: xc.render(o.model, without={}),
        lambda o: xc.render(o.model),
    ),
    (
        "nobody at all",
        lambda o: o.layer.only([]).heatmap(),
        lambda o: torch.zeros(16, 24, dtype=torch.float64),
    ),
]


@pytest.mark.parametrize("what, call, wanted", WORKS, ids=[row[0] for row in WORKS])
def test_this_works(what, call, wanted, o):
    found, wanted = call(o), wanted(o)
    if isinstance(found, float):
        assert found == pytest.approx(wanted, abs=1e-4)
    elif wanted.abs().max() == 0:
        assert found.equal(wanted)
    else:
        assert found.dtype == wanted.dtype and not found.requires_grad
        close(found, wanted, 1e-5)


# What is refused ----------------------------------------------------------------------------------
# what is called | the call | what is raised | what is said

REFUSED = [
    # frames
    ("half a frame", lambda o: xc.trace(o.model, 1.5), TypeError, "one whole number, not 1.5"),
    ("a truth as a frame", lambda o: xc.render(o.model, True), TypeError, "not True"),
    ("numpy's truth", lambda o: xc.render(o.model, np.bool_(1)), TypeError, "one whole number"),
    ("a text as a frame", lambda o: xc.trace(o.model, "3"), TypeError, "not '3'"),
    ("no frame", lambda o: xc.trace(o.model, None), TypeError, "not None"),
    ("several frames", lambda o: xc.trace(o.model, range(4)), TypeError, "xc.trace_frames"),
    ("a list of frames", lambda o: xc.render(o.model, [0, 1]), TypeError, "not [0, 1]"),
    ("a frame from the end", lambda o: xc.trace(o.model, -1), IndexError, "(0 to 3)"),
    ("a frame too many", lambda o: xc.render(o.model, 4), IndexError, "frame 4 is outside"),
    ("half a frame of an image", lambda o: xc.render(o.image_model, 0.5), TypeError, "not 0.5"),
    ("one frame as several", lambda o: xc.trace_frames(o.model, 3), TypeError, "one is xc.trace"),
    (
        "frames of an image network",
        lambda o: xc.trace_frames(o.image_model, range(4)),
        IndexError,
        "an image network has one frame, 0, not 1",
    ),
    # models
    (
        "the name of a model",
        lambda o: xc.trace("nerv-courtyard"),
        TypeError,
        "xc.load_model('nerv-courtyard')",
    ),
    ("torch's own network", lambda o: xc.trace(o.plain), TypeError, "xc.models.chain"),
    ("a single layer", lambda o: xc.trace(nn.Linear(2, 3)), TypeError, "xc.models.chain"),
    ("what fit returns, as it is", lambda o: xc.trace((o.model, o.history)), TypeError, "history"),
    ("a class", lambda o: xc.render(NeRV), TypeError, "the class NeRV; make one of it"),
    ("a state_dict", lambda o: xc.render(o.model.state_dict()), TypeError, "xc.load_model"),
    ("clip and model swapped", lambda o: xc.evaluate(o.clip, o.model), TypeError, "not a Clip"),
    ("a wrapped model", lambda o: xc.trace(nn.DataParallel(o.model)), TypeError, ".module"),
    ("half precision", lambda o: xc.trace(half(o.model)), ValueError, "model.float()"),
    (
        "a device by another name",
        lambda o: xc.load_model("nerv-courtyard", device="gpu"),
        ValueError,
        "no device 'gpu'",
    ),
    # questions
    ("a rule that is none", lambda o: xc.trace(o.model, rule=None), ValueError, "there are paper"),
    (
        "bytes for a budget",
        lambda o: xc.trace(o.model, budget=64e6),
        TypeError,
        "budget is a tracing.Budget, not 64000000.0",
    ),
    ("a layer that is none", lambda o: o.canvas["block9"], KeyError, "there are block1"),
    ("a layer by its number", lambda o: o.canvas[0], KeyError, "there are block1"),
    # neurons
    ("half a neuron", lambda o: o.layer[1.0], TypeError, "one whole number, not 1.0"),
    ("a truth as a neuron", lambda o: o.layer[True], TypeError, "one whole number"),
    ("several neurons at once", lambda o: o.layer[[1, 2]], TypeError, "layer.only"),
    ("a neuron too many", lambda o: o.layer[10**6], IndexError, "outside the 32 neurons"),
    (
        "a mask of neurons",
        lambda o: o.layer.only(o.layer.totals() > 0),
        TypeError,
        "mask.nonzero()[:, 0]",
    ),
    ("neurons too many", lambda o: o.layer.only([0, 32]), IndexError, "neuron 32 is outside"),
    ("totals for neurons", lambda o: o.layer.only(o.layer.totals()), TypeError, ".long()"),
    ("less than no channel", lambda o: o.layer.sample(-3), ValueError, "at least 1, not -3"),
    ("half a channel", lambda o: o.layer.sample(0.5), TypeError, "not 0.5"),
    (
        "one neuron without a list",
        lambda o: xc.render(o.model, without={"block2": 5}),
        ValueError,
        "a single one is [n]",
    ),
    ("neurons of no layer", lambda o: xc.render(o.model, without=[5]), TypeError, "by layer"),
    (
        "a misspelt layer",
        lambda o: xc.render(o.model, without={"blok2": [5]}),
        KeyError,
        "no layer 'blok2'",
    ),
    (
        "one gain for a layer",
        lambda o: xc.scale_neurons(o.model, {"block2": 0.5}),
        TypeError,
        "a dict neuron → gain",
    ),
    # places
    ("half a pixel", lambda o: o.layer.pixel(0.5, 2), TypeError, "a row is one whole number"),
    ("a pixel outside", lambda o: o.layer.pixel(16, 0), IndexError, "outside the picture"),
    (
        "pixels outside",
        lambda o: xc.trace(o.image_model).at(torch.tensor([400])),
        IndexError,
        "384 of the picture",
    ),
    ("labels in fractions", lambda o: o.layer.region_sums(o.labels / 2), ValueError, ".long()"),
    ("negative labels", lambda o: o.layer.region_sums(o.labels - 1), ValueError, "not -1 to 1"),
    ("labels of one row", lambda o: o.layer.region_sums(o.labels[0]), ValueError, "(24,)"),
    (
        "labels of all frames",
        lambda o: o.layer.region_sums(torch.stack([o.labels] * 4)),
        ValueError,
        "several partitions are a list",
    ),
    ("no labels", lambda o: o.layer.region_sums([]), TypeError, "a tensor (H, W)"),
    ("labels in lists", lambda o: o.layer.region_sums([[0, 1]]), TypeError, "not [0, 1]"),
    # clips
    ("the name of a clip", lambda o: xc.evaluate(o.model, "cut"), TypeError, "xc.load_clip('cut')"),
    ("frames as a clip", lambda o: xc.evaluate(o.model, o.frames), TypeError, "xc.Clip(name"),
    ("a clip of bytes", lambda o: xc.Clip("x", o.clip.frames_8bit), ValueError, "/ 255"),
    ("a clip up to 255", lambda o: xc.Clip("x", o.frames * 255), ValueError, "frames / 255"),
    ("a clip below 0", lambda o: xc.Clip("x", o.frames - 0.5), ValueError, "frames.clamp(0, 1)"),
    (
        "a clip with NaN",
        lambda o: xc.Clip("x", o.frames.where(o.frames < 0.5, torch.nan)),
        ValueError,
        "not finite",
    ),
    (
        "channels last",
        lambda o: xc.Clip("x", o.frames.movedim(1, -1)),
        ValueError,
        "frames.movedim(-1, 1)",
    ),
    ("one picture", lambda o: xc.Clip("x", o.frames[0]), ValueError, "frames[None]"),
    (
        "one picture, channels last",
        lambda o: xc.Clip("x", o.frames[0].movedim(0, -1)),
        ValueError,
        "frames.movedim(-1, 0)[None]",
    ),
    ("too many dimensions", lambda o: xc.Clip("x", o.frames[None]), ValueError, "(T, 3, H, W)"),
    ("a grey clip", lambda o: xc.Clip("x", o.frames[:, :1]), ValueError, "red, green and blue"),
    ("an empty clip", lambda o: xc.Clip("x", o.frames[:0]), ValueError, "no pixel"),
    ("a list of pictures", lambda o: xc.Clip("x", list(o.frames)), TypeError, "not a list"),
    (
        "name and frames swapped",
        lambda o: xc.Clip(o.frames, "x"),
        TypeError,
        "begins with its name",
    ),
    ("no frame rate", lambda o: xc.Clip("x", o.frames, fps=0), ValueError, "positive number"),
    (
        "labels of another size",
        lambda o: xc.Clip("x", o.frames, labels=o.labels),
        ValueError,
        "labels are (4, 16, 24)",
    ),
    ("one frame of a clip", lambda o: o.clip[3], TypeError, "clip.frames[3]"),
    ("a clip backwards", lambda o: o.clip[::-1], ValueError, "forwards"),
    ("a clip of nothing", lambda o: o.clip[4:9], ValueError, "this clip has 0:4"),
    # quality
    (
        "quality of no frame",
        lambda o: xc.evaluate(o.model, o.clip, frames=[]),
        ValueError,
        "no frame",
    ),
    (
        "frame and frames",
        lambda o: xc.evaluate(o.model, o.clip, 1, [2]),
        ValueError,
        "give one of the two",
    ),
    ("frames as one", lambda o: xc.evaluate(o.model, o.clip, frames=2), TypeError, "one is frame="),
    (
        "a frame from the end",
        lambda o: xc.evaluate(o.model, o.clip, frame=-1),
        IndexError,
        "frame -1 is outside",
    ),
    ("part of the clip", lambda o: xc.evaluate(o.model, o.clip[:2]), ValueError, "cut the clip"),
    (
        "an image network and a larger clip",
        lambda o: xc.evaluate(o.image_model, xc.Clip("x", torch.rand(1, 3, 32, 24))),
        ValueError,
        "the model paints 16×24 pixels, the clip has 32×24",
    ),
    ("psnr of clips", lambda o: xc.psnr(o.clip, o.clip), TypeError, "two tensors, not a Clip"),
    (
        "psnr of bytes",
        lambda o: xc.psnr(o.clip.frames_8bit, o.clip.frames_8bit),
        TypeError,
        "not torch.uint8",
    ),
    (
        "psnr of a picture with a clip",
        lambda o: xc.psnr(xc.render(o.model), o.frames),
        ValueError,
        "(3, 16, 24) with (4, 3, 16, 24)",
    ),
    ("a column that is none", lambda o: o.history["loss"], KeyError, "there are epoch, psnr, lr"),
]


def half(model):
    """A copy in half precision."""
    return copy.deepcopy(model).half()


@pytest.mark.parametrize("what, call, kind, said", REFUSED, ids=[row[0] for row in REFUSED])
def test_this_is_refused_in_one_sentence(what, call, kind, said, o):
    with pytest.raises(kind) as refused:
        call(o)
    sentence = refused.value.args[0]
    assert said in sentence and "\n" not in sentence and len(sentence) < 300, sentence


def test_everything_is_one_line_when_it_is_shown(o):
    layer = o.model.layers()[0]
    shown = [o.model, o.image_model, o.clip, o.canvas, o.layer, o.history, layer, layer.neuron(0)]
    for thing in shown:
        assert "\n" not in repr(thing) and len(repr(thing)) < 200, repr(thing)
    assert repr(o.model) == f"NeRV(16×24, 4 frames, {o.model.config.n_parameters:,} parameters)"
    assert repr(o.history) == "History: 1 epochs in 2.5 s, 20.00 dB in the last"
    assert repr(xc.History()) == "History: no epoch yet"
    fitted = xc.load_model("ffn-courtyard")
    assert repr(fitted).endswith(f"fitted to frame {fitted.frame} of clip {fitted.fitted_to})")


# The checks themselves ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [3, np.int8(3), np.array(3), torch.tensor(3), torch.tensor([3])])
def test_whole_numbers_of_every_kind(value):
    assert checks.whole_number(value, "a frame") == 3
    assert type(checks.whole_number(value, "a frame")) is int


@pytest.mark.parametrize(
    "value", [3.0, True, np.float32(3), np.bool_(True), torch.tensor(True), "3", None, [3], {}]
)
def test_what_is_no_whole_number(value):
    with pytest.raises(TypeError, match="a frame is one whole number, not .*; count them"):
        checks.whole_number(value, "a frame", instead="count them")


def test_whole_numbers_in_a_range():
    with pytest.raises(ValueError, match="parameters is at most 1,000,000, not 1,000,000,000"):
        checks.whole_number(10**9, "parameters", most=10**6)


def test_devices():
    checks.check_device("cpu")
    checks.check_device(torch.device("cpu"))
    for device in ("gpu", 3.5, None, "cuda:99"):
        with pytest.raises(ValueError, match="device"):
            checks.check_device(device)


def test_a_clip_is_a_clip(o):
    checks.check_is_clip(o.clip)
    checks.check_is_model(o.model)
    with pytest.raises(TypeError, match="xc.load_clip"):
        checks.check_is_clip("courtyard")
