"""Partitions on scenes whose regions are known."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.filters import gabor_kernel

import xinc_core as xc
from xinc_core.study.statistics import partitions as regions


def agreement(a, b):
    """Adjusted Rand index of two labelings."""
    from sklearn.metrics import adjusted_rand_score

    return adjusted_rand_score(a.flatten().numpy(), b.flatten().numpy())


def test_instances_are_the_things_and_the_rest_is_other(shapes):
    part = regions.instances(shapes)
    assert part.names == ("other", "blue_block", "green_block", "chameleon", "red_disc")
    for i, ident in enumerate((2001, 3001, 4001, 5001), 1):
        assert (part.labels == i).equal(shapes.labels == ident)
    assert (part.labels == 0).equal(shapes.labels == 1000)


def test_small_instances_join_other_frame_by_frame():
    """Things that are never large enough, one that is not at first, and one that always is."""
    rows = torch.tensor([[1, 1, 1], [3, 30, 300]])  # pixels of things 1 to 3 in two frames
    labels = torch.zeros(2, 32, 48, dtype=torch.long)
    for frame, areas in enumerate(rows.tolist()):
        for number, area in enumerate(areas, 1):
            labels[frame, 10 * (number - 1) :].flatten()[:area] = number
    things = {n: xc.clips.Segment(n, f"thing {n}", "thing", True) for n in (1, 2, 3)}
    clip = xc.Clip("drawn", torch.rand(2, 3, 32, 48), labels=labels, segments=things)
    part = regions.instances(clip)
    seen = [set(part.labels[frame].unique().tolist()) for frame in (0, 1)]
    names = [{part.names[number] for number in numbers} for numbers in seen]
    assert names == [{"other"}, {"other", "thing 2", "thing 3"}]
    areas = part.labels[1].unique(return_counts=True)[1]
    assert areas.tolist() == [32 * 48 - 330, 30, 300]
    with pytest.raises(ValueError, match="no masks"):
        regions.instances(xc.load_clip("bunny"))


def test_grid_cells_are_contiguous_and_equal(shapes):
    part = regions.grid_cells(shapes)
    numbers, areas = part.labels[0].unique(return_counts=True)
    assert numbers.equal(torch.arange(32)) and (areas == 32 * 32).all()
    assert all(ndimage.label(part.labels[0] == r)[1] == 1 for r in numbers)


def test_colour_clusters_find_painted_colours():
    colors = torch.rand(32, 3, generator=torch.Generator().manual_seed(3))
    truth = torch.randint(0, 32, (2, 16, 24), generator=torch.Generator().manual_seed(0))
    clip = xc.Clip("painted", colors[truth].movedim(-1, 1).contiguous())
    assert agreement(regions.color_clusters(clip).labels, truth) > 0.97
    assert regions.color_clusters(clip).labels.equal(regions.color_clusters(clip).labels)


def test_the_gabor_bank_has_24_filters_and_filters_in_floating_point(shapes):
    frame = shapes.frames[0]
    responses = regions.gabor_responses(frame, controlled=False)
    assert len(responses) == 24 and responses.min() < 0
    grey = (frame.permute(1, 2, 0).numpy() @ np.array([0.2125, 0.7154, 0.0721])).astype(np.float64)
    index = 0
    for turn in range(4):
        for sigma in (1, 3):
            for frequency in (0.05, 0.25, 0.5):
                kernel = np.real(
                    gabor_kernel(frequency, np.pi * turn / 4, sigma_x=sigma, sigma_y=sigma)
                )
                want = ndimage.convolve(grey, kernel, mode="reflect")
                assert np.abs(responses[index].numpy() - want).max() < 1e-5
                index += 1


def test_controlled_gabor_is_blind_to_luminance_and_the_papers_is_not():
    flat = torch.full((3, 40, 40), 0.3)
    assert regions.gabor_responses(flat).abs().max() < 1e-5
    assert regions.gabor_responses(flat, controlled=False).abs().max() > 0.1
    wave = 0.5 + 0.3 * torch.sin(2 * torch.pi * 0.25 * torch.arange(40))
    across, along = wave.expand(3, 40, 40), wave[:, None].expand(3, 40, 40)
    bright = [regions.gabor_responses(x)[:, 10:-10, 10:-10].mean((1, 2)) for x in (across, along)]
    horizontal, vertical = 4, 2 * 6 + 4  # sigma 3, frequency 0.25, at 0° and 90°
    assert (
        bright[0][horizontal] > 10 * bright[0][vertical]
        and bright[1][vertical] > 10 * bright[1][horizontal]
    )


def test_gabor_clusters_tell_textures_apart():
    """Two stripings of the same mean colour, side by side."""
    ramp = torch.arange(64)
    across = (0.5 + 0.3 * torch.sin(2 * torch.pi * 0.25 * ramp)).expand(64, 64)
    picture = torch.cat([across[:, :32], across.T[:, 32:]], 1).expand(1, 3, 64, 64)
    truth = (ramp >= 32).long().expand(64, 64)
    labels = regions.gabor_clusters(xc.Clip("stripes", picture.contiguous()), k=2).labels[0]
    assert agreement(labels, truth) > 0.7
