"""Reference values: the package against maps that it did not compute.

``tests/reference/make_values.py`` writes the definitions of METHOD 2 out in NumPy and has stored
what they give for two small networks. Here the package is compared with the stored values, the
same steps are compared with the authors' own values where their checkpoint is at hand, and the
stored values are made again.
"""

import numpy as np
import pytest
import torch
from reference import make_values

import xinc_core as xc
from xinc_core.models import FFN, NeRV

RTOL = 1e-5  # of the layer's largest value: METHOD 9
LAYERS = {"ffn": ("layer1", "layer2", "layer3"), "nerv": ("block1", "block2", "block3", "head")}


@pytest.fixture(scope="module")
def stored():
    return dict(np.load(make_values.FILE))


def close(got, wanted, rtol=RTOL):
    """Equal to within a share of the largest value that is wanted."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape
    largest = np.abs(wanted).max()
    assert np.abs(got - wanted).max() <= rtol * largest


def small(family):
    """The package's own network with the weights of ``make_values``, and the frame to trace."""
    if family == "ffn":
        model, tensors, frame = _small_ffn(), make_values.ffn_weights(), 0
    else:
        model, tensors, frame = _small_nerv(), make_values.nerv_weights(), make_values.NERV_FRAME
    model.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    return model.requires_grad_(False), frame


def _small_ffn():
    return FFN(FFN.Config(size=make_values.FFN_SIZE, width=make_values.FFN_WIDTH))


def _small_nerv():
    config = NeRV.Config(
        size=make_values.NERV_SIZE,
        n_frames=make_values.NERV_FRAMES,
        strides=make_values.NERV_STRIDES,
        channels=make_values.NERV_CHANNELS,
        levels=make_values.NERV_LEVELS,
    )
    return NeRV(config)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("family", list(LAYERS))
def test_the_package_gives_the_stored_values(family, dtype, stored):
    model, frame = small(family)
    canvas = xc.trace(model.to(dtype), frame)
    assert canvas.layers == LAYERS[family]
    for layer in canvas:
        key = f"{family}.{layer.name}"
        neurons = stored[f"{key}.neurons"]
        close(torch.stack([layer[int(n)] for n in neurons]), stored[f"{key}.maps"])
        close(layer.totals(), stored[f"{key}.total"])
        close(layer.heatmap(), stored[f"{key}.heatmap"])


def test_the_steps_give_the_stored_values_again(stored):
    """To rounding: the order of NumPy's sums may differ from machine to machine."""
    again = make_values.values()
    assert again.keys() == stored.keys()
    for key, wanted in stored.items():
        if key.endswith(".float32"):  # itself rounding
            assert again[key] <= RTOL / 5 and wanted <= RTOL / 5
        else:
            close(again[key], wanted, 1e-7 if key.startswith("nerv") else 1e-12)


def numpy_tensors(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def close_to_the_authors(maps, table, prefix, names):
    """The maps, totals and heatmaps of the layers that the authors' values are of."""
    keep = {name: table[f"{prefix}{name}.neurons"].tolist() for name in names}
    for name, layer in make_values.summed(maps, keep).items():
        key = f"{prefix}{name}"
        neurons = table[f"{key}.neurons"]
        close(np.stack([layer["maps"][int(n)] for n in neurons]), table[f"{key}.maps"])
        close(layer["total"], table[f"{key}.total"])
        close(layer["heatmap"], table[f"{key}.heatmap"])


def test_the_steps_give_the_authors_ffn_values(reference):
    size = (128, 256)
    model = xc.load_model(reference / "ffn_cityscapes_0005.ckpt", size=size)
    names = ("layer2", "layer3")
    maps = make_values.ffn_maps(numpy_tensors(model), size, names)
    close_to_the_authors(maps, dict(np.load(reference / "ffn_values.npz")), "", names)


def test_the_steps_give_the_authors_nerv_values(reference):
    model = xc.load_model(reference / "nerv_bunny.pth", size=(128, 256), n_frames=30)
    config, tensors = model.config, numpy_tensors(model)
    layers = make_values.nerv_layers(tensors, config.strides)
    x = make_values.initial_grid(tensors, 0.0, config.base, config.grid)
    names = ("block3", "head")
    maps = make_values.nerv_maps(layers, x, names)
    close_to_the_authors(maps, dict(np.load(reference / "nerv_values.npz")), "frame0.", names)
