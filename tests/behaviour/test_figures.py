"""Figures as files: every colour is kept, and a figure's kind says its ending."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from xinc_core.study import figures
from xinc_core.study.figures import saving


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XINC_FIGURES", str(tmp_path))
    yield tmp_path
    plt.close("all")


def colours(path) -> int:
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return len(np.unique(pixels.reshape(-1, 3), axis=0))


@pytest.mark.parametrize("photo, ending", [(True, ".webp"), (False, ".png")])
def test_a_smooth_ramp_keeps_its_colours(photo, ending, folder):
    """256 greys and 256 reds, drawn without a palette: no false contours, no grey turned beige."""
    fig, axes = figures.grid(1, 2, (64, 256))
    ramp = torch.linspace(0, 1, 256).expand(64, 256)
    figures.image(ramp.expand(3, -1, -1), axes[0, 0])
    figures.image(torch.stack([ramp, 0 * ramp, 0 * ramp]), axes[0, 1])
    figures.save(fig, "ramp", photo)
    assert colours(folder / f"ramp{ending}") >= 500
    pixels = np.asarray(Image.open(folder / f"ramp{ending}").convert("RGB")).astype(int)
    left = pixels[pixels.shape[0] // 2, : pixels.shape[1] // 2]
    assert (left.max(1) - left.min(1)).max() <= 1, "a grey is grey"


def test_a_file_differs_from_what_was_drawn_by_nothing_that_is_seen(folder):
    """The worst case are maps of noise, of which WebP with a small loss is the smaller file."""
    fig, axes = figures.grid(1, 1, (64, 96))
    figures.magnitude(torch.rand(64, 96, generator=torch.Generator().manual_seed(0)), axes[0, 0])
    drawn = np.asarray(saving._drawn(fig)).astype(int)
    figures.save(fig, "noise")
    saved = np.asarray(Image.open(folder / "noise.webp").convert("RGB")).astype(int)
    assert saved.shape == drawn.shape and np.abs(saved - drawn).mean() < 6


def test_the_kind_says_the_ending(folder):
    for name, photo in (("01_map", True), ("02_chart", False)):
        fig, ax = plt.subplots()
        assert figures.save(ax, name, photo) is fig
    assert {file.name for file in folder.iterdir()} == {
        "01_map.webp",
        "02_chart.png",
        "02_chart.svg",
    }
    assert figures.saved_figures(folder) == [folder / "01_map.webp", folder / "02_chart.png"]
    assert figures.saved_figures(folder, "02_*") == [folder / "02_chart.png"]


def test_a_brief_fit_is_drawn_beside_the_studys_network(folder):
    history = {"epoch": [1, 2, 3], "psnr": [10.0, 15.0, 17.0]}
    picture = torch.rand(3, 8, 12)
    pictures = {"ffn": (picture, picture), "nerv": (picture, picture)}
    fig = figures.fits(picture, pictures, dict.fromkeys(pictures, history))
    curve, *panels = fig.axes
    assert [line.get_label() for line in curve.lines] == ["ffn", "nerv"]
    titles = [ax.get_title() for ax in panels]
    assert titles[:3] == ["frame", "ffn, brief fit", "ffn, the study's"] and len(titles) == 6


def test_one_panel_is_drawn_into_the_axes_that_are_given(folder):
    """And these are returned; without any, the current ones are taken."""
    _, ax = plt.subplots()
    values = torch.rand(8, 12)
    labels = torch.arange(8)[:, None].expand(8, 12) // 4
    assert figures.image(torch.rand(3, 8, 12), ax) is ax
    assert figures.magnitude(values, ax) is ax
    assert figures.regions(torch.rand(3, 8, 12), labels, ax) is ax
    assert figures.totals({"layer1": values.flatten()}, ax) is ax
    assert figures.sorted_curves({"grid": np.arange(5)}, figures.PARTITION_COLORS, ax) is ax
    assert figures.magnitude(values) is ax
