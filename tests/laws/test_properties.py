"""Laws over random shapes and options: which frames, crops and sizes load_clip takes, and which
networks a size allows.
"""

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import xinc_core as xc
from xinc_core.clips.geometry import Fit
from xinc_core.models import NeRV
from xinc_core.models.layers import check_chain

few = settings(max_examples=40, deadline=None, derandomize=True)
SHAPE = (40, 56)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Nine frames as they are, and the folder that holds them."""
    folder = tmp_path_factory.mktemp("film")
    frames = np.random.default_rng(0).integers(0, 256, (9, *SHAPE, 3), dtype=np.uint8)
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{t}.png")
    return frames, folder


def as_bytes(clip):
    return (clip.frames * 255).round().byte().permute(0, 2, 3, 1).numpy()


@few
@given(start=st.integers(0, 10), stop=st.none() | st.integers(0, 12), step=st.integers(1, 5))
def test_frames_are_those_of_a_slice(film, start, stop, step):
    frames, folder = film
    wanted = frames[start:stop:step]
    if not len(wanted):
        with pytest.raises(ValueError, match="no frames of"):
            xc.load_clip(folder, start, stop, step, size=SHAPE)
        return
    clip = xc.load_clip(folder, start, stop, step, size=SHAPE)
    assert (as_bytes(clip) == wanted).all() and clip.fps == 25 / step
    assert clip.taken.frames == tuple(range(9)[start:stop:step]) and clip.taken.names == tuple(
        map(str, clip.taken.frames)
    )


@few
@given(h=st.integers(1, SHAPE[0]), w=st.integers(1, SHAPE[1]))
def test_a_crop_is_the_middle(film, h, w):
    frames, folder = film
    top, left = (SHAPE[0] - h) // 2, (SHAPE[1] - w) // 2
    clip = xc.load_clip(folder, stop=1, crop=(h, w), size=(h, w))
    assert (as_bytes(clip) == frames[:1, top : top + h, left : left + w]).all()


@few
@given(h=st.integers(1, 6), w=st.integers(1, 6), a=st.integers(1, 5), b=st.integers(1, 5))
def test_a_smaller_size_is_the_mean_over_areas(film, h, w, a, b):
    frames, folder = film
    clip = xc.load_clip(folder, stop=2, crop=(h * a, w * b), size=(h, w))
    top, left = (SHAPE[0] - h * a) // 2, (SHAPE[1] - w * b) // 2
    blocks = frames[:2, top : top + h * a, left : left + w * b].reshape(2, h, a, w, b, 3)
    assert np.abs(as_bytes(clip) - blocks.mean((2, 4))).max() <= 1


@few
@given(h=st.integers(1, 400), w=st.integers(1, 400))
def test_the_default_size_fits_every_network(h, w):
    if min(h, w) < 16 or 128 * min(h, w) // max(min(h, w), 128) < 16:
        with pytest.raises(ValueError, match="too small"):
            Fit.plan((h, w))
        return
    fit = Fit.plan((h, w))
    assert all(n % 16 == 0 and n > 0 for n in fit.size) and min(fit.size) <= 128
    assert all(0 <= r - s < 16 for r, s in zip(fit.resized, fit.size))
    assert all(r <= s for r, s in zip(fit.resized, fit.source))  # nothing is enlarged
    scale = fit.resized[0] / h, fit.resized[1] / w
    assert abs(scale[0] - scale[1]) <= 0.5 / h + 0.5 / w + 1e-9  # the aspect is kept up to rounding


@few
@given(
    strides=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    off=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    n=st.integers(1, 4),
    kernel=st.sampled_from([1, 3, 5]),
    seed=st.integers(0, 99),
)
def test_a_nerv_paints_the_sizes_that_its_strides_allow(strides, grid, off, n, kernel, seed):
    step = prod(strides)
    size = tuple(g * step + o for g, o in zip(grid, off))
    channels = tuple(np.random.default_rng(seed).integers(1, 4, len(strides) + 1).tolist())
    options = dict(
        size=size, n_frames=n, strides=strides, channels=channels, kernel=kernel, levels=3
    )
    if any(o % step for o in off):
        with pytest.raises(ValueError, match="multiples of"):
            NeRV.Config(**options)
        return
    config = NeRV.Config(**options)
    torch.manual_seed(seed)
    model = NeRV(config)
    assert config.n_parameters == sum(p.numel() for p in model.parameters())
    assert tuple(g * step for g in config.grid) == size
    assert xc.render(model, n - 1).shape == (3, *size)
    check_chain(model.layers())
