"""The findings' browsers without a browser: every control moves, every move changes a picture,
all picture sizes agree.
"""

import io

import pytest
import torch
from PIL import Image

import xinc_core as xc
from xinc_core.study.explorer.browsers import VIEWS
from xinc_core.study.findings.browsing import Opened, Picture


@pytest.fixture(scope="module")
def clip():
    return xc.load_clip("courtyard")


@pytest.fixture(scope="module", params=["nerv", "ffn"])
def model(request):
    return xc.load_model(f"{request.param}-courtyard")


def pictures(browser):
    return [image.value for image in browser.images]


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_every_control_moves_a_picture(view, model, clip):
    if view == "fluctuation" and not model.for_video:
        with pytest.raises(ValueError, match="one frame"):
            xc.explore(model, clip, view=view)
        return
    browser = xc.explore(model, clip, view=view, frame=3)
    sizes = {Image.open(io.BytesIO(png)).size for png in pictures(browser)}
    assert sizes == {(512, 256)} and all(caption.value for caption in browser.captions)
    for name, control in browser.controls.items():
        if control.disabled:
            continue
        assert control.description
        before = pictures(browser)
        if name in ("layer", "partition", "baseline", "order"):
            control.value = next(o for o in control.options if o != control.value)
        elif name == "rule":
            control.value = "first_order"
        else:
            control.value = (
                control.min if control.value != control.min else control.min + control.step
            )
        assert pictures(browser) != before, name


@pytest.mark.parametrize("view", ["selectivity", "objects", "groups"])
def test_a_smaller_layer_clips_the_neuron(view, clip):
    browser = xc.explore(xc.load_model("nerv-courtyard"), clip, view=view, layer="block1")
    browser.controls["neuron"].value = browser.controls["neuron"].max
    browser.controls["layer"].value = "head"
    assert browser.controls["neuron"].value <= browser.controls["neuron"].max < 66


def test_a_clip_without_masks_is_shown_without_them(clip):
    bunny = xc.load_clip("bunny")
    assert len(xc.explore(xc.load_model("nerv-bunny"), bunny, view="objects").images) == 2
    parts = (
        xc.explore(xc.load_model("nerv-bunny"), bunny, view="selectivity")
        .controls["partition"]
        .options
    )
    assert "instances" not in parts and "RGB" in parts


def test_the_selectivity_view_paints_region_means(clip):
    model = xc.load_model("ffn-courtyard")
    layer = xc.trace(model)["layer2"]
    strong = int(layer.totals().argmax())
    browser = xc.explore(
        model, clip, view="selectivity", neuron=strong, layer="layer2", partition="grid"
    )
    values = layer[strong].abs()
    cells = values.unflatten(1, (8, 32)).unflatten(0, (4, 32)).mean((1, 3)) / values.mean()
    assert f"brightest = {float(cells.max()):.2f}×" in browser.captions[2].value
    assert torch.isfinite(cells).all()


@pytest.mark.parametrize("view", VIEWS)
def test_a_browser_is_a_function_of_plain_values(view, clip):
    """Its pictures are tensors of the clip's size; no widget is needed to ask for them."""
    opened, spec = Opened(xc.load_model("nerv-courtyard"), clip), VIEWS[view]
    values = {control.name: control.start for control in spec.controls(opened)}
    values |= dict(layer="block3", frame=3) | (dict(rule="paper") if spec.rules else {})
    assert spec.title == view and spec.limits(opened, **values).keys() <= values.keys()
    pictures = spec.show(opened, **values)
    for picture in pictures.values():
        assert isinstance(picture, Picture) and picture.values.shape[-2:] == clip.size
    again = spec.show(opened, **values)
    assert again.keys() == pictures.keys()
    assert all(torch.equal(again[name].values, pictures[name].values) for name in pictures)


def test_unknown_views_are_refused(clip):
    with pytest.raises(ValueError, match="no view 'heat'; there are neurons per pixel"):
        xc.explore(xc.load_model("ffn-courtyard"), clip, view="heat")


def test_a_clip_that_the_model_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="the model has 40 frames, the clip 30"):
        xc.explore(xc.load_model("nerv-courtyard"), xc.load_clip("bunny"), view="objects")
    with pytest.raises(ValueError, match="the model paints 128×256 pixels, the clip has 128×192"):
        xc.explore(xc.load_model("ffn-courtyard"), xc.load_clip("cat"), view="selectivity")
