"""The explorer without a browser: every control changes the picture it should, quickly, in any
order.
"""

import io
import random
import time

import numpy as np
import pytest
import torch
from PIL import Image

import xinc_core as xc
from xinc_core.study.explorer.png import overlay_png, palette_png, rgb_png


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture(scope="module")
def clip():
    return xc.load_clip("courtyard")


@pytest.fixture
def explorer(clip):
    return xc.explore(xc.load_model("nerv-courtyard"), clip)


def shown(explorer):
    return {name: image.value for name, image in explorer.images.items()}


def test_controls_are_named(explorer):
    controls = (
        explorer.layer,
        explorer.frame,
        explorer.neuron,
        explorer.rule,
        explorer.order,
        explorer.row,
        explorer.col,
    )
    assert [c.description for c in controls] == [
        "layer",
        "frame",
        "neuron",
        "rule",
        "order",
        "row",
        "column",
    ]


def test_every_control_moves_its_picture(explorer):
    for control, value in (
        (explorer.neuron, 17),
        (explorer.layer, "block2"),
        (explorer.rule, "first_order"),
        (explorer.frame, 20),
    ):
        before = shown(explorer)
        control.value = value
        after = shown(explorer)
        assert (
            after["contribution map"] != before["contribution map"]
            and after["overlay"] != before["overlay"]
        )
        assert (after["frame"] != before["frame"]) == (control is explorer.frame)
    explorer.tabs.selected_index = 1
    before = shown(explorer)
    explorer.row.value = 30
    assert (
        shown(explorer)["painters"] != before["painters"]
        and shown(explorer)["pixel"] != before["pixel"]
    )
    assert "make up 90 % of this pixel" in explorer.captions["painters"].value


def test_the_map_shown_is_the_neurons_map(explorer):
    explorer.layer.value, explorer.neuron.value = "block3", 1234
    values = explorer.canvas["block3"][1234].abs()
    picture = pixels(explorer.images["contribution map"].value)[::2, ::2].astype(int).sum(-1)
    rank = np.corrcoef(picture.flatten(), values.flatten().numpy())[0, 1]
    assert rank > 0.95 and picture.argmax() == int(values.argmax())


def test_order_by_total_contribution(explorer):
    explorer.layer.value, explorer.order.value = "head", "total contribution"
    totals = explorer.canvas["head"].totals()
    assert explorer.selected == int(totals.argmax())
    explorer.neuron.value = 65
    assert explorer.selected == int(totals.argmin())
    explorer.order.value = "index"
    assert explorer.selected == 65


@pytest.mark.slow
def test_a_smaller_layer_and_a_wild_drag_are_survived(explorer):
    random.seed(0)
    for _ in range(120):
        explorer.layer.value = random.choice(explorer.layer.options)
        explorer.neuron.value = random.randint(0, explorer.neuron.max)
        explorer.frame.value = random.randint(0, 39)
    layer = explorer.canvas[explorer.layer.value]
    assert explorer.neuron.max == len(layer) - 1
    assert explorer.images["contribution map"].value == palette_png(layer[explorer.selected], 2)


def test_moves_are_answered_at_once(explorer):
    """Kernel time per move; the bounds leave room for a busy machine, the median is far below."""

    def p50(move):
        times = []
        for i in range(24):
            start = time.perf_counter()
            move(i)
            times.append(time.perf_counter() - start)
        return sorted(times)[12]

    layers = explorer.layer.options
    assert p50(lambda i: setattr(explorer.neuron, "value", 1 + (i * 7) % 60)) < 0.02
    assert p50(lambda i: setattr(explorer.layer, "value", layers[i % 4])) < 0.02
    assert p50(lambda i: setattr(explorer.frame, "value", 1 + i)) < 0.3


def test_image_networks_have_one_frame(clip):
    explorer = xc.explore(xc.load_model("ffn-courtyard"), clip, layer="layer2", neuron=5)
    assert explorer.frame.disabled and explorer.selected == 5 and explorer.layer.value == "layer2"


def test_both_pictures_follow_a_frame_chosen_in_the_other_tab(explorer):
    before = shown(explorer)
    explorer.tabs.selected_index = 1
    explorer.frame.value = 20
    explorer.tabs.selected_index = 0
    after = shown(explorer)
    assert all(
        after[name] != before[name]
        for name in ("frame", "reconstruction", "overlay", "contribution map")
    )


def test_an_image_network_is_shown_beside_the_frame_it_was_fitted_to(clip):
    model, _ = xc.fit("ffn", clip, frame=7, epochs=1, width=4, checkpoint=False, progress=False)
    explorer = xc.explore(model, clip)
    assert (
        explorer.images["frame"].value == rgb_png(clip.frames[7], 2) and xc.trace(model).frame == 7
    )


def test_what_cannot_be_shown_is_refused_in_one_sentence(clip):
    model = xc.load_model("nerv-courtyard")
    for start, part, sentence in (
        (dict(), clip[:6], "the model has 40 frames, the clip 6"),
        (dict(), xc.load_clip("cat"), "the model paints 128×256 pixels"),
        (dict(rule="ablation"), clip, "the explorer shows rule"),
        (dict(layer="block9"), clip, "no layer 'block9'"),
        (dict(neuron=99_999), clip, "outside the 66 neurons"),
        (dict(row=999), clip, "outside the picture"),
    ):
        with pytest.raises((ValueError, IndexError, KeyError), match=sentence):
            xc.explore(model, part, **start)


def test_pictures():
    values = torch.tensor([[0.0, -2.0], [1.0, 0.5]])
    assert pixels(palette_png(values, 3)).shape == (6, 6, 3)
    assert pixels(palette_png(values))[0, 1].sum() > pixels(palette_png(values))[1, 0].sum() > 0
    picture = torch.rand(3, 2, 2)
    assert np.abs(pixels(rgb_png(picture)) / 255 - picture.permute(1, 2, 0).numpy()).max() < 0.003
    assert (pixels(overlay_png(picture, values))[0, 1] == [255, 158, 0]).all()
    assert pixels(palette_png(torch.zeros(2, 2))).max() < 10
